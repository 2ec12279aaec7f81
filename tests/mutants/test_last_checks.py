"""Every case that conforms is seen failing: its last check is given something slightly wrong, on the real stack."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from conformance.case.ids import cases_folder
from tests.conftest import Ran, clean_environment

KINDS = ("seq", "ack", "flags")
NOTICED = ("violates", "breaks should", "deviates")
# A target may take another way this time, and a busy machine have no verdict.
ATTEMPTS = 6
# What the target says there is what the case is to find out, so that any number will do.
FREE = {
    (
        "seq",
        "test_isn_of_one_four_tuple_is_a_clock_with_a_constant_offset",
    ): "an ISN one off is still within the clock's bounds",
    ("seq", "test_isns_of_different_four_tuples_look_unrelated"): "the ISN is free",
    ("ack", "test_isn_of_one_four_tuple_is_a_clock_with_a_constant_offset"): "a SYN acknowledges nothing",
    (
        "ack",
        "test_syn_ack_is_repeated_until_the_handshake_is_given_up",
    ): "a RST without ACK acknowledges nothing",
    ("ack", "test_isns_of_different_four_tuples_look_unrelated"): "a SYN acknowledges nothing",
    (
        "ack",
        "test_closing_a_listener_forgets_what_nobody_has_accepted",
    ): "a RST without ACK acknowledges nothing",
}


def _start(folder: Path, kind: str, cases: Iterable[str] = ()) -> subprocess.Popen[str]:
    """These cases, or all, in a process of its own; without a kind, nothing is broken."""
    name = kind or "clean"
    plugins = ["-p", "tests.mutants.instrument", "-p", "tests.bench.no_report", "-p", "no:cacheprovider"]
    options = [*plugins, "-q", "--family=4", "--concurrency=100"]
    chosen = [str(cases_folder() / case) for case in cases] or [str(cases_folder())]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", *chosen, *options, f"--output={folder / name}"],
        cwd=Path(__file__).parent.parent.parent,
        env={**clean_environment(), "MUTANT_FOLDER": str(folder), "MUTANT_KIND": kind},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _end(process: subprocess.Popen[str], output: Path) -> Ran:
    out, _ = process.communicate(timeout=600)
    return Ran(process.returncode, out, output)


def _last_checks(folder: Path, kind: str) -> dict[str, list[str]]:
    """By case in which the run of this kind broke nothing: the kind and the place of the last check it came to."""
    last: dict[str, list[str]] = json.loads((folder / f"last-{kind}.json").read_text())
    return last


def _function(name: str) -> str:
    return name.rpartition("::")[2].partition("[")[0]


@pytest.mark.long
def test_every_case_fails_when_its_last_check_is_broken(lab: None, tmp_path: Path) -> None:
    clean = _end(_start(tmp_path, ""), tmp_path / "clean")
    assert clean.code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), clean.out[-3000:]
    checks = {name: [last] for name, last in _last_checks(tmp_path, "").items()}
    conforming = {one["id"] for one in clean.results.values() if one["verdict"] == "conforms"}
    assert conforming
    unchecked = sorted(name for name in conforming if not checks.get(name))
    assert not unchecked, f"cases that check nothing: {unchecked}"

    # What is no segment has one way to be wrong, whatever the kind.
    left = {
        kind: {
            name
            for name in conforming
            if (kind, _function(name)) not in FREE and (checks[name][0][0] == "segment" or kind == KINDS[0])
        }
        for kind in KINDS
    }
    for _ in range(ATTEMPTS):
        (tmp_path / "checks.json").write_text(json.dumps(checks))
        running = {kind: _start(tmp_path, kind, sorted(left[kind])) for kind in KINDS if left[kind]}
        for kind, process in running.items():
            ran = _end(process, tmp_path / kind)
            verdicts = {one["id"]: one["verdict"] for one in ran.results.values()}
            left[kind] = {name for name in left[kind] if verdicts.get(name) not in NOTICED}
            # A target that took another way never came to the check that was to be broken: this way's last is broken next.
            ends = _last_checks(tmp_path, kind)
            for name in left[kind] & ends.keys():
                checks[name].append(ends[name])
    survivors = sorted(f"{kind} {checks[name]} {name}" for kind in KINDS for name in left[kind])
    assert not survivors, "\n".join(survivors)
