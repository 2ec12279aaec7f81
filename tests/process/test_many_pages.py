"""Many pages: other processors take their share, and what they can't write this one does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conformance.report import case_pages, files
from conformance.report.pages import make_report
from conformance.standard.cells import cells
from tests.unit.test_report import HANDSHAKE, Page, assert_sound, make_record, save
from tests.unit.test_state_map import a_case
from tests.unit.test_state_map import save as save_all


def pages_of(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (run / "cases").iterdir()}


@pytest.mark.parametrize("fails", [False, True], ids=["shared", "alone"])
def test_processes_share_the_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    here, put = os.getpid(), files.put
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
    monkeypatch.setattr(case_pages, "SHARE", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    monkeypatch.setattr(case_pages, "put", watched)
    make_report(tmp_path)
    assert len(alone) == 7 and pages_of(tmp_path) == alone
    assert written.count("cases") == (7 if fails else 3)


def test_the_whole_machine_on_its_page_and_in_a_line_of_the_overview(tmp_path: Path) -> None:
    index = save_all(tmp_path, *(a_case(cell, family) for cell in cells() for family in (4, 6)))
    assert_sound(tmp_path)
    unseen = [cell for cell in cells() if cell.unseen]
    line = f"cells: {len(cells()) - len(unseen)} of {len(cells())} run, {len(unseen)} not applicable"
    text = (tmp_path / "states.html").read_text("utf-8")
    assert line in text
    assert line in index.read_text("utf-8")
    assert 'href="states.html"' in index.read_text("utf-8")
    assert "not in this run" not in text
    for cell in unseen:
        assert text.count(cell.id) >= 3, "in the map, with its reason and in the table"
    for cell in cells():
        assert cell.id in text
    assert {"figure5", "map"} <= {value for name, value in Page(text).attributes if name == "class"}
