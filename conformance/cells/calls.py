"""Runs a row whose event is a call of the application (RFC 9293 sections 3.10.1 to 3.10.6).

The application has BSD sockets, which are not the RFC's user interface:

1. Without a segment a call says `ok`, `error`, `queued` (it still waits), `received` (data) or `state`, as the responses
   of the table are called. End of file is the RFC's "error: connection closing".
2. OPEN on a connection that exists is a connect of another socket from the same address and port.
3. In CLOSED the calls are made on the socket of a connection that has ended, so that there is a four-tuple to look at.
4. CLOSE is a shutdown of the sending side; a socket that listens or still connects has none, and is closed. The arc of
   SYN-RECEIVED is gone by close, its row by shutdown: stacks differ between the two there alone.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.cells.settle import QUIET_S, opened, reached, works
from conformance.judge import Expectation, NotApplicable, Violation
from conformance.standard.cells import Cell, Outcome
from conformance.standard.states import State
from conformance.standard.vocabulary import Call, Response, Variables
from conformance.target import AppError
from conformance.tester.connection import RETRANSMITTED_S
from conformance.wire import ACK, FIN, NO_FLAGS, PSH, RST, SYN, Flags, Seq

if TYPE_CHECKING:
    from conformance.case.app import AppSocket
    from conformance.case.case import Case
    from conformance.case.connection import Connection

DATA: Final = b"asked for by the application"
_HAND_OVERS: Final = 3
_WAITS_S: Final = 30.0
_BEFORE_DATA: Final = frozenset({State.SYN_SENT, State.SYN_RECEIVED})

_BEFORE_OUR_FIN: Final = {
    State.CLOSE_WAIT: State.ESTABLISHED,
    State.LAST_ACK: State.ESTABLISHED,
    State.CLOSING: State.FIN_WAIT_1,
}


@dataclass
class Scene:
    """A connection in the row's state, and the socket that the call is made on."""

    case: Case
    cell: Cell
    conn: Connection
    socket: AppSocket | None = None

    @property
    def app(self) -> AppSocket:
        """The socket; NotApplicable where the application has none in this state."""
        if self.socket is None:
            raise NotApplicable(f"the application has no descriptor of a connection in {self.cell.state}")
        return self.socket


@dataclass(frozen=True)
class Told:
    """What a call said: a response's slug, and the words for the record."""

    slug: str
    words: str


def capabilities(cell: Cell) -> tuple[str, ...]:
    """What a target must be able to do for the row."""
    own = {"call-send-urgent": ("urgent",), "call-abort": ("abort",)}.get(cell.stimulus.slug, ())
    return ("app", *(word for word in ("state",) if word in cell.needs), *own)


async def run_call(case: Case, cell: Cell) -> None:
    """Put the target into the row's state, make the call, and see response, next state and survival.

    Raises Violation, and NotApplicable where nobody could see the row.
    """
    if not cell.runs:
        raise NotApplicable(cell.unseen)
    await call_in(await scene_of(case, cell))


