"""The segments that take a connection on, one of each kind, for cases that vary one thing about all of them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from conformance.case.connection import Connection
from conformance.case.steps import app_reads
from conformance.standard.states import State
from conformance.wire import ACK, FIN, PSH, RST, SYN, Flags

_DATA = b"what a segment carries goes to the application"


class Kind(NamedTuple):
    """A segment of ours: the state of the target that it is for, its answer (None: nothing), and the state it leads to.

    The target opens passively, but for SYN-SENT.
    """

    state: State
    flags: Flags
    payload: bytes
    answer: Flags | None
    then: State

    async def is_taken(self, conn: Connection, **fields: Any) -> None:
        """Send it (`fields` as of `Connection.segment`); see its answer, the state, and the data delivered. Raises Violation."""
        await conn.send(self.flags, payload=self.payload, **fields)
        if self.answer is not None:
            seq = None if self.state is State.LISTEN else conn.rcv_nxt
            await conn.expect(self.answer, seq=seq, ack=conn.snd_nxt, length=0)
        await self.confirm(conn, self.then)
        if self.payload:
            await app_reads(conn, self.payload)

    @staticmethod
    async def confirm(conn: Connection, state: State) -> None:
        """See that the target is in `state`. In SYN-RECEIVED the probe would acknowledge its SYN, so its word alone counts."""
        await conn.confirm(state, probe=state is not State.SYN_RECEIVED)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "syn": Kind(State.LISTEN, SYN, b"", SYN | ACK, State.SYN_RECEIVED),
        "syn-ack": Kind(State.SYN_SENT, SYN | ACK, b"", ACK, State.ESTABLISHED),
        "third-ack": Kind(State.SYN_RECEIVED, ACK, b"", None, State.ESTABLISHED),
        "data": Kind(State.ESTABLISHED, ACK | PSH, _DATA, ACK, State.ESTABLISHED),
        "odd-data": Kind(State.ESTABLISHED, ACK | PSH, _DATA[1:], ACK, State.ESTABLISHED),
        "fin": Kind(State.ESTABLISHED, FIN | ACK, b"", ACK, State.CLOSE_WAIT),
        "data-and-fin": Kind(State.ESTABLISHED, FIN | ACK, _DATA, ACK, State.CLOSE_WAIT),
        "rst": Kind(State.ESTABLISHED, RST, b"", None, State.CLOSED),
        "ack-of-fin": Kind(State.FIN_WAIT_1, ACK, b"", None, State.FIN_WAIT_2),
        "last-ack": Kind(State.LAST_ACK, ACK, b"", None, State.CLOSED),
    }
)
"""By name; of data there is an even and an odd number of octets."""
