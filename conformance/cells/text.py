"""Text that rows send: octets whose place can be told, and enough of it to close the target's window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from conformance.wire import ACK

if TYPE_CHECKING:
    from conformance.case.connection import Connection

TEXT: Final = bytes(range(1, 101))
OLD_TEXT: Final = bytes(range(101, 201))
TO_TARGET: Final = b"said to the target"
FROM_TARGET: Final = b"said by the target"
UNACKNOWLEDGED: Final = b"sent and not acknowledged"
PIECE: Final = 1400
_MOST_PIECES = 64


def pattern(count: int) -> bytes:
    """Return octets of which no two neighbouring pieces are alike."""
    return bytes(at % 251 for at in range(count))


async def fill_window(conn: Connection, *, spare: int) -> bytes:
    """Fill the target's receive window but for `spare` numbers; return the text that its application has not read."""
    unread = b""
    await conn.probe()
    for _ in range(_MOST_PIECES):
        room = min(conn.remote_window - spare, PIECE)
        if room <= 0:
            break
        piece = pattern(room)
        unread += piece
        await conn.send(ACK, payload=piece)
        await conn.expect_ack()
    return unread
