"""RFC 7323 section 5: PAWS, by which a segment with an older timestamp is an old duplicate."""

from typing import Any

import pytest

from conformance.api import (
    ACK,
    FIN,
    RST,
    SYN,
    Case,
    Connection,
    Expectation,
    Flags,
    Offer,
    State,
    app_accepts,
    app_sends,
    opt,
    verifies,
)

NEEDS = ("app", "timestamps")
STAMPED = Offer(timestamps=True)
OLDER = 1000
"""Ticks by which an old duplicate is older: less than 24 days by any clock of section 5.4."""
HALF = 2**31

STATES = (
    State.ESTABLISHED,
    State.FIN_WAIT_1,
    State.FIN_WAIT_2,
    State.CLOSE_WAIT,
    State.CLOSING,
    State.LAST_ACK,
    State.TIME_WAIT,
)
IN_STATE = pytest.mark.parametrize("state", [pytest.param(one, id=f"in-{one.value.lower()}") for one in STATES])


def recent(conn: Connection) -> int:
    """Return our last TSval, which is the target's TS.Recent if that segment was in sequence."""
    return conn.tsval


def aged(conn: Connection, by: int = OLDER) -> int:
    """Return a TSval that is older by so many ticks."""
    return (recent(conn) - by) % 2**32


async def answered(conn: Connection, tsecr: int, **fields: Any) -> None:
    """Expect the ACK that answers an unacceptable segment."""
    await conn.expect_ack(tsecr=tsecr, **fields)


# Rule R1


@IN_STATE
@verifies("RFC7323:5.3-R1", "RFC7323:5.3-all", needs=NEEDS)
async def test_data_with_an_older_timestamp_is_answered_and_dropped(tcp: Case, state: State) -> None:
    """PAWS acknowledges and drops old data in {state}.

    Data exactly at RCV.NXT has a TSval older than the last one. The target must answer with an ACK that echoes the
    last one, drop the data, and stay in its state.
    """
    conn = await tcp.drive_to(state, offer=STAMPED)
    tsecr = recent(conn)
    await conn.inject(ACK, ack=conn.acked, payload=b"old duplicate", tsval=aged(conn))
    await answered(conn, tsecr)
    await conn.confirm(state)


@verifies("RFC7323:5.3-R1", "RFC7323:5.3-R4", needs=NEEDS)
async def test_data_with_an_older_timestamp_is_not_delivered(tcp: Case) -> None:
    """Data with an older timestamp is not delivered.

    Data with an older TSval, and then other data with the same number and a newer TSval. The application must read
    the second alone.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    await conn.deliver(b"before")
    tsecr = recent(conn)
    await conn.inject(ACK, payload=b"wrong", tsval=aged(conn))
    await answered(conn, tsecr)
    await conn.deliver(b"right")


@IN_STATE
@verifies("RFC7323:5.3-R1", "RFC7323:5.3-all", needs=NEEDS)
async def test_fin_with_an_older_timestamp_is_answered_and_dropped(tcp: Case, state: State) -> None:
    """PAWS acknowledges and drops an old FIN in {state}.

    A FIN exactly at RCV.NXT has a TSval older than the last one. The target must answer with an ACK that echoes the
    last one, drop the FIN, and stay in its state.
    """
    conn = await tcp.drive_to(state, offer=STAMPED)
    tsecr = recent(conn)
    await conn.inject(FIN | ACK, ack=conn.acked, tsval=aged(conn))
    await answered(conn, tsecr)
    await conn.confirm(state)


@IN_STATE
@verifies("RFC7323:5.2-ack", "RFC7323:5.3-R1", needs=NEEDS)
async def test_ack_with_an_older_timestamp_is_answered_and_dropped(tcp: Case, state: State) -> None:
    """PAWS acknowledges and drops an old ACK in {state}.

    An ACK without data exactly at RCV.NXT has a TSval older than the last one. The target must answer with an ACK
    that echoes the last one: the test is the same for all segments.
    """
    conn = await tcp.drive_to(state, offer=STAMPED)
    tsecr = recent(conn)
    await conn.inject(ACK, ack=conn.acked, tsval=aged(conn))
    await answered(conn, tsecr)
    await conn.confirm(state)


@verifies("RFC7323:5.2-ack", "RFC7323:5.3-R1", needs=NEEDS)
async def test_ack_with_a_slightly_older_timestamp_is_answered(tcp: Case) -> None:
    """An ACK with a slightly older timestamp is answered.

    An ACK without data has a TSval ten ticks older than the last one, as one that was overtaken on the way. The
    target must answer it like any other: the test knows no tolerance.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    tsecr = recent(conn)
    await conn.inject(ACK, tsval=aged(conn, 10))
    await answered(conn, tsecr)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7323:5.2-ack", "RFC7323:5.3-precedence", needs=NEEDS, lasts=1)
