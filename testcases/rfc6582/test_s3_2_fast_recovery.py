"""RFC 6582 section 3.2: fast recovery without SACK, when more than one segment of a flight is lost."""

import pytest

from conformance.api import (
    ACK,
    SECOND,
    Bound,
    Case,
    Connection,
    Inconclusive,
    Received,
    Receiver,
    sends_a_flight,
    verifies,
)

MSS, SENT, LEAST = 1000, 60, 9
ROUND_TRIP_S = 0.6
"""The round trip of the handshake: the timeout is three times as long, and nothing that comes at once is due to it."""
BEFORE = b"the first segment of a connection may have rules of its own"
AT_ONCE = Bound(0, 0.1, "RFC 6582, 3.2: upon the acknowledgment, without waiting for the timeout of 1.8 s")


async def in_recovery(tcp: Case, *lost: int) -> tuple[Connection, Receiver, list[Received], list[Received]]:
    """Lose those segments of a flight and answer the others; return what the target has sent since, too.

    Raises Inconclusive where the first of them is not sent again at once: that it must is another case's.
    """
    conn, flight = await sends_a_flight(
        tcp, more_than=LEAST, mss=MSS, queued=SENT, round_trip_s=ROUND_TRIP_S, after=BEFORE
    )
    receiver = Receiver(conn, edge=flight[0].segment.seq)
    await receiver.answer(flight, lost=lost)
    sent = await conn.burst(quiet=0.05)
    soon(flight, tcp)
    if not any(one.segment.seq == flight[0].segment.seq for one in sent):
        raise Inconclusive("the target did not begin fast retransmit")
    return conn, receiver, flight, sent


def soon(flight: list[Received], tcp: Case) -> None:
    """Raise Inconclusive if what came may be due to a timer."""
    if (late_s := (tcp.clock.now_ns() - flight[0].at_ns) / SECOND) > 1.5 * ROUND_TRIP_S:
        raise Inconclusive(f"our ACKs took {late_s:.3f} s from the flight on: a timer is due soon")


@pytest.mark.parametrize("second", [2, 5], ids=lambda number: f"segment-{number}-is-lost-too")
@verifies("RFC6582:3.2-partial", "RFC6582:3.2-enter", "RFC5681:3.2-fast-retransmit", level="text", lasts=3)
async def test_partial_acknowledgment_has_the_next_hole_filled(tcp: Case, second: int) -> None:
    """A partial acknowledgment has the next hole filled.

    Without SACK, the first segment of a flight is lost, and another one. The first is sent again upon the duplicate
    ACKs, and arrives. Our acknowledgment then ends at the second hole: it is a partial one.

    The target must send the segment at that hole again at once, and not wait for its timer.
    """
    conn, receiver, flight, sent = await in_recovery(tcp, 0, second)
    receiver.takes(next(one for one in sent if one.segment.seq == flight[0].segment.seq))
    partial = await receiver.acknowledge(text="a partial acknowledgment")
    assert receiver.edge == flight[second].segment.seq
    arrived = await conn.burst(quiet=0.1)
    soon(flight, tcp)
    again = [one for one in arrived if one.segment.seq == flight[second].segment.seq]
    assert again, "the segment at the next hole is not sent again upon the partial acknowledgment"
    tcp.check_timing(
        "retransmission at the next hole",
        (again[0].at_ns - partial.at_ns) / SECOND,
        AT_ONCE,
        how="from the partial acknowledgment to the retransmission",
        between=(partial.at_ns, again[0].at_ns),
    )


