"""RFC 6298 section 5: when the retransmission timer is started, restarted and turned off."""

from conformance.api import ACK, SECOND, Case, Connection, State, app_sends, verifies

ROUND_TRIP_S = 0.4
"""The round trip of the handshake: it makes a timeout of 1.2 s, long enough to act within it."""


async def opened(tcp: Case) -> Connection:
    """Return a connection whose target has measured that round trip and sends small segments without waiting."""
    conn = await tcp.drive_to(State.ESTABLISHED, round_trip_s=ROUND_TRIP_S)
    await conn.app.option("tcp", "TCP_NODELAY", 1)
    return conn


@verifies("RFC6298:5.1", "RFC6298:5.4", "RFC6298:5-early", level="text", lasts=3)
async def test_timer_runs_from_the_earliest_segment(tcp: Case) -> None:
    """The retransmission timer runs from the earliest segment.

    The target sends a segment, half a second later another; neither is acknowledged. The second must not start the
    timer anew: one timeout after the first segment, the first is repeated.
    """
    conn = await opened(tcp)
    first = await app_sends(conn, b"first")
    await tcp.clock.sleep_until(first.at_ns + SECOND // 2)
    second = await app_sends(conn, b"second")
    allowed = tcp.timeout_after(conn.round_trip_s)
    again = await conn.expect_retransmission(first, second, within=allowed.high_s + 1)
    tcp.check_timing(
        "timer of the earliest segment",
        (again.at_ns - first.at_ns) / SECOND,
        allowed,
        how="from the first segment to its repetition",
        between=(first.at_ns, again.at_ns),
    )


@verifies("RFC6298:5.2", level="text", lasts=4)
async def test_timer_is_off_when_all_is_acknowledged(tcp: Case) -> None:
    """The retransmission timer is off when all is acknowledged.

    The target sends two segments, which we acknowledge shortly before the timeout. Nothing is outstanding, so
    nothing may be repeated, however long it waits.
    """
    conn = await opened(tcp)
    first = await app_sends(conn, b"first")
    await app_sends(conn, b"second")
    await tcp.clock.sleep_until(first.at_ns + SECOND)
    await conn.send(ACK)
    await conn.silence(for_=tcp.timeout_after(conn.round_trip_s, 1).high_s, strict=True)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC6298:5.3", "RFC6298:5.4", "RFC6298:2.3", level="MUST", lasts=4)
async def test_acknowledgment_of_new_data_restarts_the_timer(tcp: Case) -> None:
    """An ACK of new data restarts the retransmission timer.

    The target sends two segments 0.3 s apart; 0.8 s after the first we acknowledge that one alone. The timer must
    start anew with the acknowledgment, by the timeout that the new round trip makes: the second segment must be
    repeated that long after our acknowledgment, not after it was sent.
    """
    conn = await opened(tcp)
    first = await app_sends(conn, b"first")
    await tcp.clock.sleep_until(first.at_ns + 3 * SECOND // 10)
    second = await app_sends(conn, b"second")
    await tcp.clock.sleep_until(first.at_ns + 8 * SECOND // 10)
    acked = await conn.send(ACK, ack=second.segment.seq, text="covers the first segment")
    allowed = tcp.timeout_after(conn.round_trip_s, (acked.at_ns - first.at_ns) / SECOND)
    again = await conn.expect_retransmission(second, within=allowed.high_s + 1)
    tcp.check_timing(
        "timer restarted by an acknowledgment",
        (again.at_ns - acked.at_ns) / SECOND,
        allowed,
        how="from our acknowledgment of the first segment to the repetition of the second",
        between=(acked.at_ns, again.at_ns),
    )