async def test_acknowledgment_in_a_segment_with_an_older_timestamp_is_not_taken(tcp: Case) -> None:
    """An acknowledgment with an older timestamp does not count.

    The target's data is acknowledged by a segment with data of its own, whose TSval is older than the last one. The
    target must drop the whole segment: its data comes again.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    sent = await app_sends(conn, b"to be acknowledged")
    tsecr = recent(conn)
    await conn.inject(ACK, payload=b"old", tsval=aged(conn))
    await answered(conn, tsecr)
    await conn.expect_retransmission(sent, within=4)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7323:5.3-precedence", "RFC7323:5.3-R1", needs=NEEDS)
async def test_older_timestamp_behind_the_window_is_answered_once(tcp: Case) -> None:
    """Old data beyond the window is answered only once.

    Data beyond the window has an older TSval: it fails both tests. The target must answer with one ACK that echoes
    the last TSval, and nothing else.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    await conn.deliver(b"before")
    tsecr = recent(conn)
    await conn.inject(ACK, seq=conn.snd_nxt + conn.remote_window + 1000, payload=b"beyond", tsval=aged(conn))
    await answered(conn, tsecr)
    await conn.silence()
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7323:5.2-syn", "RFC7323:5.3-R1", needs=NEEDS)
async def test_timestamp_of_our_syn_is_the_first_that_counts(tcp: Case) -> None:
    """PAWS begins with the timestamp of our SYN.

    The first data behind the handshake has a TSval older than our SYN and ACK had. The target must answer with an
    ACK and drop it: the SYN has begun PAWS.
    """
    conn = await tcp.listen(offer=STAMPED)
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, tsecr=conn.tsval)
    syn, theirs = recent(conn), conn.ts_recent
    await conn.inject(ACK, payload=b"older than the SYN", tsval=(syn - 1) % 2**32)
    await conn.expect_ack(tsecr=syn)
    conn.ts_recent = theirs
    await conn.complete()
    await conn.deliver(b"newer")


@verifies("RFC7323:5.3-R4", "RFC7323:4.3-3", needs=NEEDS, lasts=1)
async def test_handshake_ends_with_an_echo_of_the_latest_timestamp(tcp: Case) -> None:
    """The handshake ends with an echo of the latest timestamp.

    In SYN-RECEIVED an old segment of ours is answered with an ACK, whose TSval is newer than that of the SYN,ACK.
    Our ACK of the SYN,ACK echoes the newer one, as section 4.3 has it: the target must take it, and open.
    """
    conn = await tcp.listen(offer=STAMPED)
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, tsecr=conn.tsval)
    await tcp.sleep(0.1)
    await conn.inject(ACK, payload=b"old", tsval=aged(conn))
    await answered(conn, recent(conn))
    await conn.send(ACK)
    await app_accepts(conn, wait_s=0.6)
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize("by", ["passive", "active"])
@verifies("RFC7323:5.2-syn-old", needs=NEEDS)
async def test_old_duplicate_syn_is_answered_and_dropped(tcp: Case, by: str) -> None:
    """An old duplicate SYN is acknowledged and dropped.

    Our SYN comes again on an established connection, with a TSval older than the last one. The target must answer
    with an ACK and stay as it is.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, by=by, offer=STAMPED)
    await conn.deliver(b"data")
    tsecr = recent(conn)
    await conn.inject(
        SYN, seq=conn.iss, ack=0, options=[*conn.syn_options, *opt.stamped(aged(conn))], text="an old duplicate SYN"
    )
    await answered(conn, tsecr)
    await conn.confirm(State.ESTABLISHED)


# Rules R2 to R5


@verifies("RFC7323:5.3-R2", "RFC7323:5.2-saved", needs=NEEDS)
async def test_newer_timestamp_beyond_the_window_is_not_kept(tcp: Case) -> None:
    """A newer timestamp beyond the window is not kept.

    Data beyond the window brings a TSval that is much newer than the last one. The target must answer with an ACK
    that echoes the last one, and go on taking what is newer than that alone.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    tsecr = recent(conn)
    ahead = (recent(conn) + 100_000) % 2**32
    await conn.inject(ACK, seq=conn.snd_nxt + conn.remote_window + 1000, payload=b"beyond", tsval=ahead)
    await answered(conn, tsecr)
    await conn.deliver(b"not so new")