@verifies("RFC6582:3.2-partial-deflate", "RFC6582:3.2-partial-stay", level="text", lasts=3)
async def test_partial_acknowledgment_releases_one_segment_beside_the_hole(tcp: Case) -> None:
    """A partial acknowledgment releases little beside the hole.

    The first and the sixth segment of a flight are lost, and the first arrives when it is sent again. The partial
    acknowledgment covers five segments. The window is deflated by those and inflated by one segment: besides the hole
    no more than one segment of new data may come.
    """
    conn, receiver, flight, sent = await in_recovery(tcp, 0, 5)
    receiver.takes(next(one for one in sent if one.segment.seq == flight[0].segment.seq))
    await receiver.acknowledge(text="a partial acknowledgment")
    arrived = await conn.burst(quiet=0.1)
    soon(flight, tcp)
    highest = max(one.segment.end for one in (*flight, *sent))
    new = [one for one in arrived if one.segment.seq >= highest]
    assert len(new) <= 1, f"{len(new)} new segments came for a partial acknowledgment, allowed is 1"


@verifies("RFC6582:3.2-full", "RFC5681:3.2-deflate", "RFC5681:4.3-after", level="MUST", lasts=3)
async def test_full_acknowledgment_deflates_the_window(tcp: Case) -> None:
    """A full acknowledgment deflates the window.

    The first segment of a flight is lost and arrives when it is sent again; then we acknowledge all that the target
    has sent. The window is now ssthresh, half of what was outstanding when the loss was noticed, two segments at
    least: no more than that, and a segment for the ACK, may come before we acknowledge again.
    """
    conn, flight = await sends_a_flight(
        tcp, more_than=LEAST, mss=MSS, queued=SENT, round_trip_s=ROUND_TRIP_S, after=BEFORE
    )
    receiver = Receiver(conn, edge=flight[0].segment.seq)
    await receiver.answer(flight[:4], lost=(0,))
    released = await conn.burst(quiet=0.03)
    outstanding = len(flight) + len([one for one in released if one.segment.seq > flight[-1].segment.seq])
    await receiver.answer(flight[4:])
    sent = [*released, *await conn.burst(quiet=0.05)]
    soon(flight, tcp)
    if not any(one.segment.seq == flight[0].segment.seq for one in sent):
        raise Inconclusive("the target did not begin fast retransmit")
    for segment in (*flight, *sent):
        receiver.takes(segment)
    await conn.app.send(bytes(LEAST * MSS), wait=False)
    await receiver.acknowledge(text="covers everything")
    arrived = await conn.expect_flight(quiet=0.1)
    most = max(2, outstanding // 2) + 1  # the ACK itself may add a segment (RFC 5681, 3.1)
    assert len(arrived) <= most, f"{len(arrived)} segments came after recovery, allowed is {most}"


@verifies("RFC6582:3.2-timeout", "RFC6582:3.2-not-again", level="text", lasts=5)
async def test_duplicates_of_old_data_after_a_timeout_begin_no_fast_retransmit(tcp: Case) -> None:
    """Duplicate ACKs after a timeout begin no fast retransmit.

    A whole flight stays unacknowledged until the timer has its first segment sent again. We acknowledge that one; what
    the target sends then is lost. Four duplicate ACKs follow, as for segments of the first flight that arrive twice.

    They do not cover more than what was sent before the timeout, so the target may not begin fast retransmit: the
    segment that they ask for may come once, and not again.
    """
    conn, flight = await sends_a_flight(
        tcp, more_than=LEAST, mss=MSS, queued=SENT, round_trip_s=ROUND_TRIP_S, after=BEFORE
    )
    await conn.expect_retransmission(flight[0], within=tcp.timeout_after(conn.round_trip_s, 0.001).high_s + 1)
    await conn.silence(for_=0.1, strict=True)
    await conn.send(ACK, ack=flight[0].segment.end, text="covers the first segment")
    arrived = await conn.burst(quiet=0.05)
    began_ns = tcp.clock.now_ns()
    for number in range(1, 5):
        await conn.send(ACK, ack=flight[0].segment.end, text=f"duplicate ACK {number}")
        arrived += await conn.burst(quiet=0.03)
    if tcp.clock.now_ns() - began_ns > SECOND:
        raise Inconclusive("our ACKs took more than a second: a timer is due soon")
    again = [one for one in arrived if one.segment.seq == flight[1].segment.seq]
    assert len(again) <= 1, f"the second segment came {len(again)} times, allowed is once"
