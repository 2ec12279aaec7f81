"""Run the rows of the timers that run while nothing is retransmitted: 2 MSL, persist, keep-alive, delayed ACK."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from conformance.case.steps import reads
from conformance.cells.forms import own_forms
from conformance.cells.openings import opened_quickly
from conformance.cells.outstanding import intervals
from conformance.cells.retransmitting import COUNTED, SLACK_S
from conformance.cells.settle import reached, settle
from conformance.cells.steps import DATA, DELAYED_ACK
from conformance.cells.time_wait import end_of_time_wait
from conformance.cells.usable import works
from conformance.standard.cells import Cell
from conformance.standard.states import State
from conformance.target import AppError
from conformance.tester.clock import SECOND
from conformance.tester.stamped import Received
from conformance.wire import ACK, PSH

if TYPE_CHECKING:
    from conformance.case.case import Case
    from conformance.case.connection import Connection

_KEEP_IDLE_S: Final = 1
_KEEP_INTERVAL_S: Final = 2
_AT_ONCE_S: Final = 0.01
_OPEN_WINDOW: Final = 65535


async def run_time_wait(case: Case, cell: Cell) -> None:
    """See TIME-WAIT end after 2 MSL. Raises Violation."""
    bound = case.timer("time-wait")
    conn = await case.drive_to(State.TIME_WAIT)
    entered_ns = max(frame.at_ns for frame in case.trace.frames if frame.inbound)
    await end_of_time_wait(case, cell, conn, entered_ns=entered_ns, bound=bound)


async def run_persist(case: Case, cell: Cell) -> None:
    """See a closed window probed at intervals that double, and the data that waited once it opens. Raises Violation."""
    conn = await opened_quickly(case, cell.state)
    conn.window = 0
    await conn.send(ACK, text="closes our window")
    await conn.app.send(DATA)
    last_ns, late_s = case.trace.steps[-1].at_ns, 0.0
    for number, bound in enumerate(intervals(case, State.ESTABLISHED, COUNTED), 1):
        probe = await _probe_of(conn, cell, within=bound.high_s + SLACK_S)
        if probe is None:
            continue
        # The call's stamp is the application's own, taken when it had returned.
        case.check_timing(
            f"zero-window probe {number}",
            (probe.at_ns - last_ns) / SECOND,
            bound.widened(late_s, 0),
            how="from our answer to the probe before" if number > 1 else "from the application's call to the probe",
        )
        # A stack may count from the probe or from the answer.
        last_ns = (await conn.inject(ACK, text="the window is still closed")).at_ns
        late_s = (last_ns - probe.at_ns) / SECOND
    outcome = await reached(case, conn, cell, cell.outcomes)
    conn.window = _OPEN_WINDOW
    await conn.send(ACK, text="opens our window")
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA, label="what had to wait:")
    await works(case, conn, outcome.next)


async def run_keepalive(case: Case, cell: Cell) -> None:
    """See an idle connection probed after the set time, and again after the set interval. Raises Violation."""
    conn = await case.drive_to(cell.state)
    await conn.app.option("tcp", "TCP_KEEPIDLE", _KEEP_IDLE_S)
    await conn.app.option("tcp", "TCP_KEEPINTVL", _KEEP_INTERVAL_S)
    await conn.app.option("socket", "SO_KEEPALIVE", 1)
    await conn.deliver(DATA)
    last_ns = max(frame.at_ns for frame in case.trace.frames if not frame.inbound)
    case.note(f"keep-alives are switched on: after {_KEEP_IDLE_S} s, then every {_KEEP_INTERVAL_S} s")
    for name, seconds in (("keepalive-time", _KEEP_IDLE_S), ("keepalive-interval", _KEEP_INTERVAL_S)):
        bound = case.timer(name, float(seconds))
        probe = await _probe_of(conn, cell, within=bound.high_s + SLACK_S)
        if probe is not None:
            how = "from our last segment to the probe" if name == "keepalive-time" else "from one probe to the next"
            case.check_timing(name, (probe.at_ns - last_ns) / SECOND, bound, how=how)
            last_ns = probe.at_ns
    await conn.send(ACK, text="still here")
    await settle(case, conn, cell, cell.outcomes)


async def _probe_of(conn: Connection, cell: Cell, *, within: float) -> Received | None:
    """Take the row's probe, with no data or one octet; return None where the row says silence. Raises Violation."""
    form = next(iter(own_forms(conn, cell.outcomes[0].response)), None)
    if form is None:
        await conn.silence(for_=within, strict=True)
        return None
    return (await conn.expect_any(*(replace(form, length=octets) for octets in (0, 1)), within=within))[1]


async def run_delayed_ack(case: Case, cell: Cell) -> None:
    """See text acknowledged within half a second, and read by the application. Raises Violation."""
    conn = await case.drive_to(cell.state)
    if conn.has_app and case.has_app:
        # Where a new connection acknowledges at once, that is switched off: the delay is wanted.
        with contextlib.suppress(AppError):
            await conn.app.option("tcp", "TCP_QUICKACK", 0)
    sent = await conn.send(ACK | PSH, payload=DATA)
    wanted = own_forms(conn, cell.outcomes[0].response)
    if wanted:
        _, received = await conn.expect_any(*wanted, within=DELAYED_ACK.high_s + SLACK_S)
        delay_s = (received.at_ns - sent.at_ns) / SECOND
        case.check_timing("delayed ACK", delay_s, DELAYED_ACK, how="from our data to its acknowledgment")
        delayed = "delayed" if delay_s > _AT_ONCE_S else "at once"
        case.choice("acknowledgment of data", delayed, ["delayed", "at once"])
    else:
        await conn.silence(for_=DELAYED_ACK.high_s, strict=True)
    outcome = await reached(case, conn, cell, cell.outcomes)
    if conn.has_app:
        await reads(conn.app, DATA)
    await works(case, conn, outcome.next)
