"""Watch the target give up a connection whose peer is silent: by R2, by user timeout, by keep-alives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.judge import Expectation
from conformance.wire import ACK, PSH, RST, SYN

if TYPE_CHECKING:
    from conformance.case.case import Case
    from conformance.case.connection import Connection
    from conformance.tester.stamped import Received

_LOOK_S = 0.25


@dataclass(frozen=True)
class GivenUp:
    """The stamps in ns of the first transmission, its repetitions, and the application's error.

    `reset` is the RST that the target sent at the end, if any.
    """

    repeated_ns: tuple[int, ...]
    ended_ns: int
    reset: Received | None

    @property
    def stamps_ns(self) -> tuple[int, ...]:
        """All of them, the end last."""
        return (*self.repeated_ns, self.ended_ns)


async def see_given_up(
    case: Case, conn: Connection, first: Received, *, within: float, codes: Sequence[str]
) -> GivenUp:
    """See `Case.see_given_up`."""
    segment = first.segment
    repeated = Expectation(segment.flags & ~PSH, seq=segment.seq, payload=segment.payload, label="again:")
    resets = [Expectation(flags, label="given up:") for flags in (RST | ACK, RST)]
    stamps, reset = [first.at_ns], None
    waits = "connected" if segment.flags & SYN else "receive"
    ended = asyncio.ensure_future(conn.app.ends(*codes, wait_s=within, op=waits))
    try:
        # Look once more after the application's error: the reset may arrive with it.
        while (done := ended.done()) is False or reset is None:
            taken = await conn.allow(repeated, *resets, within=_LOOK_S, strict=True)
            if taken is not None and taken[0]:
                reset = taken[1]
            elif taken is not None:
                stamps.append(taken[1].at_ns)
            elif done:
                break
        return GivenUp(tuple(stamps), await ended, reset)
    finally:
        ended.cancel()
