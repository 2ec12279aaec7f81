"""RFC 2018 sections 5 and 8: what a sender makes of SACK blocks, in recovery, after a timeout, and when they are taken back."""

from dataclasses import replace

import pytest

from conformance.api import ACK, Case, Connection, Expectation, Inconclusive, Offer, Received, State, opt, verifies

NEEDS = ("app", "sack")
SIZE = 500
OFFER = Offer(mss=SIZE, sack=True)
ROUNDS = 8
BEFORE_TIMEOUT_S = 0.12
"""Shorter than any retransmission timeout in use (Linux: 0.2 s), longer than recovery takes on this link."""
FAST_S = 0.03


async def comes(conn: Connection, count: int, size: int) -> list[Received]:
    """Return up to `count` full-sized segments, as many as the congestion window allows, and acknowledge none."""
    arrived: list[Received] = []
    wanted = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=size)
    while len(arrived) < count and (received := await conn.allow(wanted, within=0.1 if arrived else 1)) is not None:
        arrived.append(received[1])
        wanted = replace(wanted, seq=conn.rcv_nxt)
    return arrived


async def flight(conn: Connection, count: int, size: int) -> list[Received]:
    """Return `count` full-sized segments of the target, none of them acknowledged.

    While its congestion window is smaller, what comes is acknowledged for it to grow. The target may take it as a loss
    that we do not report a probe of the tail (RFC 8985 section 7) as a duplicate, and reduce it.
    """
    for _ in range(ROUNDS):
        await conn.app.send(bytes(count * size))
        left = count
        while left:
            arrived = await comes(conn, left, size)
            if len(arrived) == count:
                return arrived
            assert arrived, "the target sends nothing, though all is acknowledged"
            for received in arrived:
                await conn.send(ACK, ack=received.segment.end)
            left -= len(arrived)
    raise Inconclusive(f"in {ROUNDS} rounds the congestion window did not grow to {count} segments")


