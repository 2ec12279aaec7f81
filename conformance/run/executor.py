"""Execute one case where its station is: at the target, at one with other settings, or at an instance of its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from conformance.case.case import Case
from conformance.case.info import CaseFunction, CaseInfo
from conformance.case.negotiated import NAMES, negotiated
from conformance.judge import NotApplicable
from conformance.run.changed import ChangedTargets
from conformance.run.lab_check import check_lab
from conformance.run.raised import cause_of
from conformance.standard.profile import Profile
from conformance.target import HarnessFault, SettingRefused, Target
from conformance.target.host import LabHost
from conformance.tester.clock import Clock
from conformance.tester.station import Station
from conformance.tester.trace import Room

_T = TypeVar("_T")
# In virtual time nothing waits: more at once than the machine can run gains nothing.
_MOST_VIRTUAL = 4


@dataclass(frozen=True)
class Ended:
    """A case that has ended, and what it raised; times are of the case's clock."""

    case: Case | None
    raised: BaseException | None
    started_ns: int
    ended_ns: int


class Executor:
    """The target of a run made ready, and the stations at it."""

    def __init__(self, target: Target, clock: Clock, profile: Profile) -> None:
        self._target, self._clock, self._profile = target, clock, profile
        self.seed = random.getrandbits(32)
        """The seed of the tester's own random numbers."""
        self._room = Room()
        self._changed = ChangedTargets(target, clock, self._room)
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None

    async def open(self, concurrency: int) -> int:
        """Make the target ready, and return how many cases may run at once. Raises HarnessFault."""
        await self._target.open()
        if self._target.virtual:
            self.seed = 0  # the same run twice is the same to the last bit
        places = min(concurrency, self._target.concurrency or concurrency)
        if not self._target.isolated:
            self._station = Station(self._target, self._clock, seed=self.seed, room=self._room)
            await self._look(self._station)
            self._check_declared()
            return places
        instance = await self._target.alone({})
        if instance.machine is not None:
            places = min(places, _MOST_VIRTUAL)
            self._threads = concurrent.futures.ThreadPoolExecutor(places, "tcp-conformance case")
        await self._in_time_of(instance, lambda: self._look(self._station_at(instance)))
        await instance.close()
        self._check_declared()
        return places

    def _check_declared(self) -> None:
        """Raise HarnessFault where the target has what its file says it lacks."""
        for capability, setting in self._target.declared.items():
            if capability in self._target.capabilities:
                raise HarnessFault(
                    f"{self._target.name}: its file says {setting!r}, but it has {capability}: take that out of the file"
                )

    def close(self) -> None:
        """End the threads; called when nothing runs."""
        if self._threads is not None:
            self._threads.shutdown()

    async def used_by(self, info: CaseInfo, case: Coroutine[Any, Any, _T]) -> _T:
        """Await `case` and all its attempts, and keep the target with its settings until then."""
        return await self._changed.used_by(info.sysctl, case)

    async def execute(self, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]) -> Ended:
        """Run a case to its end: on the target, on one with other settings, or on an instance of its own."""
        target, own, started = self._target, None, self._clock.now_ns()
        missing = [one for one in (*info.needs, f"ipv{info.family}") if one not in target.capabilities]
        if missing:
            why = NotApplicable.lacking(missing[0], target.name)
            return Ended(None, why, started, started)
        try:
            if info.alone or target.isolated:
                own = instance = await target.alone(info.sysctl)

                async def there() -> Ended:
                    return await self._in_place(self._station_at(instance), info, function, arguments)

                return await self._in_time_of(own, there)
            station = await self._changed.station(info.sysctl) if info.sysctl else self._station
            return await self._in_place(station, info, function, arguments)
        except SettingRefused as refused:
            return Ended(None, NotApplicable(f"needs a setting: {refused}"), started, self._clock.now_ns())
        except HarnessFault as fault:
            return Ended(None, fault, started, self._clock.now_ns())
        finally:
            if own is not None:
                await own.close()

    async def _look(self, station: Station) -> None:
        """See that the target answers, and what it agrees to where its hello names none of that. Raises TargetGone."""
        await station.check_reachable()
        if isinstance(self._target, LabHost):
            await check_lab(station, self._target)
        can = self._target.capabilities
        if "app" in can and can.isdisjoint(NAMES):
            family = 4 if "ipv4" in can else 6
            case = Case(
                station=station, target=station.target, profile=self._profile, clock=station.clock, family=family
            )
            try:
                await case.open()
                self._target.capabilities = can | await negotiated(case)
            finally:
                await case.close()

    def _station_at(self, target: Target) -> Station:
        """The tester at an instance of the target, by that one's clock."""
        clock = self._clock if target.machine is None else Clock(target.machine.now_ns)
        return Station(target, clock, seed=self.seed, room=self._room)

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

    async def _in_place(
        self, station: Station, info: CaseInfo, function: CaseFunction, arguments: Mapping[str, Any]
    ) -> Ended:
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
                profile=self._profile,
                clock=clock,
                family=info.family,
                name=info.id,
                seed=self.seed,
            )
            await case.open()
            await function(**arguments, tcp=case)
        except Exception as error:
            raised = error if case is None else case.app.lacking or await cause_of(error, case.agent)
        else:
            # Only a stack of our own can say that it crashed.
            raised = case.app.lacking or (await cause_of(None, case.agent) if station.target.isolated else None)
        finally:
            if case is not None and case.trace.fault:
                raised = HarnessFault(case.trace.fault)
            closed = await self._close(case)
        return Ended(case, raised or closed, started, clock.now_ns())

    async def _close(self, case: Case | None) -> BaseException | None:
        try:
            if case is not None:
                await case.close()
        except Exception as error:
            return error
        return None
