"""RFC 8985 section 6: RACK, which takes a segment for lost by time, and what of that shows on the wire."""

import asyncio

from conformance.api import (
    ACK,
    SECOND,
    Bound,
    Case,
    Connection,
    Inconclusive,
    Offer,
    Received,
    Sent,
    State,
    opt,
    verifies,
)

NEEDS = ("app", "sack", "rack")
ROUND_TRIP_S = 0.4
"""The least round trip, in the handshake as later: the reordering window is a quarter of it, the timeout 1.2 s at first."""
MSS, PIECE = 536, 490
"""Octets: a segment has room for the options that a target may keep in reserve, and none for another piece."""
RACK = "RFC 8985, 6.2"
HOW = "from the acknowledgment with the SACK block to the repetition"


async def flight(conn: Connection, count: int) -> list[Received]:
    """Return so many segments, sent back to back and too long to be joined when they are repeated."""
    app = conn.app
    await asyncio.gather(*(app.send(bytes(PIECE)) for _ in range(count)))
    arrived = [await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=PIECE) for _ in range(count)]
    if (apart_s := (arrived[-1].at_ns - arrived[0].at_ns) / SECOND) > ROUND_TRIP_S / 5:
        raise Inconclusive(f"the segments came {apart_s:.3f} s apart, so that their order in time says nothing")
    return arrived


async def opened(tcp: Case) -> Connection:
    """Return a connection with SACK that has measured that round trip and sends small segments at once."""
    conn = await tcp.drive_to(State.ESTABLISHED, offer=Offer(mss=MSS, sack=True), round_trip_s=ROUND_TRIP_S)
    await conn.app.option("tcp", "TCP_NODELAY", 1)
    return conn


async def says_arrived(tcp: Case, conn: Connection, since: Received, arrived: list[Received]) -> Sent:
    """Send a SACK block that covers those segments, one round trip after `since`."""
    await tcp.clock.sleep_until(since.at_ns + round(ROUND_TRIP_S * SECOND))
    block = opt.sack((int(arrived[0].segment.seq), int(arrived[-1].segment.end)))
    sent = await conn.send(ACK, ack=conn.acked, options=[block], text="arrived out of order")
    if (late_s := (sent.at_ns - since.at_ns) / SECOND) > 1.5 * ROUND_TRIP_S:
        raise Inconclusive(
            f"our acknowledgment left after {late_s:.3f} s, near the loss probe; due was {ROUND_TRIP_S} s"
        )
    return sent


def window(tcp: Case, sent: Sent, lost: Received, marker: Received) -> Bound:
    """Return when the lost segment is due after that ACK: a quarter of the least round trip later."""
    round_trip_s = (sent.at_ns - marker.at_ns) / SECOND
    due_s = min(round_trip_s, ROUND_TRIP_S) / 4 - (marker.at_ns - lost.at_ns) / SECOND
    low_s, high_s = max(0.0, due_s - 0.01), tcp.timer("rto-min", due_s).high_s
    return Bound(low_s, high_s, f"{RACK}: min_RTT/4")


@verifies("RFC8985:6.2-lost", "RFC8985:6.2-reordering-window", "RFC8985:6.2-timer", level="text", needs=NEEDS, lasts=3)
async def test_segment_is_sent_again_when_the_reordering_window_has_passed(tcp: Case) -> None:
    """RACK sends a lost segment again after the reordering window.

    Of four segments the second arrives, and a SACK block says so one round trip later. A quarter of the round trip
    later the first must be sent again, by a timer, for nothing else comes. The third and fourth were sent after the
    one that arrived: they are not lost yet.
    """
    conn = await opened(tcp)
    first, second, *_ = await flight(conn, 4)
    sent = await says_arrived(tcp, conn, second, [second])
    again = await conn.expect_retransmission(first, within=1)
    tcp.check_timing(
        "RACK reordering window",
        (again.at_ns - sent.at_ns) / SECOND,
        window(tcp, sent, first, second),
        how=HOW,
        between=(sent.at_ns, again.at_ns),
    )
    await conn.silence(for_=0.3, strict=True)


