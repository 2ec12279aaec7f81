"""RFC 9293 section 3.8.3: how long the target goes on retransmitting, and who decides."""

from conformance.api import ACK, SECOND, SYN, Case, Expectation, State, Violation, app_sends, verifies

DATA = b"never acknowledged"
R2_S, R2_OF_SYN_S = 100, 180
# Between the last two retransmissions before R2 may lie a backed-off timeout of a minute.
BACKED_OFF_S = 200  # no document says how far a timeout may be backed off: here it may double until R2 is over


@verifies("RFC9293:MUST-21", "RFC1122:4.2.3.5-r1-r2", needs=("app", "options:TCP_USER_TIMEOUT"), lasts=3)
async def test_application_sets_how_long_is_retransmitted(tcp: Case) -> None:
    """The application sets R2 for one connection.

    On one of two connections the application sets R2 to a second and a half; on neither is its data acknowledged.
    The target must give up the one as it was asked to, and go on with the other.
    """
    bound = tcp.timer("user-timeout", 1.5)
    conn, untouched = await tcp.drive_to(State.ESTABLISHED), await tcp.drive_to(State.ESTABLISHED)
    await conn.app.option("tcp", "TCP_USER_TIMEOUT", 1500)
    outstanding = await app_sends(untouched, DATA)
    await app_sends(conn, DATA)
    await conn.app.fails("receive", "ETIMEDOUT", count=1, wait_s=bound.high_s + 2)
    await conn.confirm(State.CLOSED)
    await untouched.expect_retransmission(outstanding, within=5)
    await untouched.send(ACK)
    await untouched.confirm(State.ESTABLISHED)


@verifies("RFC9293:SHLD-11", "RFC9293:SHLD-10", "RFC1122:4.2.3.5-r2", "RFC1122:4.2.3.5-r1", lasts=R2_S + 60)
async def test_data_is_retransmitted_for_a_hundred_seconds(tcp: Case) -> None:
    """Data is retransmitted for a hundred seconds.

    The application's data is not acknowledged for a hundred seconds. The target should go on retransmitting for
    that long at least, more than three times, and then still take our ACK.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    first = await app_sends(conn, DATA)
    last, count = first, 0
    while last.at_ns - first.at_ns < R2_S * SECOND:
        last = await conn.expect_retransmission(first, within=BACKED_OFF_S)
        count += 1
    if count < 3:
        raise Violation(f"{count} retransmissions in {R2_S} s, R1 alone is worth three")
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC9293:MUST-23", "RFC1122:4.2.3.5-r2-syn", lasts=R2_OF_SYN_S + 5)
async def test_syn_is_retransmitted_for_three_minutes(tcp: Case) -> None:
    """A SYN is retransmitted for three minutes.

    The target's SYN is not answered for three minutes. It must go on retransmitting for that long at least, and its
    application's open must not fail.
    """
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0)
    until_ns = syn.at_ns + R2_OF_SYN_S * SECOND
    await conn.app.fails("connected", "timeout", wait_s=(until_ns - tcp.clock.now_ns()) / SECOND)
    await conn.send(SYN | ACK)
    await conn.expect_any(Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0))
    await conn.confirm(State.ESTABLISHED)
