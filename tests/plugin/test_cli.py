"""`tcp-conformance run` and `list`: they take every option of pytest, paths narrow what runs, and the report as one file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conformance.plugin.options import OPTIONS
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


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--targt", "linux"), "no option is called '--targt'; the nearest is --target"),
        (("--step-sumary",), "no option is called '--step-sumary'; the nearest is --step-summary"),
        (("--", "--maxfial=1"), "no option is called '--maxfial=1'; the nearest is --maxfail"),
        (("--family=5",), "argument --family: invalid choice: '5'"),
        (("--concurrency=0",), "argument --concurrency: '0' is not a whole number above 0"),
        (("--maxfail=x",), "argument --maxfail: invalid int value: 'x'"),
    ],
)
def test_a_wrong_word_gets_one_line(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    ran = run(tmp_path, *words)
    assert ran.code in (2, pytest.ExitCode.USAGE_ERROR)
    assert f"tcp-conformance run: {says}" in ran.out
    assert len(ran.out.strip().splitlines()) == 1
    assert not ran.output.exists()


@pytest.mark.usefixtures("lab")
def test_options_of_pytest_need_no_dashes_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_own.py").write_text(CASES)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    ran = run(tmp_path, "-x", "-k", "test_here", "--step-summary", "--html=own.html", "test_own.py")
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert set(ran.results) == {"test_here[ipv4]"}
    assert (tmp_path / "step.md").read_text() == (ran.output / "summary.md").read_text()
    assert (tmp_path / "own.html").is_file()
    assert (ran.output / "junit.xml").is_file()
    assert not (ran.output / "pytest.html").exists()


def test_every_option_of_a_run_is_one_of_pytests_and_helps(tmp_path: Path) -> None:
    shown = run(tmp_path, "--help").out
    for name, keywords in OPTIONS.items():
        assert name in shown
        assert keywords["help"].split()[0] in shown
    for name in ("-k", "--self-contained", "--strict"):
        assert name in shown


def test_help_imports_neither_pytest_nor_the_harness() -> None:
    """Half a second of imports for a page of text was too much; a count of modules does not depend on the machine's load."""
    script = (
        "import sys\nfrom conformance.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('pytest', 'rich', 'jinja2', 'scapy', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "run the cases" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_word_that_is_no_command_gets_the_nearest() -> None:
    command = [sys.executable, "-m", "conformance.cli", "compar"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "no command is called 'compar'; the nearest is compare" in done.stderr


def test_an_options_value_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "closing").mkdir()
    ran = run(tmp_path, "--", "--collect-only", "-q", "-k", "closing and simultaneous_close_passes")
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert CLOSING in ran.out
