"""`results.jsonl`: whole lines, whatever the disk does; every line that is no record is named, the rest read."""

import copy
import errno
import json
import os
import typing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.record import RecordError, ResultsWriter, capture_name, case_name, read_results, results, scan_results

SAMPLE: results.CaseRecord = {
    "schema": 2,
    "id": "rfc9293/test_s3_6_closing.py::test_simultaneous_close[ipv4]",
    "title": "Both ends close at once.",
    "description": "…",
    "verdict": "violates",
    "level": "MUST",
    "document": "RFC9293",
    "section": "3.6",
    "family": 4,
    "requirements": ["RFC9293:MUST-13"],
    "cells": ["FIN-WAIT-1/fin-not-covering-fin"],
    "rows": [
        {
            "id": "FIN-WAIT-1/fin-not-covering-fin",
            "row": "SA-308",
            "kind": "segment",
            "state": "FIN-WAIT-1",
            "origin": "either",
            "event": "FIN,ACK",
            "next": ["CLOSING"],
            "responses": ["ack-new"],
        }
    ],
    "claims": ["C-18"],
    "sentences": [{"id": "RFC9293:MUST-13", "level": "MUST", "section": "3.6.1", "text": "…", "url": "https://x"}],
    "needs": ["app", "state"],
    "target": {"name": "linux", "version": "6.18", "profile": "linux", "address": "10.77.0.1", "settings": {"a": [1]}},
    "run": {
        "id": "2026-11-21T10:00:00Z",
        "started_ns": 1,
        "harness": "0.1.0",
        "python": "3.11.7",
        "command": "pytest testcases",
        "jitter": {"loop_p99_us": 90.0},
    },
    "started_ns": 2**63,
    "duration_s": 1.25,
    "timings": [
        {"name": "TIME-WAIT", "measured_s": 60.9, "low_s": 60, "high_s": None, "source": "s", "how": "h", "ok": True}
    ],
    "series": [
        {
            "name": "retransmissions of SYN",
            "intervals": [
                {"measured_s": 1.0, "low_s": 0.99, "high_s": 1.2, "ratio": None, "source": "s", "ok": True},
                {"measured_s": 2.0, "low_s": 1.99, "high_s": None, "ratio": 2.0, "source": "s", "ok": True},
            ],
            "growth": 2.0,
            "cap_s": None,
            "count": 2,
            "count_low": 2,
            "count_high": 2,
            "end": "",
            "source": "s",
            "how": "h",
            "ok": True,
            "faults": [],
            "shortened": "",
            "jitter_s": 0.001,
        }
    ],
    "ran_again": "",
    "states": [{"at_ns": 0, "side": "target", "state": "FIN-WAIT-1", "by": "agent"}],
    "choices": [{"name": "FIN in TIME-WAIT restarts 2MSL", "taken": "yes", "allowed": ["yes", "no"]}],
    "deviation": {"reason": "r", "source": "s", "sentence": "t"},
    "steps": [
        {"kind": "send", "at_ns": 0, "frame": 3, "text": "does not cover the FIN", "line": "FIN+ACK seq=+1 ack=+1"},
        {
            "kind": "receive",
            "at_ns": 0,
            "frame": 4,
            "ok": False,
            "text": "ACK",
            "expected": "ACK ack=+2",
            "differences": [{"field": "ack", "expected": "+2", "actual": "+1"}],
        },
        {"kind": "missing", "at_ns": 0, "ok": False, "expected": "ACK", "text": "nothing came"},
        {"kind": "silence", "at_ns": 0, "until_ns": 5, "ok": True, "text": "no segment for 0.3 s"},
        {"kind": "app", "at_ns": 0, "ok": True, "text": "close()"},
        {"kind": "state", "at_ns": 0, "ok": True, "side": "target", "state": "CLOSING", "text": "agent says CLOSING"},
        {"kind": "note", "at_ns": 0, "text": "\ud800 \u2028 \x00 odd"},
    ],
    "tester": {"address": "10.77.1.5", "port": 40001, "iss": 123, "target_port": 20001, "irs": None},
    "capture": "captures/simultaneous-close-ipv4.pcapng",
    "message": "what broke",
    "failure": "many\nlines",
}


def sample(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(dict(SAMPLE)), **changes}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "results.jsonl"


