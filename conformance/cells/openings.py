"""Open connections in the ways that rows need beside `drive_to`'s own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from conformance.cells.steps import DATA
from conformance.judge import NotApplicable
from conformance.standard.states import State
from conformance.target import AppError
from conformance.wire import ACK, SYN

if TYPE_CHECKING:
    from conformance.case.app import SocketOption
    from conformance.case.case import Case
    from conformance.case.connection import Connection

_NO_SUCH_OPTION = "ENOPROTOOPT"


async def opening(
    case: Case,
    *,
    active: bool,
    options: Sequence[SocketOption] = (),
    address: str | None = None,
    iss: int | None = None,
) -> Connection:
    """Return a connection about to be opened, with these options if the target's stack has them.

    `address` is that of its listener ("": all).
    """
    case.app.tolerated_errors = (_NO_SUCH_OPTION,)
    try:
        return await _opening(case, active, options, address, iss)
    except AppError as error:
        if error.code != _NO_SUCH_OPTION:
            raise
        return await _opening(case, active, (), address, iss)
    finally:
        case.app.tolerated_errors = ()


async def _opening(
    case: Case, active: bool, options: Sequence[SocketOption], address: str | None, iss: int | None
) -> Connection:
    if active:
        return await case.connect(options=options, iss=iss)
    return await case.listen(address=address, options=options, iss=iss)


async def opened_quickly(case: Case, state: State) -> Connection:
    """Return a connection in `state` whose handshake took no time on our side: its timeout is the least there is."""
    conn = await case.listen()
    conn.prepare(when=SYN | ACK, text="answered at once")
    return await case.drive_to(state, conn=conn)


async def opened_from_shared_port(case: Case, state: State) -> Connection:
    """Return a connection that the target opened from a port that other sockets may have too.

    For a second connect from there only the four-tuple is in the way.
    """
    conn = case.connection()
    conn.app = await case.app.connect(remote_port=conn.port, port=case.station.port(), reuse=True)
    return await case.drive_to(state, by="active", conn=conn)


async def opened_with_pending_data(case: Case) -> Connection:
    """Return a connection in SYN-RECEIVED whose application has sent data that waits for the handshake.

    A socket takes no data before it is connected, but for Fast Open (RFC 7413), which puts it onto the SYN. We take the
    SYN alone, as a peer without Fast Open does. Raises NotApplicable without it.
    """
    conn = case.connection()
    options = [("tcp", "TCP_FASTOPEN_NO_COOKIE", 1), ("tcp", "TCP_FASTOPEN_CONNECT", 1)]
    try:
        conn.app = await case.app.connect(remote_port=conn.port, options=options)
    except AppError as error:
        raise NotApplicable(f"a socket takes no data before it is connected: no Fast Open ({error.code})") from None
    await conn.app.send(DATA, wait=False)
    syn = await conn.expect(SYN, label="the target opens:")
    if syn.segment.payload != DATA:
        raise NotApplicable("a socket takes no data before it is connected: Fast Open is switched off")
    await conn.send(SYN, text="simultaneous open")
    await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0)
    return conn
