"""The pages of 5,000 cases stay small enough to open at once; how long anything takes is never asserted."""

from __future__ import annotations

from pathlib import Path

from conformance.report.pages import make_report
from tests.bench.report import CASES, write_run


def test_the_lists_of_5000_cases_are_small(tmp_path: Path) -> None:
    write_run(tmp_path, captures=False)
    index = make_report(tmp_path)
    assert index.stat().st_size < 50_000
    cases, findings = ((tmp_path / name).read_text("utf-8") for name in ("cases.html", "findings.html"))
    assert len(cases) < 3_000_000
    assert cases.count("data-is=") == CASES / 2, "those that conform are in one more list, which is folded up"
    assert findings.count('<th scope="row"><a href="cases/') == 50
