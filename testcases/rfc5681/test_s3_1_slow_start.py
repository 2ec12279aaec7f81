"""RFC 5681 sections 3.1 and 4.1: how much the target sends before it hears from us, and by how much each ACK adds to that."""

import pytest

from conformance.api import ACK, SYN, Case, Connection, Offer, Received, State, verifies

SENT = 40
"""Segments that the application has to send: more than any window that is allowed here, less than what we offer."""
SMALL_MSS, LARGE_MSS = 536, 1400
INITIAL = {SMALL_MSS: 4, LARGE_MSS: 3}
"""RFC 5681 section 3.1: three segments above 1095 octets, four up to that."""


async def opened(tcp: Case, mss: int, *, round_trip_s: float = 0.0, lost_opening: bool = False) -> Connection:
    """Return a connection with our MSS of `mss` octets; with `lost_opening` we answer its second SYN,ACK."""
    offer = Offer(mss=mss)
    if lost_opening:
        conn = await tcp.listen(offer=offer)
        await conn.send(SYN)
        opening = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
        await conn.expect_retransmission(opening, within=5)
        await conn.complete()
    else:
        conn = await tcp.drive_to(State.ESTABLISHED, offer=offer, round_trip_s=round_trip_s)
    await conn.app.send_by_the_book(SENT * LARGE_MSS, congestion=True)
    return conn


async def flight(conn: Connection, mss: int, segments: int = SENT) -> list[Received]:
    """Have the application send many segments; return those that arrive at once."""
    await conn.app.send(bytes(segments * mss), wait=False)
    return await conn.expect_flight()


@pytest.mark.parametrize("mss", [pytest.param(SMALL_MSS, id="536"), pytest.param(LARGE_MSS, id="1400")])
@verifies("RFC5681:3.1-iw", "RFC5681:3.1-syn-no-growth", "RFC9293:MUST-19", lasts=1)
async def test_initial_window_is_a_few_segments(tcp: Case, mss: int) -> None:
    """The initial window is a few segments with an MSS of {mss}.

    The application sends 40 segments at once, and we acknowledge nothing. No more than four segments of 536 octets,
    or three of 1400, may come before our acknowledgment. The handshake's own acknowledgments must not have added to
    them.
    """
    conn = await opened(tcp, mss)
    arrived = await flight(conn, mss)
    allowed = INITIAL[mss]
    assert len(arrived) <= allowed, (
        f"the initial window is {len(arrived)} segments, allowed is {allowed} of {mss} octets"
    )


@verifies("RFC5681:3.1-iw-after-loss", lasts=3)
async def test_initial_window_after_a_lost_opening_is_one_segment(tcp: Case) -> None:
    """After a lost SYN,ACK the initial window is one segment.

    The target's SYN,ACK is lost and answered when it comes again. Then the application sends 40 segments at once.
    One segment alone may come before our acknowledgment.
    """
    conn = await opened(tcp, LARGE_MSS, lost_opening=True)
    arrived = await flight(conn, LARGE_MSS)
    assert len(arrived) == 1, f"the initial window is {len(arrived)} segments, allowed is 1 after a lost SYN,ACK"


@verifies("RFC5681:3.1-slow-start", "RFC5681:3.1-both", "RFC5681:2-cwnd", "RFC9293:MUST-19", level="MUST", lasts=2)
async def test_each_ack_of_a_segment_adds_one_segment(tcp: Case) -> None:
    """In slow start each ACK of a segment adds one segment.

    The application sends 40 segments at once. We acknowledge those of the first flight one by one. With each
    acknowledgment one segment has left the network and the window has grown by one at most: no more than two may
    come for it; and it must be slow start, so that some come.
    """
    conn = await opened(tcp, LARGE_MSS, round_trip_s=0.3)
    first = await flight(conn, LARGE_MSS)
    more = []
    for received in first[:3]:
        await conn.send(ACK, ack=received.segment.end, text="one segment more")
        more.append(len(await conn.expect_flight(quiet=0.05)))
    assert max(more) <= 2, f"{max(more)} segments came for one acknowledgment of one segment, allowed is 2"


@verifies("RFC5681:3.1-slow-start", "RFC5681:3.1-abc", lasts=2)
async def test_ack_of_many_segments_adds_one_segment(tcp: Case) -> None:
    """In slow start an ACK of many segments adds one segment.

    The application sends 40 segments at once. One acknowledgment covers the whole first flight. The window has
    grown by one segment at most, however many were acknowledged.
    """
    conn = await opened(tcp, LARGE_MSS, round_trip_s=0.3)
    first = await flight(conn, LARGE_MSS)
    await conn.send(ACK, text="the whole flight")
    second = await conn.expect_flight()
    grown = len(second) - len(first)
    assert grown <= 1, f"one acknowledgment added {grown} segments to the window, allowed is 1"


@verifies("RFC5681:3.1-equation-2", lasts=2)
async def test_acks_of_parts_of_a_segment_add_no_more_than_what_they_cover(tcp: Case) -> None:
    """ACKs of parts of a segment add no more than they cover.

    The application sends 40 segments at once. The first of them is acknowledged in three parts. Together the three
    cover one segment, so that no more than two should come for them.
    """
    conn = await opened(tcp, LARGE_MSS, round_trip_s=0.3)
    first = await flight(conn, LARGE_MSS)
    for octets in (400, 900, LARGE_MSS):
        await conn.send(ACK, ack=first[0].segment.seq + octets, text="a part of the first segment")
    arrived = await conn.expect_flight()
    assert len(arrived) <= 2, f"{len(arrived)} segments came for three acknowledgments of one segment, allowed is 2"


@verifies("RFC5681:3.1-loss-window", "RFC6298:5.4", level="MUST", lasts=4)
async def test_window_after_a_timeout_is_one_segment(tcp: Case) -> None:
    """After a timeout the congestion window is one segment.

    The application sends 40 segments at once, none is acknowledged. We acknowledge the first when it comes again.
    At the timeout one segment alone may be sent; with its acknowledgment slow start begins, and two may be.
    """
    conn = await opened(tcp, LARGE_MSS, round_trip_s=0.3)
    first = await flight(conn, LARGE_MSS)
    await conn.expect_retransmission(first[0], within=tcp.timeout_after(conn.round_trip_s).high_s + 1)
    await conn.silence(for_=0.3, strict=True)
    await conn.send(ACK, ack=first[0].segment.end, text="covers the first segment")
    arrived = await conn.burst(quiet=0.2)
    assert 0 < len(arrived) <= 2, (
        f"{len(arrived)} segments came for the first acknowledgment after a timeout, allowed are 1 or 2"
    )


@verifies("RFC5681:4.1-restart", lasts=6)
async def test_window_after_idling_is_the_initial_one(tcp: Case) -> None:
    """After an idle time the congestion window is the initial one.

    The window has grown by acknowledged flights; the connection idles for longer than a timeout. Then 40 segments
    are sent. No more than the initial window may come before our acknowledgment.
    """
    conn = await opened(tcp, LARGE_MSS, round_trip_s=0.3)
    flights = [await flight(conn, LARGE_MSS)]
    while sum(map(len, flights)) < SENT:
        await conn.send(ACK)
        flights.append(await conn.expect_flight())
    await conn.send(ACK)
    initial, grown = len(flights[0]), max(map(len, flights))
    assert grown > initial, "the window has not grown, so that it can't shrink"
    await tcp.sleep(4)  # several times any timeout after round trips like these
    again = len(await flight(conn, LARGE_MSS))
    assert again <= initial, f"{again} segments come after idling, the initial window was {initial}"
