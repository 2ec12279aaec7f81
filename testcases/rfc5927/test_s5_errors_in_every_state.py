"""RFC 9293 section 3.9.2.2, RFC 5927 sections 4 and 5: ICMP errors in each state (in SYN-SENT: rfc9293/test_s3_9_2_2_icmp.py)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from conformance.api import (
    ACK,
    FIN,
    RST,
    SYN,
    AppError,
    Case,
    Connection,
    Expectation,
    Segment,
    Seq,
    State,
    app_sends,
    icmp,
    verifies,
)

SOFT = {
    4: {
        "net-unreachable": icmp.NET_UNREACHABLE,
        "host-unreachable": icmp.HOST_UNREACHABLE,
        "option-refused": icmp.SOURCE_ROUTE_FAILED,
        "time-to-live-exceeded": icmp.HOP_LIMIT_EXCEEDED,
        "reassembly-time-exceeded": icmp.REASSEMBLY_TIME_EXCEEDED,
        "parameter-problem": icmp.PARAMETER_PROBLEM,
    },
    6: {
        "net-unreachable": icmp.NET_UNREACHABLE,
        "host-unreachable": icmp.HOST_UNREACHABLE,
        "option-refused": icmp.IcmpError("unrecognized option", None, (4, 2)),
        "time-to-live-exceeded": icmp.HOP_LIMIT_EXCEEDED,
        "reassembly-time-exceeded": icmp.REASSEMBLY_TIME_EXCEEDED,
        "parameter-problem": icmp.PARAMETER_PROBLEM,
    },
}
"""The soft errors of RFC 9293 by name; where IPv6 has no such error, another of its own."""
HARD = {
    4: {"protocol-unreachable": icmp.PROTOCOL_UNREACHABLE, "port-unreachable": icmp.PORT_UNREACHABLE},
    6: {"protocol-unreachable": icmp.PROHIBITED, "port-unreachable": icmp.PORT_UNREACHABLE},
}
"""The hard errors; RFC 9293 names those of IPv4 alone, RFC 5461 has prohibited and port unreachable for IPv6."""
SOFT_NAMES = pytest.mark.parametrize("error", list(SOFT[4]))
HARD_NAMES = pytest.mark.parametrize("error", list(HARD[4]))
DATA = b"in flight"


@dataclass(frozen=True)
class Place:
    """A state, the way to it, and the segment of the target's that the errors quote."""

    state: State
    drive: dict[str, Any]
    quoted: Callable[[Connection], tuple[Seq, Any]]


def of_syn(conn: Connection) -> tuple[Seq, Any]:
    """Return the target's SYN or SYN,ACK."""
    return conn.irs, SYN


def of_data(conn: Connection) -> tuple[Seq, Any]:
    """Return data that the target's application has just sent, and that we have not acknowledged."""
    return conn.rcv_nxt - len(DATA), ACK


def of_fin(conn: Connection) -> tuple[Seq, Any]:
    """Return the target's FIN."""
    return conn.fin_seen.seq, FIN | ACK


async def sends(conn: Connection) -> None:
    """Have the application send data that we leave unacknowledged."""
    await app_sends(conn, DATA)


SYNCHRONIZED = [
    Place(State.ESTABLISHED, {}, of_data),
    Place(State.FIN_WAIT_1, {}, of_fin),
    Place(State.FIN_WAIT_2, {}, of_fin),
    Place(State.CLOSE_WAIT, {}, of_data),
    Place(State.CLOSING, {}, of_fin),
    Place(State.LAST_ACK, {}, of_fin),
    Place(State.TIME_WAIT, {}, of_fin),
]
OPENING = [
    Place(State.SYN_SENT, {}, of_syn),
    Place(State.SYN_RECEIVED, {"by": "passive"}, of_syn),
    Place(State.SYN_RECEIVED, {"by": "active"}, of_syn),
]


def name_of(place: Place) -> str:
    """Return the id of a place, as `in-syn-received-passive`."""
    return "-".join(("in", place.state.value.lower(), *place.drive.values()))


def places(some: list[Place]) -> pytest.MarkDecorator:
    """Return a parameter for each of the places."""
    return pytest.mark.parametrize("place", [pytest.param(one, id=name_of(one)) for one in some])


