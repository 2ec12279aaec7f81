"""The page of the mutants: survivors with their reasons, what killed the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.report.mutants import read
from conformance.report.pages import make_report
from tests.unit.test_report import assert_sound, make_record, save

LOST: dict[str, Any] = {"killed": False, "killers": [], "noticed_by": 0}


def mutant(name: str, **changes: Any) -> dict[str, Any]:
    """One mutant as `make mutants` writes it."""
    return {
        "id": name,
        "target": "linux",
        "breaks": "RFC9293:MUST-13",
        "what": f"<{name}> does something else",
        "killed": True,
        "killers": [{"case": "a.py::test_gone[ipv4]", "message": "came <RST>", "verifies": True}],
        "noticed_by": 1,
    } | changes


def content(*mutants: dict[str, Any], **reasons: str) -> str:
    """Return a file of `make mutants`; `reasons` are the survivors'."""
    survivors = [{"id": name, "reason": reason} for name, reason in reasons.items()]
    killed = len(mutants) - len(survivors)
    data = {"schema": 2, "total": len(mutants), "killed": killed, "survivors": survivors, "mutants": mutants}
    return json.dumps(data)


def keep(folder: Path, *mutants: dict[str, Any], **reasons: str) -> None:
    """A run of one case, and what `make mutants` left beside it."""
    save(folder, make_record(), [])
    (folder / "mutants.json").write_text(content(*mutants, **reasons))


def test_survivors_come_first_and_killers_lead_to_their_cases(tmp_path: Path) -> None:
    seen = {"case": make_record()["id"], "message": "took 5 s", "verifies": False}
    lost = mutant("lost", **LOST)
    keep(tmp_path, mutant("first", killers=[seen]), lost, mutant("last"), lost="any window is <allowed>")
    index = make_report(tmp_path).read_text("utf-8")
    assert 'href="mutants.html"' in index
    assert_sound(tmp_path)
    text = (tmp_path / "mutants.html").read_text("utf-8")
    assert "<b>2 of 3 mutants</b> killed, 1 survived." in text
    assert text.index("&lt;lost&gt;") < text.index("&lt;first&gt;") < text.index("&lt;last&gt;")
    assert "any window is &lt;allowed&gt;" in text
    assert text.count('<a href="cases/') == 1
    assert "a.py::test_gone[ipv4]" in text
    assert "came &lt;RST&gt;" in text


def test_a_survivor_without_a_reason_is_said_to_have_none(tmp_path: Path) -> None:
    keep(tmp_path, mutant("lost", **LOST), lost="")
    make_report(tmp_path)
    assert "no reason is known" in (tmp_path / "mutants.html").read_text("utf-8")


def test_without_mutants_there_is_no_page(tmp_path: Path) -> None:
    keep(tmp_path, mutant("first"))
    make_report(tmp_path)
    (tmp_path / "mutants.json").unlink()
    index = make_report(tmp_path).read_text("utf-8")
    assert "mutants.html" not in index
    assert not (tmp_path / "mutants.html").exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"mutants": [], "survivors": [1]}',
        '{"mutants": [1], "survivors": []}',
        '{"mutants": [{}], "survivors": []}',
        content(mutant("a", killed=1)),
        content(mutant("lost", **LOST)),
    ],
)
def test_a_damaged_file_is_said_on_the_overview(tmp_path: Path, text: str) -> None:
    keep(tmp_path)
    (tmp_path / "mutants.json").write_text(text)
    assert "not what `make mutants` writes" in make_report(tmp_path).read_text("utf-8")


def test_a_folder_without_the_file_has_no_mutants(tmp_path: Path) -> None:
    assert read(tmp_path) == ()
