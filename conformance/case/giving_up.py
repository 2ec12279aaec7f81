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
    """The stamps in ns of the first transmission and its repetitions, and of what the application was told.

    `reset` is the RST with which the target took its leave, if any.
    """

    repeated_ns: tuple[int, ...]
    told_ns: int
    reset: Received | None

    @property
    def stamps_ns(self) -> tuple[int, ...]:
        """All of them, the end last."""
        return (*self.repeated_ns, self.told_ns)


async def see_given_up(
    case: Case, conn: Connection, first: Received, *, within: float, codes: Sequence[str]
) -> GivenUp:
    """See `Case.see_given_up`."""
    one = first.segment
    repeated = Expectation(one.flags & ~PSH, seq=one.seq, payload=one.payload, label="again:")
    resets = [Expectation(flags, label="given up:") for flags in (RST | ACK, RST)]
    stamps, reset = [first.at_ns], None
    waits = "connected" if one.flags & SYN else "receive"
    told = asyncio.ensure_future(conn.app.ends(*codes, wait_s=within, op=waits))
    try:
        # Once more after the application's word: the reset may come with it.
        while (done := told.done()) is False or reset is None:
            taken = await conn.allow(repeated, *resets, within=_LOOK_S, strict=True)
            if taken is not None and taken[0]:
                reset = taken[1]
            elif taken is not None:
                stamps.append(taken[1].at_ns)
            elif done:
                break
        return GivenUp(tuple(stamps), await told, reset)
    finally:
        told.cancel()
