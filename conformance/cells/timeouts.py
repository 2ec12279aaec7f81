"""Runs a row whose event is a timer of the target that runs out (RFC 9293 section 3.10.8 and those it rests on).

Every interval is measured between the kernel's stamps and held against a bound with its source. What would take minutes
is shortened, and the record says so: the user timeout by a socket option, R2 by settings in a namespace of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from conformance.cells.calls import DATA, forms
from conformance.cells.settle import QUIET_S, reached, settle, works
from conformance.judge import Bound, Expectation, NotApplicable, Violation
from conformance.standard.cells import Cell, Outcome
from conformance.standard.states import State
from conformance.standard.vocabulary import Timeout
from conformance.target import AppError
from conformance.tester.clock import SECOND
from conformance.tester.stamped import Received
from conformance.wire import ACK, FIN, PSH, SYN, dissect

if TYPE_CHECKING:
    from conformance.case.app import SocketOption
    from conformance.case.case import Case
    from conformance.case.connection import Connection

USER_TIMEOUT_S: Final = 1.5
_KEEP_IDLE_S, _KEEP_INTERVAL_S = 1, 2
_COUNTED: Final = 3
_POLL_S: Final = 0.025
_EARLY_S: Final = 0.1
_SLACK_S: Final = 1.0
# N is the setting's value: after N retransmissions at doubling intervals the next timeout gives up.
_R2: Final[Mapping[State, tuple[int, Mapping[str, str]]]] = {
    State.SYN_SENT: (1, {"net.ipv4.tcp_syn_retries": "1", "net.ipv4.tcp_syn_linear_timeouts": "0"}),
    State.SYN_RECEIVED: (1, {"net.ipv4.tcp_synack_retries": "1"}),
}
_R2_OF_DATA: Final[tuple[int, Mapping[str, str]]] = (2, {"net.ipv4.tcp_retries2": "2"})
_CAPABILITIES: Final = {"user-timeout": "options:TCP_USER_TIMEOUT", "keepalive": "keepalive"}
_FIRST_TIMER: Final = {State.SYN_SENT: "syn-rto", State.SYN_RECEIVED: "syn-ack-rto"}


def capabilities(cell: Cell) -> tuple[str, ...]:
    """What a target must be able to do for the row."""
    needs = ["app", *(name for word, name in _CAPABILITIES.items() if word in cell.needs)]
    if cell.stimulus.slug == "timeout-persist":
        needs.append("prompt-wire")  # the first probe waits for the timeout, which grows with the round trip
    return (*needs, "settings") if settings(cell) else tuple(needs)


def settings(cell: Cell) -> Mapping[str, str]:
    """The target's settings that the row needs."""
    return _R2.get(cell.state, _R2_OF_DATA)[1] if cell.stimulus.slug == "timeout-r2" else {}


def lasts(cell: Cell) -> float:
    """About how long the row takes, in seconds."""
    slug = cell.stimulus.slug
    if slug == "timeout-retransmission":
        return {State.SYN_SENT: 4.0, State.SYN_RECEIVED: 8.0}.get(cell.state, 2.0)
    return {"timeout-2msl": 64.0, "timeout-user": 2.5, "timeout-r2": 4.0, "timeout-keepalive": 4.0}.get(slug, 0.0)


async def run_timeout(case: Case, cell: Cell) -> None:
    """Put the target into the row's state, wait for the timer, and see response, next state and survival.

    Raises Violation, and NotApplicable where nobody could see the row.
    """
    if not cell.runs:
        raise NotApplicable(cell.unseen)
    assert isinstance(cell.stimulus, Timeout)
    await _TIMEOUTS[cell.stimulus.slug](case, cell)


# What waits for our acknowledgment


