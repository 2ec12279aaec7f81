"""The tester's view of one four-tuple: what it sends, and what it expects of the target."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from conformance.judge import Base, Difference, Expectation, Violation, describe, repetition
from conformance.record.case import FieldDifference
from conformance.tester.clock import SECOND
from conformance.tester.prepared import Answered
from conformance.tester.sending import Sender
from conformance.tester.setting import Setting
from conformance.tester.stamped import Received
from conformance.tester.trace import Frame
from conformance.wire import ACK, FIN, NO_FLAGS, PSH, RST, SYN, Flags, Segment, Seq, icmp

# A reaction without a timer of its own is owed at once; an acknowledgment may be delayed by less than 0.5 s (MUST-40).
REACTION_S = 1.0
# No document says how long the first timeout may be at most; stacks begin with up to 3 s (RFC 2988).
RETRANSMITTED_S = 10.0


class WireConnection(Sender):
    """One four-tuple as the wire shows it. Its variables have the RFC's names and move only by what was sent and received."""

    def __init__(
        self,
        setting: Setting,
        *,
        port: int,
        remote_port: int | None,
        address: str | None = None,
        iss: int | None = None,
    ) -> None:
        super().__init__(setting, port=port, remote_port=remote_port, address=address or setting.address, iss=iss)
        self.opening_ns = 0
        """When the target's SYN arrived."""
        self._queue: deque[Received] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._stamping: set[asyncio.Task[int]] = set()
        self._aside: list[Received] = []
        if remote_port is not None:
            self._bind(remote_port)
        else:
            setting.station.sorter.receive_open(self.address, port, self._on_segment)

    def _bind(self, remote_port: int) -> None:
        self._remote_port = remote_port
        ends = self.address, self.port, self._setting.remote, remote_port
        self._setting.station.sorter.receive(*ends, self._on_segment)
        self._setting.station.sorter.receive_icmp(*ends, self._on_icmp)

    def _on_segment(self, data: bytes, segment: Segment, frame: Frame) -> None:
        for answered in self._answers.drain():
            self._write_answer(answered, self.base_for(segment))
        if not self.has_remote_port:
            self._bind(segment.sport)
        self._queue.append(Received(segment, frame.at_ns, frame))
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _on_icmp(self, message: icmp.IcmpMessage, frame: Frame) -> None:
        """Note an ICMP error from the target about what we sent; no expectation looks at it."""
        text = f"ICMP type {message.type} code {message.code}"
        frame.comment = text
        self._setting.trace.step("receive", frame.at_ns, frame=frame, ok=True, text=text, expected="")

    def _write_answer(self, answered: Answered, base: Base) -> None:
        """Record a prepared answer that left, and ask for its stamp."""
        reply, setting = answered.segment(), self._setting
        self._follow_sent(reply)
        frame = setting.trace.frame(answered.at_ns, answered.data, inbound=False, comment=answered.text)
        self._write_sent(reply, Base(base.ack, base.seq), frame, answered.text)
        stamping = asyncio.get_running_loop().create_task(setting.station.stamp(answered.number, frame))
        self._stamping.add(stamping)
        stamping.add_done_callback(self._stamping.discard)

    async def _next(self, until_ns: int) -> Received | None:
        """Return the next segment that is not a harmless retransmission, None when none comes in time."""
        while True:
            while self._queue:
                received = self._queue.popleft()
                if not self._repeats.is_harmless(received.segment, received.at_ns):
                    return received
                self._set_aside(received, "retransmission of what we have not acknowledged")
            self._arrived = asyncio.get_running_loop().create_future()
            if not await self._setting.clock.wait(self._arrived, until_ns) and not self._queue:
                return None

    @property
    def put_aside(self) -> tuple[Received, ...]:
        """Retransmissions that came while something else was waited for, and were no answer to anything."""
        return tuple(self._aside)

    def _set_aside(self, received: Received, why: str) -> None:
        received.frame.comment = why
        self._aside.append(received)
        self._setting.trace.step("receive", received.at_ns, frame=received.frame, ok=True, text=why, expected="")

    def _take(self, received: Received, text: str, expected: str) -> None:
        segment, before, trace = received.segment, self.state, self._setting.trace
        if segment.flags & SYN and not self.syn_was_seen:
            self.opening_ns = received.at_ns
        self.follow_taken(segment)
        self._repeats.taken(segment)
        if self.state is not before:
            trace.state(self._setting.clock.now_ns(), self.state.value, "wire", side="tester")
        line = describe(segment, self.base)
        received.frame.comment = f"expected: {expected}" if expected else text
        trace.step("receive", received.at_ns, frame=received.frame, ok=True, text=line, expected=expected)

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

    async def expect_ack(self, *, label: str = "", within: float = REACTION_S, **fields: Any) -> Received:
        """Take the next segment, which must be an ACK without data for all that we sent. Raises Violation.

        `fields` of Expectation come on top: timestamps, options, window.
        """
        numbers = {"seq": self.rcv_nxt, "ack": self.snd_nxt, "length": 0}
        return await self.expect(ACK, within=within, label=label, **{**numbers, **fields})

    async def expect_fin(self, *, label: str = "", within: float = REACTION_S, **fields: Any) -> Received:
        """Take the next segment, which must be a FIN,ACK without data, in order, for all that we sent. Raises Violation.

        `fields` of Expectation come on top, as with `expect_ack`.
        """
        numbers = {"seq": self.rcv_nxt, "ack": self.snd_nxt, "length": 0}
        return await self.expect(FIN | ACK, within=within, label=label, **{**numbers, **fields})

    async def expect_reset(self, *, seq: Seq, label: str = "") -> Received:
        """Take the next segment, which must be a reset with that number, whether it has an ACK field or not. Raises Violation."""
        return (await self.expect_any(*resets(seq=seq, label=label)))[1]

    async def expect_any(
        self, *wanted: Expectation, within: float = REACTION_S, strict: bool = False
    ) -> tuple[int, Received]:
        """Take the next segment, which must be one of those; returns which, and the segment. Raises Violation.

        Retransmissions of what we left unacknowledged are put aside, unless `strict`.
        """
        taken = await self.allow(*wanted, within=within, strict=strict)
        if taken is None:
            raise await self._nothing_came(self._described(wanted, within))
        return taken

    async def allow(self, *wanted: Expectation, within: float, strict: bool = False) -> tuple[int, Received] | None:
        """As `expect_any`, where nothing at all is allowed too: None when no segment came. Raises Violation."""
        expected = self._described(wanted, within)
        until_ns = self._setting.clock.now_ns() + round(within * SECOND)
        received = await (self._next_of_any_kind(until_ns) if strict else self._next(until_ns))
        if received is None:
            return None
        misses = [one.differences(received.segment, self.base_for(received.segment)) for one in wanted]
        for which, differences in enumerate(misses):
            if not differences:
                self._take(received, "", expected)
                return which, received
        raise self._unexpected(received, expected, min(misses, key=len))

    def _described(self, wanted: Sequence[Expectation], within: float) -> str:
        return f"{' or '.join(one.describe(self.base) for one in wanted)} within {within:g} s"

    async def _nothing_came(self, expected: str) -> Violation:
        setting = self._setting
        setting.trace.step("missing", setting.clock.now_ns(), ok=False, expected=expected, text="nothing came")
        await setting.station.prove_alive(setting.address, setting.trace)
        return Violation(f"nothing came where {expected} was owed")

    def _unexpected(self, received: Received, expected: str, differences: Sequence[Difference]) -> Violation:
        line = describe(received.segment, self.base_for(received.segment))
        received.frame.comment = f"BROKE: expected {expected}"
        self._setting.trace.step(
            "receive",
            received.at_ns,
            frame=received.frame,
            ok=False,
            text=line,
            expected=expected,
            differences=[FieldDifference(*difference) for difference in differences],
        )
        miss = "; ".join(map(str, differences))
        return Violation(f"expected {expected}, came {line}", f"Nearest miss: {miss}")

    async def expect_retransmission(
        self, of: Received, *following: Received, within: float = RETRANSMITTED_S
    ) -> Received:
        """Take the next segment, which must be `of` again, but for what a document lets differ. Raises Violation.

        What the target had sent right behind it (`following`, in order) may be joined to it. A repetition of what we have
        acknowledged since, which has crossed our acknowledgment, is put aside.
        """
        expected = f"retransmission of {describe(of.segment, self.base)} within {within:g} s"
        self._drop_aside()
        until_ns = self._setting.clock.now_ns() + round(within * SECOND)
        received = await self._next_of_any_kind(until_ns)
        while received is not None and self._repeats.crossed_our_ack(received.segment, received.at_ns, of.segment.seq):
            self._set_aside(received, "retransmission that has crossed our acknowledgment")
            received = await self._next_of_any_kind(until_ns)
        if received is None:
            raise await self._nothing_came(expected)
        flags, payload, misses = NO_FLAGS, b"", []
        moment = received.segment.flags & (repetition.OF_THE_MOMENT & ~PSH)
        for sent in (of, *following):
            flags, payload = flags | sent.segment.flags & ~repetition.OF_THE_MOMENT, payload + sent.segment.payload
            wanted = Expectation(flags | moment, seq=of.segment.seq, payload=payload)
            misses.append(wanted.differences(received.segment, self.base))
        missed = min(misses, key=len) or repetition.differences(of.segment, received.segment, of.ip, received.ip)
        if missed:
            raise self._unexpected(received, expected, missed)
        self._take(received, "", expected)
        return received

    async def expect_retransmissions(self, of: Received, within: Sequence[float]) -> list[int]:
        """Take one retransmission of `of` for each of those waits in seconds; the stamps of all of them in ns, `of` first.

        Raises Violation.
        """
        again = [await self.expect_retransmission(of, within=seconds) for seconds in within]
        return [of.at_ns, *(one.at_ns for one in again)]

    def _drop_aside(self) -> None:
        """Retransmissions put aside while something else was waited for count: hand them out again first."""
        self._queue.extendleft(reversed(self._aside))
        self._aside.clear()

    async def _next_of_any_kind(self, until_ns: int) -> Received | None:
        while not self._queue:
            self._arrived = asyncio.get_running_loop().create_future()
            if not await self._setting.clock.wait(self._arrived, until_ns) and not self._queue:
                return None
        return self._queue.popleft()

    async def silence(self, *, for_: float = 0.3, strict: bool = False) -> None:
        """See that no segment comes for that long, from a target proven alive afterwards. Raises Violation, TargetGone.

        Retransmissions of what we left unacknowledged are put aside; where `strict`, only those that came before the last
        segment of ours had left.
        """
        setting = self._setting
        started = setting.clock.now_ns()
        until_ns = started + round(for_ * SECOND)
        received = await (self._next_of_any_kind(until_ns) if strict else self._next(until_ns))
        while strict and received is not None and self._repeats.crossed_our_last(received.segment, received.at_ns):
            self._set_aside(received, "retransmission that has crossed our last segment")
            received = await self._next_of_any_kind(until_ns)
        expected = f"no segment for {for_:g} s"
        if received is not None:
            raise self._unexpected(received, expected, (Difference("segment", "none", str(received.segment.flags)),))
        await setting.station.prove_alive(setting.address, setting.trace)
        setting.trace.step("silence", started, until_ns=until_ns, ok=True, text=expected)

    async def expect_flight(self, *, quiet: float = 0.1, within: float = REACTION_S) -> list[Received]:
        """Take the data that comes in order, until none comes for `quiet` seconds; nothing is acknowledged. Raises Violation.

        The first segment is owed `within` that many seconds. Retransmissions are put aside.
        """
        flight: list[Received] = []
        while True:
            following = Expectation(ACK, seq=self.rcv_nxt, ack=self.snd_nxt, label="data:")
            if not flight:
                flight.append((await self.expect_any(following, within=within))[1])
            elif (more := await self.allow(following, within=quiet)) is not None:
                flight.append(more[1])
            else:
                return flight

    async def burst(self, *, quiet: float = 0.1) -> list[Received]:
        """Take all that comes, new or repeated, until nothing comes for `quiet` seconds; nothing of it is judged.

        What a wire adds to a round trip comes on top of `quiet`.
        """
        arrived: list[Received] = []
        quiet_ns = round((quiet + self._setting.wire_round_trip_s) * SECOND)
        while True:
            received = await self._next_of_any_kind(self._setting.clock.now_ns() + quiet_ns)
            if received is None:
                return arrived
            self._take(received, describe(received.segment, self.base), "")
            arrived.append(received)

    async def next_segment(self, *, within: float) -> Received | None:
        """Return the next segment of any kind, or None when none comes for `within` seconds.

        It is not judged, and no variable of ours moves. What a wire adds to a round trip comes on top.
        """
        wait_s = within + self._setting.wire_round_trip_s
        return await self._next_of_any_kind(self._setting.clock.now_ns() + round(wait_s * SECOND))

    async def probe(self) -> None:
        """Have the target say its numbers: an old octet is answered by <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>.

        RFC 9293 section 3.10.7.4, first check; the form is a keep-alive's with one octet (section 3.8.4), which most stacks
        do not limit in rate. From one whose profile documents such a limit (RFC 5961 section 7) a second may be needed. It
        ends before RCV.NXT and acknowledges nothing new, so that a stack that takes a segment at the very edge learns
        nothing from it either. In TIME-WAIT it may restart the 2MSL timeout.
        """
        ack = self.acked if self.has_acked else self.rcv_nxt
        answer = Expectation(ACK, seq=self.rcv_nxt, ack=self.snd_nxt, length=0, label="answer to the probe:")
        limit_s = self._setting.challenge_ack_s
        for within in (limit_s, None) if limit_s is not None else (None,):
            await self.inject(ACK, seq=self.snd_nxt - 2, ack=ack, payload=b"\0", text="probe: an old octet")
            if within is None:
                await self.expect_any(answer)
            elif await self.allow(answer, within=within):
                break


def resets(*, seq: Seq, label: str = "") -> tuple[Expectation, Expectation]:
    """Return the forms of a reset after a segment with an ACK field: the standard's, and one with an ACK field of its own."""
    return Expectation(RST, seq=seq, label=label), Expectation(RST | ACK, seq=seq, label=label)
