"""RFC 7323 section 4: which timestamp is echoed, and what the echoes are good for."""

from itertools import pairwise

import pytest

from conformance.api import (
    ACK,
    SECOND,
    Bound,
    Case,
    Connection,
    Expectation,
    Offer,
    Received,
    State,
    app_sends,
    opt,
    verifies,
)

NEEDS = ("app", "timestamps")
STAMPED = Offer(timestamps=True)
SIZE = 100
STALE = 10_000
"""Ticks by which an echo is too old: 10 s, with a clock of 1 ms."""


async def piece(conn: Connection, place: int) -> int:
    """Send the piece of SIZE octets at that place, counted from `snd_nxt`, with a new TSval; return the TSval."""
    await conn.inject(ACK, seq=conn.snd_nxt + place * SIZE, payload=bytes(SIZE), text=f"piece {'ABCDEF'[place]}")
    return conn.tsval


async def acknowledges(conn: Connection, pieces: int, tsecr: int) -> Received:
    """Expect the target's ACK of `count` pieces from `snd_nxt` on, with that echo."""
    return await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt + pieces * SIZE, length=0, tsecr=tsecr)


# Section 4.3: which timestamp to echo


@verifies("RFC7323:4.3-hole", needs=NEEDS)
async def test_ack_of_data_behind_a_hole_echoes_what_came_before_the_hole(tcp: Case) -> None:
    """The ACK of data behind a hole echoes the segment before the hole.

    A comes, B is lost, C, D and E come behind the hole, each with a newer TSval. Each ACK should echo A, the last
    segment that advanced RCV.NXT.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    advanced = await piece(conn, 0)
    await acknowledges(conn, 1, advanced)
    for place in (2, 3, 4):
        await piece(conn, place)
        await acknowledges(conn, 1, advanced)


@verifies("RFC7323:4.3-filled", needs=NEEDS)
async def test_ack_of_data_that_fills_a_hole_echoes_it(tcp: Case) -> None:
    """The ACK of data that fills a hole echoes that data.

    A and C come, and then B, which fills the hole between them. The ACK of all three must echo B, the latest.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    first = await piece(conn, 0)
    await acknowledges(conn, 1, first)
    await piece(conn, 2)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt + SIZE, length=0)
    filled = await piece(conn, 1)
    await acknowledges(conn, 3, filled)


@verifies("RFC7323:4.3-2", "RFC7323:4.3-3", "RFC7323:5.3-R3", needs=NEEDS)
async def test_echoes_of_the_example_with_two_holes(tcp: Case) -> None:
    """The echoes are those of RFC 7323's example with two holes.

    A, C, B, E, D: the example of section 4.3, with its TSvals of 1, 3, 2, 5, 4. The echoes must be those of the
    example: 1, 1, 2, 2, 4.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    zero, base = conn.tsval, conn.snd_nxt
    for place, tsval, pieces, echo in ((0, 1, 1, 1), (2, 3, 1, 1), (1, 2, 3, 2), (4, 5, 3, 2), (3, 4, 5, 4)):
        stamp = (zero + tsval) % 2**32
        await conn.inject(ACK, seq=base + place * SIZE, payload=bytes(SIZE), tsval=stamp, text=f"TSval {tsval}")
        await acknowledges(conn, pieces, (zero + echo) % 2**32)


@verifies("RFC7323:4.3-delayed", "RFC7323:4.3-one", needs=NEEDS)
async def test_delayed_ack_echoes_the_earliest_segment(tcp: Case) -> None:
    """A delayed ACK echoes the earliest of its segments.

    The target answers requests; then two short segments of ours come at once, with different TSvals. One ACK for
    both should echo the first of them; it may also acknowledge each on its own.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    for _ in range(3):
        await conn.send(ACK, payload=b"request")
        await conn.app.receive(7)
        await conn.app.send(b"answer")
        taken = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
        answer = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=b"answer")
        arrived = await conn.allow(taken, answer, within=1)
        if arrived is not None and arrived[0] == 0:
            arrived = await conn.allow(answer, within=1)
        assert arrived, "the request is not answered"
        await conn.send(ACK)
    base = conn.snd_nxt
    await conn.send(ACK, payload=b"one")
    earliest = conn.tsval
    await conn.send(ACK, payload=b"two")
    each = Expectation(ACK, seq=conn.rcv_nxt, ack=base + 3, length=0, tsecr=earliest, label="each on its own:")
    both = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, tsecr=earliest, label="delayed:")
    which, _ = await conn.expect_any(each, both)
    tcp.choice("two segments at once", ("an ACK each", "one ACK")[which], ["an ACK each", "one ACK"])
    if which == 0:
        await conn.expect_ack(tsecr=conn.tsval)


