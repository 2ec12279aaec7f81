"""A pytest plugin that notes the last check of each case, and in a second run breaks it.

At its end it writes `last-KIND.json` into the folder `MUTANT_FOLDER`: case id -> the kind of its last check and where it is made:
the functions and lines that lead there, so that it is found again where a target takes more segments one time than another;
of the cases only in which nothing was broken.
With a `MUTANT_KIND`, `checks.json` is read from there: case id -> the last checks seen so far, one for each way the target took.
What is checked at one of them is given something slightly wrong: a segment whose seq, ack or flags differ (as `MUTANT_KIND`
says), an extra segment where silence is owed, another state, another octet of data, an interval that is too long, an outcome
that is not allowed, another value of a setting, a call that
succeeds and had to fail. What the target really sent is all there: only the one thing is changed.
"""

from __future__ import annotations

import inspect
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conformance.case.app import Application, AppSocket
from conformance.case.case import Case
from conformance.case.confirm import Confirmer
from conformance.case.timings import Timings
from conformance.judge import Bound
from conformance.run.attempts import Attempts
from conformance.standard.states import State
from conformance.target import AppError
from conformance.tester.connection import WireConnection
from conformance.tester.stamped import Received
from conformance.tester.trace import Trace
from conformance.wire import URG, Segment
from tests.mutants.anew import begin_anew

_FOLDER = Path(os.environ["MUTANT_FOLDER"])
_KIND = os.environ.get("MUTANT_KIND", "")
_KNOWN: dict[str, list[list[str]]] = json.loads((_FOLDER / "checks.json").read_text()) if _KIND else {}
_LAST: dict[str, list[str]] = {}
_BROKEN: set[str] = set()
_NAMES: dict[int, str] = {}
"""Of the running cases, by the identity of their traces."""


def _is_last(trace: Trace, kind: str) -> bool:
    """Note a check of the case with that trace; return True for the one to break."""
    name = _NAMES[id(trace)]
    check = _LAST[name] = [kind, _place()]
    if check not in _KNOWN.get(name, ()):
        return False
    _BROKEN.add(name)
    return True


