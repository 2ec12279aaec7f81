"""Targets with changed settings: cases that change the same ones share one, which is closed with the last of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from conformance.target import Target
from conformance.tester.clock import Clock
from conformance.tester.station import Station
from conformance.tester.trace import Room

Key = frozenset[tuple[str, str]]
Result = TypeVar("Result")


class ChangedTargets:
    """The changed targets of one run; `target` itself keeps its own settings."""

    def __init__(self, target: Target, clock: Clock, room: Room) -> None:
        self._target, self._clock, self._room = target, clock, room
        self._users: Counter[Key] = Counter()
        self._made: dict[Key, asyncio.Task[Station]] = {}

    async def used_by(self, sysctl: Mapping[str, str], case: Coroutine[Any, Any, Result]) -> Result:
        """Await `case`, which may call `station` with these settings, and close their target after the last such case."""
        key = frozenset(sysctl.items())
        self._users[key] += 1
        try:
            return await case
        finally:
            self._users[key] -= 1
            made = None if self._users[key] else self._made.pop(key, None)
            if made is not None and not made.cancelled() and made.exception() is None:
                await made.result().target.close()

    async def station(self, sysctl: Mapping[str, str]) -> Station:
        """The tester's end of a target with these settings on top. Raises HarnessFault."""
        key = frozenset(sysctl.items())
        if key not in self._made:
            self._made[key] = asyncio.create_task(self._make(sysctl))
        return await asyncio.shield(self._made[key])

    async def _make(self, sysctl: Mapping[str, str]) -> Station:
        return Station(await self._target.alone(sysctl), self._clock, room=self._room)
