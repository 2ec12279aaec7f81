"""A path with a narrow link: what is too big for it does not arrive, and its router says so, or not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from conformance.case.connection import Connection
from conformance.judge import Expectation, Violation
from conformance.tester.stamped import Received, Sent
from conformance.wire import ACK, Segment, icmp

if TYPE_CHECKING:
    from conformance.case.case import Case

_QUIET_S = 5.0
# No estimate of a path's MTU has to go so low that data needs more (RFC 1191, 3: never below 68 octets).
_MOST_PACKETS = 400


def size_of(segment: Segment) -> int:
    """Octets of the IP packet that carries the segment without IP options."""
    assert segment.data_offset is not None
    return (40 if ":" in segment.src else 20) + segment.data_offset * 4 + len(segment.payload)


@dataclass
class Path:
    """The path from the target to us, whose narrowest link carries packets of `mtu` octets.

    A larger packet is dropped by the router before that link, unless it may be fragmented. With `tells` the router says so,
    and that its link's MTU is `claims` (unset: what it is).
    """

    case: Case
    conn: Connection
    mtu: int
    tells: bool = True
    claims: int | None = None
    carried: list[Received] = field(default_factory=list)
    dropped: list[Received] = field(default_factory=list)
    told_ns: list[int] = field(default_factory=list)
    """When each ICMP error left."""
    acks: list[Sent] = field(default_factory=list)

    async def deliver(self, data: bytes, *, within: float = _QUIET_S) -> None:
        """Take what the target sends, and acknowledge what arrives, until that data has. Raises Violation, of tiny packets too.

        `within` is the longest time without any segment of it, in seconds.
        """
        conn = self.conn
        start = conn.acked
        arrived, beyond, count = bytearray(), dict[int, bytes](), 0
        while len(arrived) < len(data):
            taken = await conn.allow(Expectation(ACK), within=within, strict=True)
            if taken is None:
                raise Violation(
                    f"{len(arrived)} of {len(data)} octets arrived over a path of {self.mtu} octets, then nothing"
                )
            received = taken[1]
            if size_of(received.segment) > self.mtu and received.ip.dont_fragment:
                await self._drop(received)
                continue
            self.carried.append(received)
            count += 1
            if count > _MOST_PACKETS:
                size = size_of(received.segment)
                raise Violation(
                    f"{len(arrived)} of {len(data)} octets arrived in {count} packets, the last of {size} octets"
                )
            at = received.segment.seq - start
            beyond[at] = max(beyond.get(at, b""), received.segment.payload, key=len)
            _join(arrived, beyond)
            self.acks.append(await conn.send(ACK, ack=start + len(arrived)))
        if arrived != data:
            raise Violation(f"{len(arrived)} octets arrived, which are not what the application sent")

    async def _drop(self, received: Received) -> None:
        self.dropped.append(received)
        received.frame.comment = f"too big for a link of {self.mtu} octets"
        if self.tells:
            claimed = self.mtu if self.claims is None else self.claims
            frame = await self.conn.send_icmp(icmp.FRAGMENTATION_NEEDED, quoting=received, rest=claimed)
            self.told_ns.append(frame.at_ns)


def _join(arrived: bytearray, beyond: dict[int, bytes]) -> None:
    """Move what is no longer behind a hole from `beyond`, where it is by its place, to the end of `arrived`."""
    while fits := [at for at in beyond if at <= len(arrived)]:
        for at in fits:
            arrived += beyond.pop(at)[len(arrived) - at :]
