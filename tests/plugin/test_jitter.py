"""The run knows how late it was itself: what that alone could have broken is tried again, and never blamed on the target."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from tests.conftest import Suite

STALLS = '''
    import time

    STALLED = []


    async def a_sleep(tcp, name, stall_s, longer_s=0):
        await tcp.sleep(["once", "series", "always", "slow", "answer", "violation"].index(name))  # one stall at a time
        began_ns = tcp.clock.now_ns()
        await tcp.sleep(0.1)
        if STALLED.count(name) < 1 or name == "always":
            STALLED.append(name)
            time.sleep(stall_s)  # the loop itself stands still
        await tcp.sleep(longer_s)
        ended_ns = tcp.clock.now_ns()
        between = began_ns, ended_ns
        return (ended_ns - began_ns) / SECOND, Bound(0.09, 0.4, "a bound"), between


    @verifies("RFC9293:MUST-13")
    async def test_stalled_once(tcp):
        """The loop stalls while something is measured, but only the first time."""
        measured_s, bound, between = await a_sleep(tcp, "once", 0.6)
        tcp.check_timing("a sleep", measured_s, bound, between=between)

    @verifies("RFC9293:MUST-13")
    async def test_stalled_in_a_series(tcp):
        """The loop stalls in one interval of a series, but only the first time."""
        measured_s, bound, (began_ns, ended_ns) = await a_sleep(tcp, "series", 0.6)
        tcp.check_series("sleeps", [began_ns, ended_ns], [bound], how="by our own clock")

    @verifies("RFC9293:MUST-13")
    async def test_stalled_always(tcp):
        """The loop stalls each time."""
        measured_s, bound, between = await a_sleep(tcp, "always", 0.6)
        tcp.check_timing("a sleep", measured_s, bound, between=between)

    @verifies("RFC9293:MUST-13")
    async def test_slower_than_any_stall(tcp):
        """What is late by more than the loop ever was is the target's."""
        measured_s, bound, between = await a_sleep(tcp, "slow", 0, longer_s=5)
        tcp.check_timing("a sleep", measured_s, bound, between=between)
    @verifies("RFC9293:MUST-13")
    async def test_answered_late_once(tcp):
        """What is owed is missed, but only when the loop stalls."""
        await a_sleep(tcp, "answer", 0.6)
        STALLED.append("answer ran")
        assert STALLED.count("answer ran") > 1, "missed"

    @verifies("RFC9293:MUST-13")
    async def test_violates_stalled_or_not(tcp):
        """A violation stays one when it is seen again."""
        await a_sleep(tcp, "violation", 0.6)
        raise Violation("as ever")
'''


def test_a_stall_of_the_loop_is_not_blamed_on_the_target(suite: Callable[[str], Suite]) -> None:
    ran = suite(STALLS).run("--family=4", "-rs")
    assert ran.verdicts == {
        "test_stalled_once[ipv4]": "conforms",
        "test_stalled_in_a_series[ipv4]": "conforms",
        "test_stalled_always[ipv4]": "inconclusive",
        "test_slower_than_any_stall[ipv4]": "violates",
        "test_answered_late_once[ipv4]": "conforms",
        "test_violates_stalled_or_not[ipv4]": "violates",
    }
    again = {name: record["ran_again"] for name, record in ran.results.items()}
    for why in again.values():
        assert "the tester itself was up to " in why
    for why in (again[f"test_stalled_{name}[ipv4]"] for name in ("once", "in_a_series", "always")):
        assert "allowed is 0.09 s to 0.4 s (a bound): outside by " in why
    unclear = ran.results["test_stalled_always[ipv4]"]
    assert unclear["timings"][0]["ok"] is None
    assert unclear["timings"][0]["jitter_s"] > 0.4
    assert "the tester itself was up to" in unclear["message"]
    assert "inconclusive: a sleep took" in ran.out


WAITS = '''
    @verifies("RFC9293:MUST-13")
    async def test_waits(tcp):
        """Time passes, and nothing else."""
        await tcp.sleep(12)
'''


def test_what_runs_again_runs_side_by_side_with_all_that_only_waits(suite: Callable[[str], Suite]) -> None:
    results = suite(STALLS + WAITS).run("--family=4").results
    times = {name: (one["started_ns"], one["started_ns"] + one["duration_s"] * 1e9) for name, one in results.items()}
    again = sorted(times[name] for name, one in results.items() if one["ran_again"])
    assert len(again) > 4
    assert any(later[0] < earlier[1] for earlier, later in pairwise(again))
    assert all(later[0] - earlier[0] > 0.15e9 for earlier, later in pairwise(again)), (
        "one after the other, when it is calm"
    )
    assert again[0][0] < times["test_waits[ipv4]"][1]
    # One that was unsure even so was tried once more, when nothing else was left.
    assert times["test_stalled_always[ipv4]"][0] >= times["test_waits[ipv4]"][1]


SLOW_DISK = '''
    import time
    from conformance.record import ResultsWriter

    _append = ResultsWriter.append

    def slow(self, record):
        time.sleep(3)
        _append(self, record)

    ResultsWriter.append = slow

    @pytest.mark.parametrize("number", range(8))
    @verifies("RFC9293:3.5-handshake")
    async def test_opens(tcp, number):
        """A handshake, recorded on a disk that takes three seconds for a line."""
        await tcp.sleep(number / 4)
        await tcp.drive_to(State.ESTABLISHED)
        assert tcp.clock.jitter.worst_s(0, tcp.clock.now_ns()) < 2
'''


def test_a_slow_disk_does_not_hold_the_loop(suite: Callable[[str], Suite]) -> None:
    ran = suite(SLOW_DISK).run("--family=4")
    assert set(ran.verdicts.values()) == {"conforms"}
    assert len(ran.verdicts) == 8


BAD_WIRE = '''
    from collections import Counter

    TRIED = Counter()


    @verifies("RFC9293:MUST-13")
    @pytest.mark.parametrize("how", ["once", "always", "otherwise"])
    @pytest.mark.parametrize("what", [Violation, KeyError])
    async def test_breaks(tcp, what, how):
        """Something is not as it should be: the first time, each time, or each time something else."""
        TRIED[what, how] += 1
        if how != "once" or TRIED[what, how] == 1:
            raise what("abcdef"[TRIED[what, how]] if how == "otherwise" else "as ever")

    @verifies("RFC9293:MUST-13")
    async def test_lab_fails(tcp):
        """What the lab fails at is not the wire's doing."""
        raise HarnessFault("no power")
'''


def test_what_breaks_on_a_wire_that_loses_is_tried_again(suite: Callable[[str], Suite]) -> None:
    made = suite(BAD_WIRE)
    (made.folder / "lab.toml").write_text("[wire]\nloss = 1e-9\n")
    results = made.run("--target=lab.toml", "--family=4").results
    lab = results.pop("test_lab_fails[ipv4]")
    assert (lab["verdict"], lab["ran_again"]) == ("error", "")
    assert {name: record["verdict"] for name, record in results.items()} == {
        f"test_breaks[ipv4-{what}-{how}]": verdict
        for what, as_it_is in (("Violation", "violates"), ("KeyError", "error"))
        for how, verdict in (("once", "conforms"), ("always", as_it_is), ("otherwise", "inconclusive"))
    }
    assert all(one["ran_again"].startswith("on a wire that loses 1e-07 %: ") for one in results.values())
