"""From what a case raised to a verdict, and when a verdict is in doubt: no engine, no lab, no clock."""

from __future__ import annotations

import pytest

from conformance.judge import Inconclusive, NotApplicable, Verdict, Violation
from conformance.judge.doubt import LATE_S, Doubts, agreed, with_clock_set
from conformance.judge.judgement import Judgement, judge, one_line
from conformance.standard.profile import Deviation
from conformance.target import HarnessFault

SLOW = Deviation(("test_slow",), "RFC9293:MUST-19", "a sentence", "backs off late", "a source", "repeated after")
VIOLATES = Judgement(Verdict.VIOLATES, "no SYN after 1.204 s, seq 3141592653")


@pytest.mark.parametrize(
    ("raised", "level", "strict", "expected"),
    [
        (None, "MUST", False, Judgement(Verdict.CONFORMS)),
        (Violation("x", "details"), "MUST", False, Judgement(Verdict.VIOLATES, "x")),
        (Violation("x"), "SHOULD", False, Judgement(Verdict.BREAKS_SHOULD, "x")),
        (Violation("x"), "SHOULD", True, Judgement(Verdict.VIOLATES, "x")),
        (NotApplicable("needs x"), "MUST", False, Judgement(Verdict.NOT_APPLICABLE, "needs x")),
        (Inconclusive("late"), "MUST", False, Judgement(Verdict.INCONCLUSIVE, "late")),
        (HarnessFault("no power"), "MUST", False, Judgement(Verdict.ERROR, "no power")),
        (KeyError("x"), "MUST", False, Judgement(Verdict.ERROR, "KeyError: 'x'")),
    ],
)
def test_what_is_raised_becomes_a_verdict(
    raised: BaseException | None, level: str, strict: bool, expected: Judgement
) -> None:
    assert judge(raised, level, strict=strict) == expected


def test_a_known_deviation_is_shown_by_its_own_message_alone() -> None:
    shown = judge(Violation("SYN repeated after 3 s"), "MUST", strict=False, own=[SLOW], may_show=[SLOW])
    assert shown == Judgement(Verdict.DEVIATES, "SYN repeated after 3 s", SLOW)
    different = judge(Violation("no SYN at all"), "MUST", strict=False, own=[SLOW], may_show=[SLOW])
    assert different == Judgement(Verdict.VIOLATES, "no SYN at all")
    assert judge(HarnessFault("repeated after"), "MUST", strict=False, own=[SLOW], may_show=[SLOW]).deviation is None


def test_a_deviation_that_is_gone_is_named_where_it_had_to_show() -> None:
    gone = judge(None, "MUST", strict=False, own=[SLOW], may_show=[SLOW])
    assert gone.verdict is Verdict.CONFORMS and gone.stopped_deviating
    assert "backs off late" in gone.message
    assert not judge(None, "MUST", strict=False, may_show=[SLOW]).stopped_deviating
    assert not judge(NotApplicable("x"), "MUST", strict=False, own=[SLOW]).stopped_deviating


def test_one_line_names_the_type_of_what_is_not_ours() -> None:
    class Unplugged(HarnessFault):
        """A fault that a target of somebody else's raises."""

    assert one_line(Unplugged("no link\nmore")) == "no link"
    assert one_line(ZeroDivisionError("x\ny")) == "ZeroDivisionError: x"
    assert one_line(Violation("")) == "Violation"


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("late_s", [LATE_S - 0.001, LATE_S])
def test_broken_is_in_doubt_from_20_ms_on(verdict: Verdict, late_s: float) -> None:
    why = Doubts().why(Judgement(verdict, "as ever"), late_s=late_s, duration_s=1)
    if verdict is Verdict.INCONCLUSIVE:
        assert why == "as ever"
    elif late_s >= LATE_S and verdict in (Verdict.VIOLATES, Verdict.BREAKS_SHOULD):
        assert why == "the tester itself was up to 0.020 s late: as ever"
    else:
        assert why == ""


def test_a_wire_that_loses_puts_all_in_doubt_that_it_may_have_broken() -> None:
    def why(judgement: Judgement, *, raised_itself: bool = False) -> str:
        return Doubts().why(judgement, late_s=0, duration_s=1, wire="loses 1 %", raised_itself=raised_itself)

    assert why(VIOLATES) == f"on a wire that loses 1 %: {VIOLATES.message}"
    assert why(Judgement(Verdict.CONFORMS, stopped_deviating=True))
    assert why(Judgement(Verdict.ERROR), raised_itself=True)
    assert not why(Judgement(Verdict.ERROR))
    assert not why(Judgement(Verdict.CONFORMS))


def test_doubts_have_a_limit_in_number_and_in_time() -> None:
    few, short = Doubts(most=2), Doubts(longest_s=10)
    assert [bool(few.why(VIOLATES, late_s=1, duration_s=1)) for _ in range(3)] == [True, True, False]
    assert [bool(short.why(VIOLATES, late_s=1, duration_s=6)) for _ in range(3)] == [True, True, False]
    assert few.why(Judgement(Verdict.INCONCLUSIVE, "late"), late_s=1, duration_s=1) == "late"


def test_attempts_that_fail_alike_stand_and_others_are_inconclusive() -> None:
    again = Judgement(Verdict.VIOLATES, "no SYN after 1.311 s, seq 2718281828")
    assert agreed([VIOLATES, again], "lossy") == again
    assert agreed([again], "lossy") == again
    otherwise = agreed([VIOLATES, Judgement(Verdict.VIOLATES, "a RST")], "lossy")
    assert otherwise.verdict is Verdict.INCONCLUSIVE
    assert otherwise.message == f"broken in one way ({VIOLATES.message}), then in another (a RST): lossy"
    weaker = agreed([VIOLATES, Judgement(Verdict.BREAKS_SHOULD, VIOLATES.message)], "lossy")
    assert weaker.verdict is Verdict.INCONCLUSIVE
    assert agreed([VIOLATES, Judgement(Verdict.DEVIATES, "a RST", SLOW)], "lossy").deviation is None


def test_a_clock_that_was_set_makes_broken_inconclusive() -> None:
    unclear = with_clock_set(VIOLATES, -2.5)
    assert unclear.verdict is Verdict.INCONCLUSIVE
    assert unclear.message == f"this machine's clock was set by -2.500 s meanwhile: {VIOLATES.message}"
    assert with_clock_set(VIOLATES, 0.0) == VIOLATES
    conforms = Judgement(Verdict.CONFORMS)
    assert with_clock_set(conforms, 3.0) == conforms
