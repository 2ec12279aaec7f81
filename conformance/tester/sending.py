"""The sending half of a connection: segments with their natural numbers, ICMP errors, prepared answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conformance.judge import Base, describe
from conformance.tester.prepared import PreparedAnswers
from conformance.tester.retransmissions import Retransmissions
from conformance.tester.setting import LINK_MSS, Setting
from conformance.tester.stamped import Received, Sent
from conformance.tester.trace import Frame
from conformance.tester.variables import Offer, Variables, there
from conformance.wire import ACK, NO_FLAGS, RST, SYN, Flags, Segment, Seq, icmp
from conformance.wire import options as opt
from conformance.wire.frames import Template


class Sender(Variables):
    """Our sending side of one four-tuple. Its variables move by what `send` sends, and not by `inject`."""

    def __init__(self, setting: Setting, *, port: int, remote_port: int | None, address: str, iss: int | None) -> None:
        number = setting.random.getrandbits(32) if iss is None else iss
        super().__init__(Seq(number), (opt.mss(LINK_MSS[setting.family]),))
        self._setting, self.address, self.port, self._remote_port = setting, address, port, remote_port
        self._repeats = Retransmissions(self, setting.crossing_ns)
        self._answers = PreparedAnswers(setting, self)

    @property
    def remote_port(self) -> int:
        """The target's port. Raises NotYet where the target opens the connection and has not sent its SYN."""
        return there(self._remote_port, "no port of the target: wait for the target's SYN")

    @property
    def has_remote_port(self) -> bool:
        """Tell whether the target's port is known."""
        return self._remote_port is not None

    def offer(self, offer: Offer) -> None:
        """Set the options of our SYN, or SYN,ACK. Timestamps begin anywhere; they are then part of every segment."""
        self.syn_options = offer.options(LINK_MSS[self._setting.family])
        self.tsval = self._setting.random.getrandbits(32) if offer.timestamps else None

    def taken_in(self, *, snd_nxt: Seq | None = None, ack: Seq | None = None) -> None:
        """Count a segment of `inject` as part of the conversation: up to that number, and with that ACK field."""
        if snd_nxt is not None and snd_nxt > self.snd_nxt:
            self.snd_nxt = snd_nxt
        if ack is not None and self.follow_ack(ack):
            self._repeats.acknowledged(ack, self._setting.clock.now_ns())

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
        """Return a segment of this connection; what is not given has its natural value. Nothing is sent.

        `options` stands for all of them; `tsval` is another timestamp for this segment alone, `sack` blocks come on top.
        `wrong` are other fields of Segment. Raises NotYet where the target's port is not known.
        """
        if ack is None:
            ack = self.rcv_nxt if flags & ACK and self.syn_was_seen else Seq(0)
        if options is None:
            options = self._options(flags, tsval, sack)
        return Segment(
            self.address,
            self._setting.remote,
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

    def _options(self, flags: Flags, tsval: int | None, sack: Sequence[tuple[int, int]]) -> tuple[opt.Option, ...]:
        options = self.syn_options if flags & SYN else ()
        if tsval is not None:
            options = (*options, *opt.stamped(tsval, self.ts_recent))
        elif self.has_timestamps and not flags & RST:
            options = (*options, *opt.stamped(self.tick(), self.ts_recent if flags & ACK else 0))
        if sack:
            options = (*options, opt.Option(opt.NOP), opt.Option(opt.NOP), opt.sack(*sack))
        return options

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
        setting, station, line = self._setting, self._setting.station, f"ICMP {error.name}"
        if error == icmp.FRAGMENTATION_NEEDED:
            station.spoil(setting.trace)
        if isinstance(quoting, Segment):
            mac = station.target.mac
            about = Template(mac, mac, quoting.src, quoting.dst).frame(quoting)
        else:
            about = quoting.frame.data
        src = src or setting.address
        message = icmp.encode(error, src, setting.remote, rest, icmp.quotation(about, octets))
        number, frame = station.transmit_icmp(src, setting.remote, message, setting.trace, text or line)
        await station.stamp(number, frame)
        setting.trace.step("send", frame.at_ns, frame=frame, text=text, line=line)
        return frame

    async def _transmit(self, segment: Segment, text: str, fragment: int | None, *, moves: bool) -> Sent:
        station = self._setting.station
        number, frame = station.transmit(segment, self._setting.trace, text, fragment=fragment)
        if moves:
            self._follow_sent(segment)  # before what it brings about, which may be here already, is looked at
        at_ns = await station.stamp(number, frame)
        self._repeats.left(at_ns)
        self._write_sent(segment, self.own_base, frame, text)
        return Sent(segment, at_ns, frame)

    def prepare(self, *, when: Flags, reply: Flags = ACK, payload: bytes = b"", text: str = "prepared answer") -> None:
        """Have an answer leave from the read callback itself as soon as a segment with exactly those flags (PSH aside) comes.

        Its seq is `snd_nxt` and its ack covers the segment that it answers; options are those of any other segment. It counts
        as sent. Raises HarnessFault where the case has sent too much.
        """
        self._answers.add(when, self.segment(reply, payload=payload, seq=0, ack=0), text)

    def _follow_sent(self, segment: Segment) -> None:
        before, now_ns = self.state, self._setting.clock.now_ns()
        if self.follow_sent(segment):
            self._repeats.acknowledged(segment.ack, now_ns)
        if self.state is not before:
            self._setting.trace.state(now_ns, self.state.value, "wire", side="tester")

    def _write_sent(self, segment: Segment, base: Base, frame: Frame, text: str) -> None:
        line = describe(segment, base)
        self._setting.trace.step("send", frame.at_ns, frame=frame, text=text, line=line)
