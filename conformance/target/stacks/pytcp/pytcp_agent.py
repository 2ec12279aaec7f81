"""PyTCP as a target: the stack and its agent in one program and one thread, on a clock that the harness may move.

The operations are those of the agent of a host (target/agent.py), over PyTCP's sockets instead of the kernel's.

PyTCP has a thread for each of its parts, which here is a call of this one: the packet handler gets each frame of the link as
it comes, the timer a tick for each millisecond of the clock, and what the TX ring would write to a TAP is written to the
link, which takes and gives frames as a TAP does. What would block raises BlockingIOError, and the request waits. An
exception that would end such a thread ends that part: without its packet handler the stack hears nothing, without its TX
ring it says nothing, and without its timer it never repeats anything. The hello of the agent then says so (`crashed`).

PyTCP's addresses are configured without its duplicate address detection. It has no call that aborts a connection, and none
that shuts down one direction: its close is RFC 9293's, after which the socket can still be read, and so does for both.
"""

from __future__ import annotations

import errno
import os
import random
import re
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.target import agent
else:
    sys.path.append(str(Path(__file__).resolve().parents[2]))
    import agent


class _Event(threading.Semaphore):
    """A semaphore that does not block."""

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        if not super().acquire(blocking=False):
            raise BlockingIOError
        return True


threading.Semaphore = _Event  # type: ignore[misc]  # before PyTCP makes its own

import pytcp.subsystems.timer as timer_module  # noqa: E402
from pytcp import config  # noqa: E402
from pytcp.lib import stack  # noqa: E402
from pytcp.lib.ip4_address import Ip4Address, Ip4Host  # noqa: E402
from pytcp.lib.ip6_address import Ip6Address, Ip6Host  # noqa: E402
from pytcp.lib.mac_address import MacAddress  # noqa: E402
from pytcp.lib.packet import PacketRx  # noqa: E402
from pytcp.lib.socket import AF_INET4, AF_INET6, gaierror  # noqa: E402
from pytcp.protocols.tcp.session import ConnError, FsmState  # noqa: E402
from pytcp.protocols.tcp.socket import TcpSocket  # noqa: E402

_SECOND, _TICK_NS = 1_000_000_000, 1_000_000
_START_NS = 1000 * _SECOND
_LONGEST_STEP_NS = 10 * _SECOND  # takes a few tenths of a second of the machine's
_FRAME_LIMIT = 65536
_LINK_WAIT_MS = 5000  # how long frames that were announced may take to come
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_FAMILIES = {4: AF_INET4, 6: AF_INET6}
_ADDRESSES = {4: Ip4Address, 6: Ip6Address}
_UNTIMED = {FsmState.CLOSED, FsmState.LISTEN, FsmState.FIN_WAIT_2, FsmState.CLOSING}  # nothing happens there by a tick
_FAILURES = {ConnError.REFUSED: errno.ECONNREFUSED, ConnError.TIMEOUT: errno.ETIMEDOUT}


class Clock:
    """The time of stack and agent: the machine's, or one that only `move` moves. Has what the module `time` has."""

    def __init__(self, *, virtual: bool) -> None:
        self.virtual, self.now_ns = virtual, _START_NS

    def monotonic_ns(self) -> int:
        return self.now_ns if self.virtual else time.monotonic_ns()

    def monotonic(self) -> float:
        return self.monotonic_ns() / _SECOND

    def time_ns(self) -> int:
        return self.now_ns if self.virtual else time.time_ns()

    def when(self, seconds: float) -> int:
        """Return the first time in ns at which `monotonic` is not before that."""
        at_ns = round(seconds * _SECOND)
        return at_ns + (at_ns / _SECOND < seconds)


