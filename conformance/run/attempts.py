"""Attempt a case until its verdict is to be believed: judge each attempt, and run again what is in doubt."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from conformance.case.case import Case
from conformance.case.info import CaseFunction, CaseInfo
from conformance.judge import NotApplicable, Verdict
from conformance.judge.doubt import Disturbance, Doubts, agreed, undecided, with_clock_set
from conformance.judge.judgement import judge
from conformance.record import capture_name
from conformance.run.executor import Ended, Executor
from conformance.run.failure import failure_text
from conformance.run.outcome import Outcome
from conformance.run.raised import line_of, statement_of
from conformance.run.recording import Recorder
from conformance.run.schedule import Schedule
from conformance.standard.profile import Profile
from conformance.standard.profile_rows import Deviation
from conformance.target import HarnessFault, Target
from conformance.tester.clock import SECOND, Clock
from conformance.tester.steady import set_ns
from conformance.tester.trace import Trace


class Attempts:
    """The attempts at all cases of one run."""

    def __init__(
        self,
        target: Target,
        clock: Clock,
        *,
        profile: Profile,
        executor: Executor,
        schedule: Schedule,
        recorder: Recorder,
        strict: bool,
    ) -> None:
        self._target, self._clock, self._profile, self._strict = target, clock, profile, strict
        self._executor, self._schedule, self._recorder = executor, schedule, recorder
        self._doubts = Doubts()
        self.running: dict[str, int] = {}
        """The cases that run now, and since when."""

    async def outcome_of(
        self, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]
    ) -> tuple[Outcome, Case | None]:
        """Run a case, and again when it is calm while there is a reason to doubt the verdict.

        It runs again as often as the wire asks for: a rule is broken if each attempt breaks it in the same way.
        """
        async with self._schedule.place():
            outcome, case, disturbance = await self._attempt(info, function, arguments)
        why = self._doubt(outcome, disturbance)
        if not why:
            return outcome, case
        if not self._doubts.may_run_again(outcome.judgement, disturbance, duration_s=outcome.duration_s):
            return replace(outcome, judgement=undecided(outcome.judgement, disturbance)), case
        doubted = []
        for attempt in range(self._target.wire.attempts):
            if case is not None:
                case.trace.let_go()
            async with self._schedule.again(attempt):
                outcome, case, disturbance = await self._attempt(info, function, arguments)
            outcome = replace(outcome, ran_again=why)
            if not self._doubt(outcome, disturbance):
                return outcome, case
            doubted.append((outcome.judgement, disturbance))
        return replace(outcome, judgement=agreed(doubted, why)), case

    async def _attempt(
        self, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]
    ) -> tuple[Outcome, Case | None, Disturbance]:
        self.running[info.id] = self._clock.now_ns()
        before_ns = set_ns()
        try:
            ended = await self._executor.execute(info, function, arguments)
            outcome = self._judged(info, function, ended)
        finally:
            self.running.pop(info.id)
        if ended.case is not None:
            self._recorder.count(ended.case.trace.frames)
        if not self._target.virtual:
            judgement = with_clock_set(outcome.judgement, (set_ns() - before_ns) / SECOND)
            outcome = replace(outcome, judgement=judgement)
        return outcome, ended.case, self._disturbance(ended)

    def _disturbance(self, ended: Ended) -> Disturbance:
        """Return what got in the way of an attempt; in virtual time nothing is late or lost."""
        trace = ended.case.trace if ended.case is not None else Trace()
        during = ended.started_ns, ended.ended_ns
        return Disturbance(
            late_s=0.0 if self._target.virtual else self._clock.jitter.worst_s(*during),
            lost=0 if self._target.virtual else self._clock.jitter.lost_between(*during),
            fault=trace.fault,
            silence=any(step.kind == "silence" for step in trace.steps),
        )

    def _judged(self, info: CaseInfo, function: CaseFunction, ended: Ended) -> Outcome:
        case = ended.case
        raised = statement_of(ended.raised, function, self._target.name)
        own, may_show = _deviations(self._profile, info)
        judgement = judge(raised, info.level, strict=self._strict, own=own, may_show=may_show)
        line = raised and line_of(raised, function)
        failed_at = f"{info.file or function.__code__.co_filename}:{line}" if line else ""
        seen = [state.state for state in case.trace.states if state.side == "target"] if case is not None else []
        return Outcome(
            info,
            judgement,
            failure_text(info, case, raised, failed_at),
            ended.started_ns,
            (ended.ended_ns - ended.started_ns) / SECOND,
            capture=capture_name(info.id) if case is not None and case.trace.frames else None,
            states=tuple(state for state, _ in itertools.groupby(seen)),
            raised_itself=judgement.verdict is Verdict.ERROR and not isinstance(raised, HarnessFault),
            failed_at=failed_at,
            declared=self._target.declared.get(raised.capability, "") if isinstance(raised, NotApplicable) else "",
        )

    def _doubt(self, outcome: Outcome, disturbance: Disturbance) -> str:
        """Return why the outcome is not to be believed yet, "" where it is."""
        wire = self._target.wire
        return self._doubts.why(
            outcome.judgement,
            disturbance,
            wire=str(wire) if wire.faulty else "",
            raised_itself=outcome.raised_itself,
        )


def _deviations(profile: Profile, info: CaseInfo) -> tuple[tuple[Deviation, ...], tuple[Deviation, ...]]:
    """Return the known deviations that a case has to show, and those that it may show: where it has none, its rows'.

    A case may check a row in a way that the target does right: only its own deviations have to show. Nor has one to
    show that is only in the way of what the case checks.
    """
    ids = info.id, info.id.rpartition("::")[2].partition("[")[0], info.generated_from
    own = profile.deviations_of(*ids)
    return own, (*(own or profile.deviations_of(*info.cells)), *profile.deviations_in_the_way_of(*ids))
