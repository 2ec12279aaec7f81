"""The timing page: each series of repetitions against its bounds, each single timer within its own."""

from dataclasses import dataclass, field
from math import log10
from typing import Protocol

from markupsafe import Markup, escape

from conformance.record.case import CaseRecord, SeriesFacts
from conformance.report.text import count, seconds

WIDTH, ROW, TOP, LEFT, RIGHT = 640, 20, 26, 30, 78
DRAWN = 300  # series drawn on a page; their numbers are in the tables of all
_LEAST_S = 1e-4  # what is shorter lies at the edge of the logarithmic axis


_Key = tuple[str, float | None, float | None, str, str, str]


class TimedCase(Protocol):
    """A case as the page links to it."""

    @property
    def id(self) -> str: ...


@dataclass(slots=True)
class SingleTime:
    """Measured times of one name with the same bounds, from one way of measuring: the cases and the times in their order."""

    name: str
    low_s: float | None
    high_s: float | None
    source: str
    how: str
    shortened: str
    cases: list[TimedCase] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    failed: int = 0
    unclear: int = 0

    @property
    def ok(self) -> bool | None:
        """True if all are within their bounds, False if any failed, None if none failed and some were not judged."""
        return False if self.failed else None if self.unclear else True


@dataclass(frozen=True, slots=True)
class SeriesOfCase:
    """One series and the case that saw it."""

    case: TimedCase
    series: SeriesFacts


@dataclass(slots=True)
class Times:
    """All times of a run, gathered record by record."""

    singles: dict[_Key, SingleTime] = field(default_factory=dict)
    series: list[SeriesOfCase] = field(default_factory=list)

    def add(self, record: CaseRecord, case: TimedCase) -> None:
        """Add the times that a case measured; the page links to `case`."""
        for timed in record.timings:
            key = (timed.name, timed.low_s, timed.high_s, timed.source, timed.how, timed.shortened)
            single = self.singles.setdefault(key, SingleTime(*key))
            if case not in single.cases:
                single.cases.append(case)
            if timed.measured_s is not None:
                single.measured.append(timed.measured_s)
            single.failed += timed.ok is False
            single.unclear += timed.ok is None
        self.series += [SeriesOfCase(case, series) for series in record.series]

    def rows(self) -> list[SingleTime]:
        """Return the single times by name, failed ones first."""
        return sorted(
            self.singles.values(), key=lambda single: (single.ok is not False, single.name, single.low_s or 0)
        )

    def ordered(self) -> list[SeriesOfCase]:
        """Return the series by name, failed ones first."""
        return sorted(self.series, key=lambda row: (row.series.ok is not False, row.series.name, row.case.id))


def draw_series(series: SeriesFacts, name: str) -> Markup:
    """Return an SVG of the intervals, a row each on a logarithmic axis: the allowed band, a diamond within, a cross outside.

    `name` makes its ids unique on the page.
    """
    intervals = series.intervals
    known = [
        max(value, _LEAST_S)
        for interval in intervals
        for value in (interval.measured_s, interval.low_s, interval.high_s)
        if value is not None
    ]
    least, most = log10(min(known)) - 0.05, log10(max(known)) + 0.05

    def place(value: float) -> float:
        share = (log10(max(value, _LEAST_S)) - least) / (most - least)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    height = TOP + ROW * len(intervals)
    parts = []
    for tick in _ticks(least, most):
        x = place(tick)
        parts.append(f'<path class="axis" d="M{x} {TOP - 6}V{height}"/>')
        parts.append(f'<text class="tick" x="{x}" y="{TOP - 10}" text-anchor="middle">{seconds(tick)}</text>')
    for number, interval in enumerate(intervals, 1):
        y = TOP + ROW * number - ROW // 2
        left = LEFT if interval.low_s is None else place(interval.low_s)
        right = WIDTH - RIGHT if interval.high_s is None else place(interval.high_s)
        parts.append(f'<text class="number" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{number}</text>')
        parts.append(f'<rect class="allowed" x="{left}" y="{y - 6}" width="{max(right - left, 1):.1f}" height="12"/>')
        x = place(interval.measured_s)
        shape = f"M{x} {y - 5}l5 5l-5 5l-5 -5z" if interval.ok else f"M{x - 4} {y - 4}l8 8m0 -8l-8 8"
        parts.append(f'<path class="{"point" if interval.ok else "point failed"}" d="{shape}"/>')
        parts.append(f'<text class="value" x="{WIDTH - RIGHT + 8}" y="{y + 4}">{seconds(interval.measured_s)}</text>')
    return Markup(
        f'<svg class="bar series" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"'
        f' aria-labelledby="{name}-title {name}-desc"><title id="{name}-title">{escape(series.name)}</title>'
        f'<desc id="{name}-desc">{escape(described(series))}</desc>{"".join(parts)}</svg>'
    )


def _ticks(least: float, most: float) -> list[float]:
    """Round numbers on the axis: 1, 2 and 5 times a power of ten, fewer where there are many."""
    powers = range(int(least) - 1, int(most) + 2)
    steps = (1.0,) if most - least > 3 else (1.0, 2.0, 5.0)
    return [step * 10.0**power for power in powers for step in steps if least <= log10(step * 10.0**power) <= most]


def described(series: SeriesFacts) -> str:
    """Return a series in words: the intervals, their growth, cap and end, and the faults if there are any."""
    intervals = series.intervals
    words = [
        f"{count(len(intervals), 'interval')}, the first {seconds(intervals[0].measured_s)},"
        f" the last {seconds(intervals[-1].measured_s)}"
    ]
    if series.growth is not None:
        cap = f" up to {seconds(series.cap_s)}" if series.cap_s is not None else ""
        words.append(f"each {series.growth:g} times the one before{cap}")
    words.append(f"{count(series.count, 'repetition')}{counted(series)}")
    if series.end:
        words.append(f"ended by {series.end}")
    if series.faults:
        words.append("; ".join(series.faults))
    else:
        words.append("all as allowed")
    return "; ".join(words)


def counted(series: SeriesFacts) -> str:
    """Return the allowed number of repetitions, as words to follow their number; empty if any number is allowed."""
    low, high = series.count_low, series.count_high
    if low is None and high is None:
        return ""
    return f" ({low if low == high else f'{low} to {high}'} allowed)"
