"""A sweep's segments, what counts as an outcome of the machine, and how differences are put together."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from conformance.cli import main
from conformance.cli.sweep import Judged
from conformance.explore import segments
from conformance.explore.oracle import SeenSegment, after_segment, matching, unmoved
from conformance.explore.segments import (
    DECIDING,
    FLAGS,
    WAYS,
    SweepSegment,
    Way,
    acks_of,
    count_of,
    covering_segments,
    every_segment,
    flag_sets,
    seqs_of,
)
from conformance.explore.signatures import minimal, signatures
from conformance.explore.sweep import Difference, Swept, known_as
from conformance.run.sweeps import SweepRun
from conformance.standard import _data
from conformance.standard.machine import Endpoint
from conformance.standard.profile import parse
from conformance.standard.states import State

ACK, RST = frozenset({"ACK"}), frozenset({"RST"})
OPEN = Endpoint(State.ESTABLISHED, iss=5000, snd_una=5001, snd_nxt=5001, irs=1000, rcv_nxt=1001, max_snd_wnd=65535)


def test_a_full_sweep_has_over_50_000_segments_a_family_and_each_once() -> None:
    assert count_of(WAYS) > 50_000
    for way in WAYS:
        every = [replace(one, beside="") for flags in flag_sets(FLAGS) for one in every_segment(way, flags)]
        assert len(every) == len(set(every)), way


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_subset_covers_every_pair_of_values(way: Way) -> None:
    chosen = [(flags, one) for flags in flag_sets(DECIDING) for one in covering_segments(way, flags)]
    assert {(flags, one.seq) for flags, one in chosen} == set(itertools.product(flag_sets(DECIDING), seqs_of(way)))
    with_ack = [flags for flags in flag_sets(DECIDING) if "ACK" in flags]
    assert {(flags, one.ack) for flags, one in chosen if one.ack} == set(itertools.product(with_ack, acks_of(way)))
    assert {(one.seq, one.ack) for _, one in chosen if one.ack} == set(itertools.product(seqs_of(way), acks_of(way)))
    for flag, field in itertools.product(("PSH", "URG"), ("seq", "ack")):
        assert {getattr(one, field) for _, one in chosen if flag in one.flags} >= set(
            acks_of(way) if field == "ack" else seqs_of(way)
        )


@pytest.mark.parametrize(
    ("segment", "seq", "ack"),
    [
        (SweepSegment(ACK, "next", "all"), 1001, 5001),
        (SweepSegment(ACK, "before", "old"), 1000, 5000),
        (SweepSegment(ACK, "last", "unsent"), 2000, 5002),
        (SweepSegment(RST, "beyond"), 2001, None),
    ],
)
def test_edges_lie_where_their_names_say(segment: SweepSegment, seq: int, ack: int | None) -> None:
    placed = segment.place(OPEN, 65535)
    assert (placed.seq, placed.ack) == (seq, ack)


def seen(text: str, seq: int, ack: int | None = None) -> SeenSegment:
    """Return a segment of the target without text."""
    return SeenSegment(frozenset(text.split(",")), seq, ack)


@pytest.mark.parametrize(
    ("segment", "replies", "fits"),
    [
        (SweepSegment(RST, "inside"), [seen("ACK", 5001, 1001)], True),
        (SweepSegment(RST, "inside"), [], False),
        (SweepSegment(RST, "inside"), [seen("ACK", 5001, 1001)] * 2, False),
        (SweepSegment(RST, "inside"), [seen("RST", 5001)], False),
        (SweepSegment(RST, "next"), [], True),
        (SweepSegment(RST, "beyond"), [seen("ACK", 5001, 1001)], False),
        (SweepSegment(frozenset({"FIN"}), "next"), [seen("ACK", 5001, 1002)], False),
        (SweepSegment(ACK, "next", "all", 1), [seen("ACK", 5001, 1002)], True),
        (SweepSegment(ACK, "next", "all", 1), [], True),  # it may be delayed
        (SweepSegment(ACK, "next", "unsent", 1), [seen("ACK", 5001, 1001)], True),
    ],
)
def test_only_what_the_machine_allows_fits(segment: SweepSegment, replies: list[SeenSegment], fits: bool) -> None:
    runs = after_segment(OPEN, segment.place(OPEN, 65535))
    assert bool(matching(runs, OPEN, replies)) == fits


def test_a_connection_that_holds_text_beyond_a_hole_has_moved() -> None:
    placed = SweepSegment(ACK, "inside", "all", 1).place(OPEN, 65535)
    assert not any(unmoved(run, OPEN) for run in after_segment(OPEN, placed))


def difference(flags: str, seq: str = "next", text: int = 0, *, way: str = "ESTABLISHED") -> Difference:
    """Return a difference where an ACK was due and nothing came."""
    segment = SweepSegment(frozenset(flags.split(",")), seq, "all" if "ACK" in flags else "", text)
    return Difference(way, segment, "nothing, then ESTABLISHED", "ACK, then ESTABLISHED")


def test_a_thousand_differences_with_one_cause_are_one_line() -> None:
    many = [
        difference(flags, seq, text)
        for flags in ("SYN", "SYN,PSH", "SYN,URG,PSH")
        for seq in ("next", "inside")
        for text in (0, 1)
    ]
    lines = signatures(many)
    assert [line.count for line in lines] == [12]
    assert str(lines[0]).startswith(
        "ESTABLISHED: SYN (also with PSH,URG), at RCV.NXT or inside the window, with text or none: came"
    )
    assert lines[0].example.segment == SweepSegment(frozenset({"SYN"}))


def test_a_segment_is_made_smaller_only_where_it_still_differs() -> None:
    whole = SweepSegment(frozenset({"SYN", "FIN", "PSH"}), "inside", "", 100)
    least = SweepSegment(frozenset({"SYN", "FIN"}), "inside", "", 1)
    chain = {whole, replace(whole, flags=least.flags), least}
    assert minimal(whole, chain) == least
    assert minimal(whole, {whole}) == whole


ROW = """
title = "A stack"
[[difference]]
name = "a SYN is not challenged"
ways = ["ESTAB*"]
with_flags = ["SYN"]
without_flags = ["FIN"]
seq = ["next"]
text = "none"
answer = ["nothing, then *"]
requirement = "RFC9293:3.10.7.4-syn-challenge"
sentence = "challenge ACK"
reason = "dropped"
source = "tcp.c"
"""


def test_a_known_difference_is_known_by_all_of_its_fields() -> None:
    rows = parse(ROW, "row", "row").differences
    assert known_as(difference("SYN"), rows) is rows[0]
    for unlike in (
        difference("SYN,FIN"),
        difference("FIN"),
        difference("SYN", "inside"),
        difference("SYN", text=1),
        difference("SYN", way="CLOSING"),
        replace(difference("SYN"), answer="ACK, then ESTABLISHED"),
    ):
        assert known_as(unlike, rows) is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("syn-challenge", "syn-challange", "no requirement is called"),
        ('reason = "dropped"', 'reason = ""', "cannot be empty"),
        ("ways =", "way =", "unknown key way"),
    ],
)
def test_a_wrong_row_is_refused_in_one_line(old: str, new: str, says: str) -> None:
    with pytest.raises(_data.DataError, match=says) as raised:
        parse(ROW.replace(old, new), "row", "row")
    assert re.match(r"row:\d+, difference 1: ", str(raised.value))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--target", "nosuch"], "no target is called 'nosuch'"),
        (["--way", "ESTABLISHD"], "no way into a state is called 'ESTABLISHD': there is CLOSED, LISTEN"),
    ],
)
def test_a_wrong_call_is_one_line(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *words]) == 2
    message = capsys.readouterr().err
    assert says in message
    assert message.count("\n") == 1


def test_what_a_sweep_leaves_keeps_to_its_schema() -> None:
    swept = Swept(3, 1, [difference("SYN"), difference("FIN", way="CLOSING")])
    judged = Judged(parse(ROW, "row", "row"), SweepRun({4: swept}, {"ipv4 LISTEN": "why"}, 1.0), whole=True)
    schema = json.loads((Path(segments.__file__).parent / "sweep.schema.json").read_text())
    written = json.loads(json.dumps(judged.as_json("stack", "1")))
    jsonschema.validate(written, schema)
    assert [row["verdict"] for row in written["differences"]] == ["violates", "deviates"]
    assert judged.code == 1


def test_a_known_difference_that_is_gone_is_said_by_a_whole_sweep_alone() -> None:
    clean = SweepRun({4: Swept(3)}, {}, 1.0)
    assert Judged(parse(ROW, "row", "row"), clean, whole=True).gone == ["a SYN is not challenged"]
    assert Judged(parse(ROW, "row", "row"), clean, whole=False).code == 0
