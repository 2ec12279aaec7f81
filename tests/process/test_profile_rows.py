"""Each row of each profile names cases that there are: a case that was renamed would leave its row without effect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conformance.standard.cells import cells
from conformance.standard.profile import profile, profiles
from conformance.standard.profile_rows import matches
from tests.conftest import clean_environment

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def ids() -> list[str]:
    """All by which a row can name a case of any tier: node ids, names of functions, cells."""
    command = [sys.executable, "-m", "pytest", "testcases", "--tier=full", "--collect-only", "-q"]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=120, check=True
    )
    nodes = [line.removeprefix("testcases/") for line in done.stdout.splitlines() if "::" in line]
    names = [node.partition("::")[2] for node in nodes]
    return [*nodes, *names, *{name.partition("[")[0] for name in names}, *(cell.id for cell in cells())]


@pytest.mark.parametrize("name", profiles())
def test_every_glob_of_a_row_matches_a_case(ids: list[str], name: str) -> None:
    rows = [row for row in profile(name).deviations if row.cases]
    idle = {(glob, row.reason) for row in rows for glob in row.cases + row.in_the_way_of if not matches((glob,), ids)}
    assert not idle
