"""The tester's view of one four-tuple: numbers, segments out, segments in."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from conformance.judge import Base, Difference, Expectation, Violation, describe
from conformance.standard.states import State
from conformance.tester.clock import SECOND
from conformance.tester.trace import Frame
from conformance.wire import ACK, FIN, NO_FLAGS, PSH, RST, SYN, Flags, Segment, Seq
from conformance.wire import options as opt

if TYPE_CHECKING:
    from conformance.tester.app import AppSocket
    from conformance.tester.case import Case

# A reaction without a timer of its own is owed at once; an acknowledgment may be delayed by less than 0.5 s (MUST-40).
REACTION_S = 1.0


@dataclass(frozen=True)
class Received:
    """A segment from the target with the kernel's receive stamp."""

    segment: Segment
    at_ns: int
    frame: Frame


@dataclass(frozen=True)
class Sent:
    """A segment of ours with the kernel's transmit stamp."""

    segment: Segment
    at_ns: int
    frame: Frame


@dataclass
class _Prepared:
    when: Flags
    reply: Callable[[Segment], Segment]
    text: str


class Connection:
    """One four-tuple of a case. Numbers have the RFC's names and only move by what was really sent and received.

    `snd_nxt`, `snd_una`, `iss` are the tester's; `rcv_nxt`, `irs` are None until the target's SYN was taken.
    """

    def __init__(self, case: Case, *, port: int, remote_port: int | None, iss: int | None = None) -> None:
        self._case, self.port, self.remote_port = case, port, remote_port
        self.iss = Seq(random.getrandbits(32) if iss is None else iss)
        self.snd_nxt = self.snd_una = self.iss
        self.irs: Seq | None = None
        self.rcv_nxt: Seq | None = None
        self.acked: Seq | None = None
        """The highest acknowledgment that we sent: what lies beyond it, the target may retransmit."""
        self.window = 65535
        self.remote_window = 0
        self.tsval: int | None = None
        """Set to offer timestamps (RFC 7323); moves on by one with each segment."""
        self.ts_recent = 0
        self.syn_options: tuple[opt.Option, ...] = (opt.mss(1460 if case.family == 4 else 1440),)
        self.fin_seen: Segment | None = None
        self.state = State.CLOSED
        """Our own end's state, as far as the ladder needs it."""
        self.listener: AppSocket | None = None
        self.app: AppSocket | None = None
        self._queue: deque[Received] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._prepared: list[_Prepared] = []
        self._aside: list[Received] = []
        self._history: list[Segment] = []
        if remote_port is not None:
            self._bind(remote_port)
        else:
            case.station.receive_open(case.address, port, self._on_segment)

    # Numbers

    @property
    def base(self) -> Base:
        """Where relative numbers of the target's segments begin."""
        return Base(self.irs, self.iss)

    def _bind(self, remote_port: int) -> None:
        self.remote_port = remote_port
        self._case.station.receive(self._case.address, self.port, self._case.remote, remote_port, self._on_segment)

    def next_incarnation(self, *, iss: Seq | None = None) -> Connection:
        """A new connection on the same four-tuple; what comes from now on belongs to it."""
        other = Connection(self._case, port=self.port, remote_port=self.remote_port, iss=iss)
        other.syn_options, other.listener = self.syn_options, self.listener
        return other

    # Out

    def segment(
        self,
        flags: Flags = NO_FLAGS,
        *,
        seq: Seq | int | None = None,
        ack: Seq | int | None = None,
        payload: bytes = b"",
        window: int | None = None,
        options: Sequence[opt.Option] | bytes | None = None,
        **wrong: Any,
    ) -> Segment:
        """A segment of this connection; what is not given has its natural value. Nothing is sent."""
        if self.remote_port is None:
            raise ValueError("the target has not opened this connection yet, so its port is not known")
        if ack is None:
            ack = self.rcv_nxt if flags & ACK and self.rcv_nxt is not None else Seq(0)
        if options is None:
            options = self.syn_options if flags & SYN else ()
            if self.tsval is not None and not flags & RST:
                self.tsval += 1
                options = (
                    *options,
                    opt.Option(opt.NOP),
                    opt.Option(opt.NOP),
                    opt.timestamps(self.tsval, self.ts_recent),
                )
        return Segment(
            self._case.address,
            self._case.remote,
            self.port,
            self.remote_port,
            self.snd_nxt if seq is None else Seq(seq),
            Seq(ack),
            flags,
            self.window if window is None else window,
            options=options if isinstance(options, bytes) else opt.encode(options),
            payload=payload,
            **wrong,
        )

    async def send(self, flags: Flags = NO_FLAGS, *, text: str = "", **fields: Any) -> Sent:
        """Send a segment (fields as of `segment`) that takes part in the conversation: `snd_nxt` moves over it."""
        segment = self.segment(flags, **fields)
        sent = await self._transmit(segment, text)
        self._moved_by(segment)
        return sent

    async def inject(self, flags: Flags = NO_FLAGS, *, text: str = "", **fields: Any) -> Sent:
        """Send a segment that the target must not take as part of the conversation: no number of ours moves."""
        return await self._transmit(self.segment(flags, **fields), text)

    async def _transmit(self, segment: Segment, text: str) -> Sent:
        number, frame = self._write(segment, text)
        return Sent(segment, await self._case.station.stamp(number, frame), frame)

    def _write(self, segment: Segment, text: str) -> tuple[int, Frame]:
        number, frame = self._case.station.transmit(segment, self._case.trace, text)
        line = describe(segment, Base(self.iss, self.irs))
        self._case.trace.step("send", frame.at_ns, frame=frame, text=f"{text}: {line}" if text else line)
        return number, frame

    def _moved_by(self, segment: Segment) -> None:
        if segment.flags & RST:
            self._enter(State.CLOSED)
            return
        if segment.seq <= self.snd_nxt < segment.end:
            self.snd_nxt = segment.end
        if segment.flags & ACK and (self.acked is None or segment.ack > self.acked):
            self.acked = segment.ack
        if segment.flags & SYN:
            self._enter(State.SYN_RECEIVED if self.irs is not None else State.SYN_SENT)
        if segment.flags & FIN:
            self._enter(_AFTER_OUR_FIN.get(self.state, self.state))

    def prepare(self, *, when: Flags, reply: Flags = ACK, payload: bytes = b"", text: str = "prepared answer") -> None:
        """Have an answer leave from the read callback itself as soon as a segment with exactly those flags (PSH aside) comes.

        Its seq is `snd_nxt` and its ack covers the segment that it answers; options are those of any other segment.
        """
        template = self.segment(reply, payload=payload, ack=0)

        def answer(came: Segment) -> Segment:
            return replace(template, ack=came.end, seq=self.snd_nxt)

        self._prepared.append(_Prepared(when & ~PSH, answer, text))

    # In

    def _on_segment(self, data: bytes, segment: Segment, frame: Frame) -> None:
        for prepared in self._prepared:
            if segment.flags & ~PSH == prepared.when:
                self._prepared.remove(prepared)
                reply = prepared.reply(segment)
                self._write(reply, prepared.text)
                self._moved_by(reply)
                break
        if self.remote_port is None:
            self._bind(segment.sport)
        self._queue.append(Received(segment, frame.at_ns, frame))
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    async def _next(self, until_ns: int) -> Received | None:
        """The next segment that is not a harmless retransmission, None when none came in time."""
        while True:
            while self._queue:
                received = self._queue.popleft()
                if not self._harmless(received.segment):
                    return received
                self._set_aside(received, "retransmission of what we have not acknowledged")
            self._arrived = asyncio.get_running_loop().create_future()
            if not await self._case.clock.wait(self._arrived, until_ns) and not self._queue:
                return None

    def _harmless(self, segment: Segment) -> bool:
        """Whether the target repeats what it sent and we left unacknowledged, as it may at any time, and says nothing new."""
        return (
            bool(segment.length)
            and not segment.flags & RST
            and self.rcv_nxt is not None
            and segment.end <= self.rcv_nxt
            and (self.acked is None or segment.end > self.acked)
            and segment.ack <= self.snd_una
            and any(
                segment.seq >= old.seq and segment.end <= old.end and not (segment.flags ^ old.flags) & ~PSH
                for old in self._history
            )
        )

    def _set_aside(self, received: Received, why: str) -> None:
        received.frame.comment = why
        self._aside.append(received)
        self._case.trace.step("receive", received.at_ns, frame=received.frame, ok=True, text=why, expected="")

    def _take(self, received: Received, text: str, expected: str) -> None:
        segment = received.segment
        if segment.flags & SYN and self.irs is None:
            self.irs = segment.seq
            self.rcv_nxt = segment.seq
        if self.rcv_nxt is not None and not segment.flags & RST and segment.seq <= self.rcv_nxt < segment.end:
            self.rcv_nxt = segment.end
        if segment.length and not segment.flags & RST:
            self._history.append(segment)
        if segment.flags & ACK and self.snd_una < segment.ack <= self.snd_nxt:
            self.snd_una = segment.ack
        self.remote_window = segment.window
        stamps = opt.find(segment.option_list, opt.TIMESTAMPS)
        if stamps is not None and len(stamps.data) == 8:
            self.ts_recent = int.from_bytes(stamps.data[:4], "big")
        if segment.flags & FIN:
            self.fin_seen = segment
        self._entered_by(segment)
        line = describe(segment, self.base)
        received.frame.comment = f"expected: {expected}" if expected else text
        self._case.trace.step("receive", received.at_ns, frame=received.frame, ok=True, text=line, expected=expected)

    def _entered_by(self, segment: Segment) -> None:
        """Follow Figure 5 for our own end, for the ladder."""
        if segment.flags & RST:
            self._enter(State.CLOSED)
            return
        if self.state is State.SYN_SENT and segment.flags & SYN:
            self._enter(State.ESTABLISHED if segment.flags & ACK else State.SYN_RECEIVED)
        elif self.state is State.SYN_RECEIVED and segment.flags & ACK:
            self._enter(State.ESTABLISHED)
        if self.snd_una == self.snd_nxt:
            self._enter(_AFTER_ACK_OF_OUR_FIN.get(self.state, self.state))
        if segment.flags & FIN:
            self._enter(_AFTER_THEIR_FIN.get(self.state, self.state))

    def _enter(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._case.trace.state(self._case.clock.now_ns(), state.value, "wire", side="tester")

    async def expect(
        self,
        flags: Flags | None = None,
        *,
        within: float = REACTION_S,
        label: str = "",
        **fields: Any,
    ) -> Received:
        """Take the next segment, which must be as said (fields of Expectation). Raises Violation.

        Retransmissions of what we left unacknowledged are put aside. Where nothing comes in time, the target is first
        proven alive (TargetGone otherwise): what a living target owes and does not give is a violation.
        """
        return (await self.expect_any(Expectation(flags, label=label, **fields), within=within))[1]

    async def expect_any(self, *wanted: Expectation, within: float = REACTION_S) -> tuple[int, Received]:
        """Take the next segment, which must be one of those; returns which, and the segment. Raises Violation."""
        clock = self._case.clock
        said = f"{' or '.join(one.describe(self.base) for one in wanted)} within {within:g} s"
        received = await self._next(clock.now_ns() + round(within * SECOND))
        if received is None:
            await self._nothing_came(said)
        assert received is not None
        misses = [one.differences(received.segment, self._base_for(received.segment)) for one in wanted]
        for which, differences in enumerate(misses):
            if not differences:
                self._take(received, "", said)
                return which, received
        raise self._unexpected(received, said, min(misses, key=len))

    def _base_for(self, segment: Segment) -> Base:
        return self.base if self.irs is not None or not segment.flags & SYN else Base(segment.seq, self.iss)

    async def _nothing_came(self, said: str) -> None:
        case = self._case
        case.trace.step("missing", case.clock.now_ns(), ok=False, expected=said, text="nothing came")
        await case.station.prove_alive(case.address, case.trace)
        raise Violation(f"nothing came where {said} was owed")

    def _unexpected(self, received: Received, said: str, differences: Sequence[Difference]) -> Violation:
        line = describe(received.segment, self._base_for(received.segment))
        received.frame.comment = f"BROKE: expected {said}"
        self._case.trace.step(
            "receive",
            received.at_ns,
            frame=received.frame,
            ok=False,
            text=line,
            expected=said,
            differences=[one._asdict() for one in differences],
        )
        miss = "; ".join(map(str, differences))
        return Violation(f"expected {said}, came {line}", f"Nearest miss: {miss}")

    async def expect_retransmission(self, of: Received, *, within: float) -> Received:
        """Take the next segment, which must carry again what `of` carried: flags, seq and data. Raises Violation."""
        said = f"retransmission of {describe(of.segment, self.base)} within {within:g} s"
        self._drop_aside()
        until_ns = self._case.clock.now_ns() + round(within * SECOND)
        received = await self._next_of_any_kind(until_ns)
        if received is None:
            await self._nothing_came(said)
        assert received is not None
        wanted = Expectation(of.segment.flags & ~PSH, seq=of.segment.seq, payload=of.segment.payload)
        differences = wanted.differences(received.segment, self.base)
        if differences:
            raise self._unexpected(received, said, differences)
        self._take(received, "", said)
        return received

    def _drop_aside(self) -> None:
        """Retransmissions put aside while something else was waited for count: hand them out again first."""
        self._queue.extendleft(reversed(self._aside))
        self._aside.clear()

    async def _next_of_any_kind(self, until_ns: int) -> Received | None:
        while not self._queue:
            self._arrived = asyncio.get_running_loop().create_future()
            if not await self._case.clock.wait(self._arrived, until_ns) and not self._queue:
                return None
        return self._queue.popleft()

    async def silence(self, *, for_: float = 0.3, strict: bool = False) -> None:
        """See that no segment comes for that long, from a target proven alive afterwards. Raises Violation, TargetGone.

        Retransmissions of what we left unacknowledged are put aside, unless `strict`.
        """
        case = self._case
        started = case.clock.now_ns()
        until_ns = started + round(for_ * SECOND)
        received = await (self._next_of_any_kind(until_ns) if strict else self._next(until_ns))
        said = f"no segment for {for_:g} s"
        if received is not None:
            raise self._unexpected(received, said, (Difference("segment", "none", str(received.segment.flags)),))
        await case.station.prove_alive(case.address, case.trace)
        case.trace.step("silence", started, until_ns=until_ns, ok=True, text=said)

    # States

    async def probe(self) -> None:
        """Have the target say its numbers: an old octet is answered by <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>.

        RFC 9293 section 3.10.7.4, first check; the form is a keep-alive's with one octet (section 3.8.4), which no stack
        limits in rate. It ends before RCV.NXT and acknowledges nothing new, so that a stack that takes a segment at the
        very edge learns nothing from it either. In TIME-WAIT it may restart the 2MSL timeout.
        """
        ack = self.rcv_nxt if self.acked is None else self.acked
        await self.inject(ACK, seq=self.snd_nxt - 2, ack=ack, payload=b"\0", text="probe: an old octet")
        await self.expect(ACK, seq=self.rcv_nxt, ack=self.snd_nxt, length=0, label="answer to the probe:")

    async def confirm(self, state: State, *, probe: bool = True) -> None:
        """See that the target is in `state`: by a probe that leaves it there, and by the agent's own word. Raises Violation."""
        await self._case.confirm(self, state, probe=probe)


_AFTER_OUR_FIN = {
    State.SYN_RECEIVED: State.FIN_WAIT_1,
    State.ESTABLISHED: State.FIN_WAIT_1,
    State.CLOSE_WAIT: State.LAST_ACK,
}
_AFTER_ACK_OF_OUR_FIN = {
    State.FIN_WAIT_1: State.FIN_WAIT_2,
    State.CLOSING: State.TIME_WAIT,
    State.LAST_ACK: State.CLOSED,
}
_AFTER_THEIR_FIN = {
    State.ESTABLISHED: State.CLOSE_WAIT,
    State.FIN_WAIT_1: State.CLOSING,
    State.FIN_WAIT_2: State.TIME_WAIT,
}