@dataclass
class _Outstanding:
    """The oldest segment that we do not acknowledge.

    `since_ns`: since when it waits, where another form of it left before. `settled_ns`: from when on its repetitions
    acknowledge all that we sent.
    """

    conn: Connection
    first: Received
    since_ns: int = 0
    settled_ns: int = 0

    def __post_init__(self) -> None:
        self.since_ns = self.since_ns or self.first.at_ns


async def _outstanding(
    case: Case, state: State, *, by: str = "passive", options: Sequence[SocketOption] = ()
) -> _Outstanding:
    if state is State.SYN_SENT or (state is State.SYN_RECEIVED and by == "active"):
        conn = await case.connect(options=options)
        first = await conn.expect(SYN, length=0, label="the target opens:")
        if state is State.SYN_SENT:
            return _Outstanding(conn, first)
        await conn.send(SYN, text="simultaneous open")
        answer = await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0)
        return _Outstanding(conn, answer, since_ns=first.at_ns)
    if state is State.SYN_RECEIVED:
        conn = await case.listen(options=options)
        await conn.send(SYN)
        return _Outstanding(conn, await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0))
    at_first = State.CLOSE_WAIT if state in (State.CLOSE_WAIT, State.LAST_ACK) else State.ESTABLISHED
    conn = await _quick(case, at_first)
    for level, name, value in options:
        await conn.app.option(level, name, value)
    if state in (State.ESTABLISHED, State.CLOSE_WAIT):
        await conn.app.send(DATA)
        return _Outstanding(conn, await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA))
    await conn.app.shutdown("send")
    first = await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    if state is not State.CLOSING:
        return _Outstanding(conn, first)
    await conn.send(FIN | ACK, ack=first.segment.seq, text="FIN that does not cover the target's FIN")
    answered = await conn.expect_ack()
    return _Outstanding(conn, first, settled_ns=answered.at_ns)


def _intervals(case: Case, state: State, count: int) -> list[Bound]:
    """The bounds of the first intervals between retransmissions."""
    if state in _FIRST_TIMER:
        return list(case.schedule(_FIRST_TIMER[state])[:count])
    least_s, trip_s = case.nominal_s("rto-min"), _round_trip_s(case)
    # RFC 6298, 2.2, with 2.4's minimum on the variation as on the sum.
    most_s = trip_s + max(least_s, 2 * trip_s)
    series = [(case.timer("rto-min", least_s * 2**n), case.timer("rto-min", most_s * 2**n)) for n in range(count)]
    return [Bound(low.low_s, high.high_s, low.source) for low, high in series]


async def _quick(case: Case, state: State) -> Connection:
    """A connection in that state whose handshake took no time on our side: its timeout is the least there is."""
    conn = await case.listen()
    conn.prepare(when=SYN | ACK, text="answered at once")
    return await case.drive_to(state, conn=conn)


def _round_trip_s(case: Case) -> float:
    """What the target could measure in the handshake."""
    asked_ns = 0
    for frame in case.trace.frames:
        segment = dissect(frame.data)
        if segment is not None and frame.inbound and segment.flags & SYN and not asked_ns:
            asked_ns = frame.at_ns
        elif segment is not None and not frame.inbound and segment.flags & ACK and asked_ns:
            return (frame.at_ns - asked_ns) / SECOND + case.wire_round_trip_s
    return case.wire_round_trip_s


# Retransmission


async def _retransmission(case: Case, cell: Cell) -> None:
    out = await _outstanding(case, cell.state)
    conn, response = out.conn, cell.outcomes[0].response
    last = out.first
    for number, bound in enumerate(_intervals(case, cell.state, _COUNTED), 1):
        if response.flags is None:
            await conn.silence(for_=bound.high_s, strict=True)
            continue
        again = await conn.expect_retransmission(out.first, within=bound.high_s + _SLACK_S)
        _as_said(conn, cell, again, settled=again.at_ns > out.settled_ns)
        case.check_timing(
            f"retransmission {number}",
            (again.at_ns - last.at_ns) / SECOND,
            bound,
            how="from the transmission before to this one",
        )
        last = again
    await settle(case, conn, cell, cell.outcomes)


