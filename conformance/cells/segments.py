"""Runs the rows of the documented machine whose stimulus is a segment.

The target is put into the row's state, with what the segment and the row's `needs` ask for; the segment is placed by
the target's own numbers; what comes is judged by `conformance.cells.settle`.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from conformance.case.app import SocketOption
from conformance.case.connection import Connection
from conformance.cells.own_timer import FIRST_TIMEOUT_S, only_an_answer_s
from conformance.cells.settle import FROM_TARGET, NOTHING_LEFT, QUIET_S, Left, allowed, reached, read, works
from conformance.judge import Bound, Expectation, Inconclusive, NotApplicable, Violation
from conformance.standard.cells import Cell, Outcome
from conformance.standard.states import FIN_RECEIVED, State
from conformance.standard.vocabulary import (
    RESPONSES,
    Ack,
    Edge,
    Fields,
    Placed,
    Response,
    Segment,
    Stamp,
    Variables,
)
from conformance.target import AppError
from conformance.tester.clock import SECOND
from conformance.tester.connection import REACTION_S
from conformance.tester.stamped import Received, Sent
from conformance.wire import ACK, FIN, NO_FLAGS, PSH, RST, SYN, URG, Flags, Seq
from conformance.wire import options as opt

if TYPE_CHECKING:
    from conformance.case.case import Case

SILENCE_S = 0.25
_TEXT = bytes(range(1, 101))
_OLD = bytes(range(101, 201))
_UNACKNOWLEDGED = b"sent and not acknowledged"
_NOT_SENT_AGAIN_S = 0.45
_CROSSING_S = 0.005
_RESTART_AFTER_S = 0.5
_SMALL_BUFFER: SocketOption = ("socket", "SO_RCVBUF", 4096)
_INLINE: SocketOption = ("socket", "SO_OOBINLINE", 1)
_PIECE = 1400
_MOST_PIECES = 64
_OFFERED, _OFFERED_MORE = 300, 4000
_TSVAL = 100_000
_DELAYED_ACK = Bound(0, 0.5, "RFC 9293, 3.8.6.3 (MUST-40)")
# In CLOSED and LISTEN the target has sent nothing, so that it has no numbers.
_ANY_NUMBER = 0x01020304
# A source address has to be of one host (RFC 1122, 3.2.1.3; RFC 4291, 2.7).
_INVALID_SOURCE = {4: "224.0.0.1", 6: "ff02::1"}
_BITS = {"SYN": SYN, "FIN": FIN, "RST": RST, "ACK": ACK, "URG": URG, "PSH": PSH}
_ALONE = (State.CLOSED, State.LISTEN, State.SYN_RECEIVED, State.ESTABLISHED)
_NO_NUMBERS = (State.CLOSED, State.LISTEN)
_ONE_SIDED = (State.CLOSED, State.LISTEN, State.SYN_SENT)
_IN_ORDER = (Edge.NATURAL, Edge.LEFT_EDGE, Edge.STRADDLE_LEFT)


@dataclass(frozen=True)
class _Stimulus:
    """The segment of a row as it was sent."""

    placed: Placed
    sent: Sent
    payload: bytes
    before: Variables


@dataclass(frozen=True)
class _Answer:
    """One segment that may come: for which outcomes, or (`part`) as the beginning of an answer."""

    expectation: Expectation
    outcomes: tuple[Outcome, ...]
    part: bool = False


async def run_segment(case: Case, cell: Cell, *, wrap: bool = False) -> None:
    """Run one row.

    `wrap`: our sequence numbers pass 2^32 in the middle of it; and the target opens by an active OPEN where the row
    leaves open how it does.

    Raises NotApplicable, Violation, Inconclusive.
    """
    every = allowed(cell)
    row = cell.stimulus
    assert isinstance(row, Segment)
    if row.from_invalid:
        case.needs("state")
    run = _Run(case, cell, row, every)
    await run.prepare(wrap=wrap)
    await run.judge()


class _Run:
    """A row under way."""

    def __init__(self, case: Case, cell: Cell, row: Segment, every: Sequence[Outcome]) -> None:
        self.case, self.cell, self.row, self.every = case, cell, row, tuple(every)
        self.state = cell.state
        self.unread = b""

    # The state that the row begins in

    async def prepare(self, *, wrap: bool) -> None:
        """Put the target into the row's state."""
        case, row, cell = self.case, self.row, self.cell
        iss = self._iss() if wrap else None
        # A SYN that reopens TIME-WAIT finds the listener.
        reopens = self.state is State.TIME_WAIT and "SYN" in row.flags
        active = cell.origin == "active" or (wrap and cell.origin == "either" and not reopens)
        options = [_SMALL_BUFFER] if row.zero_window or _has_hole(self.row) else []
        if row.urgent and "urgent" in case.target.capabilities:  # else its application knows nothing but data
            options.append(_INLINE)
        conn: Connection | None = None
        if self.state is not State.CLOSED:
            conn = await self._opening(active, options, iss)
            if row.offers:
                conn.window = _OFFERED
            if row.stamped_before:
                conn.tsval = _TSVAL
        self.conn = await case.drive_to(
            self.state,
            by="active" if active else "passive",
            how="close" if "reader-gone" in cell.needs else "shutdown",
            conn=conn,
            iss=iss,
            established=self._in_established,
        )

    async def _opening(self, active: bool, options: Sequence[SocketOption], iss: int | None) -> Connection:
        """A connection about to be opened. A stack without these options is taken as it is: its buffer fills, if later."""
        case = self.case
        # What is sent to a group must not fail to find the listener only because that is bound to one address.
        address = "" if self.row.to_group else None
        case.app.reckoned = ("ENOPROTOOPT",)
        try:
            return await (
                case.connect(options=options, iss=iss)
                if active
                else case.listen(address=address, options=options, iss=iss)
            )
        except AppError as error:
            if error.code != "ENOPROTOOPT":
                raise
            return await (case.connect(iss=iss) if active else case.listen(address=address, iss=iss))
        finally:
            case.app.reckoned = ()

    async def _in_established(self, conn: Connection) -> None:
        if _repeats_text(self.row):
            await conn.deliver(_OLD)
        if self.row.zero_window:
            await self._close_window(conn)
        if self.row.ack is Ack.DUPLICATE:
            # So that SND.UNA-1 lies behind something that was really acknowledged, and not before the SYN.
            await conn.collect(FROM_TARGET)
        if "outstanding" in self.cell.needs:
            if self.state in (State.FIN_WAIT_1, State.CLOSING):
                # In one breath: once the text is sent again, a stack may hold its FIN back.
                await asyncio.gather(conn.app.send(_UNACKNOWLEDGED), conn.app.shutdown("send"))
            else:
                await conn.app.send(_UNACKNOWLEDGED)
            await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=_UNACKNOWLEDGED)

    async def _close_window(self, conn: Connection) -> None:
        """Fill the target's receive window; a FIN that is still to come takes its last number."""
        kept = 1 if self.state in FIN_RECEIVED else 0
        await conn.probe()
        for _ in range(_MOST_PIECES):
            room = min(conn.remote_window - kept, _PIECE)
            if room <= 0:
                break
            piece = _pattern(room)
            self.unread += piece
            await conn.send(ACK, payload=piece)
            await conn.expect_ack()

    def _iss(self) -> int:
        """Our initial sequence number, so chosen that the numbers wrap in the middle of the row's segment, or at its edge."""
        if self.row.zero_window:
            return -1000
        data, edge = self.row.data, self.row.seq
        if edge in (Edge.MIDDLE, Edge.RIGHT_EDGE, Edge.OUTSIDE_RIGHT, Edge.STRADDLE_RIGHT):
            rcv_nxt = -1000
        elif edge is Edge.STRADDLE_LEFT:
            rcv_nxt = 0
        elif edge is Edge.OUTSIDE_LEFT:
            rcv_nxt = 50 if data else 0
        else:
            rcv_nxt = -50 if data else -1 if self.row.flags & {"SYN", "FIN"} or self.state in _ONE_SIDED else 0
        used = 0 if self.state in _ONE_SIDED else 1
        used += self.state in FIN_RECEIVED
        if _repeats_text(self.row) and self.state is not State.SYN_RECEIVED:
            used += len(_OLD)
        return rcv_nxt - used

    # The segment

    def variables(self) -> Variables:
        """The target's variables, as the wire tells them."""
        conn = self.conn
        if not conn.syn_was_seen:
            number = _ANY_NUMBER
            return Variables(number, number, number, conn.snd_nxt, 0, conn.window)
        una = conn.acked if conn.has_acked else conn.irs
        # A SYN's ACK field tells nothing before we have sent anything.
        edge = conn.snd_una + conn.remote_window
        window = max(0, edge - conn.snd_nxt) if self.state is not State.SYN_SENT else conn.remote_window
        return Variables(conn.irs, una, conn.rcv_nxt, conn.snd_nxt, window, conn.window)

    async def send(self) -> _Stimulus:
        """Write the row's segment."""
        conn, row, before = self.conn, self.row, self.variables()
        if row.zero_window and before.rcv_wnd == 1 and self.state in FIN_RECEIVED:
            raise NotApplicable(f"the target gives a FIN no place in its window, which is never zero in {self.state}")
        if row.zero_window and before.rcv_wnd:
            raise Inconclusive(f"the target's window is still {before.rcv_wnd} octets after {len(self.unread)}")
        placed = row.place(before)
        payload = self._payload(placed, before)
        flags = functools.reduce(Flags.__or__, (_BITS[name] for name in row.flags), NO_FLAGS)
        fields: dict[str, Any] = {
            "seq": placed.seq,
            "ack": placed.ack or 0,
            "payload": payload,
            "options": self._options(flags),
        }
        if row.urgent:
            fields["urgent"] = max(1, len(payload))
        if row.offers:
            fields["window"] = _OFFERED_MORE
        text = self.cell.event
        for _ in range(row.repeat - 1):
            await conn.inject(flags, text=text, **fields)
        if row.from_invalid:
            sent = await self._send_between(flags, text, src=_INVALID_SOURCE[self.case.family])
        elif row.to_group:
            sent = await self._send_between(flags, text, dst=self.case.target.groups[self.case.family][0])
        elif flags & SYN and self.state in _ONE_SIDED and all(one.response.moves for one in self.every):
            sent = await conn.send(flags, text=text, **fields)
            # What comes with a SYN is queued, and acknowledged later, if at all.
            conn.snd_nxt = sent.segment.seq + 1
        else:
            sent = await conn.inject(flags, text=text, **fields)
        return _Stimulus(placed, sent, payload, before)

    async def _send_between(self, flags: Flags, text: str, **addresses: Any) -> Sent:
        case = self.case
        segment = replace(self.conn.segment(flags), **addresses)
        number, frame = case.station.transmit(segment, case.trace, text)
        line = f"{segment.flags} from {segment.src} to {segment.dst}"
        case.trace.step("send", frame.at_ns, frame=frame, text=text, line=line)
        return Sent(segment, await case.station.stamp(number, frame), frame)

    def _payload(self, placed: Placed, before: Variables) -> bytes:
        if not placed.data:
            return b""
        if _repeats_text(self.row) and self.state is not State.SYN_RECEIVED:
            old = -Seq(placed.seq).since(before.rcv_nxt)
            return (_OLD[-old:] + _TEXT)[: placed.data]
        return _TEXT[: placed.data]

    def _options(self, flags: Flags) -> Sequence[opt.Option] | None:
        if not flags & SYN or self.row.stamped_before is None:
            return None
        options = self.conn.syn_options
        if self.row.stamp is Stamp.NONE:
            return options
        last = (self.conn.tsval if self.conn.has_timestamps else 0) or _TSVAL
        value = last + {Stamp.NEWER: 1000, Stamp.EQUAL: 0, Stamp.OLDER: -1000}[self.row.stamp]
        return (*options, opt.Option(opt.NOP), opt.Option(opt.NOP), opt.timestamps(value))

    async def hold(self) -> None:
        """Segments like the row's wait beyond it, out of order; each may be acknowledged, and brings nothing in."""
        conn = self.conn
        for number in range(self.row.held, 0, -1):
            await conn.inject(
                ACK, seq=conn.snd_nxt + number * len(_TEXT), ack=conn.acked, payload=_TEXT, text="beyond a hole"
            )
            await conn.allow(Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0), within=0.1)

    # The response

    async def judge(self) -> None:
        """Send the segment, and see all that the row says."""
        case, conn = self.case, self.conn
        if self.row.held:
            await self.hold()
        expires_ns = await self._expires_ns(after_s=_RESTART_AFTER_S)
        stimulus = await self.send()
        final = self._final(stimulus)
        self._acknowledged(stimulus)
        if self.row.repeat > 1:
            possible, answer = await self._limited(stimulus), None
        else:
            if final is not None:
                conn.taken_in(snd_nxt=final)
            possible, answer = await self._response(stimulus)
        if answer is not None and answer.segment.flags & SYN and self.state is State.TIME_WAIT:
            self._check_new_iss(answer, stimulus)
            self.conn = conn = conn.reopened(stimulus.sent, answer)
        echo = conn.ts_recent
        if "outstanding" in self.cell.needs:
            await self._not_sent_again(stimulus)
        if answer is not None or self.row.repeat > 1:
            await conn.silence(for_=QUIET_S)
        possible = await self._restarted(possible, expires_ns)
        if self.row.from_invalid:
            await self._not_taken_from_invalid()
        outcome = await reached(case, conn, self.cell, possible, quiet_s=0)
        # A stack may let a handshake end only by what its SYN,ACK carried, whatever came after it.
        conn.ts_recent = echo
        if outcome.next is State.CLOSED:
            await self._application_is_told()
        state, left = outcome.next, self._left(stimulus, final)
        if _has_hole(self.row) and state not in _NO_NUMBERS:
            state, left = await self._fill_hole(stimulus, state)
        if self.row.offers:
            await self._window_counts(state)
        await works(case, conn, state, left)

    def _final(self, stimulus: _Stimulus) -> Seq | None:
        """RCV.NXT after the segment, where every outcome takes it in."""
        if all(one.response.slug == "syn-ack" for one in self.every) and self.state is not State.TIME_WAIT:
            return Seq(stimulus.placed.seq) + 1
        if all(one.response.advances for one in self.every):
            beyond = self.row.held * len(_TEXT)
            return Seq(stimulus.placed.seq) + stimulus.placed.length + beyond
        return None

    def _after(self, response: Response, stimulus: _Stimulus) -> Seq:
        placed = stimulus.placed
        if response.slug in ("syn-ack", "ack-syn"):
            return Seq(placed.seq) + 1
        if response.advances:
            return Seq(placed.seq) + placed.length + self.row.held * len(_TEXT)
        return Seq(stimulus.before.rcv_nxt)

    def _expectations(self, response: Response, stimulus: _Stimulus) -> list[Expectation]:
        """What a response may look like on the wire; none for silence."""
        if response.forms:
            return [one for form in response.forms for one in self._expectations(RESPONSES[form], stimulus)]
        target = replace(stimulus.before, rcv_nxt=int(self._after(response, stimulus)))
        placed = stimulus.placed
        try:
            fields = response.fields(target, placed.seq, placed.ack, placed.length)
        except ValueError:
            return []
        if fields is None:
            return []
        if response.seq == "ISS" and (self.state in _NO_NUMBERS or self.state is State.TIME_WAIT):
            fields = Fields(None, fields.ack, fields.flags)
        flags = functools.reduce(Flags.__or__, (_BITS[name] for name in fields.flags), NO_FLAGS)
        seq = None if fields.seq is None else Seq(fields.seq)
        ack = None if fields.ack is None or not flags & ACK else Seq(fields.ack)
        made = [Expectation(flags, seq=seq, ack=ack, length=0)]
        if flags & RST and not flags & ACK:
            made.append(Expectation(flags | ACK, seq=seq, length=0))
        return made

    def _answers(self, stimulus: _Stimulus) -> list[_Answer]:
        found: dict[Expectation, list[Outcome]] = {}
        parts: list[_Answer] = []
        for outcome in self.every:
            made = self._expectations(outcome.response, stimulus)
            for one in made:
                found.setdefault(one, []).append(outcome)
            if outcome.response.delayed and made:
                on_fin = self._on_the_fin(made[0])
                if on_fin is not None:
                    found.setdefault(on_fin, []).append(outcome)
                if not self.row.held:
                    parts += [_Answer(replace(made[0], ack=ack), (), True) for ack in self._parts(stimulus, made[0])]
        whole = [_Answer(one, tuple(outcomes)) for one, outcomes in found.items()]
        return whole + [one for one in parts if one.expectation not in found]

    def _on_the_fin(self, acknowledgment: Expectation) -> Expectation | None:
        """The target's FIN, sent again, can carry an acknowledgment that is delayed."""
        conn = self.conn
        if not conn.fin_was_seen or not conn.has_acked or conn.fin_seen.end <= conn.acked:
            return None
        return replace(acknowledgment, flags=FIN | ACK, seq=conn.fin_seen.end - 1)

    def _parts(self, stimulus: _Stimulus, whole: Expectation) -> list[Seq]:
        """Numbers inside the segment up to which it may be acknowledged first: behind its SYN, behind its text."""
        seq, flags = Seq(stimulus.placed.seq), stimulus.sent.segment.flags
        behind_syn = seq + bool(flags & SYN)
        found = [behind_syn] if flags & SYN else []
        if flags & FIN and stimulus.payload:
            found.append(behind_syn + len(stimulus.payload))
        return [one for one in found if whole.ack is None or one < whole.ack]

    async def _response(self, stimulus: _Stimulus) -> tuple[list[Outcome], Received | None]:
        """Take what comes; returns the outcomes that go with it, and the segment."""
        case, conn = self.case, self.conn
        answers = self._answers(stimulus)
        silent = [one for one in self.every if one.response.flags is None and not one.response.forms]
        silent += [one for one in self.every if one.response.optional]
        # A SYN can make a target repeat its SYN,ACK at once, which is an answer, and no harmless repetition.
        strict = self.state is State.SYN_RECEIVED and "SYN" in self.row.flags
        if not answers:
            await conn.silence(for_=SILENCE_S, strict=strict)
            return silent, None
        wanted = [one.expectation for one in answers]
        within = self._before_own_timer_s(stimulus) if strict else REACTION_S
        while True:
            if silent:
                taken = await conn.allow(*wanted, within=min(SILENCE_S, within), strict=strict)
            else:
                taken = await conn.expect_any(*wanted, within=within, strict=strict)
            if taken is None:
                await case.station.prove_alive(case.address, case.trace)
                return silent, None
            which, received = taken
            if not answers[which].part:
                break
        fits = [one for one in answers if not one.expectation.differences(received.segment, conn.base)]
        possible = list(dict.fromkeys(outcome for one in fits for outcome in one.outcomes))
        if all(one.response.delayed for one in possible):
            took_s = (received.at_ns - stimulus.sent.at_ns) / SECOND
            case.check_timing("acknowledgment", took_s, _DELAYED_ACK, how="from the segment to its acknowledgment")
        return possible, received

    def _before_own_timer_s(self, stimulus: _Stimulus) -> float:
        """Return for how many seconds a SYN,ACK can only be an answer, and no retransmission by the target's own timer.

        Raises Inconclusive.
        """
        timer = self.case.profile.timers.get("syn-rto" if self.cell.origin == "active" else "syn-ack-rto")
        elapsed_s = (stimulus.sent.at_ns - self.conn.opening_ns) / SECOND
        return only_an_answer_s(FIRST_TIMEOUT_S if timer is None else timer.low_s, elapsed_s, REACTION_S)

    async def _limited(self, stimulus: _Stimulus) -> list[Outcome]:
        """Fewer acknowledgments than segments, and at least one."""
        wanted = self._answers(stimulus)
        if not wanted:
            await self.conn.silence(for_=SILENCE_S)
            return list(self.every)
        taken = await self.conn.expect_any(*(one.expectation for one in wanted))
        count, first = 1, wanted[taken[0]]
        while await self.conn.allow(first.expectation, within=SILENCE_S) is not None:
            count += 1
        if count >= self.row.repeat:
            raise Violation(f"{self.row.repeat} segments without a pause got {count} acknowledgments")
        self.case.note(f"{count} of {self.row.repeat} were acknowledged")
        return list(first.outcomes)

    def _check_new_iss(self, answer: Received, stimulus: _Stimulus) -> None:
        if answer.segment.seq <= Seq(stimulus.before.snd_nxt):
            raise Violation(
                f"the new connection's ISS {int(answer.segment.seq)} is not above {stimulus.before.snd_nxt}, used before"
            )

    def _acknowledged(self, stimulus: _Stimulus) -> None:
        """Follow what the target has taken of the segment's ACK field."""
        ack, conn = stimulus.placed.ack, self.conn
        if ack is None or not conn.syn_was_seen or "RST" in self.row.flags or self.row.seq not in _IN_ORDER:
            return
        if self.state is State.SYN_SENT and "SYN" not in self.row.flags:
            return
        if self.state not in _NO_NUMBERS and Seq(stimulus.before.snd_una) < Seq(ack) <= conn.rcv_nxt:
            conn.taken_in(ack=Seq(ack))

    async def _not_sent_again(self, stimulus: _Stimulus) -> None:
        """What was acknowledged does not come again; a FIN that was not may."""
        conn = self.conn
        ack = conn.acked if conn.has_acked else None
        await conn.silence(for_=_NOT_SENT_AGAIN_S)
        since_ns = stimulus.sent.at_ns + round(_CROSSING_S * SECOND)
        again = [one for one in conn.put_aside if ack is not None and one.segment.seq < ack and one.at_ns > since_ns]
        if again:
            late_s = (again[0].at_ns - stimulus.sent.at_ns) / SECOND
            raise Violation(f"what was acknowledged came again {late_s:.3f} s later")

    # 2 MSL

    async def _expires_ns(self, *, after_s: float = 0) -> int | None:
        """When TIME-WAIT ends by the agent's word, where the row is about that."""
        about_that = any(one.response.slug == "ack-restart" for one in self.every)
        if not about_that or "state" not in self.case.target.capabilities:
            return None
        await self.case.sleep(after_s)
        now_ns = self.case.clock.now_ns()
        left_s = (await self._state_of(self.case.address)).get("expires_s")
        return None if left_s is None else now_ns + round(float(left_s) * SECOND)

    async def _state_of(self, remote_address: str) -> dict[str, Any]:
        case, conn = self.case, self.conn
        return await case.app.call(
            "state",
            family=case.family,
            address=case.remote,
            port=conn.remote_port,
            remote_address=remote_address,
            remote_port=conn.port,
        )

    async def _restarted(self, possible: list[Outcome], before_ns: int | None) -> list[Outcome]:
        """Whether the 2 MSL timer started again, which no segment shows at once."""
        after_ns = None if before_ns is None else await self._expires_ns()
        if before_ns is None or after_ns is None:
            return possible
        restarted = after_ns - before_ns > _RESTART_AFTER_S / 2 * SECOND
        return [one for one in possible if (one.response.slug == "ack-restart") is restarted] or possible

    # What the row leaves behind

    def _left(self, stimulus: _Stimulus, final: Seq | None) -> Left:
        came_with_syn = self.state in _ONE_SIDED and "SYN" in self.row.flags
        if came_with_syn and "ACK" not in self.row.flags:
            return Left(repeat=stimulus.payload, repeat_fin="FIN" in self.row.flags)
        unread = self.unread
        if final is not None and stimulus.payload:
            new = min(len(stimulus.payload), final - Seq(stimulus.before.rcv_nxt))
            unread += stimulus.payload[-new:] + _TEXT * self.row.held
        return Left(unread=unread) if unread else NOTHING_LEFT

    async def _not_taken_from_invalid(self) -> None:
        """An answer could not reach us, so the target's own word says whether the segment was taken."""
        source = _INVALID_SOURCE[self.case.family]
        word = State.parse(str((await self._state_of(source))["state"]))
        if word not in _NO_NUMBERS:
            raise Violation(f"the target has a connection with {source}, in {word}")

    async def _application_is_told(self) -> None:
        """The row's own words for how a connection that was reset looks through a socket."""
        call, arrow, outcome = self.cell.socket.partition(" -> ")
        codes = re.findall(r"\bE[A-Z]+\b", outcome)
        if not arrow or not codes or not self.conn.has_app or self.conn.app.closed:
            return
        app = self.conn.app
        if call == "connect":
            await app.fails("connected", *codes)
        elif self.state in FIN_RECEIVED:
            # The end of the stream was there first, and recv tells it for ever.
            if (error := await app.error()) not in codes:
                raise Violation(f"the application is told {error}, it had to be {' or '.join(codes)}")
        else:
            await app.fails("receive", *codes, count=1)

    async def _fill_hole(self, stimulus: _Stimulus, state: State) -> tuple[State, Left]:
        """Send what lies before the segment: then the segment that was held counts (SHLD-31)."""
        conn, placed = self.conn, stimulus.placed
        if state is State.SYN_RECEIVED:
            return state, NOTHING_LEFT
        missing = _pattern(Seq(placed.seq) - conn.snd_nxt)
        for at in range(0, len(missing), _PIECE):
            await conn.send(ACK, ack=conn.acked, payload=missing[at : at + _PIECE])
        end = Seq(placed.seq) + placed.length
        conn.taken_in(snd_nxt=end)
        if not await self._acknowledged_up_to(end):
            if "FIN" not in self.row.flags:
                raise Violation("the hole is filled, and what lies beyond it is not acknowledged: it was not held")
            # Text is to be held (SHLD-31), of a FIN nothing is said.
            await conn.inject(FIN | ACK, seq=placed.seq, ack=conn.acked, text="the FIN again, which was not held")
            await conn.expect(ACK, seq=conn.rcv_nxt, ack=end, length=0)
        await read(conn, missing + stimulus.payload)
        await self._window_updates()
        if "FIN" in self.row.flags:
            state = {
                State.ESTABLISHED: State.CLOSE_WAIT,
                State.FIN_WAIT_1: State.CLOSING,
                State.FIN_WAIT_2: State.TIME_WAIT,
            }[state]
            await conn.confirm(state)
        return state, NOTHING_LEFT

    async def _acknowledged_up_to(self, end: Seq) -> bool:
        """Take acknowledgments until one covers everything before `end`; whether there was one."""
        conn, clock = self.conn, self.case.clock
        until_ns = clock.now_ns() + round(REACTION_S * SECOND)
        reached_ack: Seq | None = None
        while reached_ack != end:
            left_s = max(0.0, (until_ns - clock.now_ns()) / SECOND)
            taken = await conn.allow(Expectation(ACK, seq=conn.rcv_nxt, length=0), within=left_s)
            if taken is None:
                return False
            reached_ack = taken[1].segment.ack
        return True

    async def _window_updates(self) -> None:
        conn = self.conn
        while await conn.allow(Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0), within=0.05):
            pass

    async def _window_counts(self, state: State) -> None:
        """The application sends more than the old window: as much comes as the window that counts lets through."""
        conn = self.conn
        if state not in (State.ESTABLISHED, State.CLOSE_WAIT):
            return
        data = _pattern(2 * _OFFERED)
        await conn.app.send(data)
        newer = self.row.ack is not Ack.DUPLICATE
        room = len(data) if newer else _OFFERED
        came = 0
        while came < room:
            got = await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)
            came += len(got.segment.payload)
        if came > room:
            raise Violation(f"{came} octets came, the window that counts is {room}")
        if not newer:
            await conn.silence(for_=QUIET_S)
        conn.window = _OFFERED_MORE
        await conn.send(ACK, text="a wide window")
        while came < len(data):
            got = await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)
            came += len(got.segment.payload)
            await conn.send(ACK)


