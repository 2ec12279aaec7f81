"""Runs put together: families, workers, targets; what is missing is said, and the rest is there."""

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.cli import main
from conformance.record import RecordError, read_pcapng, read_results
from conformance.report.baseline_files import load
from conformance.report.merge import merge
from conformance.report.pages import make_report
from tests.unit.test_report import HANDSHAKE, assert_sound, make_record, save, simultaneous_close


def on(target: str, record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "target": {**record["target"], "name": target}}


def test_families_become_one_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for family in (4, 6):
        save(tmp_path / str(family), *simultaneous_close(family))
    command = ["report", str(tmp_path / "4"), str(tmp_path / "6"), "--output", str(tmp_path / "both")]
    assert main([*command, "--self-contained"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [str(tmp_path / "both" / name) for name in ("index.html", "report.html")]
    assert not printed.err
    (tmp_path / "both" / "report.html").unlink()
    records = read_results(tmp_path / "both" / "results.jsonl").records
    assert [one.family for one in records] == [4, 6]
    assert all(read_pcapng(tmp_path / "both" / (one.capture or "")).frames for one in records)
    assert_sound(tmp_path / "both")


def test_of_the_same_case_the_one_that_began_last_counts(tmp_path: Path) -> None:
    save(tmp_path / "new", make_record(verdict="conforms", started_ns=2), list(HANDSHAKE))
    save(tmp_path / "old", make_record(verdict="violates", started_ns=1), list(HANDSHAKE))
    assert merge([tmp_path / "new", tmp_path / "old"], tmp_path / "all") == []
    assert [one.verdict for one in read_results(tmp_path / "all" / "results.jsonl").records] == ["conforms"]


def test_targets_stand_beside_each_other_under_their_names(tmp_path: Path) -> None:
    for name, verdict in (("linux", "conforms"), ("lwip", "violates")):
        save(tmp_path / name, on(name, make_record(verdict=verdict)), list(HANDSHAKE))
    assert merge([tmp_path / "linux", tmp_path / "lwip"], tmp_path / "all") == []
    text = make_report(tmp_path / "all").with_name("cases.html").read_text("utf-8")
    assert (
        len(list((tmp_path / "all" / "cases").iterdir())) == len(list((tmp_path / "all" / "captures").iterdir())) == 2
    )
    assert "(IPv4, lwip)</a>" in (tmp_path / "all" / "findings.html").read_text("utf-8")
    assert "<code>linux:rfc9293/" in text
    assert_sound(tmp_path / "all")
    stored = load(str(tmp_path / "all"))
    assert sorted(case.partition(":")[0] for case in stored.cases) == ["linux", "lwip"]
    assert stored.cases == load(str(tmp_path / "all" / "verdicts.json")).cases


def test_what_is_missing_is_said_and_the_rest_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "a", make_record(), list(HANDSHAKE))
    next((tmp_path / "a" / "captures").iterdir()).unlink()
    save(tmp_path / "b", make_record("t.py::test_b", capture="../outside.pcapng"), [])
    (tmp_path / "outside.pcapng").write_text("x")
    with (tmp_path / "b" / "results.jsonl").open("a") as file:
        file.write('{"foreign": 1}\n' + json.dumps(make_record("t.py::test_c"))[:100])
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(tmp_path / "all")]) == 0
    printed = capsys.readouterr().err.splitlines()
    assert len(printed) == 4
    for line, part in zip(
        printed,
        ("b: results.jsonl:2: not a case record", "the last line is cut off", "a: no capture", "b: no capture"),
        strict=True,
    ):
        assert part in line
    assert len(read_results(tmp_path / "all" / "results.jsonl").records) == 2
    assert "outside" not in (tmp_path / "all" / "results.jsonl").read_text()
    assert_sound(tmp_path / "all")


@pytest.mark.parametrize("link", ["captures", "capture"])
def test_links_are_not_followed(tmp_path: Path, link: str) -> None:
    """A run that somebody hands over must not put files of ours into the report."""
    save(tmp_path / "a", make_record(), list(HANDSHAKE))
    captures = tmp_path / "a" / "captures"
    elsewhere = next(captures.iterdir()) if link == "capture" else captures
    elsewhere.rename(tmp_path / "outside")
    elsewhere.symlink_to(tmp_path / "outside")
    (problem,) = merge([tmp_path / "a"], tmp_path / "all")
    assert "a: no capture" in problem
    assert not list((tmp_path / "all" / "captures").iterdir())


def test_wrong_calls_get_one_line_and_touch_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "a", make_record(), list(HANDSHAKE))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RecordError, match="it is one of the runs"):
        merge([tmp_path / "a", tmp_path / "a" / ".." / "a"], tmp_path / "a")
    for others, says in ((["nothing"], "can't read"), (["a", "--baseline", "nothing"], "there is no baseline or run")):
        wrong = [str(tmp_path / others[0]), *others[1:], "--output", str(tmp_path / "all")]
        assert main(["report", str(tmp_path / "a"), *wrong]) == 1
        printed = capsys.readouterr().err
        assert says in printed
        assert printed.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