async def call_in(scene: Scene) -> None:
    """The rest of `run_call`, once the target is in the row's state."""
    stimulus = scene.cell.stimulus
    assert isinstance(stimulus, Call)
    scene.case.app.reckoned = _ERRORS[stimulus.name]
    await scene.case.arrived()  # which the call would wait for, and be asked for after what follows
    call = asyncio.ensure_future(_CALLS[stimulus.slug](scene))
    try:
        await asyncio.sleep(0)  # the call is asked for first
        # The agent answers in order: once it has answered this, the call is made, and its answer here if it has one.
        await scene.case.agent.call("hello")
        for _ in range(_HAND_OVERS):
            await asyncio.sleep(0)
        await _see(scene, stimulus, call)
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def _see(scene: Scene, stimulus: Call, call: asyncio.Future[Told]) -> None:
    case, cell, conn = scene.case, scene.cell, scene.conn
    fitting = await _on_the_wire(conn, cell.outcomes)
    told = _told(case, stimulus, call)
    if stimulus.name == "SEND" and told.slug == "ok" and all(one.response.slug == "queued" for one in fitting):
        told = Told("queued", f"{told.words}, to be sent later")  # the stack's queue is as good as the caller's
    case.note(f"{stimulus.name} says: {told.words}")
    fitting = [one for one in fitting if told.slug == (one.response.slug if one.response.slug in _TOLD else "ok")]
    if not fitting:
        allowed = " or ".join(dict.fromkeys(one.response.meaning for one in cell.outcomes))
        raise Violation(f"{stimulus.name} in {cell.state} says {told.words}, it had to be: {allowed}")
    quiet_s = 0 if fitting[0].response.flags is None else QUIET_S
    outcome = await reached(case, conn, cell, fitting, quiet_s=quiet_s)
    if told.slug == "state" and told.words != outcome.next.value:
        raise Violation(f"{stimulus.name} says {told.words}, it had to say {outcome.next}")
    if told.slug == "received" and cell.state is State.CLOSE_WAIT and not await scene.app.at_end():
        raise Violation("RECEIVE gets more than was sent, not the end of file")
    if outcome.next is State.CLOSED and cell.state in (State.CLOSED, State.LISTEN):
        await listens_no_more(conn)
    if told.slug == "queued" and stimulus.name == "CLOSE":
        await _closed_after_data(conn)
        await works(case, conn, State.FIN_WAIT_2)
    elif told.slug == "queued":
        await _served(scene, stimulus, call)
    else:
        await works(case, conn, outcome.next)