@verifies("RFC8985:6.2-threshold", "RFC5681:3.2-fast-retransmit", level="text", needs=NEEDS, lasts=2)
async def test_three_segments_that_arrived_start_recovery_at_once(tcp: Case) -> None:
    """Three segments that arrived start recovery at once.

    Of four segments the last three arrive, and one SACK block says so a round trip later. No reordering was seen
    before, so the first must be sent again at once.
    """
    conn = await opened(tcp)
    first, *rest = await flight(conn, 4)
    sent = await says_arrived(tcp, conn, rest[-1], rest)
    again = await conn.expect_retransmission(first, within=1)
    tcp.check_timing(
        "RACK by the number of segments",
        (again.at_ns - sent.at_ns) / SECOND,
        Bound(0, 0.05, f"{RACK}: DupThresh, before a window of 0.1 s"),
        how=HOW,
        between=(sent.at_ns, again.at_ns),
    )


@verifies("RFC8985:6.2-no-threshold", "RFC8985:6.2-reordering-window", level="text", needs=NEEDS, lasts=4)
async def test_number_of_segments_does_not_count_once_reordering_was_seen(tcp: Case) -> None:
    """After reordering, three arrivals do not start recovery.

    Two segments arrive the wrong way round. Of four further ones the last three arrive, and one SACK block says so.
    The target has seen reordering, so it must wait for the reordering window, however many have arrived.
    """
    conn = await opened(tcp)
    _, late = await flight(conn, 2)
    report = await says_arrived(tcp, conn, late, [late])
    both = await conn.send(ACK, text="now both")
    if (waited_s := (both.at_ns - report.at_ns) / SECOND) > ROUND_TRIP_S / 5:
        raise Inconclusive(
            f"our second acknowledgment left {waited_s:.3f} s after the first, near the reordering window"
        )
    first, *rest = await flight(conn, 4)
    sent = await says_arrived(tcp, conn, rest[-1], rest)
    again = await conn.expect_retransmission(first, within=1)
    tcp.check_timing(
        "RACK reordering window",
        (again.at_ns - sent.at_ns) / SECOND,
        window(tcp, sent, first, rest[-1]),
        how=HOW,
        between=(sent.at_ns, again.at_ns),
    )


@verifies("RFC8985:6.3-timeout", level="text", needs=NEEDS, lasts=6)
async def test_timeout_spares_what_was_sent_just_before_it(tcp: Case) -> None:
    """A timeout spares what was sent just before it.

    A segment is lost, and its probe. Shortly before the timeout another is sent. We acknowledge the first's
    repetition. At the timeout the first alone is taken for lost: the second must not be sent again with it, nor for
    our acknowledgment, but one timeout later.
    """
    conn = await opened(tcp)
    arrived = (await flight(conn, 1))[0]
    await tcp.clock.sleep_until(arrived.at_ns + round(ROUND_TRIP_S * SECOND))
    acked = await conn.send(ACK)
    timeout = tcp.timeout_after(conn.round_trip_s, (acked.at_ns - arrived.at_ns) / SECOND)
    first = (await flight(conn, 1))[0]
    probe = await conn.expect_retransmission(first, within=timeout.high_s + 1)
    await tcp.clock.sleep_until(probe.at_ns + round((timeout.low_s - 0.06) * SECOND))
    await conn.app.send(bytes(PIECE))
    if tcp.clock.now_ns() > probe.at_ns + timeout.low_s * SECOND:
        raise Inconclusive("the application's second segment came no sooner than the timeout")
    second = await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=PIECE)
    again = await conn.expect_retransmission(first, within=timeout.high_s)
    if not 0 < (gap_s := (again.at_ns - second.at_ns) / SECOND) < 0.9 * ROUND_TRIP_S:
        raise Inconclusive(
            f"the second segment was sent {gap_s:.3f} s before the timeout, a round trip is {ROUND_TRIP_S} s"
        )
    await conn.send(ACK, ack=second.segment.seq, text="covers the first segment")
    await conn.silence(for_=0.3, strict=True)
