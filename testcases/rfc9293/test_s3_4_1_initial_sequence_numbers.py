"""RFC 9293 section 3.4.1: how the target chooses its initial sequence numbers."""

from itertools import pairwise
from typing import NamedTuple

import pytest

from conformance.api import ACK, RST, SECOND, SYN, Bound, Case, Connection, Seq, Violation, verifies

WAYS = pytest.mark.parametrize("by", ["passive", "active"])

# The clock "increments at least once every roughly 4 microseconds", and must not come round within an MSL (2 minutes):
# in between any rate does. A tenth more is what "roughly" and the stamps of a busy machine may take.
SLOWEST_STEP_S = 4e-6 * 1.1
FASTEST_STEP_S = 120 / 2**32
STEP_SOURCE = "RFC 9293, 3.4.1: a step in 4 us or less, and no wrap within an MSL of 2 minutes"

OPENINGS = 16
# The clock is "neither assumed to be realtime nor precise": it may tick coarsely, not drift from opening to opening.
PRECISION = 1.1

# Nearer than this is what a counter shared by all connections would give: 35.8 million steps a second, the most that
# the clock may make, for the half second that all these openings may take.
NEAR = 1 << 24
# Of unrelated numbers one pair in 128 is that near. Five among fifteen come by chance once in ten million runs.
NEAR_BY_CHANCE = 4


class Isn(NamedTuple):
    """An initial sequence number, and when it was chosen: between the two stamps."""

    number: Seq
    not_before_ns: int
    not_after_ns: int


async def passive_isn(conn: Connection) -> Isn:
    """Return the number that the target chooses for our SYN, and reset the half-open connection."""
    sent = await conn.send(SYN)
    received = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.send(RST)
    return Isn(received.segment.seq, sent.at_ns, received.at_ns)


async def active_isn(conn: Connection, called_ns: int) -> Isn:
    """Return the number of the SYN for a connect() called after `called_ns`, and refuse it."""
    received = await conn.expect(SYN, length=0)
    await conn.inject(RST | ACK, seq=0)
    await conn.app.fails("connected", "ECONNREFUSED")
    await conn.app.close()
    return Isn(received.segment.seq, called_ns, received.at_ns)


async def isns_of_one_four_tuple(tcp: Case, by: str, *, count: int, apart_s: float) -> list[Isn]:
    """Return the numbers that the target chooses for one four-tuple, opened again and again."""
    values = []
    if by == "passive":
        conn = await tcp.listen()
        for number in range(count):
            if number:
                await tcp.sleep(apart_s)
                conn = conn.next_incarnation()
            values.append(await passive_isn(conn))
        return values
    port = tcp.station.port()
    conn = tcp.connection()
    for number in range(count):
        if number:
            await tcp.sleep(apart_s)
            conn = conn.next_incarnation()
        called_ns = tcp.clock.now_ns()
        conn.app = await tcp.app.connect(remote_port=conn.port, port=port, reuse=True)
        values.append(await active_isn(conn, called_ns))
    return values


async def isns_of_many_four_tuples(tcp: Case, by: str) -> list[Isn]:
    """Return the numbers for connections that differ in one port, opened in quick succession."""
    values = []
    if by == "passive":
        first = await tcp.listen()
        for number in range(OPENINGS):
            conn = first if number == 0 else tcp.connection(first.remote_port)
            values.append(await passive_isn(conn))
        return values
    for _ in range(OPENINGS):
        called_ns = tcp.clock.now_ns()
        values.append(await active_isn(await tcp.connect(), called_ns))
    return values


@WAYS
@verifies("RFC9293:MUST-8", "claim:C-08", lasts=2)
async def test_isn_of_one_four_tuple_moves_with_a_clock(tcp: Case, by: str) -> None:
    """The ISN of a four-tuple moves forward with a clock.

    The same four-tuple is opened four times, half a second apart. The target's initial sequence number must move
    forward each time as a clock does: by a step of 4 microseconds or less, and not so fast that it comes round
    within a maximum segment lifetime.
    """
    isns = await isns_of_one_four_tuple(tcp, by, count=4, apart_s=0.5)
    for number, (earlier, later) in enumerate(pairwise(isns), 1):
        moved = (int(later.number) - int(earlier.number)) % (1 << 32)
        if not moved:
            raise Violation(f"opening {number + 1} has the initial sequence number of the one before")
        passed_s = (later.not_after_ns - earlier.not_after_ns) / SECOND
        tcp.check_timing(
            f"step of the clock up to opening {number + 1}",
            passed_s / moved,
            Bound(FASTEST_STEP_S, SLOWEST_STEP_S, STEP_SOURCE),
            how="time between the segments that show the two numbers, by the numbers' distance",
        )


