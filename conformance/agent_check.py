"""Checks an agent against docs/agent-protocol.md, call by call: what `tcp-conformance doctor --agent` does.

First as lines: hello, what is refused and how, the end of the input. Then its sockets: a stack that is a process of its own
gets a wire, and the tester is its peer; a host's own agent is its own peer, over loopback.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import select
import shlex
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from conformance.case.case import Case
from conformance.case.connection import Connection
from conformance.judge import Violation
from conformance.standard.profile import profile
from conformance.standard.states import State
from conformance.target import AgentFault, AppError, HarnessFault, capabilities_of
from conformance.target.agent_client import ANSWER_S, AgentClient
from conformance.target.protocol import Malformed, check_hello
from conformance.target.stack import StackTarget, environment
from conformance.tester.clock import Clock
from conformance.tester.station import Station
from conformance.wire import ACK, FIN, PSH

_DATA = b"said by one end to the other"
_END_S = 5.0
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}
_WAIT_S = 0.3


@dataclass(frozen=True)
class Checked:
    """One line of the result: `wrong` says what is not as the protocol has it."""

    what: str
    wrong: str = ""


class _Wrong(Exception):
    """The agent broke the protocol; the message says where."""


def check_agent(command: str) -> Iterator[Checked]:
    """Check the agent that this command line starts; each result as soon as it is there."""
    words = shlex.split(command)
    hello: dict[str, Any] = {}
    for what, check in _LINES:
        try:
            with _Lines(words) as lines:
                hello = lines.hello
                check(lines)
            yield Checked(what)
        except (_Wrong, OSError) as wrong:
            yield Checked(what, str(wrong))
            if not hello:
                return
    yield from asyncio.run(_calls(words, capabilities_of(hello)))


# Lines


class _Lines:
    """The agent as a process whose lines are written and read one by one."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command, self.hello = command, dict[str, Any]()

    def __enter__(self) -> _Lines:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._wire = ours
        try:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **environment(virtual=True), "TCP_CONFORMANCE_LINK_FD": str(theirs.fileno())},
            )
        except OSError as error:
            raise _Wrong(f"can't start {self._command[0]}: {error.strerror}") from None
        finally:
            theirs.close()
        self._rest = b""
        try:
            self.hello = self._greeting()
        except _Wrong:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._wire.close()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()

    def _greeting(self) -> dict[str, Any]:
        hello = self.read().get("hello")
        if not isinstance(hello, dict):
            raise _Wrong('the first line is no {"hello": {...}}')
        try:
            return check_hello(hello)
        except Malformed as wrong:
            raise _Wrong(str(wrong)) from None

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise _Wrong(f"the agent takes no requests any more: {error.strerror}") from None

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        until = time.monotonic() + ANSWER_S
        while b"\n" not in self._rest:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise _Wrong(f"no answer within {ANSWER_S:g} s")
            piece = os.read(self.process.stdout.fileno(), 1 << 16)
            if not piece:
                raise _Wrong("the agent's process ended")
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise _Wrong(f"a line that is no JSON object: {line[:80]!r}")
        return answer

    def refused(self, line: bytes, number: int | None, code: str, naming: str = "") -> None:
        """See that a line is refused with that id and code, by a message with that word, and that the agent goes on."""
        self.write(line)
        answer = self.read()
        error = answer.get("error")
        if answer.get("id") != number or not isinstance(error, dict):
            raise _Wrong(f"{line[:60]!r} had to be refused with id {json.dumps(number)}, the answer is {answer}")
        if error.get("code") != code:
            raise _Wrong(f"{line[:60]!r} had to be refused with {code}, it is with {error.get('code')}")
        if naming not in str(error.get("message")):
            raise _Wrong(f"{line[:60]!r}: the message has to name {naming}, it is {error.get('message')!r}")
        self.alive()

    def alive(self) -> None:
        self.write(b'{"id": 4711, "op": "hello"}')
        answer = self.read()
        if answer.get("id") != 4711 or not isinstance(answer.get("ok"), dict) or "capabilities" not in answer["ok"]:
            raise _Wrong(f"hello is answered by {answer}")


def _bad_json(lines: _Lines) -> None:
    for line in (b"{", b"[1, 2]", b"null", b'{"id": 1, "op": "hello"', b"\xff\xfe", b'"hello"'):
        lines.refused(line, None, "bad-json")


