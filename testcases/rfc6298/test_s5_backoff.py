"""RFC 6298 section 5: what is lost is repeated at doubling intervals, judged as one series, to its end where there is one."""

import pytest

from conformance.api import ACK, RST, SECOND, SYN, Case, State, after, app_accepts, app_sends, verifies

DATA = b"lost again and again"
BACKOFF = ("claim:C-31", "RFC6298:5.4", "RFC6298:5.5", "RFC6298:5.6", "RFC9293:MUST-18", "RFC9293:MUST-19")
HOW = "between the receive stamps of one transmission and the next"
REPEATS = 7
"""With 0.2 s at first and doubling, the seventh comes after 25.4 s."""


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(
            State.ESTABLISHED,
            id="established",
            marks=verifies(*BACKOFF, cells=["ESTABLISHED/timeout-retransmission"], lasts=29),
        ),
        pytest.param(
            State.CLOSE_WAIT,
            id="close-wait",
            marks=verifies(*BACKOFF, cells=["CLOSE-WAIT/timeout-retransmission"], lasts=29),
        ),
    ],
)
async def test_lost_data_is_sent_again_at_doubling_intervals(tcp: Case, state: State) -> None:
    """Lost data is sent again at doubling intervals in {state}.

    The target's data is not acknowledged for half a minute: it comes again and again, each time after twice as
    long. The first interval must be the timeout for the one round trip that was measured, each further one twice
    the one before.
    """
    conn = await tcp.drive_to(state)
    data = await app_sends(conn, DATA)
    first = tcp.timeout_after(conn.round_trip_s)
    within = [first.high_s * 1.5 * 2**number + 1 for number in range(REPEATS)]
    stamps = await conn.expect_retransmissions(data, within)
    growth = tcp.growth("rto-min", "RFC 6298, 5.5 and 5.6")
    tcp.check_series("retransmissions of data", stamps, [first], growth=growth, how=HOW)
    await conn.confirm(state)


@verifies(
    "RFC6298:2.1",
    *BACKOFF,
    "RFC9293:3.10.8-retransmission",
    cells=["SYN-RECEIVED/timeout-retransmission"],
    lasts=after("syn-ack-rto", 9, intervals=6),
)
async def test_syn_ack_is_repeated_until_the_handshake_is_given_up(tcp: Case) -> None:
    """The SYN,ACK is repeated until the handshake is given up.

    The target's SYN+ACK is never answered, on two connections. The target must repeat it unchanged by the schedule
    of its profile. After the last repetition it waits once more, twice as long: the ACK that comes shortly before
    that is over still opens the connection, one that comes later is reset.
    """
    schedule = tcp.schedule("syn-ack-rto")
    last_wait = tcp.timer("syn-ack-rto", 2 * tcp.profile.timers["syn-ack-rto"].schedule_s[-1])
    growth = tcp.growth("syn-ack-rto", "RFC 6298, 5.5 and 5.6")
    completed, given_up = await tcp.listen(), await tcp.listen()
    stamps = []
    for conn in (completed, given_up):
        await conn.send(SYN)
        answer = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
        stamps.append(answer)
    series = [
        await conn.expect_retransmissions(answer, within=[bound.high_s + 1 for bound in schedule])
        for conn, answer in zip((completed, given_up), stamps, strict=True)
    ]
    for repeats in series:
        tcp.check_series("retransmissions of SYN+ACK", repeats, schedule, growth=growth, how=HOW)
    await tcp.clock.sleep_until(series[0][-1] + round((last_wait.low_s - 1) * SECOND))
    await completed.send(ACK, text="just in time")
    await app_accepts(completed)
    await completed.confirm(State.ESTABLISHED)
    await given_up.silence(for_=max(0.0, last_wait.high_s - (tcp.clock.now_ns() - series[1][-1]) / SECOND), strict=True)
    late = await given_up.inject(ACK, seq=given_up.snd_nxt, ack=given_up.rcv_nxt, text="too late")
    await given_up.expect(RST, seq=late.segment.ack, label="no connection:")
