"""The RFC's variables of one connection at our end, and our end's state. No I/O and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from conformance.judge import Base
from conformance.standard.states import State
from conformance.target import HarnessFault
from conformance.tester.own_state import after_receiving, after_sending
from conformance.wire import ACK, FIN, RST, SYN, Segment, Seq
from conformance.wire import options as opt

T = TypeVar("T")
_MOST_SHIFT = 14  # RFC 7323, 2.3


class NotYet(HarnessFault):
    """A case asks a connection for what it does not have at this moment."""


def there(value: T | None, has: str) -> T:
    """Return `value`, or raise NotYet: `has` ends the sentence that begins with `the connection has`."""
    if value is None:
        raise NotYet(f"the connection has {has}")
    return value


@dataclass(frozen=True)
class Offer:
    """The options of our SYN, or SYN,ACK: `mss` in octets (None: the link's), the shift count of the window scale or None."""

    mss: int | None = None
    sack: bool = False
    timestamps: bool = False
    window_scale: int | None = None

    def options(self, link_mss: int) -> tuple[opt.Option, ...]:
        """Return the options of the SYN, all but the timestamps, which every segment has."""
        options = [opt.mss(self.mss or link_mss)]
        if self.sack:
            options.append(opt.sack_permitted())
        if self.window_scale is not None:
            options += [opt.Option(opt.NOP), opt.window_scale(self.window_scale)]
        return tuple(options)


class Variables:
    """The variables of RFC 9293 3.3.1 and our end's state; moved only by segments that were sent and taken."""

    def __init__(self, iss: Seq, syn_options: tuple[opt.Option, ...]) -> None:
        self.iss = iss
        self.snd_nxt = self.snd_una = iss
        self.window = 65535
        """Our window, in octets and without a scale."""
        self.remote_window = 0
        """The target's last window, in octets: scaled where both sides have sent the option (RFC 7323 section 2.3)."""
        self.remote_shift = 0
        self.ts_recent = 0
        self.syn_options = syn_options
        self.state = State.CLOSED
        """Our own end's state, for the ladder."""
        self._irs: Seq | None = None
        self._rcv_nxt: Seq | None = None
        self._acked: Seq | None = None
        self._fin_seen: Segment | None = None
        self._tsval: int | None = None

    @property
    def irs(self) -> Seq:
        """IRS: the number of the target's SYN. Raises NotYet."""
        return there(self._irs, "no IRS: take the target's SYN first, as by expect")

    @property
    def rcv_nxt(self) -> Seq:
        """RCV.NXT: the next number that we expect of the target. Raises NotYet."""
        return there(self._rcv_nxt, "no RCV.NXT: take the target's SYN first, as by expect")

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
        return there(self._acked, "acknowledged nothing of the target's: send an ACK first")

    @property
    def has_acked(self) -> bool:
        """Tell whether we have acknowledged anything."""
        return self._acked is not None

    @property
    def fin_seen(self) -> Segment:
        """The segment that brought the target's FIN. Raises NotYet."""
        return there(self._fin_seen, "no FIN of the target's: take it first, as by expect")

    @property
    def fin_was_seen(self) -> bool:
        """Tell whether the target's FIN was taken."""
        return self._fin_seen is not None

    @property
    def tsval(self) -> int:
        """TSval of our last segment (RFC 7323); set it to offer timestamps. Raises NotYet where none are used."""
        return there(self._tsval, "no timestamps: offer them, to a target that has timestamps")

    @tsval.setter
    def tsval(self, value: int | None) -> None:
        self._tsval = value

    @property
    def has_timestamps(self) -> bool:
        """Tell whether our segments carry timestamps: offered, and not declined by the target's SYN."""
        return self._tsval is not None

    @property
    def base(self) -> Base:
        """The first numbers of both sides, for relative numbers of the target's segments."""
        return Base(self._irs, self.iss)

    @property
    def own_base(self) -> Base:
        """The first numbers of both sides, for relative numbers of our segments."""
        return Base(self.iss, self._irs)

    def base_for(self, segment: Segment) -> Base:
        """Return the base of a segment of the target, which may be its first."""
        return self.base if self.syn_was_seen or not segment.flags & SYN else Base(segment.seq, self.iss)

    def tick(self) -> int:
        """Move TSval on by one, for the next segment, and return it."""
        self._tsval = (self.tsval + 1) % 2**32
        return self._tsval

    def follow_sent(self, segment: Segment) -> bool:
        """Move by a segment of ours that takes part in the conversation; return True where it acknowledges something new."""
        self.state = after_sending(self.state, segment.flags, syn_seen=self.syn_was_seen)
        if segment.flags & RST:
            return False
        if segment.seq <= self.snd_nxt < segment.end:
            self.snd_nxt = segment.end
        return bool(segment.flags & ACK) and self.follow_ack(segment.ack)

    def follow_ack(self, ack: Seq) -> bool:
        """Note an acknowledgment of ours; return True where it is higher than all before."""
        if self._acked is not None and ack <= self._acked:
            return False
        self._acked = ack
        return True

    def follow_taken(self, segment: Segment) -> None:
        """Move by a segment of the target."""
        options, reset = segment.option_list, segment.flags & RST
        if segment.flags & SYN and self._irs is None:
            self._irs = self._rcv_nxt = segment.seq
            self._agree(options)
        if self._rcv_nxt is not None and not reset and segment.seq <= self._rcv_nxt < segment.end:
            self._rcv_nxt = segment.end
        if segment.flags & ACK and self.snd_una < segment.ack <= self.snd_nxt:
            self.snd_una = segment.ack
        self.remote_window = segment.window << (0 if segment.flags & SYN else self.remote_shift)
        stamps = opt.stamps(options)
        if stamps is not None:
            self.ts_recent = stamps[0]
        if segment.flags & FIN:
            self._fin_seen = segment
        self.state = after_receiving(self.state, segment.flags, all_acked=self.snd_una == self.snd_nxt)

    def _agree(self, options: Sequence[opt.Option]) -> None:
        """Take up what both sides have offered, from the options of the target's SYN."""
        shift = opt.find(options, opt.WINDOW_SCALE)
        if shift is not None and len(shift.data) == 1 and opt.find(self.syn_options, opt.WINDOW_SCALE) is not None:
            self.remote_shift = min(shift.data[0], _MOST_SHIFT)
        if opt.find(options, opt.TIMESTAMPS) is None:
            self._tsval = None
