"""See that a connection does what it can do in its state: what is open carries data, what is closing can be closed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.cells.forms import bare_ack
from conformance.cells.steps import QUIET_S, closed, opened, read
from conformance.cells.text import FROM_TARGET, TO_TARGET
from conformance.judge import Expectation, Violation
from conformance.standard.states import State
from conformance.wire import ACK, FIN, NO_FLAGS, PSH, SYN

if TYPE_CHECKING:
    from conformance.case.case import Case
    from conformance.case.connection import Connection


_PARTS_S: Final = 0.05


@dataclass(frozen=True)
class Left:
    """Text and FIN under way between the two ends when a row is settled.

    `unread`: text that the target took in and its application has not read. `repeat` and `repeat_fin`: text and FIN
    that came with a SYN; a peer sends them again with the segment that completes the handshake.
    """

    unread: bytes = b""
    repeat: bytes = b""
    repeat_fin: bool = False


NOTHING_LEFT: Final = Left()


async def works(case: Case, conn: Connection, state: State, left: Left = NOTHING_LEFT) -> None:
    """See that the connection does what it can do in `state`; it leaves the state. Raises Violation."""
    if not case.has_app:
        await _works_alone(case, conn, state)
    elif state is State.LISTEN:
        await _still_listens(case, conn)
    elif state in (State.SYN_SENT, State.SYN_RECEIVED):
        await _complete_handshake(conn, left, seen=state)
        await works(case, conn, State.CLOSE_WAIT if left.repeat_fin else State.ESTABLISHED, left)
    elif state is State.ESTABLISHED:
        await _both_ways(conn, left)
    elif state in (State.FIN_WAIT_1, State.FIN_WAIT_2):
        await _receive_only(conn, left)
        await _close_from_our_side(conn)
    elif state is State.CLOSE_WAIT:
        await _send_only(conn, left)
        await closed(conn)
        await conn.send(ACK)
        await conn.confirm(State.CLOSED)
    elif state is State.CLOSING:
        await conn.send(ACK, text="covers the FIN")
        await conn.confirm(State.TIME_WAIT, probe=False)
        await read(conn, left.unread, end=True)
    elif state is State.LAST_ACK:
        await conn.send(ACK, text="covers the FIN")
        await conn.confirm(State.CLOSED)
    elif state is State.TIME_WAIT:
        await conn.inject(FIN | ACK, seq=conn.snd_nxt - 1, text="our FIN again")
        await conn.expect_ack(label="acknowledged once more:")
        await read(conn, left.unread, end=True)


async def _works_alone(case: Case, conn: Connection, state: State) -> None:
    """See what the wire alone can show, where no application can be asked."""
    if state is State.LISTEN:
        await case.probe_listening(conn.remote_port)
    elif state is State.SYN_RECEIVED:
        await conn.send(ACK, text="completes the handshake")
        await conn.confirm(State.ESTABLISHED)


async def _still_listens(case: Case, conn: Connection) -> None:
    """Open a connection from another port, and carry data both ways."""
    second = case.connection(conn.remote_port)
    second.listener = conn.listener
    await case.drive_to(State.ESTABLISHED, conn=second)
    await _both_ways(second, NOTHING_LEFT)


async def _complete_handshake(conn: Connection, left: Left, *, seen: State) -> None:
    flags = ACK | (SYN if seen is State.SYN_SENT else NO_FLAGS) | (FIN if left.repeat_fin else NO_FLAGS)
    again = " with what came before" if left.repeat or left.repeat_fin else ""
    await conn.send(flags, payload=left.repeat, text=f"completes the handshake{again}")
    if seen is State.SYN_SENT or again:
        await conn.expect_ack()
    await opened(conn)
    await read(conn, left.repeat)


async def _make_room(conn: Connection) -> None:
    """See that a window that was closed opens once the application has read everything."""
    if conn.remote_window == 0 and conn.has_app and not conn.app.closed:
        await conn.expect_ack(label="the window opens:")
        if conn.remote_window == 0:
            raise Violation("the application has read everything, and the window is still closed")
        # An application that reads in parts opens it in parts.
        further = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="the window opens further:")
        taken: object = True
        while taken:
            taken = await conn.allow(further, within=_PARTS_S)


async def _both_ways(conn: Connection, left: Left) -> None:
    if not conn.has_app:
        await opened(conn)
    await read(conn, left.unread)
    await _make_room(conn)
    await _acknowledge_everything(conn)
    await conn.deliver(TO_TARGET)
    await conn.collect(FROM_TARGET)


async def _acknowledge_everything(conn: Connection) -> None:
    if conn.has_acked and conn.syn_was_seen and conn.acked < conn.rcv_nxt:
        await conn.send(ACK)


async def _receive_only(conn: Connection, left: Left) -> None:
    """See that text of ours arrives where the target has closed. Its FIN stays as acknowledged as it was."""
    if conn.app.closed:
        return
    await read(conn, left.unread)
    await _make_room(conn)
    await conn.send(ACK | PSH, ack=conn.acked, payload=TO_TARGET)
    await conn.expect_ack(label="the data acknowledged:")
    await read(conn, TO_TARGET)


async def _close_from_our_side(conn: Connection) -> None:
    await conn.send(FIN | ACK, text="we close too")
    await conn.expect_ack()
    await conn.confirm(State.TIME_WAIT, probe=False)
    await read(conn, b"", end=True)


async def _send_only(conn: Connection, left: Left) -> None:
    """See that the target's text arrives where we have closed."""
    if not conn.has_app:
        await opened(conn)
    was_full = conn.remote_window == 0
    await read(conn, left.unread, end=True)
    if was_full:
        # A peer that has closed need not hear of the room.
        await conn.allow(bare_ack(conn, "the window opens:"), within=QUIET_S)
    await _acknowledge_everything(conn)
    await conn.collect(FROM_TARGET)
