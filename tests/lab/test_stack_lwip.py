"""lwIP as a target: its agent, virtual and real time, what the suite finds of it unaided, and what a run leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.agent_check import check_agent
from conformance.plugin.marks import cases_folder
from conformance.target.build import StackMissing, stacks
from tests.conftest import Ran, Suite, clean_environment

CASES = """
    @verifies("RFC9293:3.5-handshake")
    async def test_opens(tcp):
        \"""It opens, and carries data both ways.\"""
        conn = await tcp.drive_to(State.ESTABLISHED)
        await conn.deliver(b"there")
        await conn.collect(b"and back")

    @verifies("RFC9293:3.5-handshake", lasts=7200)
    async def test_two_hours(tcp):
        \"""Two hours of silence, and the connection is there.\"""
        conn = await tcp.drive_to(State.ESTABLISHED)
        await conn.silence(for_=7200)
        await conn.confirm(State.ESTABLISHED)

    @pytest.mark.parametrize("how", ["sleep", "wait_for", "accept"])
    @verifies("RFC9293:3.5-handshake")
    async def test_waits_by_its_clock(tcp, how):
        \"""Everything that waits does so in the stack's time, to the nanosecond.\"""
        began = tcp.clock.now_ns()
        if how == "sleep":
            await tcp.sleep(61.5)
        elif how == "accept":
            listener = await tcp.app.listen()
            await listener.fails("accept", "timeout", wait_s=61.5)
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 61.5)
        tcp.check_timing("wait", (tcp.clock.now_ns() - began) / SECOND, Bound(61.5, 61.5, "the case"))

    @verifies("RFC9293:3.5-handshake", needs=("app", "sack"))
    async def test_needs_sack(tcp):
        \"""It can't run.\"""

    @verifies("RFC9293:3.5-handshake", needs=())
    async def test_syn_interval(tcp):
        \"""How long the second SYN takes.\"""
        conn = await tcp.connect()
        first = await conn.expect(SYN)
        second = await conn.expect_retransmission(first)
        third = await conn.expect_retransmission(first)
        tcp.check_timing("interval", (third.at_ns - second.at_ns) / SECOND, Bound(2.9, 3.2, "lwIP"))
"""


@pytest.fixture(autouse=True)
def built() -> None:
    """Skip where lwIP can't be built, naming what is missing."""
    try:
        stacks()["lwip"].make()
    except StackMissing as missing:
        pytest.skip(str(missing))


def test_agent_speaks_the_protocol() -> None:
    wrong = [one for one in check_agent(stacks()["lwip"].program()[0]) if one.wrong]
    assert not wrong


def test_case_runs_in_the_time_of_the_stack(suite: Callable[[str], Suite]) -> None:
    before = time.monotonic()
    ran = suite(CASES).run("--target=lwip", "--tier=full")
    assert time.monotonic() - before < 60, "two hours and more in less than a minute"
    assert ran.code == pytest.ExitCode.OK, ran.out
    skipped = {name for name, verdict in ran.verdicts.items() if verdict == "not applicable"}
    assert skipped == {"test_needs_sack[ipv4]", "test_needs_sack[ipv6]"}
    assert set(ran.verdicts.values()) == {"conforms", "not applicable"}
    assert ran.results["test_two_hours[ipv4]"]["duration_s"] >= 7200
    assert ran.results["test_opens[ipv4]"]["target"]["version"].startswith("2.")
    assert ran.results["test_opens[ipv4]"]["run"]["seed"] == 0


def _timeline(ran: Ran) -> dict[str, Any]:
    """All that a run saw, but for when the run was."""
    return {
        name: (
            one["verdict"],
            one["message"],
            [(timing["name"], timing["measured_s"]) for timing in one["timings"]],
            [(step["at_ns"] - one["started_ns"], step.get("line"), step.get("text")) for step in one["steps"]],
        )
        for name, one in ran.results.items()
    }


def test_same_run_twice_is_the_same(suite: Callable[[str], Suite], tmp_path: Path) -> None:
    made = suite(CASES)
    first = _timeline(made.run("--target=lwip", "--tier=full"))
    second = _timeline(made.run("--target=lwip", "--tier=full", "--concurrency=1"))
    assert first == second


def test_real_clock_has_real_intervals(suite: Callable[[str], Suite], tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text(
        f'kind = "stack"\ncommand = {list(stacks()["lwip"].program())}\nclock = "real"\nprofile = "lwip"\n'
    )
    before = time.monotonic()
    ran = suite(CASES).run("--target=real.toml", "--tier=quick", "-k", "opens or interval")
    assert time.monotonic() - before > 3
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert ran.verdicts["test_syn_interval[ipv4]"] == "conforms"


FOUND = """
    test_isn_of_one_four_tuple_moves_with_a_clock[ipv4-passive]
    test_isns_of_different_four_tuples_look_unrelated[ipv4-passive]
    test_interval_between_syns_doubles[ipv4]
"""


def test_suite_finds_what_lwip_is_known_for(suite: Callable[[str], Suite], tmp_path: Path) -> None:
    """Its first number 6510, that all connections have the same, and its SYN each 3 s."""
    (tmp_path / "unknown.toml").write_text(
        f'kind = "stack"\ncommand = {list(stacks()["lwip"].program())}\nprofile = "lwip"\n'
    )
    command = [sys.executable, "-m", "pytest", str(cases_folder()), "-p", "no:cacheprovider", "--output=out"]
    command += ["--target=unknown.toml", "-k", "isn or doubles", "--family=4", "--tier=full"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120, env=clean_environment()
    )
    ran = Ran(done.returncode, done.stdout, tmp_path / "out")
    for name in FOUND.split():
        assert ran.verdicts[name] == "deviates", ran.results[name]["message"]
    numbers = ran.results["test_isns_of_different_four_tuples_look_unrelated[ipv4-passive]"]
    assert numbers["tester"]["irs"] == 6510 + 1 or numbers["tester"]["irs"] == 6510


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
        while not (mine := _of_group(process.pid)):
            assert time.monotonic() < until, "no instance was started"
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, out
    until = time.monotonic() + 20
    while any(Path(f"/proc/{one}").exists() for one in mine) or _of_group(process.pid):
        assert time.monotonic() < until, "an instance is still there"
        time.sleep(0.05)


def _of_group(group: int) -> list[int]:
    """The instances of lwIP in a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (path / "stat").read_text().rpartition(")")
            if "lwip_agent" in name and int(rest.split()[2]) == group and rest.split()[0] != "Z":
                found.append(int(path.name))
        except OSError:
            continue
    return found


def test_record_is_as_the_schema_says(suite: Callable[[str], Suite]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((cases_folder().parent / "conformance" / "record" / "results.schema.json").read_text())
    for record in suite(CASES).run("--target=lwip", "-k", "opens", "--family=4").results.values():
        jsonschema.validate(record, schema)
