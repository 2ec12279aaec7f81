"""Measure the time of the whole suite, beside its longest case."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from conformance.target import HarnessFault
from tests.bench.numbers import Number, number

_ROOT = Path(__file__).parents[2]
_SELECTION = ("--tier", "quick", "--family", "4", "-k", "test_s3_6_closing")


def measure(*, one_by_one: bool) -> list[Number]:
    """The suite's wall time in s and over its longest case, at several concurrencies. Raises HarnessFault.

    One and 16 at a time would take hours: that is measured with a selection, beside 128 and 512 with the same. With
    `one_by_one` the whole suite runs one case at a time too.
    """
    how = "`pytest testcases` in a process of its own, from its start to its end"
    wall_s, longest_s = _run()
    numbers = [
        number("suite.wall", "the whole suite", "s", [wall_s], how),
        number("suite.longest", "its longest case", "s", [longest_s], "the longest duration_s in that run's record"),
        number(
            "suite.over_longest",
            "suite over longest case",
            "x",
            [wall_s / longest_s],
            f"{how}; by duration_s",
            aim=1.15,
        ),
    ]
    for concurrency in (128, 512):
        numbers.append(_over_longest(f"suite.over_longest.{concurrency}", "suite", concurrency, how, ()))
    selected = f"{how}, of {' '.join(_SELECTION)} alone"
    for concurrency in (1, 16, 128, 512):
        key = f"suite.selected.over_longest.{concurrency}"
        numbers.append(_over_longest(key, "selection", concurrency, selected, _SELECTION))
    if one_by_one:
        alone_s, _ = _run("--concurrency", "1")
        numbers += [
            number(
                "suite.one_by_one", "the whole suite, one case at a time", "s", [alone_s], f"{how}, --concurrency 1"
            ),
        ]
    return numbers


def _over_longest(key: str, what: str, concurrency: int, how: str, selection: Sequence[str]) -> Number:
    wall_s, longest_s = _run("--concurrency", str(concurrency), *selection)
    text = f"{how}, --concurrency {concurrency}; by duration_s (wall {wall_s:.1f} s, longest case {longest_s:.1f} s)"
    return number(key, f"{what} over longest case, {concurrency} at a time", "x", [wall_s / longest_s], text)


def _run(*options: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pytest", "testcases", "-q", "--output", folder, *options]
        started = time.monotonic()
        ran = subprocess.run(command, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        wall_s = time.monotonic() - started
        if ran.returncode not in (0, 1):
            raise HarnessFault(f"the suite did not run: `pytest testcases` ended with status {ran.returncode}")
        lines = (Path(folder) / "results.jsonl").read_text().splitlines()
    return wall_s, max(json.loads(line)["duration_s"] for line in lines)