def _as_said(conn: Connection, cell: Cell, again: Received, *, settled: bool) -> None:
    """See that a retransmission is what the row says; a FIN keeps its bit."""
    segment = again.segment
    said = forms(conn, cell.outcomes[0].response, segment.payload)[0]
    flags = (said.flags or ACK) | segment.flags & FIN
    said = replace(said, flags=flags, ack=said.ack if settled else None, length=None, payload=None)
    if differences := said.differences(segment, conn.base):
        raise Violation(f"the retransmission is not as {cell.id} says: {'; '.join(map(str, differences))}")


# Giving up


async def _user(case: Case, cell: Cell) -> None:
    case.note(f"the user timeout is set to {USER_TIMEOUT_S:g} s by TCP_USER_TIMEOUT")
    options = [("tcp", "TCP_USER_TIMEOUT", round(USER_TIMEOUT_S * 1000))]
    out = await _outstanding(case, cell.state, by="active", options=options)
    bound = case.timer("user-timeout", USER_TIMEOUT_S)
    if cell.state not in _FIRST_TIMER:
        # Stacks that count from the first retransmission end later by as much as the round trip has put that off.
        bound = bound.widened(0, _intervals(case, cell.state, 1)[0].high_s - case.timer("rto-min").high_s)
    await _given_up(case, cell, out, bound, "user timeout")


async def _r2(case: Case, cell: Cell) -> None:
    count, changed = _R2.get(cell.state, _R2_OF_DATA)
    case.note(f"R2 is shortened: {', '.join(f'{name} = {value}' for name, value in changed.items())}")
    out = await _outstanding(case, cell.state)
    name = _FIRST_TIMER.get(cell.state, "rto-min")
    first_s = case.nominal_s(name)
    opening = [case.timer(name, first_s * 2**n) for n in range(count + 1)]
    steps = opening if cell.state in _FIRST_TIMER else _intervals(case, cell.state, count + 2)
    # Data is given up by time, not by count: at the first timeout after those of N doubled intervals are over.
    bound = Bound(
        sum(step.low_s for step in steps[: count + 1]),
        sum(step.high_s for step in steps),
        f"{', '.join(changed)}, Documentation/networking/ip-sysctl.rst",
    )
    repeats = await _given_up(case, cell, out, bound, "R2")
    if repeats < count:
        raise Violation(f"given up after {repeats} retransmissions, {count} are set")


async def _given_up(case: Case, cell: Cell, out: _Outstanding, bound: Bound, name: str) -> int:
    """See the connection given up within `bound`, and its application told; returns the number of retransmissions."""
    conn, first = out.conn, out.first
    repeated = Expectation(first.segment.flags & ~PSH, seq=first.segment.seq, payload=first.segment.payload)
    last_words = [(one, form) for one in cell.outcomes for form in forms(conn, one.response, b"")]
    wanted = (repeated, *(form for _, form in last_words))
    said, there_ns, gone_ns = None, out.since_ns, 0
    poll_ns = out.since_ns + round((bound.low_s - _EARLY_S) * SECOND)
    until_ns = out.since_ns + round((bound.high_s + _SLACK_S) * SECOND)
    while not gone_ns:
        now_ns = case.clock.now_ns()
        if now_ns > until_ns:
            waited_s = (now_ns - out.since_ns) / SECOND
            raise Violation(f"{name}: the connection is still there after {waited_s:.2f} s, allowed is {bound}")
        taken = await conn.allow(*wanted, within=max(_POLL_S, (poll_ns - now_ns) / SECOND), strict=True)
        if taken is not None:
            said = last_words[taken[0] - 1][0] if taken[0] else said
        elif await _is_gone(case, conn):
            gone_ns = case.clock.now_ns()
        else:
            there_ns = now_ns
    case.check_timing(
        name,
        (gone_ns - out.since_ns) / SECOND,
        bound.widened(0, (gone_ns - there_ns) / SECOND),
        how="from the first transmission to the application's error",
    )
    repeats = _repeats(case, conn, first)
    await _finish(case, cell, conn, said)
    return repeats


