"""Steps that many cases share: what the application does, and what must be seen of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conformance.judge import Violation
from conformance.wire import ACK

if TYPE_CHECKING:
    from conformance.case.app import AppSocket
    from conformance.case.connection import Connection
    from conformance.tester.stamped import Received

_SHOWN = 40


async def app_accepts(conn: Connection, **wait: float) -> None:
    """Have the listening application accept `conn`. Raises AppError `timeout` where nothing is to be accepted in time."""
    conn.app = await conn.listener.accept(**wait)


async def app_sends(conn: Connection, data: bytes, **fields: Any) -> Received:
    """Have the application send `data`; return the next segment, which must carry it all and stays unacknowledged.

    `fields` of Expectation come on top. Raises Violation.
    """
    await conn.app.send(data)
    return await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data, **fields)


async def app_reads(conn: Connection, data: bytes, *, ended: bool = False) -> None:
    """See that the application reads exactly `data`, and with `ended` then the end of the stream. Raises Violation."""
    await reads(conn.app, data)
    if ended and not await conn.app.at_end():
        raise Violation("the application is not told that we have closed")


async def app_closes(conn: Connection, how: str = "shutdown") -> None:
    """Make the application's CLOSE call: `shutdown` keeps the socket held, `close` orphans the connection."""
    await (conn.app.close() if how == "close" else conn.app.shutdown("send"))


async def reads(app: AppSocket, data: bytes) -> None:
    """See that a socket's next octets are exactly `data`. Raises Violation."""
    octets = await app.receive(len(data))
    if octets != data:
        raise Violation(f"the application read {_shown(octets)}, sent was {_shown(data)}")


def _shown(data: bytes) -> str:
    return repr(data) if len(data) <= _SHOWN else f"{len(data)} octets {data[:_SHOWN]!r}..."
