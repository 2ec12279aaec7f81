"""Several runs as one: workers' shares, address families, machines, or targets beside each other."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from conformance.record.errors import RecordError
from conformance.record.inside import open_inside
from conformance.record.names import case_name
from conformance.record.results import ResultsWriter, scan_results
from conformance.report.files import put
from conformance.report.folder import replaced
from conformance.report.junit import JUnit


def merge(runs: Sequence[Path], output: Path, finish: Callable[[Path], object] = lambda _: None) -> list[str]:
    """Put the records and captures of runs into one folder; returns a line for each record or capture that is missing.

    JUnit XML is written from the records: a run need not have had any. If several runs have a case of the same target, the
    last one to begin counts. `finish` is called with the new folder before it takes the place of `output`: it makes the
    pages. Raises RecordError if a run has no record, if `output` is one of the runs or was not made by a run, or if it can't be
    written.
    """
    for run in runs:
        if run.resolve() == output.resolve():
            raise RecordError(f"can't merge into {output}: it is one of the runs; name another --output")
        if not (run / "results.jsonl").is_file():
            raise RecordError(f"can't read {run / 'results.jsonl'}: No such file or directory")
    newest: dict[tuple[str, str], tuple[int, int, int]] = {}  # began, which run, its line
    problems = []
    for at, run in enumerate(runs):
        for line in scan_results(run / "results.jsonl"):
            if line.record is None:
                problems.append(f"{run}: {line.problem}")
                continue
            key = (line.record.target.name, line.record.id)
            newest[key] = max(newest.get(key, (-1, -1, -1)), (line.record.started_ns, at, line.number))
    chosen = {(at, number) for _, at, number in newest.values()}
    targets = sorted({target for target, _ in newest})
    try:
        with replaced(output, target=" ".join(targets)) as folder:
            problems += _write(runs, chosen, folder, several=len(targets) > 1)
            finish(folder)
    except BlockingIOError as error:
        raise RecordError(f"a run is at {output}; name another --output") from error
    except OSError as error:
        raise RecordError(f"can't write {error.filename or output}: {error.strerror or error}") from error
    return problems


def _write(runs: Sequence[Path], chosen: set[tuple[int, int]], folder: Path, *, several: bool) -> list[str]:
    """Write the chosen lines of the runs, their captures and JUnit XML, and return a line for each capture that is not there."""
    problems, junit = [], JUnit()
    with ResultsWriter(folder / "results.jsonl") as results:
        for at, run in enumerate(runs):
            for line in scan_results(run / "results.jsonl"):
                if line.record is None or (at, line.number) not in chosen:
                    continue
                record = line.record
                if record.capture is not None:
                    prefix = f"{record.target.name}:" if several else ""
                    capture = f"captures/{case_name(prefix + record.id)}.pcapng"
                    if not _take(run, record.capture, folder / capture):
                        problems.append(f"{run}: no capture {json.dumps(record.capture)}")
                    record = dataclasses.replace(record, capture=capture)
                results.append(record)
                junit.add(record)
    put(folder / "junit.xml", junit.written())
    return problems


def _take(run: Path, name: str, goal: Path) -> bool:
    """Copy a capture out of a run's folder; False when it is not there."""
    source = open_inside(run, name)
    if source is None:
        return False
    with source, goal.open("xb") as file:
        shutil.copyfileobj(source, file)
    return True