def test_what_is_written_is_read(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.append(SAMPLE)
        writer.append(sample(id="another", deviation=None, capture=None))
        assert path.read_bytes().count(b"\n") == 2, "on disk at once"
    found = read_results(path)
    assert found.problems == []
    assert found.records == [sample(), sample(id="another", deviation=None, capture=None)]


def test_the_schema_says_what_the_types_say() -> None:
    schema = results._schema()
    assert set(schema["required"]) == results.CaseRecord.__required_keys__
    assert set(schema["properties"]) == set(results.CaseRecord.__annotations__)
    assert schema["properties"]["verdict"]["enum"] == list(typing.get_args(results.Verdict))
    step = schema["properties"]["steps"]["items"]
    assert set(step["properties"]) == set(results.Step.__annotations__)
    assert set(step["required"]) == results.Step.__required_keys__
    for key, kind in (
        ("timings", results.Timing),
        ("states", results.StateSeen),
        ("sentences", results.Sentence),
        ("rows", results.Row),
    ):
        assert set(schema["properties"][key]["items"]["required"]) == kind.__required_keys__
        assert set(schema["properties"][key]["items"]["properties"]) == set(kind.__annotations__)
    for key, facts in (("target", results.TargetFacts), ("run", results.RunFacts), ("tester", results.TesterEnd)):
        assert set(schema["properties"][key]["required"]) == facts.__required_keys__


def test_records_from_before_rows_and_lines_are_read(path: Path) -> None:
    old = {key: value for key, value in sample().items() if key != "rows"}
    old["steps"] = [{"kind": "send", "at_ns": 0, "frame": 3, "text": "cover it: ACK seq=+1 ack=+1"}]
    with ResultsWriter(path) as writer:
        writer.append(old)
    found = read_results(path)
    assert (found.records, found.problems) == ([old], [])


def wrong_records() -> dict[str, dict[str, Any]]:
    first = sample()["steps"][0]
    return {
        "the record has no verdict, failure": {k: v for k, v in sample().items() if k not in ("verdict", "failure")},
        "verdict is 'fine', not one of": sample(verdict="fine"),
        "family is 5, not one of": sample(family=5),
        "rows[0].kind is 'guess', not one of": sample(rows=[sample()["rows"][0] | {"kind": "guess"}]),
        "family is a JSON boolean, not integer": sample(family=True),
        "schema is 3, not one of": sample(schema=3),
        "steps[0].at_ns is a JSON number, not integer": sample(steps=[first | {"at_ns": 1.5}]),
        "steps[0].at_ns is -1, not from 0": sample(steps=[first | {"at_ns": -1}]),
        "steps[1].kind is 'jump', not one of": sample(steps=[first, first | {"kind": "jump"}]),
        "target is a JSON array, not object": sample(target=[]),
        "id is a JSON null, not string": sample(id=None),
        "timings[0] has no measured_s": sample(
            timings=[{"name": "x", **dict.fromkeys(("low_s", "high_s", "ok")), "source": "", "how": ""}]
        ),
        "deviation has no source, sentence": sample(deviation={"reason": "x"}),
    }


@pytest.mark.parametrize(("problem", "record"), wrong_records().items(), ids=list(wrong_records()))
def test_what_is_no_record_is_refused_by_both_ends(path: Path, problem: str, record: dict[str, Any]) -> None:
    with ResultsWriter(path) as writer, pytest.raises(RecordError) as caught:
        writer.append(record)
    assert problem in str(caught.value)
    assert path.read_bytes() == b""
    path.write_text(json.dumps(record) + "\n" + json.dumps(sample()) + "\n")
    found = read_results(path)
    assert len(found.records) == 1
    assert len(found.problems) == 1
    assert found.problems[0].startswith(f"results.jsonl:1: not a case record: {problem}")


def test_samples_validate_against_the_schema_as_others_read_it() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    text = Path(results.__file__).with_name("results.schema.json").read_text("utf-8")
    jsonschema.Draft202012Validator.check_schema(json.loads(text))
    validator = jsonschema.Draft202012Validator(json.loads(text))
    assert validator.is_valid(sample())
    assert validator.is_valid(sample(deviation=None, capture=None, steps=[], timings=[]))
    for problem, record in wrong_records().items():
        assert not validator.is_valid(record), problem


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_are_refused(path: Path, odd: float) -> None:
    with ResultsWriter(path) as writer:
        with pytest.raises(RecordError, match="can't record case"):
            writer.append(sample(target=SAMPLE["target"] | {"settings": {"x": odd}}))
        with pytest.raises(RecordError, match="can't record case"):
            writer.append(sample(target=SAMPLE["target"] | {"settings": {"x": object()}}))
    assert path.read_bytes() == b""


def test_lines_that_are_no_record_are_named_and_the_rest_is_read(path: Path) -> None:
    good = json.dumps(sample()).encode()
    lines = [
        good,
        b"",
        b"[1, 2]",
        b"{not json",
        b'{"a": 1}',
        b"\xff\xfe",
        b"[" * 100_000,
        b"9" * 5000,
        json.dumps(sample(id="b")).encode(),
        good[:-50],
    ]
    path.parent.mkdir()
    path.write_bytes(b"\n".join(lines))
    found = read_results(path)
    assert [record["id"] for record in found.records] == [SAMPLE["id"], "b"]
    assert [problem.split(": ")[0] for problem in found.problems] == [
        f"results.jsonl:{number}" for number in (3, 4, 5, 6, 7, 8, 10)
    ]
    assert found.problems[0] == "results.jsonl:3: not a case record but a JSON array"
    assert "has no schema, id, title" in found.problems[2]
    assert "the last line is cut off" in found.problems[-1]
    assert not any("\n" in problem for problem in found.problems)


def test_of_a_case_that_ran_again_the_last_record_counts(path: Path) -> None:
    with ResultsWriter(path) as writer:
        for case_id, verdict in (("a", "violates"), ("b", "error"), ("a", "conforms")):
            writer.append(sample(id=case_id, verdict=verdict))
    assert [(record["id"], record["verdict"]) for record in read_results(path).records] == [
        ("a", "conforms"),
        ("b", "error"),
    ]


def test_offsets_lead_back_to_the_record(path: Path) -> None:
    with ResultsWriter(path) as writer:
        for case_id in "abc":
            writer.append(sample(id=case_id))
    for line in scan_results(path):
        assert [line.record] == list(results.read_records(path, [line.offset]))
    with pytest.raises(RecordError, match="changed while it was read"):
        list(results.read_records(path, [5]))


def test_record_is_checked_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To check it takes longer than to read it: what was checked as it was written is taken as it is."""
    with ResultsWriter(path) as writer:
        writer.append(sample(id="a"))
    monkeypatch.setattr(results, "_differences", lambda *_: pytest.fail("checked again"))
    (line,) = scan_results(path, check=False)
    assert [line.record] == list(results.read_records(path, [line.offset]))


def test_missing_files_and_folders_that_cannot_be_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"can't read .*No such file"):
        read_results(tmp_path / "none.jsonl")
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"can't open .*File exists"):
        ResultsWriter(tmp_path / "file" / "results.jsonl")


@pytest.mark.parametrize("fits", [0, 1, 100])
def test_a_full_disk_leaves_all_earlier_lines(path: Path, monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    real, room = os.write, [fits]

    def write(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(fd, data[: room[0]])
        room[0] -= done
        return done

    with ResultsWriter(path) as writer:
        writer.append(sample(id="a"))
        before = path.read_bytes()
        with monkeypatch.context() as patch, pytest.raises(RecordError) as caught:
            patch.setattr(os, "write", write)
            writer.append(sample(id="b"))
        assert str(caught.value) == f"can't write {path}: No space left on device"
        assert path.read_bytes() == before
        writer.append(sample(id="c"))
    assert [record["id"] for record in read_results(path).records] == ["a", "c"]


def test_dev_full_is_one_clear_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with ResultsWriter(Path("/dev/full")) as writer, pytest.raises(RecordError, match="can't write /dev/full: "):
        writer.append(SAMPLE)


def test_a_line_cut_off_by_a_kill_spoils_no_other(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.append(sample(id="a"))
    with path.open("ab") as file:
        file.write(b'{"schema": 1, "id": "ha')
    with ResultsWriter(path) as writer:
        writer.append(sample(id="c"))
    found = read_results(path)
    assert [record["id"] for record in found.records] == ["a", "c"]
    assert len(found.problems) == 1


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_exception(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.jsonl"
    path.write_bytes(raw + b"\n" + json.dumps(sample()).encode() + b"\n")
    assert len(read_results(path).records) == 1


# -- names ------------------------------------------------------------------------------------------------------


@given(st.text())
def test_names_are_safe_for_every_file_system(case_id: str) -> None:
    name = case_name(case_id)
    assert len(name) < 100
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert capture_name(case_id) == f"captures/{name}.pcapng"


def test_names_are_readable_and_unique() -> None:
    assert case_name(SAMPLE["id"]).startswith("simultaneous-close-ipv4-")
    assert case_name("a.py::test_x[ipv4]") != case_name("b.py::test_x[ipv4]")
    assert case_name("a.py::test_x[A]") != case_name("a.py::test_x[a]")


def test_threads_that_append_at_once_do_not_meet(tmp_path: Path) -> None:
    """The run writes from several threads: a lock between processes does not keep these apart."""
    path = tmp_path / "results.jsonl"
    with ResultsWriter(path) as writer, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: writer.append(sample(id=f"test_{number}", failure="x" * 20_000)), range(200)))
    lines = path.read_text().split("\n")
    assert len(lines) == 201
    assert lines[-1] == ""
    assert all(lines[:-1])
