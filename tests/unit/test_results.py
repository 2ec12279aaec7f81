"""`results.jsonl`: whole lines, whatever the disk does; every line that is no record is named, the rest read."""

import copy
import dataclasses
import errno
import json
import os
import re
import types
import typing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.record import (
    CaseRecord,
    CellFacts,
    ChoiceTaken,
    DeviationFacts,
    FieldDifference,
    IntervalFacts,
    RecordError,
    ResultsWriter,
    RunFacts,
    Sentence,
    SeriesFacts,
    Source,
    StateSeen,
    Step,
    TargetFacts,
    TimingFacts,
    TrafficFacts,
    capture_name,
    case,
    case_name,
    current_id,
    decode,
    encode,
    lines,
    read_results,
    record_of,
    results,
    scan_results,
    shape,
)
from conformance.record.case import Side, StepKind, Verdict
from conformance.record.renamed import RENAMED

SAMPLE: dict[str, Any] = {
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
    "declared": "",
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
    return {**copy.deepcopy(SAMPLE), **changes}


def record(**changes: Any) -> CaseRecord:
    return record_of(sample(**changes))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "results.jsonl"


def test_what_is_written_is_read(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.append(record())
        writer.append(record(id="another", deviation=None, capture=None))
        assert path.read_bytes().count(b"\n") == 2, "on disk at once"
    result = read_results(path)
    assert result.problems == []
    assert result.records == [record(), record(id="another", deviation=None, capture=None)]


PARTS: dict[str, type] = {
    "row": CellFacts,
    "source": Source,
    "sentence": Sentence,
    "target": TargetFacts,
    "run": RunFacts,
    "sent": TrafficFacts,
    "timing": TimingFacts,
    "series": SeriesFacts,
    "interval": IntervalFacts,
    "state": StateSeen,
    "choice": ChoiceTaken,
    "deviation": DeviationFacts,
    "difference": FieldDifference,
    "step": Step,
    "tester": case.TesterEnd,
}


def the_schema() -> dict[str, Any]:
    text = Path(shape.__file__).with_name("results.schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@pytest.mark.parametrize("name", ["", *PARTS])
def test_the_schema_says_what_the_types_say(name: str) -> None:
    """The same fields, those without a default required, and the JSON types of the fields' types."""
    schema, kind = the_schema(), PARTS.get(name, CaseRecord)
    definitions = schema["$defs"]
    part = definitions[name] if name else schema
    assert set(part["properties"]) == {field.name for field in dataclasses.fields(kind)}
    assert set(part["required"]) == {one.name for one in dataclasses.fields(kind) if one.default is dataclasses.MISSING}
    hints = typing.get_type_hints(kind)
    for field, about in part["properties"].items():
        target = definitions[about["$ref"].rpartition("/")[2]] if "$ref" in about else about
        assert {*allowed(target)} >= json_types(hints[field]), field
        if "items" in target and dataclasses.is_dataclass(item := typing.get_args(hints[field])[0]):
            assert PARTS[target["items"]["$ref"].rpartition("/")[2]] is item


def allowed(schema: dict[str, Any]) -> list[str]:
    """The JSON types that a schema allows; one with a list of words allows strings."""
    kinds = schema.get("type", "string")
    return [kinds] if isinstance(kinds, str) else kinds


def json_types(hint: Any) -> set[str]:
    """The JSON types of a field; None is not asked for where a default leaves the field out."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return set().union(*(json_types(one) for one in typing.get_args(hint) if one is not type(None)))
    origin = typing.get_origin(hint) or hint
    if origin is typing.Literal:
        return {"string"}
    if origin is tuple:
        return {"array"}
    names = {str: "string", bool: "boolean", int: "integer", float: "number"}
    return {names.get(origin, "object")}


def test_the_schema_has_the_words_of_the_types() -> None:
    schema = the_schema()
    assert schema["properties"]["verdict"]["enum"] == list(typing.get_args(Verdict))
    assert schema["$defs"]["step"]["properties"]["kind"]["enum"] == list(typing.get_args(StepKind))
    assert schema["$defs"]["side"]["enum"] == list(typing.get_args(Side))
    assert set(PARTS) == {name for name, one in schema["$defs"].items() if "object" in allowed(one)}


def test_a_line_holds_all_that_a_record_says() -> None:
    """Each part's fields go out and come back; a field at its default may be missing."""
    content = json.loads(encode(record()))
    assert content == sample(series=content["series"], timings=content["timings"])
    assert decode(encode(record())) == record()
    assert record().steps[1].differences == (FieldDifference("ack", "+2", "+1"),)
    assert record().rows[0].next == ("CLOSING",)
    assert record().run.sent is None
    with_traffic = record(run=SAMPLE["run"] | {"sent": {"packets": 2, "peak_per_s": 1, "to": ["10.77.0.1"]}})
    assert with_traffic.run.sent == TrafficFacts(2, 1, ("10.77.0.1",))
    assert decode(encode(with_traffic)) == with_traffic


OLD = """{"schema": 1, "id": "rfc9293/test_s3_5_handshake.py::test_opens[ipv4]", "title": "t", "description": "",
"verdict": "conforms", "level": "MUST", "document": "RFC9293", "section": "3.5", "family": 4, "requirements": [],
"cells": [], "claims": [], "sentences": [], "needs": [], "target": {"name": "linux", "version": "6", "profile": "linux",
"address": "10.77.0.1", "settings": {}}, "run": {"id": "2026-11-20T10:00:00Z", "started_ns": 1, "harness": "0.1.0",
"python": "3.11.7", "command": "pytest", "jitter": {}}, "started_ns": 2, "duration_s": 0.5, "timings": [], "states": [],
"choices": [], "deviation": null, "steps": [{"kind": "send", "at_ns": 3, "frame": null, "text": "SYN"}], "tester":
{"address": "10.77.1.5", "port": 1, "iss": 2, "target_port": 3, "irs": null}, "capture": null, "message": "", "failure":
""}""".replace("\n", " ")


def test_a_record_of_schema_1_is_read() -> None:
    """Of version 0.1: no rows, no source, no series, no traffic; a step says in its text what was sent."""
    old = decode(OLD.encode() + b"\n")
    assert (old.schema, old.rows, old.series, old.source, old.sent, old.ran_again) == (1, (), (), None, None, "")
    assert [str(step) for step in old.steps] == ["SYN"]
    assert decode(encode(old)) == old


def test_fields_of_a_later_version_are_left_out() -> None:
    assert record(colour="red", target=SAMPLE["target"] | {"weight": 3}) == record()


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


@pytest.mark.parametrize(("problem", "content"), wrong_records().items(), ids=list(wrong_records()))
def test_what_is_no_record_is_refused(path: Path, problem: str, content: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=f"not a case record: {re.escape(problem)}"):
        record_of(content)
    path.parent.mkdir()
    path.write_text(json.dumps(content) + "\n" + json.dumps(sample()) + "\n")
    result = read_results(path)
    assert len(result.records) == 1
    assert len(result.problems) == 1
    assert result.problems[0].startswith(f"results.jsonl:1: not a case record: {problem}")


def test_what_breaks_the_schema_is_not_written(path: Path) -> None:
    wrong = [
        dataclasses.replace(record(), family=5),
        dataclasses.replace(record(), level="perhaps"),
        dataclasses.replace(record(), steps=(Step("note", -1, ""),)),
    ]
    with ResultsWriter(path) as writer:
        for entry, problem in zip(wrong, ("family is 5", "level is 'perhaps'", r"steps\[0\].at_ns is -1"), strict=True):
            with pytest.raises(RecordError, match=problem) as caught:
                writer.append(entry)
            assert str(path) in str(caught.value)
    assert path.read_bytes() == b""


def test_samples_validate_against_the_schema_as_others_read_it() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(the_schema())
    validator = jsonschema.Draft202012Validator(the_schema())
    assert validator.is_valid(json.loads(encode(record())))
    assert validator.is_valid(json.loads(OLD))
    assert validator.is_valid(sample())
    assert validator.is_valid(sample(deviation=None, capture=None, steps=[], timings=[]))
    for problem, content in wrong_records().items():
        assert not validator.is_valid(content), problem


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_numbers_that_json_has_not_are_refused(path: Path, odd: float) -> None:
    with ResultsWriter(path) as writer:
        with pytest.raises(RecordError, match="can't record case"):
            writer.append(record(target=SAMPLE["target"] | {"settings": {"x": odd}}))
        with pytest.raises(RecordError, match="can't record case"):
            writer.append(record(target=SAMPLE["target"] | {"settings": {"x": object()}}))
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
    result = read_results(path)
    assert [one.id for one in result.records] == [SAMPLE["id"], "b"]
    assert [problem.split(": ")[0] for problem in result.problems] == [
        f"results.jsonl:{number}" for number in (3, 4, 5, 6, 7, 8, 10)
    ]
    assert result.problems[0] == "results.jsonl:3: not a case record but a JSON array"
    assert "has no schema, id, title" in result.problems[2]
    assert "the last line is cut off" in result.problems[-1]
    assert not any("\n" in problem for problem in result.problems)


def test_of_a_case_that_ran_again_the_last_record_counts(path: Path) -> None:
    with ResultsWriter(path) as writer:
        for case_id, verdict in (("a", "violates"), ("b", "error"), ("a", "conforms")):
            writer.append(record(id=case_id, verdict=verdict))
    assert [(one.id, one.verdict) for one in read_results(path).records] == [
        ("a", "conforms"),
        ("b", "error"),
    ]


def test_offsets_lead_back_to_the_record(path: Path) -> None:
    with ResultsWriter(path) as writer:
        for case_id in "abc":
            writer.append(record(id=case_id))
    for line in scan_results(path):
        assert [line.record] == list(results.read_records(path, [line.offset]))
    with pytest.raises(RecordError, match="changed while it was read"):
        list(results.read_records(path, [5]))


def test_record_is_checked_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To check it takes longer than to read it: what was checked as it was written is taken as it is."""
    with ResultsWriter(path) as writer:
        writer.append(record(id="a"))
    monkeypatch.setattr(shape, "_differences", lambda *_: pytest.fail("checked again"))
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
        writer.append(record(id="a"))
        before = path.read_bytes()
        with monkeypatch.context() as patch, pytest.raises(RecordError) as caught:
            patch.setattr(os, "write", write)
            writer.append(record(id="b"))
        assert str(caught.value) == f"can't write {path}: No space left on device"
        assert path.read_bytes() == before
        writer.append(record(id="c"))
    assert [one.id for one in read_results(path).records] == ["a", "c"]


def test_dev_full_is_one_clear_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with ResultsWriter(Path("/dev/full")) as writer, pytest.raises(RecordError, match="can't write /dev/full: "):
        writer.append(record())


def test_a_line_cut_off_by_a_kill_spoils_no_other(path: Path) -> None:
    with ResultsWriter(path) as writer:
        writer.append(record(id="a"))
    with path.open("ab") as file:
        file.write(b'{"schema": 1, "id": "ha')
    with ResultsWriter(path) as writer:
        writer.append(record(id="c"))
    result = read_results(path)
    assert [one.id for one in result.records] == ["a", "c"]
    assert len(result.problems) == 1


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
        list(threads.map(lambda number: writer.append(record(id=f"test_{number}", failure="x" * 20_000)), range(200)))
    lines = path.read_text().split("\n")
    assert len(lines) == 201
    assert lines[-1] == ""
    assert all(lines[:-1])


# -- renamed cases ------------------------------------------------------------------------------------------------


RENAMED_HERE = {
    "rfc9293/test_a.py": "rfc9293/test_b.py",
    "rfc9293/test_c.py::test_old": "rfc9293/test_c.py::test_new",
    "rfc9293/test_c.py::test_p[ipv4-1]": "rfc9293/test_c.py::test_p[ipv4-first]",
}


@pytest.mark.parametrize(
    ("old", "today"),
    [
        ("rfc9293/test_a.py::test_x[ipv4]", "rfc9293/test_b.py::test_x[ipv4]"),
        ("rfc9293/test_c.py::test_old[ipv6-a[b]]", "rfc9293/test_c.py::test_new[ipv6-a[b]]"),
        ("rfc9293/test_c.py::test_p[ipv4-1]", "rfc9293/test_c.py::test_p[ipv4-first]"),
        ("rfc9293/test_c.py::test_p[ipv6-1]", "rfc9293/test_c.py::test_p[ipv6-1]"),
        ("lwip:rfc9293/test_c.py::test_old[ipv4]", "lwip:rfc9293/test_c.py::test_new[ipv4]"),
        ("rfc9293/test_d.py::test_x[ipv4]", "rfc9293/test_d.py::test_x[ipv4]"),
        ("", ""),
    ],
)
def test_an_old_id_is_read_as_todays(old: str, today: str) -> None:
    assert current_id(old, RENAMED_HERE) == today
    assert current_id(old, {}) == old


def test_records_are_read_by_todays_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "current_id", lambda case_id: current_id(case_id, RENAMED_HERE))
    assert record(id="rfc9293/test_c.py::test_old[ipv4]").id == "rfc9293/test_c.py::test_new[ipv4]"


def test_no_renaming_is_chained_and_every_new_file_is_there() -> None:
    assert not set(RENAMED) & set(RENAMED.values())
    cases = Path(__file__).parents[2] / "testcases"
    for today in RENAMED.values():
        file, _, function = today.partition("[")[0].partition("::")
        assert (cases / file).is_file(), today
        assert not function or f"def {function}(" in (cases / file).read_text("utf-8"), today
