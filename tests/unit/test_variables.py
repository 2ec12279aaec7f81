"""The variables of our end, its state, and which segments of the target repeat old ones: no lab, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from conformance.standard.states import State
from conformance.target import HarnessFault
from conformance.tester.own_state import after_receiving, after_sending
from conformance.tester.retransmissions import Retransmissions
from conformance.tester.variables import NotYet, Offer, Variables
from conformance.wire import ACK, CWR, FIN, NO_FLAGS, PSH, RST, SYN, Flags, Segment, Seq
from conformance.wire import options as opt

ISS, IRS, NOTHING = Seq(0xFFFFFFF0), Seq(1000), Seq(0)
MS = 1_000_000


def theirs(flags: Flags, seq: int = 0, ack: Seq = ISS + 1, payload: bytes = b"", options: bytes = b"") -> Segment:
    """A segment of the target; `seq` counts from its SYN."""
    return Segment("192.0.2.1", "192.0.2.2", 80, 5000, IRS + seq, ack, flags, options=options, payload=payload)


def ours(flags: Flags, seq: int = 0, ack: Seq = NOTHING, payload: bytes = b"") -> Segment:
    """A segment of ours; `seq` counts from our SYN."""
    return Segment("192.0.2.2", "192.0.2.1", 5000, 80, ISS + seq, ack, flags, payload=payload)


def opened(*, passive: bool = False) -> Variables:
    """Both ends in ESTABLISHED; `passive` means that the target sent the first SYN."""
    variables = Variables(ISS, (opt.mss(1460),))
    if passive:
        variables.follow_taken(theirs(SYN, ack=NOTHING))
        variables.follow_sent(ours(SYN | ACK, ack=IRS + 1))
        variables.follow_taken(theirs(ACK, 1))
    else:
        variables.follow_sent(ours(SYN))
        variables.follow_taken(theirs(SYN | ACK))
        variables.follow_sent(ours(ACK, 1, IRS + 1))
    return variables


@pytest.mark.parametrize("passive", [False, True])
def test_handshake_sets_the_variables(passive: bool) -> None:
    variables = opened(passive=passive)
    assert variables.state is State.ESTABLISHED
    assert (variables.snd_nxt, variables.snd_una) == (ISS + 1, ISS + 1)
    assert (variables.irs, variables.rcv_nxt, variables.acked) == (IRS, IRS + 1, IRS + 1)


@pytest.mark.parametrize(
    ("ask", "names"),
    [
        (lambda variables: variables.irs, "IRS"),
        (lambda variables: variables.rcv_nxt, "RCV.NXT"),
        (lambda variables: variables.acked, "acknowledged nothing"),
        (lambda variables: variables.fin_seen, "FIN"),
        (lambda variables: variables.tsval, "timestamps"),
    ],
)
def test_what_is_not_there_is_a_fault_in_one_line(ask: Callable[[Variables], object], names: str) -> None:
    with pytest.raises(NotYet, match=names) as raised:
        ask(Variables(ISS, ()))
    assert isinstance(raised.value, HarnessFault)
    assert "\n" not in str(raised.value)


def test_what_is_there_is_told() -> None:
    before, after = Variables(ISS, ()), opened()
    assert (before.syn_was_seen, before.has_acked, before.fin_was_seen) == (False, False, False)
    after.follow_taken(theirs(FIN | ACK, 1))
    assert (after.syn_was_seen, after.has_acked, after.fin_was_seen) == (True, True, True)
    assert after.fin_seen.seq == IRS + 1


def test_reset_and_old_segments_move_nothing() -> None:
    variables = opened()
    variables.follow_taken(theirs(ACK, 1, payload=b"abc"))
    for segment in (theirs(ACK, 1, payload=b"abc"), theirs(ACK, 100, payload=b"beyond"), theirs(ACK, ack=ISS)):
        variables.follow_taken(segment)
        assert (variables.rcv_nxt, variables.snd_una) == (IRS + 4, ISS + 1)
    variables.follow_taken(theirs(RST, 4))
    assert variables.rcv_nxt == IRS + 4
    assert variables.state is State.CLOSED


@pytest.mark.parametrize(("theirs_too", "shift"), [(True, 7), (False, 0)])
def test_window_is_scaled_where_both_sides_offer_it(theirs_too: bool, shift: int) -> None:
    variables = Variables(ISS, Offer(window_scale=2, timestamps=True).options(1460))
    variables.tsval = 5
    variables.follow_sent(ours(SYN))
    variables.follow_taken(theirs(SYN | ACK, options=opt.encode([opt.window_scale(7)] if theirs_too else [])))
    assert variables.remote_window == 65535, "the window of a SYN is not scaled"
    variables.follow_taken(theirs(ACK, 1))
    assert variables.remote_window == 65535 << shift
    assert not variables.has_timestamps, "the target has declined timestamps"


@pytest.mark.parametrize(
    ("state", "flags", "syn_seen", "then"),
    [
        (State.CLOSED, SYN, False, State.SYN_SENT),
        (State.CLOSED, SYN | ACK, True, State.SYN_RECEIVED),
        (State.SYN_SENT, SYN | ACK, True, State.SYN_RECEIVED),
        (State.SYN_RECEIVED, FIN | ACK, True, State.FIN_WAIT_1),
        (State.ESTABLISHED, FIN | ACK, True, State.FIN_WAIT_1),
        (State.CLOSE_WAIT, FIN | ACK, True, State.LAST_ACK),
        (State.FIN_WAIT_1, FIN | ACK, True, State.FIN_WAIT_1),
        (State.ESTABLISHED, RST, True, State.CLOSED),
        (State.ESTABLISHED, ACK | PSH, True, State.ESTABLISHED),
    ],
)
def test_our_state_after_sending(state: State, flags: Flags, syn_seen: bool, then: State) -> None:
    assert after_sending(state, flags, syn_seen=syn_seen) is then


@pytest.mark.parametrize(
    ("state", "flags", "all_acked", "then"),
    [
        (State.CLOSED, SYN, True, State.CLOSED),
        (State.SYN_SENT, SYN, False, State.SYN_RECEIVED),
        (State.SYN_SENT, SYN | ACK, True, State.ESTABLISHED),
        (State.SYN_RECEIVED, ACK, True, State.ESTABLISHED),
        (State.SYN_RECEIVED, FIN | ACK, True, State.CLOSE_WAIT),
        (State.ESTABLISHED, FIN | ACK, True, State.CLOSE_WAIT),
        (State.FIN_WAIT_1, ACK, False, State.FIN_WAIT_1),
        (State.FIN_WAIT_1, ACK, True, State.FIN_WAIT_2),
        (State.FIN_WAIT_1, FIN | ACK, False, State.CLOSING),
        (State.FIN_WAIT_1, FIN | ACK, True, State.TIME_WAIT),
        (State.FIN_WAIT_2, FIN | ACK, True, State.TIME_WAIT),
        (State.CLOSING, ACK, True, State.TIME_WAIT),
        (State.LAST_ACK, ACK, True, State.CLOSED),
        (State.LAST_ACK, ACK, False, State.LAST_ACK),
        (State.ESTABLISHED, RST | ACK, True, State.CLOSED),
    ],
)
def test_our_state_after_receiving(state: State, flags: Flags, all_acked: bool, then: State) -> None:
    assert after_receiving(state, flags, all_acked=all_acked) is then


def data_taken(*payloads: bytes, crossing_ns: int = 0, flags: Flags = NO_FLAGS) -> Retransmissions:
    """Return the record of these segments, sent by the target after the handshake and never acknowledged."""
    variables = opened()
    repeats, at = Retransmissions(variables, crossing_ns), 1
    for payload in payloads:
        segment = theirs(ACK | flags, at, payload=payload)
        variables.follow_taken(segment)
        repeats.taken(segment)
        at += len(payload)
    return repeats


@pytest.mark.parametrize(
    ("segment", "harmless"),
    [
        pytest.param(theirs(ACK, 1, payload=b"abc"), True, id="the same"),
        pytest.param(theirs(ACK | PSH, 1, payload=b"abc"), True, id="with PSH"),
        pytest.param(theirs(ACK, 2, payload=b"b"), True, id="a part"),
        pytest.param(theirs(ACK, 1, payload=b"abcdef"), True, id="two joined"),
        pytest.param(theirs(ACK, 2, payload=b"bcdef"), True, id="two joined, less the first octet"),
        pytest.param(theirs(ACK, 1, payload=b"abcdefg"), False, id="with new data"),
        pytest.param(theirs(ACK, 7, payload=b"ghi"), False, id="new data"),
        pytest.param(theirs(ACK, 1), False, id="a bare ACK"),
        pytest.param(theirs(ACK | FIN, 1, payload=b"ab"), False, id="a FIN that was not there"),
        pytest.param(theirs(RST, 1), False, id="a reset"),
        pytest.param(theirs(ACK, 1, ack=ISS + 2, payload=b"abc"), False, id="acknowledging something new"),
        pytest.param(theirs(ACK, 0, payload=b"?abc"), False, id="beginning before all of it"),
        pytest.param(theirs(ACK, 1, payload=b"abd"), False, id="other text"),
        pytest.param(theirs(ACK, 2, payload=b"bcdeF"), False, id="other text in the second of two joined"),
        pytest.param(replace(theirs(ACK, 1, payload=b"abc"), reserved=2), False, id="with a reserved bit"),
        pytest.param(theirs(ACK, 1, payload=b"abc", options=b"\1\1\x05\n" + bytes(8)), True, id="with SACK blocks"),
        pytest.param(
            theirs(ACK, 1, payload=b"abc", options=b"\2\4\5\xb4"), False, id="with an option that was not there"
        ),
    ],
)
def test_only_what_says_nothing_new_is_a_harmless_retransmission(segment: Segment, harmless: bool) -> None:
    assert data_taken(b"abc", b"def").is_harmless(segment, 5 * MS) is harmless


def test_fin_is_repeated_where_it_was_and_nowhere_else() -> None:
    repeats = data_taken(b"abc", flags=FIN)
    assert repeats.is_harmless(theirs(ACK | FIN, 1, payload=b"abc"), 0)
    assert repeats.is_harmless(theirs(ACK | FIN, 3, payload=b"c"), 0)
    assert repeats.is_harmless(theirs(ACK, 1, payload=b"ab"), 0)
    assert not repeats.is_harmless(theirs(ACK | FIN, 1, payload=b"ab"), 0), "a FIN inside the text"


def test_repetition_may_lack_cwr() -> None:
    assert data_taken(b"abc", flags=CWR).is_harmless(theirs(ACK, 1, payload=b"abc"), 0)


def test_retransmission_of_what_was_acknowledged_is_not_harmless_unless_it_crossed_our_ack() -> None:
    repeats = data_taken(b"abc", crossing_ns=2 * MS)
    repeats.acknowledged(IRS + 4, 10 * MS)
    again = theirs(ACK, 1, payload=b"abc")
    assert repeats.is_harmless(again, 12 * MS)
    assert not repeats.is_harmless(again, 12 * MS + 1)


def test_acknowledgment_of_less_makes_no_retransmission_matter() -> None:
    repeats = data_taken(b"abc", b"def")
    repeats.acknowledged(IRS + 4, 0)
    assert repeats.is_harmless(theirs(ACK, 4, payload=b"def"), 5 * MS)
    assert not repeats.is_harmless(theirs(ACK, 1, payload=b"abc"), 5 * MS)


def test_syn_that_left_in_the_moment_of_our_answer_is_harmless_and_a_syn_ack_is_not() -> None:
    for flags, harmless in ((SYN, True), (SYN | ACK, False)):
        variables = Variables(ISS, ())
        variables.follow_sent(ours(SYN))
        repeats = Retransmissions(variables, 0)
        syn = theirs(flags, ack=ISS if flags & ACK else NOTHING)
        variables.follow_taken(syn)
        repeats.taken(syn)
        repeats.acknowledged(IRS + 1, 10 * MS)
        assert repeats.is_harmless(syn, 10 * MS + MS // 2) is harmless
        assert not repeats.is_harmless(syn, 12 * MS)


def test_what_crossed_our_last_segment_is_told_by_when_that_left() -> None:
    repeats = data_taken(b"abc", crossing_ns=MS)
    repeats.left(10 * MS)
    again = theirs(ACK, 1, payload=b"abc")
    assert repeats.crossed_our_last(again, 11 * MS)
    assert not repeats.crossed_our_last(again, 11 * MS + 1)
    assert not repeats.crossed_our_last(theirs(ACK, 4, payload=b"new"), 10 * MS)


def test_what_crossed_our_acknowledgment_lies_before_what_is_waited_for() -> None:
    variables = opened()
    repeats = Retransmissions(variables, MS)
    for at, payload in ((1, b"abc"), (4, b"def")):
        segment = theirs(ACK, at, payload=payload)
        variables.follow_taken(segment)
        repeats.taken(segment)
    variables.follow_ack(IRS + 4)
    repeats.acknowledged(IRS + 4, 10 * MS)
    first, second = theirs(ACK, 1, payload=b"abc"), theirs(ACK, 4, payload=b"def")
    assert repeats.crossed_our_ack(first, 10 * MS, IRS + 4)
    assert not repeats.crossed_our_ack(first, 20 * MS, IRS + 4), "too late to have crossed it"
    assert not repeats.crossed_our_ack(second, 10 * MS, IRS + 4), "what is waited for itself"
    assert not repeats.crossed_our_ack(first, 10 * MS, IRS + 1), "nothing lies before the first"
