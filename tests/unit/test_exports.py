"""Check the files that other programs read: SARIF, the Markdown summary, the filters' style sheet, the history."""

import json
import re
from pathlib import Path

import pytest

from conformance.report.baseline_files import BEFORE, LAST, load
from conformance.report.folder import MARKER, replaced
from conformance.report.overview import gather
from conformance.report.pages import make_report
from conformance.report.summary import as_markdown
from tests.unit.test_report import assert_sound, make_record, make_run, page_of, save, simultaneous_close

EVIL = "<b>|x|</b> `y` [z](javascript:1) @all #1 \x1b[2J\ud800\nnext"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


# -- SARIF --------------------------------------------------------------------------------------------------


def test_sarif_says_what_is_new_since_a_baseline(run: Path) -> None:
    make_report(run)
    then = load(str(run / LAST))
    save(run, make_record("t.py::test_new", verdict="violates", capture=None), [])
    make_report(run, then)
    content = json.loads((run / "results.sarif").read_text("utf-8"))["runs"][0]["results"]
    assert [one["baselineState"] for one in content].count("new") == 1


# -- Markdown -----------------------------------------------------------------------------------------------


def test_the_summary_counts_names_what_violates_and_what_changed(run: Path) -> None:
    make_report(run)
    then = load(str(run / LAST))
    save(run, make_record("t.py::test_evil", title=EVIL, message=EVIL, verdict="violates", capture=None), [])
    make_report(run, then)
    lines = (run / "summary.md").read_text("utf-8").splitlines()
    assert lines[0] == "## ✗ TCP conformance: 2 cases violate"
    assert "| MUST | 2 | 0 | 1 | 1 | 0 | 2 | 4 |" in lines
    assert "### violates (2)" in lines
    assert "### since " in "\n".join(lines)
    assert "new violations (1):" in lines
    message = next(line for line in lines if "javascript" in line)
    assert message.startswith(
        r"- &lt;b&gt;\|x\|&lt;/b&gt; \`y\` \[z\](javascript:1) \@all \#1 �\[2J� next (RFC9293 3.6, IPv4)"
    )


def test_a_long_list_is_cut_in_the_summary(tmp_path: Path) -> None:
    for number in range(25):
        what = "no" * number
        save(tmp_path, make_record(f"t.py::test_{number}", verdict="violates", message=what, capture=None), [])
    assert "- and 5 more" in as_markdown(gather(tmp_path)).splitlines()


# -- filters ------------------------------------------------------------------------------------------------


def test_every_choice_of_a_filter_has_a_rule_and_a_row(run: Path) -> None:
    make_report(run)
    rules = (run / "filter.css").read_text("utf-8")
    for name in ("cases.html", "requirements.html"):
        page = (run / name).read_text("utf-8")
        words = re.findall(r'<option value="([^"]+)"', page)
        rows = {word for found in re.findall(r'data-is="([^"]*)"', page) for word in found.split()}
        parts = {word for found in re.findall(r'data-part="([^"]*)"', page) for word in found.split()}
        assert set(words) <= rows
        assert {word for word in words if word.startswith(("d-", "s-"))} <= parts <= rows
        assert all(f'option[value="{word}"]:checked' in rules for word in words)
        assert len(words) == len(set(words))
    assert {"violates", "level-should", "in-closing", "s-rfc9293-3-6-1"} <= set(
        re.findall(r'<option value="([^"]+)"', (run / "cases.html").read_text("utf-8"))
    )


# -- history ------------------------------------------------------------------------------------------------


def test_a_case_page_tells_earlier_verdicts(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    make_report(run)
    baselines = tmp_path / "reports" / "baselines"
    baselines.mkdir(parents=True)
    old = (run / LAST).read_text().replace("2026-11-21T10", "2025-01-01T10")
    (baselines / "release-1.json").write_text(old.replace('"violates"', '"conforms"'))
    (baselines / "broken.json").write_text("{")
    with replaced(run):
        pass
    assert {path.name for path in run.iterdir()} == {BEFORE, MARKER, "captures", "cases", "results.jsonl"}
    make_run(run)
    make_report(run)
    record, _ = simultaneous_close(broken=True)
    page = page_of(run, record)
    history = page[page.index('id="history"') :]
    assert history.index("the run before") < history.index("release-1")
    assert re.findall(r'class="badge v-([\w-]+)"', history) == ["violates", "conforms"]
    assert "2025-01-01T10:00:00Z" in history
    assert_sound(run)
