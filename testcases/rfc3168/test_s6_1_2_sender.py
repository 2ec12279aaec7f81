"""RFC 3168 sections 6.1.2 and 6.1.4 to 6.1.6, as sender: the answer to ECE, CWR, and what is never ECT."""

from typing import Any

from conformance.api import (
    ACK,
    CWR,
    ECE,
    FIN,
    SYN,
    Case,
    Connection,
    Expectation,
    Flags,
    Inconclusive,
    Received,
    State,
    app_sends,
    opt,
    verifies,
)
from conformance.wire.ip import ECT_0, NOT_ECT

NEEDS: dict[str, Any] = {"needs": ("app", "ecn"), "quick": False}
MSS = 1000
QUIET_S = 0.06
"""The target writes what its congestion window allows at once; shorter than any retransmission timeout in use."""
PLENTY = bytes(400 * MSS)
GROWTH, TRIES = 40, 5


async def with_ecn(tcp: Case) -> Connection:
    """Return an established connection on which ECN was agreed on, with segments of MSS octets."""
    conn = await tcp.listen()
    conn.syn_options = (opt.mss(MSS),)
    await conn.send(SYN | ECE | CWR)
    await conn.expect(SYN | ACK | ECE, ack=conn.snd_nxt, length=0)
    await conn.complete()
    await conn.app.send_by_the_book(len(PLENTY))
    return conn


def new_data(conn: Connection) -> list[Expectation]:
    """Return the forms of the target's next data: without CWR or with it."""
    return [Expectation(flags, ack=conn.snd_nxt) for flags in (ACK, ACK | CWR)]


class Disturbed(Exception):
    """The machine was too slow: the target has retransmitted, or a flight was not whole."""


async def flight(conn: Connection) -> list[Received]:
    """Return all new data that the target sends before it stops for want of an acknowledgment. Raises Disturbed."""
    arrived: list[Received] = []
    expected = conn.rcv_nxt
    while (taken := await conn.allow(*new_data(conn), within=QUIET_S if arrived else 1)) is not None:
        if taken[1].segment.seq != expected:
            raise Disturbed
        arrived.append(taken[1])
        expected = taken[1].segment.end
    if conn.put_aside:
        raise Disturbed
    assert arrived, "the target sends nothing"
    return arrived


async def grow(conn: Connection) -> None:
    """Acknowledge each segment at once, so that the target's congestion window grows."""
    for _ in range(GROWTH):
        _, taken = await conn.expect_any(*new_data(conn))
        await conn.send(ACK, ack=taken.segment.end)


async def answered(conn: Connection, segments: list[Received], flags: Flags, last: Flags) -> list[Received]:
    """Acknowledge the segments one by one, the last with its own flags; return the next flight. Raises Disturbed."""
    acks = [await conn.send(last if one is segments[-1] else flags, ack=one.segment.end) for one in segments]
    after = await flight(conn)
    if after[0].at_ns < acks[0].at_ns:
        raise Disturbed
    return after


async def flights(
    tcp: Case, *answers: tuple[Flags, Flags], growth: bool = True
) -> tuple[Connection, list[list[Received]]]:
    """Return a connection whose target has much to send, its flight, and the flights that our ACKs release.

    Each answer acknowledges the flight before it: with those flags, and the last segment with its own. Raises Inconclusive.
    """
    for _ in range(TRIES):
        conn = await with_ecn(tcp)
        await conn.app.send(PLENTY, wait=False)
        try:
            if growth:
                await grow(conn)
            seen = [await flight(conn)]
            for flags, last in answers:
                seen.append(await answered(conn, seen[-1], flags, last))
        except Disturbed:
            continue
        return conn, seen
    raise Inconclusive(
        f"in each of {TRIES} tries the target retransmitted before we answered, or its flight was not whole"
    )


async def goes_on(conn: Connection) -> None:
    """See that our next ACK releases new data."""
    await conn.send(ACK)
    await conn.expect_any(*(Expectation(flags, seq=conn.rcv_nxt, ack=conn.snd_nxt) for flags in (ACK, ACK | CWR)))


def with_cwr(segments: list[Received]) -> list[int]:
    """Return the places of the segments that have CWR."""
    return [place for place, one in enumerate(segments) if one.segment.flags & CWR]


# The answer to ECE


@verifies("RFC3168:6.1.2-halves", "RFC3168:6.1.2-data", **NEEDS)
async def test_congestion_window_is_reduced_on_ece(tcp: Case) -> None:
    """ECE reduces the congestion window.

    The target has a full congestion window under way; each of our ACKs of it has ECE, but the last. Fewer segments
    must be under way then: half as many, or somewhat more with the factors of RFC 8511 and RFC 9438.
    """
    _, (before, after) = await flights(tcp, (ACK | ECE, ACK))
    forms = ["halved", "reduced by less", "not reduced"]
    ratio = len(after) / len(before)
    taken = forms[0] if ratio <= 0.55 else forms[1] if ratio <= 0.9 else forms[2]
    tcp.note(f"{len(before)} segments were under way before, {len(after)} after the reduction")
    tcp.choice("congestion window after ECE", taken, forms[:2])