def _repeats(case: Case, conn: Connection, first: Received) -> int:
    """How often it was sent again, however busy we were when it came."""
    came = [dissect(frame.data) for frame in case.trace.frames if frame.inbound and frame is not first.frame]
    numbers = (conn.port, first.segment.seq, first.segment.length)
    return sum(one is not None and (one.dport, one.seq, one.length) == numbers for one in came)


async def _is_gone(case: Case, conn: Connection) -> bool:
    """Whether the application has an error, or, where it has no descriptor, the table no connection. Raises Violation."""
    case.needs("error" if conn.has_app else "state")
    if not conn.has_app:
        return await case.state_of(conn) in (State.CLOSED, State.LISTEN)
    code = (await case.target.app.call("error", socket=conn.app.number))["code"]
    if code not in (None, "ETIMEDOUT"):
        raise Violation(f"the application is told {code}, it had to be ETIMEDOUT")
    if code is not None:
        case.note(f"the application is told {code}")
    return code is not None


async def _finish(case: Case, cell: Cell, conn: Connection, said: Outcome | None) -> None:
    """Take what may still come, and see that nothing else does and the connection is in the row's next state."""
    last_words = [(one, form) for one in cell.outcomes for form in forms(conn, one.response, b"")]
    silent = [one for one in cell.outcomes if one.response.flags is None]
    if said is None and last_words:
        wanted = [form for _, form in last_words]
        taken = await (conn.allow(*wanted, within=QUIET_S) if silent else _must(conn, wanted))
        said = last_words[taken[0]][0] if taken else None
    await settle(case, conn, cell, silent if said is None else [said])


async def _must(conn: Connection, wanted: Sequence[Expectation]) -> tuple[int, Received]:
    return await conn.expect_any(*wanted, within=QUIET_S)


# Timers of a quiet connection


async def _time_wait(case: Case, cell: Cell) -> None:
    bound = case.timer("time-wait")
    conn = await case.drive_to(State.TIME_WAIT)
    entered = max(frame.at_ns for frame in case.trace.frames if frame.inbound)
    await end_of_time_wait(case, cell, conn, entered_ns=entered, bound=bound)


async def end_of_time_wait(case: Case, cell: Cell, conn: Connection, *, entered_ns: int, bound: Bound) -> None:
    """See the 2 MSL out, in silence, since the target entered TIME-WAIT; then the four-tuple is free."""
    response = cell.outcomes[0].response
    await conn.listener.close()
    if response.flags is not None:
        await conn.expect_any(*forms(conn, response, b""), within=bound.high_s)
    ending = await case.see_end(conn, since_ns=entered_ns, expected=bound, since="the segment that led to TIME-WAIT")
    case.check_timing("time-wait", ending.gone_s, ending.within(bound), how=ending.how)
    await settle(case, conn, cell, cell.outcomes)


async def _persist(case: Case, cell: Cell) -> None:
    conn = await _quick(case, cell.state)
    conn.window = 0
    await conn.send(ACK, text="closes our window")
    await conn.app.send(DATA)
    last_ns, late_s = case.trace.steps[-1].at_ns, 0.0
    for number, bound in enumerate(_intervals(case, State.ESTABLISHED, _COUNTED), 1):
        probe = await _probe_of(conn, cell, within=bound.high_s + _SLACK_S)
        if probe is None:
            continue
        # The call's stamp is the application's own, taken when it had returned.
        case.check_timing(
            f"zero-window probe {number}",
            (probe.at_ns - last_ns) / SECOND,
            bound.widened(late_s, 0),
            how="from our answer to the probe before" if number > 1 else "from the application's call to the probe",
        )
        # A stack may count from the probe or from the answer.
        last_ns = (await conn.inject(ACK, text="the window is still closed")).at_ns
        late_s = (last_ns - probe.at_ns) / SECOND
    outcome = await reached(case, conn, cell, cell.outcomes)
    conn.window = 65535
    await conn.send(ACK, text="opens our window")
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA, label="what had to wait:")
    await works(case, conn, outcome.next)


