"""See what the segment of a row leaves behind: text to read, a hole to fill, a window that counts, an error told."""

from __future__ import annotations

import re
from typing import Final

from conformance.cells.forms import bare_ack
from conformance.cells.segment_start import OFFERED, ONE_SIDED, Row
from conformance.cells.segment_stimulus import OFFERED_MORE, Stimulus
from conformance.cells.steps import QUIET_S, read
from conformance.cells.text import PIECE, TEXT, pattern
from conformance.cells.usable import NOTHING_LEFT, Left
from conformance.judge import Expectation, Violation
from conformance.standard.segments import Ack
from conformance.standard.states import FIN_RECEIVED, State
from conformance.tester.clock import SECOND
from conformance.tester.connection import REACTION_S
from conformance.wire import ACK, FIN, Seq

_UPDATE_S = 0.05
_AFTER_FIN: Final = {
    State.ESTABLISHED: State.CLOSE_WAIT,
    State.FIN_WAIT_1: State.CLOSING,
    State.FIN_WAIT_2: State.TIME_WAIT,
}


def left_by(row: Row, stimulus: Stimulus, final: Seq | None) -> Left:
    """Return what is under way between the two ends after the segment; `final` is RCV.NXT if it was taken in."""
    flags = row.segment.flags
    if row.state in ONE_SIDED and "SYN" in flags and "ACK" not in flags:
        return Left(repeat=stimulus.payload, repeat_fin="FIN" in flags)
    unread = row.unread
    if final is not None and stimulus.payload:
        new = min(len(stimulus.payload), final - Seq(stimulus.before.rcv_nxt))
        unread += stimulus.payload[-new:] + TEXT * row.segment.held
    return Left(unread=unread) if unread else NOTHING_LEFT


async def application_is_told(row: Row) -> None:
    """See that the application is told of a reset as the row says for a socket. Raises Violation."""
    call, arrow, outcome = row.cell.socket.partition(" -> ")
    codes = re.findall(r"\bE[A-Z]+\b", outcome)
    if not arrow or not codes or not row.conn.has_app or row.conn.app.closed:
        return
    app = row.conn.app
    if call == "connect":
        await app.fails("connected", *codes)
    elif row.state in FIN_RECEIVED:
        # The end of the stream was there first, and recv tells it for ever.
        if (error := await app.error()) not in codes:
            raise Violation(f"the application is told {error}, it had to be {' or '.join(codes)}")
    else:
        await app.fails("receive", *codes, count=1)


async def fill_hole(row: Row, stimulus: Stimulus, state: State) -> tuple[State, Left]:
    """Send what lies before the segment: then the segment that was held counts (SHLD-31). Raises Violation.

    Returns the state after it, and what is left.
    """
    conn, placed, has_fin = row.conn, stimulus.placed, "FIN" in row.segment.flags
    if state is State.SYN_RECEIVED:
        return state, NOTHING_LEFT
    missing = pattern(Seq(placed.seq) - conn.snd_nxt)
    for at in range(0, len(missing), PIECE):
        await conn.send(ACK, ack=conn.acked, payload=missing[at : at + PIECE])
    end = Seq(placed.seq) + placed.length
    conn.taken_in(snd_nxt=end)
    if not await _acknowledged_up_to(row, end):
        if not has_fin:
            raise Violation("the hole is filled, and what lies beyond it is not acknowledged: it was not held")
        # Text is to be held (SHLD-31), of a FIN nothing is said.
        await conn.inject(FIN | ACK, seq=placed.seq, ack=conn.acked, text="the FIN again, which was not held")
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=end, length=0)
    await read(conn, missing + stimulus.payload)
    while await conn.allow(bare_ack(conn), within=_UPDATE_S):
        pass  # updates of the window
    if has_fin:
        state = _AFTER_FIN[state]
        await conn.confirm(state)
    return state, NOTHING_LEFT


async def _acknowledged_up_to(row: Row, end: Seq) -> bool:
    """Take acknowledgments until one covers everything before `end`; return True if there was one."""
    conn, clock = row.conn, row.case.clock
    until_ns = clock.now_ns() + round(REACTION_S * SECOND)
    reached_ack: Seq | None = None
    while reached_ack != end:
        left_s = max(0.0, (until_ns - clock.now_ns()) / SECOND)
        taken = await conn.allow(Expectation(ACK, seq=conn.rcv_nxt, length=0), within=left_s)
        if taken is None:
            return False
        reached_ack = taken[1].segment.ack
    return True


async def window_counts(row: Row, state: State) -> None:
    """Have the application send more than the old window: as much comes as the window that counts lets through.

    Raises Violation.
    """
    conn = row.conn
    if state not in (State.ESTABLISHED, State.CLOSE_WAIT):
        return
    data = pattern(2 * OFFERED)
    await conn.app.send(data)
    newer = row.segment.ack is not Ack.DUPLICATE
    room = len(data) if newer else OFFERED
    octets = 0
    while octets < room:
        octets += await _next_octets(row)
    if octets > room:
        raise Violation(f"{octets} octets came, the window that counts is {room}")
    if not newer:
        await conn.silence(for_=QUIET_S)
    conn.window = OFFERED_MORE
    await conn.send(ACK, text="a wide window")
    while octets < len(data):
        octets += await _next_octets(row)
        await conn.send(ACK)


async def _next_octets(row: Row) -> int:
    conn = row.conn
    return len((await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)).segment.payload)
