"""Take what the target answers to the segment of a row, and see that nothing comes that must not."""

from __future__ import annotations

from typing import Final

from conformance.cells.outcomes import expectations, fitting, silent
from conformance.cells.own_timer import FIRST_TIMEOUT_S, beyond_timeout_s, only_an_answer_s
from conformance.cells.segment_answers import answers
from conformance.cells.segment_start import NO_NUMBERS, Row
from conformance.cells.segment_stimulus import INVALID_SOURCE, Stimulus
from conformance.cells.steps import DELAYED_ACK
from conformance.cells.time_wait import state_on
from conformance.judge import Violation
from conformance.standard.cells import Outcome
from conformance.standard.states import State
from conformance.tester.clock import SECOND
from conformance.tester.connection import REACTION_S
from conformance.tester.stamped import Received
from conformance.wire import Seq

SILENCE_S: Final = 0.25
_CROSSING_S = 0.005


async def take_response(row: Row, stimulus: Stimulus) -> tuple[list[Outcome], Received | None]:
    """Take what comes; return the outcomes that go with it, and the segment, None for silence. Raises Violation."""
    case, conn = row.case, row.conn
    wanted = answers(row, stimulus)
    may_be_silent = [*silent(row.every), *(outcome for outcome in row.every if outcome.response.optional)]
    # A SYN can make a target repeat its SYN,ACK at once, which is an answer, and no harmless repetition.
    strict = row.state is State.SYN_RECEIVED and "SYN" in row.segment.flags
    if not wanted:
        await conn.silence(for_=SILENCE_S, strict=strict)
        return may_be_silent, None
    within = _before_own_timer_s(row, stimulus) if strict else REACTION_S
    while True:
        if may_be_silent:
            taken = await conn.allow(*expectations(wanted), within=min(SILENCE_S, within), strict=strict)
        else:
            taken = await conn.expect_any(*expectations(wanted), within=within, strict=strict)
        if taken is None:
            await case.station.prove_alive(case.address, case.trace)
            return may_be_silent, None
        which, received = taken
        if not wanted[which].part:
            break
    possible = fitting(conn, wanted, received)
    if all(outcome.response.delayed for outcome in possible):
        took_s = (received.at_ns - stimulus.sent.at_ns) / SECOND
        case.check_timing("acknowledgment", took_s, DELAYED_ACK, how="from the segment to its acknowledgment")
    return possible, received


def _before_own_timer_s(row: Row, stimulus: Stimulus) -> float:
    """Return for how many seconds a SYN,ACK can only be an answer, and no retransmission by the target's own timer.

    Raises Inconclusive.
    """
    timer = row.case.profile.timers.get("syn-rto" if row.cell.origin == "active" else "syn-ack-rto")
    elapsed_s = (stimulus.sent.at_ns - row.conn.opening_ns) / SECOND
    return only_an_answer_s(FIRST_TIMEOUT_S if timer is None else timer.low_s, elapsed_s, REACTION_S)


async def take_limited(row: Row, stimulus: Stimulus) -> list[Outcome]:
    """Take fewer acknowledgments than segments, and at least one; return the outcomes. Raises Violation."""
    wanted = answers(row, stimulus)
    if not wanted:
        await row.conn.silence(for_=SILENCE_S)
        return list(row.every)
    which, _ = await row.conn.expect_any(*expectations(wanted))
    count = 1
    while await row.conn.allow(wanted[which].expectation, within=SILENCE_S) is not None:
        count += 1
    if count >= row.segment.repeat:
        raise Violation(f"{row.segment.repeat} segments without a pause got {count} acknowledgments")
    row.case.note(f"{count} of {row.segment.repeat} were acknowledged")
    return list(wanted[which].outcomes)


def check_new_iss(answer: Received, stimulus: Stimulus) -> None:
    """See that a connection which reopens TIME-WAIT begins above the numbers of the one before. Raises Violation."""
    if answer.segment.seq <= Seq(stimulus.before.snd_nxt):
        raise Violation(
            f"the new connection's ISS {int(answer.segment.seq)} is not above {stimulus.before.snd_nxt}, used before"
        )


async def not_sent_again(row: Row, stimulus: Stimulus) -> None:
    """See that what was acknowledged does not come again; a FIN that was not may. Raises Violation."""
    conn = row.conn
    ack = conn.acked if conn.has_acked else None
    await conn.silence(for_=beyond_timeout_s(row.case.profile))
    since_ns = stimulus.sent.at_ns + round(_CROSSING_S * SECOND)
    again = [one for one in conn.put_aside if ack is not None and one.segment.seq < ack and one.at_ns > since_ns]
    if again:
        late_s = (again[0].at_ns - stimulus.sent.at_ns) / SECOND
        raise Violation(f"what was acknowledged came again {late_s:.3f} s later")


async def not_taken_from_invalid(row: Row) -> None:
    """See by the agent's word that a segment from an invalid source opened nothing: no answer could reach us.

    Raises Violation.
    """
    source = INVALID_SOURCE[row.case.family]
    word = (await state_on(row.case, row.conn, source)).state
    if word not in NO_NUMBERS:
        raise Violation(f"the target has a connection with {source}, in {word}")
