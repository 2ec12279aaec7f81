"""How long the whole suite takes, beside its longest case."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conformance.target import HarnessFault
from tests.bench.numbers import Number, number

_ROOT = Path(__file__).parents[2]


def measure(*, one_by_one: bool) -> list[Number]:
    """The suite's wall time in s and over its longest case; with `one_by_one` also one case at a time. Raises HarnessFault."""
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
    if one_by_one:
        alone_s, _ = _run("--concurrency", "1")
        numbers += [
            number(
                "suite.one_by_one", "the whole suite, one case at a time", "s", [alone_s], f"{how}, --concurrency 1"
            ),
        ]
    return numbers


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
