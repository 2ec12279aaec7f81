"""One run: the target made ready, every case run on the engine, judged and recorded on its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import random
import re
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from conformance.case.case import Case
from conformance.case.info import CaseInfo
from conformance.case.negotiated import NAMES, negotiated
from conformance.judge import Inconclusive, NotApplicable, Verdict, Violation
from conformance.judge.verdict import verdict_of
from conformance.record import capture_name
from conformance.run.changed import ChangedTargets
from conformance.run.engine import Engine
from conformance.run.outcome import Outcome
from conformance.run.recording import Recorder
from conformance.standard.profile import Deviation, Profile, profile
from conformance.target import App, AppError, HarnessFault, Target, TargetGone
from conformance.tester.clock import SECOND, Clock
from conformance.tester.station import Station
from conformance.tester.steady import set_ns
from conformance.tester.trace import told

_T = TypeVar("_T")
_MOST_VIRTUAL = 4
# What violates while we were as late as that is tried again, up to so many cases, and until they took so long: a target that is
# broken need not be run twice.
_LATE_S, _MOST_DOUBTED, _LONGEST_DOUBTED_S = 0.02, 100, 240
# A case begins when the loop came round with no more work than that (CPU time) and is on time, or was asked so many times.
_ROUND_S, _BEHIND_S, _PAUSE_S, _MOST_PAUSES = 0.002, 0.02, 0.005, 20
# A case is tried again when the tester was on time for so long, or was asked so many times whether it was.
_CALM_S, _MOST_ASKED = 1.0, 20
_BROKEN = (Verdict.VIOLATES, Verdict.BREAKS_SHOULD)
CaseFunction = Callable[..., Coroutine[Any, Any, None]]
# What a socket call says of the connection itself; every other failure of a call is the harness's own.
_CONNECTION_CODES = frozenset(
    {
        "timeout",
        "ECONNREFUSED",
        "ECONNRESET",
        "ECONNABORTED",
        "EPIPE",
        "ENOTCONN",
        "ETIMEDOUT",
        "EHOSTUNREACH",
        "ENETUNREACH",
    }
)


# What a call says of the target's application.
_LACKING = {"ENOPROTOOPT": "socket option", "unknown-op": "call of the application"}

# Times, and numbers that are somewhere else in every run.
_NUMBERS = re.compile(r"\d+\.\d+|\d{6,}")


@dataclass(frozen=True)
class _Done:
    """A case that has ended, and what it raised; times are of the case's clock."""

    case: Case | None
    raised: BaseException | None
    started_ns: int
    ended_ns: int


