"""Run the rows of the documented machine whose stimulus is a segment (RFC 9293 section 3.10.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.cells.outcomes import allowed
from conformance.cells.segment_answers import follow_ack_field, taken_in_by_all
from conformance.cells.segment_effects import application_is_told, fill_hole, left_by, window_counts
from conformance.cells.segment_response import (
    check_new_iss,
    not_sent_again,
    not_taken_from_invalid,
    take_limited,
    take_response,
)
from conformance.cells.segment_start import NO_NUMBERS, Row, begin
from conformance.cells.segment_stimulus import Stimulus, hold, send
from conformance.cells.settle import reached
from conformance.cells.steps import QUIET_S
from conformance.cells.time_wait import RESTART_AFTER_S, by_restart, expires_ns
from conformance.cells.usable import works
from conformance.standard.cells import Cell, Outcome
from conformance.standard.states import State
from conformance.tester.stamped import Received
from conformance.wire import SYN, Seq

if TYPE_CHECKING:
    from conformance.case.case import Case


async def run_segment(case: Case, cell: Cell, *, wrap: bool = False) -> None:
    """Run one row: put the target into its state, send its segment, and see all that the row says.

    `wrap`: our sequence numbers pass 2^32 in the middle of it; and the target opens by an active OPEN where the row
    leaves open how it does.

    Raises NotApplicable, Violation, Inconclusive.
    """
    every = allowed(cell)
    if cell.segment.from_invalid:
        case.needs("state")
    row = await begin(case, cell, every, wrap=wrap)
    if row.segment.held:
        await hold(row)
    times_2msl = any(outcome.response.slug == "ack-restart" for outcome in every)
    before_ns = await expires_ns(case, row.conn, after_s=RESTART_AFTER_S) if times_2msl else None
    stimulus = await send(row)
    final = taken_in_by_all(row, stimulus)
    follow_ack_field(row, stimulus)
    possible, answer = await _take(row, stimulus, final)
    echo = row.conn.ts_recent
    if "outstanding" in cell.needs:
        await not_sent_again(row, stimulus)
    if answer is not None or row.segment.repeat > 1:
        await row.conn.silence(for_=QUIET_S)
    after_ns = await expires_ns(case, row.conn) if before_ns is not None else None
    if before_ns is not None and after_ns is not None:
        possible = by_restart(possible, before_ns, after_ns)
    if row.segment.from_invalid:
        await not_taken_from_invalid(row)
    outcome = await reached(case, row.conn, cell, possible, quiet_s=0)
    # A stack may let a handshake end only by what its SYN,ACK carried, whatever came after it.
    row.conn.ts_recent = echo
    await _see_effects(row, stimulus, final, outcome.next)


async def _take(row: Row, stimulus: Stimulus, final: Seq | None) -> tuple[list[Outcome], Received | None]:
    """Take the response; return the outcomes that go with it, and the one segment that came, if any."""
    if row.segment.repeat > 1:
        return await take_limited(row, stimulus), None
    if final is not None:
        row.conn.taken_in(snd_nxt=final)
    possible, answer = await take_response(row, stimulus)
    if answer is not None and answer.segment.flags & SYN and row.state is State.TIME_WAIT:
        check_new_iss(answer, stimulus)
        row.conn = row.conn.reopened(stimulus.sent, answer)
    return possible, answer


async def _see_effects(row: Row, stimulus: Stimulus, final: Seq | None, state: State) -> None:
    """See what the segment leaves behind, and that the connection still does what it can do."""
    if state is State.CLOSED:
        await application_is_told(row)
    left = left_by(row, stimulus, final)
    if row.segment.leaves_hole and state not in NO_NUMBERS:
        state, left = await fill_hole(row, stimulus, state)
    if row.segment.offers:
        await window_counts(row, state)
    await works(row.case, row.conn, state, left)