def _arguments(lines: _Lines) -> None:
    lines.refused(b'{"id": 3, "op": "listen", "family": 4, "address": ""}', 3, "bad-request", "port")
    lines.refused(b'{"id": 4, "op": "listen", "family": 4, "address": "", "port": "x"}', 4, "bad-request", "port")
    lines.refused(
        b'{"id": 5, "op": "listen", "family": 4, "address": "", "port": 0, "speed": 1}', 5, "bad-request", "speed"
    )
    lines.refused(b'{"id": 6, "op": "accept"}', 6, "bad-request", "socket")


def _ends(lines: _Lines) -> None:
    assert lines.process.stdin is not None
    lines.process.stdin.close()
    try:
        status = lines.process.wait(_END_S)
    except subprocess.TimeoutExpired:
        raise _Wrong(f"it still runs {_END_S:g} s after the end of its input") from None
    if status:
        raise _Wrong(f"it ends with status {status}")


_LINES: tuple[tuple[str, Callable[[_Lines], None]], ...] = (
    ("hello comes first, and again when asked for", _Lines.alive),
    ("an unknown operation is refused", lambda lines: lines.refused(b'{"id": 2, "op": "fly"}', 2, "unknown-op")),
    ("what is no JSON object is refused", _bad_json),
    ("missing, wrong and unknown arguments are refused by name", _arguments),
    (
        "a socket that was never given is refused",
        lambda lines: lines.refused(b'{"id": 7, "op": "close", "socket": 99}', 7, "no-such-socket"),
    ),
    ("the end of the input ends it with status 0", _ends),
)


# Calls


class _Peer(Protocol):
    """The other end of the agent's connections."""

    app: Any
    family: int

    async def passive(self) -> tuple[int, int]:
        """Return a connection that the agent accepted: the listening socket and the connection's."""

    async def active(self) -> int:
        """Return a connection that the agent opened."""

    async def say(self, data: bytes) -> None:
        """Send data on the last connection."""

    async def hear(self, data: bytes) -> None:
        """See that this data comes."""

    async def end(self) -> None:
        """Close our direction."""

    async def hear_end(self, *, reset: bool = False) -> None:
        """See that the agent's direction is closed, by FIN or by RST."""


class _Tester:
    """The tester as the peer of a stack."""

    def __init__(self, case: Case, family: int) -> None:
        self._case, self.family, self.app = case, family, case.target.app
        self._conn: Connection | None = None

    @property
    def conn(self) -> Connection:
        assert self._conn is not None
        return self._conn

    async def passive(self) -> tuple[int, int]:
        self._conn = await self._case.drive_to(State.ESTABLISHED)
        return self.conn.listener.number, self.conn.app.number

    async def active(self) -> int:
        self._conn = await self._case.drive_to(State.ESTABLISHED, by="active")
        return self.conn.app.number

    async def say(self, data: bytes) -> None:
        await self.conn.send(ACK | PSH, payload=data)
        await self.conn.expect(ACK, ack=self.conn.snd_nxt, length=0)

    async def hear(self, data: bytes) -> None:
        await self.conn.expect(ACK, seq=self.conn.rcv_nxt, payload=data)
        await self.conn.send(ACK)

    async def end(self) -> None:
        await self.conn.send(FIN | ACK)
        await self.conn.expect(ACK, ack=self.conn.snd_nxt, length=0)

    async def hear_end(self, *, reset: bool = False) -> None:
        if reset:
            await self.conn.expect_reset(seq=self.conn.rcv_nxt)
        else:
            await self.conn.expect(FIN | ACK, seq=self.conn.rcv_nxt, length=0)
            await self.conn.send(ACK)


