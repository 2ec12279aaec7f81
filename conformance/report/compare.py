"""Runs beside each other: how many cases have each verdict, and case by case what differs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conformance.record.errors import RecordError
from conformance.report.baseline import Baseline, Result, Time
from conformance.report.text import VERDICTS


@dataclass(frozen=True, slots=True)
class Row:
    """One thing of a case, with its value in each run: None where the run has none."""

    case: str
    what: str
    values: Sequence[str | None]


@dataclass(frozen=True, slots=True)
class TimeRow:
    """A timer of a case that is not the same in all runs."""

    case: str
    what: str
    values: Sequence[Time | None]

    @property
    def bounds(self) -> Time:
        """The bounds as the last run that has the timer says them."""
        return next(one for one in reversed(self.values) if one is not None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs among runs; `common` is how many cases are in all of them, `alone` how many in one only."""

    runs: Sequence[Baseline]
    common: int
    alone: int
    counts: Mapping[str, Sequence[int]]
    verdicts: Sequence[Row]
    choices: Sequence[Row]
    times: Sequence[TimeRow]

    @property
    def same(self) -> bool:
        """Whether no case differs."""
        return not (self.verdicts or self.choices or self.times)

    def as_json(self) -> dict[str, Any]:
        """The comparison as what `json.dumps` takes; values are in the order of the runs."""
        return {
            "schema": 1,
            "runs": [
                {"name": one.name, "target": one.target, "version": one.version, "cases": len(one.cases)}
                for one in self.runs
            ],
            "common": self.common,
            "alone": self.alone,
            "counts": {verdict: list(numbers) for verdict, numbers in self.counts.items()},
            "verdicts": [{"case": row.case, "values": list(row.values)} for row in self.verdicts],
            "choices": [{"case": row.case, "name": row.what, "values": list(row.values)} for row in self.choices],
            "timings": [
                {
                    "case": row.case,
                    "name": row.what,
                    "measured_s": [one.measured_s if one else None for one in row.values],
                    "low_s": row.bounds.low_s,
                    "high_s": row.bounds.high_s,
                }
                for row in self.times
            ],
        }


def compare(runs: Sequence[Baseline]) -> Comparison:
    """Put runs beside each other; RecordError when there is no case that all of them have."""
    common = set.intersection(*(set(one.cases) for one in runs))
    if not common:
        raise RecordError(f"{' and '.join(one.name for one in runs)} have no case in common")
    known = Counter(case for one in runs for case in one.cases)
    counts = [Counter(result.verdict for result in one.cases.values()) for one in runs]
    verdicts, choices, times = [], [], []
    for case in sorted(case for case, number in known.items() if number > 1):
        results = [one.cases.get(case) for one in runs]
        found = [one.verdict if one else None for one in results]
        if _differ(found):
            verdicts.append(Row(case, "verdict", found))
        for what in _names(results, lambda one: one.choices):
            taken = [one.choices.get(what) if one else None for one in results]
            if _differ(taken):
                choices.append(Row(case, what, taken))
        for what in _names(results, lambda one: one.times):
            measured = [one.times.get(what) if one else None for one in results]
            first, *others = [one for one in measured if one is not None]
            if any(first.drifted(one) for one in others):
                times.append(TimeRow(case, what, measured))
    return Comparison(
        runs,
        len(common),
        sum(number == 1 for number in known.values()),
        {verdict: [one[verdict] for one in counts] for verdict in VERDICTS if any(one[verdict] for one in counts)},
        verdicts,
        choices,
        times,
    )


def _differ(values: Sequence[str | None]) -> bool:
    return len({one for one in values if one is not None}) > 1


def _names(results: Sequence[Result | None], of: Callable[[Result], Mapping[str, object]]) -> list[str]:
    """The names that any of the results has, in their order."""
    return list(dict.fromkeys(name for one in results if one is not None for name in of(one)))
