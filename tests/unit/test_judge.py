"""Expectations, bounds and verdicts: each check is also seen failing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.judge import (
    Base,
    Bound,
    Expectation,
    Inconclusive,
    NotApplicable,
    Timing,
    Verdict,
    Violation,
    describe,
)
from conformance.judge.verdict import verdict_of
from conformance.target import HarnessFault
from conformance.wire import ACK, FIN, PSH, SYN, Segment, Seq
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
    found = EXACT.differences(replace(SEGMENT, **change), BASE)  # type: ignore[arg-type]
    assert (field, expected, actual) in found


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
