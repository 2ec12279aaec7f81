"""Put the target into the state in which a segment's row begins, with what the segment and the row's `needs` ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.case.steps import app_sends
from conformance.cells.openings import opening
from conformance.cells.text import FROM_TARGET, OLD_TEXT, UNACKNOWLEDGED, fill_window
from conformance.standard.cells import Cell, Outcome
from conformance.standard.segments import Ack, Edge, Segment
from conformance.standard.states import FIN_RECEIVED, State
from conformance.wire import ACK

if TYPE_CHECKING:
    from conformance.case.app import SocketOption
    from conformance.case.case import Case
    from conformance.case.connection import Connection

OFFERED: Final = 300
TSVAL: Final = 100_000
NO_NUMBERS: Final = (State.CLOSED, State.LISTEN)
"""The states in which the target has sent nothing."""
ONE_SIDED: Final = (*NO_NUMBERS, State.SYN_SENT)
"""The states in which the target has no number of ours."""
_SMALL_BUFFER: SocketOption = ("socket", "SO_RCVBUF", 4096)
_INLINE: SocketOption = ("socket", "SO_OOBINLINE", 1)


@dataclass
class Row:
    """A row under way: what may come (`every`), the connection, and text that the application has not read."""

    case: Case
    cell: Cell
    every: tuple[Outcome, ...]
    conn: Connection
    unread: bytes = b""

    @property
    def segment(self) -> Segment:
        """The row's stimulus."""
        return self.cell.segment

    @property
    def state(self) -> State:
        """The state in which the row begins."""
        return self.cell.state


async def begin(case: Case, cell: Cell, every: Sequence[Outcome], *, wrap: bool) -> Row:
    """Put the target into the row's state.

    `wrap`: our sequence numbers pass 2^32 in the middle of the row; and the target opens by an active OPEN where the row
    leaves open how it does.
    """
    segment = cell.segment
    iss = _wrapping_iss(cell) if wrap else None
    # A SYN that reopens TIME-WAIT finds the listener.
    reopens = cell.state is State.TIME_WAIT and "SYN" in segment.flags
    active = cell.origin == "active" or (wrap and cell.origin == "either" and not reopens)
    conn: Connection | None = None
    unread: list[bytes] = []
    if cell.state is not State.CLOSED:
        conn = await opening(
            case,
            active=active,
            options=_options(case, segment),
            # What is sent to a group must not fail to find the listener only because that is bound to one address.
            address="" if segment.to_group else None,
            iss=iss,
        )
        if segment.offers:
            conn.window = OFFERED
        if segment.stamped_before:
            conn.tsval = TSVAL

    async def in_established(open_conn: Connection) -> None:
        unread.append(await _in_established(open_conn, cell))

    driven = await case.drive_to(
        cell.state,
        by="active" if active else "passive",
        how="close" if "reader-gone" in cell.needs else "shutdown",
        conn=conn,
        iss=iss,
        established=in_established,
    )
    return Row(case, cell, tuple(every), driven, b"".join(unread))


def _options(case: Case, segment: Segment) -> list[SocketOption]:
    """Return the options of the target's socket; a stack without a small buffer fills its own, if later."""
    options = [_SMALL_BUFFER] if segment.zero_window or segment.leaves_hole else []
    if segment.urgent and case.can("urgent"):  # else its application knows nothing but data
        options.append(_INLINE)
    return options


async def _in_established(conn: Connection, cell: Cell) -> bytes:
    """Do what has to come before any close; return the text that the application has not read."""
    segment, unread = cell.segment, b""
    if segment.repeats_text:
        await conn.deliver(OLD_TEXT)
    if segment.zero_window:
        # A FIN that is still to come takes the window's last number.
        unread = await fill_window(conn, spare=1 if cell.state in FIN_RECEIVED else 0)
    if segment.ack is Ack.DUPLICATE:
        # So that SND.UNA-1 lies behind something that was really acknowledged, and not before the SYN.
        await conn.collect(FROM_TARGET)
    if "outstanding" in cell.needs:
        if cell.state in (State.FIN_WAIT_1, State.CLOSING):
            # In one breath: once the text is sent again, a stack may hold its FIN back.
            await asyncio.gather(conn.app.send(UNACKNOWLEDGED), conn.app.shutdown("send"))
            await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=UNACKNOWLEDGED)
        else:
            await app_sends(conn, UNACKNOWLEDGED)
    return unread


def _wrapping_iss(cell: Cell) -> int:
    """Return an initial sequence number of ours that wraps in the middle of the row's segment, or at its edge."""
    segment, state = cell.segment, cell.state
    if segment.zero_window:
        return -1000
    data, edge = segment.data, segment.seq
    if edge in (Edge.MIDDLE, Edge.RIGHT_EDGE, Edge.OUTSIDE_RIGHT, Edge.STRADDLE_RIGHT):
        rcv_nxt = -1000
    elif edge is Edge.STRADDLE_LEFT:
        rcv_nxt = 0
    elif edge is Edge.OUTSIDE_LEFT:
        rcv_nxt = 50 if data else 0
    else:
        rcv_nxt = -50 if data else -1 if segment.flags & {"SYN", "FIN"} or state in ONE_SIDED else 0
    used = 0 if state in ONE_SIDED else 1
    used += state in FIN_RECEIVED
    if segment.repeats_text and state is not State.SYN_RECEIVED:
        used += len(OLD_TEXT)
    return rcv_nxt - used
