"""RFC 6298 section 5: what does not move the retransmission timer, and where its backoff ends."""

import pytest

from conformance.api import ACK, PSH, SECOND, Bound, Case, Expectation, State, app_sends, verifies

ROUND_TRIP_S = 0.4
"""The round trip of the handshake: it makes a timeout of 1.2 s, long enough to act within it."""


@pytest.mark.parametrize("what", ["text", "window-changes", "duplicates"])
@verifies("RFC6298:5.1", "RFC6298:5.3", "RFC6298:5-early", level="MUST", lasts=3)
async def test_segment_that_acknowledges_nothing_does_not_move_the_timer(tcp: Case, what: str) -> None:
    """A segment that acknowledges nothing new does not move the timer.

    The target's segment is lost. Before its timer runs out, segments of ours come that acknowledge nothing new: three
    with text, two that change the window, or two duplicates.

    The timer is restarted by an acknowledgment of new data alone: one timeout after the segment was sent, it must come
    again, no earlier and no later.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, round_trip_s=ROUND_TRIP_S)
    lost = await app_sends(conn, b"lost")
    for number in range(3 if what == "text" else 2):
        await tcp.clock.sleep_until(lost.at_ns + (3 * number + 3) * SECOND // 10)
        if what == "text":
            await conn.send(ACK | PSH, ack=lost.segment.seq, payload=b"ours", text="text that acknowledges nothing new")
            await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
        elif what == "duplicates":
            await conn.send(ACK, ack=lost.segment.seq, text="a duplicate ACK")
        else:
            await conn.send(ACK, ack=lost.segment.seq, window=40_000 + 1000 * number, text="another window")
    allowed = tcp.timeout_after(conn.round_trip_s)
    again = await conn.expect_retransmission(lost, within=allowed.high_s + 1)
    tcp.check_timing(
        "timeout beside segments that acknowledge nothing new",
        (again.at_ns - lost.at_ns) / SECOND,
        allowed,
        how="from the segment to its repetition",
        between=(lost.at_ns, again.at_ns),
    )


@verifies("RFC6298:5.5", "RFC6298:5.3", "RFC6298:3-karn", "RFC9293:MUST-18", level="MUST", lasts=20)
async def test_backoff_ends_with_a_new_measurement(tcp: Case) -> None:
    """The timer's backoff ends with a new measurement.

    A segment is lost three times, so that the timeout has doubled three times when it is acknowledged. Eight segments
    then are acknowledged at once, each of them a new measurement. The next segment is lost.

    The doubled timeout must be over: the segment must come again after the timeout that the round trips make.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    measured = [conn.round_trip_s]
    lost = await app_sends(conn, b"lost three times")
    first = tcp.timeout_after(conn.round_trip_s).high_s
    for doubled in (1, 2, 4):
        await conn.expect_retransmission(lost, within=1.5 * doubled * first + 1)
    await conn.send(ACK, text="at last")
    for number in range(8):
        sent = await app_sends(conn, b"prompt %d" % number)
        acked = await conn.send(ACK)
        measured.append((acked.at_ns - sent.at_ns) / SECOND + tcp.wire_round_trip_s)
    longest = tcp.timeout_after(*measured)
    # Whether the timeout is rounded up is another case's matter: here it may be as short as the round trips make it.
    allowed = Bound(max(0.0, tcp.timeout_after(*measured, least_s=0.0).low_s), longest.high_s, longest.source)
    lost = await app_sends(conn, b"lost once")
    again = await conn.expect_retransmission(lost, within=8 * first + 1)
    tcp.check_timing(
        "timeout after new measurements",
        (again.at_ns - lost.at_ns) / SECOND,
        allowed,
        how="from the segment to its repetition",
        between=(lost.at_ns, again.at_ns),
    )


@verifies("RFC6298:5.4", "RFC6298:5.1", level="MUST", lasts=3)
async def test_earliest_segment_comes_again_while_more_waits(tcp: Case) -> None:
    """The earliest segment comes again while more text waits.

    Our window is full with the target's first segments, and more text waits for it. Nothing is acknowledged. When the
    timer runs out, the earliest segment must be sent again, and nothing of what waits.
    """
    conn = await tcp.listen()
    conn.window = 1000
    await tcp.drive_to(State.ESTABLISHED, conn=conn, round_trip_s=ROUND_TRIP_S)
    first = conn.rcv_nxt
    await conn.app.send(bytes(range(250)) * 12, wait=False)
    flight = await conn.expect_flight()
    allowed = tcp.timeout_after(conn.round_trip_s)
    again = Expectation(ACK, seq=first, ack=conn.snd_nxt, label="the earliest again:")
    _, received = await conn.expect_any(again, within=allowed.high_s + 1, strict=True)
    assert received.segment.payload[: len(flight[0].segment.payload)] == flight[0].segment.payload
    assert received.segment.end - first <= 1000, "text was sent that our window does not take"
    tcp.check_timing(
        "timeout while more text waits",
        (received.at_ns - flight[0].at_ns) / SECOND,
        allowed,
        how="from the earliest segment to its repetition",
        between=(flight[0].at_ns, received.at_ns),
    )
