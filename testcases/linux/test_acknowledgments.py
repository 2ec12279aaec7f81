"""Linux: settings of when acknowledgments are sent, and of the sender's congestion window and tail loss probe."""

import pytest

from conformance.api import (
    ACK,
    RST,
    SECOND,
    Case,
    Connection,
    Expectation,
    Inconclusive,
    State,
    Violation,
    opt,
    verifies,
)

FAR = 2**30
DATA = bytes(range(256)) * 16
MSS = 512
"""Small segments: a congestion window of ten is little data."""
DELAYED_S = 0.04
"""TCP_ATO_MIN: within that time after a request a reply counts as one, and an acknowledgment waits for it."""
PATIENT = {"net.ipv4.tcp_rto_min_us": "1000000"}


async def opened(tcp: Case, *options: opt.Option, mss: int | None = None) -> Connection:
    """Return an established connection; our SYN has `options` and may announce a small MSS."""
    conn = await tcp.listen()
    conn.syn_options = (opt.mss(mss) if mss else conn.syn_options[0], *options)
    return await tcp.drive_to(State.ESTABLISHED, conn=conn)


# Acknowledgments of invalid segments, and challenges


@verifies("IP-SYSCTL:tcp_invalid_ratelimit", sysctl={"net.ipv4.tcp_invalid_ratelimit": "0"})
async def test_invalid_segments_are_all_acknowledged_without_a_limit(tcp: Case) -> None:
    """tcp_invalid_ratelimit 0 acknowledges every segment outside the window.

    Five empty segments come at once, each far outside the window; tcp_invalid_ratelimit is 0. The target must
    acknowledge each of them.
    """
    conn = await opened(tcp)
    for _ in range(5):
        await conn.inject(ACK, seq=conn.snd_nxt + FAR)
    for _ in range(5):
        await conn.expect_ack()
    await conn.silence(strict=True)


@pytest.mark.parametrize("limit_ms", [300, 1000])
@verifies(
    "IP-SYSCTL:tcp_invalid_ratelimit",
    needs=("app", "prompt-wire"),
    sysctl={"net.ipv4.tcp_invalid_ratelimit": "{limit_ms}"},
    lasts=3,
)
async def test_acknowledgments_of_invalid_segments_keep_their_distance(tcp: Case, limit_ms: int) -> None:
    """ACKs of invalid segments keep tcp_invalid_ratelimit={limit_ms} ms apart.

    Empty segments far outside the window come at a distance of 50 ms, until three are acknowledged. The target must
    acknowledge the first, and from then on one whenever tcp_invalid_ratelimit is over.
    """
    conn = await opened(tcp)
    limit, answers = tcp.timer("challenge-ack-interval", limit_ms / 1000), 0
    answer = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    answered_ns = before_ns = 0
    for _ in range(10 * limit_ms // 50):
        probe = await conn.inject(ACK, seq=conn.snd_nxt + FAR)
        taken = await conn.allow(answer, within=0.05, strict=True)
        passed_s, since_s = (probe.at_ns - answered_ns) / SECOND, (probe.at_ns - before_ns) / SECOND
        if taken is not None:
            answers += 1
            if answered_ns:
                how = "receive stamp of the last answer to the transmit stamp of the next that is answered"
                tcp.check_timing(f"answer {answers}", passed_s, limit.widened(0, since_s), how=how)
            answered_ns = taken[1].at_ns
            if answers == 3:
                break
        elif passed_s > limit.high_s:
            raise Violation(
                f"a segment is not acknowledged {passed_s:.3f} s after the last that was, allowed is {limit}"
            )
        before_ns = probe.at_ns
    assert answers == 3, f"{answers} segments were acknowledged"
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(("limit", "most"), [(4, 10), (2**31 - 1, 12)], ids=["4", "unlimited"])
@verifies(
    "IP-SYSCTL:tcp_challenge_ack_limit",
    "RFC5961:7-1",
    level="text",
    alone=True,
    sysctl={"net.ipv4.tcp_challenge_ack_limit": "{limit}"},
    lasts=1,
)
async def test_challenge_ack_limit_bounds_the_challenges_of_a_second(tcp: Case, limit: int, most: int) -> None:
    """tcp_challenge_ack_limit bounds the challenge ACKs of a second.

    On twelve connections a RST comes inside the window, within one second. With a limit of 4 the target must send
    between two and five challenge ACKs for each second that has begun (the limit is made hard to guess), and
    without one all twelve.
    """
    conns = [await opened(tcp) for _ in range(12)]
    for conn in conns:
        await conn.inject(RST, seq=conn.snd_nxt + 100)
    challenges = 0
    for conn in conns:
        wanted = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="challenge:")
        challenges += await conn.allow(wanted, within=0.05, strict=True) is not None
    least = 2 if limit == 4 else 12
    assert least <= challenges <= most, f"{challenges} challenge ACKs for 12 connections, the limit is {limit}"


