"""RFC 9293 section 3.8.1: a FIN that is lost is sent again, in all three states that wait for its acknowledgment."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    SECOND,
    SYN,
    Bound,
    Case,
    Connection,
    Received,
    State,
    app_accepts,
    app_sends,
    in_state,
    opt,
    verifies,
)

DATA = b"the last words"
REPEATS = 7
"""With 0.2 s at first and doubling, the seventh comes after 25.4 s."""
LEAST_R2_S = 100
"""A target may give up after that long (RFC 9293 section 3.8.3)."""
REPEATED = ("RFC9293:3.6-case-1-retransmit", "RFC9293:3.10.8-retransmission")
DOUBLING = ("RFC9293:MUST-19", "RFC1122:4.2.3.1-backoff", "RFC6298:5.5", *REPEATED, "claim:C-22")


async def sends_its_fin(tcp: Case, state: State, *, sack: bool = False) -> tuple[Connection, Received, float]:
    """Return a connection that waits in `state` for the ACK of its FIN, that FIN, and the round trip in seconds.

    The round trip is the target's only measurement: from its SYN+ACK to our ACK.
    """
    conn = await tcp.listen()
    if sack:
        conn.syn_options = (*conn.syn_options, opt.sack_permitted())
    await conn.send(SYN)
    opened = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    acked = await conn.send(ACK)
    await app_accepts(conn)
    if state is State.LAST_ACK:
        await conn.send(FIN | ACK)
        await conn.expect_ack()
    await conn.app.shutdown("send")
    fin = await conn.expect_fin()
    if state is State.CLOSING:
        await conn.send(FIN | ACK, ack=fin.segment.seq, text="FIN that does not cover the target's FIN")
        await conn.expect_ack()
    return conn, fin, (acked.at_ns - opened.at_ns) / SECOND + tcp.wire_round_trip_s


@pytest.mark.parametrize("sack", [pytest.param(False, id="without-sack"), pytest.param(True, id="with-sack")])
@pytest.mark.parametrize(
    "state",
    [
        in_state(State.FIN_WAIT_1, marks=verifies(*DOUBLING, cells=["FIN-WAIT-1/timeout-retransmission"], lasts=29)),
        in_state(State.CLOSING, marks=verifies(*DOUBLING, cells=["CLOSING/timeout-retransmission"], lasts=29)),
        in_state(State.LAST_ACK, marks=verifies(*DOUBLING, cells=["LAST-ACK/timeout-retransmission"], lasts=29)),
    ],
)
async def test_lost_fin_is_sent_again_at_doubling_intervals(tcp: Case, state: State, sack: bool) -> None:
    """A lost FIN is sent again at doubling intervals.

    The target's FIN is not acknowledged for half a minute: it comes again and again, each time after twice as long.
    The target must repeat the very FIN. The first interval is its retransmission timeout for the measured round
    trip; each further one must be twice the one before. With SACK a probe for the lost tail (RFC 8985 section 7.2)
    may come first, after which the timeout begins anew.
    """
    conn, fin, round_trip_s = await sends_its_fin(tcp, state, sack=sack)
    settled_ns = tcp.clock.now_ns()
    first = tcp.timeout_after(round_trip_s)
    stamps = [fin.at_ns]
    for number in range(REPEATS):
        if len(stamps) > 1 and stamps[-1] - stamps[0] + 2 * (stamps[-1] - stamps[-2]) > LEAST_R2_S * SECOND:
            break
        again = await conn.expect_retransmission(fin, within=first.high_s * 1.5 * 2**number + 1)
        acknowledges = again.segment.ack == conn.snd_nxt or again.at_ns < settled_ns
        assert acknowledges, "the repeated FIN does not acknowledge what came before it"
        stamps.append(again.at_ns)

    probed = sack and stamps[2] - stamps[1] < 1.5 * (stamps[1] - stamps[0])
    forms = ["after the retransmission timeout", "before it, as a probe for the tail"]
    tcp.choice("first repetition of a lost FIN", forms[probed], forms if sack else forms[:1])
    how = "between the receive stamps of the FIN and its repetition"
    if probed:
        # Two round trips, more where the answer may be delayed, and at the latest when the timeout would come.
        tail = Bound(2 * round_trip_s, first.high_s, "RFC 8985, 7.2")
        tcp.check_timing(
            "tail loss probe", (stamps[1] - stamps[0]) / SECOND, tail, how=how, between=(stamps[0], stamps[1])
        )
    growth = tcp.growth("rto-min", "RFC 6298, 5.5 and 5.6")
    tcp.check_series("retransmissions of FIN", stamps[probed:], [first], growth=growth, how=how)
    await conn.confirm(state)


@pytest.mark.parametrize(
    ("state", "then"),
    [
        in_state(
            State.FIN_WAIT_1,
            State.FIN_WAIT_2,
            marks=verifies(
                *REPEATED, cells=["FIN-WAIT-1/timeout-retransmission", "FIN-WAIT-1/ack-covers-fin"], lasts=5
            ),
        ),
        in_state(
            State.CLOSING,
            State.TIME_WAIT,
            marks=verifies(*REPEATED, cells=["CLOSING/timeout-retransmission", "CLOSING/ack-covers-fin"], lasts=5),
        ),
        in_state(
            State.LAST_ACK,
            State.CLOSED,
            marks=verifies(*REPEATED, cells=["LAST-ACK/timeout-retransmission", "LAST-ACK/ack-covers-fin"], lasts=5),
        ),
    ],
)
async def test_fin_is_not_sent_again_once_it_is_acknowledged(tcp: Case, state: State, then: State) -> None:
    """An acknowledged FIN is not sent again in {state}.

    The target's FIN comes three times, then we acknowledge it. The target must stop, and go on to the next state as
    if nothing had been lost.
    """
    conn, fin, _ = await sends_its_fin(tcp, state)
    for _ in range(2):
        await conn.expect_retransmission(fin)
    await conn.send(ACK)
    await conn.silence(for_=3)
    await conn.confirm(then)


@pytest.mark.parametrize(
    ("state", "then"),
    [
        in_state(
            State.FIN_WAIT_1,
            State.FIN_WAIT_2,
            marks=verifies(
                *REPEATED, cells=["FIN-WAIT-1/timeout-retransmission", "FIN-WAIT-1/ack-new-not-fin"], lasts=4
            ),
        ),
        in_state(
            State.LAST_ACK,
            State.CLOSED,
            marks=verifies(*REPEATED, cells=["LAST-ACK/timeout-retransmission", "LAST-ACK/ack-covers-fin"], lasts=4),
        ),
    ],
)
async def test_lost_data_and_fin_are_both_sent_again(tcp: Case, state: State, then: State) -> None:
    """Lost data and a lost FIN are both sent again in {state}.

    Data and FIN of the target are lost; we acknowledge first the data that comes again, and then the FIN. The
    target must send the data again, alone or with the FIN, and once the data is acknowledged the FIN alone.
    """
    conn = await tcp.drive_to(State.ESTABLISHED if state is State.FIN_WAIT_1 else State.CLOSE_WAIT)
    data = await app_sends(conn, DATA)
    await conn.app.shutdown("send")
    fin = await conn.expect_fin()

    await conn.expect_retransmission(data, fin)
    await conn.send(ACK, ack=fin.segment.seq, text="covers the data, not the FIN")
    await conn.expect_retransmission(fin)
    await conn.confirm(state)
    await conn.send(ACK)
    await conn.silence(for_=2)
    await conn.confirm(then)


@verifies(
    "RFC9293:3.6-case-1-retransmit",
    "RFC9293:3.10.7.4-text",
    "claim:C-22",
    cells=["FIN-WAIT-1/timeout-retransmission", "FIN-WAIT-1/data"],
    lasts=2,
)
async def test_fin_that_is_sent_again_acknowledges_what_came_since(tcp: Case) -> None:
    """A repeated FIN acknowledges data that arrived meanwhile.

    Between the FIN and its repetition our data arrives, which acknowledges nothing new. The target must acknowledge
    the data at once, and again in the FIN that it repeats.
    """
    conn, fin, _ = await sends_its_fin(tcp, State.FIN_WAIT_1)
    await conn.send(ACK, ack=fin.segment.seq, payload=DATA)
    answer = await conn.expect_ack()
    again = await conn.expect_retransmission(fin)
    while again.at_ns < answer.at_ns:  # what has crossed our data
        again = await conn.expect_retransmission(fin)
    assert again.segment.ack == conn.snd_nxt, "the repeated FIN does not acknowledge the data"
    await conn.confirm(State.FIN_WAIT_1)
