"""Runs against the stacks with a clock of their own: virtual time through pytest, the same run twice, what a run records."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from conformance.case.ids import cases_folder
from tests.conftest import Ran, Suite

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

    @verifies("RFC9293:3.5-handshake", needs=("app", "urgent"))
    async def test_needs_what_it_lacks(tcp):
        \"""It can't run.\"""

    @verifies("RFC9293:3.5-handshake", lasts=200)
    async def test_syn_intervals(tcp):
        \"""How long the next SYN takes, five times.\"""
        conn = await tcp.connect()
        first = await conn.expect(SYN)
        at = await conn.expect_retransmissions(first, [60] * 5)
        for which, (one, other) in enumerate(zip(at, at[1:])):
            tcp.check_timing(f"interval {which}", (other - one) / SECOND, Bound(0.9, 40, "any stack"))
"""


@pytest.fixture(params=["gvisor", "lwip", "smoltcp"])
def stack(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def made(suite: Callable[[str], Suite], program: tuple[str, ...]) -> Suite:
    """A suite of those cases, for a stack that is built."""
    return suite(CASES)


def test_case_runs_in_the_time_of_the_stack(made: Suite, stack: str) -> None:
    before = time.monotonic()
    ran = made.run(f"--target={stack}", "--tier=full")
    assert time.monotonic() - before < 60, "two hours and more in less than a minute"
    assert ran.code == pytest.ExitCode.OK, ran.out
    skipped = {name for name, verdict in ran.verdicts.items() if verdict == "not applicable"}
    assert skipped == {"test_needs_what_it_lacks[ipv4]", "test_needs_what_it_lacks[ipv6]"}
    assert set(ran.verdicts.values()) == {"conforms", "not applicable"}
    assert ran.results["test_two_hours[ipv4]"]["duration_s"] >= 7200
    assert ran.results["test_opens[ipv4]"]["target"]["version"]
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


def test_same_run_is_the_same_however_many_run_at_once(made: Suite, stack: str) -> None:
    first, *others = (
        _timeline(made.run(f"--target={stack}", "--tier=full", *options))
        for options in ([], ["--concurrency=1"], ["-n2"])
    )
    assert first
    assert others == [first, first]


def test_record_is_as_the_schema_says(made: Suite, stack: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((cases_folder().parent / "conformance" / "record" / "results.schema.json").read_text())
    for record in made.run(f"--target={stack}", "-k", "opens", "--family=4").results.values():
        jsonschema.validate(record, schema)
