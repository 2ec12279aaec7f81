"""What every row of the documented machine is held to, whatever its stimulus.

Whoever runs a row makes the stimulus and takes the response; `allowed` says what may come. Then `settle` sees:

1. That nothing else comes.
2. That the target is in a state that goes with the response, by a probe that leaves it there and by the agent's word.
3. That the connection still does what it can do in that state, or is gone.

Where a row has several outcomes, the record says which one the target took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.judge import Expectation, NotApplicable, Violation
from conformance.standard.cells import Cell, Outcome, cells
from conformance.standard.states import State
from conformance.tester.connection import resets
from conformance.wire import ACK, FIN, NO_FLAGS, PSH, SYN

if TYPE_CHECKING:
    from conformance.case.case import Case
    from conformance.case.connection import Connection

QUIET_S = 0.2
"""How long nothing else may come: longer than a delayed acknowledgment, shorter than any timeout of a SYN."""
TO_TARGET = b"said to the target"
FROM_TARGET = b"said by the target"
_WORD_TRIES = 25
_WORD_EVERY_S = 0.01


@dataclass(frozen=True)
class Left:
    """What is under way between the two ends when a row is settled.

    `unread`: text that the target took in and its application has not read. `repeat` and `repeat_fin`: text and FIN
    that came with a SYN; a peer sends them again with the segment that completes the handshake.
    """

    unread: bytes = b""
    repeat: bytes = b""
    repeat_fin: bool = False


NOTHING_LEFT = Left()


def allowed(cell: Cell) -> tuple[Outcome, ...]:
    """Everything that the target may do: the row's outcomes, and those of the rows that cannot be run but as part of it.

    Raises NotApplicable where nobody could see the row, with the reason.
    """
    if not cell.runs:
        raise NotApplicable(cell.unseen)
    twins = [outcome for row in cells() if row.twin == cell.id and not row.runs for outcome in row.outcomes]
    return tuple(dict.fromkeys((*cell.outcomes, *twins)))


def name_of(outcome: Outcome) -> str:
    """An outcome as the record calls it."""
    return f"{outcome.response.slug}, then {outcome.next}"


async def settle(
    case: Case,
    conn: Connection,
    cell: Cell,
    possible: Sequence[Outcome],
    *,
    quiet_s: float = QUIET_S,
    left: Left = NOTHING_LEFT,
) -> Outcome:
    """See the three things above; `possible` are the outcomes that go with the response that came.

    `quiet_s`: 0 where the response was silence, and so was seen already. Returns the outcome. Raises Violation.
    """
    outcome = await reached(case, conn, cell, possible, quiet_s=quiet_s)
    await works(case, conn, outcome.next, left)
    return outcome


async def reached(
    case: Case, conn: Connection, cell: Cell, possible: Sequence[Outcome], *, quiet_s: float = QUIET_S
) -> Outcome:
    """See that nothing else comes and the target is in a state of `possible`; returns that outcome. Raises Violation."""
    if quiet_s:
        await conn.silence(for_=quiet_s)
    outcome = possible[0]
    if len({one.next for one in possible}) > 1:
        outcome = await _outcome_by_state(case, conn, possible)
    every = allowed(cell)
    if len(every) > 1:
        case.choice(f"answer in {cell.state}", name_of(outcome), [name_of(one) for one in every])
    await conn.confirm(outcome.next)
    return outcome


async def _outcome_by_state(case: Case, conn: Connection, possible: Sequence[Outcome]) -> Outcome:
    """The outcome that the target's state tells; the first where it tells none of them."""
    for _ in range(_WORD_TRIES):
        word = await case.state_of(conn)
        if word is None:
            return await _outcome_by_probe(conn, possible)
        # A four-tuple that is gone may be its listener's again.
        words = {word, State.CLOSED, State.LISTEN} if word in (State.CLOSED, State.LISTEN) else {word}
        found = next((one for one in possible if one.next in words), None)
        if found is not None:
            return found
        await case.clock.sleep(_WORD_EVERY_S)
    return possible[0]


async def _outcome_by_probe(conn: Connection, possible: Sequence[Outcome]) -> Outcome:
    """Without an agent: an old octet is reset where there is no connection, and acknowledged where there is one."""
    ack = conn.acked if conn.has_acked else conn.rcv_nxt
    sent = await conn.inject(ACK, seq=conn.snd_nxt - 2, ack=ack, payload=b"\0", text="probe: is there a connection?")
    gone = resets(seq=sent.segment.ack, label="no connection:")
    there = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="a connection:")
    which, _ = await conn.expect_any(there, *gone)
    ended = (State.CLOSED, State.LISTEN)
    return next((one for one in possible if (one.next in ended) is (which > 0)), possible[0])


# What works in each state


