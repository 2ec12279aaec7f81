"""Run the rows of the documented machine whose event is a timer of the target that runs out (RFC 9293 section 3.10.8).

Every interval is measured between the kernel's stamps and held against a bound with its source.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from conformance.cells.giving_up import run_r2, run_user_timeout
from conformance.cells.outcomes import require_visible
from conformance.cells.quiet_timers import run_delayed_ack, run_keepalive, run_persist, run_time_wait
from conformance.cells.retransmitting import run_retransmission
from conformance.standard.cells import Cell

if TYPE_CHECKING:
    from conformance.case.case import Case


async def run_timeout(case: Case, cell: Cell) -> None:
    """Put the target into the row's state, wait for the timer, and see response, next state and survival.

    Raises Violation, and NotApplicable where nobody could see the row.
    """
    require_visible(cell)
    await _RUNNERS[cell.stimulus.slug](case, cell)


_RUNNERS: Final[Mapping[str, Callable[[Case, Cell], Awaitable[None]]]] = {
    "timeout-user": run_user_timeout,
    "timeout-retransmission": run_retransmission,
    "timeout-r2": run_r2,
    "timeout-2msl": run_time_wait,
    "timeout-persist": run_persist,
    "timeout-keepalive": run_keepalive,
    "timeout-delayed-ack": run_delayed_ack,
}
