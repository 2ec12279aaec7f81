"""The documented machine: every outcome names its sentences, every choice has a row with a source, timestamps count."""

from __future__ import annotations

import itertools
import re
from operator import methodcaller
from pathlib import Path

import pytest

from conformance.standard import _data, machine
from conformance.standard.catalogue import requirement
from conformance.standard.machine import Endpoint, Seg, choices, outcomes, parse_choices, readings
from conformance.standard.states import State

FLAGS = ("SYN", "FIN", "RST", "ACK", "PSH", "URG")
CALLS = ("OPEN", "SEND", "RECEIVE", "CLOSE", "ABORT", "STATUS")
TIMERS = ("USER TIMEOUT", "RETRANSMISSION TIMEOUT", "TIME-WAIT TIMEOUT", "PERSIST", "KEEPALIVE", "DELAYED ACK")


def endpoint(state: State, **fields: object) -> Endpoint:
    """Return a connection with its first numbers at 1000 (ours to the machine) and 5000 (its own)."""
    numbers = {"iss": 5000, "snd_una": 5001, "snd_nxt": 5001, "irs": 1000, "rcv_nxt": 1001}
    return Endpoint(state, **{**numbers, **fields})  # type: ignore[arg-type]


def test_every_outcome_of_a_segment_names_sentences_that_exist() -> None:
    named = set()
    for state, size, seq, ack in itertools.product(
        State, range(len(FLAGS) + 1), (900, 1001, 1500, 9000), (None, 5001, 9000)
    ):
        for flags in itertools.combinations(FLAGS, size):
            if ("ACK" in flags) != (ack is not None):
                continue
            for run in outcomes(endpoint(state), methodcaller("segment_arrives", Seg(seq, frozenset(flags), ack, 10))):
                assert run.by, (state, flags, seq, ack)
                named |= set(run.by)
    assert all(requirement(name).sentence for name in named)
    assert len(named) > 30


def test_every_call_and_timeout_names_a_sentence_that_exists() -> None:
    for state, call in itertools.product(State, CALLS):
        for run in outcomes(endpoint(state), methodcaller("call", call)):
            assert [requirement(name).sentence for name in run.by], (state, call)
    for timer in TIMERS:
        for run in outcomes(endpoint(State.ESTABLISHED), methodcaller("timeout", timer)):
            assert [requirement(name).sentence for name in run.by], timer


def test_every_choice_of_the_machine_is_a_row_with_a_source_and_every_row_is_asked() -> None:
    asked = set(re.findall(r'_does\("([^"]+)"\)', Path(machine.__file__).read_text()))
    assert asked == set(choices())


def test_a_reading_counts_only_where_it_is_switched_on() -> None:
    beyond = Seg(1500, frozenset({"ACK"}), 5001, 10)
    by_the_text = list(outcomes(endpoint(State.ESTABLISHED), lambda end: end.segment_arrives(beyond)))
    assert all(run.held for run in by_the_text)
    read = list(outcomes(endpoint(State.ESTABLISHED, readings=readings()), lambda end: end.segment_arrives(beyond)))
    assert {bool(run.held) for run in read} == {True, False}


@pytest.mark.parametrize(
    ("stamp", "flags", "taken"),
    [
        (20, {"ACK"}, True),
        (10, {"ACK"}, True),
        (9, {"ACK"}, False),
        (9, {"ACK", "RST"}, True),
        (2**31 + 9, {"ACK"}, True),
    ],
)
def test_old_timestamps_keep_a_segment_out_but_no_reset(stamp: int, flags: set[str], taken: bool) -> None:
    start = endpoint(State.ESTABLISHED, timestamps=True, stamp=10)
    seg = Seg(1001, frozenset(flags), 5001, 0 if "RST" in flags else 10, stamp=stamp)
    for run in outcomes(start, lambda end: end.segment_arrives(seg)):
        assert (run.rcv_nxt != 1001 or run.state is State.CLOSED) == taken
        assert ("RFC7323:5.3-R1" in run.by) != taken
        assert taken or [(reply.flags, reply.ack) for reply in run.sent] == [(frozenset({"ACK"}), 1001)]


def test_a_segment_without_the_negotiated_timestamp_may_be_dropped_silently() -> None:
    start = endpoint(State.ESTABLISHED, timestamps=True, stamp=10)
    runs = list(outcomes(start, lambda end: end.segment_arrives(Seg(1001, frozenset({"ACK"}), 5001, 10))))
    assert {run.rcv_nxt for run in runs} == {1001, 1011}
    assert {"RFC7323:3.2-missing"} <= set().union(*(run.by for run in runs))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[choice]]\nname = "a"\nsays = "b"\n', "machine.toml, choice 1: source missing"),
        ('[[choice]]\nname = "a"\nsays = ""\nsource = "c"\n', "name, says and source cannot be empty"),
        ('[[choice]]\nname="a"\nsays="b"\nsource="c"\n' * 2, "choice 2: two choices are called 'a'"),
    ],
)
def test_a_wrong_row_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(_data.DataError, match=re.escape(says)):
        parse_choices(text, "machine.toml")