async def _keepalive(case: Case, cell: Cell) -> None:
    conn = await case.drive_to(cell.state)
    await conn.app.option("tcp", "TCP_KEEPIDLE", _KEEP_IDLE_S)
    await conn.app.option("tcp", "TCP_KEEPINTVL", _KEEP_INTERVAL_S)
    await conn.app.option("socket", "SO_KEEPALIVE", 1)
    await conn.deliver(DATA)
    last_ns = max(frame.at_ns for frame in case.trace.frames if not frame.inbound)
    case.note(f"keep-alives are switched on: after {_KEEP_IDLE_S} s, then every {_KEEP_INTERVAL_S} s")
    for name, seconds in (("keepalive-time", _KEEP_IDLE_S), ("keepalive-interval", _KEEP_INTERVAL_S)):
        bound = case.timer(name, float(seconds))
        probe = await _probe_of(conn, cell, within=bound.high_s + _SLACK_S)
        if probe is not None:
            how = "from our last segment to the probe" if name == "keepalive-time" else "from one probe to the next"
            case.check_timing(name, (probe.at_ns - last_ns) / SECOND, bound, how=how)
            last_ns = probe.at_ns
    await conn.send(ACK, text="still here")
    await settle(case, conn, cell, cell.outcomes)


async def _probe_of(conn: Connection, cell: Cell, *, within: float) -> Received | None:
    """The next segment, which must be the row's response, with no data or one octet; None where silence is."""
    said = forms(conn, cell.outcomes[0].response, b"")
    if not said:
        await conn.silence(for_=within, strict=True)
        return None
    return (await conn.expect_any(*(replace(said[0], length=octets) for octets in (0, 1)), within=within))[1]


async def _delayed_ack(case: Case, cell: Cell) -> None:
    conn = await case.drive_to(cell.state)
    if conn.has_app and "app" in case.target.capabilities:
        # Where a new connection acknowledges at once, that is switched off: the delay is wanted.
        with contextlib.suppress(AppError):
            await conn.app.option("tcp", "TCP_QUICKACK", 0)
    bound = Bound(0, 0.5, "RFC 9293, 3.8.6.3 (MUST-40)")
    sent = await conn.send(ACK | PSH, payload=DATA)
    said = forms(conn, cell.outcomes[0].response, b"")
    if said:
        _, received = await conn.expect_any(*said, within=bound.high_s + _SLACK_S)
        delay_s = (received.at_ns - sent.at_ns) / SECOND
        case.check_timing("delayed ACK", delay_s, bound, how="from our data to its acknowledgment")
        case.choice("acknowledgment of data", "delayed" if delay_s > 0.01 else "at once", ["delayed", "at once"])
    else:
        await conn.silence(for_=bound.high_s, strict=True)
    outcome = await reached(case, conn, cell, cell.outcomes)
    if conn.has_app and (came := await conn.app.receive(len(DATA))) != DATA:
        raise Violation(f"the application read {came!r}, sent was {DATA!r}")
    await works(case, conn, outcome.next)


_TIMEOUTS: Final[Mapping[str, Callable[[Case, Cell], Awaitable[None]]]] = {
    "timeout-user": _user,
    "timeout-retransmission": _retransmission,
    "timeout-r2": _r2,
    "timeout-2msl": _time_wait,
    "timeout-persist": _persist,
    "timeout-keepalive": _keepalive,
    "timeout-delayed-ack": _delayed_ack,
}
