"""The comparison of a run with fewer calls: a case that is judged otherwise, or lost for another reason, is seen."""

from __future__ import annotations

from tests.fewer_calls.__main__ import compare


def records(**verdicts: tuple[str, str]) -> dict[str, dict[str, str]]:
    return {case: {"verdict": verdict, "message": message} for case, (verdict, message) in verdicts.items()}


FULL = records(
    a=("conforms", ""), b=("deviates", "known"), c=("not applicable", "needs sysctl, ..."), d=("violates", "x")
)


def test_cases_that_need_the_call_are_lost_and_no_others() -> None:
    fewer = {**FULL, **records(a=("not applicable", "needs send, which target x does not have"))}
    compared = compare("send", FULL, fewer)
    assert (compared.lost, compared.otherwise, compared.unexplained) == (1, (), ())


def test_new_violation_is_seen() -> None:
    compared = compare("send", FULL, {**FULL, **records(a=("violates", "nothing arrived"))})
    assert compared.otherwise == ("a: conforms, without send: violates: nothing arrived",)


def test_case_that_is_lost_for_another_reason_is_seen() -> None:
    compared = compare("send", FULL, {**FULL, **records(b=("inconclusive", "late"))})
    assert compared.unexplained == ("b: deviates, without send: inconclusive: late",)


def test_case_that_did_not_run_is_seen() -> None:
    compared = compare("send", FULL, {case: record for case, record in FULL.items() if case != "d"})
    assert compared.otherwise == ("d: violates, without send: missing: ",)


def test_case_that_conforms_for_want_of_a_call_is_seen() -> None:
    compared = compare("state", FULL, {**FULL, **records(b=("conforms", ""))})
    assert compared.otherwise == ("b: deviates, without state: conforms: ",)
