"""Several processes append to one `results.jsonl`."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from conformance.record import ResultsWriter, read_results
from tests.unit.test_results import record


def _append(path: Path, name: str) -> None:
    with ResultsWriter(path) as writer:
        for number in range(50):
            writer.append(record(id=f"{name}{number}", failure="x" * 5000))


def test_several_processes_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "run" / "results.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append, args=(path, name)) for name in "abcd"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    results = read_results(path)
    assert (len(results.records), results.problems) == (200, [])
