"""The intervals of a case: bounds from the target's profile, and measured times held to them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from conformance.judge import (
    Bound,
    Growth,
    Inconclusive,
    NotApplicable,
    Series,
    Timing,
    Violation,
    retransmission_timeout,
)
from conformance.standard.profile import Profile
from conformance.standard.profile_rows import LATE_FRACTION, Setting
from conformance.tester.clock import SECOND, Clock
from conformance.tester.trace import Trace

_TICK_S = 0.5
"""The coarsest clock of a stack that nobody has described: BSD's slow timer."""
_MERGED = "its segments arrived as one merged frame and share a stamp"


class Timings:
    """Bounds by the names of the profile's timers, and the checks that keep what they measure.

    `crossing_ns` is by how much the wire may make an interval longer than it was at the other end.
    """

    def __init__(self, profile: Profile, clock: Clock, trace: Trace, crossing_ns: int) -> None:
        self.profile, self.clock, self.trace, self.crossing_ns = profile, clock, trace, crossing_ns
        self.began_ns = clock.now_ns()

    def timer(self, name: str, nominal_s: float | None = None) -> Bound:
        """Return the bound of a timer of the profile; with `nominal_s`, of that interval with the timer's precision.

        Raises NotApplicable when the profile does not document it.
        """
        timer = self.profile.timers.get(name)
        if timer is None:
            raise NotApplicable(f"profile {self.profile.name} documents no timer {name}")
        if nominal_s is None:
            return Bound(timer.low_s, timer.high_s, timer.source)
        return Bound(*timer.bounds(nominal_s), timer.source)

    def schedule(self, name: str) -> tuple[Bound, ...]:
        """Return the bounds of a series of retransmissions in order. Raises NotApplicable if the profile has no such series."""
        bound = self.timer(name)
        schedule = self.profile.timers[name].schedule_s
        if not schedule:
            raise NotApplicable(f"profile {self.profile.name} documents no schedule of timer {name} ({bound.source})")
        return tuple(self.timer(name, nominal_s) for nominal_s in schedule)

    def growth(self, name: str, source: str, *, factor: float = 2.0) -> Growth:
        """Return a backoff by `factor`, with the precision of a timer of the profile, or of the coarsest clock without one."""
        timer = self.profile.timers.get(name)
        late = (LATE_FRACTION, _TICK_S) if timer is None else (timer.late_fraction, timer.late_s)
        return Growth(factor, *late, source)

    def timeout_after(self, *round_trips_s: float, least_s: float | None = None) -> Bound:
        """Return the bound of the retransmission timeout after `round_trips_s`, in their order (RFC 6298, 2.2 and 2.3).

        A stack may apply its least timeout (the profile's `rto-min`, or `least_s`) to the whole, or to the variation alone.
        """
        least = self.timer("rto-min")
        if least_s is None:
            least_s = self.profile.timers["rto-min"].value_s
        low_s = max(least_s, retransmission_timeout(round_trips_s))
        high_s = retransmission_timeout(round_trips_s, least_variation_s=least_s)
        source = f"RFC 6298, 2.2 and 2.3; at least {least_s:g} s: {least.source}"
        return Bound(self.timer("rto-min", low_s).low_s, self.timer("rto-min", high_s).high_s, source)

    def setting(self, name: str) -> Setting:
        """Return by what the profile sets something on the target. Raises NotApplicable when it documents no such setting."""
        setting = self.profile.settings.get(name)
        if setting is None:
            raise NotApplicable(f"profile {self.profile.name} documents no setting {name}")
        return setting

    def nominal_s(self, name: str) -> float:
        """Return the profile's documented value of a timer in seconds. Raises NotApplicable without one."""
        self.timer(name)
        return self.profile.timers[name].value_s

    def check_timing(
        self,
        name: str,
        measured_s: float,
        bound: Bound,
        *,
        how: str = "",
        shortened: str = "",
        between: tuple[int, int] | None = None,
    ) -> None:
        """Record a measured interval, and check it against its bound. Raises Violation.

        `shortened` names the setting that shortened the target's time (`TCP_KEEPIDLE = 2 s`). `between` are the two stamps if
        they are known; without them the tester's lateness in the whole case counts. Raises Inconclusive if that
        lateness alone may be the reason.
        """
        bound = self._over_the_wire(bound)
        jitter_s = self.clock.jitter.worst_s(*(between or (self.began_ns, self.clock.now_ns())))
        timing = Timing(name, measured_s, bound, how, shortened, jitter_s)
        self.trace.timings.append(timing)
        if not timing.ok:
            if timing.impossible:
                raise Inconclusive(f"{timing}: its two stamps are in the wrong order")
            if measured_s == 0 and self.trace.merged:
                raise Inconclusive(f"{timing}: {_MERGED}")
            self._fails(timing.unclear, str(timing), how, bound.outside_s(measured_s), jitter_s)

    def check_series(
        self,
        name: str,
        stamps_ns: Sequence[int],
        bounds: Sequence[Bound],
        *,
        how: str,
        growth: Growth | None = None,
        cap: Bound | None = None,
        count: tuple[int, int] | None = None,
        end: str = "",
        shortened: str = "",
    ) -> None:
        """Record a series of retransmissions or probes, and check it as a whole (see Series). Raises Violation.

        Raises Inconclusive if the tester's own lateness alone may be the reason for all that is wrong.
        """
        bounds = [self._over_the_wire(one) for one in bounds]
        jitters = tuple(self.clock.jitter.worst_s(*pair) for pair in pairwise(stamps_ns))
        series = Series(
            name, tuple(stamps_ns), tuple(bounds), how, growth, cap, count, end, shortened, jitters_s=jitters
        )
        self.trace.series.append(series)
        if series.impossible:
            raise Inconclusive(f"{name}: stamps of the series are in the wrong order")
        if faults := series.faults():
            if any(earlier == later for earlier, later in pairwise(stamps_ns)) and self.trace.merged:
                raise Inconclusive(f"{name}: {_MERGED}")
            outside_s = max(one.bound.outside_s(one.measured_s) for step in series.steps() for one in step.timings)
            self._fails(series.unclear, faults[0], "\n".join((how, *faults[1:])), outside_s, max(jitters))

    def _over_the_wire(self, bound: Bound) -> Bound:
        """Return the bound, widened by the wire's delay, which may change between two segments."""
        return bound.widened(0, self.crossing_ns / SECOND) if self.crossing_ns else bound

    def _fails(self, unclear: bool, message: str, details: str, outside_s: float, jitter_s: float) -> None:
        if unclear:
            late = f"outside by {outside_s:.4f} s, and the tester itself was up to {jitter_s:.4f} s late in that time"
            raise Inconclusive(f"{message}: {late}")
        raise Violation(message, details)