async def _on_the_wire(conn: Connection, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Take the response; returns the outcomes that it goes with. Raises Violation."""
    silent = [one for one in outcomes if one.response.flags is None]
    wanted = [(one, form) for one in outcomes for form in forms(conn, one.response, DATA)]
    if wanted:
        which, _ = await conn.expect_any(*(form for _, form in wanted))
        return [one for one, form in wanted if form == wanted[which][1]]
    if any(one.response.slug == "received" for one in silent):
        await conn.allow(
            Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="a window update:"), within=QUIET_S
        )
    await conn.silence(for_=QUIET_S)
    return silent


def forms(conn: Connection, response: Response, data: bytes) -> list[Expectation]:
    """What a response of the target's own accord may look like; nothing for silence."""
    fields = response.fields(variables(conn), 0, 0, 0)
    if fields is None:
        return []
    flags = bits(fields.flags)
    known = conn.syn_was_seen  # before the target's first segment, which chooses its ISS
    return [
        Expectation(
            either,
            seq=Seq(fields.seq) if known and fields.seq is not None else None,
            ack=Seq(fields.ack) if fields.ack is not None else None,
            length=0 if not response.text else None,
            payload=data if response.text else None,
            urgent=len(data) if flags & Flags.URG else None,
        )
        for either in ((flags, flags | ACK) if flags & RST else (flags,))
    ]


def bits(names: Iterable[str]) -> Flags:
    """The control bits with these names."""
    return functools.reduce(Flags.__or__, (Flags[name] for name in names), NO_FLAGS)


def variables(conn: Connection) -> Variables:
    """The target's variables as far as the wire has told them."""
    snd_nxt = conn.rcv_nxt if conn.syn_was_seen else 0
    return Variables(
        iss=conn.irs if conn.syn_was_seen else 0,
        snd_una=conn.acked if conn.has_acked else snd_nxt,
        snd_nxt=snd_nxt,
        rcv_nxt=conn.snd_nxt,
        rcv_wnd=conn.remote_window,
        max_snd_wnd=conn.window,
    )


def _told(case: Case, stimulus: Call, call: asyncio.Future[Told]) -> Told:
    """What the call says, or that it still waits."""
    if not call.done():
        return Told("queued", "nothing yet, it waits")
    try:
        return call.result()
    except AppError as error:
        if error.code not in _ERRORS[stimulus.name]:
            raise
        return Told("error", error.code)
    finally:
        case.app.reckoned = ()


async def _served(scene: Scene, stimulus: Call, call: asyncio.Future[Told]) -> None:
    """A call that waits for the connection is served once it is ESTABLISHED, and both directions work."""
    conn = scene.conn
    queued = Expectation(ACK, seq=conn.rcv_nxt, payload=DATA, label="what was queued:")
    waits = stimulus.name == "SEND"
    if scene.cell.state is State.SYN_SENT:
        await conn.send(SYN | ACK)
        bare = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
        which, _ = await conn.expect_any(bare, *([queued] if waits else []))
        waits = waits and which == 0  # the acknowledgment may carry it
    else:
        await conn.send(ACK)
    await opened(conn)
    if waits:
        await conn.expect_any(queued)
    if stimulus.name != "SEND":
        await conn.send(ACK | PSH, payload=DATA)
        await conn.expect_ack()
    await call
    await works(scene.case, conn, State.ESTABLISHED)


async def _closed_after_data(conn: Connection) -> None:
    """Once the SYN is acknowledged, what was queued follows, and the FIN behind it; we acknowledge both."""
    first, end = conn.irs + 1, conn.irs + 1 + len(DATA)
    await conn.send(ACK, ack=first, text="covers the SYN alone")
    data = Expectation(ACK, seq=first, ack=conn.snd_nxt, payload=DATA, label="what was queued:")
    fin = Expectation(FIN | ACK, seq=end, ack=conn.snd_nxt, length=0, label="the FIN behind it:")
    both = Expectation(FIN | ACK, seq=first, ack=conn.snd_nxt, payload=DATA, label="both in one:")
    missing = {"data", "fin"}
    while missing:
        which, _ = await conn.expect_any(data, fin, both, within=RETRANSMITTED_S)
        missing -= ({"data"}, {"fin"}, {"data", "fin"})[which]
    conn.rcv_nxt = end + 1
    await conn.send(ACK)
    await conn.confirm(State.FIN_WAIT_2)


async def listens_no_more(conn: Connection) -> None:
    """A SYN is reset: an ACK would be where a port listens, too."""
    sent = await conn.inject(SYN, text="probe: does the port listen?")
    await conn.expect(RST | ACK, seq=Seq(0), ack=sent.segment.end, length=0, label="it does not:")


# Scenes


async def scene_of(case: Case, cell: Cell) -> Scene:
    """The target in the row's state, with what the row needs; confirmed by the way that leads there."""
    slug, state = cell.stimulus.slug, cell.state
    if state is State.CLOSED:
        return await _without_connection(case, cell)
    if slug == "call-open-active":
        return await _from_a_known_port(case, cell)
    by = "active" if state in _BEFORE_DATA and slug != "call-status" else "passive"
    if slug == "call-close-pending":
        return await _with_data_before_the_handshake(case, cell)
    if "unread" not in cell.needs and cell.id != "CLOSE-WAIT/call-receive":
        conn = await case.drive_to(state, by=by)
        return _scene(case, cell, conn, conn.listener if state is State.LISTEN else None)
    # Text comes before our FIN, whoever closes first.
    before = _BEFORE_OUR_FIN.get(state, state)
    conn = await case.drive_to(before, by=by)
    ack = conn.fin_seen.seq if before is State.FIN_WAIT_1 and conn.fin_was_seen else conn.rcv_nxt
    await conn.send(ACK | PSH, ack=ack, payload=DATA, text="data that stays unread")
    await conn.expect_ack()
    if before is not state:
        await conn.send(FIN | ACK, ack=ack)
        await conn.expect_ack()
    if state is State.LAST_ACK:
        await conn.app.shutdown("send")
        await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    return _scene(case, cell, conn)


def _scene(case: Case, cell: Cell, conn: Connection, socket: AppSocket | None = None) -> Scene:
    """Return the scene of a call on `socket`, or else on the connection's own socket where it has one."""
    return Scene(case, cell, conn, socket or (conn.app if conn.has_app else None))


async def _without_connection(case: Case, cell: Cell) -> Scene:
    match cell.stimulus.slug:
        case "call-open-active":
            return Scene(case, cell, case.connection())
        case "call-open-passive":
            return Scene(case, cell, await case.drive_to(State.CLOSED))
    conn = await case.drive_to(State.LAST_ACK)
    await conn.listener.close()
    await conn.send(ACK)
    await conn.confirm(State.CLOSED)
    return _scene(case, cell, conn)


async def _from_a_known_port(case: Case, cell: Cell) -> Scene:
    """A connection that the target opened from a port that it lets others have too: only the four-tuple is in the way."""
    conn = case.connection()
    conn.app = await case.app.connect(remote_port=conn.port, port=case.station.port(), reuse=True)
    await case.drive_to(cell.state, by="active", conn=conn)
    return _scene(case, cell, conn)


async def _with_data_before_the_handshake(case: Case, cell: Cell) -> Scene:
    """A socket takes no data before it is connected, but for Fast Open (RFC 7413), which puts it onto the SYN.

    We take the SYN alone, as a peer without Fast Open does: the data waits for the handshake.
    """
    conn = case.connection()
    options = [("tcp", "TCP_FASTOPEN_NO_COOKIE", 1), ("tcp", "TCP_FASTOPEN_CONNECT", 1)]
    try:
        conn.app = await case.app.connect(remote_port=conn.port, options=options)
    except AppError as error:
        raise NotApplicable(f"a socket takes no data before it is connected: no Fast Open ({error.code})") from None
    await conn.app.send(DATA, wait=False)
    syn = await conn.expect(SYN, label="the target opens:")
    if syn.segment.payload != DATA:
        raise NotApplicable("a socket takes no data before it is connected: Fast Open is switched off")
    await conn.send(SYN, text="simultaneous open")
    await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0)
    return _scene(case, cell, conn)