class _Loopback:
    """The agent itself as its peer."""

    def __init__(self, app: AgentClient, family: int) -> None:
        self.app, self.family, self._other = app, family, 0

    async def _pair(self) -> tuple[int, int, int]:
        """Return the listening socket, the end that accepted and the one that connected."""
        here, port = _LOOPBACK[self.family], 0
        listening = await self.app.call("listen", family=self.family, address=here, port=port)
        port = listening["port"]
        opened = await self.app.call("connect", family=self.family, remote_address=here, remote_port=port)
        accepted = await self.app.call("accept", socket=listening["socket"], wait_s=ANSWER_S)
        await self.app.call("connected", socket=opened["socket"], wait_s=ANSWER_S)
        return listening["socket"], accepted["socket"], opened["socket"]

    async def passive(self) -> tuple[int, int]:
        listening, accepted, self._other = await self._pair()
        return listening, accepted

    async def active(self) -> int:
        _, self._other, opened = await self._pair()
        return opened

    async def say(self, data: bytes) -> None:
        await self.app.call("send", socket=self._other, data=base64.b64encode(data).decode())

    async def hear(self, data: bytes) -> None:
        answer = await self.app.call("receive", socket=self._other, count=len(data), wait_s=ANSWER_S)
        if base64.b64decode(answer["data"]) != data:
            raise _Wrong(f"{answer['data']!r} came, sent was {data!r}")

    async def end(self) -> None:
        await self.app.call("shutdown", socket=self._other, how="send")

    async def hear_end(self, *, reset: bool = False) -> None:
        try:
            answer = await self.app.call("receive", socket=self._other, count=1, wait_s=ANSWER_S)
        except AppError as error:
            if reset and error.code == "ECONNRESET":
                return
            raise
        if reset or not answer["eof"]:
            raise _Wrong(f"a {'reset' if reset else 'FIN'} had to come, {answer} did")


async def _calls(words: Sequence[str], capabilities: frozenset[str]) -> list[Checked]:
    if "app" not in capabilities:
        return [Checked("no capability `listen` or `connect`: no more is asked of it")]
    family = 4 if "ipv4" in capabilities else 6
    if await _reads_its_wire(words):
        target = StackTarget(name=words[0], profile="undocumented", command=words)
        try:
            await target.open()
            instance = await target.alone({})
            machine = instance.machine
            clock = Clock() if machine is None else Clock(machine.now_ns)

            async def with_tester() -> list[Checked]:
                station = Station(instance, clock)
                case = Case(
                    station=station, target=instance, profile=profile("undocumented"), clock=clock, family=family
                )
                await case.open()
                # First: an hour may be long where the stack has connections that it looks at in every tick.
                checked = [await _one("its clock moves as asked", _clock, case)] if machine else []
                return [*checked, *await _all(_Tester(case, family), capabilities)]

            if machine is None:
                return await with_tester()
            return await asyncio.to_thread(machine.run, with_tester)
        except (HarnessFault, Violation) as fault:
            return [Checked("the stack on its wire", str(fault))]
        finally:
            await target.close()
    ours, theirs = socket.socketpair()
    process = await asyncio.create_subprocess_exec(*words, stdin=theirs.fileno(), stdout=theirs.fileno())
    theirs.close()
    app = AgentClient(ours, words[0])
    try:
        await app.open()
        return await _all(_Loopback(app, family), capabilities)
    finally:
        await app.close()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _reads_its_wire(words: Sequence[str]) -> bool:
    """Return True if the program reads frames from the wire that it gets: then it is a stack."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    variables = {**os.environ, **environment(virtual=False), "TCP_CONFORMANCE_LINK_FD": str(theirs.fileno())}
    process = await asyncio.create_subprocess_exec(
        *words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()], env=variables
    )
    assert process.stdout is not None
    taken = False
    try:
        await asyncio.wait_for(process.stdout.readline(), ANSWER_S)
        ours.send(bytes(60))
        for _ in range(20):
            await asyncio.sleep(0.05)
            try:
                theirs.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                taken = True
                break
    except TimeoutError:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        ours.close()
        theirs.close()
    return taken


async def _all(peer: _Peer, capabilities: frozenset[str]) -> list[Checked]:
    """Make every check that the agent has the calls for, up to the one that it doesn't survive."""
    wanted = [(what, check) for what, needs, check in _CALLS if needs <= capabilities]
    return [await _one(what, check, peer) for what, check in wanted if not peer.app.gone]


async def _one(what: str, check: Callable[[Any], Awaitable[None]], subject: Any) -> Checked:
    try:
        await check(subject)
    except (AppError, AgentFault, Violation, _Wrong) as wrong:
        return Checked(what, str(wrong).splitlines()[0])
    except (KeyError, TypeError, ValueError) as error:
        return Checked(what, f"an answer lacks what it must have: {type(error).__name__} {error}")
    return Checked(what)


