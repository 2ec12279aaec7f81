"""Without any privilege, as user 65534: the embedded lab, and every stack that somebody else has built."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from conformance.target.build import stacks
from tests.conftest import clean_environment

_ROOT = Path(__file__).parent.parent.parent
_USER = 65534
_CASES = "test_simultaneous_close or test_both_ends or test_interval_between_syns"


def _as_user(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**clean_environment(), "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = ":".join([str(_ROOT), *site.getsitepackages()])
    user, groups = (_USER, ()) if os.geteuid() == 0 else (None, None)
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        user=user,
        group=user,
        extra_groups=groups,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@cache
def _python(folder: Path) -> str:
    """A Python of our version that the user may run; empty where there is none."""
    for program in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            if _as_user([program, "-c", "import conformance.cli"], folder).returncode == 0:
                return program
        except OSError:
            continue
    return ""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of the user's own, in which nothing is but what a run leaves; pytest's own ones are nobody else's to enter."""
    with tempfile.TemporaryDirectory() as made:
        if os.geteuid() == 0:
            os.chown(made, _USER, _USER)
        yield Path(made)


@pytest.mark.parametrize("target", ["linux", *stacks()])
def test_target_runs_without_privileges(folder: Path, target: str) -> None:
    python = _python(folder)
    if not python:
        pytest.skip(f"user {_USER} can't run Python from {sys.executable}, nor this checkout")
    if target in stacks():
        status = _as_user([python, "-m", "conformance.cli", "stacks", target], folder).stdout
        if "ready" not in status:
            pytest.skip(f"not built, or not for user {_USER}: {status.strip()}")
    command = [python, "-m", "conformance.cli", "run", f"--target={target}", "--tier=quick", "--output=out"]
    done = _as_user([*command, "--", "-k", _CASES], folder)
    assert done.returncode == 0, done.stdout + done.stderr
    records = [json.loads(line) for line in (folder / "out" / "results.jsonl").read_text().splitlines()]
    verdicts = Counter(record["verdict"] for record in records)
    assert set(verdicts) <= {"conforms", "deviates", "not applicable"}, verdicts
    assert verdicts["conforms"], verdicts
    assert (folder / "out" / "index.html").stat().st_uid == (_USER if os.geteuid() == 0 else os.geteuid())
