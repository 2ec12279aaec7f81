"""Check behaviour of PyTCP and its agent alone; test_stacks.py checks the behaviour of all stacks."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from conformance.wire import ACK, FIN, PSH, RST, SYN, Seq
from conformance.wire.frames import neighbour_question
from tests.lab.stack_wire import OUR_MAC, OUR_PORT, OURS, PORT, STACK, Peer, Wire

FAMILY = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture
def stack() -> str:
    return "pytcp"


@pytest.fixture
def start(program: tuple[str, ...]) -> Iterator[Callable[..., Wire]]:
    """Start the program, which knows us then."""
    wires: list[Wire] = []

    def start(clock: str = "virtual") -> Wire:
        wire = Wire(program, socket.SOCK_SEQPACKET, clock)
        wires.append(wire)
        for family in (4, 6):
            wire.send(neighbour_question(OUR_MAC, OURS[family], STACK[family]))
        return wire

    yield start
    assert [wire.close() for wire in wires] == [0] * len(wires)


@FAMILY
def test_data_goes_both_ways_and_both_ends_close(start: Callable[..., Wire], family: int) -> None:
    """From a handshake to the end of TIME-WAIT; what is sent leaves with the next tick of a millisecond."""
    wire = start()
    peer = Peer(wire, family)
    listener = wire.call("listen", family=family, address=STACK[family], port=PORT)
    peer.send(SYN)
    ((delay_s, answer),) = wire.for_(0.5)
    assert (delay_s, answer.flags, answer.ack) == (0.001, SYN | ACK, peer.seq)
    peer.ack = answer.end
    peer.send(ACK)
    connection = wire.call("accept", socket=listener["socket"], timeout=1)["socket"]
    peer.send(ACK | PSH, b"question")
    assert [segment.flags for _, segment in wire.for_(0.1)] == [ACK]
    assert wire.call("receive", socket=connection) == {"data": base64.b64encode(b"question").decode(), "eof": False}
    assert wire.call("send", socket=connection, data=base64.b64encode(b"answer").decode()) == {"sent": 6}
    ((_, data),) = wire.for_(0.1)
    assert data.payload == b"answer"
    peer.ack = data.end
    peer.send(ACK)
    assert wire.call("close", socket=connection) == {}
    ((_, fin),) = wire.for_(0.1)
    assert (fin.flags, peer.state()) == (FIN | ACK, "FIN-WAIT-1")
    peer.ack = fin.end
    peer.send(FIN | ACK)
    assert [segment.flags for _, segment in wire.for_(29.9)] == [ACK]
    assert peer.state() == "TIME-WAIT"
    assert wire.for_(0.2) == []
    assert peer.state() == "LISTEN"


@FAMILY
def test_active_open_is_given_up_with_a_reset(start: Callable[..., Wire], family: int) -> None:
    wire = start()
    connection = wire.call("connect", family=family, remote_address=OURS[family], remote_port=OUR_PORT)["socket"]
    sent = [(round(at), segment.flags) for at, segment in wire.for_(60)]
    assert sent == [(0, SYN), (1, SYN), (3, SYN), (7, SYN), (15, RST | ACK)]
    assert wire.call("connected", socket=connection) == "ETIMEDOUT"
    assert wire.call("error", socket=connection) == {"code": "ETIMEDOUT"}


def test_part_that_crashes_is_told_and_the_others_live(start: Callable[..., Wire]) -> None:
    """The number after the last one is not taken modulo 2^32: the timer, which sends the SYN,ACK, dies of it."""
    wire = start()
    peer = Peer(wire, 4)
    wire.call("listen", family=4, address="", port=PORT)
    peer.seq = Seq(0xFFFFFFFF)
    peer.send(SYN)
    assert wire.for_(5) == []
    (crashed,) = wire.call("hello")["crashed"]
    assert crashed.startswith("timer: AssertionError: ack=4294967296 (")
    second = Peer(wire, 4, remote_port=PORT + 1)
    second.send(SYN)
    assert second.take().flags == RST | ACK


def test_connection_can_not_be_aborted(start: Callable[..., Wire]) -> None:
    assert start().call("abort", socket=1) == "unknown-op"


def test_real_clock_is_not_moved_by_the_harness(start: Callable[..., Wire]) -> None:
    """With the real clock a tick is a millisecond of the machine's time."""
    wire = start(clock="real")
    connection = wire.call("connect", family=4, remote_address=OURS[4], remote_port=OUR_PORT)["socket"]
    before = time.monotonic()
    assert wire.call("connected", socket=connection, timeout=20) == "ETIMEDOUT"
    assert 14.9 < time.monotonic() - before < 17
