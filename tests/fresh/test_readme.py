"""Every command, target file and case of the README, in a fresh copy of the project in an empty folder."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conformance.target.load import load_target
from tests.conftest import clean_environment

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# These run the tests: the very run that this test is part of.
OURSELVES = {"make check", "make test"}

# These repeat what CI runs before the tests, wait for a minute for what other commands show in a second, or need what one of
# these has made.
LONG = {
    "make lint",
    "make bench ARGS=--quick",
    ".venv/bin/pytest testcases --tier quick",
    ".venv/bin/tcp-conformance run --target smoltcp --tier quick --output reports/smoltcp",
    ".venv/bin/tcp-conformance compare reports/latest reports/smoltcp",
    ".venv/bin/tcp-conformance run --family 4 --output reports/closing rfc9293/test_s3_6_closing.py",
}


def _blocks(language: str, page: str = "README.md") -> list[str]:
    return [text for name, text in BLOCK.findall((ROOT / page).read_text()) if name == language]


COMMANDS = [line for block in _blocks("sh") for line in block.splitlines() if line]


def _run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
        env={
            name: value
            for name, value in clean_environment().items()
            if name not in ("VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL")
        },
    )


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git knows or would take, as a clone has them: no virtual environment, no reports."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "lab.toml").write_text(next(text for text in _blocks("toml") if 'kind = "netns"' in text))
    return folder


@pytest.mark.parametrize(
    "text", [*_blocks("toml"), *_blocks("toml", "docs/lab-hosts.md")], ids=lambda text: text.split('"')[1]
)
def test_target_files_are_understood(tmp_path: Path, text: str) -> None:
    (tmp_path / "target.toml").write_text(text)
    assert load_target(str(tmp_path / "target.toml")).name == text.split('"')[1]


def test_the_commands_are_where_this_test_looks_for_them() -> None:
    assert COMMANDS[0] == "make conformance"
    assert set(COMMANDS) >= OURSELVES | LONG


@pytest.mark.parametrize(
    "command",
    [pytest.param(line, marks=[pytest.mark.long] * (line in LONG)) for line in COMMANDS if line not in OURSELVES],
)
def test_command(lab: None, clone: Path, command: str) -> None:
    done = _run(command, clone)
    if "No matching distribution found" in done.stdout:
        pytest.skip("needs a package index")
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Traceback" not in done.stdout
    if command == "make conformance":
        latest = clone / "reports" / "latest"
        for name in ("index.html", "pytest.html", "junit.xml", "results.jsonl", "captures"):
            assert (latest / name).exists(), name


def test_the_case_of_the_readme_conforms(lab: None, clone: Path) -> None:
    folder = clone / "elsewhere"
    folder.mkdir()
    (folder / "test_own.py").write_text(_blocks("python")[0])
    done = _run("../.venv/bin/pytest --rootdir . test_own.py", folder)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "2 passed" in done.stdout


def test_the_wheel_carries_the_cases(lab: None, clone: Path, tmp_path: Path) -> None:
    """Run the cases of the wheel alone, installed by pip, from an empty folder."""
    made = _run(
        f".venv/bin/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir {tmp_path}/dist .", clone
    )
    assert made.returncode == 0, made.stdout[-3000:]
    wheel = next((tmp_path / "dist").glob("*.whl"))
    made = _run(
        f"{clone}/.venv/bin/python -m venv env && env/bin/pip install --quiet --disable-pip-version-check {wheel}",
        tmp_path,
    )
    assert made.returncode == 0, made.stdout[-3000:]
    empty = tmp_path / "empty"
    empty.mkdir()
    done = _run("../env/bin/tcp-conformance run --family 4 -- -k simultaneous_close", empty)
    assert done.returncode == 0, done.stdout[-6000:]
    assert (empty / "reports" / "latest" / "index.html").exists()
    assert {path.name for path in empty.iterdir()} == {"reports"}
