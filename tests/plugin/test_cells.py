"""The documented machine as people meet it: lists of its rows, selection by name, and the run's own count."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.standard.cells import cell, cells
from conformance.standard.states import State
from tests.conftest import Suite, clean_environment

GENERATED = '''
    IDS = ("CLOSING/rst-left-edge", "CLOSING/ack-beyond", "LISTEN/rst", "LISTEN/syn-security")

    @pytest.mark.parametrize("cell", [verifies_cell(row) for row in cells() if row.id in IDS])
    async def test_cell(tcp, cell):
        """A row of the table."""
        if cell.unseen:
            raise NotApplicable(cell.unseen)

    @verifies("RFC9293:3.5-handshake", cells=["SA-431", "ESTABLISHED/fin", "SA-305"])
    async def test_scenario(tcp):
        """It passes through two rows, one of which it names twice."""
'''


def listed(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conformance.cli", "list", *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=clean_environment(), cwd=Path.cwd()
    )


def as_json(*options: str) -> list[dict[str, Any]]:
    done = listed("--json", *options)
    assert done.returncode == 0, done.stderr
    results: list[dict[str, Any]] = json.loads(done.stdout)
    return results


def test_the_list_of_cells_has_every_row_with_its_case_or_the_reason() -> None:
    results = as_json("--cells")
    assert [(one["id"], one["row"]) for one in results] == [(row.id, row.row) for row in cells()]
    for entry in results:
        assert set(entry) - {"case", "reason"} == {"id", "row", "kind", "state", "event"}
        assert ("case" in entry) is not ("reason" in entry)
        assert "ipv4" not in entry.get("case", "")
        if reason := cell(entry["id"]).unseen:
            assert entry["reason"] == reason


def test_cells_and_cases_are_chosen_by_state_and_event() -> None:
    results = as_json("--cells", "--state", "closing", "--event", "RST")
    assert {one["id"] for one in results} == {row.id for row in cells() if row.id.startswith("CLOSING/rst")}
    by_text = as_json("--cells", "--event", "out of window")
    assert by_text
    assert all("out of window" in one["event"] for one in by_text)
    for case in as_json("--state", "FIN_WAIT_2", "--event", "fin"):
        assert any(cell(name).state is State.FIN_WAIT_2 for name in case["cells"])
    shown = listed("--cells", "--state", "CLOSING", "--event", "rst").stdout
    assert "CLOSING/rst-left-edge" in shown
    assert "SA-158" in shown
    assert "5 cells" in shown


@pytest.mark.parametrize("what", [(), ("--cells",), ("--json",), ("--cells", "--json")])
def test_a_list_of_nothing_says_so_and_fails(what: tuple[str, ...]) -> None:
    done = listed(*what, "--event", "frobnicate")
    assert done.returncode == 1
    assert done.stderr == f"tcp-conformance list: nothing matches {' '.join((*what, '--event', 'frobnicate'))}\n"
    if "--json" in what:
        assert json.loads(done.stdout) == []


def test_cases_are_listed_by_what_they_verify_and_how_long_they_wait() -> None:
    every = as_json()
    of_rfc = as_json("--rfc", "5961")
    assert 0 < len(of_rfc) < len(every)
    assert all(any(name.startswith("RFC5961:") for name in case["requirements"]) for case in of_rfc)
    of_claim = as_json("--requirement", "C-18", "--tier", "quick")
    assert of_claim
    assert all("C-18" in case["claims"] and case["lasts_s"] <= 5 for case in of_claim)
    assert all("closing" in case["id"].lower() for case in as_json("-k", "closing", "rfc9293/test_s3_6_closing.py"))


def test_a_wrong_state_gets_one_line() -> None:
    done = listed("--cells", "--state", "CLOSNG")
    assert done.returncode == 2
    assert done.stderr == "tcp-conformance list: no TCP state is called 'CLOSNG'; the nearest is CLOSING\n"


def test_a_run_counts_its_cells_and_records_their_rows(suite: Callable[[str], Suite]) -> None:
    made = suite(GENERATED)
    (made.folder / "test_cases.py").write_text(
        "from conformance.judge import NotApplicable\n" + (made.folder / "test_cases.py").read_text()
    )
    ran = made.run("--family=4")
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert f"cells: 5 of {len(cells())} run, 1 not applicable" in ran.out
    own = ran.results["test_cell[ipv4-CLOSING/rst-left-edge]"]
    assert own["cells"] == ["CLOSING/rst-left-edge"]
    assert own["rows"] == [
        {
            "id": "CLOSING/rst-left-edge",
            "row": "SA-158",
            "kind": "segment",
            "state": "CLOSING",
            "origin": "either",
            "event": "RST, SEG.SEQ = RCV.NXT",
            "responses": ["silence"],
            "next": ["CLOSED"],
        }
    ]
    assert own["run"]["cells"] == len(cells())
    scenario = ran.results["test_scenario[ipv4]"]
    assert scenario["cells"] == ["arc/ESTABLISHED-rcv-fin", "ESTABLISHED/fin"]
    assert [row["row"] for row in scenario["rows"]] == ["SA-431", "SA-305"]
    assert (ran.output / "states.html").is_file()
    chosen = made.run("--family=4", "-k", "CLOSING and rst")
    assert set(chosen.verdicts) == {"test_cell[ipv4-CLOSING/rst-left-edge]"}
    without = suite('@verifies("RFC9293:3.5-handshake")\nasync def test_x(tcp):\n    """X."""\n').run("--family=4")
    assert "cells:" not in without.out
    assert not (without.output / "states.html").exists()