def _pattern(count: int) -> bytes:
    """Octets of which no two neighbouring pieces are alike."""
    return bytes(at % 251 for at in range(count))


def capabilities(cell: Cell, *, wrap: bool = False) -> tuple[str, ...]:
    """What a target must be able to do for the row."""
    found = [_application(cell, wrap=wrap)]
    if "group-address" in cell.needs:
        found.append("group-address")
    if settings(cell):
        found.append("settings")
    return tuple(found)


def _has_hole(row: Segment) -> bool:
    return row.seq is Edge.MIDDLE and row.ack is not Ack.NONE


def _repeats_text(row: Segment) -> bool:
    return bool(row.data) and row.seq in (Edge.OUTSIDE_LEFT, Edge.STRADDLE_LEFT)


def _application(cell: Cell, *, wrap: bool) -> str:
    """How much of an application the row needs: one to be asked, or a port that is open."""
    row, ends = cell.stimulus, {one.next for one in cell.outcomes}
    assert isinstance(row, Segment)
    asks = row.zero_window or row.urgent or row.from_invalid or cell.needs or (wrap and cell.origin == "either")
    # It has to read what came before, or to send what is acknowledged.
    asks = asks or row.offers or row.ack is Ack.DUPLICATE or _repeats_text(row) or _has_hole(row)
    if asks or cell.origin == "active" or not {cell.state, *ends} <= set(_ALONE):
        return "app"
    # Data that arrives must be read, and nothing said about it.
    return "discard-port" if State.ESTABLISHED in (cell.state, *ends) else "open-port"


def settings(cell: Cell) -> dict[str, str]:
    """What has to be set on the target for the row, in a namespace of its own."""
    return {"net.ipv4.tcp_rfc1337": "1"} if cell.profile == "1337" else {}


def wraps(cell: Cell) -> bool:
    """Whether our sequence numbers can pass 2^32 in the row: it has a segment that takes numbers, or goes on afterwards."""
    row = cell.stimulus
    if not cell.runs or not isinstance(row, Segment) or row.from_invalid or row.to_group:
        return False
    takes_numbers = row.data or bool(row.flags & {"SYN", "FIN"})
    if cell.state in _NO_NUMBERS:
        return takes_numbers
    return (
        takes_numbers or cell.state is not State.SYN_SENT or all(one.next is not State.CLOSED for one in cell.outcomes)
    )