@verifies("RFC3168:6.1.2-increase", **NEEDS)
async def test_congestion_window_does_not_grow_on_ece(tcp: Case) -> None:
    """ECE stops the growth of the congestion window.

    Early in slow start, where each ACK would open the congestion window, our ACKs have ECE. No more segments should
    be under way afterwards than before.
    """
    conn, (before, after) = await flights(tcp, (ACK | ECE, ACK | ECE), growth=False)
    assert len(after) <= len(before), f"{len(before)} segments were under way before ECE, and {len(after)} after it"
    await goes_on(conn)


@verifies("RFC3168:6.1.2-cwr", "RFC3168:6.1.1-cwr", level="MUST", **NEEDS)
async def test_first_new_data_after_a_reduction_has_cwr(tcp: Case) -> None:
    """The first new data after a reduction has CWR.

    One ACK of ours has ECE; it acknowledges all that is under way. The first new segment must have CWR, and be
    ECT(0) like all new data.
    """
    conn, (before,) = await flights(tcp)
    await conn.send(ACK | ECE, ack=before[-1].segment.end)
    first = await conn.expect(ACK | CWR, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=MSS)
    assert first.ip.ecn == ECT_0, "the segment with CWR is not ECT(0)"


@verifies("RFC3168:6.1.2-cwr-first", "RFC3168:6.1.2-once", level="SHOULD", **NEEDS)
async def test_only_the_first_new_data_has_cwr(tcp: Case) -> None:
    """Only the first new data of a reduction has CWR.

    The ACKs of one window of data have ECE, but the last, as from a receiver that has not seen CWR. One segment
    alone should have CWR: the congestion window is reduced once for all of them.
    """
    conn, (_, after, later) = await flights(tcp, (ACK | ECE, ACK), (ACK, ACK))
    assert with_cwr(after) == [0], f"segments {with_cwr(after)} of {len(after)} have CWR"
    assert not with_cwr(later), f"segments {with_cwr(later)} of the next window have CWR too"
    await goes_on(conn)


@verifies("RFC3168:6.1.2-once", **NEEDS)
async def test_ece_on_the_last_ack_of_a_window_counts_for_that_window(tcp: Case) -> None:
    """ECE on the last ACK of a window counts for that window.

    Every ACK of one window of data has ECE, the last too: that data was sent before CWR, which answers for it. The
    target must reduce its congestion window once, and say so once.
    """
    conn, (_, after) = await flights(tcp, (ACK | ECE, ACK | ECE))
    assert with_cwr(after) == [0], f"segments {with_cwr(after)} of {len(after)} have CWR"
    await goes_on(conn)


@verifies("RFC3168:6.1.2-once", **NEEDS)
async def test_ece_of_the_next_window_reduces_again(tcp: Case) -> None:
    """ECE of the next window reduces the congestion window again.

    ECE comes for one window of data, and again for the next, which began behind CWR. Each must have its reduction,
    and its CWR.
    """
    conn, (_, *reduced) = await flights(tcp, (ACK | ECE, ACK), (ACK | ECE, ACK))
    for segments in reduced:
        assert with_cwr(segments) == [0], f"segments {with_cwr(segments)} of {len(segments)} have CWR"
    await goes_on(conn)


@verifies("RFC3168:6.1.2-timer", lasts=2, **NEEDS)
async def test_ece_with_a_congestion_window_of_one_waits_for_the_timer(tcp: Case) -> None:
    """With a window of one segment, ECE makes the target wait for its timer.

    After a timeout the congestion window is one segment. Our ACK of the retransmission has ECE. The target must
    reset its timer, and send the next segment only when it expires.
    """
    conn, (before,) = await flights(tcp)
    first = before[0]
    await conn.expect_retransmission(first, within=4)
    await conn.send(ACK | ECE, ack=first.segment.end)
    await conn.silence(for_=0.1, strict=True)
    await conn.expect_any(*new_data(conn), within=4, strict=True)


# Retransmissions


