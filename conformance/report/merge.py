"""Several runs as one: workers' shares, address families, machines, or targets beside each other."""

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from conformance.record.errors import RecordError
from conformance.record.names import case_name
from conformance.record.results import ResultsWriter, scan_results
from conformance.report.files import clear, put
from conformance.report.junit import JUnit


def merge(runs: Sequence[Path], output: Path) -> list[str]:
    """Put the records and captures of runs into one folder; returns a line for each record or capture that is missing.

    JUnit XML is written from the records: a run need not have had any. If several runs have a case of the same target, the
    last one to begin counts. Raises RecordError if a run has no record, if `output` is one of the runs, or if `output`
    can't be written.
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
    newest_lines = {(at, number) for _, at, number in newest.values()}
    several = len({target for target, _ in newest}) > 1
    junit = JUnit()
    try:
        clear(output)
        (output / "captures").mkdir(exist_ok=True)
        with ResultsWriter(output / "results.jsonl") as results:
            for at, run in enumerate(runs):
                for line in scan_results(run / "results.jsonl"):
                    if line.record is None or (at, line.number) not in newest_lines:
                        continue
                    record = line.record
                    if record.capture is not None:
                        prefix = f"{record.target.name}:" if several else ""
                        capture = f"captures/{case_name(prefix + record.id)}.pcapng"
                        if not _take(run, record.capture, output / capture):
                            problems.append(f"{run}: no capture {json.dumps(record.capture)}")
                        record = dataclasses.replace(record, capture=capture)
                    results.append(record)
                    junit.add(record)
        put(output / "junit.xml", junit.written())
    except OSError as error:
        raise RecordError(f"can't write {error.filename or output}: {error.strerror or error}") from error
    return problems


def _take(run: Path, name: str, goal: Path) -> bool:
    """Copy a capture out of a run's folder; False when it is not there."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not os.path.isfile(run / path):  # noqa: PTH113 - never raises
        return False
    shutil.copyfile(run / path, goal)
    return True
