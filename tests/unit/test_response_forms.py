"""The segments that a response of the table may look like on the wire."""

from __future__ import annotations

from dataclasses import replace

import pytest

from conformance.cells.forms import forms
from conformance.judge import Expectation
from conformance.standard.cells import cell
from conformance.standard.responses import RESPONSES
from conformance.standard.segments import Placed, Variables
from conformance.wire import ACK, RST, SYN, URG, Seq

TARGET = Variables(iss=1000, snd_una=1001, snd_nxt=1101, rcv_nxt=501, rcv_wnd=8000, max_snd_wnd=4000)
WITH_ACK = Placed(seq=501, ack=1101, data=0, length=1)
WITHOUT_ACK = replace(WITH_ACK, ack=None)


def test_a_reset_may_carry_ack_where_its_formula_has_none() -> None:
    assert forms(RESPONSES["rst-seq-of-ack"], TARGET, answered=WITH_ACK) == [
        Expectation(RST, seq=Seq(1101), length=0),
        Expectation(RST | ACK, seq=Seq(1101), length=0),
    ]


def test_a_reset_of_a_segment_without_ack_has_one_form() -> None:
    assert forms(RESPONSES["rst-ack-of-segment"], TARGET, answered=WITHOUT_ACK) == [
        Expectation(RST | ACK, seq=Seq(0), ack=Seq(502), length=0)
    ]


@pytest.mark.parametrize("answered", [WITHOUT_ACK, None], ids=["without-ack", "own-accord"])
def test_a_formula_that_needs_an_acknowledgment_has_no_form_without(answered: Placed | None) -> None:
    assert forms(RESPONSES["rst-seq-of-ack"], TARGET, answered=answered) == []


def test_any_of_several_forms_will_do() -> None:
    any_reset = forms(RESPONSES["reset"], TARGET, answered=WITH_ACK)
    single = [forms(RESPONSES[slug], TARGET, answered=WITH_ACK) for slug in RESPONSES["reset"].forms]
    assert any_reset == [form for some in single for form in some] != []


def test_an_iss_is_compared_once_it_is_known() -> None:
    known, unknown = (forms(RESPONSES["syn-ack"], TARGET, iss_known=value)[0] for value in (True, False))
    assert (known.seq, unknown.seq) == (Seq(1000), None)
    assert known.flags == unknown.flags == SYN | ACK


def test_a_response_with_data_is_compared_by_its_data() -> None:
    (form,) = forms(RESPONSES["data-urgent"], TARGET, data=b"abc")
    assert form == Expectation(URG | ACK, seq=Seq(1101), ack=Seq(501), payload=b"abc", urgent=3)


def test_silence_has_no_form() -> None:
    assert forms(RESPONSES["silence"], TARGET, answered=WITH_ACK) == []


def test_a_row_of_another_kind_says_so() -> None:
    with pytest.raises(TypeError, match=r"^ESTABLISHED/call-close: its event is no segment, it is call-close$"):
        cell("ESTABLISHED/call-close").segment  # noqa: B018 - the property raises
    with pytest.raises(TypeError, match=r"^ESTABLISHED/ack-new: its event is no call, it is ack-new$"):
        cell("ESTABLISHED/ack-new").call  # noqa: B018