class Run:
    """All that the cases of one run share."""

    def __init__(self, target: Target, *, output: Path, concurrency: int, strict: bool, command: str) -> None:
        self.target, self.output, self.concurrency, self.strict = target, output, concurrency, strict
        self.engine = Engine()
        self.clock = Clock(jitter=self.engine.jitter)
        self._changed = ChangedTargets(target, self.clock)
        self.profile: Profile = profile(target.profile)
        self.seed = random.getrandbits(32)
        """Of the tester's own random numbers."""
        self.running: dict[str, int] = {}
        self.done = 0
        # One is written by pytest's thread alone, the other by the engine's.
        self._submitted = self._begun = self._ended = self._doubted = 0
        self._doubted_s = 0.0
        self._recorder = Recorder(output, target, self.engine.jitter, command)
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None

    @property
    def problems(self) -> list[str]:
        """What went wrong with the record itself, one line each."""
        return self._recorder.problems

    def start(self) -> None:
        """Make the target ready. Raises HarnessFault, in one line."""
        self.engine.start()
        self.engine.submit(self._open()).result()

    def open_record(self) -> None:
        """Make the folder ready for the first case. Raises RecordError."""
        self._recorder.open()

    async def _open(self) -> None:
        self._case_ended, self._beginning, self._by_itself = asyncio.Condition(), asyncio.Lock(), asyncio.Lock()
        await self.target.open()
        if self.target.virtual:
            self.seed = 0  # the same run twice is the same to the last bit
        self._recorder.facts["seed"] = self.seed
        places = min(self.concurrency, self.target.concurrency or self.concurrency)
        if not self.target.isolated:
            self.station = Station(self.target, self.clock, seed=self.seed)
            await self._look(self.station)
        else:
            instance = await self.target.alone({})
            if instance.machine is not None:
                # In virtual time nothing waits: more at once than the machine can run gains nothing.
                places = min(places, _MOST_VIRTUAL)
                self._threads = concurrent.futures.ThreadPoolExecutor(places, "tcp-conformance case")
            await self._in_time_of(instance, lambda: self._look(self._station_at(instance)))
            await instance.close()
        self._places = asyncio.Semaphore(places)

    async def _look(self, station: Station) -> None:
        """See that the target answers, and what it agrees to where its hello names none of that. Raises TargetGone."""
        await station.check_reachable()
        can = self.target.capabilities
        if "app" in can and can.isdisjoint(NAMES):
            family = 4 if "ipv4" in can else 6
            case = Case(
                station=station, target=station.target, profile=self.profile, clock=station.clock, family=family
            )
            try:
                await case.open()
                self.target.capabilities = can | await negotiated(case)
            finally:
                await case.close()

    def _station_at(self, target: Target) -> Station:
        """The tester at an instance of the target, by that one's clock."""
        clock = self.clock if target.machine is None else Clock(target.machine.now_ns)
        return Station(target, clock, seed=self.seed)

    async def _in_time_of(self, target: Target, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run `work` by the clock of that instance: here, or in a thread where that clock is the stack's own."""
        machine = target.machine
        if machine is None:
            return await work()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: machine.run(work))
        except asyncio.CancelledError:
            machine.stop()
            raise

    def stop(self) -> None:
        """Cancel what runs, leave nothing behind."""
        try:
            self.engine.submit(self.target.close()).result(30)
        finally:
            self.engine.stop()
            if self._threads is not None:
                self._threads.shutdown()
            self._recorder.close()

    def submit(
        self, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]
    ) -> concurrent.futures.Future[Outcome]:
        """Start a case as soon as there is a place for it."""
        self._submitted += 1
        return self.engine.submit(self._changed.used_by(info.sysctl, self._run(info, function, arguments)))

    def last_timer_s(self) -> float:
        """Seconds until the last wait that is under way now ends."""
        ends = [until for until, _ in tuple(self.clock.deadlines)]
        return max(0.0, (max(ends, default=0) - self.clock.now_ns()) / SECOND)

    async def _run(self, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]) -> Outcome:
        """Run, judge and record a case; what gave no sure verdict runs again by itself."""
        try:
            async with self._places:
                await self._begin()
                outcome, case = await self._attempt(info, function, arguments)
        finally:
            async with self._case_ended:
                self._ended += 1
                self._case_ended.notify_all()
        if why := self._unsure(outcome):
            outcome, case = await self._again(info, function, arguments, why)
        await asyncio.get_running_loop().run_in_executor(None, self._recorder.record, outcome, case)
        self.done += 1
        return outcome

    async def _begin(self) -> None:
        """Wait until the loop keeps up with the cases that run: many that begin in the same instant make each other late."""
        async with self._beginning:
            for _ in range(0 if self.target.virtual else _MOST_PAUSES):
                began_s = time.thread_time()
                await asyncio.sleep(0)
                if time.thread_time() - began_s < _ROUND_S and self.clock.jitter.behind_s() < _BEHIND_S:
                    break
                await asyncio.sleep(_PAUSE_S)
            self._begun += 1

    async def _calm(self) -> None:
        """Wait until those cases that still run do little but wait."""
        while self._begun < self._submitted:
            await asyncio.sleep(_CALM_S)
        for _ in range(_MOST_ASKED):
            since_ns = self.clock.now_ns()
            await asyncio.sleep(_CALM_S)
            if self.clock.jitter.worst_s(since_ns, self.clock.now_ns()) < _LATE_S:
                break

    async def _others_ended(self) -> None:
        async with self._case_ended:
            await self._case_ended.wait_for(lambda: self._ended == self._submitted)

    async def _again(
        self,
        info: CaseInfo,
        function: CaseFunction,
        arguments: Mapping[str, Any],
        why: str,
    ) -> tuple[Outcome, Case | None]:
        """Run a case that was unsure again, as soon as all is calm and then when all others have ended.

        As often as its reason asks for: broken is what then breaks in the same way every time.
        """
        tried: list[Outcome] = []
        for attempt in range(self.target.wire.attempts):
            await (self._others_ended() if attempt else self._calm())
            async with self._by_itself:
                outcome, case = await self._attempt(info, function, arguments)
            outcome = replace(outcome, ran_again=why)
            if not self._unsure(outcome):
                return outcome, case
            tried.append(outcome)
        for other in tried:
            if other.verdict is not outcome.verdict or not _alike(other.message, outcome.message):
                message = f"broken in one way ({other.message}), then in another ({outcome.message}): {why}"
                return replace(outcome, verdict=Verdict.INCONCLUSIVE, message=message, deviation=None), case
        return outcome, case

    def _unsure(self, outcome: Outcome) -> str:
        """Why a verdict is not to be believed yet: it is none, or something else than the target may have broken the rule."""
        if outcome.verdict is Verdict.INCONCLUSIVE:
            return outcome.message
        broken = outcome.verdict in _BROKEN
        # What the wire has lost may be what a case takes for granted.
        if self.target.wire.faulty and (broken or outcome.stopped_deviating or outcome.raised_itself):
            return f"on a wire that {self.target.wire}: {outcome.message}"
        if not broken:
            return ""
        ended_ns = outcome.started_ns + round(outcome.duration_s * SECOND)
        late_s = 0.0 if self.target.virtual else self.clock.jitter.worst_s(outcome.started_ns, ended_ns)
        if late_s < _LATE_S or self._doubted == _MOST_DOUBTED or self._doubted_s > _LONGEST_DOUBTED_S:
            return ""
        self._doubted += 1
        self._doubted_s += outcome.duration_s
        return f"the tester itself was up to {late_s:.3f} s late: {outcome.message}"

    async def _attempt(
        self, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]
    ) -> tuple[Outcome, Case | None]:
        self.running[info.id] = self.clock.now_ns()
        before_ns = set_ns()
        try:
            done = await self._execute(info, function, arguments)
            outcome = self._judged(info, function, done)
        finally:
            self.running.pop(info.id)
        if done.case is not None:
            self._recorder.count(done.case.trace.frames)
        by_s = (set_ns() - before_ns) / SECOND
        if by_s and not self.target.virtual and outcome.verdict in _BROKEN:
            message = f"this machine's clock was set by {by_s:+.3f} s meanwhile: {outcome.message}"
            outcome = replace(outcome, verdict=Verdict.INCONCLUSIVE, message=message)
        return outcome, done.case

    async def _execute(self, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]) -> _Done:
        """Run a case to its end: on the target, on one with other settings, or on an instance of its own."""
        target, own, started = self.target, None, self.clock.now_ns()
        missing = [one for one in (*info.needs, f"ipv{info.family}") if one not in target.capabilities]
        if missing:
            why = NotApplicable(f"needs {missing[0]}, which target {target.name} does not have")
            return _Done(None, why, started, started)
        try:
            if info.alone or target.isolated:
                own = instance = await target.alone(info.sysctl)

                async def there() -> _Done:
                    return await self._in_place(self._station_at(instance), info, function, arguments)

                return await self._in_time_of(own, there)
            station = await self._changed.station(info.sysctl) if info.sysctl else self.station
            return await self._in_place(station, info, function, arguments)
        except HarnessFault as fault:
            return _Done(None, fault, started, self.clock.now_ns())
        finally:
            if own is not None:
                await own.close()

    async def _in_place(
        self, station: Station, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]
    ) -> _Done:
        """Run a case where its station and clock are."""
        case, clock = None, station.clock
        raised: Exception | None = None
        started = clock.now_ns()
        try:
            await station.target.ready()
            await station.room(info.family)
            case = Case(
                station=station,
                target=station.target,
                profile=self.profile,
                clock=clock,
                family=info.family,
                name=info.id,
                seed=self.seed,
            )
            await case.open()
            await function(**arguments, tcp=case)
        except Exception as error:
            raised = error if case is None else await self._cause(case.agent, error)
        else:
            # Only a stack of our own can say that it crashed.
            raised = await self._cause(case.agent, None) if station.target.isolated else None
        finally:
            closed = await self._close(case)
        return _Done(case, raised or closed, started, clock.now_ns())

    async def _cause(self, agent: App, raised: Exception | None) -> Exception | None:
        """What is behind the case's end: agent or lab failed, or the stack crashed, which looks like the target's answers.

        An agent that dies closes its sockets; of a stack that crashed what is left may go on, and even look right.
        """
        try:
            crashed = (await agent.call("hello")).get("crashed")
        except HarnessFault as fault:
            return raised and fault
        except AppError:
            return raised
        if crashed and isinstance(raised, (Violation, AppError, TargetGone, NoneType)):
            return Violation(f"the stack crashed: {crashed[0]}", f"Behind that: {raised}" if raised else "")
        return raised

    async def _close(self, case: Case | None) -> BaseException | None:
        try:
            if case is not None:
                await case.close()
        except Exception as error:
            return error
        return None

    # Judging

    def _judged(self, info: CaseInfo, function: CaseFunction, done: _Done) -> Outcome:
        case, raised = done.case, done.raised
        if isinstance(raised, AppError) and raised.code in _LACKING:
            raised = NotApplicable(f"target {self.target.name} lacks a {_LACKING[raised.code]}: {raised}")
        elif isinstance(raised, AppError) and raised.code in _CONNECTION_CODES:
            raised = Violation(f"the application's call failed: {raised}")
        elif type(raised) is AssertionError and _asserted_in(raised, function):
            raised = Violation(f"the case asserts: {str(raised).strip() or 'no text'}")
        verdict = verdict_of(raised, info.level, strict=self.strict)
        own, listed = self._deviations(info)
        broken = verdict in _BROKEN
        message = _one_line(raised)
        known = next((one for one in listed if broken and one.shown_by(message)), None)
        stopped = own[0] if own and verdict is Verdict.CONFORMS else None
        if known is not None:
            verdict = Verdict.DEVIATES
        if stopped is not None:
            message = f"no longer deviates, the profile says it does: {stopped.reason}"
        duration_s = (done.ended_ns - done.started_ns) / SECOND
        failure = self._failure(info, case, raised)
        capture = capture_name(info.id) if case is not None and case.trace.frames else None
        seen = [one["state"] for one in case.trace.states if one["side"] == "target"] if case is not None else []
        states = tuple(state for state, _ in itertools.groupby(seen))
        return Outcome(
            info,
            verdict,
            message,
            failure,
            done.started_ns,
            duration_s,
            known,
            stopped is not None,
            capture,
            states=states,
            raised_itself=verdict is Verdict.ERROR and not isinstance(raised, HarnessFault),
        )

    def _deviations(self, info: CaseInfo) -> tuple[Sequence[Deviation], Sequence[Deviation]]:
        """The known deviations of the case itself, and those that it may show: where it has none, the ones of its rows.

        A case may check a row in a way that the target does right: only its own deviations have to show. Nor has one to
        show that is only in the way of what the case checks.
        """
        ids = info.id, info.id.rpartition("::")[2].partition("[")[0], info.generated_from
        own = self.profile.deviations_of(*ids)
        return own, [*(own or self.profile.deviations_of(*info.cells)), *self.profile.deviations_in_the_way_of(*ids)]

    def _failure(self, info: CaseInfo, case: Case | None, raised: BaseException | None) -> str:
        """The long text: what the standard says, what was seen, and what is closest to what was allowed."""
        if raised is None:
            return ""
        lines = [_one_line(raised), ""]
        for sentence in info.sentences():
            lines.append(f"{sentence['id']} ({sentence['level']}, section {sentence['section']}): {sentence['text']}")
        if case is not None:
            last = next((one for one in reversed(case.trace.states) if one["side"] == "target"), None)
            sent = next((step for step in reversed(case.trace.steps) if step["kind"] in ("send", "app")), None)
            lines.append(f"State: {last['state'] if last else 'unknown'}")
            lines.append(f"Stimulus: {told(sent) if sent else 'none'}")
        if isinstance(raised, Violation):
            lines += [raised.details] if raised.details else []
        elif not isinstance(raised, (HarnessFault, NotApplicable, Inconclusive)):
            lines += ["", "".join(traceback.format_exception(raised)).rstrip()]
        if case is not None:
            lines += ["", f"Frames (numbers as in {capture_name(info.id)}):", case.report_of_frames()]
        return "\n".join(lines)


def _asserted_in(raised: AssertionError, function: CaseFunction) -> bool:
    """Whether it is the case itself that asserts, about the target; an assertion below it is the harness's own."""
    innermost = traceback.extract_tb(raised.__traceback__)[-1]
    return innermost.filename == function.__code__.co_filename


def _alike(one: str, other: str) -> bool:
    """Whether two messages say the same, but for times and absolute sequence numbers."""
    return _NUMBERS.sub("#", one) == _NUMBERS.sub("#", other)


def _one_line(raised: BaseException | None) -> str:
    if raised is None:
        return ""
    text = str(raised).strip() or type(raised).__name__
    if isinstance(raised, (Violation, HarnessFault)) or type(raised).__module__.startswith("conformance."):
        return text.splitlines()[0]
    return f"{type(raised).__name__}: {text.splitlines()[0]}"