async def _fails(peer: _Peer, codes: str, op: str, **arguments: Any) -> None:
    try:
        answer = await peer.app.call(op, **arguments)
    except AppError as error:
        if error.code not in codes.split():
            raise _Wrong(f"{op} had to fail with {' or '.join(codes.split())}, it fails with {error.code}") from None
        return
    raise _Wrong(f"{op} had to fail with {' or '.join(codes.split())}, it says {answer}")


async def _accepting(peer: _Peer) -> None:
    await peer.passive()


async def _connecting(peer: _Peer) -> None:
    await peer.active()


async def _sending(peer: _Peer) -> None:
    _, number = await peer.passive()
    answer = await peer.app.call("send", socket=number, data=base64.b64encode(_DATA).decode())
    if answer["sent"] != len(_DATA):
        raise _Wrong(f"send says that {answer['sent']} octets were taken of {len(_DATA)}")
    await peer.hear(_DATA)


async def _receiving(peer: _Peer) -> None:
    _, number = await peer.passive()
    await _fails(peer, "timeout", "receive", socket=number, count=1, wait_s=_WAIT_S)
    nothing = await peer.app.call("receive", socket=number, count=0, wait_s=_WAIT_S)
    if nothing["data"] or nothing["eof"]:
        raise _Wrong(f"receive of 0 octets where none are says {nothing}")
    await peer.say(_DATA)
    for maximum, wanted in ((5, _DATA[:5]), (65536, _DATA[5:])):
        answer = await peer.app.call("receive", socket=number, count=len(wanted), maximum=maximum, wait_s=ANSWER_S)
        if base64.b64decode(answer["data"]) != wanted or answer["eof"]:
            raise _Wrong(f"receive of {wanted!r} says {answer}")


async def _half_close(peer: _Peer) -> None:
    _, number = await peer.passive()
    await peer.app.call("shutdown", socket=number, how="send")
    await peer.hear_end()
    await peer.say(_DATA)
    answer = await peer.app.call("receive", socket=number, count=len(_DATA), wait_s=ANSWER_S)
    if base64.b64decode(answer["data"]) != _DATA:
        raise _Wrong(f"receive after shutdown says {answer}")
    await peer.end()
    answer = await peer.app.call("receive", socket=number, count=1, wait_s=ANSWER_S)
    if answer["data"] or not answer["eof"]:
        raise _Wrong(f"receive at the end of the stream says {answer}")


async def _closing(peer: _Peer) -> None:
    _, number = await peer.passive()
    await peer.app.call("close", socket=number)
    await peer.hear_end()
    await _fails(peer, "no-such-socket", "close", socket=number)


async def _aborting(peer: _Peer) -> None:
    _, number = await peer.passive()
    await peer.app.call("abort", socket=number)
    await peer.hear_end(reset=True)
    await _fails(peer, "no-such-socket", "abort", socket=number)


async def _cancelling(peer: _Peer) -> None:
    listening = (await peer.app.call("listen", family=peer.family, address="", port=0))["socket"]
    waiting = asyncio.ensure_future(peer.app.call("accept", socket=listening))
    await asyncio.sleep(_WAIT_S)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    if (pending := (await peer.app.call("sockets"))["pending"]) != 0:
        raise _Wrong(f"{pending} requests wait after the only one was cancelled")
    if (await peer.app.call("cancel", request=1_000_000))["cancelled"] is not False:
        raise _Wrong("cancel of a request that never was says true")
    await peer.app.call("close", socket=listening)


async def _ordered(peer: _Peer) -> None:
    _, number = await peer.passive()
    asked = [peer.app.call("receive", socket=number, count=1, maximum=1, wait_s=ANSWER_S) for _ in range(3)]
    waiting = asyncio.gather(*asked)
    await asyncio.sleep(_WAIT_S)
    await peer.say(b"abc")
    octets = [base64.b64decode(one["data"]) for one in await waiting]
    if octets != [b"a", b"b", b"c"]:
        raise _Wrong(f"three receives got {octets}, in that order")


