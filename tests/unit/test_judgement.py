"""From what a case raised to a verdict, and when a verdict is in doubt: no engine, no lab, no clock."""

from __future__ import annotations

import pytest

from conformance.judge import Inconclusive, NotApplicable, Verdict, Violation
from conformance.judge.doubt import LATE_S, VERY_LATE_S, Disturbance, Doubts, agreed, undecided, with_clock_set
from conformance.judge.judgement import Judgement, judge, one_line
from conformance.standard.profile_rows import Deviation
from conformance.target import HarnessFault

SLOW = Deviation(("test_slow",), "RFC9293:MUST-19", "a sentence", "backs off late", "a source", "repeated after")
QUIET, LATE, VERY_LATE = Disturbance(), Disturbance(late_s=LATE_S), Disturbance(late_s=VERY_LATE_S)
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
    why = Doubts().why(Judgement(verdict, "as ever"), Disturbance(late_s=late_s))
    if verdict is Verdict.INCONCLUSIVE:
        assert why == "as ever"
    elif late_s >= LATE_S and verdict in (Verdict.VIOLATES, Verdict.BREAKS_SHOULD):
        assert why == "the tester itself was up to 0.020 s late: as ever"
    else:
        assert why == ""


def test_a_violation_that_the_tester_may_have_brought_about_is_in_doubt() -> None:
    judgement = judge(Violation("no answer", doubt="the tester was 9 ms too late"), "MUST", strict=False)
    assert Doubts().why(judgement, Disturbance()) == "the tester was 9 ms too late: no answer"
    assert agreed([(judgement, Disturbance())] * 2, "why").verdict is Verdict.VIOLATES


def test_a_wire_that_loses_puts_all_in_doubt_that_it_may_have_broken() -> None:
    def why(judgement: Judgement, *, raised_itself: bool = False) -> str:
        return Doubts().why(judgement, QUIET, wire="loses 1 %", raised_itself=raised_itself)

    assert why(VIOLATES) == f"on a wire that loses 1 %: {VIOLATES.message}"
    assert why(Judgement(Verdict.CONFORMS, stopped_deviating=True))
    assert why(Judgement(Verdict.ERROR), raised_itself=True)
    assert not why(Judgement(Verdict.ERROR))
    assert not why(Judgement(Verdict.CONFORMS))


def test_only_so_many_cases_run_again_and_only_for_so_long() -> None:
    few, short = Doubts(most=2), Doubts(longest_s=10)
    assert [few.may_run_again(VIOLATES, LATE, duration_s=1) for _ in range(3)] == [True, True, False]
    assert [short.may_run_again(VIOLATES, LATE, duration_s=6) for _ in range(3)] == [True, True, False]
    assert few.may_run_again(Judgement(Verdict.INCONCLUSIVE, "unclear"), LATE, duration_s=1), "not for being late"


def test_a_broken_case_that_is_not_run_again_is_inconclusive() -> None:
    unclear = undecided(VIOLATES, LATE)
    assert unclear.verdict is Verdict.INCONCLUSIVE
    assert unclear.message == f"the tester itself was up to 0.020 s late: {VIOLATES.message}"
    error = Judgement(Verdict.ERROR, "address conflict")
    assert undecided(error, Disturbance(fault="address conflict")) == error


def test_attempts_that_fail_alike_stand_and_others_are_inconclusive() -> None:
    again = Judgement(Verdict.VIOLATES, "no SYN after 1.311 s, seq 2718281828")
    assert agreed([(VIOLATES, LATE), (again, LATE)], "lossy") == again
    assert agreed([(again, LATE)], "lossy") == again
    otherwise = agreed([(VIOLATES, LATE), (Judgement(Verdict.VIOLATES, "a RST"), LATE)], "lossy")
    assert otherwise.verdict is Verdict.INCONCLUSIVE
    assert otherwise.message == f"broken in one way ({VIOLATES.message}), then in another (a RST): lossy"
    weaker = agreed([(VIOLATES, LATE), (Judgement(Verdict.BREAKS_SHOULD, VIOLATES.message), LATE)], "lossy")
    assert weaker.verdict is Verdict.INCONCLUSIVE
    deviates = Judgement(Verdict.DEVIATES, "a RST", SLOW)
    assert agreed([(VIOLATES, LATE), (deviates, LATE)], "lossy").deviation is None


@pytest.mark.parametrize("grave", [VERY_LATE, Disturbance(lost=1)], ids=["very late", "lost"])
def test_failing_alike_proves_nothing_where_every_attempt_was_gravely_disturbed(grave: Disturbance) -> None:
    unclear = agreed([(VIOLATES, grave), (VIOLATES, grave)], "late")
    assert unclear.verdict is Verdict.INCONCLUSIVE
    assert unclear.message == f"{grave}: {VIOLATES.message}"
    assert agreed([(VIOLATES, grave), (VIOLATES, LATE)], "late") == VIOLATES
    assert agreed([(VIOLATES, LATE), (VIOLATES, grave)], "late") == VIOLATES


def test_what_was_silent_is_in_doubt_where_frames_were_lost() -> None:
    conforms = Judgement(Verdict.CONFORMS)
    silent, busy = Disturbance(lost=3, silence=True), Disturbance(lost=3)
    assert Doubts().why(conforms, silent) == "3 frames were lost at the tester's end: without that, the case conforms"
    assert not Doubts().why(conforms, busy)
    assert Doubts().why(VIOLATES, busy)
    assert not Doubts().why(conforms, Disturbance(late_s=3, silence=True)), "what is read late is read"
    assert agreed([(conforms, silent), (conforms, silent)], "lost").verdict is Verdict.INCONCLUSIVE


def test_a_fault_of_the_wire_is_tried_again_and_stays_an_error() -> None:
    conflicts = [Disturbance(fault=f"address conflict: 10.77.4.{number}") for number in (1, 2)]
    errors = [Judgement(Verdict.ERROR, conflict.fault) for conflict in conflicts]
    assert Doubts().why(errors[0], conflicts[0]) == "address conflict: 10.77.4.1"
    assert not Doubts().why(Judgement(Verdict.CONFORMS), conflicts[0])
    assert agreed(list(zip(errors, conflicts, strict=True)), "conflict") == errors[1]


def test_a_clock_that_was_set_makes_broken_inconclusive() -> None:
    unclear = with_clock_set(VIOLATES, -2.5)
    assert unclear.verdict is Verdict.INCONCLUSIVE
    assert unclear.message == f"this machine's clock was set by -2.500 s meanwhile: {VIOLATES.message}"
    assert with_clock_set(VIOLATES, 0.0) == VIOLATES
    conforms = Judgement(Verdict.CONFORMS)
    assert with_clock_set(conforms, 3.0) == conforms
