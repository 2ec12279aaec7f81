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
# A case runs again when the tester was on time for so long, or after so many such times.
_CALM_S, _MOST_ASKED = 1.0, 20


class Schedule:
    """The places of a run's cases, and how many were submitted, have begun and have ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # `_submitted` is written by the thread that submits alone, the others by the engine's.
        self._submitted = self._begun = self._ended = 0

    def open(self, places: int, *, virtual: bool) -> None:
        """Make so many places; called on the engine's loop. In `virtual` time no case makes another late."""
        self._virtual = virtual
        self._case_ended, self._beginning, self._by_itself = asyncio.Condition(), asyncio.Lock(), asyncio.Lock()
        self._places = asyncio.Semaphore(places)

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
    async def by_itself(self, attempt: int) -> AsyncIterator[None]:
        """Hold the one place for cases that run again: the first time when it is calm, then when all other cases have ended."""
        await (self._all_ended() if attempt else self._calm())
        async with self._by_itself:
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
        """Wait until the cases that still run do little but wait."""
        while self._begun < self._submitted:
            await asyncio.sleep(_CALM_S)
        for _ in range(_MOST_ASKED):
            since_ns = self._clock.now_ns()
            await asyncio.sleep(_CALM_S)
            if self._clock.jitter.worst_s(since_ns, self._clock.now_ns()) < LATE_S:
                break

    async def _all_ended(self) -> None:
        async with self._case_ended:
            await self._case_ended.wait_for(lambda: self._ended == self._submitted)
