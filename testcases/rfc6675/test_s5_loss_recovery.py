"""RFC 6675 section 5: loss recovery with SACK: when it begins, what it sends, and when it ends."""

import pytest

from conformance.api import (
    SECOND,
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
NEEDS = ("app", "sack")


async def outstanding(tcp: Case) -> tuple[Connection, Receiver, list[Received]]:
    """Return a connection with SACK, our receiver, and a flight of which nothing is acknowledged."""
    conn, flight = await sends_a_flight(
        tcp, more_than=LEAST, mss=MSS, queued=SENT, round_trip_s=ROUND_TRIP_S, sack=True
    )
    return conn, Receiver(conn, edge=flight[0].segment.seq, sack=True), flight


async def answered(tcp: Case, conn: Connection, flight: list[Received]) -> list[Received]:
    """Return what comes now. Raises Inconclusive if a timer may have sent it."""
    arrived = await conn.burst(quiet=0.05)
    if (late_s := (tcp.clock.now_ns() - flight[0].at_ns) / SECOND) > 1.5 * ROUND_TRIP_S:
        raise Inconclusive(f"our ACKs took {late_s:.3f} s from the flight on: a timer is due soon")
    return arrived


def numbers(flight: list[Received], arrived: list[Received]) -> list[int]:
    """Return which segments of the flight arrived again, in the order in which they came."""
    starts = {one.segment.seq: number for number, one in enumerate(flight)}
    return [starts[one.segment.seq] for one in arrived if one.segment.seq in starts]


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param((0, 3), id="first-and-fourth"),
        pytest.param((0, 1), id="first-and-second"),
        pytest.param((0, 2, 4), id="every-second"),
    ],
)
@verifies("RFC6675:5-next", "RFC6675:5-pipe", "RFC6675:5-first", "RFC6675:5-scoreboard", needs=NEEDS, lasts=3)
async def test_all_holes_are_filled_in_one_round_trip(tcp: Case, lost: tuple[int, ...]) -> None:
    """All holes are filled in one round trip.

    With SACK, two or three segments of a flight are lost, and all the others are reported. No acknowledgment of
    anything new comes, and no timer runs out. The target must send each lost segment again, once, in order, and
    nothing that was reported.
    """
    conn, receiver, flight = await outstanding(tcp)
    await receiver.answer(flight, lost=lost)
    again = numbers(flight, await answered(tcp, conn, flight))
    assert again == list(lost), f"segments {again} are sent again, lost were {list(lost)}"


@pytest.mark.parametrize("reported", [3, 4, 6])
@verifies("RFC6675:5-is-lost", "RFC6675:5-first", needs=NEEDS, level="text", lasts=3)
async def test_one_ack_that_reports_three_segments_begins_recovery(tcp: Case, reported: int) -> None:
    """One ACK that reports {reported} segments begins recovery.

    The first segment of a flight is lost. The ACKs of those behind it are lost, too, but for one, whose SACK block
    reports them all. The duplicates are not three, but the block says that three segments have arrived: the target
    must send the lost segment again at once.
    """
    conn, receiver, flight = await outstanding(tcp)
    for segment in flight[1 : 1 + reported]:
        receiver.takes(segment)
    await receiver.acknowledge(text=f"a single ACK that reports {reported} segments")
    again = numbers(flight, await answered(tcp, conn, flight))
    assert again == [0], f"segments {again} are sent again, the first alone is lost"


@verifies("RFC6675:5-half", "RFC5681:4.3-half", needs=NEEDS, level="MUST", lasts=3)
async def test_recovery_sends_no_more_than_half_of_what_was_outstanding(tcp: Case) -> None:
    """Recovery with SACK sends no more than half of the flight.

    The first segment of a flight is lost, and each of the others is reported. From the ACK that begins recovery on,
    until the loss is repaired, no more than half of what was outstanding may be sent.
    """
    conn, receiver, flight = await outstanding(tcp)
    await receiver.answer(flight[:3], lost=(0,))
    limited = await answered(tcp, conn, flight)
    await receiver.answer(flight[3:])
    arrived = await answered(tcp, conn, flight)
    most = (len(flight) + len(limited)) // 2
    assert 0 < len(arrived) <= most, f"{len(arrived)} segments were sent in recovery, allowed are 1 to {most}"


@verifies("RFC6675:5-end", "RFC5681:4.3-after", needs=NEEDS, level="MUST", lasts=3)
async def test_ack_of_everything_ends_recovery_with_half_the_window(tcp: Case) -> None:
    """An ACK of everything ends recovery with half the window.

    Two segments of a flight are lost, reported by the others, sent again, and then all is acknowledged. Recovery is
    over: the target must send new data, but no more than half of what was outstanding, and a segment for the ACK.
    """
    conn, receiver, flight = await outstanding(tcp)
    await receiver.answer(flight[:4], lost=(0, 3))
    limited = await answered(tcp, conn, flight)
    await receiver.answer(flight[4:])
    sent = [*limited, *await answered(tcp, conn, flight)]
    for segment in (*flight, *sent):
        receiver.takes(segment)
    await conn.app.send(bytes(LEAST * MSS), wait=False)
    await receiver.acknowledge(text="covers everything")
    arrived = await conn.expect_flight(quiet=0.1)
    new = [one for one in limited if one.segment.seq > flight[-1].segment.seq]
    most = max(2, (len(flight) + len(new)) // 2) + 1  # the ACK itself may add a segment (RFC 5681, 3.1)
    assert len(arrived) <= most, f"{len(arrived)} segments came after recovery, allowed is {most}"
