"""The agent as a process: requests in, replies out, real sockets on loopback."""

from __future__ import annotations

import ast
import base64
import contextlib
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conformance.target import agent as agent_module
from tests.capabilities import undocumented

AGENT = Path(agent_module.__file__)
COMMAND = [sys.executable, "-I", "-S", str(AGENT)]
PATIENCE_S = 5.0  # no reply takes that long: reached only when something is broken
LOOPBACK = {4: "127.0.0.1", 6: "::1"}


class AgentError(Exception):
    """An error reply."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code = error["code"]
        self.error = error


class Talk:
    """Speaks the protocol over two descriptors, and keeps replies in the order they came."""

    def __init__(self, reader: int, writer: int) -> None:
        self.reader, self.writer = reader, writer
        self.ids = itertools.count(1)
        self.buffer = b""
        self.replies: list[dict[str, Any]] = []

    def line(self) -> dict[str, Any]:
        """The next line that the agent wrote."""
        end = time.monotonic() + PATIENCE_S
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.reader], [], [], max(0.0, end - time.monotonic()))
            assert ready, "no reply"
            chunk = os.read(self.reader, 1 << 20)
            assert chunk, "the agent has closed its output"
            self.buffer += chunk
        line, _, self.buffer = self.buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def write(self, raw: bytes) -> None:
        while raw:
            raw = raw[os.write(self.writer, raw) :]

    def start(self, op: str, **arguments: Any) -> int:
        """Sends a request: its id."""
        number = next(self.ids)
        self.write(json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n")
        return number

    def reply(self, number: int | None) -> dict[str, Any]:
        for at, reply in enumerate(self.replies):
            if reply["id"] == number:
                return self.replies.pop(at)
        while True:
            reply = self.line()
            if reply["id"] == number:
                return reply
            self.replies.append(reply)

    def result(self, number: int) -> dict[str, Any]:
        reply = self.reply(number)
        if "error" in reply:
            raise AgentError(reply["error"])
        ok: dict[str, Any] = reply["ok"]
        return ok

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        return self.result(self.start(op, **arguments))

    def refused(self, op: str, **arguments: Any) -> str:
        with pytest.raises(AgentError) as raised:
            self.ask(op, **arguments)
        return str(raised.value.code)

    def failure(self, number: int) -> dict[str, Any]:
        with pytest.raises(AgentError) as raised:
            self.result(number)
        return raised.value.error

    def unanswered(self, *numbers: int) -> bool:
        """Return True if these wait: the agent has answered a later request, and not them."""
        self.ask("sockets")
        return not any(reply["id"] in numbers for reply in self.replies)

    # Short forms

    def listen(self, family: int = 4, **arguments: Any) -> dict[str, Any]:
        return self.ask("listen", **{"family": family, "address": LOOPBACK[family], "port": 0, **arguments})

    def connect(self, listener: dict[str, Any], family: int = 4, **arguments: Any) -> dict[str, Any]:
        remote = {"remote_address": LOOPBACK[family], "remote_port": listener["port"]}
        return self.ask("connect", family=family, **remote, **arguments)

    def send(self, sock: int, data: bytes, **arguments: Any) -> dict[str, Any]:
        return self.ask("send", socket=sock, data=b64(data), **arguments)

    def receive(self, sock: int, **arguments: Any) -> tuple[bytes, bool]:
        return got(self.ask("receive", socket=sock, **arguments))

    def pair(self, family: int = 4, options: list[Any] | None = None, **arguments: Any) -> Pair:
        listener = self.listen(family, options=options or [])
        ours = self.connect(listener, family, options=options or [], **arguments)
        theirs = self.ask("accept", socket=listener["socket"])
        self.ask("close", socket=listener["socket"])
        return Pair(ours["socket"], theirs["socket"], family, ours["port"], listener["port"])

    def state(self, pair: Pair) -> dict[str, Any]:
        """The connecting end's, by the kernel."""
        address = LOOPBACK[pair.family]
        return self.ask(
            "state",
            family=pair.family,
            address=address,
            port=pair.port,
            remote_address=address,
            remote_port=pair.remote_port,
        )

    def reaches(self, pair: Pair, state: str) -> dict[str, Any]:
        """Asks until the kernel has come to this state."""
        end = time.monotonic() + PATIENCE_S
        while (seen := self.state(pair))["state"] != state:
            assert time.monotonic() < end, f"{seen['state']} instead of {state}"
        return seen

    def narrow_pair(self) -> Pair:
        """Ends that take little: what is written to one with `fill` does not fit into the other."""
        return self.pair(options=[["socket", "SO_RCVBUF", 16384]])

    def fill(self, sock: int) -> int:
        """Writes until the socket's buffer has no room; the number of bytes."""
        total, block = 0, b64(b"x" * 262144)
        while (sent := self.ask("send", socket=sock, data=block, wait=False)["sent"]) > 0:
            total += sent
        return total


class Pair(NamedTuple):
    """Both ends of a connection: `ours` connected, `theirs` was accepted."""

    ours: int
    theirs: int
    family: int
    port: int
    remote_port: int

    @property
    def swapped(self) -> Pair:
        return Pair(self.theirs, self.ours, self.family, self.remote_port, self.port)


