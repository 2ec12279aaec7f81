"""The ways into each of the eleven states; each builds on the one before (RFC 9293 section 3.3.2, Figure 5)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.case.app import SocketOption
from conformance.case.connection import Connection
from conformance.case.steps import app_closes
from conformance.standard.states import State
from conformance.tester.clock import SECOND
from conformance.tester.variables import Offer
from conformance.wire import ACK, FIN, SYN

if TYPE_CHECKING:
    from conformance.case.case import Case


# Where nothing has to be asked of the application but that it listens.
_WITHOUT_APPLICATION = (State.CLOSED, State.LISTEN, State.SYN_RECEIVED, State.ESTABLISHED)


@dataclass(frozen=True)
class _Way:
    """The arguments of `Case.drive_to`."""

    case: Case
    by: str
    via: State
    how: str
    conn: Connection | None
    options: Sequence[SocketOption]
    offer: Offer | None
    iss: int | None
    round_trip_s: float
    established: Callable[[Connection], Awaitable[None]] | None


async def drive_to(
    case: Case,
    state: State,
    *,
    by: str,
    via: State | None,
    how: str,
    conn: Connection | None,
    options: Sequence[SocketOption],
    offer: Offer | None = None,
    iss: int | None,
    round_trip_s: float = 0.0,
    established: Callable[[Connection], Awaitable[None]] | None = None,
) -> Connection:
    """See `Case.drive_to`. Raises Violation when the target does not follow, ValueError for a way that does not exist."""
    if by not in ("passive", "active"):
        raise ValueError(f"by={by!r}: a target opens passive or active")
    if how not in ("shutdown", "close"):
        raise ValueError(f"how={how!r}: an application closes by shutdown or close")
    if via not in (None, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING):
        raise ValueError(f"via={via}: TIME-WAIT is reached via FIN-WAIT-1, FIN-WAIT-2 or CLOSING")
    if by == "active":
        case.needs("connect")
    else:
        case.needs("open-port" if state in _WITHOUT_APPLICATION else "accept")
    if conn is not None and offer is not None:
        conn.offer(offer)
    way = _Way(case, by, via or State.FIN_WAIT_2, how, conn, options, offer, iss, round_trip_s, established)
    reached = await _DRIVERS[state](way)
    case.trace.state(case.clock.now_ns(), state.value, "wire")
    return reached


async def _closed(way: _Way) -> Connection:
    case = way.case
    port = case.station.port() if case.has_app else case.target.closed_port
    return way.conn or case.connection(port, iss=way.iss)


async def _listen(way: _Way) -> Connection:
    return way.conn or await way.case.listen(options=way.options, offer=way.offer, iss=way.iss)


async def _syn_sent(way: _Way) -> Connection:
    conn = way.conn or await way.case.connect(options=way.options, offer=way.offer, iss=way.iss)
    await conn.expect(SYN, length=0, label="the target opens:")
    return conn


async def _syn_received(way: _Way) -> Connection:
    if way.by == "active":
        conn = await _syn_sent(way)
        await conn.send(SYN, text="simultaneous open")
        await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0)
        return conn
    conn = await _listen(way)
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    return conn


async def _established(way: _Way) -> Connection:
    conn = await _opened(way)
    if way.established is not None:
        await way.established(conn)
    return conn


async def _opened(way: _Way) -> Connection:
    conn = await (_syn_sent if way.by == "active" else _syn_received)(way)
    await way.case.clock.sleep_until(conn.opening_ns + round(way.round_trip_s * SECOND))
    await conn.complete()
    return conn


async def _fin_wait_1(way: _Way) -> Connection:
    conn = await _established(way)
    await app_closes(conn, way.how)
    await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    return conn


async def _fin_wait_2(way: _Way) -> Connection:
    conn = await _fin_wait_1(way)
    await conn.send(ACK)
    return conn


async def _close_wait(way: _Way) -> Connection:
    conn = await _established(way)
    await conn.send(FIN | ACK, ack=conn.acked)
    await conn.expect_ack()
    return conn


async def _closing(way: _Way) -> Connection:
    conn = await _fin_wait_1(way)
    await conn.send(FIN | ACK, ack=conn.acked, text="FIN that does not cover the target's FIN")
    await conn.expect_ack()
    return conn


async def _last_ack(way: _Way) -> Connection:
    conn = await _close_wait(way)
    await app_closes(conn, way.how)
    await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    return conn


async def _time_wait(way: _Way) -> Connection:
    if way.via is State.CLOSING:
        conn = await _closing(way)
        await conn.send(ACK)
        return conn
    conn = await (_fin_wait_1 if way.via is State.FIN_WAIT_1 else _fin_wait_2)(way)
    await conn.send(FIN | ACK)
    await conn.expect_ack()
    return conn


_DRIVERS: dict[State, Callable[[_Way], Awaitable[Connection]]] = {
    State.CLOSED: _closed,
    State.LISTEN: _listen,
    State.SYN_SENT: _syn_sent,
    State.SYN_RECEIVED: _syn_received,
    State.ESTABLISHED: _established,
    State.FIN_WAIT_1: _fin_wait_1,
    State.FIN_WAIT_2: _fin_wait_2,
    State.CLOSE_WAIT: _close_wait,
    State.CLOSING: _closing,
    State.LAST_ACK: _last_ack,
    State.TIME_WAIT: _time_wait,
}
