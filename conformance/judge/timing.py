"""Measured intervals, alone and in a row, and the bounds they are held against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Bound:
    """The allowed interval in seconds, both ends included, and the document or profile that says so."""

    low_s: float
    high_s: float
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.low_s <= self.high_s:
            raise ValueError(
                f"bound from {self.low_s} s to {self.high_s} s ({self.source}): the low end must come first"
            )

    def widened(self, early_s: float, late_s: float) -> Bound:
        """Return the bound, widened by the precision of the measurement."""
        return Bound(max(0.0, self.low_s - early_s), self.high_s + late_s, self.source)

    def scaled(self, factor: float) -> Bound:
        """Return the bound of an interval `factor` times as long: one step of a backoff."""
        return Bound(self.low_s * factor, self.high_s * factor, self.source)

    def outside_s(self, measured_s: float) -> float:
        """By how many seconds a time lies outside, 0 within."""
        return max(0.0, self.low_s - measured_s, measured_s - self.high_s)

    def __str__(self) -> str:
        return f"{self.low_s:g} s to {self.high_s:g} s ({self.source})"


@dataclass(frozen=True)
class Timing:
    """One measured interval in seconds; `how` says between which two stamps.

    `shortened` says by what the target was told a shorter time than its own, empty where it was not. `jitter_s` is how late
    the tester itself was in that time.
    """

    name: str
    measured_s: float
    bound: Bound
    how: str = ""
    shortened: str = ""
    jitter_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Return True where the interval is within its bound."""
        return self.bound.low_s <= self.measured_s <= self.bound.high_s

    @property
    def impossible(self) -> bool:
        """Return True for a negative interval: the stamps are in the wrong order, so it says nothing of the target."""
        return self.measured_s < 0

    @property
    def unclear(self) -> bool:
        """Return True where it is impossible, or outside by no more than the tester's own lateness."""
        return not self.ok and (self.impossible or self.bound.outside_s(self.measured_s) <= self.jitter_s)

    def __str__(self) -> str:
        return f"{self.name} took {self.measured_s:.4g} s, allowed is {self.bound}"


@dataclass(frozen=True)
class Growth:
    """Each interval is `factor` times the one before.

    The timer may be late in both intervals, by up to `late_fraction` of the interval and `late_s` seconds.
    """

    factor: float
    late_fraction: float
    late_s: float
    source: str

    def after(self, before_s: float, cap: Bound | None) -> Bound:
        """Return the bound of the interval that follows one of `before_s` seconds."""
        before_s = max(
            0.0, before_s
        )  # an impossible interval makes the series unclear, and must have bounds all the same
        low_s = max(0.0, self.factor * (before_s - self.late_s) / (1 + self.late_fraction))
        high_s = self.factor * before_s * (1 + self.late_fraction) + self.late_s
        if cap is None:
            return Bound(low_s, high_s, self.source)
        return Bound(min(low_s, cap.low_s), max(min(low_s, cap.low_s), min(high_s, cap.high_s)), self.source)


@dataclass(frozen=True)
class Step:
    """One interval of a series: what it is, its bounds, each from a source of its own, and its ratio to the one before."""

    what: str
    timings: tuple[Timing, ...]
    ratio: float | None

    @property
    def measured_s(self) -> float:
        """The length of the interval in seconds."""
        return self.timings[0].measured_s

    @property
    def ok(self) -> bool:
        """Return True where the interval is within all its bounds."""
        return all(one.ok for one in self.timings)

    @property
    def unclear(self) -> bool:
        """Return True where the tester's own lateness may be why it is outside."""
        return not self.ok and all(one.ok or one.unclear for one in self.timings)

    @property
    def allowed(self) -> Bound:
        """Return the bound that all bounds allow; the first where they contradict each other."""
        low_s = max(one.bound.low_s for one in self.timings)
        high_s = min(one.bound.high_s for one in self.timings)
        sources = dict.fromkeys(one.bound.source for one in self.timings)
        return Bound(low_s, high_s, "; ".join(sources)) if low_s <= high_s else self.timings[0].bound