def _place() -> str:
    """The calls that lead here from the run of a case, as `function:line`."""
    calls, frame = [], inspect.currentframe()
    while frame is not None and frame.f_code.co_name != "_in_place":
        calls.append(f"{frame.f_code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return " ".join(calls)


def _wrong(segment: Segment) -> Segment:
    # A segment as it arrived has its checksum: the mutant's is made right, or it alone would be noticed.
    match _KIND:
        case "seq":
            changed = replace(segment, seq=segment.seq + 1, checksum=None)
        case "ack":
            changed = replace(segment, ack=segment.ack + 1, checksum=None)
        case _:
            changed = replace(segment, flags=segment.flags ^ URG, checksum=None)
    return changed


def _name_traces() -> None:
    """Have `_NAMES` know each case from its beginning."""
    begin = Case.__init__

    def began(self: Case, **keywords: Any) -> None:
        begin(self, **keywords)
        _NAMES[id(self.trace)] = self.name

    Case.__init__ = began  # type: ignore[method-assign]


def _patch() -> None:
    next_, expect_any, silence = WireConnection._next, WireConnection.expect_any, WireConnection.silence
    next_of_any_kind, state_of = WireConnection._next_of_any_kind, Confirmer.state_of
    check_timing, choice, confirm = Timings.check_timing, Case.choice, Confirmer.confirm
    check_series = Timings.check_series
    pending: set[int] = set()
    lying: set[int] = set()

    def broken(self: WireConnection, received: Received | None) -> Received | None:
        if received is not None and id(self) in pending:
            pending.discard(id(self))
            return replace(received, segment=_wrong(received.segment))
        return received

    async def any_next(self: WireConnection, until_ns: int) -> Received | None:
        return broken(self, await next_(self, until_ns))

    async def any_kind(self: WireConnection, until_ns: int) -> Received | None:
        return broken(self, await next_of_any_kind(self, until_ns))

    async def expecting(self: WireConnection, *wanted: Any, **keywords: Any) -> Any:
        if _is_last(self._setting.trace, "segment"):
            pending.add(id(self))
        return await expect_any(self, *wanted, **keywords)

    async def silent(self: WireConnection, **keywords: Any) -> None:
        if _is_last(self._setting.trace, "silence") and (last := self._repeats.last):
            frame = self._setting.trace.frames[-1]
            self._queue.append(Received(replace(last, flags=last.flags ^ URG), self._setting.clock.now_ns(), frame))
        await silence(self, **keywords)

    async def word(self: Confirmer, conn: WireConnection) -> State | None:
        state = await state_of(self, conn)
        if id(self) in lying:
            return State.SYN_SENT if state is not State.SYN_SENT else State.CLOSE_WAIT
        return state

    async def confirmed(
        self: Confirmer, conn: WireConnection, state: State, *, listener: AppSocket | None = None, probe: bool = True
    ) -> None:
        # The probe inside is a check of its own; the word comes after it.
        if probe:
            await self.probe(conn, state)
        if _is_last(self._setting.trace, "state"):
            lying.add(id(self))
        await confirm(self, conn, state, listener=listener, probe=False)
        lying.discard(id(self))

    def timed(self: Timings, name: str, measured_s: float, bound: Bound, **keywords: Any) -> None:
        wrong = max(measured_s, bound.high_s) * 1.5 + 0.001
        check_timing(self, name, wrong if _is_last(self.trace, "timing") else measured_s, bound, **keywords)

    def in_a_row(self: Timings, name: str, stamps_ns: Any, bounds: Any, **keywords: Any) -> None:
        if _is_last(self.trace, "series"):
            # The last interval is three times as long.
            stamps_ns = [*stamps_ns[:-1], stamps_ns[-1] + 2 * (stamps_ns[-1] - stamps_ns[-2])]
        check_series(self, name, stamps_ns, bounds, **keywords)

    def chosen(self: Case, name: str, taken: str, allowed: Any) -> None:
        choice(self, name, "something else" if _is_last(self.trace, "choice") else taken, allowed)

    WireConnection._next, WireConnection._next_of_any_kind = any_next, any_kind  # type: ignore[method-assign]
    WireConnection.expect_any, WireConnection.silence = expecting, silent  # type: ignore[method-assign]
    Confirmer.state_of, Confirmer.confirm = word, confirmed  # type: ignore[method-assign]
    # A case that breaks while the tester is late would run again, with all its checks counted twice.
    Attempts._doubt = lambda self, outcome, disturbance: ""  # type: ignore[method-assign]
    Timings.check_timing, Case.choice = timed, chosen  # type: ignore[method-assign]
    Timings.check_series = in_a_row  # type: ignore[method-assign]


def _patch_application() -> None:
    receive, sysctl, call, fails = AppSocket.receive, Application.sysctl, Application._call, Application.fails
    succeeding: set[int] = set()

    async def received(self: AppSocket, count: int, **keywords: Any) -> bytes:
        data = await receive(self, count, **keywords)
        if _is_last(self._app._case.trace, "data"):
            return bytes(octet ^ 1 for octet in data[:1]) + data[1:] if data else b"?"
        return data

    async def setting(self: Application, name: str, value: str | None = None) -> str:
        answer = await sysctl(self, name, value)
        return f"1{answer}" if value is None and _is_last(self._case.trace, "setting") else answer

    async def call_(self: Application, op: str, codes: Any, wait_s: float | None, arguments: dict[str, Any]) -> Any:
        try:
            return await call(self, op, codes, wait_s, arguments)
        except AppError:
            if id(self) in succeeding:
                return {}
            raise

    async def failing(self: Application, op: str, codes: Any, **keywords: Any) -> str:
        if _is_last(self._case.trace, "call"):
            succeeding.add(id(self))
        try:
            return await fails(self, op, codes, **keywords)
        finally:
            succeeding.discard(id(self))

    AppSocket.receive, Application.sysctl = received, setting  # type: ignore[method-assign]
    Application._call, Application.fails = call_, failing  # type: ignore[method-assign]


begin_anew(_LAST)
_name_traces()
_patch()
_patch_application()


def pytest_sessionfinish(session: pytest.Session) -> None:
    (_FOLDER / f"last-{_KIND}.json").write_text(
        json.dumps({name: last for name, last in _LAST.items() if name not in _BROKEN})
    )