class Socket:
    """A socket of PyTCP with the calls that the agent makes of one."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._ended = False

    @property
    def session(self) -> Any:
        return self._sock.tcp_session

    def setblocking(self, _: bool) -> None:
        """Nothing blocks."""

    def bind(self, address: tuple[Any, ...]) -> None:
        with _posix():
            self._sock.bind(address[:2])

    def listen(self, _: int) -> None:
        """PyTCP has no backlog."""
        self._sock.listen()

    def accept(self) -> tuple[Socket, tuple[str, int]]:
        sock, remote = self._sock.accept()
        return Socket(sock), remote

    def connect(self, remote: tuple[str, int]) -> None:
        """The SYN leaves with the next tick; `opened` says how it ended."""
        try:
            with _posix():
                self._sock.connect(remote)
        except BlockingIOError:
            pass

    def opened(self) -> bool:
        """Do the rest of PyTCP's connect once something has happened; return True at its end. Raises OSError."""
        try:
            self.session._event_connect.acquire()
        except BlockingIOError:
            return False
        self._raise_failure()
        return True

    def getsockname(self) -> tuple[str, int]:
        return str(self._sock.local_ip_address), self._sock.local_port

    def getpeername(self) -> None:
        if self._sock.state is FsmState.CLOSED:
            agent.raise_errno(errno.ENOTCONN)

    def send(self, data: memoryview, flags: int) -> int:
        if flags:
            agent.raise_errno(errno.EOPNOTSUPP)
        with _posix():
            return int(self._sock.send(bytes(data)))

    def recv(self, count: int, flags: int = 0) -> bytes:
        """PyTCP tells the end once; a call after that would wait for ever."""
        if flags:
            agent.raise_errno(errno.EOPNOTSUPP)
        if self.session is None or self.session.state is FsmState.LISTEN:
            agent.raise_errno(errno.ENOTCONN)
        data = b"" if self._ended else bytes(self._sock.recv(count))
        self._ended = not data
        return data

    def shutdown(self, how: int) -> None:
        if self._sock.state in (FsmState.CLOSED, FsmState.LISTEN):
            agent.raise_errno(errno.ENOTCONN)
        if how == socket.SHUT_RD:
            agent.raise_errno(errno.EOPNOTSUPP)
        self._sock.close()

    def close(self) -> None:
        if self.session is not None:
            self._sock.close()

    def getsockopt(self, level: int, name: int, *_: int) -> int:
        if (level, name) != (socket.SOL_SOCKET, socket.SO_ERROR):
            agent.raise_errno(errno.ENOPROTOOPT)
        return _FAILURES.get(self.session._connection_error, 0)

    def setsockopt(self, *_: Any) -> None:
        agent.raise_errno(errno.ENOPROTOOPT)

    def _raise_failure(self) -> None:
        failure = _FAILURES.get(self.session._connection_error)
        if failure and self.session.state is not FsmState.ESTABLISHED:
            agent.raise_errno(failure)


@contextmanager
def _posix() -> Iterator[None]:
    """PyTCP's OSErrors have their number in the text alone.

    None has the one of a socket that has no peer, and a gaierror, which is of an address that no network of its own has.
    """
    try:
        yield
    except BlockingIOError:
        raise
    except gaierror as error:
        raise OSError(errno.ENETUNREACH, str(error)) from None
    except OSError as error:
        number = _ERRNO.search(str(error))
        raise OSError(int(number[1]) if number else errno.ENOTCONN, str(error)) from None


