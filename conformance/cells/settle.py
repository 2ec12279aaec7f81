"""Hold every row to the same three things, whatever its stimulus.

The row's runner makes the stimulus and takes the response; `outcomes` says what may come. Then `settle` sees:

1. That nothing else comes.
2. That the target is in a state that goes with the response, by a probe that leaves it there and by the agent's word.
3. That the connection still does what it can do in that state, or is gone.

Where a row has several outcomes, the record says which the target took.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from conformance.cells.forms import bare_ack
from conformance.cells.outcomes import allowed, name_of
from conformance.cells.steps import QUIET_S
from conformance.cells.usable import works
from conformance.standard.cells import Cell, Outcome
from conformance.standard.states import State
from conformance.tester.connection import resets
from conformance.wire import ACK

if TYPE_CHECKING:
    from conformance.case.case import Case
    from conformance.case.connection import Connection

_WITHOUT_NUMBERS = (State.CLOSED, State.LISTEN)
_WORD_TRIES = 25
_WORD_EVERY_S = 0.01


async def settle(case: Case, conn: Connection, cell: Cell, possible: Sequence[Outcome]) -> Outcome:
    """See the three things above, and return the outcome. Raises Violation.

    `possible` are the outcomes that go with the response that came.
    """
    outcome = await reached(case, conn, cell, possible)
    await works(case, conn, outcome.next)
    return outcome


async def reached(
    case: Case, conn: Connection, cell: Cell, possible: Sequence[Outcome], *, quiet_s: float = QUIET_S
) -> Outcome:
    """See that nothing else comes and the target is in a state of `possible`; return that outcome. Raises Violation.

    `quiet_s` is 0 where silence was seen already.
    """
    if quiet_s:
        await conn.silence(for_=quiet_s)
    outcome = possible[0]
    if len({one.next for one in possible}) > 1:
        outcome = await _outcome_by_state(case, conn, possible)
    every = allowed(cell)
    if len(every) > 1:
        case.choice(f"answer in {cell.state}", name_of(outcome), [name_of(one) for one in every])
    # Before the target's first segment there are no numbers to probe with: its own word decides.
    await conn.confirm(outcome.next, probe=conn.syn_was_seen or outcome.next in _WITHOUT_NUMBERS)
    return outcome


async def _outcome_by_state(case: Case, conn: Connection, possible: Sequence[Outcome]) -> Outcome:
    """Return the outcome that the target's state tells; the first where it tells none of them."""
    for _ in range(_WORD_TRIES):
        word = await case.state_of(conn)
        if word is None:
            return await _outcome_by_probe(conn, possible)
        # A four-tuple that is gone may be its listener's again.
        words = {word, State.CLOSED, State.LISTEN} if word in (State.CLOSED, State.LISTEN) else {word}
        outcome = next((one for one in possible if one.next in words), None)
        if outcome is not None:
            return outcome
        await case.clock.sleep(_WORD_EVERY_S)
    return possible[0]


async def _outcome_by_probe(conn: Connection, possible: Sequence[Outcome]) -> Outcome:
    """Ask without an agent: an old octet is reset where there is no connection, and acknowledged where there is."""
    ack = conn.acked if conn.has_acked else conn.rcv_nxt
    sent = await conn.inject(ACK, seq=conn.snd_nxt - 2, ack=ack, payload=b"\0", text="probe: is there a connection?")
    gone = resets(seq=sent.segment.ack, label="no connection:")
    which, _ = await conn.expect_any(bare_ack(conn, "a connection:"), *gone)
    ended = (State.CLOSED, State.LISTEN)
    return next((one for one in possible if (one.next in ended) is (which > 0)), possible[0])
