"""Runs beside each other: how many cases have each verdict, and what differs by case, requirement and cell."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from conformance.record.names import without_family
from conformance.report.baseline import Baseline, Result, Time
from conformance.report.matrix import WORST
from conformance.report.state_map import STATES, decides
from conformance.report.text import VERDICTS


@dataclass(frozen=True, slots=True)
class Differing:
    """One thing of a case, a requirement or a cell, with its value in each run: None where the run has none."""

    name: str
    what: str
    values: Sequence[str | None]

    @property
    def stem(self) -> str:
        """The case without its family; what is no case is as its name."""
        return without_family(self.name)


@dataclass(frozen=True, slots=True)
class DifferingTime:
    """A timer of a case that is not the same in all runs."""

    case: str
    what: str
    values: Sequence[Time | None]

    @property
    def stem(self) -> str:
        """The case without its family."""
        return without_family(self.case)

    @property
    def bounds(self) -> Time:
        """The bounds from the last run that has the timer."""
        return next(one for one in reversed(self.values) if one is not None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """The differences among runs; `common` counts the cases in all of them, `alone` those in a single run.

    Requirements and cells are judged by the cases that all runs have, so that none is worse for what it did not run.
    `states` has each state's cells in each run, by verdict.
    """

    runs: Sequence[Baseline]
    common: int
    alone: int
    counts: Mapping[str, Sequence[int]]
    verdicts: Sequence[Differing]
    choices: Sequence[Differing]
    times: Sequence[DifferingTime]
    requirements: Sequence[Differing]
    cells: Sequence[Differing]
    states: Mapping[str, Sequence[Mapping[str, int]]]
    settings: Sequence[Differing]

    @property
    def same(self) -> bool:
        """True if no case differs."""
        return not (self.verdicts or self.choices or self.times)

    @property
    def problem(self) -> str:
        """One line where there is nothing to compare; else empty."""
        if self.common or self.alone < len({case for one in self.runs for case in one.cases}):
            return ""
        return f"{' and '.join(one.name for one in self.runs)} have no case in common"

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as a value for `json.dumps`; values are in the order of the runs."""
        return {
            "schema": 1,
            "runs": [
                {
                    "name": one.name,
                    "target": one.target,
                    "version": one.version,
                    "at": one.at,
                    "settings": dict(one.settings),
                    "cases": len(one.cases),
                    "deviations": [
                        {**asdict(known), "frames": list(known.frames), "cases": one.showing(known)}
                        for known in one.deviations
                    ],
                }
                for one in self.runs
            ],
            "common": self.common,
            "alone": self.alone,
            "counts": {verdict: list(numbers) for verdict, numbers in self.counts.items()},
            "settings": [{"name": row.name, "values": list(row.values)} for row in self.settings],
            "verdicts": [{"case": row.name, "values": list(row.values)} for row in self.verdicts],
            "choices": [{"case": row.name, "name": row.what, "values": list(row.values)} for row in self.choices],
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
            "requirements": [{"id": row.name, "values": list(row.values)} for row in self.requirements],
            "cells": [{"id": row.name, "values": list(row.values)} for row in self.cells],
            "states": {state: [dict(one) for one in runs] for state, runs in self.states.items()},
        }


def compare(runs: Sequence[Baseline]) -> Comparison:
    """Put runs beside each other; `problem` of the result says where they have nothing in common."""
    common = sorted(set.intersection(*(set(one.cases) for one in runs)))
    known = Counter(case for one in runs for case in one.cases)
    counts = [Counter(result.verdict for result in one.cases.values()) for one in runs]
    verdicts, choices, times = [], [], []
    for case in sorted(case for case, number in known.items() if number > 1):
        results = [one.cases.get(case) for one in runs]
        reached = [result.verdict if result else None for result in results]
        if _differ(reached):
            verdicts.append(Differing(case, "verdict", reached))
        for what in _names(results, lambda result: result.choices):
            taken = [one.choices.get(what) if one else None for one in results]
            if _differ(taken):
                choices.append(Differing(case, what, taken))
        for what in _names(results, lambda result: result.times):
            measured = [one.times.get(what) if one else None for one in results]
            first, *others = [one for one in measured if one is not None]
            if any(first.drifted(one) for one in others):
                times.append(DifferingTime(case, what, measured))
    resting = [_judged(((one.cases[case], one.cases[case].requirements) for case in common), _worst) for one in runs]
    rows = [_judged(((one.cases[case], one.cases[case].cells) for case in common), decides) for one in runs]
    return Comparison(
        runs,
        len(common),
        sum(number == 1 for number in known.values()),
        {verdict: [one[verdict] for one in counts] for verdict in VERDICTS if any(one[verdict] for one in counts)},
        verdicts,
        choices,
        times,
        _differing(resting),
        _differing(rows),
        _by_state(rows),
        _differing([one.settings for one in runs]),
    )


def _judged(
    cases: Iterable[tuple[Result, Sequence[str]]], over: Callable[[Sequence[tuple[bool, str, str]]], str]
) -> dict[str, str]:
    """Return the verdict over each name; `over` gets a triple per case: True if it has this name alone, its verdict twice."""
    by_name: dict[str, list[tuple[bool, str, str]]] = defaultdict(list)
    for case, names in cases:
        for name in names:
            by_name[name].append((len(names) == 1, case.verdict, case.verdict))
    return {name: over(verdicts) for name, verdicts in by_name.items()}


def _worst(verdicts: Sequence[tuple[bool, str, str]]) -> str:
    return min((verdict for _, verdict, _ in verdicts), key=WORST.index)


def _differing(runs: Sequence[Mapping[str, str]]) -> list[Differing]:
    """Return the names whose value differs among runs; a run without any value is left out."""
    rows = ((name, [one.get(name) for one in runs]) for name in sorted({name for one in runs for name in one}))
    has_values = [bool(one) for one in runs]
    return [
        Differing(name, "", values)
        for name, values in rows
        if len({value for value, compared in zip(values, has_values, strict=True) if compared}) > 1
    ]


def _by_state(runs: Sequence[Mapping[str, str]]) -> dict[str, list[Counter[str]]]:
    """Return the number of cells by state and verdict, in each run."""
    by_state: dict[str, list[Counter[str]]] = {state: [Counter() for _ in runs] for state in STATES}
    for at, cells in enumerate(runs):
        for cell, verdict in cells.items():
            state = cell.partition("/")[0].partition("(")[0]
            state = "Figure 5" if state == "arc" else state
            by_state.setdefault(state, [Counter() for _ in runs])[at][verdict] += 1
    return {state: counts for state, counts in by_state.items() if any(counts)}


def _differ(values: Sequence[str | None]) -> bool:
    return len({one for one in values if one is not None}) > 1


def _names(results: Sequence[Result | None], of: Callable[[Result], Mapping[str, object]]) -> list[str]:
    """Return the names that any result has, in their order."""
    return list(dict.fromkeys(name for one in results if one is not None for name in of(one)))
