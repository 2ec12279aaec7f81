"""Read the target's sequence variables off the wire, and control bits from their names."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from conformance.standard.segments import Variables
from conformance.wire import NO_FLAGS, Flags

if TYPE_CHECKING:
    from conformance.case.connection import Connection

# Before its first segment the target has no numbers that anybody could know: any will do.
_ANY_NUMBER: Final = 0x01020304


def variables(conn: Connection) -> Variables:
    """Return the target's variables, as the wire tells them."""
    if not conn.syn_was_seen:
        return Variables(_ANY_NUMBER, _ANY_NUMBER, _ANY_NUMBER, conn.snd_nxt, 0, conn.window)
    una = conn.acked if conn.has_acked else conn.irs
    right_edge = conn.snd_una + conn.remote_window
    return Variables(conn.irs, una, conn.rcv_nxt, conn.snd_nxt, max(0, right_edge - conn.snd_nxt), conn.window)


def flags_of(names: Iterable[str]) -> Flags:
    """Return the control bits with these names."""
    return functools.reduce(Flags.__or__, (Flags[name] for name in names), NO_FLAGS)
