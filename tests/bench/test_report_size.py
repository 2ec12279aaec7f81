"""The overview of 5,000 cases stays small enough to open at once; how long anything takes is never asserted."""

from __future__ import annotations

from pathlib import Path

from conformance.report.pages import make_report
from tests.bench.report import CASES, write_run


def test_the_overview_of_5000_cases_is_under_3_mb(tmp_path: Path) -> None:
    write_run(tmp_path, captures=False)
    index = make_report(tmp_path)
    assert index.stat().st_size < 3_000_000
    page = index.read_text("utf-8")
    assert page.count("data-is=") == CASES / 2
    assert page.count('<th scope="row"><a href="cases/') == 50