class Link:
    """The wire, in the place of PyTCP's TAP and of the two rings that read and write it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.frames_in = self.frames_out = 0
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def read(self, wait_ms: int = 0) -> bytes | None:
        """A frame, or None where none came in time. Raises EOFError at the end of the wire."""
        if not self._poll.poll(wait_ms):
            return None
        frame = os.read(self._descriptor, _FRAME_LIMIT)
        if not frame:
            raise EOFError
        self.frames_in += 1
        return frame

    def enqueue(self, packet: Any) -> None:
        """Send a packet at once, as the TX ring does later."""
        if len(packet) > config.TAP_MTU + 14:
            return
        frame = bytearray(len(packet))
        packet.assemble(memoryview(frame))
        os.write(self._descriptor, frame)
        self.frames_out += 1


class PyTcpAgent(agent.Agent):
    """The loop: frames, ticks and requests in the order in which they come."""

    def __init__(self, link: Link, clock: Clock) -> None:  # the kernel's sockets are not needed: not the base's
        self.begin(0, 1)
        self.link, self.time = link, clock
        self.crashed: dict[str, str] = {}
        self.ticks = clock.monotonic_ns() // _TICK_NS
        self.reported, self.news = 0, False

    # The loop

    def run(self) -> None:
        self.write({"hello": self.hello()})
        poll = select.poll()
        for descriptor in (self.reader, self.link._descriptor):
            poll.register(descriptor, select.POLLIN)
        while self.running:
            self.flush()
            ready = dict(poll.poll(self.patience()))
            self.take_frames()
            self.settle()
            if self.reader in ready:
                self.read(0)
                self.converse()

    def converse(self) -> bool:
        while (line := self.next_line()) is not None:
            self.take_frames()  # they were sent before
            if line.strip():
                self.serve_line(line)
            self.settle()
        return False

    def patience(self) -> float | None:
        """Milliseconds until something happens by itself; None: for ever."""
        next_ns = self.next_ns()
        if self.time.virtual or next_ns is None:
            return None
        return max(0, next_ns - self.time.monotonic_ns()) / 1e6

    def next_ns(self) -> int | None:
        """The next tick that does anything, or the next request that has waited long enough."""
        super().patience()  # puts aside what has been answered
        due = [self.time.when(self.deadlines[0][0])] if self.deadlines else []
        if self.ticking:
            due.append((self.ticks + 1) * _TICK_NS)
        return min(due, default=None)

    def settle(self) -> None:
        """Let everything happen that is due now."""
        ticks = self.time.monotonic_ns() // _TICK_NS
        while self.ticks < ticks and self.ticking:
            self.ticks += 1
            self.part("timer", tick)
        self.ticks = ticks
        for sock in list(self.socks.values()):
            self.wake(sock, agent.READ | agent.WRITE)
        self.expire()

    def rewatch(self, sock: agent.Sock) -> None:
        """Every socket is asked after every event."""

    def reply(self, number: int | None, reply: dict[str, Any]) -> None:
        super().reply(number, reply)
        self.news = True

    # The stack

    @property
    def ticking(self) -> bool:
        """Return True if a tick does anything: PyTCP ticks its sessions to the end of the program."""
        if "timer" in self.crashed:
            return False
        timer = stack.timer
        return bool(timer._timers) or any(task._method.__self__.state not in _UNTIMED for task in timer._tasks)

    def take_frames(self, wait_ms: int = 0) -> bool:
        """Give the stack what is on the link, a frame at a time; whether there was any."""
        any_came = False
        try:
            while frame := self.link.read(0 if any_came else wait_ms):
                any_came = True
                self.part("packet handler", stack.packet_handler._phrx_ether, PacketRx(frame))
                self.settle()
        except (EOFError, OSError):
            self.running = False
        return any_came

    def enqueue(self, packet: Any) -> None:
        """In the place of the TX ring's: what fails does so in that ring's thread, not in its caller's."""
        self.part("TX ring", self.link.enqueue, packet)

    def part(self, name: str, work: Callable[..., None], *arguments: Any) -> None:
        """Have a part of the stack do what its thread would; an exception is that one's end."""
        if name in self.crashed:
            return
        try:
            work(*arguments)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(where.filename).name}, {where.name}"
            self.crashed[name] = f"{name}: {type(error).__name__}: {error} ({place})"
            print(f"pytcp: {self.crashed[name]}", file=sys.stderr)

    # Operations

    @agent.operation
    def hello(self, number: int = 0) -> dict[str, Any]:
        can = [*(call for call in agent.APPLICATION if call != "abort"), "state", "ipv4", "ipv6"]
        return {
            "name": "pytcp",
            "version": version(),
            "agent": agent.AGENT,
            "protocol": agent.PROTOCOL,
            "capabilities": [*can, "virtual-time"] if self.time.virtual else can,
            "crashed": list(self.crashed.values()),
        }

    @agent.operation
    def connect(
        self,
        number: int,
        *,
        family: int,
        remote_address: str,
        remote_port: int,
        address: str = "",
        port: int = 0,
        reuse: bool = False,
        options: Any = (),
    ) -> dict[str, Any]:
        local, remote = agent.packed(family, address, "address"), agent.packed(family, remote_address, "remote_address")
        sock: Any = new_socket(family)
        if address or port:
            sock.bind((local[0], port))
        sock.connect((remote[0], remote_port))
        return agent.named(self.add(sock, family), sock.getsockname())

    @agent.operation
    def connected(self, number: int, *, sock: Any, timeout: float | None = None) -> None:
        def step(events: int) -> dict[str, Any] | None:
            if sock.listening:
                agent.raise_errno(errno.ENOTCONN)
            if sock.failure:
                agent.raise_errno(sock.failure)
            try:
                sock.opened = sock.opened or sock.socket.opened() or None
            except OSError as error:
                sock.failure = error.errno
                raise
            return {} if sock.opened else None

        self.wait(number, sock, agent.WRITE, step, timeout=timeout)

    @agent.operation
    def close(self, number: int, *, sock: agent.Sock) -> dict[str, Any]:
        self.drop(sock)
        return agent.close_now(sock.socket)

    @agent.operation
    def state(
        self, number: int, *, family: int, address: str, port: int, remote_address: str = "", remote_port: int = 0
    ) -> dict[str, Any]:
        local = agent.packed(family, address, "address")[0]
        remote = agent.packed(family, remote_address, "remote_address")[0]
        for exact, here, there, its_port in (
            (True, local, remote, remote_port),
            (False, local, "", 0),
            (False, "", "", 0),
        ):
            ends = [_ADDRESSES[family](one or agent.ANY[family]) for one in (here, there)]
            held = stack.sockets.get(f"AF_INET{family}/SOCK_STREAM/{ends[0]}/{port}/{ends[1]}/{its_port}")
            if held is not None and (exact or held.state is FsmState.LISTEN):
                return {"state": str(held.state).replace("_", "-").replace("RCVD", "RECEIVED")}
        return {"state": "CLOSED"}

    @agent.operation
    def clock(self, number: int, *, until_ns: int, frames_in: int) -> None:
        """See docs/agent-protocol.md: that it was answered is no news."""
        if not self.time.virtual:
            raise agent.Refusal("unknown-op", "the clock is the real one: it is not for the harness to move")
        while self.link.frames_in < frames_in:
            if not self.take_frames(_LINK_WAIT_MS):
                arrived = self.link.frames_in
                raise agent.Refusal("bad-request", f"frames_in: {frames_in} were announced, {arrived} arrived")
        self.settle()
        until_ns = min(until_ns, self.time.now_ns + _LONGEST_STEP_NS)
        while self.reported == self.link.frames_out and not self.news and self.time.now_ns < until_ns:
            next_ns = self.next_ns()
            self.time.now_ns = until_ns if next_ns is None else min(next_ns, until_ns)
            self.settle()
        self.reported = self.link.frames_out
        super().reply(number, {"ok": {"now_ns": self.time.now_ns, "frames_out": self.reported}})
        self.news = False