# Calls


async def _open_passive(scene: Scene) -> Told:
    scene.conn.listener = scene.socket = await scene.case.app.listen(port=scene.conn.remote_port)
    return Told("ok", "ok")


async def _open_active(scene: Scene) -> Told:
    app, conn = scene.case.app, scene.conn
    if scene.cell.state is State.CLOSED:
        conn.app = scene.socket = await app.connect(remote_port=conn.port)
    else:
        await app.connect(remote_port=conn.port, port=conn.remote_port, reuse=True)
    return Told("ok", "ok")


async def _send(scene: Scene) -> Told:
    await scene.app.send(DATA)
    return Told("ok", f"{len(DATA)} octets taken")


async def _send_urgent(scene: Scene) -> Told:
    await scene.app.send(DATA, urgent=True)
    return Told("ok", f"{len(DATA)} octets taken")


async def _receive(scene: Scene) -> Told:
    came = await scene.app.receive(len(DATA), wait_s=_WAITS_S)
    if came not in (b"", DATA):
        raise Violation(f"RECEIVE returns {came!r}, sent was {DATA!r}")
    return Told("received", f"{len(came)} octets") if came else Told("error", "end of file")


async def _close(scene: Scene) -> Told:
    state, cell = scene.cell.state, scene.cell
    by_close = state in (State.LISTEN, State.SYN_SENT) or (cell.kind == "arc" and state is State.SYN_RECEIVED)
    whole = by_close or "unread" in cell.needs
    await (scene.app.close() if whole else scene.app.shutdown("send"))
    # A socket does not say that it keeps a CLOSE for later: no segment does.
    return Told("queued" if "pending" in cell.needs else "ok", "ok")


async def _abort(scene: Scene) -> Told:
    await scene.app.abort()
    return Told("ok", "ok")


async def _status(scene: Scene) -> Told:
    conn, case = scene.conn, scene.case
    state = await case.app.state(conn.remote_port, 0 if scene.cell.state is State.LISTEN else conn.port)
    return Told("state", state.value)


_CALLS: Final[Mapping[str, Callable[[Scene], Awaitable[Told]]]] = {
    "call-open-passive": _open_passive,
    "call-open-active": _open_active,
    "call-send": _send,
    "call-send-unspecified": _send,
    "call-send-urgent": _send_urgent,
    "call-receive": _receive,
    "call-close": _close,
    "call-close-pending": _close,
    "call-close-unread": _close,
    "call-abort": _abort,
    "call-status": _status,
}
_TOLD: Final = frozenset({"ok", "error", "queued", "received", "state"})
# What a socket says for "error: connection already exists", "does not exist" and "closing".
_ERRORS: Final[Mapping[str, frozenset[str]]] = {
    "OPEN": frozenset({"EADDRNOTAVAIL", "EADDRINUSE", "EALREADY", "EISCONN"}),
    "SEND": frozenset({"EPIPE", "ENOTCONN"}),
    "RECEIVE": frozenset({"ENOTCONN"}),
    "CLOSE": frozenset({"ENOTCONN"}),
    "ABORT": frozenset(),
    "STATUS": frozenset(),
}
