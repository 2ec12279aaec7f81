"""A link that delays, loses and reorders frames as a worse wire would, to see what the harness makes of one."""

from __future__ import annotations

import asyncio
import random
import time

from conformance.link import FaultHandler, FrameHandler, Heard, Link, LinkError, Wire
from conformance.wire.ip import is_neighbour_discovery
from conformance.wire.layout import layout

# How much longer than the others a frame is on its way that comes out of order.
_BEHIND_S = 0.005


class ImpairedLink:
    """Both ways of a link through `wire`; neighbour discovery gets through unharmed. See `Link`."""

    def __init__(self, link: Link, wire: Wire, *, seed: int | None = None) -> None:
        self.mac = link.mac
        self._link, self._wire = link, wire
        self._random = random.Random(seed)

    def open(self, on_frame: FrameHandler, on_fault: FaultHandler) -> None:
        """As the link beneath."""
        self._on_frame, self._on_fault = on_frame, on_fault
        self._loop = asyncio.get_running_loop()
        self._link.open(self._came, on_fault)

    def send(self, frame: bytes) -> int:
        """As the link beneath; what is late or lost has the time of the call as its stamp. Raises LinkError."""
        late_s = self._late_s(frame)
        if late_s == 0:
            return self._link.send(frame)
        if late_s is not None:
            self._loop.call_later(late_s, self._send_late, frame)
        return -time.time_ns()

    async def sent_at(self, number: int) -> int:
        """As the link beneath."""
        return -number if number < 0 else await self._link.sent_at(number)

    def heard(self) -> Heard:
        """As the link beneath: what the wire itself loses is not counted."""
        return self._link.heard()

    def close(self) -> None:
        """As the link beneath."""
        self._link.close()

    def _late_s(self, frame: bytes) -> float | None:
        """Return how many seconds a frame takes, None for one that is lost."""
        place = layout(frame)
        if place is None or is_neighbour_discovery(frame, place):
            return 0.0
        if self._random.random() < self._wire.loss:
            return None
        return self._wire.delay_s + (_BEHIND_S if self._random.random() < self._wire.reorder else 0.0)

    def _send_late(self, frame: bytes) -> None:
        try:
            self._link.send(frame)
        except LinkError as error:
            self._on_fault(str(error))

    def _came(self, frame: bytes, at_ns: int, mark: str = "") -> None:
        late_s = self._late_s(frame)
        if late_s == 0:
            self._on_frame(frame, at_ns, mark)
        elif late_s is not None:
            self._loop.call_later(late_s, self._on_frame, frame, at_ns + round(late_s * 1_000_000_000), mark)
