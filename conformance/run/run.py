"""One run: the target made ready, every case run on the engine, judged and recorded on its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conformance.case.info import CaseFunction, CaseInfo
from conformance.run.attempts import Attempts
from conformance.run.engine import Engine
from conformance.run.executor import Executor
from conformance.run.outcome import Outcome
from conformance.run.recording import Recorder
from conformance.run.schedule import Schedule
from conformance.standard.profile import profile
from conformance.target import Target
from conformance.tester.clock import SECOND, Clock

_GIVE_UP_S = 1.0
"""The cases of a run that is given up may take so long to let go of the target."""


class Run:
    """The engine, the schedule, the executor, the attempts and the record of one run, joined."""

    def __init__(self, target: Target, *, output: Path, concurrency: int, strict: bool, command: str) -> None:
        self.target, self.output, self.concurrency = target, output, concurrency
        self.engine = Engine()
        self.clock = Clock(jitter=self.engine.jitter)
        self._cases: set[asyncio.Task[Any]] = set()
        self.done = 0
        """The number of cases that are recorded."""
        known = profile(target.profile)
        self._schedule = Schedule(self.clock)
        self._executor = Executor(target, self.clock, known)
        self._recorder = Recorder(output, target, self.engine.jitter, command)
        self._attempts = Attempts(
            target,
            self.clock,
            profile=known,
            executor=self._executor,
            schedule=self._schedule,
            recorder=self._recorder,
            strict=strict,
        )

    @property
    def problems(self) -> list[str]:
        """Faults of the record itself, one line each."""
        return self._recorder.problems

    @property
    def running(self) -> dict[str, int]:
        """The cases that run now, and since when."""
        return self._attempts.running

    def start(self) -> None:
        """Make the target ready. Raises HarnessFault, in one line."""
        self.engine.start()
        self.engine.submit(self._open()).result()

    def open_record(self) -> None:
        """Make the folder ready for the first case. Raises RecordError."""
        self._recorder.open()

    async def _open(self) -> None:
        places = await self._executor.open(self.concurrency)
        self._schedule.open(places, virtual=self.target.virtual)
        self._recorder.note_seed(self._executor.seed)

    def stop(self) -> None:
        """Cancel what runs, and leave nothing behind. A case that is cancelled is not recorded: it has no verdict."""
        try:
            self.engine.submit(self._give_up()).result(_GIVE_UP_S + 1)
            self.engine.submit(self.target.close()).result(30)
        finally:
            self.engine.stop()
            self._executor.close()
            self._recorder.close()

    def submit(
        self, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]
    ) -> concurrent.futures.Future[Outcome]:
        """Start a case as soon as there is a place for it."""
        self._schedule.submitted()
        return self.engine.submit(self._case(info, function, arguments))

    def last_timer_s(self) -> float:
        """Return the seconds until the last wait that is under way now ends."""
        ends = [until for until, _ in tuple(self.clock.deadlines)]
        return max(0.0, (max(ends, default=0) - self.clock.now_ns()) / SECOND)

    async def _case(self, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]) -> Outcome:
        """Run a case as one of those that `stop` cancels."""
        task = asyncio.current_task()
        assert task is not None
        self._cases.add(task)
        try:
            return await self._executor.used_by(info, self._run(info, function, arguments))
        finally:
            self._cases.discard(task)

    async def _give_up(self) -> None:
        """Cancel the cases while the target still answers: each takes back what it has opened there."""
        for task in self._cases:
            task.cancel()
        if self._cases:
            await asyncio.wait(self._cases, timeout=_GIVE_UP_S)

    async def _run(self, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]) -> Outcome:
        """Run, judge and record a case. Writing it takes a thread of its own: a slow disk must not hold the loop."""
        outcome, case = await self._attempts.outcome_of(info, function, arguments)
        writing = asyncio.get_running_loop().run_in_executor(None, self._recorder.record, outcome, case)
        await asyncio.shield(writing)  # a case that has its verdict is recorded, even if the run is given up meanwhile
        if case is not None:
            case.trace.let_go()
        self.done += 1
        return outcome
