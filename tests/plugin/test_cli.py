"""`tcp-conformance run`: paths that follow -- narrow what runs, and the report as one file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Ran, clean_environment

CASES = '''
from conformance.api import *


@verifies("RFC9293:MUST-13")
async def test_here(tcp):
    """Nothing."""


@verifies("RFC9293:MUST-13")
async def test_elsewhere(tcp):
    """Nothing."""
'''
CLOSING = "rfc9293/test_s3_6_closing.py"


def run(folder: Path, *arguments: str) -> Ran:
    command = [sys.executable, "-m", "conformance.cli", "run", "--family=4", "--output=out", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
        env=clean_environment(),
    )
    return Ran(done.returncode, done.stdout, folder / "out")


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("path", "cases"),
    [
        ("test_own.py::test_here", ["test_here[ipv4]"]),
        ("test_own.py", ["test_elsewhere[ipv4]", "test_here[ipv4]"]),
        (
            f"{CLOSING}::test_simultaneous_close_passes_through_closing",
            ["test_simultaneous_close_passes_through_closing[ipv4]"],
        ),
    ],
    ids=["case", "file", "case-of-ours"],
)
def test_a_path_narrows_what_runs(tmp_path: Path, path: str, cases: list[str]) -> None:
    (tmp_path / "test_own.py").write_text(CASES)
    ran = run(tmp_path, "--self-contained", "--", "-q", path)
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert sorted(ran.results) == cases
    assert ran.out.endswith("report: out/report.html\n")
    assert "<style>" in (ran.output / "report.html").read_text()


def test_a_path_that_is_not_there_gets_one_line(tmp_path: Path) -> None:
    ran = run(tmp_path, "--self-contained", "--", "rfc9293/test_s9.py")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "file or directory not found: rfc9293/test_s9.py" in ran.out
    assert "Traceback" not in ran.out
    assert not (ran.output / "report.html").exists()


def test_an_options_value_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "closing").mkdir()
    ran = run(tmp_path, "--", "--collect-only", "-q", "-k", "closing and simultaneous_close_passes")
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert CLOSING in ran.out
