"""Our end as a receiver that loses, holds and reorders what a case prescribes, and acknowledges it as RFC 2018 has it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from conformance.case.connection import Connection
from conformance.standard.states import State
from conformance.tester.stamped import Received, Sent
from conformance.tester.variables import Offer
from conformance.wire import ACK, Seq

if TYPE_CHECKING:
    from conformance.case.case import Case

_MOST_BLOCKS = 3


class Receiver:
    """The octets of a target that have arrived by the case's account; the others are lost, or still on their way."""

    def __init__(self, conn: Connection, *, edge: Seq, sack: bool = False) -> None:
        self.conn, self.edge, self._sack = conn, edge, sack
        """`edge` is the next octet that is due: everything before it has arrived."""
        self._held: list[tuple[Seq, Seq]] = []

    def takes(self, segment: Received) -> None:
        """Count a segment as arrived."""
        start, end = segment.segment.seq, segment.segment.end
        if end <= self.edge:
            return
        apart = [one for one in self._held if one[1] < start or end < one[0]]
        for held in self._held:
            if held not in apart:
                start, end = min(start, held[0]), max(end, held[1])
        self._held = [(start, end), *apart]  # the block of the latest segment comes first (RFC 2018 section 4)
        while reached := next((one for one in self._held if one[0] <= self.edge), None):
            self._held.remove(reached)
            self.edge = max(self.edge, reached[1])

    async def acknowledge(self, *, text: str = "") -> Sent:
        """Send an ACK of all that has arrived in order, with SACK blocks for what is beyond a hole."""
        blocks = [(int(start), int(end)) for start, end in self._held[:_MOST_BLOCKS]] if self._sack else []
        return await self.conn.send(ACK, ack=self.edge, sack=blocks, text=text)

    async def answer(self, segments: Sequence[Received], *, lost: Collection[int] = ()) -> Sent | None:
        """Take the segments but for the `lost` ones (by number), each with an ACK at once; return the last ACK."""
        acked = None
        for number, segment in enumerate(segments):
            if number not in lost:
                self.takes(segment)
                acked = await self.acknowledge()
        return acked


async def sends_a_flight(
    case: Case,
    *,
    more_than: int,
    mss: int,
    queued: int,
    round_trip_s: float,
    sack: bool = False,
    after: bytes = b"",
) -> tuple[Connection, list[Received]]:
    """Return a connection and a flight of more segments than that, none acknowledged; more of `queued` waits behind it.

    Where the first flight is smaller, the congestion window is made to grow by an ACK for each segment. `after` is text that
    is sent and acknowledged before.
    """
    offer = Offer(mss=mss, sack=sack)
    conn = await case.drive_to(State.ESTABLISHED, offer=offer, round_trip_s=round_trip_s)
    await conn.app.send_by_the_book(queued * mss, congestion=True)
    if after:
        await conn.collect(after)
    await conn.app.send(bytes(queued * mss), wait=False)
    flight = await conn.expect_flight()
    while len(flight) <= more_than:
        for received in flight:
            await conn.send(ACK, ack=received.segment.end)
        flight = await conn.expect_flight()
    return conn, flight
