"""Requirements as people meet them: a list with the cases that verify each, and cases chosen by what they verify."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.plugin.coverage import check, collects_everything
from conformance.standard import tc8
from conformance.standard.catalogue import level_of, requirement, requirements, unfinished
from conformance.standard.cells import cell, cells
from tests.conftest import Suite
from tests.plugin.test_cells import as_json, listed

CASES = '''
    @verifies("RFC9293:MUST-13", "claim:C-18")
    async def test_must_and_claim(tcp):
        """A requirement and a claim."""

    @verifies("RFC9293:3.5-handshake", cells=["SA-305"])
    async def test_cell(tcp):
        """A cell, by its running number."""

    @verifies("RFC5961:3.2-1", "RFC9293:MUST-13")
    async def test_two_documents(tcp):
        """Two documents."""

    def test_no_case():
        pass
'''


def test_every_requirement_is_listed_with_its_cases_or_why_there_are_none() -> None:
    results = as_json("--requirements")
    assert [one["id"] for one in results] == list(requirements())
    cases = {one["id"]: one for one in as_json()}
    for entry in results:
        assert set(entry) == {"id", "level", "document", "section", "summary", "cases", "reason", "partly"}
        assert entry["level"] == level_of([entry["id"]])
        row = requirement(entry["id"])
        assert (entry["reason"], entry["partly"]) == (("", row.partly) if entry["cases"] else (row.reason, ""))
        assert all(entry["id"] in cases[name]["requirements"] for name in entry["cases"])
    by_id = {one["id"]: one for one in results}
    assert any("[CLOSING/rst-left-edge]" in name for name in by_id["RFC9293:3.10.7.4-rst-exact"]["cases"])
    # A case that only says why nobody can see its row verifies nothing.
    unseen = {f"[{row.id}]" for row in cells() if not row.runs}
    assert not [name for one in results for name in one["cases"] if name[name.find("[") :] in unseen]


def test_every_requirement_has_a_case_or_a_reason() -> None:
    results = [one for one in as_json("--requirements") if one["document"] not in unfinished()]
    assert not [one["id"] for one in results if not one["cases"] and not one["reason"]]


def test_what_cannot_be_observed_has_no_case_that_judges_it() -> None:
    """The catalogue, the rows, the cases and the TC8 mapping agree on what can be seen."""
    results = {one["id"]: one["cases"] for one in as_json("--requirements")}
    assert not [name for name, cases in results.items() if requirement(name).observable == "no" and cases]
    assert not [name for name, cases in results.items() if requirement(name).partly and not cases]
    runs = {row.id: row.runs for row in cells()}
    checks = [check for family in tc8.families() for check in (family.whole, *family.checks)]
    named = [(check.id, pattern) for check in checks for pattern in check.cases]
    assert any(pattern in runs for _, pattern in named)
    assert not [pair for pair in named if not runs.get(pair[1], True)]


def test_a_run_of_everything_is_stopped_by_a_requirement_without_case_and_reason() -> None:
    with pytest.raises(pytest.UsageError) as raised:
        check([])
    *lines, todo = str(raised.value).splitlines()
    assert "@verifies" in todo
    missing = [one for one in requirements().values() if not one.reason and one.document not in unfinished()]
    assert len(lines) == len(missing) > 300
    for line, row in zip(lines, missing, strict=True):
        where, number, text = line.split(":", 2)
        assert text.startswith(f" {row.id} ")
        assert Path(where).read_text().splitlines()[int(number) - 1] == f'id = "{row.id.partition(":")[2]}"'


@pytest.mark.parametrize(
    ("arguments", "everything"),
    [
        ([], True),
        (["testcases"], True),
        (["testcases/"], True),
        (["testcases", "--family", "4", "--tier", "quick"], True),
        (["testcases/rfc9293"], False),
        (["testcases", "-k", "fin"], False),
        (["testcases", "-m", "must"], False),
        (["testcases", "--rfc", "9293"], False),
        (["testcases", "--ignore", "testcases/linux"], False),
        (["testcases/rfc9293/test_s3_6_closing.py::test_second_close_sends_no_second_fin"], False),
    ],
)
def test_everything_is_what_nobody_chose_from(
    arguments: list[str], everything: bool, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []

    class Asked:
        def pytest_collection(self, session: pytest.Session) -> bool:
            seen.append(collects_everything(session.config))
            return True

    monkeypatch.chdir(pytestconfig.rootpath)
    pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[Asked()])
    assert seen == [everything]


def test_requirements_are_chosen_by_document_and_level() -> None:
    results = as_json("--requirements", "--document", "rfc9293", "--level", "should")
    assert {one["document"] for one in results} == {"RFC9293"}
    assert {one["level"] for one in results} == {"SHOULD"}
    assert "RFC9293:REC-1" in {one["id"] for one in results}, "RECOMMENDED is SHOULD"
    shown = listed("--requirements", "--document", "RFC9293").stdout
    assert "RFC9293:MUST-13  MUST  3.6.1  The end that closes actively" in shown
    assert f"partly: unseen is {requirement('RFC9293:MUST-28').partly}" in shown
    assert f"no case: {requirement('RFC9293:SHLD-13').reason}" in shown
    assert shown.splitlines()[-1].startswith("RFC9293: 119 numbered, ")
    assert "RFC6528" not in shown


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--requirements", "--document", "RFC929"), "no document is called 'RFC929'; the nearest is RFC9293"),
        (("--requirements", "--state", "CLOSING"), "--state and --event choose among cells and cases"),
        (("--level", "must"), "--document and --level choose among requirements: add --requirements"),
    ],
)
def test_a_wrong_list_gets_one_line(options: tuple[str, ...], says: str) -> None:
    done = listed(*options)
    assert done.returncode == 2
    assert done.stderr.startswith(f"tcp-conformance list: {says}")
    assert done.stderr.count("\n") == 1


def test_cases_are_chosen_by_what_they_verify(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)

    def chosen(*options: str) -> set[str]:
        ran = made.run("--family=4", *options)
        assert ran.code == pytest.ExitCode.OK, ran.out
        assert f"{len(ran.verdicts)} passed, {4 - len(ran.verdicts)} deselected" in ran.out
        return {name.removeprefix("test_").removesuffix("[ipv4]") for name in ran.verdicts}

    assert chosen("--requirement=RFC9293:MUST-13") == {"must_and_claim", "two_documents"}
    assert chosen("--requirement=C-18") == chosen("--requirement=claim:C-18") == {"must_and_claim"}
    assert chosen("--requirement", cell("SA-305").id) == chosen("--requirement=SA-305") == {"cell"}
    assert chosen("--requirement=C-18", "--requirement=SA-305") == {"must_and_claim", "cell"}
    assert chosen("--rfc=5961") == chosen("--rfc=RFC5961", "--requirement=RFC9293:MUST-13") == {"two_documents"}
    assert chosen("--rfc=5961", "--rfc=9293", "-k", "not claim") == {"cell", "two_documents"}
    with (made.folder / "out" / "requirements.csv").open() as file:
        assert {row["id"] for row in csv.DictReader(file)} == {
            "RFC9293:3.5-handshake",
            "RFC9293:MUST-13",
            "RFC5961:3.2-1",
        }
    ran = made.run("--requirement=RFC9293:MUST-1")
    assert ran.code == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "7 deselected" in ran.out


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("--requirement=MUST-13", "is called 'MUST-13'; the nearest is RFC9293:MUST-13"),
        ("--requirement=RFC9293:MUST-131", "is called 'RFC9293:MUST-131'; the nearest is RFC9293:MUST-13"),
        ("--requirement=C-99", "is called 'C-99'; the nearest is C-"),
        ("--requirement=TIME-WAIT/fin-duplicat", "the nearest is TIME-WAIT/fin-duplicate"),
        ("--rfc=9294", "no requirements of RFC9294 are known; the nearest is RFC9293"),
    ],
)
def test_an_unknown_id_stops_before_anything_runs(suite: Callable[[str], Suite], option: str, says: str) -> None:
    ran = suite(CASES).run(option)
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert says in ran.out
    assert "Traceback" not in ran.out
    assert not ran.output.exists()
