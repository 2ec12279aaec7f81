"""RFC 5681 section 2: which acknowledgments are duplicates, and which are not."""

import pytest

from conformance.api import ACK, SECOND, Case, Inconclusive, Received, sends_a_flight, verifies

MSS, SENT, LEAST = 1400, 40, 8
ROUND_TRIP_S = 0.6
"""The round trip of the handshake: the timeout is three times as long, and nothing that comes at once is due to it."""


def before_the_timer(flight: list[Received], now_ns: int) -> None:
    """Raise Inconclusive if a retransmission may be due to a timer."""
    if (late_s := (now_ns - flight[0].at_ns) / SECOND) > 1.5 * ROUND_TRIP_S:
        raise Inconclusive(f"our ACKs took {late_s:.3f} s from the flight on: a loss probe is due soon")


@pytest.mark.parametrize("differs", ["carries-text", "widens-the-window", "narrows-the-window", "is-older"])
@verifies("RFC5681:2-duplicate", "RFC5681:3.2-third", level="text", lasts=3)
async def test_no_duplicate_has_nothing_sent_again(tcp: Case, differs: str) -> None:
    """An ACK that is no duplicate has nothing sent again.

    A flight of the target's is outstanding. Four acknowledgments come that repeat the highest number, and each carries
    text of ours, or another window; or their number is lower than the highest.

    By parts (b), (d) and (e) of the definition they are no duplicates: the target may not send its first segment again
    for them.
    """
    conn, flight = await sends_a_flight(tcp, more_than=LEAST, mss=MSS, queued=SENT, round_trip_s=ROUND_TRIP_S)
    highest, arrived = flight[0].segment.seq, list[Received]()
    if differs == "widens-the-window":
        highest = flight[0].segment.end
        await conn.send(ACK, ack=highest, window=40_000, text="covers a segment, with less window")
        await conn.burst(quiet=0.03)
    for number in range(1, 5):
        if differs == "carries-text":
            await conn.send(ACK, ack=highest, payload=b"?", text=f"ACK {number}, with text")
        elif differs == "widens-the-window":
            await conn.send(ACK, ack=highest, window=40_000 + 1000 * number, text=f"ACK {number}, a wider window")
        elif differs == "narrows-the-window":
            await conn.send(ACK, ack=highest, window=65_000 - 1000 * number, text=f"ACK {number}, a narrower window")
        else:
            await conn.send(ACK, ack=highest - 1, text=f"ACK {number}, an older one")
        arrived += await conn.burst(quiet=0.03)
    before_the_timer(flight, tcp.clock.now_ns())
    again = [one for one in arrived if one.segment.seq == highest and one.segment.payload]
    assert not again, "the first segment is sent again, and no duplicate ACK has come"


@verifies("RFC5681:2-duplicate", level="text", lasts=2)
async def test_acks_with_nothing_outstanding_are_no_duplicates(tcp: Case) -> None:
    """ACKs with nothing outstanding are no duplicates.

    Everything is acknowledged, and five more acknowledgments repeat that. Part (a) of the definition wants outstanding
    data: the target may send nothing for them, and nothing twice of the flight that follows.
    """
    conn, flight = await sends_a_flight(tcp, more_than=0, mss=MSS, queued=2, round_trip_s=ROUND_TRIP_S)
    assert flight
    await conn.send(ACK)
    while await conn.burst(quiet=0.2):
        await conn.send(ACK)
    for _ in range(5):
        await conn.send(ACK, text="nothing is outstanding")
    await conn.silence(for_=0.1, strict=True)
    await conn.app.send(bytes(MSS), wait=False)
    numbers = [one.segment.seq for one in await conn.burst(quiet=0.3)]
    assert numbers, "nothing comes of what the application has sent"
    assert len(set(numbers)) == len(numbers), "a segment is sent twice, though no duplicate ACK has come since"


@verifies("RFC5681:3.2-third", level="SHOULD", lasts=3)
async def test_ack_of_something_new_begins_the_count_anew(tcp: Case) -> None:
    """An ACK of something new begins the count of duplicates anew.

    Two duplicate ACKs come for a flight, then one that acknowledges its first segment, then two more: four in all, but
    the third comes behind an acknowledgment that moves SND.UNA. Nothing may be sent again.
    """
    conn, flight = await sends_a_flight(tcp, more_than=LEAST, mss=MSS, queued=SENT, round_trip_s=ROUND_TRIP_S)
    arrived = []
    for number in (flight[0].segment.seq, flight[0].segment.seq, *[flight[0].segment.end] * 3):
        await conn.send(ACK, ack=number)
        arrived += await conn.burst(quiet=0.02)
    before_the_timer(flight, tcp.clock.now_ns())
    starts = {one.segment.seq for one in flight}
    again = [one for one in arrived if one.segment.seq in starts]
    assert not again, f"{len(again)} segments are sent again, and no three duplicates have come"
