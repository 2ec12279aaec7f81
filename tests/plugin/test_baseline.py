"""Runs held against a baseline: what they say, and their exit code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
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


NEEDY = (
    CASES
    + '''
    @verifies("RFC9293:MUST-13", needs=("timestamps",))
    async def test_fourth(tcp):
        """It needs an option."""
        await tcp.sleep(0)
'''
)
LAB = """
name = "linux"
kind = "netns"
"""


def needy(second: str = CONFORMS) -> str:
    return NEEDY.format(first=CONFORMS, second=second, colour="red")


def test_what_is_no_longer_judged_is_worse(suite: Callable[[str], Suite]) -> None:
    made = suite(needy())
    assert made.run("--family=4").code == pytest.ExitCode.OK
    save(made)
    lost = made.write(needy('tcp.needs("a-capability")')).run("--family=4", "--baseline=before")
    assert lost.code == pytest.ExitCode.TESTS_FAILED
    assert "since before (linux" in lost.out and "): worse" in lost.out
    assert "1 case no longer judged" in lost.out
    assert "no longer judged (1):" in lost.out
    assert "test_second[ipv4]: not applicable, was conforms" in lost.out
    summary = (lost.output / "summary.md").read_text()
    assert summary.splitlines()[0] == "## ? TCP conformance: Conforms: nothing violates; 1 case no longer judged"
    assert "1 case no longer judged" in (lost.output / "index.html").read_text()


def test_inconclusive_cases_are_worse_beyond_a_number(suite: Callable[[str], Suite]) -> None:
    made = suite(needy())
    made.run("--family=4")
    save(made)
    made.write(needy('raise Inconclusive("who knows")'))
    few = made.run("--family=4", "--baseline=before")
    assert few.code == pytest.ExitCode.OK
    assert "1 case now inconclusive" in few.out
    assert "test_second[ipv4]: inconclusive, was conforms" in few.out
    for option in ("--most-inconclusive=0", "--strict"):
        many = made.run("--family=4", "--baseline=before", option)
        assert many.code == pytest.ExitCode.TESTS_FAILED, many.out
        assert "1 case now inconclusive, more than the 0 allowed" in many.out
    refused = made.run("--family=4", "--most-inconclusive=-1")
    assert refused.code == pytest.ExitCode.USAGE_ERROR
    assert "'-1' is not a whole number" in refused.out


def test_a_setting_that_the_file_declares_accounts_for_what_is_no_longer_judged(suite: Callable[[str], Suite]) -> None:
    made = suite(needy())
    made.run("--family=4")
    save(made)
    off = made.folder / "off.toml"
    off.write_text(LAB + '[sysctl]\n"net.ipv4.tcp_timestamps" = 0\n')
    ran = made.run("--family=4", "--baseline=before", "--target=off.toml")
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert "nothing got worse" in ran.out
    headline = "1 case no longer judged, as the target's file declares: net.ipv4.tcp_timestamps = 0"
    assert headline in ran.out
    assert "test_fourth[ipv4]: not applicable, was conforms" in ran.out
    assert headline.replace("'", "&#39;") in (ran.output / "index.html").read_text()
    summary = (ran.output / "summary.md").read_text().splitlines()[0]
    assert summary.replace("\\", "").endswith(f"nothing violates; {headline}")


def test_a_hello_that_loses_a_capability_is_worse(suite: Callable[[str], Suite]) -> None:
    made = suite(needy())
    made.run("--family=4")
    save(made)
    (made.folder / "conftest.py").write_text(
        "from conformance.target import netns\n"
        "whole = netns.capabilities_of\n"
        "netns.capabilities_of = lambda hello: whole(hello) - {'timestamps'}\n"
    )
    lost = made.run("--family=4", "--baseline=before")
    assert lost.code == pytest.ExitCode.TESTS_FAILED
    assert "1 case no longer judged" in lost.out
    assert "test_fourth[ipv4]: not applicable, was conforms" in lost.out
    (made.folder / "lacking.toml").write_text(LAB + 'without = ["timestamps"]\n')
    declared = made.run("--family=4", "--baseline=before", "--target=lacking.toml")
    assert declared.code == pytest.ExitCode.OK, declared.out
    assert "1 case no longer judged, as the target's file declares: without timestamps" in declared.out


def test_a_file_that_declares_a_lack_is_held_to_it(suite: Callable[[str], Suite]) -> None:
    made = suite(needy())
    (made.folder / "lacking.toml").write_text(LAB + 'without = ["timestamps"]\n')
    ran = made.run("--family=4", "--target=lacking.toml")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "linux: its file says 'without timestamps', but it has timestamps: take that out of the file" in ran.out


def test_a_profile_can_be_brought_along(suite: Callable[[str], Suite]) -> None:
    made = suite(cases())
    (made.folder / "own.toml").write_text(LAB + 'profile = "profiles/mine.toml"\n')
    folder = made.folder / "profiles"
    folder.mkdir()
    mine = """
        title = "Mine"
        extends = "linux"
        [[deviation]]
        cases = "*::test_first[*]"
        requirement = "RFC9293:MUST-13"
        sentence = "It lingers."
        reason = "it is known to"
        source = "its manual"
        shows = "^not so$"
    """
    (folder / "mine.toml").write_text(textwrap.dedent(mine))
    ran = made.run("--family=4", "--target=own.toml")
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert ran.verdicts["test_first[ipv4]"] == "deviates"
    gone = made.write(cases(first=CONFORMS)).run("--family=4", "--target=own.toml", "--strict")
    assert gone.code == pytest.ExitCode.TESTS_FAILED
    assert "no longer deviates" in gone.out
    (folder / "mine.toml").write_text(textwrap.dedent(mine).replace("shows", "show"))
    wrong = made.run("--family=4", "--target=own.toml")
    assert wrong.code == pytest.ExitCode.USAGE_ERROR
    assert "own.toml:4: profiles/mine.toml:4, deviation 1: shows missing" in wrong.out


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
