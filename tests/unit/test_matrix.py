"""The requirement matrix: the worst of a sentence's cases decides, and every form of it says the same."""

from __future__ import annotations

import csv
import io
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from conformance.record import ResultsWriter, record_of
from conformance.report.matrix import WORST
from conformance.report.pages import make_report
from conformance.report.text import VERDICTS
from tests.unit.test_report import Page, make_record

FILES = ("requirements.html", "requirements.csv", "requirements.json")


def sentence(name: str, **changes: Any) -> dict[str, Any]:
    """A sentence as a record has it; its section is what stands before the id's first dash."""
    section = name.partition(":")[2].partition("-")[0]
    url = f"https://www.rfc-editor.org/rfc/rfc9293.html#section-{section}"
    return {"id": name, "level": "MUST", "section": section, "text": "It MUST.", "url": url, **changes}


def resting_on(number: int, *sentences: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A case's record that rests on these sentences."""
    requirements = [one["id"] for one in sentences]
    return make_record(
        f"test_m.py::test_{number:02}", sentences=list(sentences), requirements=requirements, capture=None, **changes
    )


def report(run: Path, *records: dict[str, Any]) -> str:
    """Write the record and its pages; the matrix as HTML."""
    with ResultsWriter(run / "results.jsonl") as results:
        for record in records:
            results.append(record_of(record))
    make_report(run)
    return (run / "requirements.html").read_text()


def rows(run: Path) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = json.loads((run / "requirements.json").read_text())
    return result


def test_every_verdict_has_its_place() -> None:
    assert sorted(WORST) == sorted(VERDICTS)


@pytest.mark.parametrize(("worse", "better"), list(pairwise(WORST)))
def test_the_worst_case_decides(tmp_path: Path, worse: str, better: str) -> None:
    item = sentence("RFC9293:3.4-a")
    page = report(
        tmp_path, *(resting_on(i, item, verdict=verdict) for i, verdict in enumerate((better, worse, better)))
    )
    assert [row["verdict"] for row in rows(tmp_path)] == [worse]
    assert f"{VERDICTS[worse]}</span> {worse}</span>" in page.partition('<h2 id="d-RFC9293"')[2]


def test_rows_stand_by_document_section_and_number(tmp_path: Path) -> None:
    names = ["RFC9293:3.9-a", "RFC9293:3.10-a", "RFC9293:3.10-b10", "RFC9293:3.10-b9", "RFC793:3.9-a"]
    page = report(tmp_path, resting_on(1, *map(sentence, names)))
    order = ["RFC793:3.9-a", "RFC9293:3.9-a", "RFC9293:3.10-a", "RFC9293:3.10-b9", "RFC9293:3.10-b10"]
    assert [row["id"] for row in rows(tmp_path)] == order
    assert sorted(order, key=page.index) == order
    assert [row["document"] for row in rows(tmp_path)] == ["RFC793", *["RFC9293"] * 4]


def test_at_most_eight_cases_are_linked_and_the_deciding_one_first(tmp_path: Path) -> None:
    item = sentence("RFC9293:3.4-a")
    cases = [resting_on(i, item, title=f"Case {i}", verdict="violates" if i == 10 else "conforms") for i in range(11)]
    page = report(tmp_path, *cases)
    assert next(link for link in Page(page).links if link.startswith("cases/")).startswith("cases/10-")
    assert sum(link.startswith("cases/") for link in Page(page).links) == 8
    assert "11 cases" in page
    assert "and 3 more cases" in page
    assert rows(tmp_path)[0]["cases"] == [case["id"] for case in cases], "the exports have them all"


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    awkward = sentence('RFC9293:3.4-"a", b')
    report(tmp_path, resting_on(1, awkward, sentence("RFC9293:3.5-b", level="MAY")), resting_on(2, awkward))
    result = list(csv.DictReader(io.StringIO((tmp_path / "requirements.csv").read_text())))
    assert [row | {"cases": row["cases"].split("; ")} for row in result] == rows(tmp_path)
    assert list(result[0]) == ["id", "level", "document", "section", "verdict", "partly", "cases"]
    assert [len(row["cases"]) for row in rows(tmp_path)] == [2, 1]


def test_what_no_case_sees_is_said(tmp_path: Path) -> None:
    part = sentence("RFC9293:3.4-a", partly="the other half")
    page = report(tmp_path, resting_on(1, part, sentence("RFC9293:3.5-b")))
    assert [row["partly"] for row in rows(tmp_path)] == ["the other half", ""]
    assert page.count("partly covered") == page.count("unseen: the other half") == 1


def test_a_spreadsheet_takes_nothing_for_a_formula(tmp_path: Path) -> None:
    report(tmp_path, resting_on(1, sentence("=1+1", section="@x")))
    (row,) = csv.DictReader(io.StringIO((tmp_path / "requirements.csv").read_text()))
    assert (row["id"], row["section"]) == ("'=1+1", "'@x")


def test_whatever_a_record_says_stays_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\x00\u202e\ud800"
    page = report(
        tmp_path,
        resting_on(1, sentence(f'RFC9293:"{evil}', text=evil, section=evil, url="javascript:alert(1)"), title=evil),
    )
    result = Page(page)
    assert result.tags.count("script") == result.links.count("filter.js") == 1
    assert not result.unbalanced
    assert not any(link.startswith("javascript") for link in result.links)
    assert "style" not in dict(result.attributes)
    assert "\x00" not in page
    assert "\u202e" not in (tmp_path / "requirements.csv").read_text()


def test_a_requirement_without_its_sentence_is_shown(tmp_path: Path) -> None:
    item = sentence("RFC9293:3.4-a")
    bare = resting_on(1, item) | {"sentences": []}
    page = report(tmp_path, bare, resting_on(2, sentence("RFC9293:3.5-b")))
    assert [row["level"] for row in rows(tmp_path)] == ["", "MUST"]
    assert "not recorded" in page
    assert '<tr><th scope="row">unknown</th>' in page
    report(tmp_path, resting_on(3, item))
    assert [row["level"] for row in rows(tmp_path)] == ["MUST", "MUST"], "another record of the run has it"


def test_the_overview_counts_requirements(tmp_path: Path) -> None:
    names = [sentence("RFC9293:3.4-a"), sentence("RFC9293:3.4-b"), sentence("RFC9293:3.4-c", level="SHOULD")]
    report(tmp_path, resting_on(1, *names), resting_on(2, names[1], verdict="violates", message="no"))
    index = (tmp_path / "index.html").read_text()
    section = index.partition('<h2 id="requirements">')[2].partition("</section>")[0]
    assert '<a href="requirements.html">3 requirements</a>' in section
    assert '<a href="requirements.html#d-RFC9293">RFC9293</a>' in section
    row = section.partition("<tbody>")[2].partition("</tr>")[0]
    assert re.findall(r"(\d+) of (\d+)<", row) == [("1", "2"), ("1", "1")], "MUST, then SHOULD"
    assert "<title>1 violates, 1 conforms</title>" in row


def test_without_requirements_there_is_no_matrix(tmp_path: Path) -> None:
    report(tmp_path, resting_on(1, sentence("RFC9293:3.4-a")))
    assert all((tmp_path / name).is_file() for name in FILES)
    (tmp_path / "results.jsonl").write_text("")
    make_report(tmp_path)
    assert not any((tmp_path / name).exists() for name in FILES)
    assert "requirements.html" not in (tmp_path / "index.html").read_text()
