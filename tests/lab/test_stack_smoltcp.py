"""smoltcp's stack and agent, spoken to directly."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator

import pytest

from conformance.target.build import StackMissing, stacks
from conformance.wire import ACK, FIN, PSH, RST, SYN
from tests.lab.stack_wire import OUR_PORT, OURS, PORT, REFUSED, STACK, Peer, S, Wire

FAMILY = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module")
def program() -> tuple[str, ...]:
    """The program; skips where it can't be built, naming what is missing."""
    stack = stacks()["smoltcp"]
    if stack.missing:
        pytest.skip(f"needs {stack.lacks()}")
    try:
        stack.make()
    except StackMissing as missing:
        if "index.crates.io" in str(missing):
            pytest.skip(f"needs crates.io: {missing}")
        raise
    return stack.program()


@pytest.fixture
def start(program: tuple[str, ...]) -> Iterator[Callable[..., Wire]]:
    """Start the program."""
    wires: list[Wire] = []

    def start(kind: socket.SocketKind = socket.SOCK_SEQPACKET, clock: str = "virtual") -> Wire:
        wires.append(Wire(program, kind, clock))
        return wires[-1]

    yield start
    assert [wire.close() for wire in wires] == [0] * len(wires)


@FAMILY
@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_data_goes_both_ways_and_both_ends_close(
    start: Callable[..., Wire], family: int, kind: socket.SocketKind
) -> None:
    """From a handshake to the end of TIME-WAIT, which is 10 s of the stack's clock."""
    wire = start(kind)
    peer = Peer(wire, family)
    connection = peer.established()
    peer.send(ACK | PSH, b"question")
    ((delay_s, acknowledgment),) = wire.for_(0.05)
    assert (delay_s, acknowledgment.flags) == (0.01, ACK)
    assert wire.call("receive", socket=connection) == {"data": base64.b64encode(b"question").decode(), "eof": False}
    assert wire.call("send", socket=connection, data=base64.b64encode(b"answer").decode()) == {"sent": 6}
    assert peer.take().payload == b"answer"
    peer.send(ACK)
    wire.call("shutdown", socket=connection, how="send")
    assert peer.take().flags == FIN | ACK
    assert peer.state() == "FIN-WAIT-1"
    peer.send(ACK | PSH, b"unread")
    peer.send(FIN | ACK)
    assert [segment.flags for _, segment in wire.for_(0.01)] == [ACK]
    assert peer.state() == "TIME-WAIT"
    assert wire.for_(9.989) == []
    assert peer.state() == "TIME-WAIT"
    assert wire.for_(0.002) == []
    assert peer.state() == "LISTEN"
    # The socket has forgotten everything, the agent has not.
    assert wire.call("receive", socket=connection, count=6)["data"] == base64.b64encode(b"unread").decode()
    assert wire.call("receive", socket=connection)["eof"]


@FAMILY
def test_active_open_retransmits_its_syn_at_the_same_times_in_each_run(start: Callable[..., Wire], family: int) -> None:
    runs = []
    for _ in range(2):
        wire = start()
        wire.call("connect", family=family, remote_address=OURS[family], remote_port=OUR_PORT)
        runs.append([(at, segment.flags) for at, segment in wire.for_(200)])
    assert runs[0] == runs[1]
    assert [at for at, _ in runs[0]] == [0, 1, 3, 7, 15, 31, 63, 123, 183]
    assert {flags for _, flags in runs[0]} == {SYN}


@FAMILY
def test_calls_wait_by_the_stacks_clock(start: Callable[..., Wire], family: int) -> None:
    """A request is answered when its time is over, when what it waits for comes, or when it is cancelled."""
    wire = start()
    peer = Peer(wire, family)
    listener = wire.call("listen", family=family, address="", port=PORT)["socket"]
    wire.for_(0)
    late = wire.ask(op="accept", socket=listener, timeout=1000)
    wire.ask(op="clock", until_ns=wire.now_ns + 2000 * S, frames_in=0)
    assert wire.reply()["error"]["code"] == "timeout"
    assert wire.reply()["ok"]["now_ns"] == wire.now_ns + 1000 * S
    cancelled = wire.ask(op="accept", socket=listener)
    wire.ask(op="cancel", request=cancelled)
    assert (wire.reply()["error"]["code"], wire.reply()["ok"]) == ("cancelled", {"cancelled": True})
    assert wire.call("cancel", request=late) == {"cancelled": False}
    assert wire.call("sockets") == {"count": 1, "pending": 0}
    wire.ask(op="accept", socket=listener)
    peer.send(SYN)
    wire.ask(op="clock", until_ns=0, frames_in=wire.frames_in)
    assert wire.reply()["ok"]["frames_out"] > wire.frames_out
    assert peer.state() == "SYN-RECEIVED"


def test_clock_stops_at_the_first_microsecond_that_is_not_before_its_end(start: Callable[..., Wire]) -> None:
    wire = start()
    wire.for_(0)
    assert wire.call("clock", until_ns=wire.now_ns + 1, frames_in=0)["now_ns"] == wire.now_ns + 1000


