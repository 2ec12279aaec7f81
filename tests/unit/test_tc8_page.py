"""The page of TC8: each of its cases with the worst verdict of ours, in this run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from conformance.cli import report
from conformance.cli.tc8 import names_of
from conformance.report.pages import make_report
from conformance.standard.tc8 import families
from tests.unit.test_kept_baselines import stored
from tests.unit.test_report import assert_sound, make_record, save


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("a.py::test_x[ipv4]", ("test_x", "test_x")),
        ("a.py::test_x[ipv6-steady]", ("test_x[steady]", "test_x")),
        ("a.py::test_x[ipv4-TIME-WAIT/fin]", ("test_x[TIME-WAIT/fin]", "test_x", "TIME-WAIT/fin")),
    ],
)
def test_case_is_known_by_function_parameters_and_row(case: str, names: tuple[str, ...]) -> None:
    assert names_of(case) == names


def test_every_case_of_tc8_has_one_of_a_whole_run() -> None:
    names = [names_of(case) for case in stored("linux").cases]
    checks = [family.check_of(member) for family in families() for member in family.members]
    assert not [check.id for check in checks if not any(check.covered_by(*one) for one in names)]


def test_row_has_the_worst_verdict_and_the_table_says_the_same(tmp_path: Path) -> None:
    cases = {
        "test_closed_port_answers_with_a_reset": "violates",
        "test_simultaneous_close": "conforms",
        "test_simultaneous_open": "deviates",
    }
    for name, verdict in cases.items():
        message = "" if verdict == "conforms" else f"<{verdict}>"
        save(tmp_path, make_record(f"test_a.py::{name}", verdict=verdict, message=message), [])
    assert report.main([str(tmp_path), "--tc8"]) == 0
    assert_sound(tmp_path)
    assert 'href="tc8.html"' in (tmp_path / "index.html").read_text()
    with (tmp_path / "tc8.csv").open() as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert (rows["TCP_BASICS_04"]["verdict"], rows["TCP_BASICS_04"]["violates"]) == ("violates", "1")
    assert rows["TCP_BASICS_17"]["verdict"] == "deviates"
    assert rows["TCP_BASICS_17"]["captures"].startswith("captures/")
    assert rows["TCP_BASICS_11"]["verdict"] == "no case ran"
    page = (tmp_path / "tc8.html").read_text()
    assert page.count('<tr id="tcp_') == len(rows)
    assert "&lt;deviates&gt;" in page


def test_file_that_is_no_list_of_rows_is_a_problem_of_the_run(tmp_path: Path) -> None:
    save(tmp_path, make_record(), [])
    (tmp_path / "tc8.json").write_text(json.dumps([{"id": "x"}]))
    page = make_report(tmp_path).read_text()
    assert "tc8.json: not what `report --tc8` writes" in page