@verifies("RFC7323:4.3-2", "RFC7323:4.3-3", needs=NEEDS)
async def test_ack_without_data_is_echoed_too(tcp: Case) -> None:
    """The timestamp of an ACK without data is echoed.

    An ACK of ours without data brings a newer TSval; then the target sends data. The data must echo it: TS.Recent
    is taken from segments of no length as well.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    for _ in range(3):
        await conn.send(ACK)
        await app_sends(conn, b"data", tsecr=conn.tsval)


@verifies("RFC7323:4.3-2", needs=NEEDS)
async def test_newer_timestamp_on_a_retransmission_that_the_target_has(tcp: Case) -> None:
    """A newer timestamp on a duplicate may be echoed or not.

    Our data comes again with a newer TSval, as after an ACK that was lost. Section 4.3 has TS.Recent take it before
    the sequence number is looked at, R2 and R3 of section 5.3 do not take it from outside the window: the ACK may
    echo either.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    await conn.send(ACK, payload=bytes(SIZE))
    first = conn.tsval
    await conn.expect_ack(tsecr=first)
    await conn.inject(ACK, seq=conn.snd_nxt - SIZE, payload=bytes(SIZE), text="again, with a newer TSval")
    forms = [("the newer TSval", conn.tsval), ("the former TSval", first)]
    which, _ = await conn.expect_any(
        *(
            Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, tsecr=tsecr, label=f"{name}:")
            for name, tsecr in forms
        )
    )
    tcp.choice("echo for a retransmission below the window", forms[which][0], [name for name, _ in forms])


# Section 4.1: the clock, and what may be measured by it


async def sample(conn: Connection) -> tuple[int, int]:
    """Return the target's TSval, and when it arrived."""
    await conn.send(ACK, payload=b"tick?")
    got = await conn.expect_ack(has=(opt.TIMESTAMPS,))
    return got.stamps[0], got.at_ns


@verifies("RFC7323:4.1-clock", "RFC7323:5.4-fast", "RFC7323:5.4-slow", "RFC7323:5.4-range", needs=NEEDS, lasts=5)
async def test_timestamp_clock_follows_real_time(tcp: Case) -> None:
    """The timestamp clock follows real time.

    The target's TSvals at the beginning, after one second and after four. They must be about proportional to real
    time, tick once in 1 ms to 1 s, and not come round within an MSL of 255 s.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    first = await sample(conn)
    await tcp.sleep(1)
    second = await sample(conn)
    await tcp.sleep(3)
    third = await sample(conn)
    early, late = ((after[0] - before[0]) % 2**32 for before, after in ((first, second), (second, third)))
    early_s, late_s = ((after[1] - before[1]) / SECOND for before, after in ((first, second), (second, third)))
    how = "by the receive stamps of three ACKs"
    tick_s = (early_s + late_s) / max(1, early + late)
    # Each reading of a clock that ticks is up to one tick early.
    tcp.check_timing("tick of the timestamp clock", tick_s, Bound(0.00098, 1.4, "RFC 7323, 5.4"), how=how)
    tcp.check_timing("recycling time", tick_s * 2**32, Bound(255, 1.4 * 2**32, "RFC 7323, 5.4"), how=how)
    low, high = (early_s / (early + one) for one in (1, -1)) if early > 1 else (0.0, 1.4)
    source = "RFC 7323, 4.1: proportional to real time"
    tcp.check_timing(
        "later ticks beside the first", late_s / max(1, late), Bound(low * 0.97, high * 1.03, source), how=how
    )


@verifies("RFC7323:5.4-monotonic", needs=NEEDS, lasts=2)
async def test_targets_timestamps_never_go_back(tcp: Case) -> None:
    """The target's timestamps never go back.

    The target sends ACKs, data, data again and a FIN. No TSval must be older than one before it.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    seen = [(await sample(conn))[0] for _ in range(5)]
    lost = await app_sends(conn, b"lost")
    again = await conn.expect_retransmission(lost, within=4)
    await conn.send(ACK)
    seen += [found[0] for one in (lost, again) if (found := opt.stamps(one.segment.option_list)) is not None]
    seen += [(await sample(conn))[0] for _ in range(5)]
    assert len(seen) == 12, "a segment lacks its timestamps"
    for before, after in pairwise(seen):
        assert (after - before) % 2**32 < 2**31, f"TSval {after} came after {before}"
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7323:7-offset", needs=NEEDS)
async def test_each_connection_has_its_own_timestamp_offset(tcp: Case) -> None:
    """Each connection has its own timestamp offset.

    Four connections are opened at nearly the same time, from one address and four ports. Their TSvals should not be
    read from one clock: each should have an offset of its own.
    """
    readings = []
    listening = await tcp.listen(offer=STAMPED)
    for _ in range(4):
        conn = tcp.connection(listening.remote_port)
        conn.listener = listening.listener
        await tcp.drive_to(State.ESTABLISHED, conn=conn, offer=STAMPED)
        readings.append(await sample(conn))
    for before, after in pairwise(readings):
        apart, since_s = (after[0] - before[0]) % 2**32, (after[1] - before[1]) / SECOND
        # A clock ticks 1000 times in a second at most (section 5.4).
        assert apart > since_s * 1020 + 10, f"two connections, {since_s:.3f} s apart, have TSvals {apart} apart"
    await conn.confirm(State.ESTABLISHED)


