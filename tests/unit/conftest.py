"""Keep the unit tests quick: no process, no network, and none of this checkout's baselines."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_PROCESSES = frozenset({"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system"})


class NotAUnitTest(BaseException):
    """A unit test starts a process or opens a socket; no `except Exception` of the code under test may hide that."""


class _Guard:
    """Refuse, while a unit test runs, what makes tests slow and dependent on their machine."""

    def __init__(self) -> None:
        self.active = False

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Judge one audit event of the interpreter."""
        if not self.active:
            return
        # An event loop wakes itself through a pair of AF_UNIX sockets.
        if event == "socket.__new__" and arguments[1] != socket.AF_UNIX:
            raise NotAUnitTest("a unit test opens a socket: move it to tests/lab")
        if event in _PROCESSES:
            raise NotAUnitTest(f"a unit test starts a process ({event}): move it to tests/plugin or tests/lab")


_guard = _Guard()
sys.addaudithook(_guard.hear)


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with nothing in it."""
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(autouse=True)
def _unit(empty_folder: Path) -> Iterator[None]:
    """Run a test away from the checkout, whose kept baselines every report would read: 0.2 s each."""
    before = Path.cwd()
    os.chdir(empty_folder)
    _guard.active = True
    try:
        yield
    finally:
        _guard.active = False
        os.chdir(before)
        assert not any(empty_folder.iterdir()), "the test writes into the working folder: use tmp_path"
