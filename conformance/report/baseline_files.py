"""Baselines as files: sorted JSON that reads well in a diff; and runs read as if they were baselines."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from conformance.record.case import CaseRecord
from conformance.record.errors import RecordError
from conformance.record.renamed import current_id
from conformance.record.results import scan_results
from conformance.report.baseline import Baseline, KnownDeviation, Result, Time, of_records, to_the_millisecond
from conformance.report.text import VERDICTS

SCHEMA = 1
FOLDER = Path("reports/baselines")
LAST, BEFORE = "verdicts.json", "verdicts-before.json"
"""In a run's folder: its own results as a baseline, and those of the run that was there before it."""
_TEXTS = ("reason", "sentence", "source", "case", "shows")


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

    def records() -> Iterator[CaseRecord]:
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
            current_id(case): Result(
                _verdict(one["verdict"]),
                {what: str(taken) for what, taken in one.get("choices", {}).items()},
                {what: Time(*map(to_the_millisecond, time)) for what, time in one.get("timings", {}).items()},
                tuple(map(str, one.get("requirements", ()))),
                tuple(map(str, one.get("cells", ()))),
                str(one.get("deviation", "")),
            )
            for case, one in found["cases"].items()
        }
        deviations = [_known(one) for one in found.get("deviations", ())]
        target, version = str(found["target"]["name"]), str(found["target"]["version"])
        settings = {str(key): str(value) for key, value in found["target"].get("settings", {}).items()}
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise RecordError(f"{path} is no baseline: it lacks something or has it in another form ({error})") from error
    return Baseline(name, target, version, cases, (), str(found.get("at", "")), settings, deviations)


def _known(found: Mapping[str, Any]) -> KnownDeviation:
    texts = {key: str(found[key]) for key in _TEXTS}
    texts["case"] = current_id(texts["case"])
    return KnownDeviation(**texts, frames=tuple(map(str, found["frames"])))


def _verdict(found: object) -> str:
    if found not in VERDICTS:
        raise ValueError(f"no verdict is called {found!r}")
    return str(found)
