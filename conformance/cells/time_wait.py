"""Time the end of TIME-WAIT, and see whether its 2 MSL began anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.cells.forms import own_forms
from conformance.cells.settle import settle
from conformance.judge import Bound
from conformance.standard.cells import Cell, Outcome
from conformance.standard.states import State
from conformance.tester.clock import SECOND

if TYPE_CHECKING:
    from conformance.case.case import Case
    from conformance.case.connection import Connection

RESTART_AFTER_S: Final = 0.5


async def end_of_time_wait(case: Case, cell: Cell, conn: Connection, *, entered_ns: int, bound: Bound) -> None:
    """See the 2 MSL out, in silence, since the target entered TIME-WAIT; then the four-tuple is free. Raises Violation."""
    response = cell.outcomes[0].response
    await conn.listener.close()
    if response.flags is not None:
        await conn.expect_any(*own_forms(conn, response), within=bound.high_s)
    ending = await case.see_end(conn, since_ns=entered_ns, expected=bound, since="the segment that led to TIME-WAIT")
    case.check_timing("time-wait", ending.gone_s, ending.within(bound), how=ending.how)
    await settle(case, conn, cell, cell.outcomes)


async def expires_ns(case: Case, conn: Connection, *, after_s: float = 0) -> int | None:
    """Return when TIME-WAIT ends by the agent's word, asked `after_s` from now; None where the agent does not say."""
    if not case.can("state"):
        return None
    await case.sleep(after_s)
    now_ns = case.clock.now_ns()
    left_s = (await state_on(case, conn, case.address)).expires_s
    return None if left_s is None else now_ns + round(left_s * SECOND)


@dataclass(frozen=True)
class StateReply:
    """The agent's answer to `state`. `expires_s` is how long the state lasts from now, None where the agent does not say."""

    state: State
    expires_s: float | None


async def state_on(case: Case, conn: Connection, remote_address: str) -> StateReply:
    """Return the agent's answer about the connection's ports and that address of the peer."""
    reply = await case.app.call(
        "state",
        family=case.family,
        address=case.remote,
        port=conn.remote_port,
        remote_address=remote_address,
        remote_port=conn.port,
    )
    expires_s = reply.get("expires_s")
    return StateReply(State.parse(str(reply["state"])), None if expires_s is None else float(expires_s))


def by_restart(possible: list[Outcome], before_ns: int, after_ns: int) -> list[Outcome]:
    """Return the outcomes that agree with when TIME-WAIT was to end before and after the segment; all if none does."""
    restarted = after_ns - before_ns > RESTART_AFTER_S / 2 * SECOND
    return [one for one in possible if (one.response.slug == "ack-restart") is restarted] or possible
