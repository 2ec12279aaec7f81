"""Check what is remembered of a host's path MTUs from run to run."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from conformance.target.remembered import KEPT_S, Remembered


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty at first."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tcp-conformance" / "hosts"


def test_next_run_knows_what_the_last_one_spoiled_and_other_hosts_do_not() -> None:
    assert not Remembered("fd00::1").addresses()
    Remembered("fd00::1").add(["10.0.0.1", "fd00::9"])
    Remembered("fd00::1").add(["10.0.0.2"])
    assert Remembered("fd00::1").addresses() == {"10.0.0.1", "10.0.0.2", "fd00::9"}
    assert not Remembered("fd00::2").addresses()


def test_it_is_forgotten_when_the_host_has_forgotten(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Remembered("fd00::1").add(["10.0.0.1"])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + KEPT_S)
    assert not Remembered("fd00::1").addresses()
    assert not list(cache.iterdir())


def test_a_file_that_is_no_such_file_and_a_cache_that_takes_none_are_nothing(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "fd00--1").write_bytes(b"\xff\n10.0.0.1\n10.0.0.2 soon\n 5\n")
    assert not Remembered("fd00::1").addresses()
    (cache / "fd00--2").mkdir()
    Remembered("fd00::2").add(["10.0.0.1"])
    assert not Remembered("fd00::2").addresses()
