"""SARIF and JUnit XML are valid by the schemas that others publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.report.merge import merge
from conformance.report.pages import make_report
from tests.schemas import schema_of, valid
from tests.unit.test_exports import EVIL
from tests.unit.test_merge import on
from tests.unit.test_report import HANDSHAKE, make_record, make_run, save


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run with cases of every verdict."""
    return make_run(tmp_path / "run")


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
    (run_of_log,) = sarif_of(run)["runs"]
    levels = {
        one["locations"][0]["logicalLocations"][0]["fullyQualifiedName"]: one["level"] for one in run_of_log["results"]
    }
    assert levels["rfc9293/test_s3_6_closing.py::test_simultaneous_close_broken[ipv4]"] == "error"
    assert levels["rfc9293/test_a.py::test_r2[ipv4]"] == "warning"
    assert levels["rfc9293/test_a.py::test_halfclose[ipv4]"] == "note"
    assert len(levels) == 5
    assert [rule["id"] for rule in run_of_log["tool"]["driver"]["rules"]] == ["RFC9293:MUST-13"]
    assert [one["suppressions"][0]["justification"] for one in run_of_log["results"] if "suppressions" in one] == [
        "Linux ends FIN-WAIT-2 after a minute"
    ]
    notes = run_of_log["invocations"][0]["toolExecutionNotifications"]
    assert [note["message"]["text"].partition(": ")[2] for note in notes] == ["the agent's pipe was closed"]
    places = [one["locations"][0]["physicalLocation"] for one in run_of_log["results"]]
    assert {"artifactLocation": {"uri": "suite/test%20a.py"}, "region": {"startLine": 7}} in places
    assert len({one["partialFingerprints"]["case/v1"] for one in run_of_log["results"]}) == 5


def test_sarif_of_an_empty_run_is_valid(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("")
    assert sarif_of(tmp_path)["runs"][0]["results"] == []


def test_junit_xml_of_several_runs_is_written_from_their_records(tmp_path: Path) -> None:
    verdicts = ("conforms", "violates", "error", "deviates", "not applicable", "inconclusive", "breaks should")
    for name, target in (("a", "linux"), ("b", "lwip\x07")):
        for verdict in verdicts:
            known = {"reason": "as it is", "source": "x", "sentence": "y"} if verdict == "deviates" else None
            record = make_record(f"test_x.py::test_{verdict.replace(' ', '_')}", verdict=verdict, deviation=known)
            texts = {"message": "<b>", "failure": "\x00 & <b>\n"} if verdict != "conforms" else {}
            save(tmp_path / name, on(target, record | texts), list(HANDSHAKE))
    assert merge([tmp_path / "a", tmp_path / "b"], tmp_path / "all") == []
    root = valid(tmp_path / "all" / "junit.xml")
    assert [one.get("name") for one in root] == ["linux", "lwip\ufffd"]
    for suite in root:
        assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["7", "1", "1", "3"]
        kinds = [[part.tag for part in case if part.tag != "properties"] for case in suite]
        assert kinds == [[], ["failure"], ["error"], ["skipped"], ["skipped"], ["skipped"], []]
        violates = suite[1]
        assert violates.attrib.items() >= {"classname": "rfc9293.test_x", "name": "test_violates[ipv4]"}.items()
        assert {one.get("name"): one.get("value") for one in violates.iter("property")}["verdict"] == "violates"
        (failure,) = violates.iter("failure")
        assert (failure.get("message"), failure.text) == ("<b>", "\ufffd & <b>\n")
        assert [one.get("message") for one in suite.iter("skipped")] == ["as it is", "<b>", "<b>"]
    page = make_report(tmp_path / "all").with_name("run.html").read_text("utf-8")
    assert 'href="junit.xml"' in page
