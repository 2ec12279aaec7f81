"""Baselines and comparisons as functions over records: what is kept, what counts as worse, what is shown."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.cli import main
from conformance.record import CaseRecord, RecordError, ResultsWriter, current_id, record_of
from conformance.report import baseline_files
from conformance.report.baseline import Baseline, Result, Time, of_records
from conformance.report.baseline_files import load, save, written
from conformance.report.changes import as_lines, changes
from conformance.report.compare import compare
from conformance.report.comparison_page import make_comparison
from conformance.report.comparison_rows import documents
from conformance.report.pages import make_report
from conformance.report.text import NOTHING, VERDICTS
from tests.unit.test_results import SAMPLE

CASE = "rfc9293/test_s3_6_closing.py::test_{}[ipv4]"


def record(name: str, verdict: str = "conforms", **rest: Any) -> CaseRecord:
    return record_of(SAMPLE | {"id": CASE.format(name), "verdict": verdict, "timings": [], "choices": []} | rest)


def timing(name: str, measured_s: float | None) -> dict[str, Any]:
    return {"name": name, "measured_s": measured_s, "low_s": 1.0, "high_s": None, "source": "s", "how": "h", "ok": True}


def choice(taken: str) -> dict[str, Any]:
    return {"name": "colour", "taken": taken, "allowed": ["red", "blue"]}


def run(name: str = "then", **verdicts: str) -> Baseline:
    return of_records(name, [record(case, verdict) for case, verdict in verdicts.items()])


def recorded(folder: Path, *records: CaseRecord) -> Path:
    with ResultsWriter(folder / "results.jsonl") as results:
        for item in records:
            results.append(item)
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- files ---------------------------------------------------------------------------------------------------


def test_a_baseline_is_sorted_json_with_one_case_a_line(here: Path) -> None:
    recorded(
        here / "run",
        record("b", timings=[timing("rto", 1.00049), timing("rto", None)], choices=[choice("red")]),
        record("a", "violates"),
    )
    path, stored = save("first", here / "run")
    assert path == Path("reports/baselines/first.json")
    lines = path.read_text().splitlines()
    assert json.loads(path.read_text())["schema"] == 1
    rests = f'"requirements": {json.dumps(SAMPLE["requirements"])}, "cells": {json.dumps(SAMPLE["cells"])}'
    assert lines[5] == f'"{CASE.format("a")}": {{"verdict": "violates", {rests}}},'
    assert lines[6] == (
        f'"{CASE.format("b")}": {{"verdict": "conforms", "choices": {{"colour": "red"}},'
        f' "timings": {{"rto": [1.0, 1.0, null], "rto (2)": [null, 1.0, null]}}, {rests}}}'
    )
    read = load("first")
    assert (read.cases, read.target, read.version) == (stored.cases, stored.target, stored.version)
    assert read.cases == load(str(path)).cases == load("run").cases == load("run/results.jsonl").cases


results = st.builds(
    Result,
    st.sampled_from(list(VERDICTS)),
    st.dictionaries(st.text(), st.text()),
    st.dictionaries(
        st.text(), st.builds(Time, st.none() | st.floats(0, 9e3).map(lambda value: round(value, 3)), st.just(None))
    ),
    st.lists(st.text()).map(tuple),
    st.lists(st.text()).map(tuple),
)


@given(st.dictionaries(st.text(), results))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, cases: dict[str, Result]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(written(Baseline("any", "linux", "6", cases)), "utf-8")
    assert load(str(path)).cases == cases


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "its schema is None, not 1"),
        ('{"schema": 2}', "its schema is 2, not 1"),
        ('{"schema": 1}', "it lacks something"),
        ('{"schema": 1, "target": {"name": "x", "version": "1"}, "cases": {"a": {"verdict": "fine"}}}', "'fine'"),
        ('{"schema": 1, "target": {"name": "x", "version": "1"}, "cases": {"a": {"verdict": []}}}', "lacks something"),
        (
            '{"schema": 1, "target": {}, "cases": {"a": {"verdict": "error", "timings": {"t": [1, 2, 3, 4]}}}}',
            "lacks something",
        ),
    ],
)
def test_what_is_no_baseline_gets_one_line(here: Path, content: str, says: str) -> None:
    Path("x.json").write_text(content)
    with pytest.raises(RecordError, match=says) as error:
        load("x.json")
    assert "x.json is no baseline" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_baseline_says_which_there_are(here: Path) -> None:
    with pytest.raises(RecordError, match="no baseline or run 'x'; baselines in reports/baselines: none yet"):
        load("x")
    save("first", recorded(here / "run", record("a")))
    with pytest.raises(RecordError, match="baselines: first"):
        load("x")


@pytest.mark.parametrize("name", ["", "../x", "x.json", "-x", "a b", "a/b", "x\n"])
def test_a_baseline_has_a_plain_name(here: Path, name: str) -> None:
    with pytest.raises(RecordError, match="can't call a baseline"):
        save(name, recorded(here / "run", record("a")))


# -- what has changed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("then", "now", "group", "worse"),
    [
        ("conforms", "violates", "violations", True),
        ("deviates", "violates", "violations", True),
        ("error", "violates", "violations", True),
        ("violates", "error", "errors", True),
        ("conforms", "error", "errors", True),
        ("violates", "violates", None, False),
        ("error", "error", None, False),
        ("conforms", "conforms", None, False),
        ("violates", "conforms", "mended", False),
        ("error", "conforms", "mended", False),
        ("deviates", "conforms", "mended", False),
        ("violates", "inconclusive", "inconclusive", False),
        ("conforms", "breaks should", "otherwise", False),
        ("conforms", "not applicable", "unjudged", True),
        ("deviates", "not applicable", "unjudged", True),
        ("violates", "not applicable", "unjudged", True),
        ("error", "not applicable", "otherwise", False),
        ("conforms", "inconclusive", "inconclusive", False),
        ("error", "inconclusive", "otherwise", False),
        ("inconclusive", "conforms", "otherwise", False),
    ],
)
def test_a_change_of_verdict_is_worse_mended_or_another(then: str, now: str, group: str | None, worse: bool) -> None:
    result = changes(run(a=then), run(a=now), whole=True)
    groups = ("violations", "errors", "unjudged", "inconclusive", "mended", "otherwise")
    assert [name for name in groups if getattr(result, name)] == ([group] if group else [])
    assert result.worse is worse
    assert result.as_before == (then == now != "conforms")


def test_a_new_case_is_worse_only_where_it_violates() -> None:
    result = changes(run(a="conforms"), run(a="conforms", b="conforms"), whole=True)
    assert (result.added, result.worse) == ([CASE.format("b")], False)
    result = changes(run(a="conforms"), run(a="conforms", b="violates"), whole=True)
    assert result.worse
    assert f"  {CASE.format('b')}: violates, was not there" in as_lines(result)


def test_only_a_whole_run_tells_that_a_case_is_gone() -> None:
    then, now = run(a="violates", b="conforms"), run("now", b="conforms")
    part = changes(then, now, whole=False)
    assert (part.gone, part.mended, part.not_run, part.compared) == ([], [], 1, 1)
    assert as_lines(part) == [
        "since then (linux 6.18): nothing got worse",
        "1 case compared, 1 of the baseline not run",
    ]
    assert changes(then, now, whole=True).gone == [CASE.format("a")]
    elsewhere = of_records("now", [record("b", id="linux/test_own.py::test_b[ipv4]")])
    assert (changes(then, elsewhere, whole=True).gone, changes(then, elsewhere, whole=True).not_run) == ([], 2)


@pytest.mark.parametrize(
    ("then", "now", "drifts"),
    [
        (1.0, 1.1, False),
        (1.0, 1.101, True),
        (1.0, 0.89, True),
        (0.01, 0.06, False),
        (0.01, 0.061, True),
        (60, 65, False),
    ],
)
def test_a_timer_drifts_by_more_than_a_tenth_and_50_ms(then: float, now: float, drifts: bool) -> None:
    old, new = (of_records("x", [record("a", timings=[timing("rto", one)])]) for one in (then, now))
    result = changes(old, new, whole=True)
    assert bool(result.times) is drifts
    assert not result.worse
    assert bool(compare([old, new]).times) is drifts
    assert not Time(None).drifted(Time(1.0))
    assert not Time(1.0).drifted(Time(None))


def test_the_changes_are_told_in_words() -> None:
    then = of_records("before", [record("a", timings=[timing("rto", 1.0)], choices=[choice("red")])])
    now = of_records("now", [record("a", timings=[timing("rto", 3.0)], choices=[choice("blue\x1b[2J")])])
    lines = as_lines(changes(then, now, whole=True))
    assert f"  {CASE.format('a')}: colour: blue�[2J, was red" in lines
    assert f"  {CASE.format('a')}: rto: 3 s (allowed: at least 1 s), was 1 s" in lines
    many = {f"case{number}": "violates" for number in range(30)}
    lines = as_lines(changes(run(**dict.fromkeys(many, "conforms")), run(**many), whole=True))
    assert lines[0].endswith(": worse")
    assert "new violations (30):" in lines
    assert lines[-1] == "  and 10 more"


# -- comparison ----------------------------------------------------------------------------------------------


def three(here: Path) -> list[str]:
    recorded(here / "a", record("x"), record("y", choices=[choice("red")]), record("only"))
    recorded(here / "b", record("x", "violates"), record("y", choices=[choice("<b>[red]blue</b>")]))
    recorded(here / "c", record("y", timings=[timing("rto", 1.0)], choices=[choice("red")]))
    return ["a", "b", "c"]


def test_runs_stand_beside_each_other(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = three(here)
    assert main(["compare", *names, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["common"], printed["alone"]) == (1, 1)
    assert printed["counts"] == {"violates": [0, 1, 0], "conforms": [3, 1, 1]}
    assert printed["verdicts"] == [{"case": CASE.format("x"), "values": ["conforms", "violates", None]}]
    assert printed["choices"][0]["values"] == ["red", "<b>[red]blue</b>", "red"]
    assert main(["compare", *names]) == 0
    printed = capsys.readouterr().out
    for part in ("Other verdicts (1)", "Other choices (1)", "1 case in all of them, 1 in one only"):
        assert part in printed
    assert f"{CASE.format('x')}\n  conforms  violates  {NOTHING}\n" in printed
    assert "Timers" not in printed
    assert main(["compare", "a", "a"]) == 0
    assert "no case differs" in capsys.readouterr().out


def test_many_differences_are_cut_in_the_terminal_unless_all_are_asked_for(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(here / "a", *(record(str(at)) for at in range(103)))
    recorded(here / "b", *(record(str(at), "violates") for at in range(103)))
    assert main(["compare", "a", "b"]) == 0
    printed = capsys.readouterr().out
    assert "Other verdicts (103)" in printed and printed.count("closing.py::") == 100
    assert "and 3 more: --all, or --html FILE for a page" in printed
    assert main(["compare", "a", "b", "--all"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("closing.py::") == 103 and "more: --all" not in printed


def test_the_page_of_a_comparison_needs_no_script_and_no_inline_style(here: Path) -> None:
    three(here)
    recorded(here / "d", record("x"), record("y", timings=[timing("rto", 2.0)]))
    assert main(["compare", "a", "b", "c", "d", "--html", "new/page.html"]) == 0
    page = Path("new/page.html").read_text()
    assert (here / "new" / "style.css").exists()
    assert not [what for what in ("<script", "style=", "<style", "<b>[red]", "None") if what in page]
    for part in ("&lt;b&gt;[red]blue", 'id="timers"', "at least 1 s"):
        assert part in page
    result = compare([load(name) for name in ("a", "b")])
    make_report(here / "a")
    make_comparison(here / "a" / "compare.html", result, {})
    own = here / "own"
    own.mkdir()
    (own / "style.css").write_text("body {}")
    with pytest.raises(RecordError, match="belongs to something else"):
        make_comparison(own / "compare.html", result, {})


def test_rows_say_whether_they_differ_and_to_whom_they_apply(here: Path) -> None:
    """Both families are one row, with the worse verdict; cases that a run lacks count for nobody."""
    case = "rfc9293/test_s3_6_closing.py::test_x[ipv{}-1]"
    must, may = {"requirements": ["RFC9293:MUST-13"]}, {"requirements": ["RFC7323:MUST-2"]}
    for run, verdict, second in ("a", "conforms", "conforms"), ("b", "violates", "not applicable"):
        both = [replace(record("x", verdict if n == 4 else "conforms", **must), id=case.format(n)) for n in (4, 6)]
        recorded(here / run, *both, record("y", second, **may))
    recorded(here / "a", record("z", "violates", **must))
    conversation, option = documents(compare([load("a"), load("b")]), {})
    (row,), (alone,) = conversation.sections[0].rows, option.sections[0].rows
    assert (conversation.name, row.id, row.verdicts) == ("RFC9293", "RFC9293:MUST-13", ["conforms", "violates"])
    assert [(case.stem, case.verdicts) for case in row.cases] == [
        ("rfc9293/test_s3_6_closing.py::test_x[1]", ["conforms", "violates"])
    ]
    assert (row.same, row.alone, row.partly, conversation.same) == (False, False, False, False)
    assert (alone.same, alone.alone, alone.partly, option.same, option.partly) == (False, True, True, True, True)
    assert conversation.scores() == [{"conforms": 1}, {"violates": 1}]


def test_wrong_calls_get_one_line_and_2(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(here / "a", record("x"))
    recorded(here / "b", record("y"))
    (here / "empty").mkdir()
    for arguments, says in (
        (["compare", "a", "nothing"], "there is no baseline or run 'nothing'"),
        (["compare", "a", "empty"], "can't read empty/results.jsonl: No such file"),
        (["baseline", "save", "x"], "can't read reports/latest: No such file"),
        (["baseline", "save", "x/y", "--run", "a"], "can't call a baseline 'x/y'"),
    ):
        assert main(arguments) == 2
        printed = capsys.readouterr()
        assert says in printed.err
        assert printed.err.count("\n") == 1
        assert not printed.out
    assert main(["compare", "a", "b"]) == 2
    printed = capsys.readouterr()
    assert printed.err == "tcp-conformance compare: a and b have no case in common\n"
    assert "0 cases in all of them, 2 in one only" in printed.out
    (here / "old.json").write_text('{"schema": 0}')
    assert main(["compare", "a", "old.json", "a"]) == 2
    printed = capsys.readouterr()
    assert "its schema is 0, not 1; keep the run again" in printed.err
    assert "1 case in all of them" in printed.out
    with (here / "a" / "results.jsonl").open("a") as file:
        file.write("{")
    assert main(["baseline", "save", "x", "--run", "a"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "reports/baselines/x.json: 1 case\n"
    assert "1 line left out: results.jsonl:2: the last line is cut off" in printed.err


def test_runs_differ_by_requirement_cell_state_and_setting(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = "CLOSING/fin-duplicate", "CLOSING/ack-new"
    row: dict[str, Any] = {"requirements": ["RFC9293:MUST-13"], "cells": [first]}
    another: dict[str, Any] = {"requirements": ["RFC9293:MUST-13", "RFC9293:MAY-2"], "cells": [first, second]}
    target = {**SAMPLE["target"], "settings": {"net.ipv4.tcp_timestamps": 1, "net.ipv4.tcp_sack": 1}}
    for item in row, another:
        item["target"] = target
    recorded(here / "a", record("x", **row), record("y", **another), record("only", "violates", **row))
    for item in row, another:
        item["target"] = {**target, "settings": {"net.ipv4.tcp_timestamps": 0, "net.ipv4.tcp_sack": 1}}
    recorded(here / "b", record("x", **row), record("y", "violates", **another))
    assert main(["compare", "a", "b", "--json", "--html", "page.html"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["requirements"] == [
        {"id": "RFC9293:MAY-2", "values": ["conforms", "violates"]},
        {"id": "RFC9293:MUST-13", "values": ["conforms", "violates"]},
    ]
    assert printed["cells"] == [{"id": second, "values": ["conforms", "violates"]}], "x checks the other one alone"
    assert printed["states"] == {"CLOSING": [{"conforms": 2}, {"conforms": 1, "violates": 1}]}
    assert printed["settings"] == [{"name": "net.ipv4.tcp_timestamps", "values": ["1", "0"]}]
    page = Path("page.html").read_text()
    for part in ('id="requirements"', 'id="cells"', 'id="states"', 'id="settings"', 'id="RFC9293-MAY-2"', second):
        assert part in page
    assert main(["compare", "a", "b"]) == 0
    printed = capsys.readouterr().out
    assert "Requirements (2)" in printed
    assert "CLOSING\n  2 conforms  1 violates, 1 conforms" in printed
    save("kept", here / "a")
    lines = as_lines(changes(load("kept"), load("b"), whole=True))
    assert lines[lines.index("other settings (1):") + 1] == "  net.ipv4.tcp_timestamps: 0, was 1"
    assert lines.count("other settings (1):") == 1
    assert changes(replace(load("kept"), settings={}), load("b"), whole=True).settings == [], "an older one has none"
    make_report(here / "b", load("kept"))
    assert '<th scope="row"><code>net.ipv4.tcp_timestamps</code></th><td>setting</td><td>1</td><td>0</td>' in (
        (here / "b" / "changes.html").read_text()
    )
    assert main(["compare", "kept", "b", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["cells"]) == 1, "a baseline keeps what a case rests on"


# -- what deviates -------------------------------------------------------------------------------------------


def deviating(name: str, *steps: dict[str, Any]) -> CaseRecord:
    known = {"reason": "it <does> so", "source": "tcp.c", "sentence": "It MUST NOT."}
    return record(name, "deviates", deviation=known, message=f"{name} failed", steps=list(steps))


def test_a_deviation_is_kept_and_shown_with_the_frames_that_show_it(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    syn: dict[str, Any] = {"kind": "send", "at_ns": 5, "text": "", "line": "SYN seq=+0 TSval=1 TSecr=0"}
    call: dict[str, Any] = {"kind": "app", "at_ns": 6, "text": "connect()"}
    arrived: dict[str, Any] = {"kind": "receive", "at_ns": 5 + 10**9, "text": "RST seq=+0", "ok": False}
    recorded(
        here / "run",
        deviating("long", syn, call, arrived, arrived),
        deviating("short", syn, call, arrived),
        record("a"),
    )
    save("known", here / "run")
    recorded(here / "other", record("long"), record("short"), record("a"))
    (shown,) = load("known").deviations
    assert (shown.case, shown.shows) == (CASE.format("short"), "short failed")
    assert shown.frames == ("0.000 s -> SYN seq=+0", "1.000 s <- RST seq=+0")
    assert load("known").showing(shown) == [CASE.format("long"), CASE.format("short")]
    assert written(load("known")) == Path("reports/baselines/known.json").read_text()

    assert main(["compare", "known", "other", "--html", "page/compare.html"]) == 0
    printed = capsys.readouterr().out
    short = ("What linux 6.18 does otherwise in known (1)", "it <does> so (2 cases; tcp.c)")
    behind = ("the standard: It MUST NOT.", f"{CASE.format('short')}: short failed", "1.000 s <- RST seq=+0")
    assert all(line in printed for line in short) and not any(line in printed for line in behind), printed
    assert main(["compare", "known", "other", "--all"]) == 0
    printed = capsys.readouterr().out
    assert all(line in printed for line in (*short, *behind)), printed
    assert main(["compare", "known", "run"]) == 0
    assert "does otherwise" not in capsys.readouterr().out, "it is in both"
    page = Path("page/compare.html").read_text()
    assert page.count(f'href="#1-{shown.key}"') == 2, "each case leads to it"
    assert page.count(f'id="1-{shown.key}"') == 1
    assert "it &lt;does&gt; so" in page and "It MUST NOT." in page and "1.000 s &lt;- RST seq=+0" in page
    assert main(["compare", "known", "other", "--json"]) == 0
    (told_as_json,) = json.loads(capsys.readouterr().out)["runs"][0]["deviations"]
    assert told_as_json["cases"] == [CASE.format("long"), CASE.format("short")]


# -- renamed cases ---------------------------------------------------------------------------------------------


def test_a_baseline_is_read_by_todays_ids(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A case that was renamed since is compared with itself, not new beside one that is gone."""
    recorded(here / "run", deviating("old", {"kind": "app", "at_ns": 6, "text": "connect()"}), record("same"))
    save("then", here / "run")
    renamed = {CASE.format("old").partition("[")[0]: CASE.format("new").partition("[")[0]}
    monkeypatch.setattr(baseline_files, "current_id", lambda case_id: current_id(case_id, renamed))
    then = load("then")
    assert set(then.cases) == {CASE.format("new"), CASE.format("same")}
    assert then.deviations[0].case == CASE.format("new")
    result = changes(then, run("now", new="deviates", same="conforms"), whole=True)
    assert (result.added, result.gone, result.compared) == ([], [], 2)