async def opened(tcp: Case) -> tuple[Connection, int]:
    """Return a connection with SACK and small segments, and the octets of a full segment.

    A target may leave room in each for options that it does not send now.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=OFFER)
    await conn.app.send_by_the_book(400 * SIZE)
    size = max(len(one.segment.payload) for one in await conn.collect_segments(bytes(2 * SIZE), within=5))
    return conn, size


def block(sent: list[Received], first: int, last: int) -> tuple[int, int]:
    """Return the block that reports the segments from `first` to `last`, both included."""
    return sent[first].segment.seq, sent[last].segment.end


async def reports(conn: Connection, sent: list[Received], *blocks: tuple[int, int]) -> int:
    """Send an ACK of nothing new with these blocks; return when it left."""
    acked = await conn.send(ACK, ack=sent[0].segment.seq, sack=blocks)
    return acked.at_ns


def again_since(conn: Connection, sent: list[Received], since_ns: int) -> set[int]:
    """Return the segments that arrived again since then, in whole or in part."""
    arrived = [one.segment for one in conn.put_aside if one.at_ns >= since_ns]
    return {
        number
        for number, one in enumerate(sent)
        for segment in arrived
        if segment.seq < one.segment.end and one.segment.seq < segment.end
    }


async def ten_reported(tcp: Case, held: list[list[tuple[int, int]]]) -> tuple[Connection, list[Received], int]:
    """Report runs of ten segments by ACKs; return the connection, the segments, and when the first ACK left.

    Where the target's timeout was before our first ACK: another try. Raises Inconclusive.
    """
    for _ in range(ROUNDS):
        conn, size = await opened(tcp)
        sent = await flight(conn, 10, size)
        left = [await reports(conn, sent, *(block(sent, *run) for run in runs)) for runs in held]
        await conn.silence(for_=BEFORE_TIMEOUT_S)
        first = sent[0].segment.seq
        if not any(one.segment.seq == first and one.at_ns < left[0] for one in conn.put_aside):
            return conn, sent, left[0]
    raise Inconclusive(f"in {ROUNDS} tries the target retransmitted before our first ACK")


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param((0,), id="the-first"),
        pytest.param((0, 2), id="first-and-third"),
        pytest.param((0, 1, 4), id="first-two-and-fifth"),
    ],
)
@verifies("RFC2018:5-record", "RFC2018:5-skip", "RFC2018:5-available", level="SHOULD", needs=NEEDS, lasts=1)
async def test_only_the_holes_are_retransmitted(tcp: Case, lost: tuple[int, ...]) -> None:
    """Only what SACK does not report is retransmitted.

    Some of ten segments are lost, and our ACKs report all the others. The target should retransmit what lies in the
    holes, and nothing of what was reported.
    """
    held: list[list[tuple[int, int]]] = []
    for number in [number for number in range(10) if number not in lost]:
        runs = list(held[-1]) if held else []
        if runs and runs[0][1] == number - 1:
            runs[0] = (runs[0][0], number)
        else:
            runs.insert(0, (number, number))
        held.append(runs)
    conn, sent, since_ns = await ten_reported(tcp, held)
    arrived = again_since(conn, sent, since_ns)
    # The last segment may have come again as a probe of the tail (RFC 8985 section 7) before its report was there.
    reported = arrived - set(lost) - {len(sent) - 1}
    assert not reported, f"segments {sorted(reported)} came again, which were reported"
    for _ in range(10):
        if set(lost) <= arrived:
            break
        await conn.silence(for_=0.2)
        arrived = again_since(conn, sent, since_ns)
    assert set(lost) <= arrived, f"segments {sorted(set(lost) - arrived)} of the holes did not come again"
    await conn.send(ACK, text="all is there")
    await conn.collect(b"and on it goes")


@verifies("RFC2018:5.1-one-ack", needs=(*NEEDS, "prompt-wire"), lasts=1)
async def test_one_ack_with_a_block_starts_no_recovery(tcp: Case) -> None:
    """A single ACK with a SACK block starts no recovery.

    One of ten segments overtakes the first: a single ACK reports it, and nothing more comes from us for a while.
    The target must not retransmit for that: segments that change places are not lost.
    """
    conn, sent, since_ns = await ten_reported(tcp, [[(1, 1)]])
    hasty = again_since(conn, sent, since_ns) & {0}
    await conn.send(ACK, text="all is there")
    await conn.collect(b"and on it goes")
    assert not hasty, "the first segment came again after a single ACK that reported the second"


@verifies("RFC2018:5.1-preserved", needs=NEEDS, lasts=1)
async def test_acks_in_recovery_bring_two_segments_each_at_most(tcp: Case) -> None:
    """Each ACK in recovery causes two segments at most.

    The target has much to send when the first segment is lost, and six ACKs report the next ones, one by one.
    Retransmissions included, they must bring no more than two segments each from the target.
    """
    conn, size = await opened(tcp)
    await conn.app.send(bytes(400 * size), wait=False)
    any_data = Expectation(ACK, ack=conn.snd_nxt)
    sent: list[Received] = []
    for _ in range(ROUNDS):
        for received in sent:
            await conn.send(ACK, ack=received.segment.end)
        sent = [await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)]
        while (more := await conn.allow(any_data, within=FAST_S)) is not None:
            sent.append(more[1])
        if len(sent) >= 8:
            break
    else:
        raise Inconclusive(f"in {ROUNDS} rounds the congestion window did not grow to 8 segments")
    count = 0
    for number in range(1, 7):
        await reports(conn, sent, block(sent, 1, number))
        while await conn.allow(any_data, within=0.015, strict=True) is not None:
            count += 1
    assert count <= 12, f"six ACKs brought {count} segments"
    await conn.send(ACK, text="all is there")
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)


@verifies("RFC2018:5-left-edge", needs=NEEDS, lasts=4)
async def test_timeout_retransmits_the_left_edge_though_it_was_reported(tcp: Case) -> None:
    """A timeout retransmits the left edge though SACK reported it.

    Our ACK reports all of four segments and acknowledges none of them, and nothing more comes from us. After its
    timeout the target must retransmit the first: a block is no acknowledgment.
    """
    conn, size = await opened(tcp)
    sent = await flight(conn, 4, size)
    await reports(conn, sent, block(sent, 0, 3))
    first = sent[0].segment
    again = Expectation(ACK, seq=first.seq, ack=conn.snd_nxt, label="the first segment again:")
    later = [Expectation(ACK, seq=one.segment.seq, ack=conn.snd_nxt, label="a probe:") for one in sent[1:]]
    while (await conn.expect_any(again, *later, within=4, strict=True))[0]:
        pass
    await conn.send(ACK, text="all is there")
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(
    "reported", [pytest.param((1, 3), id="all-but-the-first"), pytest.param((2, 2), id="one-in-the-middle")]
)
@verifies("RFC2018:5.1-ignore", "RFC2018:8-keep", "RFC2018:5-off", level="MUST", needs=NEEDS, lasts=6)
async def test_what_was_reported_comes_again_after_a_timeout(tcp: Case, reported: tuple[int, int]) -> None:
    """Data reported by SACK is sent again after a timeout.

    Some of four segments are reported; then we drop them. After the timeout our ACKs cover one segment at a time.
    The target must have kept what was reported, and retransmit it: earlier blocks no longer count.
    """
    conn, size = await opened(tcp)
    sent = await flight(conn, 4, size)
    await reports(conn, sent, block(sent, *reported))
    await conn.silence(for_=1.2)
    assert 0 in again_since(conn, sent, sent[-1].at_ns), "the first segment did not come again"
    for number, received in enumerate(sent[1:], 1):
        acked = await conn.send(ACK, ack=received.segment.seq, text=f"segment {number} is not there")
        wanted = Expectation(ACK, seq=received.segment.seq, ack=conn.snd_nxt, label=f"segment {number} again:")
        others = [Expectation(ACK, seq=other.segment.seq, ack=conn.snd_nxt, label="another:") for other in sent]
        while True:
            which, arrived = await conn.expect_any(wanted, *others, within=4, strict=True)
            if which == 0 and arrived.at_ns >= acked.at_ns:
                break
    await conn.send(ACK, ack=sent[-1].segment.end)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC2018:5-record", "RFC2018:8-keep", level="MUST", needs=NEEDS, lasts=1)
async def test_blocks_that_report_nothing_sent_are_harmless(tcp: Case) -> None:
    """SACK blocks that report nothing sent do no harm.

    Our ACKs carry blocks beyond what was sent, below what was acknowledged, empty and turned around. The target
    must go on as if they were not there, and deliver what it has.
    """
    conn, _ = await opened(tcp)
    end = conn.rcv_nxt
    for left, right in ((end + 1000, end + 2000), (end - 400, end - 200), (end, end), (end + 10, end - 10)):
        await conn.send(ACK, options=[opt.Option(opt.NOP), opt.Option(opt.NOP), opt.sack((left, right))])
        await conn.collect(b"and on it goes")
    await conn.confirm(State.ESTABLISHED)
