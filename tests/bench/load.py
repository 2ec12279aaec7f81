"""Measure the cost of a waiting case, and the engine's segments in a second."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from contextlib import AsyncExitStack
from pathlib import Path

from conformance.case.case import Case
from conformance.case.connection import Connection
from conformance.standard.states import State
from tests.bench.lab import Lab
from tests.bench.numbers import Number, number

_BATCHES = 5
_WARM_UP = 20
_PROBES, _AT_ONCE = 20, 16


async def measure_memory(lab: Lab, cases: int) -> list[Number]:
    """KiB for each case that waits; measured before all else, while no freed memory lies about."""
    grown: list[float] = []
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        waiting: list[asyncio.Task[None]] = []
        for size in [_WARM_UP] + [cases // _BATCHES] * _BATCHES:
            before = _resident_kib()
            ready = asyncio.Barrier(size + 1)
            for case in await stack.enter_async_context(lab.cases(size)):
                waiting.append(group.create_task(_waits(case, ready)))
            await ready.wait()
            grown.append((_resident_kib() - before) / size)
        for task in waiting:
            task.cancel()
    return [
        number(
            "memory.case",
            "memory of a waiting case",
            "KiB",
            grown[1:],
            f"growth of the resident set by {cases // _BATCHES} cases at a time, each with a connection in ESTABLISHED and "
            "an `await sleep`, divided; without agent and target",
        )
    ]


async def _waits(case: Case, ready: asyncio.Barrier) -> None:
    await case.drive_to(State.ESTABLISHED)
    await ready.wait()
    await case.sleep(3600)


def _resident_kib() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


async def measure_rate(lab: Lab, batches: int) -> list[Number]:
    """Segments a second through one engine, as cases send and expect them."""
    rates: list[float] = []
    async with lab.cases(_AT_ONCE) as cases:
        connections = [await case.drive_to(State.ESTABLISHED) for case in cases]
        for _ in range(batches):
            started = time.perf_counter()
            await asyncio.gather(*(_probes(conn) for conn in connections))
            rates.append(2 * _PROBES * _AT_ONCE / (time.perf_counter() - started))
    return [
        number(
            "rate.segments",
            "segments through the engine",
            "1/s",
            rates,
            f"{_AT_ONCE} cases send {_PROBES} probes each and expect their answers: segments both ways over wall time",
            more_is_better=True,
        )
    ]


async def _probes(conn: Connection) -> None:
    for _ in range(_PROBES):
        await conn.probe()
