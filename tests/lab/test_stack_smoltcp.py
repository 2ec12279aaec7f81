"""Check behaviour of smoltcp and its agent alone; test_stacks.py checks the behaviour of all stacks."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from conformance.wire import ACK, FIN, PSH, RST, SYN
from tests.lab.stack_wire import OUR_PORT, OURS, PORT, Peer, Wire


@pytest.fixture
def stack() -> str:
    return "smoltcp"


def test_clock_stops_where_it_was_asked_to_stop(start: Callable[..., Wire]) -> None:
    """The stack counts microseconds; its clock ends at the nanosecond that was asked for."""
    wire = start()
    wire.for_(0)
    assert wire.call("clock", until_ns=wire.now_ns + 1, frames_in=0)["now_ns"] == wire.now_ns + 1


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
    for listener in others:  # leaves the first places in the stack's set of sockets free
        wire.call("close", socket=listener)
    second = Peer(wire, 4, OUR_PORT + 1)
    second.send(SYN)
    assert second.take().flags == SYN | ACK
    for end, state in ((peer, "ESTABLISHED"), (second, "SYN-RECEIVED")):
        end.send(SYN)
        assert [segment.flags for _, segment in wire.for_(0) if segment.flags & SYN] == []
        assert end.state() == state


def test_agent_remembers_what_the_socket_forgets(start: Callable[..., Wire]) -> None:
    """In TIME-WAIT, and after it, the application reads what came, and then the end."""
    wire = start()
    peer = Peer(wire, 4)
    connection = peer.established()
    wire.call("shutdown", socket=connection, how="send")
    assert peer.take().flags == FIN | ACK
    peer.send(ACK | PSH, b"unread")
    peer.send(FIN | ACK)
    wire.for_(20)
    assert peer.state() == "LISTEN"
    assert wire.call("receive", socket=connection, count=6)["data"] == base64.b64encode(b"unread").decode()
    assert wire.call("receive", socket=connection)["eof"]


def test_four_tuple_can_not_be_opened_twice(start: Callable[..., Wire]) -> None:
    wire = start()
    active = wire.call("connect", family=4, remote_address=OURS[4], remote_port=OUR_PORT)
    again = {"family": 4, "port": active["port"], "remote_address": OURS[4], "remote_port": OUR_PORT}
    assert wire.call("connect", **again) == "EADDRINUSE"


def test_buffer_of_a_connection_stays(start: Callable[..., Wire]) -> None:
    wire = start()
    connection = Peer(wire, 4).established()
    option = {"socket": connection, "level": "socket", "name": "SO_RCVBUF"}
    assert wire.call("option_set", **option, value=1000) == "ENOPROTOOPT"
