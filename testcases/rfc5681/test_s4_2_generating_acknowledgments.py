"""RFC 5681 sections 3.2 and 4.2: when the target acknowledges what it receives."""

import contextlib

import pytest

from conformance.api import ACK, PSH, SECOND, AppError, Bound, Case, Connection, Expectation, State, verifies

FULL = 1400
"""Octets of our segments; the target's own maximum is asked for by its SYN,ACK, and is no less."""
AT_ONCE = Bound(0, 0.03, "RFC 5681, 4.2: immediately, not after the delay of an acknowledgment")


async def warmed(tcp: Case) -> Connection:
    """Return a connection that is past its first segments, so that the target delays ACKs if it ever does."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    with contextlib.suppress(AppError):
        await conn.app.option("tcp", "TCP_QUICKACK", 0)
    return conn


@verifies("RFC5681:4.2-500-ms", "RFC5681:4.2-delayed", "RFC9293:MUST-40", "claim:C-33", level="MUST", lasts=2)
async def test_acknowledgment_waits_half_a_second_at_most(tcp: Case) -> None:
    """An ACK of a small segment is delayed half a second at most.

    One small segment comes, and nothing after it, three times. Each must be acknowledged within half a second;
    where the target delays that, by the delay of its profile.
    """
    conn = await warmed(tcp)
    bound = Bound(0, 0.5, "RFC 5681, 4.2; RFC 9293, 3.8.6.3 (MUST-40)")
    how = "from our segment to its acknowledgment"
    delays = []
    for _ in range(3):
        sent = await conn.send(ACK | PSH, payload=b"one small segment")
        acked = await conn.expect_ack(within=1)
        delays.append((acked.at_ns - sent.at_ns) / SECOND)
        tcp.check_timing("delayed ACK", delays[-1], bound, how=how, between=(sent.at_ns, acked.at_ns))
    delayed = max(delays) > AT_ONCE.high_s
    tcp.choice("acknowledgment of a lone segment", "delayed" if delayed else "at once", ["delayed", "at once"])
    if delayed:
        tcp.check_timing("delayed ACK, by the profile", max(delays), tcp.timer("delayed-ack"), how=how)


@verifies("RFC5681:4.2-second", "RFC9293:SHLD-19", "claim:C-33", lasts=2)
async def test_every_second_full_segment_is_acknowledged(tcp: Case) -> None:
    """At least every second full-sized segment is acknowledged at once.

    Ten full-sized segments come in pairs, and the application reads them. At least one acknowledgment for every two
    should come at once.
    """
    conn = await warmed(tcp)
    for number in range(1, 6):
        await conn.send(ACK, payload=bytes(FULL))
        second = await conn.send(ACK | PSH, payload=bytes(FULL))
        both = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
        first_alone = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt - FULL, length=0)
        which, acked = await conn.expect_any(both, first_alone)
        if which:
            await conn.allow(both, within=0.02)  # each segment may have its own, too
            continue
        tcp.check_timing(
            f"acknowledgment of pair {number}",
            max(0.0, (acked.at_ns - second.at_ns) / SECOND),
            AT_ONCE,
            how="from the second segment to its acknowledgment",
            between=(second.at_ns, acked.at_ns),
        )
        assert await conn.app.receive(2 * FULL) == bytes(2 * FULL)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC5681:3.2-out-of-order", "RFC5681:3.2-fills", "RFC5681:4.2-one", level="SHOULD", lasts=1)
async def test_gap_is_told_at_once_and_so_is_its_end(tcp: Case) -> None:
    """Data beyond a gap, and the end of the gap, are acknowledged at once.

    The first of four segments is lost and comes last. Each segment beyond the gap should be answered by a duplicate
    ACK at once, and the one that fills it by an acknowledgment of all four; no segment may be answered twice.
    """
    conn = await warmed(tcp)
    start, data = conn.snd_nxt, b"four parts"
    stamps = []
    for number in (1, 2, 3):
        sent = await conn.inject(ACK, seq=start + 10 * number, payload=data, text=f"part {number}, beyond the gap")
        acked = await conn.expect(ACK, seq=conn.rcv_nxt, ack=start, length=0, label="duplicate ACK:")
        stamps.append((sent, acked))
    sent = await conn.send(ACK, seq=start, payload=data, text="fills the gap")
    conn.taken_in(snd_nxt=start + 40)
    stamps.append((sent, await conn.expect(ACK, seq=conn.rcv_nxt, ack=start + 40, length=0, label="all of it:")))
    for sent, acked in stamps:
        tcp.check_timing(
            "acknowledgment of a segment out of order",
            (acked.at_ns - sent.at_ns) / SECOND,
            AT_ONCE,
            how="from our segment to its acknowledgment",
            between=(sent.at_ns, acked.at_ns),
        )
    await conn.silence(for_=0.5)
    assert await conn.app.receive(40) == 4 * data


@pytest.mark.parametrize("octets", [pytest.param(20, id="small"), pytest.param(FULL, id="full")])
@verifies("RFC5681:4.2-one", lasts=1)
async def test_no_segment_is_answered_twice(tcp: Case, octets: int) -> None:
    """No data segment is acknowledged twice.

    Eight segments come in order, back to back, and the application reads none. No more acknowledgments than
    segments may come, each beyond the one before.
    """
    conn = await warmed(tcp)
    first = conn.snd_nxt
    for _ in range(8):
        await conn.send(ACK, payload=bytes(octets))
    acks = [one.segment.ack for one in await conn.burst(quiet=0.5)]
    assert 0 < len(acks) <= 8, f"{len(acks)} acknowledgments came for 8 segments"
    assert acks[-1] == conn.snd_nxt, "not all was acknowledged"
    assert all(before < after for before, after in zip([first, *acks], acks, strict=False)), (
        "an acknowledgment came twice"
    )
