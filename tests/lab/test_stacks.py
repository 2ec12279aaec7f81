"""The stacks with a clock of their own, spoken to directly: a socket pair is the wire, and we are its only neighbour.

What is alike in all of them is here, what is one's alone in a file of its own.
"""

from __future__ import annotations

import base64
import shlex
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from conformance.agent_check import check_agent
from conformance.wire import ACK, FIN, PSH, RST, SYN
from tests.capabilities import undocumented
from tests.lab.stack_wire import OUR_PORT, OURS, PORT, REFUSED, Peer, S, Wire

FAMILY = pytest.mark.parametrize("family", [4, 6])
Option = tuple[str, str, Any]


@dataclass(frozen=True)
class Own:
    """The ways of a stack that differ: times in seconds of its clock, options of a listening socket that it takes and refuses."""

    time_wait_s: float
    ack_delay_s: float
    syn_s: Sequence[float]
    options: Sequence[Option]
    refused: Sequence[tuple[Option, str]]
    precision_s: float = 0.001


STACKS: Mapping[str, Own] = {
    "gvisor": Own(
        time_wait_s=60,
        ack_delay_s=0,
        syn_s=(0, 1, 3, 7, 15, 31, 63),
        options=(
            ("tcp", "TCP_NODELAY", 1),
            ("tcp", "TCP_KEEPIDLE", 7),
            ("tcp", "TCP_KEEPINTVL", 3),
            ("tcp", "TCP_KEEPCNT", 2),
            ("tcp", "TCP_USER_TIMEOUT", 1500),
            ("tcp", "TCP_MAXSEG", 1000),
            ("tcp", "TCP_CONGESTION", {"bytes": base64.b64encode(b"cubic").decode()}),
            ("ip", "IP_TTL", 33),
            ("ip", "IP_TOS", 16),
            ("socket", "SO_KEEPALIVE", 1),
            ("socket", "SO_LINGER", [1, 5]),
        ),
        refused=(
            (("tcp", "TCP_KEEPIDLE", 0), "EINVAL"),
            (("tcp", "TCP_CONGESTION", {"bytes": base64.b64encode(b"none").decode()}), "ENOENT"),
        ),
    ),
    "lwip": Own(
        time_wait_s=120,
        ack_delay_s=0.25,
        syn_s=(0, 3, 6, 9),
        options=(
            ("ip", "IP_TTL", 33),
            ("ip", "IP_TOS", 16),
            ("socket", "SO_KEEPALIVE", 1),
            ("socket", "SO_LINGER", [1, 5]),
        ),
        refused=((("ip", "IP_TTL", 256), "EINVAL"), (("tcp", "TCP_USER_TIMEOUT", 1), "ENOPROTOOPT")),
        precision_s=0.5,
    ),
    "smoltcp": Own(
        time_wait_s=10,
        ack_delay_s=0.01,
        syn_s=(0, 1, 3, 7, 15, 31, 63, 123, 183),
        options=(
            ("tcp", "TCP_NODELAY", 1),
            ("tcp", "TCP_KEEPIDLE", 7),
            ("tcp", "TCP_USER_TIMEOUT", 1500),
            ("ip", "IP_TTL", 33),
            ("socket", "SO_KEEPALIVE", 1),
            ("socket", "SO_RCVBUF", 5000),
            ("socket", "SO_LINGER", [1, 5]),
        ),
        refused=((("tcp", "TCP_KEEPIDLE", 0), "EINVAL"), (("tcp", "TCP_KEEPINTVL", 1), "ENOPROTOOPT")),
    ),
}


# PyTCP can't do enough of what the others do.
EVERY = pytest.mark.parametrize("stack", [*STACKS, "pytcp"], indirect=True)


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    """One of them."""
    name: str = request.param
    return name


@pytest.fixture
def own(stack: str) -> Own:
    return STACKS[stack]


@EVERY
def test_agent_speaks_the_protocol(program: tuple[str, ...]) -> None:
    assert not [one for one in check_agent(shlex.join(program)) if one.wrong]