@verifies("RFC7323:5.3-R5", "RFC7323:5.2-saved", "RFC7323:5.3-R1", needs=NEEDS)
async def test_timestamp_behind_a_hole_is_not_kept(tcp: Case) -> None:
    """A timestamp behind a hole is not kept.

    Data behind a hole has a TSval of 30, what fills the hole has 20, and then data comes with 10. The target must
    take the first two (TS.Recent was that of neither), and drop the third: what it keeps never goes back.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    zero = recent(conn)
    await conn.inject(ACK, seq=conn.snd_nxt + 4, payload=b"next", tsval=(zero + 30) % 2**32)
    await answered(conn, zero)
    await conn.inject(ACK, payload=b"hole", tsval=(zero + 20) % 2**32)
    conn.taken_in(snd_nxt=conn.snd_nxt + 8)
    await answered(conn, (zero + 20) % 2**32)
    await conn.inject(ACK, payload=b"late", tsval=(zero + 10) % 2**32)
    await answered(conn, (zero + 20) % 2**32)
    assert await conn.app.receive(8) == b"holenext"


@verifies("RFC7323:5.3-first", "RFC7323:5.3-R5", "RFC7323:5.3-R3", needs=NEEDS)
async def test_queued_data_is_not_checked_again(tcp: Case) -> None:
    """Queued data is not checked by PAWS again.

    A, C, D and E come with TSval 1, and B, which was lost, with 2: the example of section 5.3. The target must
    deliver all: the queued data is older than B by its timestamp, but has been accepted before.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    earlier, later = ((recent(conn) + tick) % 2**32 for tick in (1, 2))
    pieces = [bytes((letter,)) * 10 for letter in b"ABCDE"]
    for place in (0, 2, 3, 4):
        await conn.inject(ACK, seq=conn.snd_nxt + 10 * place, payload=pieces[place], tsval=earlier)
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt + 10, length=0, tsecr=earlier)
    await conn.inject(ACK, seq=conn.snd_nxt + 10, payload=pieces[1], tsval=later)
    conn.taken_in(snd_nxt=conn.snd_nxt + 50)
    await answered(conn, later)
    got = await conn.app.receive(50)
    assert got == b"".join(pieces), f"the application read {got!r}"


