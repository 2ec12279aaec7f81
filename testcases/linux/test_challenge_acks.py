"""Linux: tcp_invalid_ratelimit, the least time between two acknowledgments of unacceptable segments on one connection."""

from conformance.api import ACK, SECOND, Bound, Case, Expectation, Seq, State, verifies

EVERY_S = 0.1
FOR_S = 3.0


@verifies("RFC5961:7-1", lasts=4)
async def test_challenge_acks_of_one_connection_are_half_a_second_apart(tcp: Case) -> None:
    """Challenge ACKs of one connection are half a second apart.

    For three seconds an ACK comes every 0.1 s that acknowledges what was never sent. Each is unacceptable and would
    be answered; the answers must be limited to one each half second.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    least = tcp.timer("challenge-ack-interval")
    answer = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="challenge ACK:")
    beyond: Seq = conn.rcv_nxt + 100_000
    answers, slowest_s = [], 0.0
    until_ns = tcp.clock.now_ns() + round(FOR_S * SECOND)
    before_ns = 0
    while tcp.clock.now_ns() < until_ns:
        sent = await conn.inject(ACK, ack=beyond, text="acknowledges what was never sent")
        slowest_s = max(slowest_s, (sent.at_ns - before_ns) / SECOND) if before_ns else 0.0
        before_ns = sent.at_ns
        due_ns = sent.at_ns + round(EVERY_S * SECOND)
        while (taken := await conn.allow(answer, within=max(0.0, (due_ns - tcp.clock.now_ns()) / SECOND))) is not None:
            answers.append(taken[1].at_ns)
    assert len(answers) > 2, f"{len(answers)} challenge ACKs came in {FOR_S:g} s, too few to see their limit"
    # An answer is due with the first of our segments behind the interval.
    bound = Bound(least.low_s, least.low_s + 0.01 + slowest_s, least.source)
    tcp.check_series(
        "challenge ACKs",
        answers,
        [bound] * (len(answers) - 1),
        how=f"from each to the next, with a stimulus each {EVERY_S:g} s",
    )