class Running(Talk):
    """An agent process."""

    def __init__(self, command: list[str] | None = None, first: bytes = b"") -> None:
        self.process = subprocess.Popen(command or COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self.process.stdin
        assert self.process.stdout
        super().__init__(self.process.stdout.fileno(), self.process.stdin.fileno())
        self.write(first)
        self.hello = self.line()["hello"]

    def end(self) -> int:
        """Closes its input: its exit status."""
        assert self.process.stdin
        self.process.stdin.close()
        return self.process.wait(PATIENCE_S)

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def memory_kib(self) -> int:
        """Return its resident memory in KiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def listening(self) -> set[int]:
        """Ports on which it takes connections or, by UDP, anything; 0 stands for a UNIX socket with a name."""
        ports, inodes = set(), set()
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            inodes.add(str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]"))
        for table, states in {"tcp": ("0A",), "tcp6": ("0A",), "udp": ("07",), "udp6": ("07",)}.items():
            for line in Path(f"/proc/{self.process.pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[9] in inodes and fields[3] in states:
                    ports.add(int(fields[1].rpartition(":")[2], 16))
        for line in Path(f"/proc/{self.process.pid}/net/unix").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[6] in inodes and len(fields) > 7:
                ports.add(0)
        return ports

    def discard(self) -> None:
        self.process.kill()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            stream.close()
        self.process.wait()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def got(ok: dict[str, Any]) -> tuple[bytes, bool]:
    return base64.b64decode(ok["data"]), ok["eof"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    running = Running()
    yield running
    assert running.ask("sockets") == {"count": 0, "pending": 0}
    assert running.end() == 0
    running.discard()


@pytest.fixture
def agent(shared: Running) -> Iterator[Running]:
    """One process for many tests: each leaves it as it found it."""
    yield shared
    last = shared.ask("listen", family=4, address="127.0.0.1", port=0)["socket"]
    for sock in range(getattr(shared, "before", 0) + 1, last + 1):
        shared.start("abort", socket=sock)
    shared.before = last  # type: ignore[attr-defined]
    shared.ask("hello")
    shared.replies.clear()


@pytest.fixture
def fresh() -> Iterator[Running]:
    """A process of its own, for tests that end it."""
    running = Running()
    yield running
    running.discard()


@pytest.fixture(params=[4, 6])
def family(request: pytest.FixtureRequest, shared: Running) -> int:
    number: int = request.param
    if f"ipv{number}" not in shared.hello["capabilities"]:
        pytest.skip(f"capability ipv{number} is missing")
    return number


# hello


def test_says_hello_unasked_and_when_asked(agent: Running) -> None:
    assert agent.hello == agent.ask("hello")
    assert agent.hello["name"] == "linux"
    assert (agent.hello["version"], agent.hello["agent"]) == (os.uname().release, "1")
    assert agent.hello["protocol"] == 1
    capabilities = set(agent.hello["capabilities"])
    assert not undocumented(capabilities)
    assert {"listen", "state", "ipv4", "keepalive", "half-close", "urgent"} <= capabilities
    assert {"options:SO_LINGER", "options:TCP_NODELAY", "options:TCP_USER_TIMEOUT"} <= capabilities


def test_replies_carry_the_time_of_the_call(agent: Running) -> None:
    before = time.time_ns()
    at = agent.reply(agent.start("sockets"))["at_ns"]
    refused_at = agent.reply(agent.start("nonsense"))["at_ns"]
    assert before <= at <= refused_at <= time.time_ns()


def test_source_is_python_3_8() -> None:
    ast.parse(AGENT.read_text(), feature_version=(3, 8))


# listen, accept, connect, connected


def test_connects_and_accepts(agent: Running, family: int) -> None:
    listener = agent.listen(family)
    assert listener["address"] == LOOPBACK[family]
    ours = agent.connect(listener, family)
    accepted = agent.ask("accept", socket=listener["socket"])
    assert (accepted["address"], accepted["port"]) == (LOOPBACK[family], ours["port"])
    assert len({listener["socket"], ours["socket"], accepted["socket"]}) == 3
    assert agent.ask("connected", socket=ours["socket"]) == {}
    assert agent.ask("connected", socket=accepted["socket"]) == {}


def test_both_families_may_listen_on_one_port(agent: Running, family: int) -> None:
    port = agent.listen(family, address="")["port"]
    if "ipv6" in agent.hello["capabilities"]:
        assert agent.listen(10 - family, address="", port=port)["port"] == port


def test_connects_from_the_address_and_port_asked_for(agent: Running) -> None:
    listener = agent.listen()
    port = agent.connect(listener, address="127.0.0.2")["port"]
    assert agent.ask("accept", socket=listener["socket"])["address"] == "127.0.0.2"
    assert agent.refused("connect", family=4, address="127.0.0.2", port=port, remote_address="127.0.0.1", remote_port=1) == "EADDRINUSE"  # fmt: skip  # noqa: E501


def test_reuse_binds_a_port_that_is_in_time_wait(agent: Running) -> None:
    pair = agent.pair(reuse=True)
    agent.ask("close", socket=pair.ours)
    agent.ask("close", socket=pair.theirs)
    agent.reaches(pair, "TIME-WAIT")
    second = agent.listen()
    with pytest.raises(AgentError, match="in use"):
        agent.connect(second, address="127.0.0.1", port=pair.port)
    assert agent.connect(second, address="127.0.0.1", port=pair.port, reuse=True)["port"] == pair.port


def test_listen_names_the_failure(agent: Running) -> None:
    taken = agent.listen()["port"]
    assert agent.refused("listen", family=4, address="127.0.0.1", port=taken) == "EADDRINUSE"
    assert agent.refused("listen", family=4, address="192.0.2.1", port=0) == "EADDRNOTAVAIL"
    assert agent.refused("listen", family=4, address="localhost", port=0) == "bad-request"
    assert agent.refused("listen", family=4, address="::1", port=0) == "bad-request"
    assert agent.refused("listen", family=6, address="fe80::1%no-such", port=0) == "ENODEV"


def test_accepts_are_served_in_order(agent: Running) -> None:
    listener = agent.listen()
    first, second = (agent.start("accept", socket=listener["socket"]) for _ in range(2))
    assert agent.unanswered(first, second)
    ports = [agent.connect(listener)["port"] for _ in range(2)]
    assert [agent.result(first)["port"], agent.result(second)["port"]] == ports


def test_accept_times_out_and_another_takes_the_connection(agent: Running) -> None:
    listener = agent.listen()
    short = agent.start("accept", socket=listener["socket"], timeout=0.01)
    long = agent.start("accept", socket=listener["socket"], timeout=60)
    assert agent.failure(short)["code"] == "timeout"
    port = agent.connect(listener)["port"]
    assert agent.result(long)["port"] == port


def test_refused_connection(agent: Running) -> None:
    listener = agent.listen()
    agent.ask("close", socket=listener["socket"])
    try:  # on loopback the answer may be there before connect returns
        sock = agent.connect(listener)["socket"]
    except AgentError as error:
        assert error.code == "ECONNREFUSED"
    else:
        assert agent.refused("connected", socket=sock) == "ECONNREFUSED"


def test_connection_refused_late_is_remembered(agent: Running) -> None:
    """The accept queue is full, so the SYN is lost; its retransmission, after a second, finds no listener."""
    listener = agent.listen(backlog=0)
    agent.connect(listener)
    sock = agent.connect(listener)["socket"]
    waiting = agent.start("connected", socket=sock)
    sending = agent.start("send", socket=sock, data=b64(b"x"))
    receiving = agent.start("receive", socket=sock)
    assert agent.send(sock, b"x", wait=False) == {"sent": 0}
    assert agent.refused("connected", socket=sock, timeout=0.01) == "timeout"
    agent.ask("close", socket=listener["socket"])
    for number in (waiting, sending, receiving):
        assert agent.failure(number)["code"] == "ECONNREFUSED"
    for op in ("connected", "receive"):
        assert agent.refused(op, socket=sock) == "ECONNREFUSED"
    assert agent.ask("error", socket=sock) == {"code": "ECONNREFUSED"}


def test_connected_is_remembered_after_a_reset(agent: Running) -> None:
    pair = agent.pair()
    agent.ask("abort", socket=pair.theirs)
    assert agent.refused("receive", socket=pair.ours) == "ECONNRESET"
    assert agent.ask("connected", socket=pair.ours) == {}


def test_shutdown_ends_an_open_that_is_under_way(agent: Running) -> None:
    listener = agent.listen(backlog=0)
    agent.connect(listener)
    sock = agent.connect(listener)["socket"]
    waiting = agent.start("connected", socket=sock)
    agent.ask("shutdown", socket=sock, how="both")
    assert agent.failure(waiting)["code"] == "ECONNRESET"


def test_listener_is_never_connected(agent: Running) -> None:
    listener = agent.listen()["socket"]
    assert agent.refused("connected", socket=listener) == "ENOTCONN"
    assert agent.refused("receive", socket=listener) == "ENOTCONN"
    pair = agent.pair()
    assert agent.refused("accept", socket=pair.ours) == "EINVAL"


# send, receive


def test_receive_waits_for_count_and_stops_at_maximum(agent: Running, family: int) -> None:
    pair = agent.pair(family)
    waiting = agent.start("receive", socket=pair.theirs, count=5, maximum=6)
    agent.send(pair.ours, b"abc")
    assert agent.unanswered(waiting)
    agent.send(pair.ours, b"defgh")
    assert got(agent.result(waiting)) == (b"abcdef", False)
    assert agent.receive(pair.theirs) == (b"gh", False)


def test_count_zero_never_waits(agent: Running) -> None:
    pair = agent.pair()
    assert agent.receive(pair.theirs, count=0) == (b"", False)
    agent.send(pair.ours, b"abc")
    assert agent.receive(pair.theirs, count=1, maximum=1) == (b"a", False)
    assert agent.receive(pair.theirs, count=0, maximum=1) == (b"b", False)
    assert agent.receive(pair.theirs, count=0) == (b"c", False)


def test_end_of_file_comes_with_what_was_read(agent: Running) -> None:
    pair = agent.pair()
    waiting = agent.start("receive", socket=pair.theirs, count=10)
    agent.send(pair.ours, b"abc")
    agent.ask("shutdown", socket=pair.ours, how="send")
    assert got(agent.result(waiting)) == (b"abc", True)
    for _ in range(2):
        assert agent.receive(pair.theirs) == (b"", True)


def test_bytes_read_survive_timeout_and_cancel(agent: Running) -> None:
    pair = agent.pair()
    agent.send(pair.ours, b"abc")
    assert agent.refused("receive", socket=pair.theirs, count=10, timeout=0.01) == "timeout"
    waiting = agent.start("receive", socket=pair.theirs, count=10)
    assert agent.ask("cancel", request=waiting) == {"cancelled": True}
    assert agent.failure(waiting)["code"] == "cancelled"
    assert agent.receive(pair.theirs) == (b"abc", False)


def test_receives_are_served_in_order(agent: Running) -> None:
    pair = agent.pair()
    first = agent.start("receive", socket=pair.theirs, count=3, maximum=3)
    second = agent.start("receive", socket=pair.theirs, count=1, maximum=2)
    agent.send(pair.ours, b"ab")
    assert agent.unanswered(first, second)
    agent.send(pair.ours, b"cde")
    assert got(agent.result(first)) == (b"abc", False)
    assert got(agent.result(second)) == (b"de", False)


def test_a_cancelled_receive_lets_the_next_have_its_bytes(agent: Running) -> None:
    pair = agent.pair()
    first = agent.start("receive", socket=pair.theirs, count=10)
    second = agent.start("receive", socket=pair.theirs)
    agent.send(pair.ours, b"abc")
    assert agent.unanswered(first, second)
    agent.ask("cancel", request=first)
    assert got(agent.result(second)) == (b"abc", False)


def test_reading_waits_until_it_is_asked_for(agent: Running) -> None:
    """Data that nobody reads stays in the kernel, where it closes the window."""
    pair = agent.pair()
    agent.send(pair.ours, b"x" * 1000)
    agent.receive(pair.theirs, count=1, maximum=100)
    assert agent.state(pair.swapped)["recv_queue"] == 900


def test_send_waits_for_room_and_others_do_not(agent: Running) -> None:
    pair = agent.narrow_pair()
    total = agent.fill(pair.ours)
    assert total > 0
    rest = agent.start("send", socket=pair.ours, data=b64(b"y" * 100_000))
    assert agent.unanswered(rest)
    assert agent.send(pair.ours, b"z", wait=False) == {"sent": 0}  # not before what waits
    read = b""
    while len(read) < total + 100_000:
        read += agent.receive(pair.theirs, maximum=1 << 20)[0]
    assert agent.result(rest) == {"sent": 100_000}
    assert read == b"x" * total + b"y" * 100_000


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_a_send_that_is_cancelled_says_what_was_sent(agent: Running, end: str) -> None:
    pair = agent.narrow_pair()
    waiting = agent.start("send", socket=pair.ours, data=b64(b"x" * (4 << 20)))
    agent.ask(end, **({"request": waiting} if end == "cancel" else {"socket": pair.ours}))
    error = agent.failure(waiting)
    assert error["code"] == "cancelled"
    assert 0 < error["sent"] < 4 << 20


def test_send_after_shutdown_is_a_broken_pipe(agent: Running) -> None:
    pair = agent.pair()
    agent.ask("shutdown", socket=pair.ours, how="send")
    assert agent.refused("send", socket=pair.ours, data=b64(b"x")) == "EPIPE"
    agent.send(pair.theirs, b"half")
    assert agent.receive(pair.ours) == (b"half", False)


def test_shutdown_receive_ends_the_input(agent: Running) -> None:
    pair = agent.pair()
    waiting = agent.start("receive", socket=pair.ours)
    agent.ask("shutdown", socket=pair.ours, how="receive")
    assert got(agent.result(waiting)) == (b"", True)
    agent.ask("shutdown", socket=pair.ours, how="both")
    assert agent.receive(pair.theirs) == (b"", True)


def test_bytes_before_a_reset_are_not_lost(agent: Running) -> None:
    pair = agent.pair()
    waiting = agent.start("receive", socket=pair.theirs, count=10)
    agent.send(pair.ours, b"abc")
    agent.ask("abort", socket=pair.ours)
    assert got(agent.result(waiting)) == (b"abc", False)
    for _ in range(2):
        assert agent.refused("receive", socket=pair.theirs) == "ECONNRESET"


def test_bytes_before_a_reset_that_is_already_there(agent: Running) -> None:
    pair = agent.pair()
    agent.send(pair.ours, b"abcdef")
    agent.ask("abort", socket=pair.ours)
    agent.reaches(pair.swapped, "CLOSED")
    assert agent.receive(pair.theirs, maximum=4) == (b"abcd", False)
    assert agent.ask("error", socket=pair.theirs) == {"code": "ECONNRESET"}
    assert agent.receive(pair.theirs) == (b"ef", False)
    assert agent.refused("receive", socket=pair.theirs, count=0) == "ECONNRESET"


def test_a_reset_told_to_send_is_told_to_receive_too(agent: Running) -> None:
    pair = agent.pair()
    agent.ask("abort", socket=pair.theirs)
    agent.reaches(pair, "CLOSED")
    assert agent.refused("send", socket=pair.ours, data=b64(b"x")) == "ECONNRESET"
    assert agent.refused("send", socket=pair.ours, data=b64(b"x")) == "EPIPE"
    assert agent.refused("receive", socket=pair.ours) == "ECONNRESET"
    assert agent.ask("error", socket=pair.ours) == {"code": "ECONNRESET"}


def test_a_connection_in_order_has_no_error(agent: Running) -> None:
    pair = agent.pair()
    assert agent.ask("error", socket=pair.ours) == {"code": None}
    assert agent.ask("option_get", socket=pair.ours, level="socket", name="SO_ERROR") == {"value": 0}


def test_urgent_data(agent: Running) -> None:
    pair = agent.pair()
    assert agent.receive(pair.theirs, urgent=True, count=0) == (b"", False)
    waiting = agent.start("receive", socket=pair.theirs, urgent=True)
    agent.send(pair.ours, b"ab")
    assert agent.unanswered(waiting)
    agent.send(pair.ours, b"c!", urgent=True)
    assert got(agent.result(waiting)) == (b"!", False)
    assert agent.receive(pair.theirs, count=3) == (b"abc", False)


def test_urgent_data_in_line_is_read_with_the_rest(agent: Running) -> None:
    pair = agent.pair()
    agent.ask("option_set", socket=pair.theirs, level="socket", name="SO_OOBINLINE", value=1)
    agent.send(pair.ours, b"abc!", urgent=True)
    assert agent.refused("receive", socket=pair.theirs, urgent=True) == "EINVAL"
    assert agent.receive(pair.theirs, count=4) == (b"abc!", False)


def test_reading_stops_at_the_mark_of_urgent_data(agent: Running) -> None:
    pair = agent.pair(options=[["socket", "SO_OOBINLINE", 1]])
    agent.send(pair.ours, b"abc!d", urgent=False)
    agent.send(pair.ours, b"e!", urgent=True)
    for count, at_mark in ((5, False), (1, True), (1, False)):
        assert len(agent.receive(pair.theirs, count=count, maximum=count)[0]) == count
        assert agent.ask("at_mark", socket=pair.theirs)["at_mark"] is at_mark


def test_waiting_for_urgent_data_ends_with_the_connection(agent: Running) -> None:
    pair = agent.pair()
    waiting = agent.start("receive", socket=pair.theirs, urgent=True)
    agent.ask("abort", socket=pair.ours)
    assert agent.failure(waiting)["code"] == "ECONNRESET"
    pair = agent.pair()
    waiting = agent.start("receive", socket=pair.theirs, urgent=True)
    agent.ask("close", socket=pair.ours)
    agent.ask("shutdown", socket=pair.theirs, how="send")
    assert got(agent.result(waiting)) == (b"", True)


def test_replies_come_when_they_are_due(agent: Running) -> None:
    """Hundreds wait at once; the last asked is answered first."""
    pairs = [agent.pair() for _ in range(100)]
    waiting = [agent.start("receive", socket=pair.theirs, timeout=60) for pair in pairs]
    assert agent.unanswered(*waiting)
    assert agent.ask("sockets")["pending"] == 100
    for pair, number in zip(reversed(pairs), reversed(waiting), strict=True):
        agent.send(pair.ours, str(number).encode())
        assert got(agent.result(number))[0] == str(number).encode()


def test_timeouts_come_in_the_order_they_are_due(agent: Running) -> None:
    listener = agent.listen()["socket"]
    late = agent.start("accept", socket=listener, timeout=0.03)
    early = agent.start("accept", socket=listener, timeout=0.01)
    now = agent.start("accept", socket=listener, timeout=0)
    assert [agent.line()["id"] for _ in range(3)] == [now, early, late]


# close, abort


def test_close_cancels_what_waits_and_forgets_the_socket(agent: Running) -> None:
    pair = agent.pair()
    waiting = [agent.start("receive", socket=pair.ours, urgent=urgent) for urgent in (False, True)]
    agent.ask("close", socket=pair.ours)
    for number in waiting:
        assert agent.failure(number)["code"] == "cancelled"
    assert agent.refused("send", socket=pair.ours, data="") == "no-such-socket"
    assert agent.receive(pair.theirs) == (b"", True)
    assert agent.pair().ours > pair.theirs  # numbers are not used again


def test_abort_resets(agent: Running) -> None:
    pair = agent.pair()
    agent.ask("abort", socket=pair.ours)
    assert agent.refused("receive", socket=pair.theirs) == "ECONNRESET"
    assert agent.state(pair)["state"] == "CLOSED"


def test_a_close_that_lingers_holds_nobody_up(agent: Running) -> None:
    pair = agent.narrow_pair()
    total = agent.fill(pair.ours)
    agent.ask("option_set", socket=pair.ours, level="socket", name="SO_LINGER", value=[1, 60])
    closing = agent.start("close", socket=pair.ours)
    assert agent.unanswered(closing)
    read = 0
    while read < total:
        read += len(agent.receive(pair.theirs, maximum=1 << 20)[0])
    assert agent.result(closing) == {}


# options, info, state, sysctl


@pytest.mark.parametrize(
    ("level", "name", "value"),
    [
        ("socket", "SO_KEEPALIVE", 1),
        ("socket", "SO_LINGER", [1, 5]),
        ("socket", "SO_LINGER", [0, 0]),
        ("tcp", "TCP_NODELAY", 1),
        ("tcp", "TCP_KEEPIDLE", 77),
        ("tcp", "TCP_USER_TIMEOUT", 4321),
        ("tcp", "TCP_SYNCNT", 3),
        ("tcp", "TCP_LINGER2", 7),
        ("tcp", "TCP_NOTSENT_LOWAT", 4096),
        ("ip", "IP_TTL", 33),
    ],
)
def test_options_are_set_and_read(agent: Running, level: str, name: str, value: Any) -> None:
    where = {"socket": agent.pair().ours, "level": level, "name": name}
    assert agent.ask("option_set", value=value, **where) == {}
    assert agent.ask("option_get", **where) == {"value": value}


def test_options_as_bytes(agent: Running) -> None:
    where = {"socket": agent.pair().ours, "level": "tcp", "name": "TCP_CONGESTION"}
    agent.ask("option_set", value={"bytes": b64(b"reno")}, **where)
    assert agent.refused("option_set", value={"bytes": b64(b"no-such")}, **where) == "ENOENT"


@pytest.mark.parametrize(
    ("level", "name", "code"),
    [
        ("tcp", "TCP_NO_SUCH", "bad-request"),
        ("tcp", "TCP_REPAIR", "bad-request"),
        ("tcp", "SO_RCVBUF", "bad-request"),
        ("socket", "socket", "bad-request"),
        ("udp", "UDP_CORK", "bad-request"),
        ("tcp", "TCP_MAXSEG", "EINVAL"),
    ],
)
def test_options_refused(agent: Running, level: str, name: str, code: str) -> None:
    where = {"socket": agent.listen()["socket"], "level": level, "name": name}
    assert agent.refused("option_set", value=1, **where) == code


def test_options_are_set_before_the_socket_is_used(agent: Running) -> None:
    listener = agent.listen(options=[["tcp", "TCP_MAXSEG", 600], ["socket", "SO_RCVBUF", 5000]])
    sock = agent.connect(listener, options=[["tcp", "TCP_NODELAY", 1]])["socket"]
    assert agent.ask("option_get", socket=sock, level="tcp", name="TCP_MAXSEG")["value"] <= 600
    assert agent.ask("option_get", socket=sock, level="tcp", name="TCP_NODELAY") == {"value": 1}
    for options in ([["tcp", "TCP_NODELAY"]], "TCP_NODELAY", [["tcp", "TCP_NODELAY", "1"]], [["tcp", 1, 1]]):
        assert agent.refused("listen", family=4, address="", port=0, options=options) == "bad-request"


def test_states_of_a_connection_that_is_closed_from_one_end(agent: Running, family: int) -> None:
    pair = agent.pair(family)
    seen = agent.reaches(pair, "ESTABLISHED")
    assert seen["inode"] > 0
    assert (seen["retransmits"], seen["recv_queue"], seen["send_queue"]) == (0, 0, 0)
    assert agent.reaches(pair.swapped, "ESTABLISHED")
    agent.ask("shutdown", socket=pair.ours, how="send")
    agent.reaches(pair, "FIN-WAIT-2")
    agent.reaches(pair.swapped, "CLOSE-WAIT")
    agent.ask("close", socket=pair.ours)
    orphan = agent.reaches(pair, "FIN-WAIT-2")  # nobody's, but the kernel keeps it
    assert orphan["inode"] == 0
    assert orphan["expires_s"] > 0
    agent.ask("close", socket=pair.theirs)
    ended = agent.reaches(pair, "TIME-WAIT")
    assert ended["timer"] == "time-wait"
    assert 0 < ended["expires_s"] <= 60
    assert agent.state(pair.swapped)["state"] == "CLOSED"


def test_states_behind_a_closed_window(agent: Running) -> None:
    """A FIN that waits behind data nobody reads."""
    pair = agent.narrow_pair()
    agent.fill(pair.ours)
    agent.ask("close", socket=pair.ours)
    orphan = agent.reaches(pair, "FIN-WAIT-1")
    assert orphan["send_queue"] > 0
    assert orphan["inode"] == 0
    assert orphan["timer"] in ("probe", "retransmission")
    pair = agent.narrow_pair()
    agent.ask("shutdown", socket=pair.theirs, how="send")
    agent.reaches(pair, "CLOSE-WAIT")
    agent.fill(pair.ours)
    agent.ask("close", socket=pair.ours)
    agent.reaches(pair, "LAST-ACK")


def test_state_closing(agent: Running) -> None:
    """Both FINs are sent; one end reads the other's, its own still waits to be read."""
    pair = agent.narrow_pair()
    for sock in (pair.ours, pair.theirs):
        agent.fill(sock)
        agent.ask("shutdown", socket=sock, how="send")
    while not agent.receive(pair.ours, maximum=1 << 20)[1]:
        pass
    agent.reaches(pair, "CLOSING")
    agent.reaches(pair.swapped, "FIN-WAIT-2")


def test_state_of_listeners(agent: Running, family: int) -> None:
    listener = agent.listen(family, backlog=5)
    where = {"family": family, "address": LOOPBACK[family], "port": listener["port"]}
    seen = agent.ask("state", **where)
    assert (seen["state"], seen["recv_queue"], seen["send_queue"]) == ("LISTEN", 0, 5)
    # A four-tuple without a connection: a segment would find the listener.
    peer = {"remote_address": LOOPBACK[family], "remote_port": 9}
    assert agent.ask("state", **where, **peer)["state"] == "LISTEN"
    agent.ask("close", socket=listener["socket"])
    assert agent.ask("state", **where)["state"] == "CLOSED"
    assert agent.ask("state", **where, **peer)["state"] == "CLOSED"


def test_states_of_opening_connections(agent: Running) -> None:
    """TCP_DEFER_ACCEPT keeps the listener's end half open until data comes."""
    listener = agent.listen(options=[["tcp", "TCP_DEFER_ACCEPT", 10]])
    ours = agent.connect(listener)
    agent.ask("connected", socket=ours["socket"])
    pair = Pair(ours["socket"], 0, 4, ours["port"], listener["port"])
    seen = agent.reaches(pair.swapped, "SYN-RECEIVED")
    assert seen["timer"] == "retransmission"
    agent.send(pair.ours, b"x")
    agent.reaches(pair.swapped, "ESTABLISHED")
    full = agent.listen(backlog=0)
    agent.connect(full)
    ours = agent.connect(full)
    seen = agent.reaches(Pair(ours["socket"], 0, 4, ours["port"], full["port"]), "SYN-SENT")
    assert (seen["timer"], seen["expires_s"] > 0) == ("retransmission", True)


def test_proc_tells_the_same_as_netlink(agent: Running, family: int) -> None:
    """/proc/net/tcp has the state if netlink is refused."""
    netlink = agent_module.open_netlink()
    if netlink is None:
        pytest.skip("sock_diag is missing")
    listener, pair, half, ended = agent.listen(family), agent.pair(family), agent.pair(family), agent.pair(family)
    agent.send(pair.ours, b"unread")
    agent.ask("shutdown", socket=half.ours, how="send")
    agent.reaches(half, "FIN-WAIT-2")
    agent.ask("close", socket=ended.ours)
    agent.ask("close", socket=ended.theirs)
    agent.reaches(ended, "TIME-WAIT")
    _, address, _ = agent_module.packed(family, LOOPBACK[family], "address")
    nobody = bytes(len(address))
    with netlink:
        for port, remote, remote_port in [
            (listener["port"], nobody, 0),
            (listener["port"], address, 9),
            (9, address, 9),
            *((end.port, address, end.remote_port) for one in (pair, half, ended) for end in (one, one.swapped)),
        ]:
            wanted = agent_module.FourTuple(family, address, port, remote, remote_port, 0)
            by_netlink, by_proc = agent_module.ask_netlink(netlink, wanted), agent_module.ask_proc(wanted)
            for name in ("state", "timer", "retransmits", "inode"):
                assert by_netlink[name] == by_proc[name]
            if by_proc["state"] != "LISTEN":  # netlink tells the backlog
                assert by_netlink["send_queue"] == by_proc["send_queue"]
                assert by_netlink["recv_queue"] == by_proc["recv_queue"]
            if by_proc["timer"]:
                assert by_netlink["expires_s"] == pytest.approx(by_proc["expires_s"], abs=0.5)


def test_sysctl(agent: Running) -> None:
    name = "net.ipv4.tcp_rfc1337"
    value = agent.ask("sysctl_get", name=name)["value"]
    assert value == Path("/proc/sys/net/ipv4/tcp_rfc1337").read_text().strip()
    if "sysctl" in agent.hello["capabilities"]:
        assert agent.ask("sysctl_set", name=name, value=value) == {}  # as it was: the host's own
        assert agent.refused("sysctl_set", name=name, value="many") == "EINVAL"
    assert agent.refused("sysctl_get", name="net.ipv4.tcp_no_such") == "ENOENT"


@pytest.mark.parametrize(
    "name",
    ["", "net", "kernel.pid_max", "net/../kernel/pid_max", "net...kernel", "net.ipv4.tcp_rfc1337\n", "/etc/passwd"],
)
def test_sysctl_stays_below_net(agent: Running, name: str) -> None:
    assert agent.refused("sysctl_get", name=name) == "bad-request"
    assert agent.refused("sysctl_set", name=name, value="1") == "bad-request"


# sockets, cancel


def test_cancel(agent: Running) -> None:
    listener = agent.listen()["socket"]
    waiting = agent.start("accept", socket=listener)
    assert agent.ask("cancel", request=waiting) == {"cancelled": True}
    assert agent.failure(waiting)["code"] == "cancelled"
    assert agent.ask("cancel", request=waiting) == {"cancelled": False}
    assert agent.ask("cancel", request=987654) == {"cancelled": False}


# Requests that are none


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "bad-json"),
        (b"\xff\xfe", "bad-json"),
        (b"[" * 100_000, "bad-json"),
        (b"[]", "bad-json"),
        (b"7", "bad-json"),
        (b"null", "bad-json"),
        (b'{"op": "hello"}', "bad-request"),
        (b'{"id": "7", "op": "hello"}', "bad-request"),
        (b'{"id": true, "op": "hello"}', "bad-request"),
        (b" " * ((16 << 20) + 1), "bad-json"),
        (b"x" * (17 << 20), "bad-json"),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else value,
)
def test_a_line_without_an_id_is_refused(agent: Running, line: bytes, code: str) -> None:
    agent.write(line + b"\n\n \n")
    reply = agent.reply(None)
    assert (reply["id"], reply["error"]["code"]) == (None, code)
    assert agent.ask("hello")


