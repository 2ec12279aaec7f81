"""The tester's view of one four-tuple: numbers, segments out, segments in."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from conformance.judge import Base, Difference, Expectation, Violation, describe
from conformance.standard.states import State
from conformance.target import HarnessFault
from conformance.tester.clock import SECOND
from conformance.tester.trace import Frame
from conformance.wire import ACK, CWR, FIN, NO_FLAGS, PSH, RST, SYN, Flags, Segment, Seq, icmp
from conformance.wire import options as opt
from conformance.wire.frames import PreparedFrame, Template
from conformance.wire.ip import IpHeader, ip_header

if TYPE_CHECKING:
    from conformance.case.app import AppSocket
    from conformance.case.case import Case

T = TypeVar("T")

# A reaction without a timer of its own is owed at once; an acknowledgment may be delayed by less than 0.5 s (MUST-40).
REACTION_S = 1.0
# No document says how long the first timeout may be at most; stacks begin with up to 3 s (RFC 2988).
RETRANSMITTED_S = 10.0
# Linux sends its SYN again within milliseconds of an unacceptable ACK: that copy may leave one processor of the target while
# another takes our answer. No stack is known to do so with a SYN,ACK.
_SAME_MOMENT_NS = 1_000_000
_NOT_PSH = 0xFF & ~int(PSH)
# What a repetition may lack: CWR is of the first new data alone (RFC 3168, 6.1.2).
_NOT_REPEATED = PSH | CWR


@dataclass(frozen=True)
class Received:
    """A segment from the target with the kernel's receive stamp."""

    segment: Segment
    at_ns: int
    frame: Frame

    @property
    def ip(self) -> IpHeader:
        """The IP header that it came with."""
        return ip_header(self.frame.data)

    def has_option(self, kind: int) -> bool:
        """Tell whether the segment has a TCP option of that kind."""
        return opt.find(self.segment.option_list, kind) is not None

    def option(self, kind: int) -> opt.Option:
        """Return the segment's first TCP option of that kind. Raises Violation where it has none."""
        option = opt.find(self.segment.option_list, kind)
        if option is None:
            raise Violation(f"there is no {opt.name_of(kind)} option")
        return option

    @property
    def stamps(self) -> tuple[int, int]:
        """TSval and TSecr. Raises Violation where there is no whole Timestamps option."""
        stamps = opt.stamps(self.segment.option_list)
        if stamps is None:
            raise Violation("there is no whole Timestamps option")
        return stamps


@dataclass(frozen=True)
class Sent:
    """A segment of ours with the kernel's transmit stamp."""

    segment: Segment
    at_ns: int
    frame: Frame


@dataclass(frozen=True)
class Offer:
    """What our SYN, or SYN,ACK, offers: `mss` in octets (None: the link's), the shift count of the window scale or None."""

    mss: int | None = None
    sack: bool = False
    timestamps: bool = False
    window_scale: int | None = None


class NotYet(HarnessFault):
    """A case asks a connection for what it does not have at this moment."""


def _there(value: T | None, has: str) -> T:
    if value is None:
        raise NotYet(f"the connection has {has}")
    return value


class _Prepared(NamedTuple):
    """An answer that only lacks seq and ack."""

    when: int
    reply: Segment
    frame: PreparedFrame
    text: str


class _Answered(NamedTuple):
    """A prepared answer that left, and is not written down yet."""

    prepared: _Prepared
    seq: Seq
    ack: int
    data: bytes
    number: int
    at_ns: int