async def _options(peer: _Peer) -> None:
    _, number = await peer.passive()
    # An agent that knows all the options there are may say that this is none.
    codes, name = "ENOPROTOOPT bad-request", "TCP_OF_NO_STACK"
    await _fails(peer, codes, "option_get", socket=number, level="tcp", name=name)
    await _fails(peer, codes, "option_set", socket=number, level="tcp", name=name, value=1)


async def _keepalive(peer: _Peer) -> None:
    _, number = await peer.passive()
    for level, name, value in (("socket", "SO_KEEPALIVE", 1), ("tcp", "TCP_KEEPIDLE", 7), ("tcp", "TCP_KEEPINTVL", 3)):
        await peer.app.call("option_set", socket=number, level=level, name=name, value=value)
        if (now := (await peer.app.call("option_get", socket=number, level=level, name=name))["value"]) != value:
            raise _Wrong(f"{name} is {now} after it was set to {value}")


async def _no_error(peer: _Peer) -> None:
    _, number = await peer.passive()
    if (code := (await peer.app.call("error", socket=number))["code"]) is not None:
        raise _Wrong(f"error of a connection that works is {code}")


async def _states(peer: _Peer) -> None:
    listening = await peer.app.call("listen", family=peer.family, address="", port=0)
    asked = {"family": peer.family, "address": "", "port": listening["port"]}
    for wanted in ("LISTEN", "CLOSED"):
        if (state := (await peer.app.call("state", **asked))["state"]) != wanted:
            raise _Wrong(f"state of a port that is {wanted} is {state}")
        if wanted == "LISTEN":
            await peer.app.call("close", socket=listening["socket"])


async def _leaks(peer: _Peer) -> None:
    before = (await peer.app.call("sockets"))["count"]
    listening = await peer.app.call("listen", family=peer.family, address="", port=0)
    if (during := (await peer.app.call("sockets"))["count"]) != before + 1:
        raise _Wrong(f"sockets counts {during} with one more than {before}")
    await peer.app.call("close", socket=listening["socket"])
    if (after := (await peer.app.call("sockets"))["count"]) != before:
        raise _Wrong(f"sockets counts {after} after the only new one was closed, before it {before}")


async def _clock(case: Case) -> None:
    listening = await case.app.listen()
    for wait_s in (0.5, 3600.0):
        asked_ns = case.clock.now_ns()
        await listening.fails("accept", "timeout", wait_s=wait_s)
        took_s = (case.clock.now_ns() - asked_ns) / 1e9
        if abs(took_s - wait_s) > 0.001:
            raise _Wrong(f"a timeout of {wait_s:g} s came after {took_s:g} s of its clock")
    await case.sleep(1 / 3)  # it ends between two ticks of any clock
    stood_ns = case.clock.now_ns()
    await case.target.app.call("hello")
    if case.clock.now_ns() != stood_ns:
        raise _Wrong("the clock moves while a request is answered")


_PASSIVE = frozenset({"listen", "accept"})
_CALLS: tuple[tuple[str, frozenset[str], Callable[[_Peer], Awaitable[None]]], ...] = (
    ("it listens and accepts", _PASSIVE, _accepting),
    ("it connects", frozenset({"connect"}), _connecting),
    ("send gives the octets to the peer", _PASSIVE | {"send"}, _sending),
    ("receive waits and leaves octets unread", _PASSIVE | {"receive"}, _receiving),
    ("shutdown closes one direction", _PASSIVE | {"shutdown", "receive", "half-close"}, _half_close),
    ("close sends a FIN, and the socket is gone", _PASSIVE | {"close"}, _closing),
    ("abort sends a RST, and the socket is gone", _PASSIVE | {"abort"}, _aborting),
    ("a request that waits is cancelled", _PASSIVE | {"close"}, _cancelling),
    ("requests that wait are served in order", _PASSIVE | {"receive"}, _ordered),
    ("an option that it lacks is refused", _PASSIVE, _options),
    ("keep-alive is set and told", _PASSIVE | {"keepalive"}, _keepalive),
    ("error is null while all is well", _PASSIVE | {"error"}, _no_error),
    ("state tells listeners from closed ports", frozenset({"listen", "close", "state"}), _states),
    ("sockets counts them", frozenset({"listen", "close"}), _leaks),
)
