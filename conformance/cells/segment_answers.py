"""Say which segments may answer the segment of a row, and what the target has taken in once it did."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from conformance.cells.forms import forms
from conformance.cells.outcomes import Answer, grouped
from conformance.cells.segment_start import NO_NUMBERS, Row
from conformance.cells.segment_stimulus import Stimulus
from conformance.cells.text import TEXT
from conformance.judge import Expectation
from conformance.standard.cells import Outcome
from conformance.standard.responses import Response
from conformance.standard.segments import Edge
from conformance.standard.states import State
from conformance.wire import ACK, FIN, SYN, Seq

_IN_ORDER: Final = (Edge.NATURAL, Edge.LEFT_EDGE, Edge.STRADDLE_LEFT)


def answers(row: Row, stimulus: Stimulus) -> list[Answer]:
    """Return every segment that may come: whole answers first, then the beginnings of delayed ones."""
    pairs: list[tuple[Expectation, Outcome]] = []
    parts: list[Expectation] = []
    for outcome in row.every:
        whole = _forms(row, outcome.response, stimulus)
        pairs += [(form, outcome) for form in whole]
        if outcome.response.delayed and whole:
            on_fin = _on_the_fin(row, whole[0])
            if on_fin is not None:
                pairs.append((on_fin, outcome))
            if not row.segment.held:
                parts += [replace(whole[0], ack=ack) for ack in _parts(stimulus, whole[0])]
    answered = grouped(pairs)
    taken = {answer.expectation for answer in answered}
    return answered + [Answer(part, (), part=True) for part in parts if part not in taken]


def _forms(row: Row, response: Response, stimulus: Stimulus) -> list[Expectation]:
    """Return what a response may look like, RCV.NXT taken after the segment."""
    after = int(_rcv_nxt_after(row, response, stimulus))
    iss_known = row.state not in (*NO_NUMBERS, State.TIME_WAIT)
    return forms(response, replace(stimulus.before, rcv_nxt=after), answered=stimulus.placed, iss_known=iss_known)


def _rcv_nxt_after(row: Row, response: Response, stimulus: Stimulus) -> Seq:
    """Return the target's RCV.NXT if it answered so."""
    placed = stimulus.placed
    if response.slug in ("syn-ack", "ack-syn"):
        return Seq(placed.seq) + 1
    if response.advances:
        return Seq(placed.seq) + placed.length + row.segment.held * len(TEXT)
    return Seq(stimulus.before.rcv_nxt)


def _on_the_fin(row: Row, acknowledgment: Expectation) -> Expectation | None:
    """Return the target's FIN, sent again, that carries a delayed acknowledgment; None where no FIN waits for us."""
    conn = row.conn
    if not conn.fin_was_seen or not conn.has_acked or conn.fin_seen.end <= conn.acked:
        return None
    return replace(acknowledgment, flags=FIN | ACK, seq=conn.fin_seen.end - 1)


def _parts(stimulus: Stimulus, whole: Expectation) -> list[Seq]:
    """Return numbers inside the segment up to which it may be acknowledged first: behind its SYN, behind its text."""
    seq, flags = Seq(stimulus.placed.seq), stimulus.sent.segment.flags
    behind_syn = seq + bool(flags & SYN)
    numbers = [behind_syn] if flags & SYN else []
    if flags & FIN and stimulus.payload:
        numbers.append(behind_syn + len(stimulus.payload))
    return [number for number in numbers if whole.ack is None or number < whole.ack]


def taken_in_by_all(row: Row, stimulus: Stimulus) -> Seq | None:
    """Return RCV.NXT after the segment, where every outcome takes it in; None elsewhere."""
    responses = [outcome.response for outcome in row.every]
    if all(response.slug == "syn-ack" for response in responses) and row.state is not State.TIME_WAIT:
        return Seq(stimulus.placed.seq) + 1
    if all(response.advances for response in responses):
        return Seq(stimulus.placed.seq) + stimulus.placed.length + row.segment.held * len(TEXT)
    return None


def follow_ack_field(row: Row, stimulus: Stimulus) -> None:
    """Note what the target has taken of the segment's ACK field."""
    ack, conn, segment = stimulus.placed.ack, row.conn, row.segment
    if ack is None or not conn.syn_was_seen or "RST" in segment.flags or segment.seq not in _IN_ORDER:
        return
    if row.state is State.SYN_SENT and "SYN" not in segment.flags:
        return
    if row.state not in NO_NUMBERS and Seq(stimulus.before.snd_una) < Seq(ack) <= conn.rcv_nxt:
        conn.taken_in(ack=Seq(ack))
