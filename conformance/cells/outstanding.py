"""Bring about a segment of the target that we do not acknowledge, and bound the intervals of its repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.case.steps import app_sends
from conformance.cells.openings import opened_quickly
from conformance.cells.steps import DATA, closed
from conformance.judge import Bound
from conformance.standard.states import State
from conformance.tester.clock import SECOND
from conformance.tester.stamped import Received
from conformance.wire import ACK, FIN, SYN, dissect

if TYPE_CHECKING:
    from conformance.case.app import SocketOption
    from conformance.case.case import Case
    from conformance.case.connection import Connection

FIRST_TIMER: Final = {State.SYN_SENT: "syn-rto", State.SYN_RECEIVED: "syn-ack-rto"}
"""The timers of the states in which no round trip was measured yet."""


@dataclass
class Outstanding:
    """The oldest segment that we do not acknowledge.

    `since_ns`: since when it waits, where another form of it left before. `settled_ns`: from when on its repetitions
    acknowledge all that we sent.
    """

    conn: Connection
    first: Received
    since_ns: int = 0
    settled_ns: int = 0

    def __post_init__(self) -> None:
        self.since_ns = self.since_ns or self.first.at_ns


async def outstanding(
    case: Case, state: State, *, by: str = "passive", options: Sequence[SocketOption] = ()
) -> Outstanding:
    """Put the target into `state` with a segment that we do not acknowledge; `options` are those of its socket."""
    if state is State.SYN_SENT or (state is State.SYN_RECEIVED and by == "active"):
        conn = await case.connect(options=options)
        first = await conn.expect(SYN, length=0, label="the target opens:")
        if state is State.SYN_SENT:
            return Outstanding(conn, first)
        await conn.send(SYN, text="simultaneous open")
        answer = await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0)
        return Outstanding(conn, answer, since_ns=first.at_ns)
    if state is State.SYN_RECEIVED:
        conn = await case.listen(options=options)
        await conn.send(SYN)
        return Outstanding(conn, await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0))
    at_first = State.CLOSE_WAIT if state in (State.CLOSE_WAIT, State.LAST_ACK) else State.ESTABLISHED
    conn = await opened_quickly(case, at_first)
    for level, name, value in options:
        await conn.app.option(level, name, value)
    if state in (State.ESTABLISHED, State.CLOSE_WAIT):
        return Outstanding(conn, await app_sends(conn, DATA))
    first = await closed(conn)
    if state is not State.CLOSING:
        return Outstanding(conn, first)
    await conn.send(FIN | ACK, ack=first.segment.seq, text="FIN that does not cover the target's FIN")
    answered = await conn.expect_ack()
    return Outstanding(conn, first, settled_ns=answered.at_ns)


def intervals(case: Case, state: State, count: int) -> list[Bound]:
    """Return the bounds of the first `count` intervals between retransmissions, or between probes of a closed window."""
    if state in FIRST_TIMER:
        return list(case.schedule(FIRST_TIMER[state])[:count])
    least_s, trip_s = case.nominal_s("rto-min"), _round_trip_s(case)
    # RFC 6298, 2.2, with 2.4's minimum on the variation as on the sum.
    most_s = trip_s + max(least_s, 2 * trip_s)
    series = [(case.timer("rto-min", least_s * 2**n), case.timer("rto-min", most_s * 2**n)) for n in range(count)]
    return [Bound(low.low_s, high.high_s, low.source) for low, high in series]


def _round_trip_s(case: Case) -> float:
    """Return what the target could measure in the handshake, in seconds."""
    asked_ns = 0
    for frame in case.trace.frames:
        segment = dissect(frame.data)
        if segment is not None and frame.inbound and segment.flags & SYN and not asked_ns:
            asked_ns = frame.at_ns
        elif segment is not None and not frame.inbound and segment.flags & ACK and asked_ns:
            return (frame.at_ns - asked_ns) / SECOND + case.wire_round_trip_s
    return case.wire_round_trip_s
