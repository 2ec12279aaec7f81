"""Baselines: the part of a run's results that later runs are compared with.

For each case a baseline stores the verdict, what it rests on, the target's choices and the measured times. It also stores
each deviation that the target's profile names, with the sentence that it breaks and the frames that show it.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from conformance.record.case import CaseRecord, TargetFacts, TimingFacts

_DRIFT_S, _DRIFT = 0.05, 0.1
_SIGNS = {"send": "->", "receive": "<-", "missing": "  "}
_SHOWN = 8  # frames of a deviation
_STAMPS = re.compile(r" TSval=\d+ TSecr=\d+")  # other ones in every run
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Time:
    """A measured time in seconds and its bounds, to the millisecond; None where there is none."""

    measured_s: float | None
    low_s: float | None = None
    high_s: float | None = None

    def drifted(self, now: "Time") -> bool:
        """Return True if a later measurement differs by more than 10 % and 50 ms."""
        if self.measured_s is None or now.measured_s is None:
            return False
        return round(abs(now.measured_s - self.measured_s), 6) > max(_DRIFT_S, _DRIFT * abs(self.measured_s))


@dataclass(frozen=True, slots=True)
class Result:
    """The part of a case's record that a baseline stores."""

    verdict: str
    choices: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, Time] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    cells: Sequence[str] = ()
    deviation: str = ""
    """The key of the deviation that it shows."""
    declared: str = ""
    """The setting of the target's file by which it is not applicable; a file does not keep it."""


@dataclass(frozen=True, slots=True)
class KnownDeviation:
    """A documented deviation of a target: its reason, the sentence that it breaks, and its source.

    `case` is the case that shows it in the fewest steps, `shows` the message with which that case failed. `frames` are
    the frames before the failure, a line each.
    """

    reason: str
    sentence: str
    source: str
    case: str
    shows: str
    frames: Sequence[str] = ()

    @property
    def key(self) -> str:
        """The name by which cases refer to it: the same for the same words."""
        return hashlib.sha256(f"{self.reason}\n{self.sentence}".encode("utf-8", "surrogatepass")).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The results of a run by the cases' ids; `problems` are lines of its record that could not be read.

    `at` is when the run began (2026-11-21T10:00:00Z), `settings` are the target's own; baselines that were kept by
    earlier versions have neither, nor `deviations`.
    """

    name: str
    target: str
    version: str
    cases: Mapping[str, Result]
    problems: Sequence[str] = ()
    at: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    deviations: Sequence[KnownDeviation] = ()

    def showing(self, deviation: KnownDeviation) -> list[str]:
        """Return the ids of the cases that show a deviation."""
        return [case for case, one in self.cases.items() if one.deviation == deviation.key]


def of_records(name: str, records: Iterable[CaseRecord], problems: Sequence[str] = ()) -> Baseline:
    """Return the baseline of a run's records; if they are about several targets, an id begins with the target's name."""
    first: TargetFacts | None = None
    at = ""
    cases: dict[tuple[str, str], Result] = {}
    settings: Counter[str] = Counter()
    deviations: dict[str, tuple[tuple[int, str], KnownDeviation]] = {}
    for record in records:
        target = record.target
        first = first or target
        at = max(at, record.run.id)
        settings[json.dumps(target.settings)] += target.name == first.name
        cases[target.name, record.id] = result_of(record)
        if (shown := _deviation(record)) is not None:
            rank = len(record.steps), shown.case
            deviations[shown.key] = min(
                deviations.get(shown.key, (rank, shown)), (rank, shown), key=lambda ranked: ranked[0]
            )
    several = len({target for target, _ in cases}) > 1
    named = {f"{target}:{case}" if several else case: result for (target, case), result in cases.items()}
    known = sorted((deviation for _, deviation in deviations.values()), key=lambda deviation: deviation.reason)
    target_name, version = (first.name, first.version) if first else ("", "")
    return Baseline(name, target_name, version, named, problems, at, usual(settings), known)


def _deviation(record: CaseRecord) -> KnownDeviation | None:
    """Return the deviation that a record shows; None without one."""
    if record.verdict != "deviates" or not (known := record.deviation):
        return None
    frames = [one for one in record.steps if one.kind in _SIGNS]
    start = frames[0].at_ns if frames else 0
    lines = [
        f"{(one.at_ns - start) / 1e9:.3f} s {_SIGNS[one.kind]} {_STAMPS.sub('', str(one))}" for one in frames[-_SHOWN:]
    ]
    return KnownDeviation(known.reason, known.sentence, known.source, record.id, record.message, tuple(lines))


def usual(counts: Counter[str]) -> dict[str, str]:
    """Return the settings that most cases ran with: some have a target of their own. `counts` counts them as JSON."""
    most = json.loads(counts.most_common(1)[0][0]) if counts else {}
    return {key: str(value) for key, value in most.items()}


def result_of(record: CaseRecord) -> Result:
    """Return the part of a case's record that a baseline stores."""
    return Result(
        record.verdict,
        dict(_apart((one.name, one.taken) for one in record.choices)),
        dict(_apart((one.name, _time(one)) for one in record.timings)),
        record.requirements,
        record.cells,
        shown.key if (shown := _deviation(record)) is not None else "",
        record.declared,
    )


def _time(timing: TimingFacts) -> Time:
    return Time(*map(to_the_millisecond, (timing.measured_s, timing.low_s, timing.high_s)))


def _apart(named: Iterable[tuple[str, _Value]]) -> Iterator[tuple[str, _Value]]:
    """Yield the same pairs; a repeated name gets a number."""
    seen: dict[str, int] = {}
    for name, value in named:
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} ({seen[name]})"), value


def to_the_millisecond(value: float | None) -> float | None:
    """Return seconds as a baseline keeps them."""
    return None if value is None else round(float(value), 3)
