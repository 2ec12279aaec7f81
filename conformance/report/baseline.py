"""Baselines: the results of an earlier run in a small file that reads well in a diff, and what has changed since.

A baseline keeps of each case its verdict, what it rests on, the choices that the target took and the times that were
measured; and each deviation that the target's profile names, with the sentence that it breaks and the frames that show it.
"""

import contextlib
import dataclasses
import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.record.errors import RecordError
from conformance.record.results import scan_results
from conformance.report.text import NOTHING, VERDICTS, bounds, clean, count, seconds, step

SCHEMA = 1
FOLDER = Path("reports/baselines")
LAST, BEFORE = "verdicts.json", "verdicts-before.json"
"""In a run's folder: its own results as a baseline, and those of the run that was there before it."""
LISTED = 20  # lines of one kind of change
BAD = ("violates", "error")
"""Verdicts that make a run fail."""
_BROKEN = (*BAD, "breaks should", "deviates")
_DRIFT_S, _DRIFT = 0.05, 0.1
_SIGNS = {"send": "->", "receive": "<-", "missing": "  "}
_SHOWN = 8  # frames of a deviation
_TEXTS = ("reason", "sentence", "source", "case", "shows")
_STAMPS = re.compile(r" TSval=\d+ TSecr=\d+")  # other ones in every run


@dataclass(frozen=True, slots=True)
class Time:
    """A measured time in seconds and its bounds, to the millisecond; None where there is none."""

    measured_s: float | None
    low_s: float | None = None
    high_s: float | None = None

    def drifted(self, now: "Time") -> bool:
        """Whether a later measurement is another by more than 10 % and 50 ms."""
        if self.measured_s is None or now.measured_s is None:
            return False
        return round(abs(now.measured_s - self.measured_s), 6) > max(_DRIFT_S, _DRIFT * abs(self.measured_s))


@dataclass(frozen=True, slots=True)
class Result:
    """What a baseline keeps of a case."""

    verdict: str
    choices: Mapping[str, str] = field(default_factory=dict)
    times: Mapping[str, Time] = field(default_factory=dict)
    requirements: Sequence[str] = ()
    cells: Sequence[str] = ()
    deviation: str = ""
    """The key of the deviation that it shows."""


@dataclass(frozen=True, slots=True)
class Deviation:
    """What a target is known to do otherwise: why, the sentence that it breaks, and where that is said.

    `case` is the one of its cases that shows it in the fewest steps, `shows` the line by which it failed, and `frames` what
    led to it, a line each.
    """

    reason: str
    sentence: str
    source: str
    case: str
    shows: str
    frames: Sequence[str] = ()

    @property
    def key(self) -> str:
        """What cases call it by: the same for the same words."""
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
    deviations: Sequence[Deviation] = ()

    def showing(self, deviation: Deviation) -> list[str]:
        """The cases that show it."""
        return [case for case, one in self.cases.items() if one.deviation == deviation.key]


def of_records(name: str, records: Iterable[Mapping[str, Any]], problems: Sequence[str] = ()) -> Baseline:
    """The baseline that a run's records make; where they are about several targets, an id begins with the target's name."""
    first: Mapping[str, Any] = {"name": "", "version": ""}
    at = ""
    cases: dict[tuple[str, str], Result] = {}
    settings: Counter[str] = Counter()
    deviations: dict[str, tuple[tuple[int, str], Deviation]] = {}
    for record in records:
        target = record["target"]
        first = first if cases else target
        at = max(at, record["run"]["id"])
        settings[json.dumps(target["settings"])] += target["name"] == first["name"]
        cases[target["name"], record["id"]] = result_of(record)
        if (shown := _deviation(record)) is not None:
            rank = len(record["steps"]), shown.case
            deviations[shown.key] = min(deviations.get(shown.key, (rank, shown)), (rank, shown), key=lambda one: one[0])
    several = len({target for target, _ in cases}) > 1
    named = {f"{target}:{case}" if several else case: one for (target, case), one in cases.items()}
    known = sorted((one for _, one in deviations.values()), key=lambda one: one.reason)
    return Baseline(name, first["name"], first["version"], named, problems, at, usual(settings), known)


