"""RFC 5681 section 3.2: what duplicate ACKs make the target send, without SACK and with it."""

from conformance.api import (
    ACK,
    SECOND,
    Bound,
    Case,
    Connection,
    Inconclusive,
    Received,
    Sent,
    sends_a_flight,
    verifies,
)

MSS, SENT = 1400, 40
ROUND_TRIP_S = 0.6
"""The round trip of the handshake: the timeout is three times as long, and no segment that comes at once is due to it."""
AT_ONCE = Bound(0, 0.1, "RFC 5681, 3.2: without waiting for the timeout, of 1.8 s here")
LEAST = 8
"""A flight of more segments than that can lose its first."""


async def loses_the_first(tcp: Case, *, sack: bool = False) -> tuple[Connection, list[Received]]:
    """Return a flight of the target's whose first segment is lost: nothing is acknowledged yet."""
    return await sends_a_flight(tcp, more_than=LEAST, mss=MSS, queued=SENT, round_trip_s=ROUND_TRIP_S, sack=sack)


async def duplicate_ack(conn: Connection, flight: list[Received], number: int) -> Sent:
    """Send an ACK of everything before the flight. Raises Inconclusive if it left too late."""
    sent = await conn.send(ACK, ack=flight[0].segment.seq, text=f"duplicate ACK {number}")
    before_the_timer(flight, sent.at_ns)
    return sent


def before_the_timer(flight: list[Received], at_ns: int) -> None:
    """Raise Inconclusive if a segment may be due to a timer, and not to our duplicate ACKs."""
    if (late_s := (at_ns - flight[0].at_ns) / SECOND) > 1.5 * ROUND_TRIP_S:
        raise Inconclusive(
            f"our duplicate ACKs took {late_s:.3f} s from the flight on: a loss probe is due after {2 * ROUND_TRIP_S} s"
        )


@verifies("RFC5681:3.2-fast-retransmit", "RFC5681:3.2-third", "RFC5681:3.2-lost-segment", level="SHOULD", lasts=3)
async def test_third_duplicate_ack_has_the_missing_segment_sent_again(tcp: Case) -> None:
    """The third duplicate ACK triggers a fast retransmission.

    Without SACK, the first segment of a flight is lost: we answer each that follows by a duplicate ACK. The first
    two may have new data sent, but nothing repeated; upon the third the target should send the missing segment
    again at once, and that one first.
    """
    conn, flight = await loses_the_first(tcp)
    lost = flight[0]
    for number in (1, 2, 3):
        duplicate = await duplicate_ack(conn, flight, number)
        arrived = await conn.burst(quiet=0.03 if number < 3 else 0.1)
        before_the_timer(flight, tcp.clock.now_ns())
        again = [one for one in arrived if one.segment.seq == lost.segment.seq]
        assert number == 3 or not again, f"the segment is sent again upon duplicate ACK {number}, allowed is the third"
    assert again, "the missing segment is not sent again upon the third duplicate ACK"
    assert arrived[0] is again[0], "something else is sent before the missing segment"
    tcp.check_timing(
        "fast retransmit",
        (again[0].at_ns - duplicate.at_ns) / SECOND,
        AT_ONCE,
        how="from the third duplicate ACK to the segment that was missing",
        between=(duplicate.at_ns, again[0].at_ns),
    )


@verifies("RFC5681:3.2-limited", lasts=3)
async def test_first_duplicate_acks_have_new_data_sent(tcp: Case) -> None:
    """The first two duplicate ACKs each release one new segment.

    The first segment of a flight is lost, and more data waits to be sent. Two duplicate ACKs come. For each the
    target should send one segment of new data, and no more than one.
    """
    conn, flight = await loses_the_first(tcp)
    for number in (1, 2):
        await duplicate_ack(conn, flight, number)
        arrived = await conn.expect_flight(quiet=0.03, within=0.1)
        assert len(arrived) == 1, f"{len(arrived)} segments came for duplicate ACK {number}, allowed is 1"


@verifies("RFC5681:3.2-limited-sack", lasts=3)
async def test_duplicate_ack_without_new_sack_information_sends_nothing(tcp: Case) -> None:
    """A duplicate ACK without new SACK information releases nothing.

    With SACK, the first segment of a flight is lost, and more data waits. Two duplicate ACKs come without a SACK
    block. They say nothing of what has arrived, so the target may send nothing for them.
    """
    conn, flight = await loses_the_first(tcp, sack=True)
    for number in (1, 2):
        await duplicate_ack(conn, flight, number)
    await conn.silence(for_=0.15, strict=True)


@verifies("RFC5681:4.3-half", lasts=3)
async def test_recovery_sends_no_more_than_half_of_the_flight(tcp: Case) -> None:
    """Recovery sends no more than half of the flight.

    The first segment of a flight is lost; each of the others is acknowledged by a duplicate ACK. From the third of
    them on, until the loss is repaired, no more than half of what was outstanding may be sent.
    """
    conn, flight = await loses_the_first(tcp)
    outstanding, arrived = 0, flight
    for number in (1, 2, 3):
        outstanding += len(arrived)
        await duplicate_ack(conn, flight, number)
        arrived = await conn.burst(quiet=0.03)
    for number in range(4, len(flight)):
        await duplicate_ack(conn, flight, number)
    arrived += await conn.burst(quiet=0.1)
    before_the_timer(flight, tcp.clock.now_ns())
    assert 0 < len(arrived) <= outstanding // 2, (
        f"{len(arrived)} segments were sent in recovery, allowed is half of the {outstanding} outstanding"
    )
