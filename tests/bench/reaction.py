"""Measure the tester's time to answer: from the kernel's receive stamp of a segment to the transmit stamp of our answer."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from conformance.case.case import Case
from conformance.case.connection import Connection
from conformance.standard.states import State
from conformance.tester.clock import SECOND
from conformance.wire import ACK, SYN, Flags, dissect
from tests.bench.lab import Lab
from tests.bench.numbers import Number, number

_MANY, _OTHERS = 64, 16
_SETTLED_S = 0.005
_US = SECOND // 1_000_000
_STAMPS = "kernel's receive stamp of the target's segment to kernel's transmit stamp of our answer"
_OPENING = f"{_STAMPS}; SYN sent, SYN+ACK answered by ACK, all cases in the same turn of the loop"
_BUSY = f"{_OPENING}; meanwhile {_OTHERS} other cases send probes and expect their answers without a pause"
_ASLEEP = (
    f"{_STAMPS}; a process beside us sends keep-alives back to back while our loop sleeps, and we answer the answers"
)


async def measure(lab: Lab, rounds: int) -> list[Number]:
    """Reaction times in us, of `rounds` rounds with one case and a tenth of them with 64."""
    # The first rounds pay for templates and caches.
    await _opening(lab, 1, 20, prepared=True)
    await _opening(lab, 1, 20, prepared=False)
    burst = max(rounds // 10, 3)
    item, many, expected = "prepared answer, one case", "prepared answers, 64 cases", "expect, then send"
    return [
        _number("prepared", item, await _opening(lab, 1, rounds, prepared=True), _OPENING, 100),
        _number("prepared.64", many, await _opening(lab, _MANY, burst, prepared=True), _OPENING, 500),
        _number("expect", expected, await _opening(lab, 1, rounds, prepared=False), _OPENING, 250),
        _number("loaded.prepared", f"{item}, engine busy", await _loaded(lab, max(rounds // 5, 3)), _BUSY),
        _number("asleep.prepared", f"{item}, loop asleep", await _asleep(lab, 1, rounds, prepared=True), _ASLEEP),
        _number("asleep.prepared.64", f"{many}, loop asleep", await _asleep(lab, _MANY, burst, prepared=True), _ASLEEP),
        _number("asleep.expect", f"{expected}, loop asleep", await _asleep(lab, 1, rounds, prepared=False), _ASLEEP),
    ]


def _number(key: str, what: str, took: list[float], how: str, aim: float | None = None) -> Number:
    return number(f"reaction.{key}", what, "us", took, how, aim=aim)


async def _opening(lab: Lab, count: int, rounds: int, *, prepared: bool) -> list[float]:
    """`count` cases send a SYN in the same turn of the loop, and answer its answer."""
    async with lab.cases(count) as cases:
        for _ in range(rounds):
            connections = [await case.listen() for case in cases]
            await asyncio.gather(*(_opens(conn, prepared=prepared) for conn in connections))
        return [us for case in cases for us in _reactions(case, SYN | ACK)]


async def _opens(conn: Connection, *, prepared: bool) -> None:
    if prepared:
        conn.prepare(when=SYN | ACK, reply=ACK)
    await conn.send(SYN)
    await conn.expect(SYN | ACK)
    if not prepared:
        await conn.send(ACK)


async def _loaded(lab: Lab, rounds: int) -> list[float]:
    """As `_opening`, while other cases send and expect without a pause."""
    async with lab.cases(_OTHERS) as cases:
        others = [await case.drive_to(State.ESTABLISHED) for case in cases]
        busy = [asyncio.ensure_future(_without_pause(conn)) for conn in others]
        try:
            return await _opening(lab, 1, rounds, prepared=True)
        finally:
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)


async def _without_pause(conn: Connection) -> None:
    while True:
        await conn.probe()


async def _asleep(lab: Lab, count: int, rounds: int, *, prepared: bool) -> list[float]:
    """Another process sends a keep-alive, which the target must acknowledge; that acknowledgment is what we answer."""
    async with lab.cases(count) as cases:
        connections = [await case.drive_to(State.ESTABLISHED) for case in cases]
        probes = [
            lab.station.render(conn.segment(ACK, seq=conn.snd_nxt - 2, ack=conn.rcv_nxt, payload=b"\0"))
            for conn in connections
        ]
        with lab.sender() as send:
            for _ in range(rounds):
                answered = asyncio.gather(*(_answers(conn, prepared=prepared) for conn in connections))
                await asyncio.sleep(_SETTLED_S)
                send(probes)
                await answered
        return [us for case in cases for us in _reactions(case, ACK)]


async def _answers(conn: Connection, *, prepared: bool) -> None:
    if prepared:
        conn.prepare(when=ACK, reply=ACK)
    await conn.expect(ACK)
    if not prepared:
        await conn.send(ACK)


def _reactions(case: Case, flags: Flags) -> list[float]:
    """From each segment of the target with exactly those flags to the next frame of ours, in us."""
    frames = case.trace.numbered()[0]
    took = []
    for item, following in pairwise(frames):
        segment = dissect(item.data)
        if item.inbound and segment is not None and segment.flags == flags and not following.inbound:
            took.append((following.at_ns - item.at_ns) / _US)
    return took