def _deviation(record: Mapping[str, Any]) -> Deviation | None:
    """The deviation that a record shows, as it shows it."""
    if record["verdict"] != "deviates" or not (found := record["deviation"]):
        return None
    frames = [one for one in record["steps"] if one["kind"] in _SIGNS]
    start = frames[0]["at_ns"] if frames else 0
    lines = [
        f"{(one['at_ns'] - start) / 1e9:.3f} s {_SIGNS[one['kind']]} {_STAMPS.sub('', step(one))}"
        for one in frames[-_SHOWN:]
    ]
    return Deviation(
        found["reason"], found.get("sentence", ""), found["source"], record["id"], record["message"], tuple(lines)
    )


def usual(found: Counter[str]) -> dict[str, str]:
    """The settings that most cases ran with: some have a target of their own. `found` counts them as JSON."""
    most = json.loads(found.most_common(1)[0][0]) if found else {}
    return {key: str(value) for key, value in most.items()}


def result_of(record: Mapping[str, Any]) -> Result:
    """What a baseline keeps of a case's record."""
    return Result(
        record["verdict"],
        dict(_apart((one["name"], one["taken"]) for one in record["choices"])),
        dict(
            _apart(
                (one["name"], Time(_rounded(one["measured_s"]), _rounded(one["low_s"]), _rounded(one["high_s"])))
                for one in record["timings"]
            )
        ),
        tuple(record["requirements"]),
        tuple(record["cells"]),
        shown.key if (shown := _deviation(record)) is not None else "",
    )


