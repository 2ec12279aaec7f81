"""Bring about the scene of a call: the target in the row's state, and the socket that the call is made on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.cells.openings import opened_from_shared_port, opened_with_pending_data
from conformance.cells.steps import DATA, closed
from conformance.judge import NotApplicable
from conformance.standard.cells import Cell
from conformance.standard.states import State
from conformance.wire import ACK, FIN, PSH

if TYPE_CHECKING:
    from conformance.case.app import AppSocket
    from conformance.case.case import Case
    from conformance.case.connection import Connection

_BEFORE_DATA: Final = frozenset({State.SYN_SENT, State.SYN_RECEIVED})
_BEFORE_OUR_FIN: Final = {
    State.CLOSE_WAIT: State.ESTABLISHED,
    State.LAST_ACK: State.ESTABLISHED,
    State.CLOSING: State.FIN_WAIT_1,
}


@dataclass
class Scene:
    """A connection in the row's state, and the socket that the call is made on."""

    case: Case
    cell: Cell
    conn: Connection
    socket: AppSocket | None = None

    @property
    def app(self) -> AppSocket:
        """The socket. Raises NotApplicable where the application has none in this state."""
        if self.socket is None:
            raise NotApplicable(f"the application has no descriptor of a connection in {self.cell.state}")
        return self.socket


async def scene_of(case: Case, cell: Cell) -> Scene:
    """Put the target into the row's state, with what the row needs; the way that leads there confirms it."""
    slug, state = cell.stimulus.slug, cell.state
    if state is State.CLOSED:
        return await _without_connection(case, cell)
    if slug == "call-open-active":
        return _scene(case, cell, await opened_from_shared_port(case, state))
    if slug == "call-close-pending":
        return _scene(case, cell, await opened_with_pending_data(case))
    by = "active" if state in _BEFORE_DATA and slug != "call-status" else "passive"
    if "unread" in cell.needs or cell.id == "CLOSE-WAIT/call-receive":
        return _scene(case, cell, await _with_unread_data(case, state, by))
    conn = await case.drive_to(state, by=by)
    return _scene(case, cell, conn, conn.listener if state is State.LISTEN else None)


def _scene(case: Case, cell: Cell, conn: Connection, socket: AppSocket | None = None) -> Scene:
    """Return the scene of a call on `socket`, or else on the connection's own socket where it has one."""
    return Scene(case, cell, conn, socket or (conn.app if conn.has_app else None))


async def _with_unread_data(case: Case, state: State, by: str) -> Connection:
    """Return a connection in `state` whose application has text to read: it comes before our FIN, whoever closes first."""
    before = _BEFORE_OUR_FIN.get(state, state)
    conn = await case.drive_to(before, by=by)
    ack = conn.fin_seen.seq if before is State.FIN_WAIT_1 and conn.fin_was_seen else conn.rcv_nxt
    await conn.send(ACK | PSH, ack=ack, payload=DATA, text="data that stays unread")
    await conn.expect_ack()
    if before is not state:
        await conn.send(FIN | ACK, ack=ack)
        await conn.expect_ack()
    if state is State.LAST_ACK:
        await closed(conn)
    return conn


async def _without_connection(case: Case, cell: Cell) -> Scene:
    match cell.stimulus.slug:
        case "call-open-active":
            return Scene(case, cell, case.connection())
        case "call-open-passive":
            return Scene(case, cell, await case.drive_to(State.CLOSED))
    conn = await case.drive_to(State.LAST_ACK)
    await conn.listener.close()
    await conn.send(ACK)
    await conn.confirm(State.CLOSED)
    return _scene(case, cell, conn)