@verifies("RFC3168:6.1.5-again", lasts=1, **NEEDS)
async def test_retransmission_is_not_ect(tcp: Case) -> None:
    """A retransmission is not ECT.

    Data of the target is lost, and comes again after its timeout, twice. It was ECT(0) first; the retransmissions
    must be not-ECT.
    """
    conn = await with_ecn(tcp)
    lost = await app_sends(conn, b"lost")
    assert lost.ip.ecn == ECT_0, "new data is not ECT(0)"
    for _ in range(2):
        again = await conn.expect_retransmission(lost, within=4)
        assert again.ip.ecn == NOT_ECT, f"the retransmission has ECN field {again.ip.ecn}, it has to be not-ECT"
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC3168:6.1.2-cwr-again", "RFC3168:6.1.5-again", level="SHOULD", lasts=1, **NEEDS)
async def test_retransmission_of_data_with_cwr_has_none(tcp: Case) -> None:
    """A retransmission of data with CWR has no CWR.

    The segment with CWR is lost, and comes again after its timeout. The retransmission should not have CWR, and
    must be not-ECT.
    """
    conn, (before,) = await flights(tcp)
    await conn.send(ACK | ECE, ack=before[-1].segment.end)
    first = await conn.expect(ACK | CWR, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=MSS)
    again = first
    while again is first or again.segment.seq != first.segment.seq:
        _, again = await conn.expect_any(*new_data(conn), within=4, strict=True)
    assert not again.segment.flags & CWR, "the retransmission has CWR"
    assert again.ip.ecn == NOT_ECT, f"the retransmission has ECN field {again.ip.ecn}, it has to be not-ECT"
    await goes_on(conn)


@verifies("RFC3168:6.1.2-cwr", "RFC3168:6.1.1-cwr", level="MUST", lasts=1, **NEEDS)
async def test_first_new_data_after_a_timeout_has_cwr(tcp: Case) -> None:
    """The first new data after a timeout has CWR.

    Data of the target is lost and comes again after its timeout; then we acknowledge it, and there is more to send.
    The congestion window was reduced: the first new segment must have CWR.
    """
    conn, (before,) = await flights(tcp)
    await conn.expect_retransmission(before[0], within=4)
    await conn.send(ACK, ack=before[-1].segment.end)
    await conn.expect(ACK | CWR, seq=before[-1].segment.end, ack=conn.snd_nxt)


# What is never ECT


@verifies("RFC3168:6.1.4-pure", **NEEDS)
async def test_acknowledgments_are_not_ect(tcp: Case) -> None:
    """Pure ACKs are not ECT.

    Data of ours comes in order, behind a hole and twice; a SYN and a FIN come. The ACKs, which have no data, must
    be not-ECT.
    """
    conn = await with_ecn(tcp)
    acks = []
    await conn.send(ACK, payload=b"in order", ip={"tos": ECT_0})
    acks.append(await conn.expect_ack())
    await conn.inject(ACK, seq=conn.snd_nxt + 10, payload=b"behind a hole", ip={"tos": ECT_0})
    acks.append(await conn.expect_ack())
    await conn.inject(ACK, seq=conn.snd_nxt - 8, payload=b"in order")
    acks.append(await conn.expect_ack())
    await conn.inject(SYN, text="a SYN that is challenged")
    acks.append(await conn.expect_ack())
    await conn.send(FIN | ACK)
    acks.append(await conn.expect_ack())
    fields = [one.ip.ecn for one in acks]
    assert fields == [NOT_ECT] * 5, f"the ECN fields of the ACKs are {fields}, not-ECT is 0"
    await conn.confirm(State.CLOSE_WAIT)


@verifies("RFC3168:6.1.6-probe", lasts=2, **NEEDS)
async def test_window_probe_has_neither_ect_nor_cwr(tcp: Case) -> None:
    """A window probe has neither ECT nor CWR.

    Our window closes with an ACK that has ECE, so that CWR is due; the target probes the window. The probes must be
    not-ECT and without CWR, which comes with the first new data once the window opens.
    """
    conn = await with_ecn(tcp)
    first = await app_sends(conn, b"first")
    edge = first.segment.end
    await conn.send(ACK | ECE, window=0)
    await conn.app.send(b"waits")
    probes = [
        Expectation(flags, seq=edge + number, ack=conn.snd_nxt) for flags in (ACK, ACK | CWR) for number in (-1, 0)
    ]
    late = Expectation(ACK, seq=first.segment.seq, payload=b"first", label="a retransmission that has crossed our ACK:")
    seen = 0
    while seen < 2:
        which, probe = await conn.expect_any(*probes, late, within=20, strict=True)
        if which == len(probes):
            continue
        seen += 1
        assert not probe.segment.flags & CWR, "the probe has CWR"
        assert probe.ip.ecn == NOT_ECT, f"the probe has ECN field {probe.ip.ecn}, it has to be not-ECT"
    await conn.send(ACK, ack=edge, text="the window opens")
    data = Expectation(ACK | CWR, seq=edge, ack=conn.snd_nxt, payload=b"waits")
    while (await conn.expect_any(data, *probes[:2]))[0]:
        pass
