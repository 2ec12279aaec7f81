"""The clock that cases wait by."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from conformance.tester.jitter import Jitter
from conformance.tester.steady import set_ns, steady_ns

SECOND = 1_000_000_000


class Clock:
    """Time in ns since the epoch, of which `now_ns` tells; the loop's timers have to run by the same clock.

    Real time is the scale of the kernel's stamps, but goes on as it was when the machine's clock is set: then `of_stamp`
    says what a stamp is on it. With a stack that has a clock of its own it is that one's, and the loop that of
    `conformance.target.virtual`. `deadlines` holds what is being waited for, so that the run can say when the last
    timer ends; `jitter` how late we were.
    """

    def __init__(self, now_ns: Callable[[], int] = steady_ns, *, jitter: Jitter | None = None) -> None:
        self.now_ns, self.jitter = now_ns, jitter or Jitter()
        self._real = now_ns is steady_ns
        self.deadlines: set[tuple[int, int]] = set()
        self._waits = 0

    def of_stamp(self, at_ns: int) -> int:
        """Return the time of a stamp that the kernel or an agent made just now."""
        return at_ns - set_ns() if self._real else at_ns

    async def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        await self.sleep_until(self.now_ns() + round(seconds * SECOND))

    async def sleep_until(self, at_ns: int) -> None:
        """Wait until that time; at once where it is past."""
        with self._waiting(at_ns):
            while (left := at_ns - self.now_ns()) > 0:
                await asyncio.sleep(left / SECOND)

    async def wait(self, event: asyncio.Future[None], until_ns: int) -> bool:
        """Wait for `event`, but not longer than `until_ns`; whether it came."""
        with self._waiting(until_ns):
            left = max(0, until_ns - self.now_ns())
            done, _ = await asyncio.wait({event}, timeout=left / SECOND)
        return bool(done)

    @contextmanager
    def _waiting(self, until_ns: int) -> Iterator[None]:
        self._waits += 1
        wait = (until_ns, self._waits)
        self.deadlines.add(wait)
        try:
            yield
        finally:
            self.deadlines.discard(wait)
