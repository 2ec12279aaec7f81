"""Run the rows of the retransmission timeout: what is not acknowledged comes again, at intervals that double."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from conformance.cells.forms import own_forms
from conformance.cells.outstanding import intervals, outstanding
from conformance.cells.settle import settle
from conformance.judge import Violation
from conformance.standard.cells import Cell
from conformance.tester.clock import SECOND
from conformance.tester.stamped import Received
from conformance.wire import ACK, FIN

if TYPE_CHECKING:
    from conformance.case.case import Case
    from conformance.case.connection import Connection

COUNTED: Final = 3
"""The number of intervals of a series that are timed."""
SLACK_S: Final = 1.0
"""Seconds beyond its bound that a segment is still waited for, so that the failure says how late it was."""


async def run_retransmission(case: Case, cell: Cell) -> None:
    """See the oldest segment that is not acknowledged come again as the row says. Raises Violation."""
    out = await outstanding(case, cell.state)
    conn, response = out.conn, cell.outcomes[0].response
    last = out.first
    for number, bound in enumerate(intervals(case, cell.state, COUNTED), 1):
        if response.flags is None:
            await conn.silence(for_=bound.high_s, strict=True)
            continue
        again = await conn.expect_retransmission(out.first, within=bound.high_s + SLACK_S)
        _check_form(conn, cell, again, settled=again.at_ns > out.settled_ns)
        case.check_timing(
            f"retransmission {number}",
            (again.at_ns - last.at_ns) / SECOND,
            bound,
            how="from the transmission before to this one",
        )
        last = again
    await settle(case, conn, cell, cell.outcomes)


def _check_form(conn: Connection, cell: Cell, again: Received, *, settled: bool) -> None:
    """See that a retransmission is what the row says; a FIN keeps its bit. Raises Violation."""
    segment = again.segment
    form = own_forms(conn, cell.outcomes[0].response, segment.payload)[0]
    flags = (form.flags or ACK) | segment.flags & FIN
    form = replace(form, flags=flags, ack=form.ack if settled else None, length=None, payload=None)
    if differences := form.differences(segment, conn.base):
        raise Violation(f"the retransmission is not as {cell.id} says: {'; '.join(map(str, differences))}")
