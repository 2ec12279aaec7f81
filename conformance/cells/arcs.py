"""Run the arcs of Figure 5 (RFC 9293 section 3.3.2): both ends of each are confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.cells.call_scenes import scene_of
from conformance.cells.calls import call_in, listens_no_more
from conformance.cells.forms import own_forms
from conformance.cells.numbers import flags_of, variables
from conformance.cells.outcomes import require_visible
from conformance.cells.settle import settle
from conformance.cells.steps import QUIET_S
from conformance.cells.time_wait import end_of_time_wait
from conformance.standard.cells import Cell
from conformance.standard.segments import Segment
from conformance.standard.states import State
from conformance.standard.stimuli import Timeout

if TYPE_CHECKING:
    from conformance.case.case import Case


async def run_arc(case: Case, cell: Cell) -> None:
    """Put the target to the arc's beginning, have it go along, and see where it is and what works there.

    Raises Violation, and NotApplicable where nobody could see the row.
    """
    require_visible(cell)
    if isinstance(cell.stimulus, Segment):
        await _by_segment(case, cell, cell.stimulus)
    elif isinstance(cell.stimulus, Timeout):
        await _by_time(case, cell)
    else:
        await _by_call(case, cell)


async def _by_call(case: Case, cell: Cell) -> None:
    scene = await scene_of(case, cell)
    if cell.state is not State.CLOSED:
        await scene.conn.confirm(cell.state)
    elif scene.conn.has_remote_port:
        await listens_no_more(scene.conn)
    await call_in(scene)


async def _by_segment(case: Case, cell: Cell, stimulus: Segment) -> None:
    conn = await case.drive_to(cell.state, by="active" if cell.origin == "active" else "passive")
    await conn.confirm(cell.state)
    placed = stimulus.place(variables(conn))
    await conn.send(flags_of(stimulus.flags), seq=placed.seq, ack=placed.ack or 0, text=cell.event)
    response = cell.outcomes[0].response
    wanted = own_forms(conn, response)
    if wanted and response.optional:
        await conn.allow(*wanted, within=QUIET_S)
    elif wanted:
        await conn.expect_any(*wanted)
    await settle(case, conn, cell, cell.outcomes)


async def _by_time(case: Case, cell: Cell) -> None:
    """Enter TIME-WAIT by the long way: both ends have closed at the same time."""
    conn = await case.drive_to(State.TIME_WAIT, via=State.CLOSING)
    entered_ns = max(frame.at_ns for frame in case.trace.frames if not frame.inbound)
    await conn.confirm(State.TIME_WAIT, probe=False)
    await end_of_time_wait(case, cell, conn, entered_ns=entered_ns, bound=case.timer("time-wait"))
