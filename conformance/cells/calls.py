"""Run the rows of the documented machine whose event is a call of the application (RFC 9293 sections 3.10.1 to 3.10.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from conformance.cells.application_calls import Returned, begin_call, returned
from conformance.cells.call_scenes import Scene, scene_of
from conformance.cells.forms import bare_ack
from conformance.cells.outcomes import expectations, fitting, own_answers, require_visible, silent
from conformance.cells.settle import reached
from conformance.cells.steps import DATA, QUIET_S, opened
from conformance.cells.usable import works
from conformance.judge import Expectation, Violation
from conformance.standard.cells import Cell, Outcome
from conformance.standard.states import State
from conformance.tester.connection import RETRANSMITTED_S
from conformance.wire import ACK, FIN, PSH, RST, SYN, Seq

if TYPE_CHECKING:
    from conformance.case.case import Case
    from conformance.case.connection import Connection

_HAND_OVERS: Final = 3


async def run_call(case: Case, cell: Cell) -> None:
    """Put the target into the row's state, make the call, and see response, next state and survival.

    Raises Violation, and NotApplicable where nobody could see the row.
    """
    require_visible(cell)
    await call_in(await scene_of(case, cell))


async def call_in(scene: Scene) -> None:
    """Make the row's call in a scene that is there, and see what `run_call` sees. Raises Violation."""
    await scene.case.arrived()  # which the call would wait for, and be asked for after what follows
    call = begin_call(scene)
    try:
        await asyncio.sleep(0)  # the call is asked for first
        # The agent answers in order: once it has answered this, the call is made, and its answer here if it has one.
        await scene.case.agent.call("hello")
        for _ in range(_HAND_OVERS):
            await asyncio.sleep(0)
        await _see(scene, call)
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def _see(scene: Scene, call: asyncio.Future[Returned]) -> None:
    case, cell, conn, name = scene.case, scene.cell, scene.conn, scene.cell.call.name
    possible = await _on_the_wire(conn, cell.outcomes)
    result = await returned(scene, call)
    if name == "SEND" and result.slug == "ok" and all(outcome.response.slug == "queued" for outcome in possible):
        # The stack's queue is as good as the caller's.
        result = Returned("queued", f"{result.words}, to be sent later")
    case.note(f"{name} says: {result.words}")
    possible = [outcome for outcome in possible if result.is_of(outcome.response.slug)]
    if not possible:
        allowed = " or ".join(dict.fromkeys(outcome.response.meaning for outcome in cell.outcomes))
        raise Violation(f"{name} in {cell.state} says {result.words}, it had to be: {allowed}")
    quiet_s = 0 if possible[0].response.flags is None else QUIET_S
    outcome = await reached(case, conn, cell, possible, quiet_s=quiet_s)
    if result.slug == "state" and result.words != outcome.next.value:
        raise Violation(f"{name} says {result.words}, it had to say {outcome.next}")
    if result.slug == "received" and cell.state is State.CLOSE_WAIT and not await scene.app.at_end():
        raise Violation("RECEIVE gets more than was sent, not the end of file")
    if outcome.next is State.CLOSED and cell.state in (State.CLOSED, State.LISTEN):
        await listens_no_more(conn)
    if result.slug == "queued" and name == "CLOSE":
        await _closed_after_data(conn)
        await works(case, conn, State.FIN_WAIT_2)
    elif result.slug == "queued":
        await _served(scene, name, call)
    else:
        await works(case, conn, outcome.next)


async def _on_the_wire(conn: Connection, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Take the response; return the outcomes that it goes with. Raises Violation."""
    answers = own_answers(conn, outcomes, DATA)
    if answers:
        _, received = await conn.expect_any(*expectations(answers))
        return fitting(conn, answers, received)
    if any(outcome.response.slug == "received" for outcome in outcomes):
        await conn.allow(bare_ack(conn, "a window update:"), within=QUIET_S)
    await conn.silence(for_=QUIET_S)
    return silent(outcomes)


async def _served(scene: Scene, name: str, call: asyncio.Future[Returned]) -> None:
    """See that a call which waits is served once the connection is ESTABLISHED, and both directions work."""
    conn = scene.conn
    queued = Expectation(ACK, seq=conn.rcv_nxt, payload=DATA, label="what was queued:")
    waits = name == "SEND"
    if scene.cell.state is State.SYN_SENT:
        await conn.send(SYN | ACK)
        which, _ = await conn.expect_any(bare_ack(conn), *([queued] if waits else []))
        waits = waits and which == 0  # the acknowledgment may carry it
    else:
        await conn.send(ACK)
    await opened(conn)
    if waits:
        await conn.expect_any(queued)
    if name != "SEND":
        await conn.send(ACK | PSH, payload=DATA)
        await conn.expect_ack()
    await call
    await works(scene.case, conn, State.ESTABLISHED)


async def _closed_after_data(conn: Connection) -> None:
    """Acknowledge the SYN: what was queued follows, and the FIN behind it; then acknowledge both. Raises Violation."""
    first, end = conn.irs + 1, conn.irs + 1 + len(DATA)
    await conn.send(ACK, ack=first, text="covers the SYN alone")
    data = Expectation(ACK, seq=first, ack=conn.snd_nxt, payload=DATA, label="what was queued:")
    fin = Expectation(FIN | ACK, seq=end, ack=conn.snd_nxt, length=0, label="the FIN behind it:")
    both = Expectation(FIN | ACK, seq=first, ack=conn.snd_nxt, payload=DATA, label="both in one:")
    missing = {"data", "fin"}
    while missing:
        which, _ = await conn.expect_any(data, fin, both, within=RETRANSMITTED_S)
        missing -= ({"data"}, {"fin"}, {"data", "fin"})[which]
    conn.rcv_nxt = end + 1
    await conn.send(ACK)
    await conn.confirm(State.FIN_WAIT_2)


async def listens_no_more(conn: Connection) -> None:
    """See a SYN reset: an ACK would be where a port listens, too. Raises Violation."""
    sent = await conn.inject(SYN, text="probe: does the port listen?")
    await conn.expect(RST | ACK, seq=Seq(0), ack=sent.segment.end, length=0, label="it does not:")
