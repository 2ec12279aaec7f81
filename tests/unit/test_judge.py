"""Expectations, bounds and verdicts: each check is also seen failing."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest

from conformance.case.timings import Timings
from conformance.judge import (
    Base,
    Bound,
    Expectation,
    Growth,
    Inconclusive,
    NotApplicable,
    Series,
    Timing,
    Verdict,
    Violation,
    describe,
    retransmission_timeout,
)
from conformance.judge.verdict import verdict_of
from conformance.standard.profile import profile
from conformance.target import HarnessFault
from conformance.tester.clock import Clock
from conformance.tester.trace import Trace
from conformance.wire import ACK, FIN, PSH, RST, SYN, Segment, Seq
from conformance.wire import options as opt

BASE = Base(Seq(1000), Seq(2000))
SEGMENT = Segment(
    "10.77.0.1",
    "10.77.4.1",
    1,
    2,
    Seq(1001),
    Seq(2001),
    ACK | PSH,
    512,
    payload=b"abc",
    options=opt.encode([opt.mss(9)]),
)
EXACT = Expectation(ACK, seq=Seq(1001), ack=Seq(2001), payload=b"abc", length=3, window=512, urgent=0)


def test_an_exact_expectation_matches() -> None:
    assert EXACT.differences(SEGMENT, BASE) == ()


def test_what_is_unset_matches_anything() -> None:
    assert Expectation().differences(SEGMENT, BASE) == ()
    assert Expectation().describe(BASE) == "any segment"


@pytest.mark.parametrize(
    ("change", "field", "expected", "actual"),
    [
        ({"flags": FIN | ACK}, "flags", "ACK", "FIN+ACK"),
        ({"seq": Seq(1002)}, "seq", "+1", "+2"),
        ({"ack": Seq(2000)}, "ack", "+1", "+0"),
        ({"payload": b"abd"}, "data", "b'abc'", "b'abd'"),
        ({"window": 511}, "window", "512", "511"),
        ({"urgent": 4}, "urgent pointer", "0", "4"),
        ({"checksum": 1}, "checksum", "right", "0x0001"),
    ],
)
def test_each_field_that_differs_is_named(change: dict[str, object], field: str, expected: str, actual: str) -> None:
    results = EXACT.differences(replace(SEGMENT, **change), BASE)  # type: ignore[arg-type]
    assert (field, expected, actual) in results


def test_push_counts_only_where_it_is_asked_for() -> None:
    assert Expectation(ACK).differences(SEGMENT, BASE) == ()
    assert Expectation(ACK | PSH).differences(replace(SEGMENT, flags=ACK), BASE)


def test_options_can_be_asked_for_and_ruled_out() -> None:
    assert Expectation(options=((opt.MSS, opt.mss(9)),)).differences(SEGMENT, BASE) == ()
    assert Expectation(options=((opt.MSS, None),)).differences(SEGMENT, BASE)
    assert Expectation(options=((opt.TIMESTAMPS, opt.timestamps(1)),)).differences(SEGMENT, BASE)


def test_numbers_are_said_relative_to_the_initial_ones() -> None:
    assert describe(SEGMENT, BASE) == "PSH+ACK seq=+1 ack=+1 len=3 win=512 MSS=9"
    assert describe(replace(SEGMENT, flags=SYN), Base(None, None)).startswith("SYN seq=1001 len=3")


def test_a_number_of_no_sequence_space_is_written_as_it_is() -> None:
    base = Base(Seq(500_000_000), Seq(1000))
    reset = replace(SEGMENT, flags=RST | ACK, seq=Seq(0), ack=Seq(1001), payload=b"", options=b"")
    assert describe(reset, base).startswith("RST+ACK seq=0 ack=+1 ")
    wanted = Expectation(RST, seq=Seq(500_000_001))
    assert str(wanted.differences(reset, base)[1]) == "seq: expected +1, came 0"


def test_what_options_say_is_compared_and_told() -> None:
    held = (Seq(2501), Seq(2601)), (Seq(2301), Seq(2401))
    segment = replace(SEGMENT, options=opt.encode([*opt.stamped(7, 8), opt.sack(*held)]))
    assert describe(segment, BASE).endswith("TSval=7 TSecr=8 SACK=+501..+601,+301..+401")
    assert not Expectation(has=(opt.TIMESTAMPS,), tsecr=8, sack=held).differences(segment, BASE)
    wrong = Expectation(has=(opt.MSS,), tsecr=9, sack=held[:1])
    assert wrong.describe(BASE) == "any MSS TSecr=9 SACK=+501..+601"
    assert [str(one) for one in wrong.differences(segment, BASE)] == [
        "MSS: expected there, came absent",
        "TSecr: expected 9, came 8",
        "SACK: expected +501..+601, came +501..+601,+301..+401",
    ]
    assert [str(one) for one in Expectation(tsecr=9, sack=held[:1]).differences(SEGMENT, BASE)] == [
        "TSecr: expected 9, came absent",
        "SACK: expected +501..+601, came none",
    ]


@pytest.mark.parametrize(("measured", "ok"), [(0.99, False), (1.0, True), (1.1, True), (1.2, True), (1.21, False)])
def test_a_bound_has_two_ends(measured: float, ok: bool) -> None:
    assert Timing("RTO", measured, Bound(1.0, 1.2, "RFC 6298, 2.1")).ok is ok


DOUBLING = Growth(2.0, 0.125, 0.05, "RFC 6298, 5.5")


def series(*seconds: float, **fields: Any) -> Series:
    """A series that begins at 1 s, with those intervals; the first may be from 0.9 s to 1.2 s."""
    stamps = tuple(round(one * 1e9) for one in accumulate(seconds, initial=1.0))
    return Series("SYN", stamps, **{"bounds": (Bound(0.9, 1.2, "profile"),), "how": "", "growth": DOUBLING, **fields})


@pytest.mark.parametrize(
    ("series", "fault"),
    [
        (series(1.0, 2.0, 4.0), ""),
        (series(1.15, 2.0, 4.4), ""),
        (series(1.3, 2.6), "SYN, interval 1 took 1.3 s, allowed is 0.9 s to 1.2 s (profile)"),
        (series(1.0, 1.5), "SYN, interval 2 took 1.5 s, allowed is 1.68889 s to 2.3 s (RFC 6298, 5.5)"),
        (series(1.0, 2.5), "SYN, interval 2 took 2.5 s, allowed is 1.68889 s to 2.3 s (RFC 6298, 5.5)"),
        (series(1.0, 2.0, 3.0, cap=Bound(2.9, 3.1, "cap")), ""),
        (
            series(1.0, 2.0, 4.0, cap=Bound(2.9, 3.1, "cap")),
            "SYN, interval 3 took 4 s, allowed is 2.9 s to 3.1 s (RFC 6298, 5.5)",
        ),
        (series(1.0, 2.0, count=(2, 3)), ""),
        (series(1.0, 2.0, count=(2, 3), end="RST"), "SYN: 1 repetitions came, allowed is 2 to 3"),
        (
            series(1.0, 2.0, 9.0, count=(2, 2), end="RST"),
            "SYN, interval 3 (to RST) took 9 s, allowed is 3.46667 s to 4.55 s (RFC 6298, 5.5)",
        ),
        (series(1.0, 1.1, bounds=(Bound(0.9, 1.2, "a"), Bound(0.9, 1.2, "b")), growth=None), ""),
        (
            series(1.0, 2.0, bounds=(Bound(0.9, 1.2, "a"), Bound(0.9, 1.2, "b")), growth=None),
            "SYN, interval 2 took 2 s, allowed is 0.9 s to 1.2 s (b)",
        ),
    ],
)
def test_a_series_is_judged_as_one(series: Series, fault: str) -> None:
    assert series.faults() == ((fault,) if fault else ())


def test_steps_of_a_series_say_their_ratio_and_what_all_bounds_allow() -> None:
    first, second = series(1.0, 2.0, bounds=(Bound(0.9, 1.2, "a"), Bound(1.9, 2.1, "b"))).steps()
    assert (first.ratio, second.ratio) == (None, 2.0)
    assert second.allowed == Bound(1.9, 2.1, "b; RFC 6298, 5.5")


@pytest.mark.parametrize(
    ("jitters", "count", "unclear"),
    [((0.0, 0.0), None, False), ((0.0, 0.3), None, True), ((0.3, 0.0), None, False), ((0.3, 0.3), (5, 5), False)],
)
def test_jitter_of_the_very_interval_excuses_it(
    jitters: tuple[float, ...], count: tuple[int, int] | None, unclear: bool
) -> None:
    assert series(1.0, 2.5, jitters_s=jitters, count=count).unclear is unclear


def test_a_series_without_an_interval_or_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="needs two stamps"):
        series()
    with pytest.raises(ValueError, match="2 intervals, 1 bounds"):
        series(1.0, 2.0, growth=None)


@pytest.mark.parametrize(
    ("round_trips", "timeout"),
    [((0.4,), 1.2), ((0.4, 0.8), 1.45), ((0.8, 0.8), 2.0), ((0.8, 0.8, 0.8), 1.7), ((0.001,), 0.003)],
)
def test_timeout_after_round_trips_is_that_of_rfc_6298(round_trips: tuple[float, ...], timeout: float) -> None:
    assert retransmission_timeout(round_trips) == pytest.approx(timeout)
    assert retransmission_timeout(round_trips, least_variation_s=9) == pytest.approx(
        retransmission_timeout(round_trips, least_variation_s=10) - 1
    )


@pytest.mark.parametrize(("jitter", "unclear"), [(0.0, False), (0.09, False), (0.11, True)])
def test_jitter_excuses_what_it_alone_could_have_broken(jitter: float, unclear: bool) -> None:
    assert Timing("RTO", 1.3, Bound(1.0, 1.2, "x"), jitter_s=jitter).unclear is unclear
    assert not Timing("RTO", 1.1, Bound(1.0, 1.2, "x"), jitter_s=jitter).unclear


def test_a_negative_interval_judges_nothing() -> None:
    backwards = Timing("probe 2", -6.602, Bound(0, 1.2, "x"))
    assert backwards.impossible
    assert backwards.unclear
    assert not backwards.ok
    assert not Timing("probe 2", 0.0, Bound(0.1, 1.2, "x")).unclear
    mixed = series(1.0, 9.0, -0.5, 2.0, count=(7, 7))
    assert mixed.impossible
    assert mixed.unclear
    assert mixed.faults()
    assert not series(1.0, 9.0, count=(7, 7)).unclear


@pytest.mark.parametrize("check", ["timing", "series"])
def test_a_case_with_a_negative_interval_is_inconclusive(check: str) -> None:
    timings = Timings(profile("linux"), Clock(), Trace(), 0)
    bound = Bound(0.0, 1.2, "x")
    with pytest.raises(Inconclusive, match="in the wrong order"):
        if check == "timing":
            timings.check_timing("probe 2", -6.602, bound)
        else:
            timings.check_series("probes", [0, 10**9, 5 * 10**8], [bound, bound], how="between probes")
    assert timings.trace.timings or timings.trace.series


def test_a_bound_with_its_ends_swapped_is_refused() -> None:
    with pytest.raises(ValueError, match="low end must come first"):
        Bound(2, 1, "nothing")


@pytest.mark.parametrize(
    ("raised", "level", "strict", "verdict"),
    [
        (None, "MUST", False, Verdict.CONFORMS),
        (Violation("x"), "MUST", False, Verdict.VIOLATES),
        (Violation("x"), "text", False, Verdict.VIOLATES),
        (Violation("x"), "SHOULD", False, Verdict.BREAKS_SHOULD),
        (Violation("x"), "SHOULD", True, Verdict.VIOLATES),
        (NotApplicable("x"), "MUST", True, Verdict.NOT_APPLICABLE),
        (Inconclusive("x"), "MUST", True, Verdict.INCONCLUSIVE),
        (HarnessFault("x"), "MUST", True, Verdict.ERROR),
        (AssertionError("a case's own assertion"), "MUST", False, Verdict.ERROR),
    ],
)
def test_verdicts(raised: BaseException | None, level: str, strict: bool, verdict: Verdict) -> None:
    assert verdict_of(raised, level, strict=strict) is verdict