@verifies("RFC7323:5.3-R3", "RFC7323:5.3-R4", needs=NEEDS)
async def test_equal_timestamp_is_taken(tcp: Case) -> None:
    """Data with an equal timestamp is taken.

    Several segments in sequence have the same TSval, as from a clock that has not ticked. The target must take them
    all.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    tsval = recent(conn)
    for _ in range(3):
        await conn.send(ACK, payload=b"same tick", tsval=tsval)
        await answered(conn, tsval)


@pytest.mark.parametrize(
    "first",
    [pytest.param(2**32 - 4, id="across-the-wrap"), pytest.param(HALF - 4, id="across-the-middle")],
)
@verifies("RFC7323:5.2-modulo", "RFC7323:5.3-R3", needs=NEEDS)
async def test_timestamps_are_compared_across_the_wrap(tcp: Case, first: int) -> None:
    """Timestamps are compared modulo 2^32.

    Our timestamps pass 2^32 (or its middle) while data goes back and forth; then data comes with one from before.
    The target must take the newer as newer, although it is smaller as a plain number, and drop the older.
    """
    conn = await tcp.listen(offer=STAMPED)
    conn.tsval = first
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    for _ in range(6):
        await conn.send(ACK, payload=b"passing")
        await answered(conn, recent(conn))
    tsecr = recent(conn)
    await conn.inject(ACK, payload=b"from before", tsval=first)
    await answered(conn, tsecr)
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(
    ("apart", "newer"),
    [
        pytest.param(HALF - 1, True, id="furthest-newer"),
        pytest.param(HALF + 1, False, id="furthest-older"),
        pytest.param(2**32 - 1, False, id="one-older"),
        pytest.param(1, True, id="one-newer"),
    ],
)
@verifies("RFC7323:5.2-modulo", needs=NEEDS)
async def test_newer_and_older_at_the_edges(tcp: Case, apart: int, newer: bool) -> None:
    """PAWS is right at the edges of newer and older.

    Data has a TSval just within what counts as newer than the last one, or as older. The target must take the newer
    and drop the older: s < t if 0 < (t - s) < 2^31, modulo 2^32.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    last = recent(conn)
    there = (last + apart) % 2**32
    await conn.inject(ACK, payload=b"data", tsval=there)
    if newer:
        conn.taken_in(snd_nxt=conn.snd_nxt + 4)
    await answered(conn, there if newer else last)
    if newer:
        conn.tsval = there
    await conn.confirm(State.ESTABLISHED)


# Resets


@pytest.mark.parametrize("flags", [pytest.param(RST, id="rst"), pytest.param(RST | ACK, id="rst-ack")])
@verifies("RFC7323:5.2-rst-paws", needs=NEEDS)
async def test_reset_with_an_older_timestamp_resets(tcp: Case, flags: Flags) -> None:
    """A RST with an older timestamp ends the connection.

    A RST exactly at RCV.NXT has a TSval older than the last one. The target must reset the connection: PAWS is not
    for resets.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    await conn.deliver(b"data")
    await conn.inject(flags, tsval=aged(conn))
    await conn.silence()
    await conn.confirm(State.CLOSED)


@verifies("RFC7323:5.2-rst-state", needs=NEEDS)
async def test_timestamp_of_a_reset_is_not_kept(tcp: Case) -> None:
    """The timestamp of a challenged RST is not kept.

    A RST in the window, but not at RCV.NXT, has a TSval much newer than the last one. The target must challenge it
    with an ACK that echoes the last one, and go on taking what is newer than that alone.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    tsecr = recent(conn)
    await conn.inject(RST, seq=conn.snd_nxt + 10, tsval=(recent(conn) + 100_000) % 2**32)
    await answered(conn, tsecr, label="challenge:")
    await conn.deliver(b"not so new")


@verifies("RFC7323:5.2-rst-strict", needs=NEEDS)
async def test_reset_that_echoes_nothing_of_the_targets(tcp: Case) -> None:
    """A RST with a strange echo is taken or refused.

    A RST exactly at RCV.NXT has a TSecr that the target never sent. The target may reset all the same, or refuse
    it: dropped, or answered with an ACK.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    forged = (conn.ts_recent + HALF) % 2**32
    await conn.inject(RST, options=opt.stamped(recent(conn) + 1, forged))
    refusal = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="refused with an ACK:")
    answer = await conn.allow(refusal, within=0.3)
    probe = await conn.inject(ACK, seq=conn.snd_nxt - 2, payload=b"\0", text="probe: an old octet")
    alive = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="still there:")
    gone = Expectation(RST, seq=probe.segment.ack, length=0, label="reset:")
    which, _ = await conn.expect_any(alive, gone)
    forms = ["refused with an ACK", "dropped", "reset"]
    taken = "reset" if which == 1 else forms[answer is None]
    tcp.choice("reset with an echo of nothing", taken, forms)