class Connection:
    """One four-tuple of a case. Numbers have the RFC's names and only move by what was really sent and received.

    `snd_nxt`, `snd_una`, `iss` are the tester's; `rcv_nxt`, `irs` are None until the target's SYN was taken.
    """

    def __init__(
        self, case: Case, *, port: int, remote_port: int | None, address: str | None = None, iss: int | None = None
    ) -> None:
        self._case, self.address, self.port, self._remote_port = case, address or case.address, port, remote_port
        self.iss = Seq(case.random.getrandbits(32) if iss is None else iss)
        self.snd_nxt = self.snd_una = self.iss
        self._irs: Seq | None = None
        self._rcv_nxt: Seq | None = None
        self._acked: Seq | None = None
        self.window = 65535
        self.remote_window = 0
        """What the target last offered, in octets: scaled where both sides have sent the option (RFC 7323 section 2.3)."""
        self.remote_shift = 0
        self._tsval: int | None = None
        self.ts_recent = 0
        self.syn_options: tuple[opt.Option, ...] = (opt.mss(1460 if case.family == 4 else 1440),)
        self._fin_seen: Segment | None = None
        self.opening_ns = 0
        self.round_trip_s = 0.0
        """What the target can measure in the handshake, from its SYN to our answer; known once it is complete."""
        self.state = State.CLOSED
        """Our own end's state, as far as the ladder needs it."""
        self._listener: AppSocket | None = None
        self._app: AppSocket | None = None
        self._queue: deque[Received] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._prepared: list[_Prepared] = []
        self._answered: deque[_Answered] = deque()
        self._stamping: set[asyncio.Task[int]] = set()
        self._aside: list[Received] = []
        self._history: list[Segment] = []
        self._acks: list[tuple[Seq, int]] = []
        self._left_ns = 0
        if remote_port is not None:
            self._bind(remote_port)
        else:
            case.station.receive_open(self.address, port, self._on_segment)

    def offer(self, offer: Offer) -> None:
        """Set the options of our SYN, or SYN,ACK. Timestamps begin anywhere; they are then part of every segment."""
        size = offer.mss or (1460 if self._case.family == 4 else 1440)
        options = [opt.mss(size)]
        if offer.sack:
            options.append(opt.sack_permitted())
        if offer.window_scale is not None:
            options += [opt.Option(opt.NOP), opt.window_scale(offer.window_scale)]
        self.syn_options = tuple(options)
        self.tsval = self._case.random.getrandbits(32) if offer.timestamps else None

    # What there is only from some moment on

    @property
    def app(self) -> AppSocket:
        """The target's socket of this connection. Raises NotYet."""
        return _there(
            self._app, "no socket of the application: accept() it, or open the connection by connect or drive_to"
        )

    @app.setter
    def app(self, socket: AppSocket) -> None:
        self._app = socket

    @property
    def has_app(self) -> bool:
        """Tell whether the target's application holds a socket of this connection."""
        return self._app is not None

    @property
    def listener(self) -> AppSocket:
        """The target's listening socket that this connection is opened through. Raises NotYet."""
        return _there(self._listener, "no listening socket: begin it by listen, or set `listener`")

    @listener.setter
    def listener(self, socket: AppSocket) -> None:
        self._listener = socket

    @property
    def has_listener(self) -> bool:
        """Tell whether this connection is opened through a listening socket of the target."""
        return self._listener is not None

    @property
    def remote_port(self) -> int:
        """The target's port. Raises NotYet where the target opens the connection and has not sent its SYN."""
        return _there(self._remote_port, "no port of the target: wait for the target's SYN")

    @property
    def has_remote_port(self) -> bool:
        """Tell whether the target's port is known."""
        return self._remote_port is not None

    @property
    def irs(self) -> Seq:
        """IRS: the number of the target's SYN. Raises NotYet."""
        return _there(self._irs, "no IRS: take the target's SYN first, as by expect")

    @property
    def rcv_nxt(self) -> Seq:
        """RCV.NXT: the next number that we expect of the target. Raises NotYet."""
        return _there(self._rcv_nxt, "no RCV.NXT: take the target's SYN first, as by expect")

    @rcv_nxt.setter
    def rcv_nxt(self, number: Seq) -> None:
        self._rcv_nxt = number

    @property
    def syn_was_seen(self) -> bool:
        """Tell whether the target's SYN was taken: then IRS and RCV.NXT are known."""
        return self._irs is not None

    @property
    def acked(self) -> Seq:
        """The highest acknowledgment that we sent; the target may retransmit what lies beyond it. Raises NotYet."""
        return _there(self._acked, "acknowledged nothing of the target's: send an ACK first")

    @property
    def has_acked(self) -> bool:
        """Tell whether we have acknowledged anything."""
        return self._acked is not None

    @property
    def fin_seen(self) -> Segment:
        """The segment that brought the target's FIN. Raises NotYet."""
        return _there(self._fin_seen, "no FIN of the target's: take it first, as by expect")

    @property
    def fin_was_seen(self) -> bool:
        """Tell whether the target's FIN was taken."""
        return self._fin_seen is not None

    @property
    def tsval(self) -> int:
        """TSval of our last segment (RFC 7323); set it to offer timestamps. Raises NotYet where none are used."""
        return _there(self._tsval, "no timestamps: offer them, to a target that has timestamps")

    @tsval.setter
    def tsval(self, value: int | None) -> None:
        self._tsval = value

    @property
    def has_timestamps(self) -> bool:
        """Tell whether our segments carry timestamps: offered, and not declined by the target's SYN."""
        return self._tsval is not None

    # Numbers

    @property
    def base(self) -> Base:
        """Where relative numbers of the target's segments begin."""
        return Base(self._irs, self.iss)

    def _bind(self, remote_port: int) -> None:
        self._remote_port = remote_port
        ends = self.address, self.port, self._case.remote, remote_port
        self._case.station.receive(*ends, self._on_segment)
        self._case.station.receive_icmp(*ends, self._on_icmp)

    def next_incarnation(self, *, iss: Seq | None = None) -> Connection:
        """A new connection on the same four-tuple; what comes from now on belongs to it."""
        other = Connection(self._case, port=self.port, remote_port=self._remote_port, address=self.address, iss=iss)
        other.syn_options, other._listener = self.syn_options, self._listener
        return other

    def reopened(self, syn: Sent, answer: Received) -> Connection:
        """The connection that a SYN of ours opened anew on this four-tuple; `answer` is the target's SYN,ACK to it."""
        other = self.next_incarnation(iss=syn.segment.seq)
        stamps = opt.stamps(syn.segment.option_list)
        other.tsval = None if stamps is None else stamps[0]
        other._moved_by(syn.segment)
        other._take(answer, "a new connection", "")
        return other

    def taken_in(self, *, snd_nxt: Seq | None = None, ack: Seq | None = None) -> None:
        """The target has taken a segment of `inject` as part of the conversation: up to that number, with that ACK field."""
        if snd_nxt is not None and snd_nxt > self.snd_nxt:
            self.snd_nxt = snd_nxt
        if ack is not None and (self._acked is None or ack > self.acked):
            self._acked = ack
            self._acks.append((ack, self._case.clock.now_ns()))

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
        tsval: int | None = None,
        sack: Sequence[tuple[int, int]] = (),
        **wrong: Any,
    ) -> Segment:
        """A segment of this connection; what is not given has its natural value. Nothing is sent.

        `options` stands for all of them; `tsval` is another timestamp for this segment alone, `sack` blocks come on top.
        """
        if self._remote_port is None:
            raise ValueError("the target has not opened this connection yet, so its port is not known")
        if ack is None:
            ack = self.rcv_nxt if flags & ACK and self._rcv_nxt is not None else Seq(0)
        if options is None:
            options = self.syn_options if flags & SYN else ()
            if tsval is not None:
                options = (*options, *opt.stamped(tsval, self.ts_recent))
            elif self._tsval is not None and not flags & RST:
                self.tsval = (self.tsval + 1) % 2**32
                options = (*options, *opt.stamped(self.tsval, self.ts_recent if flags & ACK else 0))
            if sack:
                options = (*options, opt.Option(opt.NOP), opt.Option(opt.NOP), opt.sack(*sack))
        return Segment(
            self.address,
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

    async def send(
        self, flags: Flags = NO_FLAGS, *, text: str = "", fragment: int | None = None, **fields: Any
    ) -> Sent:
        """Send a segment (fields as of `segment`) that takes part in the conversation: `snd_nxt` moves over it.

        `fragment` is how many octets each IP fragment carries; unset, the segment goes whole.
        """
        return await self._transmit(self.segment(flags, **fields), text, fragment, moves=True)

    async def inject(
        self, flags: Flags = NO_FLAGS, *, text: str = "", fragment: int | None = None, **fields: Any
    ) -> Sent:
        """Send a segment that the target must not take as part of the conversation: no number of ours moves."""
        return await self._transmit(self.segment(flags, **fields), text, fragment, moves=False)

    async def send_icmp(
        self,
        error: icmp.IcmpError,
        *,
        quoting: Received | Segment,
        rest: int = 0,
        octets: int | None = None,
        src: str | None = None,
        text: str = "",
    ) -> Frame:
        """Send an ICMP error about a segment that the target sent, and return the frame with its stamp.

        `quoting` is that segment as it came, or one made up as if it had. `rest` is the second word of the ICMP header: the
        MTU of FRAGMENTATION_NEEDED, the pointer of PARAMETER_PROBLEM (over IPv4 in its first octet). `octets` is how much is
        quoted beyond the IP header (what the standards ask for at least). `src` is the router that says so: our own address,
        unless given. Raises ValueError where the family has no such error.
        """
        case, mac, said = self._case, self._case.target.mac, f"ICMP {error.name}"
        case.spoiled |= error == icmp.FRAGMENTATION_NEEDED
        if isinstance(quoting, Segment):
            about = Template(mac, mac, quoting.src, quoting.dst).frame(quoting)
        else:
            about = quoting.frame.data
        src = src or case.address
        message = icmp.encode(error, src, case.remote, rest, icmp.quotation(about, octets))
        number, frame = case.station.transmit_icmp(src, case.remote, message, case.trace, text or said)
        await case.station.stamp(number, frame)
        case.trace.step("send", frame.at_ns, frame=frame, text=text, line=said)
        return frame

    async def _transmit(self, segment: Segment, text: str, fragment: int | None, *, moves: bool) -> Sent:
        number, frame = self._case.station.transmit(segment, self._case.trace, text, fragment=fragment)
        if moves:
            self._moved_by(segment)  # before what it brings about, which may have come already, is looked at
        self._left_ns = at_ns = await self._case.station.stamp(number, frame)
        self._note(segment, Base(self.iss, self._irs), frame, text)
        return Sent(segment, at_ns, frame)

    def _note(self, segment: Segment, base: Base, frame: Frame, text: str) -> None:
        line = describe(segment, base)
        self._case.trace.step("send", frame.at_ns, frame=frame, text=text, line=line)

    def _moved_by(self, segment: Segment) -> None:
        if segment.flags & RST:
            self._enter(State.CLOSED)
            return
        if segment.seq <= self.snd_nxt < segment.end:
            self.snd_nxt = segment.end
        if segment.flags & ACK and (self._acked is None or segment.ack > self.acked):
            self._acked = segment.ack
            self._acks.append((segment.ack, self._case.clock.now_ns()))
        if segment.flags & SYN:
            self._enter(State.SYN_RECEIVED if self._irs is not None else State.SYN_SENT)
        if segment.flags & FIN:
            self._enter(_AFTER_OUR_FIN.get(self.state, self.state))

    def prepare(self, *, when: Flags, reply: Flags = ACK, payload: bytes = b"", text: str = "prepared answer") -> None:
        """Have an answer leave from the read callback itself as soon as a segment with exactly those flags (PSH aside) comes.

        Its seq is `snd_nxt` and its ack covers the segment that it answers; options are those of any other segment. It counts as
        sent. Raises HarnessFault where the case has sent too much.
        """
        segment, station = self.segment(reply, payload=payload, seq=0, ack=0), self._case.station
        self._case.trace.sends(hasty=self._case.target.virtual)  # in the read callback is no place for a refusal
        self._prepared.append(_Prepared(when & _NOT_PSH, segment, PreparedFrame(station.render(segment)), text))
        station.prepare(self.address, self.port, segment.dst, segment.dport, self._answer)

    # In

    def _on_segment(self, data: bytes, segment: Segment, frame: Frame) -> None:
        while self._answered:
            self._note_answer(self._answered.popleft(), self._base_for(segment))
        if self._remote_port is None:
            self._bind(segment.sport)
        self._queue.append(Received(segment, frame.at_ns, frame))
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _on_icmp(self, message: icmp.IcmpMessage, frame: Frame) -> None:
        """Note an ICMP error from the target about what we sent; no expectation looks at it."""
        text = f"ICMP type {message.type} code {message.code}"
        frame.comment = text
        self._case.trace.step("receive", frame.at_ns, frame=frame, ok=True, text=text, expected="")

    def _answer(self, flags: int, ack: int) -> bool:
        """Send the first answer that is prepared for a segment with those flags; returns whether there are more."""
        for prepared in self._prepared:
            if flags & _NOT_PSH == prepared.when:
                seq, at_ns = self.snd_nxt, self._case.clock.now_ns()
                data = prepared.frame.patched(seq, ack)
                number = self._case.station.transmit_raw(data)
                self.snd_nxt += prepared.reply.length
                self._prepared.remove(prepared)
                self._answered.append(_Answered(prepared, seq, ack, data, number, at_ns))
                break
        return bool(self._prepared)

    def _note_answer(self, answered: _Answered, base: Base) -> None:
        """Write down a prepared answer that left."""
        text = answered.prepared.text
        reply = replace(answered.prepared.reply, seq=answered.seq, ack=Seq(answered.ack))
        self._moved_by(reply)
        frame = self._case.trace.frame(answered.at_ns, answered.data, inbound=False, comment=text)
        self._note(reply, Base(base.ack, base.seq), frame, text)
        stamping = asyncio.get_running_loop().create_task(self._case.station.stamp(answered.number, frame))
        self._stamping.add(stamping)
        stamping.add_done_callback(self._stamping.discard)

    async def _next(self, until_ns: int) -> Received | None:
        """The next segment that is not a harmless retransmission, None when none came in time."""
        while True:
            while self._queue:
                received = self._queue.popleft()
                if not self._harmless(received):
                    return received
                self._set_aside(received, "retransmission of what we have not acknowledged")
            self._arrived = asyncio.get_running_loop().create_future()
            if not await self._case.clock.wait(self._arrived, until_ns) and not self._queue:
                return None

    def _harmless(self, received: Received) -> bool:
        """Whether the target repeats what it sent and we left unacknowledged, as it may at any time, and says nothing new."""
        segment = received.segment
        crossing_ns = max(self._case.crossing_ns, _SAME_MOMENT_NS if segment.flags & (SYN | ACK) == SYN else 0)
        return (
            bool(segment.length)
            and not segment.flags & RST
            and self._rcv_nxt is not None
            and segment.end <= self.rcv_nxt
            # What left the target before our acknowledgment came there has crossed it.
            and not any(segment.end <= ack and at_ns + crossing_ns < received.at_ns for ack, at_ns in self._acks)
            and (not segment.flags & ACK or segment.ack <= self.snd_una)
            and (self._repeats(segment) or self._joins(segment))
        )

    def _has_crossed_our_ack(self, received: Received, first: Seq) -> bool:
        """Whether it repeats what lies before `first` and was acknowledged when it was on its way already."""
        acked = self._acked is not None and received.segment.end <= self.acked
        return acked and received.segment.seq < first and self._harmless(received)

    def _has_crossed(self, received: Received) -> bool:
        """Whether it is a retransmission that left before the last segment of ours came there, and so is no answer to it."""
        return received.at_ns <= self._left_ns + self._case.crossing_ns and self._harmless(received)

    def _repeats(self, segment: Segment) -> bool:
        """Whether it is a segment that came before, or a part of one."""
        return any(
            segment.seq >= old.seq and segment.end <= old.end and not (segment.flags ^ old.flags) & ~_NOT_REPEATED
            for old in self._history
        )

    def _joins(self, segment: Segment) -> bool:
        """Whether it is several segments that came before, in one."""
        at, flags = segment.seq, NO_FLAGS
        while at < segment.end:
            old = next((one for one in self._history if one.seq <= at < one.end), None)
            if old is None:
                return False
            at, flags = old.end, flags | old.flags
        return at == segment.end and not (segment.flags ^ flags) & ~_NOT_REPEATED

    @property
    def put_aside(self) -> tuple[Received, ...]:
        """Retransmissions that came while something else was waited for, and were no answer to anything."""
        return tuple(self._aside)

    def _set_aside(self, received: Received, why: str) -> None:
        received.frame.comment = why
        self._aside.append(received)
        self._case.trace.step("receive", received.at_ns, frame=received.frame, ok=True, text=why, expected="")

    def _take(self, received: Received, text: str, expected: str) -> None:
        segment = received.segment
        options = segment.option_list
        if segment.flags & SYN and self._irs is None:
            self._irs, self.opening_ns = segment.seq, received.at_ns
            self.rcv_nxt = segment.seq
            self._agree(options)
        if self._rcv_nxt is not None and not segment.flags & RST and segment.seq <= self.rcv_nxt < segment.end:
            self.rcv_nxt = segment.end
        if segment.length and not segment.flags & RST:
            self._history.append(segment)
        if segment.flags & ACK and self.snd_una < segment.ack <= self.snd_nxt:
            self.snd_una = segment.ack
        self.remote_window = segment.window << (0 if segment.flags & SYN else self.remote_shift)
        stamps = opt.stamps(options)
        if stamps is not None:
            self.ts_recent = stamps[0]
        if segment.flags & FIN:
            self._fin_seen = segment
        self._entered_by(segment)
        line = describe(segment, self.base)
        received.frame.comment = f"expected: {expected}" if expected else text
        self._case.trace.step("receive", received.at_ns, frame=received.frame, ok=True, text=line, expected=expected)

    def _agree(self, options: Sequence[opt.Option]) -> None:
        """Take up what both sides have offered, from the options of the target's SYN."""
        shift = opt.find(options, opt.WINDOW_SCALE)
        if shift is not None and len(shift.data) == 1 and opt.find(self.syn_options, opt.WINDOW_SCALE) is not None:
            self.remote_shift = min(shift.data[0], 14)
        if opt.find(options, opt.TIMESTAMPS) is None:
            self.tsval = None

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

    async def expect_ack(self, *, label: str = "", within: float = REACTION_S, **fields: Any) -> Received:
        """Take the next segment, which must be an ACK without data for all that we sent. Raises Violation.

        `fields` of Expectation come on top: timestamps, options, window.
        """
        numbers = {"seq": self.rcv_nxt, "ack": self.snd_nxt, "length": 0}
        return await self.expect(ACK, within=within, label=label, **{**numbers, **fields})

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
            await self._nothing_came(self._said(wanted, within))
        assert taken is not None
        return taken

    async def allow(self, *wanted: Expectation, within: float, strict: bool = False) -> tuple[int, Received] | None:
        """As `expect_any`, where nothing at all is allowed too: None when no segment came. Raises Violation."""
        said = self._said(wanted, within)
        until_ns = self._case.clock.now_ns() + round(within * SECOND)
        received = await (self._next_of_any_kind(until_ns) if strict else self._next(until_ns))
        if received is None:
            return None
        misses = [one.differences(received.segment, self._base_for(received.segment)) for one in wanted]
        for which, differences in enumerate(misses):
            if not differences:
                self._take(received, "", said)
                return which, received
        raise self._unexpected(received, said, min(misses, key=len))

    def _said(self, wanted: Sequence[Expectation], within: float) -> str:
        return f"{' or '.join(one.describe(self.base) for one in wanted)} within {within:g} s"

    def _base_for(self, segment: Segment) -> Base:
        return self.base if self._irs is not None or not segment.flags & SYN else Base(segment.seq, self.iss)

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

    async def expect_retransmission(
        self, of: Received, *following: Received, within: float = RETRANSMITTED_S
    ) -> Received:
        """Take the next segment, which must carry again what `of` carried: flags, seq and data. Raises Violation.

        What the target had sent right behind it (`following`, in order) may be joined to it. A repetition of what we have
        acknowledged since, which has crossed our acknowledgment, is put aside.
        """
        said = f"retransmission of {describe(of.segment, self.base)} within {within:g} s"
        self._drop_aside()
        until_ns = self._case.clock.now_ns() + round(within * SECOND)
        received = await self._next_of_any_kind(until_ns)
        while received is not None and self._has_crossed_our_ack(received, of.segment.seq):
            self._set_aside(received, "retransmission that has crossed our acknowledgment")
            received = await self._next_of_any_kind(until_ns)
        if received is None:
            await self._nothing_came(said)
        assert received is not None
        flags, payload, misses = NO_FLAGS, b"", []
        for one in (of, *following):
            flags, payload = flags | one.segment.flags & ~PSH, payload + one.segment.payload
            wanted = Expectation(flags, seq=of.segment.seq, payload=payload)
            misses.append(wanted.differences(received.segment, self.base))
        if all(misses):
            raise self._unexpected(received, said, min(misses, key=len))
        self._take(received, "", said)
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
            if not await self._case.clock.wait(self._arrived, until_ns) and not self._queue:
                return None
        return self._queue.popleft()

    async def silence(self, *, for_: float = 0.3, strict: bool = False) -> None:
        """See that no segment comes for that long, from a target proven alive afterwards. Raises Violation, TargetGone.

        Retransmissions of what we left unacknowledged are put aside; where `strict`, only those that came before the last
        segment of ours had left.
        """
        case = self._case
        started = case.clock.now_ns()
        until_ns = started + round(for_ * SECOND)
        received = await (self._next_of_any_kind(until_ns) if strict else self._next(until_ns))
        while strict and received is not None and self._has_crossed(received):
            self._set_aside(received, "retransmission that has crossed our last segment")
            received = await self._next_of_any_kind(until_ns)
        said = f"no segment for {for_:g} s"
        if received is not None:
            raise self._unexpected(received, said, (Difference("segment", "none", str(received.segment.flags)),))
        await case.station.prove_alive(case.address, case.trace)
        case.trace.step("silence", started, until_ns=until_ns, ok=True, text=said)

    # Opening

    async def complete(self) -> None:
        """Finish the handshake behind the target's SYN,ACK, or its SYN, and have its application's socket. Raises Violation."""
        if self._listener is not None:
            self._measured(await self.send(ACK))
            if self._case.has_app:
                self.app = await self.listener.accept()
            return
        self._measured(await self.send(SYN | ACK))
        await self.expect_ack()
        await self.app.connected()

    def _measured(self, answer: Sent) -> None:
        self.round_trip_s = (answer.at_ns - self.opening_ns) / SECOND + self._case.wire_round_trip_s

    # Data

    async def deliver(self, data: bytes) -> None:
        """Send data in order, which the target must acknowledge and hand to its application. Raises Violation."""
        await self.send(ACK | PSH, payload=data)
        await self.expect_ack(label="the data acknowledged:")
        came = await self.app.receive(len(data))
        if came != data:
            raise Violation(f"the application read {came!r}, sent was {data!r}")

    async def collect(self, data: bytes) -> None:
        """Have the application send data, which must come as the next segment, and acknowledge it. Raises Violation."""
        await self.app.send(data)
        await self.expect(ACK, seq=self.rcv_nxt, ack=self.snd_nxt, payload=data)
        await self.send(ACK)

    async def collect_segments(self, data: bytes, *, within: float = REACTION_S) -> list[Received]:
        """Have the application send data, and acknowledge each segment that it comes in, in order and without a gap.

        Returns the segments. Raises Violation.
        """
        sending = asyncio.ensure_future(self.app.send(data))
        try:
            came: list[Received] = []
            at = 0
            while at < len(data):
                received = await self.expect(ACK, seq=self.rcv_nxt, ack=self.snd_nxt, within=within)
                payload = received.segment.payload
                if not payload or payload != data[at : at + len(payload)]:
                    raise Violation(f"expected octets {at} to {len(data)} of what was sent, came {len(payload)} others")
                came.append(received)
                at += len(payload)
                await self.send(ACK)
            await sending
        finally:
            sending.cancel()
        return came

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
        came: list[Received] = []
        quiet_ns = round((quiet + self._case.wire_round_trip_s) * SECOND)
        while True:
            received = await self._next_of_any_kind(self._case.clock.now_ns() + quiet_ns)
            if received is None:
                return came
            self._take(received, describe(received.segment, self.base), "")
            came.append(received)

    # States

    async def probe(self) -> None:
        """Have the target say its numbers: an old octet is answered by <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>.

        RFC 9293 section 3.10.7.4, first check; the form is a keep-alive's with one octet (section 3.8.4), which most stacks
        do not limit in rate. From one whose profile documents such a limit (RFC 5961 section 7) a second may be needed. It
        ends before RCV.NXT and acknowledges nothing new, so that a stack that takes a segment at the very edge learns
        nothing from it either. In TIME-WAIT it may restart the 2MSL timeout.
        """
        ack = self.rcv_nxt if self._acked is None else self.acked
        answer = Expectation(ACK, seq=self.rcv_nxt, ack=self.snd_nxt, length=0, label="answer to the probe:")
        limit = self._case.profile.timers.get("challenge-ack-interval")
        for within in (limit.high_s, None) if limit else (None,):
            await self.inject(ACK, seq=self.snd_nxt - 2, ack=ack, payload=b"\0", text="probe: an old octet")
            if within is None:
                await self.expect_any(answer)
            elif await self.allow(answer, within=within):
                break

    async def confirm(self, state: State, *, probe: bool = True) -> None:
        """See that the target is in `state`: by a probe that leaves it there, and by the agent's own word. Raises Violation."""
        await self._case.confirm(self, state, probe=probe)


def resets(*, seq: Seq, label: str = "") -> tuple[Expectation, Expectation]:
    """The forms of a reset that answers a segment with an ACK field: as the standard has it, and with an ACK field of its own."""
    return Expectation(RST, seq=seq, label=label), Expectation(RST | ACK, seq=seq, label=label)


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