async def timeout_s(conn: Connection) -> float:
    """Return the seconds from data of the target to its retransmission, and acknowledge it."""
    lost = await app_sends(conn, b"lost")
    wanted = Expectation(ACK, seq=lost.segment.seq, ack=conn.snd_nxt, payload=b"lost")
    crossed = Expectation(ACK, ack=conn.snd_nxt, label="what has crossed our acknowledgment of it:")
    which, again = 1, lost
    while which:
        which, again = await conn.expect_any(wanted, crossed, within=60, strict=True)
    await conn.send(ACK)
    return (again.at_ns - lost.at_ns) / SECOND


def makes_stale(conn: Connection) -> None:
    """Have our next segment echo a value that is far too old: it would measure a round trip of many seconds."""
    conn.ts_recent = (conn.ts_recent - STALE) % 2**32


@verifies("RFC7323:4.1-rttm", level="MUST", needs=NEEDS, lasts=2)
async def test_echo_that_acknowledges_nothing_measures_nothing(tcp: Case) -> None:
    """An echo on a segment that acknowledges nothing measures nothing.

    Data of ours, which acknowledges nothing new, echoes an old TSval; then data of the target is lost. The target
    must not measure a round trip by that echo: the data comes again after the same time as on a connection without
    it.
    """
    plain = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    usual_s = await timeout_s(plain)
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    for _ in range(4):
        makes_stale(conn)
        await conn.send(ACK, payload=b"after a pause", text="echoes what is old")
        await conn.expect_ack()
    bound = Bound(usual_s * 0.75, usual_s * 1.25 + 0.1, "RFC 7323, 4.1: as without such an echo")
    tcp.check_timing("retransmission timeout", await timeout_s(conn), bound, how="between the two receive stamps")


@verifies("RFC7323:4.1-rttm", needs=NEEDS, lasts=12)
async def test_echo_that_acknowledges_new_data_may_be_measured(tcp: Case) -> None:
    """An echo on an ACK of new data may measure the round trip.

    Our acknowledgment of the target's data echoes an old TSval; then data of the target is lost. The target may
    measure the round trip by that echo, so that the data comes again much later, or by its own clock.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    usual_s = await timeout_s(conn)
    await app_sends(conn, b"acknowledged late")
    makes_stale(conn)
    await conn.send(ACK, text="echoes what is old")
    forms = ["by the echo", "by its own clock"]
    tcp.choice("measurement", forms[await timeout_s(conn) < usual_s * 2 + 0.5], forms)
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize("count", [pytest.param(3, id="three"), pytest.param(10, id="ten")])
@verifies("RFC7323:3.2-echo", "RFC7323:4.3-3", needs=NEEDS)
async def test_every_ack_echoes_the_segment_that_it_answers(tcp: Case, count: int) -> None:
    """Every ACK echoes the segment that it answers.

    Our data comes piece by piece, each acknowledged before the next. Each ACK must echo the TSval of the segment
    that it answers.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    for _ in range(count):
        await conn.send(ACK, payload=bytes(SIZE))
        await conn.expect_ack(tsecr=conn.tsval)
