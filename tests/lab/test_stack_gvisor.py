"""gVisor's stack and agent, spoken to directly: a socket pair is the wire, and we are its only neighbour."""

from __future__ import annotations

import base64
import socket
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from conformance.target.build import StackMissing, stacks
from conformance.wire import ACK, FIN, PSH, RST, SYN
from tests.lab.stack_wire import OUR_PORT, OURS, PORT, REFUSED, Peer, S, Wire


@cache
def _built() -> tuple[tuple[str, ...], str]:
    """The program with its arguments, and why there is none."""
    stack = stacks()["gvisor"]
    if stack.missing:
        return (), stack.lacks()
    try:
        stack.make()
    except StackMissing:
        if "dial tcp" not in (stack.folder / "build.log").read_text():
            raise
        return (), "no network for Go's modules"
    return stack.program(), ""


@pytest.fixture
def start() -> Iterator[Callable[..., Wire]]:
    """Start the program; skip where it can't be built, naming what is missing."""
    program, missing = _built()
    if missing:
        pytest.skip(f"gvisor: {missing}")
    wires: list[Wire] = []

    def start(kind: socket.SocketKind = socket.SOCK_SEQPACKET, clock: str = "virtual") -> Wire:
        wires.append(Wire(list(program), kind, clock))
        return wires[-1]

    yield start
    assert [wire.close() for wire in wires] == [0] * len(wires)


FAMILY = pytest.mark.parametrize("family", [4, 6])


@FAMILY
@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_data_goes_both_ways_and_both_ends_close(
    start: Callable[..., Wire], family: int, kind: socket.SocketKind
) -> None:
    """From a handshake to the end of TIME-WAIT, which is 60 s of the stack's clock."""
    wire = start(kind)
    peer = Peer(wire, family)
    connection = peer.established()
    peer.send(ACK | PSH, b"question")
    assert peer.take().flags == ACK
    assert wire.call("receive", socket=connection) == {"data": base64.b64encode(b"question").decode(), "eof": False}
    assert wire.call("send", socket=connection, data=base64.b64encode(b"answer").decode()) == {"sent": 6}
    assert peer.take().payload == b"answer"
    peer.send(ACK)
    wire.call("shutdown", socket=connection, how="send")
    assert peer.take().flags == FIN | ACK
    assert peer.state() == "FIN-WAIT-1"
    peer.send(ACK)
    assert wire.for_(0) == []
    assert peer.state() == "FIN-WAIT-2"
    peer.send(FIN | ACK)
    assert peer.take().flags == ACK
    assert peer.state() == "TIME-WAIT"
    assert wire.call("receive", socket=connection)["eof"]
    assert wire.for_(59.9) == []
    assert peer.state() == "TIME-WAIT"
    assert wire.for_(0.2) == []
    assert peer.state() == "LISTEN"


@FAMILY
def test_active_open_retransmits_its_syn_at_the_same_times_in_each_run(start: Callable[..., Wire], family: int) -> None:
    runs = []
    for _ in range(2):
        wire = start()
        wire.call("connect", family=family, remote_address=OURS[family], remote_port=OUR_PORT)
        runs.append([(at, segment.flags) for at, segment in wire.for_(300)])
    assert runs[0] == runs[1]
    assert [at for at, _ in runs[0]] == pytest.approx([0, 1, 3, 7, 15, 31, 63], abs=0.001)
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


def test_abort_resets(start: Callable[..., Wire]) -> None:
    wire = start()
    peer = Peer(wire, 6)
    connection = peer.established()
    assert wire.call("abort", socket=connection) == {}
    assert peer.take().flags & RST
    assert wire.call("send", socket=connection, data="") == "no-such-socket"


def test_bad_requests_are_refused_by_name(start: Callable[..., Wire]) -> None:
    wire = start()
    assert {"app", "state", "virtual-time"} <= set(wire.hello["capabilities"])
    assert wire.hello["settings"]["time-wait-s"] == 60
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
        ("tcp", "TCP_KEEPINTVL", 3),
        ("tcp", "TCP_KEEPCNT", 2),
        ("tcp", "TCP_USER_TIMEOUT", 1500),
        ("tcp", "TCP_MAXSEG", 1000),
        ("ip", "IP_TTL", 33),
        ("ip", "IP_TOS", 16),
        ("socket", "SO_KEEPALIVE", 1),
        ("socket", "SO_LINGER", [1, 5]),
    ):
        option = {"socket": listener, "level": level, "name": name}
        assert wire.call("option_set", **option, value=value) == {}
        assert wire.call("option_get", **option) == {"value": value}
    assert wire.call("option_set", socket=listener, level="tcp", name="TCP_KEEPIDLE", value=0) == "EINVAL"
    congestion = {"socket": listener, "level": "tcp", "name": "TCP_CONGESTION"}
    for algorithm, answer in ((b"cubic", {}), (b"none", "ENOENT")):
        octets = {"bytes": base64.b64encode(algorithm).decode()}
        assert wire.call("option_set", **congestion, value=octets) == answer
    assert wire.call("option_get", **congestion) == {"bytes": base64.b64encode(b"cubic").decode()}


def test_real_clock_is_not_moved_by_the_harness(start: Callable[..., Wire]) -> None:
    """With the real clock a request is late by itself."""
    wire = start(clock="real")
    assert "virtual-time" not in wire.hello["capabilities"]
    assert wire.call("clock", until_ns=0, frames_in=0) == "unknown-op"
    listener = wire.call("listen", family=4, address="", port=0)["socket"]
    assert wire.call("accept", socket=listener, timeout=0.05) == "timeout"