@WAYS
@verifies("RFC9293:SHLD-1", "RFC6528:3-isn", "claim:C-08", lasts=3)
async def test_isn_of_one_four_tuple_is_a_clock_with_a_constant_offset(tcp: Case, by: str) -> None:
    """The ISN of a four-tuple is a clock with a constant offset.

    The same four-tuple is opened seven times, half a second apart. The initial sequence number is M + F(four-tuple):
    F stays, so the numbers' distances must be in the ratio of the times between them, as closely as the stamps and
    a coarse clock can tell. Random numbers are as close to each other once in 160,000 times.
    """
    isns = await isns_of_one_four_tuple(tcp, by, count=7, apart_s=0.5)
    fastest, slowest = 0.0, float("inf")
    for earlier, later in pairwise(isns):
        moved = (int(later.number) - int(earlier.number)) % (1 << 32)
        least_s = max(0, later.not_before_ns - earlier.not_after_ns) / SECOND
        most_s = (later.not_after_ns - earlier.not_before_ns) / SECOND
        fastest, slowest = max(fastest, moved / most_s), min(slowest, moved / least_s)
    # Each pair allows the rates between its two; one rate must fit them all.
    if fastest > slowest * PRECISION:
        raise Violation(
            f"no clock of one rate gives these numbers: one distance needs {fastest:.0f} steps a second or more, "
            f"another {slowest:.0f} or less"
        )
    tcp.note(f"the clock of initial sequence numbers makes about {fastest:.0f} steps a second")


@WAYS
@verifies("RFC9293:SHLD-1", "RFC9293:MUST-9", "RFC6528:3-isn", "RFC6528:3-secret", "claim:C-08", level="MUST")
async def test_isns_of_different_four_tuples_look_unrelated(tcp: Case, by: str) -> None:
    """The ISNs of different four-tuples look unrelated.

    Sixteen connections that differ in one port are opened in quick succession. The target's initial sequence
    numbers must all differ, and neither they nor the distances between them may show a counter that the connections
    share: who sees one must not be able to guess the next.
    """
    isns = await isns_of_many_four_tuples(tcp, by)
    numbers = [one.number for one in isns]
    if len(set(numbers)) < len(numbers):
        raise Violation(f"two of {len(numbers)} connections have the same initial sequence number")
    distances = [later - earlier for earlier, later in pairwise(numbers)]
    changes = [Seq(later) - Seq(earlier) for earlier, later in pairwise(distances)]
    for what, values in (("numbers", distances), ("distances between numbers", changes)):
        near = sum(abs(one) < NEAR for one in values)
        if near > NEAR_BY_CHANCE:
            raise Violation(
                f"successive {what} are less than {NEAR} apart in {near} of {len(values)} cases, by chance in {NEAR_BY_CHANCE}"
            )


@verifies("claim:C-08", level="MAY", lasts=1)
async def test_isn_by_the_rule_of_old_systems(tcp: Case) -> None:
    """ISNs by the rule of 4.2BSD are recorded.

    Two different four-tuples are opened half a second apart, the same one again after another half second. 4.2BSD
    added 64000 to one number shared by all, each half second and for each connection. Whether the target still does
    is recorded, never judged: RFC 6528 takes its place.
    """
    first = await tcp.listen()
    isns = [await passive_isn(first)]
    await tcp.sleep(0.5)
    isns.append(await passive_isn(tcp.connection(first.remote_port)))
    await tcp.sleep(0.5)
    isns.append(await passive_isn(first.next_incarnation()))
    steps = [later.number - earlier.number for earlier, later in pairwise(isns)]
    old = all(step > 0 and step % 64000 == 0 for step in steps)
    tcp.choice("64000 per half second and connection", "yes" if old else "no", allowed=["yes", "no"])