async def reached(tcp: Case, place: Place) -> tuple[Connection, Segment]:
    """Return a connection at that place, and the segment of the target's that an error quotes."""
    conn = await tcp.drive_to(place.state, **place.drive)
    if place.quoted is of_data:
        await sends(conn)
    return conn, quotation(tcp, conn, *place.quoted(conn))


def quotation(tcp: Case, conn: Connection, seq: Seq, flags: Any) -> Segment:
    """Return a segment of the target's as a router quotes it."""
    ack = Seq(0) if conn.state is State.CLOSED else conn.snd_nxt
    return Segment(tcp.remote, tcp.address, conn.remote_port, conn.port, seq, ack, flags)


async def still_there(conn: Connection, place: Place) -> None:
    """See that nothing follows from the error, and that the connection is where it was."""
    await conn.silence(for_=0.2)
    await conn.confirm(place.state)


# No connection


@pytest.mark.parametrize("state", [State.CLOSED, State.LISTEN], ids=["in-closed", "in-listen"])
@verifies("RFC9293:MUST-54", "RFC9293:MUST-56")
async def test_error_about_no_connection_is_ignored(tcp: Case, state: State) -> None:
    """An ICMP error about no connection is ignored in {state}.

    Every soft and hard error comes about a segment that the target never sent, for a port that is closed or
    listens. The target must do nothing, and a listener go on listening.
    """
    conn = await tcp.drive_to(state)
    for error in (*SOFT[tcp.family].values(), *HARD[tcp.family].values()):
        await conn.send_icmp(error, quoting=quotation(tcp, conn, Seq(77_000), SYN | ACK))
    await conn.silence()
    await conn.confirm(state)


# Soft errors


@SOFT_NAMES
@places(OPENING[1:])
@verifies("RFC9293:MUST-56", "RFC9293:MUST-54")
async def test_soft_error_does_not_abort_in_syn_received(tcp: Case, place: Place, error: str) -> None:
    """A soft ICMP error does not abort.

    A soft error comes about the target's SYN,ACK. The target must not abort: it stays in SYN-RECEIVED, and the
    connection opens when our ACK comes.
    """
    conn, quoted = await reached(tcp, place)
    await conn.send_icmp(SOFT[tcp.family][error], quoting=quoted)
    await conn.silence(for_=0.2)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@places(SYNCHRONIZED)
@verifies("RFC9293:MUST-56", "RFC9293:MUST-54", "RFC5927:5.2-soft")
async def test_soft_error_does_not_abort_a_synchronized_connection(tcp: Case, place: Place) -> None:
    """Soft ICMP errors do not abort the connection.

    Every soft error comes, one after the other, about the last that the target has sent. The target must not abort:
    nothing is answered, and the connection stays as it is.
    """
    conn, quoted = await reached(tcp, place)
    for error in SOFT[tcp.family].values():
        await conn.send_icmp(error, quoting=quoted)
    await still_there(conn, place)


