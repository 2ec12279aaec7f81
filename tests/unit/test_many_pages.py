"""Many pages: other processors take their share, and what they can't write this one does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.report import make_report, pages
from tests.unit.test_report import HANDSHAKE, make_record, save


def pages_of(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "cases").iterdir()}


@pytest.mark.parametrize("fails", [False, True], ids=["shared", "alone"])
def test_processes_share_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    here, put = os.getpid(), pages.put
    written: list[str] = []

    def watched(path: Path, content: str) -> None:
        if fails and os.getpid() != here:
            raise MemoryError("only in the others")
        written.append(path.parent.name)
        put(path, content)

    for number in range(7):
        save(tmp_path, make_record(f"t.py::test_{number}"), list(HANDSHAKE))
    make_report(tmp_path)
    alone = pages_of(tmp_path)
    for name in alone:
        (tmp_path / "cases" / name).unlink()
    monkeypatch.setattr(pages, "SHARE", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(pages, "put", watched)
    make_report(tmp_path)
    assert len(alone) == 7 and pages_of(tmp_path) == alone
    assert written.count("cases") == (7 if fails else 3)