def version() -> str:
    """PyTCP's, by the name of the folder that pip leaves: importlib.metadata takes as long to import as PyTCP."""
    (folder,) = Path(config.__file__).parents[1].glob("PyTCP-*.dist-info")
    return folder.stem.partition("-")[2]


def new_socket(family: int, *_: Any, **__: Any) -> Any:
    """In the place of the agent's own: PyTCP has no options."""
    return Socket(TcpSocket(_FAMILIES[family]))


def tick() -> None:
    """One round of PyTCP's timer thread, which sleeps a millisecond in each (see `_Nap`)."""
    stack.timer._run_thread = True
    stack.timer._Timer__thread_timer()


class _Nap:
    """In the place of the module `time` in PyTCP's timer: the millisecond is over, and the round is the last one."""

    @staticmethod
    def sleep(_: float) -> None:
        stack.timer._run_thread = False


def no_options(value: Any) -> tuple[()]:
    """PyTCP has none."""
    if not isinstance(value, list) or not all(isinstance(one, list) and len(one) == 3 for one in value):
        raise ValueError("a list of [level, name, value]")
    if value:
        agent.raise_errno(errno.ENOPROTOOPT)
    return ()


def configure() -> None:
    """Give the stack its addresses."""
    environment = os.environ
    config.LOG_CHANEL = set()  # it would go to standard output
    config.TAP_MTU = int(environment["TCP_CONFORMANCE_MTU"])
    timer_module.time = _Nap
    handler = stack.packet_handler
    handler.assign_mac_address(MacAddress(environment["TCP_CONFORMANCE_MAC"]))
    handler.ip4_host.append(Ip4Host(environment["TCP_CONFORMANCE_IPV4"]))
    handler._assign_ip6_multicast(Ip6Address("ff02::1"))
    handler._assign_ip6_host(Ip6Host(environment["TCP_CONFORMANCE_IPV6"]))


def main() -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    clock = Clock(virtual=os.environ["TCP_CONFORMANCE_CLOCK"] == "virtual")
    if clock.virtual:
        random.seed(0)  # the same run twice is the same, initial sequence numbers too
    agent.new_socket = new_socket
    agent.time = clock  # type: ignore[assignment, attr-defined]
    agent.KINDS.update(options=no_options, until_ns=agent.whole(0, 1 << 62), frames_in=agent.whole(0, 1 << 62))
    for name in ("abort", "at_mark", "sysctl_get", "sysctl_set"):
        del agent.OPERATIONS[name]
    served = PyTcpAgent(Link(int(os.environ["TCP_CONFORMANCE_LINK_FD"])), clock)
    stack.tx_ring = served
    configure()
    served.run()


if __name__ == "__main__":
    main()