@verifies("RFC9293:SHLD-25", "RFC9293:MUST-56", needs=("app", "options:TCP_USER_TIMEOUT"), lasts=4)
async def test_soft_error_is_told_to_the_application(tcp: Case) -> None:
    """The application learns of a soft ICMP error.

    A host unreachable comes about data in flight, and nobody ever acknowledges the data; TCP_USER_TIMEOUT is 1.5 s.
    The application should be told of the error, at once or when the connection times out, not of the timeout alone.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.option("tcp", "TCP_USER_TIMEOUT", 1500)
    await sends(conn)
    await conn.send_icmp(icmp.HOST_UNREACHABLE, quoting=quotation(tcp, conn, *of_data(conn)))
    try:
        await conn.app.receive(1, wait_s=4)
    except AppError as error:
        assert error.code == "EHOSTUNREACH", f"the application is told {error.code}, not EHOSTUNREACH"
    else:
        raise AssertionError("the application's read ended without an error")


# Hard errors


@HARD_NAMES
@places(OPENING[1:])
@verifies("RFC9293:SHLD-26", "RFC9293:MUST-54", "RFC5927:5.2-hard", level="SHOULD")
async def test_hard_error_aborts_in_syn_received(tcp: Case, place: Place, error: str) -> None:
    """A hard ICMP error aborts.

    A hard error comes about the target's SYN,ACK. The target should abort the connection: our ACK comes to none and
    is reset.
    """
    conn, quoted = await reached(tcp, place)
    await conn.send_icmp(HARD[tcp.family][error], quoting=quoted)
    await conn.silence(for_=0.2)
    await conn.confirm(State.LISTEN if place.drive["by"] == "passive" else State.CLOSED)


@HARD_NAMES
@places(SYNCHRONIZED)
@verifies("RFC5927:5.2-hard", "RFC9293:SHLD-26", "RFC9293:MUST-54", level="MAY")
async def test_hard_error_in_a_synchronized_state_is_soft_or_aborts(tcp: Case, place: Place, error: str) -> None:
    """A hard ICMP error aborts or is soft.

    A hard error comes about the last that the target has sent. RFC 9293 has the target abort, RFC 5927 has it go on
    as after a soft error: which it does is recorded.
    """
    conn, quoted = await reached(tcp, place)
    await conn.send_icmp(HARD[tcp.family][error], quoting=quoted)
    await conn.silence(for_=0.2)
    old = await conn.inject(ACK, seq=conn.snd_nxt - 2, ack=conn.acked, payload=b"\0", text="an old octet")
    alive = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    which, _ = await conn.expect_any(alive, Expectation(RST, seq=old.segment.ack, length=0))
    taken = ("goes on", "aborts")[which]
    tcp.choice(f"hard error in {place.state}", taken, ["goes on", "aborts"])
    await conn.confirm(place.state if which == 0 else State.CLOSED, probe=False)


# Fragmentation needed


@places([*OPENING, *SYNCHRONIZED])
@verifies("RFC1191:6.4-retransmit", "RFC8201:5.4-track", "RFC9293:MUST-54")
async def test_too_big_does_not_abort(tcp: Case, place: Place) -> None:
    """A Packet Too Big message does not abort.

    A router says that the last packet of the target was too big for a link of 1300 octets. The target must not take
    it for a hard error: the connection stays as it is.
    """
    conn, quoted = await reached(tcp, place)
    await conn.send_icmp(icmp.FRAGMENTATION_NEEDED, quoting=quoted, rest=1300)
    await still_there(conn, place)


# Errors about what is not in flight


@pytest.mark.parametrize("offset", [-1, 1, 100_000, -100_000, 2**31], ids=lambda offset: f"{offset:+d}")
@verifies("RFC5927:4.1-window", "RFC9293:MUST-54")
async def test_hard_error_outside_the_window_does_not_abort_an_open(tcp: Case, offset: int) -> None:
    """A hard ICMP error off by {offset} does not abort an open.

    A port unreachable comes in SYN-SENT; the number that it quotes is not that of the SYN. The target must ignore
    it: the connection opens when our SYN,ACK comes.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    seq = conn.irs + (offset if offset < 0 else offset + 1)
    await conn.send_icmp(icmp.PORT_UNREACHABLE, quoting=quotation(tcp, conn, seq, SYN))
    await conn.silence(for_=0.2)
    await conn.send(SYN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize("which", ["port", "address"])
@verifies("RFC9293:MUST-54")
async def test_error_about_another_connection_is_not_this_ones(tcp: Case, which: str) -> None:
    """An ICMP error about another four-tuple is ignored.

    In SYN-SENT a port unreachable comes that quotes the right number of another four-tuple. The target must not
    take it for this connection.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    right = quotation(tcp, conn, *of_syn(conn))
    elsewhere = "10.77.255.1" if tcp.family == 4 else "fd77::4:ffff"
    wrong = replace(right, sport=right.sport ^ 1) if which == "port" else replace(right, dst=elsewhere)
    await conn.send_icmp(icmp.PORT_UNREACHABLE, quoting=wrong)
    await conn.silence(for_=0.2)
    await conn.send(SYN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.ESTABLISHED)


# Source quench


@places([*OPENING, *SYNCHRONIZED])
@verifies("RFC9293:MUST-55", "RFC5927:6.2-quench")
async def test_source_quench_is_discarded(tcp: Case, place: Place) -> None:
    """A source quench is discarded in silence.

    A source quench comes about the last that the target has sent (IPv4: ICMPv6 has none). The target must discard
    it silently.
    """
    tcp.needs_family(4, "source quench")
    conn, quoted = await reached(tcp, place)
    await conn.send_icmp(icmp.SOURCE_QUENCH, quoting=quoted)
    await still_there(conn, place)
