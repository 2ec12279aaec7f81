"""Baselines as files: sorted JSON that reads well in a diff; and runs read as if they were baselines."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import Any

from conformance.bounded import read_octets
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
_LARGEST = 64 << 20  # octets: sixty times as many as a baseline of a full run has
_TEXTS = ("reason", "sentence", "source", "case", "shows")


def save(name: str, run: Path, folder: Path = FOLDER) -> tuple[Path, Baseline]:
    """Save a run (its folder or its results.jsonl) as a baseline; returns its path and content.

    Raises RecordError for a bad name, a run without cases, or a folder that can't be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII) or name.endswith((".json", ".jsonl")):
        raise RecordError(
            f"can't call a baseline {name!r}: letters, digits, dots and dashes make a name, without .json"
        )
    baseline = _read_run(str(run), run)
    path = folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(written(baseline), "utf-8")
    except OSError as error:
        raise RecordError(f"can't write {path}: {error.strerror or error}") from error
    return path, baseline


def written(baseline: Baseline) -> str:
    """Return the content of a baseline's file: sorted JSON, one deviation or case a line. A time is [measured, low, high]."""
    cases = []
    for name, result in sorted(baseline.cases.items()):
        stored: dict[str, Any] = {"verdict": result.verdict}
        if result.choices:
            stored["choices"] = dict(sorted(result.choices.items()))
        if result.times:
            times = sorted(result.times.items())
            stored["timings"] = {what: [time.measured_s, time.low_s, time.high_s] for what, time in times}
        for key in ("requirements", "cells"):
            if names := getattr(result, key):
                stored[key] = list(names)
        if result.deviation:
            stored["deviation"] = result.deviation
        cases.append(f"{json.dumps(name)}: {json.dumps(stored)}")
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
    """Load a baseline by its name or file, or a run by its folder or results.jsonl. Raises RecordError with one line."""
    path = folder / f"{where}.json"
    if Path(where).name != where or not path.is_file():
        path = Path(where)
    if path.is_dir() or path.suffix == ".jsonl":
        return _read_run(where, path)
    try:
        content = read_octets(path, _LARGEST).decode("utf-8")
    except FileNotFoundError:
        known = ", ".join(sorted(one.stem for one in folder.glob("*.json"))) or "none yet"
        raise RecordError(f"there is no baseline or run {where!r}; baselines in {folder}: {known}") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"can't read {path}: {getattr(error, 'strerror', None) or error}") from error
    return _read(where, path, content)


def earlier(run_dir: Path, cases: Container[str], folder: Path = FOLDER) -> list[Baseline]:
    """Return what earlier runs had of these cases, the newest first: the run before in this folder, and the baselines.

    A file that can't be read is left out: it is named when somebody asks for it.
    """
    baselines = []
    before = run_dir / BEFORE
    for name, path in (("the run before", before), *((path.stem, path) for path in sorted(folder.glob("*.json")))):
        with contextlib.suppress(RecordError, OSError, ValueError):
            baselines.append(_read(name, path, read_octets(path, _LARGEST).decode("utf-8"), cases))
    return sorted(baselines, key=lambda baseline: baseline.at, reverse=True)


def _read_run(name: str, path: Path) -> Baseline:
    path = path / "results.jsonl" if path.is_dir() else path
    problems: list[str] = []

    def records() -> Iterator[CaseRecord]:
        for line in scan_results(path):
            if line.record is None:
                problems.append(line.problem or "")
            else:
                yield line.record

    baseline = of_records(name, records(), problems)
    if not baseline.cases:
        raise RecordError(f"{path} holds no case" + (f": {problems[0]}" if problems else ""))
    return baseline


def _read(name: str, path: Path, content: str, only: Container[str] | None = None) -> Baseline:
    try:
        data = json.loads(content, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} is no baseline: it is not JSON ({error})") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        again = "; keep the run again with `tcp-conformance baseline save`" if isinstance(schema, int) else ""
        raise RecordError(f"{path} is no baseline that can be read here: its schema is {schema!r}, not {SCHEMA}{again}")
    try:
        cases = {
            today: Result(
                _verdict(one["verdict"]),
                {what: str(taken) for what, taken in one.get("choices", {}).items()},
                {what: Time(*map(to_the_millisecond, time)) for what, time in one.get("timings", {}).items()},
                tuple(map(str, one.get("requirements", ()))),
                tuple(map(str, one.get("cells", ()))),
                str(one.get("deviation", "")),
            )
            for today, one in ((current_id(case), one) for case, one in data["cases"].items())
            if only is None or today in only
        }
        deviations = [_known(one) for one in data.get("deviations", ())]
        target, version = str(data["target"]["name"]), str(data["target"]["version"])
        settings = {str(key): str(value) for key, value in data["target"].get("settings", {}).items()}
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise RecordError(f"{path} is no baseline: it lacks something or has it in another form ({error})") from error
    return Baseline(name, target, version, cases, (), str(data.get("at", "")), settings, deviations)


def _known(data: Mapping[str, Any]) -> KnownDeviation:
    texts = {key: str(data[key]) for key in _TEXTS}
    texts["case"] = current_id(texts["case"])
    return KnownDeviation(**texts, frames=tuple(map(str, data["frames"])))


def _verdict(word: object) -> str:
    if word not in VERDICTS:
        raise ValueError(f"no verdict is called {word!r}")
    return str(word)
