"""Steps that rows of several kinds take: the application opens, reads and closes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.judge import Bound, Violation
from conformance.wire import ACK, FIN

if TYPE_CHECKING:
    from conformance.case.connection import Connection
    from conformance.tester.stamped import Received

DATA: Final = b"asked for by the application"
DELAYED_ACK: Final = Bound(0, 0.5, "RFC 9293, 3.8.6.3 (MUST-40)")
QUIET_S: Final = 0.2
"""Seconds in which nothing else may come: longer than a delayed acknowledgment, shorter than any timeout of a SYN."""


async def opened(conn: Connection) -> None:
    """Have the application hold its connection, by accept or by a connect that ends well. Raises AppError."""
    if conn.has_app:
        await conn.app.connected()
    else:
        conn.app = await conn.listener.accept()


async def read(conn: Connection, data: bytes, *, end: bool = False) -> None:
    """Have the application read `data`, and then the end of the stream (`end`). Raises Violation."""
    if not conn.has_app or conn.app.closed:
        return
    if data:
        octets = await conn.app.receive(len(data))
        if octets != data:
            raise Violation(
                f"the application read {len(octets)} octets {octets[:40]!r}, sent were {len(data)} {data[:40]!r}"
            )
    if end and not await conn.app.at_end():
        raise Violation("the application is not told that the peer has closed")


async def closed(conn: Connection) -> Received:
    """Have the application close its sending side; return the FIN, which must come next. Raises Violation."""
    await conn.app.shutdown("send")
    return await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