async def works(case: Case, conn: Connection, state: State, left: Left = NOTHING_LEFT) -> None:
    """See that the connection does what it can do in `state`: what is open carries data, what is closing can be closed.

    Raises Violation. It leaves the state.
    """
    if not case.has_app:
        await _works_alone(case, conn, state)
    elif state is State.LISTEN:
        await _still_listens(case, conn)
    elif state in (State.SYN_SENT, State.SYN_RECEIVED):
        await _complete_handshake(conn, left, seen=state)
        await works(case, conn, State.CLOSE_WAIT if left.repeat_fin else State.ESTABLISHED, left)
    elif state is State.ESTABLISHED:
        await _both_ways(conn, left)
    elif state in (State.FIN_WAIT_1, State.FIN_WAIT_2):
        await _receive_only(conn, left)
        await _close_from_our_side(case, conn)
    elif state is State.CLOSE_WAIT:
        await _send_only(conn, left)
        await _close_from_their_side(case, conn)
    elif state is State.CLOSING:
        await conn.send(ACK, text="covers the FIN")
        await conn.confirm(State.TIME_WAIT, probe=False)
        await read(conn, left.unread, end=True)
    elif state is State.LAST_ACK:
        await conn.send(ACK, text="covers the FIN")
        await conn.confirm(State.CLOSED)
    elif state is State.TIME_WAIT:
        await conn.inject(FIN | ACK, seq=conn.snd_nxt - 1, text="our FIN again")
        await conn.expect_ack(label="acknowledged once more:")
        await read(conn, left.unread, end=True)


async def _works_alone(case: Case, conn: Connection, state: State) -> None:
    """What the wire alone can show of it, where no application can be asked."""
    if state is State.LISTEN:
        await case.probe_listening(conn.remote_port)
    elif state is State.SYN_RECEIVED:
        await conn.send(ACK, text="completes the handshake")
        await conn.confirm(State.ESTABLISHED)


async def read(conn: Connection, data: bytes, *, end: bool = False) -> None:
    """The application reads `data`, and then the end of the stream (`end`). Raises Violation."""
    if not conn.has_app or conn.app.closed:
        return
    if data:
        came = await conn.app.receive(len(data))
        if came != data:
            raise Violation(
                f"the application read {len(came)} octets {came[:40]!r}, sent were {len(data)} {data[:40]!r}"
            )
    if end and not await conn.app.at_end():
        raise Violation("the application is not told that the peer has closed")


async def _still_listens(case: Case, conn: Connection) -> None:
    """A connection from another port opens and carries data both ways."""
    other = case.connection(conn.remote_port)
    other.listener = conn.listener
    await case.drive_to(State.ESTABLISHED, conn=other)
    await _both_ways(other, NOTHING_LEFT)


async def _complete_handshake(conn: Connection, left: Left, *, seen: State) -> None:
    flags = ACK | (SYN if seen is State.SYN_SENT else NO_FLAGS) | (FIN if left.repeat_fin else NO_FLAGS)
    again = " with what came before" if left.repeat or left.repeat_fin else ""
    await conn.send(flags, payload=left.repeat, text=f"completes the handshake{again}")
    if seen is State.SYN_SENT or again:
        await conn.expect_ack()
    await opened(conn)
    await read(conn, left.repeat)


async def opened(conn: Connection) -> None:
    """The application has its connection, by accept or by a connect that ends well. Raises AppError."""
    if conn.has_app:
        await conn.app.connected()
    else:
        conn.app = await conn.listener.accept()


async def _make_room(conn: Connection) -> None:
    """Where the target's window was closed, what the application has read must open it."""
    if conn.remote_window == 0 and conn.has_app and not conn.app.closed:
        await conn.expect_ack(label="the window opens:")
        if conn.remote_window == 0:
            raise Violation("the application has read everything, and the window is still closed")


async def _both_ways(conn: Connection, left: Left) -> None:
    if not conn.has_app:
        await opened(conn)
    await read(conn, left.unread)
    await _make_room(conn)
    await _acknowledge_everything(conn)
    await conn.deliver(TO_TARGET)
    await conn.collect(FROM_TARGET)


async def _acknowledge_everything(conn: Connection) -> None:
    if conn.has_acked and conn.syn_was_seen and conn.acked < conn.rcv_nxt:
        await conn.send(ACK)


async def _receive_only(conn: Connection, left: Left) -> None:
    """The target has closed; what we send still arrives. Its FIN stays as acknowledged as it was."""
    if conn.app.closed:
        return
    await read(conn, left.unread)
    await _make_room(conn)
    await conn.send(ACK | PSH, ack=conn.acked, payload=TO_TARGET)
    await conn.expect_ack(label="the data acknowledged:")
    await read(conn, TO_TARGET)


async def _close_from_our_side(case: Case, conn: Connection) -> None:
    await conn.send(FIN | ACK, text="we close too")
    await conn.expect_ack()
    await conn.confirm(State.TIME_WAIT, probe=False)
    await read(conn, b"", end=True)


async def _send_only(conn: Connection, left: Left) -> None:
    """We have closed; what the target sends still arrives."""
    if not conn.has_app:
        await opened(conn)
    closed = conn.remote_window == 0
    await read(conn, left.unread, end=True)
    if closed:
        # To a peer that has closed it need not be said.
        update = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="the window opens:")
        await conn.allow(update, within=QUIET_S)
    await _acknowledge_everything(conn)
    await conn.collect(FROM_TARGET)


async def _close_from_their_side(case: Case, conn: Connection) -> None:
    await conn.app.shutdown("send")
    await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    await conn.send(ACK)
    await conn.confirm(State.CLOSED)