def test_port_is_listened_on_until_its_backlog_is_full(start: Callable[..., Wire]) -> None:
    """Two connections wait to be accepted, the third is reset; there is room again when one was accepted."""
    wire = start()
    listener = wire.call("listen", family=4, address="", port=PORT, backlog=2)["socket"]
    answers = []
    for port in range(3):
        peer = Peer(wire, 4, OUR_PORT + port)
        peer.send(SYN)
        answers.append(peer.take().flags)
        if answers[-1] == SYN | ACK:
            peer.send(ACK)
    assert answers == [SYN | ACK, SYN | ACK, RST | ACK]
    assert wire.call("accept", socket=listener)["port"] == OUR_PORT
    peer = Peer(wire, 4, OUR_PORT + 4)
    peer.send(SYN)
    assert peer.take().flags == SYN | ACK


def test_connection_has_its_segments_before_the_listener(start: Callable[..., Wire]) -> None:
    """A SYN on a connection's four-tuple is not taken for a new one, wherever its socket stands."""
    wire = start()
    others = [wire.call("listen", family=4, address="", port=PORT + 1 + n)["socket"] for n in range(3)]
    peer = Peer(wire, 4)
    peer.established()
    for other in others:  # leaves the first places in the stack's set of sockets free
        wire.call("close", socket=other)
    second = Peer(wire, 4, OUR_PORT + 1)
    second.send(SYN)
    assert second.take().flags == SYN | ACK
    for one, state in ((peer, "ESTABLISHED"), (second, "SYN-RECEIVED")):
        one.send(SYN)
        assert [segment.flags for _, segment in wire.for_(0) if segment.flags & SYN] == []
        assert one.state() == state


def test_reset_is_told_as_often_as_it_is_asked_for(start: Callable[..., Wire]) -> None:
    wire = start()
    peer = Peer(wire, 4)
    connection = peer.established()
    peer.send(RST)
    wire.for_(0)
    for _ in range(2):
        assert wire.call("receive", socket=connection) == "ECONNRESET"
        assert wire.call("error", socket=connection) == {"code": "ECONNRESET"}
    assert peer.state() == "LISTEN"


def test_abort_resets_and_close_outlives_its_socket(start: Callable[..., Wire]) -> None:
    wire = start()
    peer = Peer(wire, 6)
    connection = peer.established()
    assert wire.call("abort", socket=connection) == {}
    assert peer.take().flags & RST
    assert wire.call("send", socket=connection, data="") == "no-such-socket"
    assert peer.state() == "LISTEN"

    active = wire.call("connect", family=4, remote_address=OURS[4], remote_port=OUR_PORT)
    again = {"family": 4, "port": active["port"], "remote_address": OURS[4], "remote_port": OUR_PORT}
    assert wire.call("connect", **again) == "EADDRINUSE"


def test_bad_requests_are_refused_by_name(start: Callable[..., Wire]) -> None:
    wire = start()
    assert {"app", "state", "virtual-time"} <= set(wire.hello["capabilities"])
    for line, code in REFUSED.items():
        wire.ask(line)
        assert wire.reply()["error"]["code"] == code, line
    assert wire.call("sockets") == {"count": 0, "pending": 0}


def test_options_are_what_they_were_set_to(start: Callable[..., Wire]) -> None:
    wire = start()
    listener = wire.call("listen", family=4, address="", port=0)["socket"]
    for level, name, value in (
        ("tcp", "TCP_NODELAY", 1),
        ("tcp", "TCP_KEEPIDLE", 7),
        ("tcp", "TCP_USER_TIMEOUT", 1500),
        ("ip", "IP_TTL", 33),
        ("socket", "SO_KEEPALIVE", 1),
        ("socket", "SO_RCVBUF", 5000),
        ("socket", "SO_LINGER", [1, 5]),
    ):
        option = {"socket": listener, "level": level, "name": name}
        assert wire.call("option_set", **option, value=value) == {}
        assert wire.call("option_get", **option) == {"value": value}
    assert wire.call("option_set", socket=listener, level="tcp", name="TCP_KEEPIDLE", value=0) == "EINVAL"
    assert wire.call("option_set", socket=listener, level="tcp", name="TCP_KEEPINTVL", value=1) == "ENOPROTOOPT"
    wire.call("close", socket=listener)

    peer = Peer(wire, 4)
    connection = peer.established()
    option = {"socket": connection, "level": "socket", "name": "SO_RCVBUF"}
    assert wire.call("option_set", **option, value=1000) == "ENOPROTOOPT"


def test_real_clock_is_not_moved_by_the_harness(start: Callable[..., Wire]) -> None:
    """With the real clock a request is late by itself."""
    wire = start(clock="real")
    assert "virtual-time" not in wire.hello["capabilities"]
    assert wire.call("clock", until_ns=0, frames_in=0) == "unknown-op"
    listener = wire.call("listen", family=4, address=STACK[4], port=0)["socket"]
    assert wire.call("accept", socket=listener, timeout=0.05) == "timeout"
