"""Runs held against a baseline: what they say, and their exit code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import Suite, clean_environment

CASES = '''
    @verifies("RFC9293:MUST-13")
    async def test_first(tcp):
        """It violates in the beginning."""
        {first}

    @verifies("RFC9293:MUST-13")
    async def test_second(tcp):
        """It conforms in the beginning."""
        {second}

    @verifies("RFC9293:MAY-2")
    async def test_third(tcp):
        """It chooses."""
        tcp.choice("colour", "{colour}", ["red", "blue"])
'''
VIOLATES, CONFORMS = 'raise Violation("not so")', "await tcp.sleep(0)"


def cases(first: str = VIOLATES, second: str = CONFORMS, colour: str = "red") -> str:
    return CASES.format(first=first, second=second, colour=colour)


def save(made: Suite, name: str = "before") -> None:
    command = [sys.executable, "-m", "conformance.cli", "baseline", "save", name, "--run=out"]
    subprocess.run(command, cwd=made.folder, env=clean_environment(), check=True, capture_output=True)


def test_a_run_fails_only_where_it_got_worse(suite: Callable[[str], Suite]) -> None:
    made = suite(cases())
    assert made.run("--family=4").code == pytest.ExitCode.TESTS_FAILED
    save(made)

    same = made.run("--family=4", "--baseline=before")
    assert same.code == pytest.ExitCode.OK
    assert "since before (linux" in same.out
    assert "nothing got worse" in same.out
    assert "3 cases compared, 1 as bad as before" in same.out
    assert "1 failed, 2 passed" in same.out

    worse = made.write(cases(second=VIOLATES)).run("--family=4", "--baseline=reports/baselines/before.json")
    assert worse.code == pytest.ExitCode.TESTS_FAILED
    assert "new violations (1):" in worse.out
    assert "test_second[ipv4]: violates, was conforms" in worse.out

    error = made.write(cases(second='raise HarnessFault("fell over")')).run("--family=4", "--baseline=before")
    assert error.code == pytest.ExitCode.TESTS_FAILED
    assert "new errors (1):" in error.out

    mended = made.write(cases(first=CONFORMS, colour="blue")).run("--family=4", "--baseline=before")
    assert mended.code == pytest.ExitCode.OK, mended.out
    assert "test_first[ipv4]: conforms, was violates" in mended.out
    assert "test_third[ipv4]: colour: blue, was red" in mended.out


def test_a_selection_is_compared_alone_and_a_whole_run_knows_what_is_gone(suite: Callable[[str], Suite]) -> None:
    made = suite(cases())
    made.run()
    save(made)
    part = made.run("--baseline=before", "-k", "second")
    assert part.code == pytest.ExitCode.OK
    assert "2 cases compared, 4 of the baseline not run" in part.out
    assert "gone" not in part.out
    assert "mended" not in part.out
    renamed = made.write(cases().replace("test_second", "test_other")).run("--baseline=before")
    assert renamed.code == pytest.ExitCode.OK
    assert "added (2):" in renamed.out
    assert "gone (2):" in renamed.out


def test_what_was_deselected_is_never_gone(suite: Callable[[str], Suite]) -> None:
    slow = cases().replace('"RFC9293:MUST-13"', '"RFC9293:MUST-13", lasts=60', 1)
    made = suite(slow.replace('"RFC9293:MUST-13")', '"RFC9293:MUST-13", "RFC5961:3.2-1")'))
    shutil.copy(made.folder / "test_cases.py", made.folder / "test_more.py")
    made.run()
    save(made)
    for options in (
        ("--tier=quick",),
        ("--requirement=RFC9293:MAY-2",),
        ("--rfc=5961",),
        ("--family=4",),
        ("-m", "may"),
        ("-k", "third"),
        ("--deselect=test_cases.py::test_first",),
        ("--ignore=test_more.py",),
        ("test_cases.py::test_third",),
        ("--tier=quick", "-n2"),
    ):
        ran = made.run("--baseline=before", *options)
        assert re.search(r"\d+ of the baseline not run", ran.out), (options, ran.out)
        assert "gone" not in ran.out, (options, ran.out)


def test_a_tier_leaves_out_what_a_longer_one_kept_and_what_is_missing_is_gone(suite: Callable[[str], Suite]) -> None:
    made = suite(cases().replace('"RFC9293:MUST-13"', '"RFC9293:MUST-13", lasts=100', 1))
    made.run("--family=4", "--tier=full")
    save(made)
    renamed = made.write(
        cases().replace('"RFC9293:MUST-13"', '"RFC9293:MUST-13", lasts=100', 1).replace("test_second", "test_new")
    )
    ran = renamed.run("--family=both", "--baseline=before")
    assert "gone (1):" in ran.out, ran.out
    assert "1 of the baseline not run" in ran.out


def test_a_baseline_excuses_no_other_failure(suite: Callable[[str], Suite]) -> None:
    made = suite(cases())
    made.run("--family=4")
    save(made)
    assert made.run("--family=4", "--baseline=before", "-x").code == pytest.ExitCode.TESTS_FAILED
    (made.folder / "test_plain.py").write_text("def test_plain(): assert False\n")
    ran = made.run("--family=4", "--baseline=before")
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    assert "nothing got worse" in ran.out


def test_workers_leave_it_to_their_controller(suite: Callable[[str], Suite]) -> None:
    pytest.importorskip("xdist")
    made = suite(cases())
    made.run("--family=4")
    save(made)
    ran = made.run("--family=4", "--baseline=before", "-n2")
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert "3 cases compared, 1 as bad as before" in ran.out


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "there is no baseline or run 'x.json'"), ("{", "it is not JSON"), ('{"schema": 2}', "its schema is 2")],
)
def test_what_is_no_baseline_stops_the_run_before_it_starts(
    suite: Callable[[str], Suite], content: str | None, says: str
) -> None:
    made = suite(cases())
    if content is not None:
        (made.folder / "x.json").write_text(content)
    ran = made.run("--baseline=x.json")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert says in ran.out
    assert "Traceback" not in ran.out
    assert not ran.output.exists()
