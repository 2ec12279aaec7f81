"""Fixtures of the harness's own tests: runs of small suites, in a process of their own, on the embedded lab."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from conformance.target import HarnessFault
from conformance.target.netns import NetnsTarget

_IMPORTS = "from conformance.api import *\nimport asyncio, pytest\nfrom conformance.target import HarnessFault\n\n\n"

# How long an example takes says how busy the machine is.
settings.register_profile("no deadline", deadline=None)
# The fast loop's: fewer examples, and the same in every run. `make test` draws the usual hundred at random.
settings.register_profile("quick", deadline=None, max_examples=20, derandomize=True)
# What `make test-long` draws.
settings.register_profile("long", deadline=None, max_examples=5000)
settings.load_profile("no deadline")

# Scripts that a benchmark runs are no tests of the harness's.
collect_ignore_glob = ["bench/packetdrill/*"]

# A file whose tests share a clone and an installation, one after another.
_LONGEST = ("test_readme.py",)


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark of `make test-long` known."""
    config.addinivalue_line(
        "markers", "long: runs with `make test-long` alone: it takes more than a minute of two cores"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first.

    Several workers are done no sooner than the last file that one of them began.
    """
    items.sort(key=lambda item: item.path.name not in _LONGEST)


@cache
def _lab_is_missing() -> str:
    async def attempt() -> None:
        target = NetnsTarget()
        try:
            await target.open()
        finally:
            await target.close()

    try:
        asyncio.run(attempt())
    except HarnessFault as error:
        return str(error)
    return ""


@pytest.fixture
def lab() -> None:
    """Skip where the embedded lab can't be made, naming what is missing."""
    if missing := _lab_is_missing():
        pytest.skip(f"needs the embedded lab: {missing}")


@dataclass
class Ran:
    """A run in a process of its own, and its folder."""

    code: int
    out: str
    output: Path

    @property
    def results(self) -> dict[str, dict[str, Any]]:
        """The record by the case's function and parameters."""
        path = self.output / "results.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return {record["id"].rpartition("::")[2]: record for record in records}

    @property
    def verdicts(self) -> dict[str, str]:
        """The verdicts by the case's function and parameters."""
        return {name: record["verdict"] for name, record in self.results.items()}


@dataclass
class Suite:
    """A folder with a suite of cases of its own."""

    folder: Path

    def write(self, cases: str) -> Suite:
        """Put the cases into a module; the usual imports stand on top."""
        (self.folder / "test_cases.py").write_text(_IMPORTS + textwrap.dedent(cases))
        return self

    def command(self, *options: str) -> list[str]:
        """Return the command line of its pytest."""
        return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--output=out", *options]

    def run(self, *options: str, **keywords: Any) -> Ran:
        """Run it to its end."""
        done = subprocess.run(
            self.command(*options),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            env=clean_environment(),
            **keywords,
        )
        return Ran(done.returncode, done.stdout, self.folder / "out")

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Start it, in a process group of its own."""
        return subprocess.Popen(
            self.command(*options),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment(),
            start_new_session=True,
            preexec_fn=_hear_ctrl_c,  # noqa: PLW1509 - no threads here
        )


def _hear_ctrl_c() -> None:
    """Shells, and nohup, have what they start ignore these signals, and all that it starts."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def clean_environment() -> dict[str, str]:
    """Return our environment without what an outer pytest, a terminal or CI would change in an inner one.

    Inner runs do without the plugin of hypothesis, which no case needs and which takes a fifth of a second to load.
    """
    drop = ("PYTEST_", "COV_", "COLUMNS", "CI", "BUILD_NUMBER")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    return {**inherited, "PYTEST_ADDOPTS": "-p no:hypothesispytest"}


@pytest.fixture
def suite(lab: None, tmp_path: Path) -> Callable[[str], Suite]:
    """Make a suite from the source of its cases."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return Suite(tmp_path).write
