"""Runs that are started from Python: outcomes, the same cases as by pytest, and nothing left behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conformance.api import ACK, Case, InvalidCase, State, Verdict, Violation, run, verifies
from conformance.target import HarnessFault
from conformance.target.load import TargetFileError
from tests.conftest import clean_environment
from tests.lab.processes import alive, children, wait

ROOT = Path(__file__).parents[2]


@verifies("RFC9293:3.5-handshake")
@pytest.mark.parametrize("by", ["passive", pytest.param("active", id="by-the-target")])
async def test_opens(tcp: Case, by: str) -> None:
    """A connection opens."""
    await tcp.drive_to(State.ESTABLISHED, by=by)


@verifies("RFC9293:MUST-13")
async def test_violates(tcp: Case) -> None:
    """A violation that the case states itself."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(ACK)
    raise Violation("as the case says")


# They are cases for `run`, not tests of this module.
for _case in (test_opens, test_violates):
    vars(_case)["__test__"] = False


def test_outcomes_are_typed_and_in_order(lab: None, tmp_path: Path) -> None:
    result = run([test_violates, test_opens], family=4, output=tmp_path / "run")
    assert [outcome.verdict for outcome in result.outcomes] == [
        Verdict.VIOLATES,
        Verdict.CONFORMS,
        Verdict.CONFORMS,
    ]
    names = [outcome.info.id.rpartition("::")[2] for outcome in result.outcomes]
    assert names == ["test_violates[ipv4]", "test_opens[ipv4-passive]", "test_opens[ipv4-by-the-target]"]
    (broken,) = result.failed
    assert broken.message == "as the case says"
    line = next(
        number for number, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "raise Violation" in text
    )
    assert broken.failed_at.endswith(f"test_run_from_python.py:{line}")
    assert f"Case: {broken.failed_at}\n" in broken.failure
    assert result.page.is_file()
    assert (result.output / str(broken.capture)).is_file()
    assert not result.problems


def test_only_chooses_by_what_is_known_before(lab: None, tmp_path: Path) -> None:
    this = sys.modules[__name__]
    result = run([this], only=lambda case: "RFC9293:MUST-13" in case.requirements, output=tmp_path)
    assert [(outcome.info.family, outcome.verdict) for outcome in result.outcomes] == [
        (4, Verdict.VIOLATES),
        (6, Verdict.VIOLATES),
    ]


def test_what_cannot_run_is_refused_in_one_line(tmp_path: Path) -> None:
    async def test_nothing(tcp: Case) -> None:
        """It says nothing of what it verifies."""

    with pytest.raises(InvalidCase, match="there is no case to run"):
        run([], output=tmp_path)
    with pytest.raises(InvalidCase, match=r"test_nothing: a case needs @verifies"):
        run([test_nothing], output=tmp_path)
    with pytest.raises(InvalidCase, match=r"test_opens\[ipv4-passive\]: the case is given twice"):
        run([test_opens, test_opens], output=tmp_path)
    with pytest.raises(TargetFileError, match="linus"):
        run([test_opens], target="linus", output=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_two_runs_do_not_share_a_folder(lab: None, tmp_path: Path) -> None:
    @verifies("RFC9293:3.5-handshake")
    async def test_runs_within(tcp: Case) -> None:
        """Another run is asked to write where this one does."""
        with pytest.raises(HarnessFault, match="another run is at"):
            run([test_opens], output=tmp_path)

    (outcome,) = run([test_runs_within], family=4, output=tmp_path).outcomes
    assert outcome.verdict is Verdict.CONFORMS, outcome.failure
    assert run([test_opens], family=4, output=tmp_path).failed == ()


def test_the_example_runs(lab: None, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples/run_from_python.py", tmp_path],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=clean_environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split(" ")[0] for line in done.stdout.splitlines()] == ["conforms"] * 3 + ["report:"]


WAITS = """
import signal
import sys
from conformance.api import *

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background ignores it

@verifies("RFC9293:3.5-handshake", lasts=600)
async def test_waits(tcp):
    \"\"\"It waits for ten minutes.\"\"\"
    await tcp.drive_to(State.ESTABLISHED)
    print("waiting", flush=True)
    await tcp.sleep(600)

try:
    run([test_waits], family=4, output=sys.argv[1])
except KeyboardInterrupt:
    print("interrupted", flush=True)
    sys.stdin.read()  # the program goes on without it
"""


def test_ctrl_c_leaves_nothing_behind_where_the_program_goes_on(lab: None, tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(WAITS)
    process = subprocess.Popen(
        [sys.executable, script, tmp_path / "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    descendants = children(process.pid)
    assert descendants
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted\n"
    wait(lambda: not any(map(alive, descendants)), seconds=10)
    process.communicate(timeout=60)
    assert process.returncode == 0


COMPARES = """
import json
import os
from conformance.case.parameters import expand
from conformance.plugin.items import describe, is_case
from conformance.standard.profile import profile

def pytest_collection_finish(session):
    items = [item for item in session.items if is_case(item)]
    linux = profile("linux")
    by_pytest = {item.nodeid: describe(item, linux) for item in items}
    functions = dict.fromkeys(item.function for item in items)
    by_us = [case.info for function in functions for case in expand(function, [4, 6], linux)]
    there = {info.id: info for info in by_pytest.values()}
    here = {info.id: info for info in by_us}
    differ = [name for name in {**there, **here} if there.get(name) != here.get(name)]
    with open(os.environ["DIFFERENCES"], "w") as file:
        json.dump({"cases": len(there), "ours": len(by_us), "differ": differ}, file)
"""


def test_functions_expand_to_the_cases_that_pytest_collects(tmp_path: Path) -> None:
    (tmp_path / "compares.py").write_text(COMPARES)
    differences = tmp_path / "differences.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "compares", "--tier=full", "testcases"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
        env={**clean_environment(), "PYTHONPATH": str(tmp_path), "DIFFERENCES": str(differences)},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    compared = json.loads(differences.read_text())
    assert compared["cases"] == compared["ours"] > 3_000
    assert compared["differ"] == []