def _apart(named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The same pairs; a name that comes again gets a number."""
    seen: dict[str, int] = {}
    for name, value in named:
        seen[name] = seen.get(name, 0) + 1
        yield (name if seen[name] == 1 else f"{name} ({seen[name]})"), value


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 3)


# Files


def save(name: str, run: Path, folder: Path = FOLDER) -> tuple[Path, Baseline]:
    """Keep a run (its folder or its results.jsonl) under a name; RecordError when there is nothing to keep, or no place."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII) or name.endswith((".json", ".jsonl")):
        raise RecordError(
            f"can't call a baseline {name!r}: letters, digits, dots and dashes make a name, without .json"
        )
    kept = _read_run(str(run), run)
    path = folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(written(kept), "utf-8")
    except OSError as error:
        raise RecordError(f"can't write {path}: {error.strerror or error}") from error
    return path, kept


def written(baseline: Baseline) -> str:
    """The file: sorted JSON, one deviation or case a line. A time is [measured, low, high]."""
    cases = []
    for name, one in sorted(baseline.cases.items()):
        kept: dict[str, Any] = {"verdict": one.verdict}
        if one.choices:
            kept["choices"] = dict(sorted(one.choices.items()))
        if one.times:
            times = sorted(one.times.items())
            kept["timings"] = {what: [time.measured_s, time.low_s, time.high_s] for what, time in times}
        for key in ("requirements", "cells"):
            if names := getattr(one, key):
                kept[key] = list(names)
        if one.deviation:
            kept["deviation"] = one.deviation
        cases.append(f"{json.dumps(name)}: {json.dumps(kept)}")
    target: dict[str, Any] = {"name": baseline.target, "version": baseline.version}
    if baseline.settings:
        target["settings"] = dict(sorted(baseline.settings.items()))
    head = [f'"schema": {SCHEMA}', *([f'"at": {json.dumps(baseline.at)}'] if baseline.at else [])]
    head.append(f'"target": {json.dumps(target)}')
    deviations = [json.dumps(dataclasses.asdict(one)) for one in baseline.deviations]
    if deviations:
        head.append('"deviations": [\n' + ",\n".join(deviations) + "\n]")
    return "{\n" + ",\n".join(head) + ',\n"cases": {\n' + ",\n".join(cases) + "\n}\n}\n"


def load(where: str, folder: Path = FOLDER) -> Baseline:
    """A baseline by its name or file, or a run by its folder or results.jsonl; RecordError, in one line, when it is none."""
    path = folder / f"{where}.json"
    if Path(where).name != where or not path.is_file():
        path = Path(where)
    if path.is_dir() or path.suffix == ".jsonl":
        return _read_run(where, path)
    try:
        content = path.read_text("utf-8")
    except FileNotFoundError:
        known = ", ".join(sorted(one.stem for one in folder.glob("*.json"))) or "none yet"
        raise RecordError(f"there is no baseline or run {where!r}; baselines in {folder}: {known}") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error
    return _read(where, path, content)


def earlier(run_dir: Path, folder: Path = FOLDER) -> list[Baseline]:
    """What is known of earlier runs: the one that was in the folder before, and the baselines, the newest first.

    A file that can't be read is left out: it is named when somebody asks for it.
    """
    found = []
    before = run_dir / BEFORE
    for name, path in (("the run before", before), *((path.stem, path) for path in sorted(folder.glob("*.json")))):
        with contextlib.suppress(RecordError, OSError, ValueError):
            found.append(_read(name, path, path.read_text("utf-8")))
    return sorted(found, key=lambda one: one.at, reverse=True)


def _read_run(name: str, path: Path) -> Baseline:
    path = path / "results.jsonl" if path.is_dir() else path
    problems: list[str] = []

    def records() -> Iterator[Mapping[str, Any]]:
        for line in scan_results(path):
            if line.record is None:
                problems.append(line.problem or "")
            else:
                yield line.record

    found = of_records(name, records(), problems)
    if not found.cases:
        raise RecordError(f"{path} holds no case" + (f": {problems[0]}" if problems else ""))
    return found


def _read(name: str, path: Path, content: str) -> Baseline:
    try:
        found = json.loads(content, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is no baseline: it is not JSON ({error})") from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        again = "; keep the run again with `tcp-conformance baseline save`" if isinstance(schema, int) else ""
        raise RecordError(f"{path} is no baseline that can be read here: its schema is {schema!r}, not {SCHEMA}{again}")
    try:
        cases = {
            case: Result(
                _verdict(one["verdict"]),
                {what: str(taken) for what, taken in one.get("choices", {}).items()},
                {what: Time(*map(_rounded, time)) for what, time in one.get("timings", {}).items()},
                tuple(map(str, one.get("requirements", ()))),
                tuple(map(str, one.get("cells", ()))),
                str(one.get("deviation", "")),
            )
            for case, one in found["cases"].items()
        }
        deviations = [
            Deviation(**{key: str(one[key]) for key in _TEXTS}, frames=tuple(map(str, one["frames"])))
            for one in found.get("deviations", ())
        ]
        target, version = str(found["target"]["name"]), str(found["target"]["version"])
        settings = {str(key): str(value) for key, value in found["target"].get("settings", {}).items()}
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise RecordError(f"{path} is no baseline: it lacks something or has it in another form ({error})") from error
    return Baseline(name, target, version, cases, (), str(found.get("at", "")), settings, deviations)


def _verdict(found: object) -> str:
    if found not in VERDICTS:
        raise ValueError(f"no verdict is called {found!r}")
    return str(found)


# What has changed


@dataclass(frozen=True, slots=True)
class Change:
    """One thing of a case, or a setting of the target, that was one way and is another."""

    case: str
    then: str
    now: str
    what: str = "verdict"

    @property
    def told(self) -> str:
        """The change in one line."""
        thing = self.case if self.what in ("verdict", "setting") else f"{self.case}: {self.what}"
        return f"{thing}: {self.now}, was {self.then}"


@dataclass(slots=True)
class Changes:
    """What has changed since a baseline, of the cases that ran; `as_before` counts those that were as bad then."""

    since: Baseline
    violations: list[Change] = field(default_factory=list)
    errors: list[Change] = field(default_factory=list)
    mended: list[Change] = field(default_factory=list)
    otherwise: list[Change] = field(default_factory=list)
    settings: list[Change] = field(default_factory=list)
    choices: list[Change] = field(default_factory=list)
    times: list[Change] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    compared: int = 0
    as_before: int = 0
    not_run: int = 0

    @property
    def worse(self) -> bool:
        """Whether a case violates, or ends in an error, that did not do so."""
        return bool(self.violations or self.errors)

    def groups(self) -> list[tuple[str, list[Change] | list[str]]]:
        """What has changed by its kind, the worst first."""
        return [
            ("new violations", self.violations),
            ("new errors", self.errors),
            ("other settings", self.settings),  # they may be why the rest is as it is
            ("mended", self.mended),
            ("other verdicts", self.otherwise),
            ("other choices", self.choices),
            ("timers that drifted", self.times),
            ("added", self.added),
            ("gone", self.gone),
        ]


def changes(then: Baseline, now: Baseline, *, whole: bool, left_out: Collection[str] = ()) -> Changes:
    """What has changed from `then` to `now`.

    Where `now` is a whole run, no selection, a case that is missing from a module that ran is gone, unless it was `left_out`.
    """
    found = Changes(then, compared=len(then.cases.keys() & now.cases.keys()))
    found.settings += _settings(then.settings, now.settings)
    for case, new in sorted(now.cases.items()):
        old = then.cases.get(case)
        if old is None:
            found.added.append(case)
        if old is None or old.verdict != new.verdict:
            _sort_in(found, Change(case, old.verdict if old else "not there", new.verdict))
        else:
            found.as_before += new.verdict in BAD
        if old is not None:
            found.choices += _choices(case, old, new)
            found.times += _times(case, old, new)
    modules = {_module(case) for case in now.cases}
    for case in sorted(then.cases.keys() - now.cases.keys()):
        if whole and case not in left_out and _module(case) in modules:
            found.gone.append(case)
        else:
            found.not_run += 1
    return found


def _module(case: str) -> str:
    return case.partition("::")[0]


def _sort_in(found: Changes, change: Change) -> None:
    if change.now == "violates":
        found.violations.append(change)
    elif change.now == "error":
        found.errors.append(change)
    elif change.then in _BROKEN and change.now == "conforms":
        found.mended.append(change)
    elif change.then in VERDICTS:
        found.otherwise.append(change)


def _settings(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Change]:
    """Settings of the target that are others; a baseline that has none at all is not asked."""
    for name in sorted(then.keys() | now.keys() if then and now else ()):
        if then.get(name) != now.get(name):
            yield Change(name, then.get(name, NOTHING), now.get(name, NOTHING), "setting")


def _choices(case: str, old: Result, new: Result) -> Iterator[Change]:
    for what, taken in new.choices.items():
        if old.choices.get(what, taken) != taken:
            yield Change(case, old.choices[what], taken, what)


def _times(case: str, old: Result, new: Result) -> Iterator[Change]:
    for what, time in new.times.items():
        if what in old.times and old.times[what].drifted(time):
            allowed = f"{seconds(time.measured_s)} (allowed: {bounds(time.low_s, time.high_s)})"
            yield Change(case, seconds(old.times[what].measured_s), allowed, what)


def told(found: Changes) -> list[str]:
    """The changes as lines of text."""
    since = found.since
    lines = [
        f"since {since.name} ({since.target} {since.version}): {'worse' if found.worse else 'nothing got worse'}",
        f"{count(found.compared, 'case')} compared"
        + (f", {found.as_before:,} as bad as before" if found.as_before else "")
        + (f", {found.not_run:,} of the baseline not run" if found.not_run else ""),
        *([f"of the baseline, {count(len(since.problems), 'line')} can't be read"] if since.problems else []),
    ]
    for title, group in found.groups():
        lines += _listed(title, [one if isinstance(one, str) else one.told for one in group])
    return [clean(line) for line in lines]


def _listed(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    more = [f"  and {len(lines) - LISTED:,} more"] if len(lines) > LISTED else []
    return ["", f"{title} ({len(lines):,}):", *(f"  {line}" for line in lines[:LISTED]), *more]