# Delayed acknowledgments


@pytest.mark.parametrize("threshold", [1, 4])
@verifies(
    "IP-SYSCTL:tcp_pingpong_thresh",
    needs=("app", "prompt-wire"),
    sysctl={"net.ipv4.tcp_pingpong_thresh": "{threshold}"},
    lasts=1,
)
async def test_pingpong_thresh_is_the_number_of_replies_before_acks_are_delayed(tcp: Case, threshold: int) -> None:
    """tcp_pingpong_thresh={threshold} replies come before ACKs are delayed.

    We send request after request, and the application replies to each within 40 ms. The target must acknowledge a
    request at once until it has sent that many replies, and from then on with the reply.
    """
    conn = await opened(tcp)
    at_once = 0
    for _ in range(threshold + 2):
        request = await conn.send(ACK, payload=b"request")
        await conn.app.send(b"reply")
        acked = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
        replied = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=b"reply")
        which, answer = await conn.expect_any(acked, replied)
        at_once += which == 0 and answer.at_ns - request.at_ns < DELAYED_S / 2 * SECOND
        if which == 0:
            answer = await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=b"reply")
        if (late_s := (answer.at_ns - request.at_ns) / SECOND) > DELAYED_S:
            raise Inconclusive(f"the application replied after {late_s:.3f} s; only replies within {DELAYED_S} s count")
        await conn.send(ACK)
    assert at_once == threshold, f"{at_once} requests were acknowledged at once, tcp_pingpong_thresh is {threshold}"


# The sender. Its timeout is above what the tester may need to answer.


@pytest.mark.parametrize(("value", "probes"), [(0, False), (3, True)], ids=["off", "on"])
@verifies("IP-SYSCTL:tcp_early_retrans", sysctl={"net.ipv4.tcp_early_retrans": "{value}", **PATIENT}, lasts=1.5)
async def test_early_retrans_probes_for_a_lost_tail(tcp: Case, value: int, probes: bool) -> None:
    """tcp_early_retrans decides whether a lost tail is probed.

    SACK is permitted, and the application sends two segments at once that we do not acknowledge. With tail loss
    probes on the target must first repeat the last segment; without them the first, after its timeout.
    """
    conn = await opened(tcp, opt.sack_permitted())
    await conn.app.option("tcp", "TCP_NODELAY", 1)
    sent = []
    for data in (b"the first", b"the last"):
        await conn.app.send(data)
        sent.append(await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data))
    await conn.expect_retransmission(*(sent[1:] if probes else sent), within=2.0)


@pytest.mark.parametrize(("on", "least", "most"), [(1, 1, 10), (0, 12, 40)], ids=["on", "off"])
@verifies(
    "IP-SYSCTL:tcp_slow_start_after_idle",
    sysctl={"net.ipv4.tcp_slow_start_after_idle": "{on}", **PATIENT},
    lasts=4,
)
async def test_slow_start_after_idle_begins_with_a_small_window(tcp: Case, on: int, least: int, most: int) -> None:
    """tcp_slow_start_after_idle decides the window after an idle time.

    The congestion window has grown over that of a new connection; then the connection is idle for longer than its
    timeout. With the setting on the target must send no more than ten segments before we acknowledge any, without
    it more.
    """
    conn = await opened(tcp, mss=MSS)
    for _ in range(4):
        await conn.app.send(DATA)
        left = len(DATA)
        while left > 0:
            left -= len((await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)).segment.payload)
            await conn.send(ACK)
    await conn.silence(for_=2.5)
    await conn.app.send(DATA * 5)
    burst = 0
    while await conn.allow(Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt), within=0.1) is not None:
        burst += 1
    assert least <= burst <= most, f"{burst} segments came at once, tcp_slow_start_after_idle is {on}"
