"""Run a sweep: its segments in parts, as many at once as the target takes, each part in a place of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.case.case import Case
from conformance.case.info import CaseInfo
from conformance.explore.segments import (
    DECIDING,
    FLAGS,
    WAYS,
    SweepSegment,
    Way,
    covering_segments,
    every_segment,
    flag_sets,
)
from conformance.explore.sweep import LIFTED, Swept, sweep
from conformance.judge import NotApplicable
from conformance.run.executor import Executor
from conformance.standard.profile import Profile
from conformance.target import Target
from conformance.tester.clock import Clock

_CONCURRENCY = 48
"""Places at once: more gains nothing where the machine is the limit, and an agent has descriptors for so many."""


@dataclass(frozen=True)
class Part:
    """Segments that are asked one after the other, by one case."""

    name: str
    family: int
    way: Way
    segments: tuple[SweepSegment, ...]


@dataclass
class SweepRun:
    """The outcome of a whole sweep, by family, and the parts that could not be swept, with the reason."""

    swept: dict[int, Swept] = field(default_factory=dict)
    unreached: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    interrupted: bool = False


def parts_of(family: int, *, full: bool) -> list[Part]:
    """Return the parts of a sweep over that family: every segment, or those that cover every pair of values."""
    parts = []
    for way in WAYS:
        for flags in flag_sets(FLAGS if full else DECIDING):
            name = f"ipv{family} {way}, {','.join(name for name in FLAGS if name in flags) or 'no flag'}"
            segments = every_segment(way, flags) if full else covering_segments(way, flags)
            parts.append(Part(name, family, way, tuple(segments)))
    return parts


async def run_sweep(
    target: Target, profile: Profile, parts: Sequence[Part], *, done: Callable[[int], None]
) -> SweepRun:
    """Sweep the target; `done` is told how many segments were asked. Raises HarnessFault where it can't be made ready.

    A part that can't be swept is in `unreached`; the others go on.
    """
    clock, began, result = Clock(), time.monotonic(), SweepRun()
    executor = Executor(target, clock, profile)
    try:
        places = asyncio.Semaphore(await executor.open(_CONCURRENCY))
        sysctl = LIFTED if {"settings", *(f"sysctl:{name}" for name in LIFTED)} <= target.capabilities else {}

        async def run_part(part: Part) -> None:
            async with places:
                swept = Swept()

                async def ask(tcp: Case) -> None:
                    swept.add(await sweep(tcp, part.way, part.segments))

                info = _info(part, sysctl)
                ended = await executor.used_by(info, executor.execute(info, ask, {}))
                result.swept.setdefault(part.family, Swept()).add(swept)
                if ended.raised is not None and not isinstance(ended.raised, NotApplicable):
                    result.unreached[part.name] = f"{ended.raised}".splitlines()[0]
                elif ended.raised is not None:
                    result.unreached.setdefault(f"{part.way}", str(ended.raised))
                done(len(part.segments))

        # Held from beginning to end, so that the target with the lifted limits is made once.
        await executor.used_by(_info(parts[0], sysctl), _together([run_part(part) for part in parts]))
    except asyncio.CancelledError:
        result.interrupted = True
    finally:
        result.seconds = time.monotonic() - began
        executor.close()
        await target.close()
    return result


async def _together(runs: Sequence[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*runs)


def _info(part: Part, sysctl: dict[str, str]) -> CaseInfo:
    return CaseInfo(
        id=f"sweep {part.name}",
        title="",
        description="",
        document="RFC9293",
        section="3.10.7",
        level="text",
        requirements=(),
        claims=(),
        cells=(),
        needs=(),
        lasts_s=0.0,
        quick=True,
        alone=False,
        sysctl=sysctl,
        family=part.family,
    )