@FAMILY
@pytest.mark.parametrize("kind", [socket.SOCK_SEQPACKET, socket.SOCK_DGRAM])
def test_data_goes_both_ways_and_both_ends_close(
    start: Callable[..., Wire], own: Own, family: int, kind: socket.SocketKind
) -> None:
    """From a handshake to the end of TIME-WAIT, which is long by the stack's clock alone."""
    wire = start(kind)
    peer = Peer(wire, family)
    connection = peer.established()
    peer.send(ACK | PSH, b"question")
    ((delay_s, acknowledgment),) = wire.for_(own.ack_delay_s)
    assert acknowledgment.flags == ACK and delay_s <= own.ack_delay_s
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
    assert wire.for_(own.time_wait_s - own.precision_s) == []
    assert peer.state() == "TIME-WAIT"
    assert wire.for_(2 * own.precision_s) == []
    assert peer.state() == "LISTEN"


@FAMILY
def test_active_open_retransmits_its_syn_at_the_same_times_in_each_run(
    start: Callable[..., Wire], own: Own, family: int
) -> None:
    runs = []
    for _ in range(2):
        wire = start()
        wire.call("connect", family=family, remote_address=OURS[family], remote_port=OUR_PORT)
        runs.append([(at, segment.flags) for at, segment in wire.for_(200)])
    assert runs[0] == runs[1]
    assert [at for at, _ in runs[0]][: len(own.syn_s)] == pytest.approx(own.syn_s, abs=own.precision_s)
    assert {flags for _, flags in runs[0]} == {SYN}


@FAMILY
def test_calls_wait_by_the_stacks_clock(start: Callable[..., Wire], family: int) -> None:
    """A request is answered when its time is over, when what it waits for comes, or when it is cancelled."""
    wire = start()
    peer = Peer(wire, family)
    listener = wire.call("listen", family=family, address="", port=PORT)["socket"]
    wire.for_(0)
    asked_ns = wire.now_ns
    late = wire.ask(op="accept", socket=listener, timeout=1000)
    while not wire.late:
        wire.step(asked_ns + 2000 * S)
    assert (wire.late[0]["id"], wire.late[0]["error"]["code"]) == (late, "timeout")
    assert wire.now_ns == asked_ns + 1000 * S
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
    assert peer.state() == "LISTEN"


@EVERY
def test_bad_requests_are_refused_by_name(start: Callable[..., Wire]) -> None:
    wire = start()
    for line, code in REFUSED.items():
        wire.ask(line)
        assert wire.reply()["error"]["code"] == code, line
    assert wire.call("sockets") == {"count": 0, "pending": 0}


@EVERY
def test_capabilities_are_those_of_the_protocol(start: Callable[..., Wire]) -> None:
    capabilities = set(start().hello["capabilities"])
    assert {"listen", "state", "virtual-time"} <= capabilities
    assert not undocumented(capabilities)


def test_options_are_what_they_were_set_to(start: Callable[..., Wire], own: Own) -> None:
    wire = start()
    listener = wire.call("listen", family=4, address="", port=0)["socket"]
    for level, name, value in own.options:
        option = {"socket": listener, "level": level, "name": name}
        assert wire.call("option_set", **option, value=value) == {}
        assert wire.call("option_get", **option) == {"value": value}
        assert f"options:{name}" in wire.hello["capabilities"]
    for (level, name, value), code in own.refused:
        assert wire.call("option_set", socket=listener, level=level, name=name, value=value) == code


@EVERY
def test_real_clock_is_not_moved_by_the_harness(start: Callable[..., Wire]) -> None:
    """With the real clock a request is late by itself."""
    wire = start(clock="real")
    assert wire.call("clock", until_ns=0, frames_in=0) == "unknown-op"
    listener = wire.call("listen", family=4, address="", port=0)["socket"]
    assert wire.call("accept", socket=listener, timeout=0.05) == "timeout"
