"""Make the calls of the table on BSD sockets, and say what each returns in the table's words.

A socket is not the RFC's user interface:

1. Without a segment a call returns `ok`, `error`, `queued` (it still waits), `received` (data) or `state`, as the
   responses of the table are called. End of file is the RFC's "error: connection closing".
2. OPEN on a connection that exists is a connect of another socket from the same address and port.
3. CLOSE is a shutdown of the sending side; a socket that listens or still connects has none, and is closed. The arc of
   SYN-RECEIVED is gone by close, its row by shutdown: stacks differ between the two there alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from conformance.cells.steps import DATA
from conformance.judge import Violation
from conformance.standard.states import State
from conformance.target import AppError

if TYPE_CHECKING:
    from conformance.cells.call_scenes import Scene

_WAITS_S: Final = 30.0
_RETURNS_S: Final = 0.1
# What a socket says for "error: connection already exists", "does not exist" and "closing".
_ERRORS: Final[Mapping[str, frozenset[str]]] = {
    "OPEN": frozenset({"EADDRNOTAVAIL", "EADDRINUSE", "EALREADY", "EISCONN"}),
    "SEND": frozenset({"EPIPE", "ENOTCONN"}),
    "RECEIVE": frozenset({"ENOTCONN"}),
    "CLOSE": frozenset({"ENOTCONN"}),
    "ABORT": frozenset(),
    "STATUS": frozenset(),
}
_RESULTS: Final = frozenset({"ok", "error", "queued", "received", "state"})


@dataclass(frozen=True)
class Returned:
    """The return of a call: a response's slug, and the words for the record."""

    slug: str
    words: str

    def is_of(self, response_slug: str) -> bool:
        """Return True if a response allows this; one that is a segment says nothing of the call, which then succeeds."""
        return self.slug == (response_slug if response_slug in _RESULTS else "ok")


def begin_call(scene: Scene) -> asyncio.Future[Returned]:
    """Begin the row's call; await its future, or ask `returned` what it has said by now."""
    call = scene.cell.call
    scene.case.app.tolerated_errors = _ERRORS[call.name]
    return asyncio.ensure_future(_CALLS[call.slug](scene))


async def returned(scene: Scene, call: asyncio.Future[Returned]) -> Returned:
    """Return what the call says, or that it still waits. Raises AppError for an error that no row knows.

    The segment that a call brings about may be here before the call's answer is.
    """
    if not (await asyncio.wait([call], timeout=_RETURNS_S))[0]:
        return Returned("queued", "nothing yet, it waits")
    try:
        return call.result()
    except AppError as error:
        if error.code not in _ERRORS[scene.cell.call.name]:
            raise
        return Returned("error", error.code)
    finally:
        scene.case.app.tolerated_errors = ()


async def _open_passive(scene: Scene) -> Returned:
    scene.conn.listener = scene.socket = await scene.case.app.listen(port=scene.conn.remote_port)
    return Returned("ok", "ok")


async def _open_active(scene: Scene) -> Returned:
    app, conn = scene.case.app, scene.conn
    if scene.cell.state is State.CLOSED:
        conn.app = scene.socket = await app.connect(remote_port=conn.port)
    else:
        await app.connect(remote_port=conn.port, port=conn.remote_port, reuse=True)
    return Returned("ok", "ok")


async def _send(scene: Scene) -> Returned:
    await scene.app.send(DATA, urgent=scene.cell.stimulus.slug == "call-send-urgent")
    return Returned("ok", f"{len(DATA)} octets taken")


async def _receive(scene: Scene) -> Returned:
    octets = await scene.app.receive(len(DATA), wait_s=_WAITS_S)
    if octets not in (b"", DATA):
        raise Violation(f"RECEIVE returns {octets!r}, sent was {DATA!r}")
    return Returned("received", f"{len(octets)} octets") if octets else Returned("error", "end of file")


async def _close(scene: Scene) -> Returned:
    state, cell = scene.cell.state, scene.cell
    by_close = state in (State.LISTEN, State.SYN_SENT) or (cell.kind == "arc" and state is State.SYN_RECEIVED)
    whole = by_close or "unread" in cell.needs
    await (scene.app.close() if whole else scene.app.shutdown("send"))
    # A socket does not say that it keeps a CLOSE for later: no segment does.
    return Returned("queued" if "pending" in cell.needs else "ok", "ok")


async def _abort(scene: Scene) -> Returned:
    await scene.app.abort()
    return Returned("ok", "ok")


async def _status(scene: Scene) -> Returned:
    conn, case = scene.conn, scene.case
    state = await case.app.state(conn.remote_port, 0 if scene.cell.state is State.LISTEN else conn.port)
    return Returned("state", state.value)


_CALLS: Final[Mapping[str, Callable[[Scene], Awaitable[Returned]]]] = {
    "call-open-passive": _open_passive,
    "call-open-active": _open_active,
    "call-send": _send,
    "call-send-unspecified": _send,
    "call-send-urgent": _send,
    "call-receive": _receive,
    "call-close": _close,
    "call-close-pending": _close,
    "call-close-unread": _close,
    "call-abort": _abort,
    "call-status": _status,
}