@pytest.mark.parametrize(
    ("request_", "code", "named"),
    [
        ({"op": "format"}, "unknown-op", "format"),
        ({"op": "__init__"}, "unknown-op", "__init__"),
        ({"op": ["listen"]}, "unknown-op", "listen"),
        ({}, "unknown-op", ""),
        ({"op": "listen", "family": 4, "address": ""}, "bad-request", "port"),
        ({"op": "listen", "family": 4, "address": "", "port": "80"}, "bad-request", "port"),
        ({"op": "listen", "family": 4, "address": "", "port": 65536}, "bad-request", "port"),
        ({"op": "listen", "family": 4, "address": "", "port": True}, "bad-request", "port"),
        ({"op": "listen", "family": 5, "address": "", "port": 0}, "bad-request", "family"),
        ({"op": "listen", "family": True, "address": "", "port": 0}, "bad-request", "family"),
        ({"op": "listen", "family": 4, "address": "\0", "port": 0}, "bad-request", "address"),
        ({"op": "listen", "family": 4, "address": "\ud800", "port": 0}, "bad-request", "address"),
        ({"op": "hello", "loud": 1}, "bad-request", "loud"),
        ({"op": "close"}, "bad-request", "socket"),
        ({"op": "close", "sock": 1}, "bad-request", "sock"),
        ({"op": "close", "socket": 1.0}, "bad-request", "socket"),
        ({"op": "close", "socket": 99999}, "no-such-socket", "99999"),
        ({"op": "accept", "socket": 1, "timeout": -1}, "bad-request", "timeout"),
        ({"op": "accept", "socket": 1, "timeout": float("nan")}, "bad-request", "timeout"),
        ({"op": "accept", "socket": 1, "timeout": "1"}, "bad-request", "timeout"),
        ({"op": "send", "socket": 1, "data": "?"}, "bad-request", "data"),
        ({"op": "send", "socket": 1, "data": "YQ==", "urgent": 1}, "bad-request", "urgent"),
        ({"op": "receive", "socket": 1, "maximum": 0}, "bad-request", "maximum"),
        ({"op": "shutdown", "socket": 1, "how": "wr"}, "bad-request", "how"),
        ({"op": "cancel", "request": None}, "bad-request", "request"),
        ({"op": "sysctl_set", "name": "net.ipv4.tcp_rfc1337", "value": 1}, "bad-request", "value"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else value,
)
def test_a_request_that_is_wrong_is_refused(agent: Running, request_: dict[str, Any], code: str, named: str) -> None:
    agent.write(json.dumps({"id": 5_000_000, **request_}).encode() + b"\n")
    error = agent.reply(5_000_000)["error"]
    assert error["code"] == code
    assert named.encode("unicode-escape").decode() in error["message"]


def test_maximum_below_count_is_refused(agent: Running) -> None:
    assert agent.refused("receive", socket=agent.pair().ours, count=5, maximum=4) == "bad-request"


def test_an_id_is_in_use_until_it_is_answered(agent: Running) -> None:
    waiting = agent.start("accept", socket=agent.listen()["socket"])
    agent.write(json.dumps({"id": waiting, "op": "hello"}).encode() + b"\n")
    assert agent.failure(waiting)["code"] == "bad-request"
    agent.ask("cancel", request=waiting)
    assert agent.failure(waiting)["code"] == "cancelled"


def test_requests_may_come_in_any_pieces(agent: Running) -> None:
    for byte in b'{"id": 6000000, "op": "sockets"}\n':
        agent.write(bytes([byte]))
    assert "ok" in agent.reply(6_000_000)
    agent.write(b"".join(b'{"id": %d, "op": "sockets"}\n' % number for number in range(7_000_000, 7_000_100)))
    assert [agent.line()["id"] for _ in range(100)] == list(range(7_000_000, 7_000_100))


# Beginning and end


def test_ends_with_its_input(fresh: Running) -> None:
    pair = fresh.narrow_pair()
    fresh.start("accept", socket=fresh.listen()["socket"], timeout=60)
    fresh.start("receive", socket=pair.ours)
    fresh.ask("option_set", socket=pair.theirs, level="socket", name="SO_LINGER", value=[1, 60])
    fresh.fill(pair.theirs)
    assert fresh.end() == 0
    assert fresh.process.stdout


def test_closes_its_connections_when_it_ends(fresh: Running) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fresh.ask("connect", family=4, remote_address="127.0.0.1", remote_port=listener.getsockname()[1])
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE_S)
            assert fresh.end() == 0
            assert connection.recv(1) == b""


def test_answers_what_was_asked_before_the_end() -> None:
    done = subprocess.run(COMMAND, input=b'{"id":1,"op":"sockets"}\n{"id":2,"op":', capture_output=True, check=True)
    hello, reply = (json.loads(line) for line in done.stdout.splitlines())
    assert "hello" in hello
    assert reply["ok"] == {"count": 0, "pending": 0}
    assert done.stderr == b""


def test_reads_a_file(tmp_path: Path) -> None:
    requests = tmp_path / "requests"
    requests.write_text('{"id":1,"op":"sockets"}\n' * 1000)
    with requests.open() as source:
        done = subprocess.run(COMMAND, stdin=source, capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == 1001


def test_ends_when_nobody_reads(fresh: Running) -> None:
    assert fresh.process.stdout
    fresh.process.stdout.close()
    fresh.start("hello")
    assert fresh.process.wait(PATIENCE_S) == 0


def test_ignores_the_interrupt_of_a_terminal(fresh: Running) -> None:
    fresh.process.send_signal(signal.SIGINT)
    assert fresh.ask("hello")
    assert fresh.end() == 0


def test_speaks_over_other_descriptors() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        environment = {"TCP_CONFORMANCE_AGENT_FD": f"{theirs.fileno()},{theirs.fileno()}"}
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-"],  # the program itself comes from standard input
                stdin=AGENT.open(),
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment,
            )
        talk = Talk(ours.fileno(), ours.fileno())
        assert "hello" in talk.line()
        assert talk.pair().ours
        big = talk.pair()
        talk.send(big.ours, b"x" * 300_000, wait=False)
        assert talk.receive(big.theirs, maximum=1 << 20)[0]
        ours.shutdown(socket.SHUT_WR)
        assert process.wait(PATIENCE_S) == 0


def test_descriptors_must_be_two_numbers() -> None:
    done = subprocess.run(COMMAND, env={"TCP_CONFORMANCE_AGENT_FD": "3"}, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"TCP_CONFORMANCE_AGENT_FD" in done.stderr


def test_follows_itself_on_standard_input() -> None:
    """Piped to a host by a starter that reads so many bytes and runs them: requests come behind."""
    source = AGENT.read_bytes()
    starter = f"import sys; exec(compile(sys.stdin.buffer.read({len(source)}), 'agent', 'exec'))"
    running = Running([sys.executable, "-I", "-S", "-c", starter], source + b'{"id":0,"op":"sockets"}\n')
    try:
        assert running.reply(0)["ok"]["count"] == 0
        assert running.ask("hello")
        assert running.end() == 0
    finally:
        running.discard()


def test_a_slow_reader_stops_the_reading_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unread replies are stored up to a limit; then requests wait in their pipe until there is room."""
    monkeypatch.setattr(agent_module, "OUTBOX_LIMIT", 1 << 20)
    monkeypatch.setattr(agent_module, "CHUNK", 1 << 16)
    requests, replies = os.pipe(), os.pipe()
    for fd in (*requests, *replies):
        os.set_blocking(fd, False)
    agent = agent_module.Agent(requests[0], replies[1])
    thread = threading.Thread(target=agent.run)
    thread.start()
    try:
        asked, lines = 0, 0
        block = b"".join(b'{"id": %d, "op": "hello"}\n' % number for number in range(100))  # written whole or not
        room = select.poll()
        room.register(requests[1], select.POLLOUT)
        while room.poll(10) or len(agent.outbox) <= 1 << 20:  # till nobody reads the pipe any more
            with contextlib.suppress(BlockingIOError):
                asked += 100 * (os.write(requests[1], block) == len(block))
            assert asked < 100_000
        assert len(agent.outbox) < 2 << 20
        talk = Talk(replies[0], requests[1])
        while lines < asked:
            lines += "ok" in talk.line()
    finally:
        os.close(requests[1])
        while thread.is_alive():
            if select.select([replies[0]], [], [], 0.01)[0]:
                os.read(replies[0], 1 << 20)
        for fd in (requests[0], *replies):
            os.close(fd)


def test_ten_thousand_connections_leave_nothing_behind(fresh: Running) -> None:
    listener = fresh.listen(backlog=1000)

    def connections(rounds: int) -> None:
        for _ in range(rounds):
            connects = [
                fresh.start("connect", family=4, remote_address="127.0.0.1", remote_port=listener["port"])
                for _ in range(100)
            ]
            accepts = [fresh.start("accept", socket=listener["socket"], timeout=60) for _ in connects]
            ends = [fresh.result(number)["socket"] for number in connects + accepts]
            waits = [fresh.start("receive", socket=sock, timeout=60) for sock in ends]
            closes = [fresh.start("abort", socket=sock) for sock in ends]
            for number in closes:
                fresh.result(number)
            for number in waits:
                assert fresh.reply(number)["error"]["code"] in ("cancelled", "ECONNRESET")

    before = fresh.descriptors()
    connections(10)
    memory_kib = fresh.memory_kib()
    connections(90)
    assert fresh.ask("sockets") == {"count": 1, "pending": 0}
    assert fresh.descriptors() == before
    assert fresh.memory_kib() - memory_kib < 512, "9,000 more connections: 57 octets each, and a leak is more"
    assert fresh.end() == 0


def test_nothing_listens_but_what_a_case_asked_for(fresh: Running) -> None:
    assert fresh.listening() == set()
    port = fresh.listen()["port"]
    fresh.pair()
    assert fresh.listening() == {port}
