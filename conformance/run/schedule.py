"""Decide when a case begins: how many run at once, one after the other at the start, and again only when it is calm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from conformance.judge.doubt import LATE_S
from conformance.tester.clock import Clock

# A case begins when the loop's last round took no more CPU time than this and was on time, or after so many pauses.
_ROUND_S, _BEHIND_S, _PAUSE_S, _MOST_PAUSES = 0.002, 0.02, 0.005, 20
# A case runs again when the tester was on time for so long. Where that is never so, the run waits for it so often in all.
_CALM_S, _MOST_WAITS, _MOST_AGAIN = 0.2, 100, 32


class Schedule:
    """The places of a run's cases, and how many were submitted, have begun and have ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # `_submitted` is written by the thread that submits alone, the others by the engine's.
        self._submitted = self._begun = self._ended = 0

    def open(self, places: int, *, virtual: bool) -> None:
        """Make so many places; called on the engine's loop. In `virtual` time no case makes another late."""
        self._virtual = virtual
        self._case_ended, self._beginning, self._beginning_again = asyncio.Condition(), asyncio.Lock(), asyncio.Lock()
        self._places = asyncio.Semaphore(places)
        # A target that takes few cases at once takes no more for those that run again.
        self._places_again = self._places if places <= _MOST_AGAIN else asyncio.Semaphore(_MOST_AGAIN)
        self._waits_left = _MOST_WAITS

    def submitted(self) -> None:
        """Count a case that will ask for a place."""
        self._submitted += 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for a case's first attempt; what is raised in it, or while waiting for it, ends the case."""
        try:
            async with self._places:
                await self._begin()
                yield
        finally:
            async with self._case_ended:
                self._ended += 1
                self._case_ended.notify_all()

    @asynccontextmanager
    async def again(self, attempt: int) -> AsyncIterator[None]:
        """Hold a place for a case that runs again: the first time when it is calm, then when all other cases have ended, too.

        Such cases begin one after the other, each when those before it do little but wait.
        """
        if attempt:
            await self._all_ended()
        async with self._places_again:
            async with self._beginning_again:
                await self._calm()
            yield

    async def _begin(self) -> None:
        """Wait until the loop keeps up with the cases that run: many that begin at the same instant make each other late."""
        async with self._beginning:
            for _ in range(0 if self._virtual else _MOST_PAUSES):
                began_s = time.thread_time()
                await asyncio.sleep(0)
                if time.thread_time() - began_s < _ROUND_S and self._clock.jitter.behind_s() < _BEHIND_S:
                    break
                await asyncio.sleep(_PAUSE_S)
            self._begun += 1

    async def _calm(self) -> None:
        """Wait until the tester was on time for a while, with all that runs beside."""
        late = not self._virtual
        while late:
            since_ns = self._clock.now_ns()
            await asyncio.sleep(_CALM_S)
            late = self._clock.jitter.worst_s(since_ns, self._clock.now_ns()) >= LATE_S and self._waits_left > 0
            self._waits_left -= late

    async def _all_ended(self) -> None:
        async with self._case_ended:
            await self._case_ended.wait_for(lambda: self._ended == self._submitted)
