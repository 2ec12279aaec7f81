"""Run the rows in which the target gives a connection up: by the user timeout, and by R2.

What would take minutes is shortened, and the record says so: the user timeout by a socket option, R2 by settings in a
namespace of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.cells.outcomes import Answer, expectations, own_answers, silent
from conformance.cells.outstanding import FIRST_TIMER, Outstanding, intervals, outstanding
from conformance.cells.retransmitting import SLACK_S
from conformance.cells.settle import settle
from conformance.cells.steps import QUIET_S
from conformance.judge import Bound, Expectation, Violation
from conformance.standard.cells import Cell
from conformance.standard.states import State
from conformance.tester.clock import SECOND
from conformance.tester.stamped import Received
from conformance.wire import PSH, dissect

if TYPE_CHECKING:
    from conformance.case.case import Case
    from conformance.case.connection import Connection

USER_TIMEOUT_S: Final = 1.5
_POLL_S: Final = 0.025
_EARLY_S: Final = 0.1
# N is the setting's value: after N retransmissions at doubling intervals the next timeout gives up.
_R2: Final = {State.SYN_SENT: ("syn-retries", 1), State.SYN_RECEIVED: ("syn-ack-retries", 1)}
_R2_OF_DATA: Final = ("data-retries", 2)


def r2_of(state: State) -> tuple[str, int]:
    """Return the profile's setting that shortens R2 in `state`, and how many retransmissions it is set to."""
    return _R2.get(state, _R2_OF_DATA)


async def run_user_timeout(case: Case, cell: Cell) -> None:
    """See the connection given up by the user timeout. Raises Violation."""
    case.note(f"the user timeout is set to {USER_TIMEOUT_S:g} s by TCP_USER_TIMEOUT")
    options = [("tcp", "TCP_USER_TIMEOUT", round(USER_TIMEOUT_S * 1000))]
    out = await outstanding(case, cell.state, by="active", options=options)
    bound = case.timer("user-timeout", USER_TIMEOUT_S)
    if cell.state not in FIRST_TIMER:
        # Stacks that count from the first retransmission end later by as much as the round trip has put that off.
        bound = bound.widened(0, intervals(case, cell.state, 1)[0].high_s - case.timer("rto-min").high_s)
    await _given_up(case, cell, out, bound, "user timeout")


async def run_r2(case: Case, cell: Cell) -> None:
    """See the connection given up after the set number of retransmissions. Raises Violation."""
    setting_name, count = r2_of(cell.state)
    setting = case.setting(setting_name)
    changed = setting.with_value(str(count))
    case.note(f"R2 is shortened: {', '.join(f'{name} = {value}' for name, value in changed.items())}")
    out = await outstanding(case, cell.state)
    name = FIRST_TIMER.get(cell.state, "rto-min")
    first_s = case.nominal_s(name)
    opening = [case.timer(name, first_s * 2**n) for n in range(count + 1)]
    steps = opening if cell.state in FIRST_TIMER else intervals(case, cell.state, count + 2)
    # Data is given up by time, not by count: at the first timeout after those of N doubled intervals are over.
    bound = Bound(
        sum(step.low_s for step in steps[: count + 1]),
        sum(step.high_s for step in steps),
        f"{', '.join(changed)}, {setting.source}",
    )
    repeats = await _given_up(case, cell, out, bound, "R2")
    if repeats < count:
        raise Violation(f"given up after {repeats} retransmissions, {count} are set")


async def _given_up(case: Case, cell: Cell, out: Outstanding, bound: Bound, name: str) -> int:
    """See the connection given up within `bound`, and its application told; return the number of retransmissions."""
    conn, first = out.conn, out.first
    repeated = Expectation(first.segment.flags & ~PSH, seq=first.segment.seq, payload=first.segment.payload)
    last_words = own_answers(conn, cell.outcomes)
    spoken: Answer | None = None
    there_ns, gone_ns = out.since_ns, 0
    poll_ns = out.since_ns + round((bound.low_s - _EARLY_S) * SECOND)
    until_ns = out.since_ns + round((bound.high_s + SLACK_S) * SECOND)
    while not gone_ns:
        now_ns = case.clock.now_ns()
        if now_ns > until_ns:
            waited_s = (now_ns - out.since_ns) / SECOND
            raise Violation(f"{name}: the connection is still there after {waited_s:.2f} s, allowed is {bound}")
        within = max(_POLL_S, (poll_ns - now_ns) / SECOND)
        taken = await conn.allow(repeated, *expectations(last_words), within=within, strict=True)
        if taken is not None:
            spoken = last_words[taken[0] - 1] if taken[0] else spoken
        elif await _is_gone(case, conn):
            gone_ns = case.clock.now_ns()
        else:
            there_ns = now_ns
    case.check_timing(
        name,
        (gone_ns - out.since_ns) / SECOND,
        bound.widened(0, (gone_ns - there_ns) / SECOND),
        how="from the first transmission to the application's error",
    )
    repeats = _repeats(case, conn, first)
    await _finish(case, cell, conn, spoken)
    return repeats


def _repeats(case: Case, conn: Connection, first: Received) -> int:
    """Count how often it was sent again, however busy we were when it came."""
    segments = [dissect(frame.data) for frame in case.trace.frames if frame.inbound and frame is not first.frame]
    numbers = (conn.port, first.segment.seq, first.segment.length)
    return sum(one is not None and (one.dport, one.seq, one.length) == numbers for one in segments)


async def _is_gone(case: Case, conn: Connection) -> bool:
    """Return True if the application has an error, or without a descriptor, the table no connection. Raises Violation."""
    case.needs("error" if conn.has_app else "state")
    if not conn.has_app:
        return await case.state_of(conn) in (State.CLOSED, State.LISTEN)
    code = (await case.target.app.call("error", socket=conn.app.number))["code"]
    if code not in (None, "ETIMEDOUT"):
        raise Violation(f"the application is told {code}, it had to be ETIMEDOUT")
    if code is not None:
        case.note(f"the application is told {code}")
    return code is not None


async def _finish(case: Case, cell: Cell, conn: Connection, spoken: Answer | None) -> None:
    """Take the reset that may still come, and settle the row. Raises Violation."""
    last_words, may_be_silent = own_answers(conn, cell.outcomes), silent(cell.outcomes)
    if spoken is None and last_words:
        wanted = expectations(last_words)
        if may_be_silent:
            taken = await conn.allow(*wanted, within=QUIET_S)
        else:
            taken = await conn.expect_any(*wanted, within=QUIET_S)
        spoken = None if taken is None else last_words[taken[0]]
    await settle(case, conn, cell, may_be_silent if spoken is None else spoken.outcomes)
