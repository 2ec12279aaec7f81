"""A target whose timer is 10 % beyond its bound is caught, for every timer and every series of the suite."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conformance.case.ids import cases_folder
from tests.conftest import Ran, clean_environment

NOTICED = ("violates", "breaks should", "deviates")
# One time of a case is moved in a run; and where a target takes another way, a run may lack the one to move.
ROUNDS = 6


def _run(folder: Path, name: str, shift: str = "", cases: Iterable[str] = ()) -> Ran:
    """These cases, or all, in a process of its own; without a shift, every checked time is noted."""
    plugins = ["-p", "tests.mutants.shift", "-p", "tests.bench.no_report", "-p", "no:cacheprovider"]
    options = [*plugins, "-q", "--family=4", "--concurrency=100"]
    chosen = [str(cases_folder() / case) for case in cases] or os.environ.get(
        "SHIFT_CASES", str(cases_folder())
    ).split()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *chosen, *options, f"--output={folder / name}"],
        cwd=Path(__file__).parent.parent.parent,
        env={**clean_environment(), "SHIFT_FILE": str(folder / "times.json"), "SHIFT": shift},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    return Ran(done.returncode, done.stdout, folder / name)


def _kind(name: str) -> str:
    """The timer's name without the number of an interval."""
    return re.sub(r"\b\d+\b", "N", name)


@dataclass(frozen=True)
class Clean:
    """A run in which nothing was moved."""

    checks: dict[str, list[tuple[str, bool]]]
    """By case the timers that it checks, and whether they have a lower bound."""
    conforming: list[dict[str, Any]]
    """The records of conforming cases that check a timer, the shortest first."""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    """Run all cases once, for both directions in which times are moved afterwards."""
    folder = tmp_path_factory.mktemp("clean")
    ran = _run(folder, "clean")
    assert ran.code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), ran.out[-3000:]
    checks: dict[str, list[tuple[str, bool]]] = json.loads((folder / "times.json").read_text())
    records = [
        record for record in ran.results.values() if record["verdict"] == "conforms" and checks.get(record["id"])
    ]
    return Clean(checks, sorted(records, key=lambda record: record["duration_s"]))


@pytest.mark.long
@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("shift", ["late", "early"])
def test_every_timer_that_is_off_by_a_tenth_is_caught(clean: Clean, tmp_path: Path, shift: str) -> None:
    # Of each timer the shortest case that checks it.
    where: dict[str, list[tuple[str, int]]] = {}
    for case in clean.conforming:
        for number, (name, has_low) in enumerate(clean.checks[case["id"]]):
            if shift == "late" or has_low:
                where.setdefault(_kind(name), []).append((case["id"], number))
    assert where
    left = dict.fromkeys(where, 0)
    for round_ in range(ROUNDS):
        moved: dict[str, tuple[int, str]] = {}
        for kind, tried in left.items():
            case_id, number = where[kind][tried % len(where[kind])]
            if case_id not in moved:
                moved[case_id] = number, kind
        if not moved:
            break
        (tmp_path / "times.json").write_text(json.dumps({case: number for case, (number, _) in moved.items()}))
        ran = _run(tmp_path, f"{shift}-{round_}", shift, moved)
        verdicts = {one["id"]: one["verdict"] for one in ran.results.values()}
        for case_id, (_, kind) in moved.items():
            if verdicts.get(case_id) in NOTICED:
                del left[kind]
            else:
                left[kind] += 1
    assert not left, f"off by a tenth, and not caught: {sorted(left)}"