@dataclass(frozen=True)
class Series:
    """Repetitions of a segment, or probes, judged as one: the intervals between `stamps_ns`, their growth, count and end.

    `bounds` are those of the first intervals in their order. With `growth` each interval but the first is held against the
    one before it too, up to `cap`. `count` is how many repetitions there may be, from and to. `end` is what the last stamp
    is, where it is no repetition (`RST`). `jitters_s` is how late the tester was in each interval.
    """

    name: str
    stamps_ns: tuple[int, ...]
    bounds: tuple[Bound, ...]
    how: str
    growth: Growth | None = None
    cap: Bound | None = None
    count: tuple[int, int] | None = None
    end: str = ""
    shortened: str = ""
    jitters_s: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if len(self.stamps_ns) < 2:
            raise ValueError(f"series {self.name} has no interval: it needs two stamps at least")
        if not self.bounds or (self.growth is None and len(self.bounds) < len(self.stamps_ns) - 1):
            raise ValueError(f"series {self.name}: {len(self.stamps_ns) - 1} intervals, {len(self.bounds)} bounds")

    @property
    def repetitions(self) -> int:
        """The number of repetitions that arrived."""
        return len(self.stamps_ns) - 1 - bool(self.end)

    def steps(self) -> tuple[Step, ...]:
        """Return the intervals in their order."""
        return tuple(self._steps())

    def _steps(self) -> Iterator[Step]:
        intervals = [(later - earlier) / _SECOND for earlier, later in pairwise(self.stamps_ns)]
        for number, interval_s in enumerate(intervals):
            before_s = intervals[number - 1] if number else None
            bounds = list(self.bounds[number : number + 1])
            if self.growth is not None and before_s is not None:
                bounds.append(self.growth.after(before_s, self.cap))
            last = self.end and number == len(intervals) - 1
            what = f"{self.name}, interval {number + 1}{f' (to {self.end})' if last else ''}"
            jitter_s = self.jitters_s[number] if self.jitters_s else 0.0
            timings = (Timing(what, interval_s, bound, self.how, self.shortened, jitter_s) for bound in bounds)
            yield Step(what, tuple(timings), interval_s / before_s if before_s else None)

    def faults(self) -> tuple[str, ...]:
        """Return a line for each fault, in the order of time; the count comes last."""
        faults = [str(one) for step in self.steps() for one in step.timings if not one.ok]
        if self.count is not None and not self.count[0] <= self.repetitions <= self.count[1]:
            least, most = self.count
            allowed = str(least) if least == most else f"{least} to {most}"
            faults.append(f"{self.name}: {self.repetitions} repetitions came, allowed is {allowed}")
        return tuple(faults)

    @property
    def impossible(self) -> bool:
        """Return True where an interval is negative: then the whole series judges nothing."""
        return any(later < earlier for earlier, later in pairwise(self.stamps_ns))

    @property
    def unclear(self) -> bool:
        """Return True where it is impossible, or the tester's own lateness may be the reason for all that is wrong."""
        if self.impossible:
            return True
        outside = [step for step in self.steps() if not step.ok]
        faults = sum(not one.ok for step in outside for one in step.timings)
        return bool(outside) and faults == len(self.faults()) and all(step.unclear for step in outside)


def retransmission_timeout(round_trips_s: Sequence[float], *, least_variation_s: float = 0.0) -> float:
    """Return the timeout in seconds after those round trips, measured one after the other (RFC 6298, 2.2 and 2.3).

    `least_variation_s` is what K*RTTVAR is raised to: the clock's granularity G, or a stack's minimum where it puts it there.
    """
    first, *later = round_trips_s
    smoothed, variation = first, first / 2
    for round_trip_s in later:
        variation += (abs(smoothed - round_trip_s) - variation) / 4
        smoothed += (round_trip_s - smoothed) / 8
    return smoothed + max(least_variation_s, 4 * variation)
