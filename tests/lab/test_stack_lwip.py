"""Check behaviour of lwIP alone: its real clock, the deviations that a run shows without a profile, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.case.ids import cases_folder
from tests.conftest import Ran, Suite, clean_environment
from tests.lab.processes import alive, children, program_of, wait

pytestmark = pytest.mark.usefixtures("program")


@pytest.fixture
def stack() -> str:
    return "lwip"


SYN_INTERVAL = """
    @verifies("RFC9293:3.5-handshake")
    async def test_syn_interval(tcp):
        \"""How long the second SYN takes.\"""
        conn = await tcp.connect()
        first = await conn.expect(SYN)
        second = await conn.expect_retransmission(first)
        third = await conn.expect_retransmission(first)
        tcp.check_timing("interval", (third.at_ns - second.at_ns) / SECOND, Bound(2.9, 3.2, "lwIP"))
"""


def test_real_clock_has_real_intervals(suite: Callable[[str], Suite], program: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text(
        f'kind = "stack"\ncommand = {list(program)}\nclock = "real"\nprofile = "lwip"\n'
    )
    before = time.monotonic()
    ran = suite(SYN_INTERVAL).run("--target=real.toml", "--tier=quick")
    assert time.monotonic() - before > 3
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert ran.verdicts["test_syn_interval[ipv4]"] == "conforms"


FOUND = """
    test_isn_of_one_four_tuple_moves_with_a_clock[ipv4-passive]
    test_isns_of_different_four_tuples_look_unrelated[ipv4-passive]
    test_interval_between_syns_doubles[ipv4]
"""


def test_suite_finds_what_lwip_is_known_for(lab: None, program: tuple[str, ...], tmp_path: Path) -> None:
    """Its first number 6510, that all connections have the same, and its SYN each 3 s: by no profile, but the standards alone."""
    (tmp_path / "unknown.toml").write_text(f'kind = "stack"\ncommand = {list(program)}\n')
    command = [sys.executable, "-m", "pytest", str(cases_folder()), "-p", "no:cacheprovider", "--output=out"]
    command += ["--target=unknown.toml", "-k", "isn or doubles", "--family=4", "--tier=full"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120, env=clean_environment()
    )
    ran = Ran(done.returncode, done.stdout, tmp_path / "out")
    for name in FOUND.split():
        assert ran.verdicts[name] == "violates", ran.results[name]["message"]
    assert "interval 2 took 3 s" in ran.results["test_interval_between_syns_doubles[ipv4]"]["message"]
    numbers = ran.results["test_isns_of_different_four_tuples_look_unrelated[ipv4-passive]"]
    assert numbers["tester"]["irs"] in (6510, 6511)


def test_ctrl_c_leaves_no_process(suite: Callable[[str], Suite]) -> None:
    made = suite(
        """
        @pytest.mark.parametrize("number", range(40))
        @verifies("RFC9293:3.5-handshake")
        async def test_long(tcp, number):
            \"""It listens again and again.\"""
            for _ in range(3000):
                await tcp.drive_to(State.SYN_RECEIVED)
        """
    )
    process = made.start("--target=lwip")
    try:
        until = time.monotonic() + 60
        while not (mine := _instances(process.pid)):
            assert time.monotonic() < until, "no instance was started"
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, out
    wait(lambda: not any(map(alive, mine)), seconds=20)


def _instances(run: int) -> list[int]:
    """Return the process ids of lwIP's instances below a run."""
    return [pid for pid in children(run) if alive(pid) and program_of(pid) == "lwip_agent"]
