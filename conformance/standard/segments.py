"""Describe a segment by its place, never by numbers.

Its first octet lies relative to the target's receive window, its ACK field relative to what the target has sent;
`Segment.place` makes the numbers. All numbers are the target's: SND.UNA is its oldest octet that is not acknowledged.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final

MODULUS: Final = 1 << 32


class Edge(enum.Enum):
    """The place of a segment of SEG.LEN numbers; the window is RCV.NXT =< n < RCV.NXT+RCV.WND of the target."""

    NATURAL = "natural"
    """The next number of an undisturbed peer: RCV.NXT; before there is one, the tester's own."""
    ZERO = "zero"
    """0, as a peer without a connection writes it in a RST."""
    OUTSIDE_LEFT = "outside-left"
    """The last number is RCV.NXT-1: a repetition of what was taken in last. Without any number SEQ=RCV.NXT-1."""
    STRADDLE_LEFT = "straddle-left"
    """The first half is old, the second new: SEQ=RCV.NXT-SEG.LEN/2."""
    LEFT_EDGE = "left-edge"
    """SEQ=RCV.NXT."""
    MIDDLE = "middle"
    """SEQ=RCV.NXT+RCV.WND/2: in the window, with a hole before it."""
    RIGHT_EDGE = "right-edge"
    """SEQ=RCV.NXT+RCV.WND-1: the last number of the window."""
    STRADDLE_RIGHT = "straddle-right"
    """The second half lies beyond the window: SEQ=RCV.NXT+RCV.WND-SEG.LEN/2, not left of RCV.NXT."""
    OUTSIDE_RIGHT = "outside-right"
    """SEQ=RCV.NXT+RCV.WND: the first number beyond the window."""


class Ack(enum.Enum):
    """The place of a segment's ACK field. In CLOSED and LISTEN nothing was sent, so any number serves."""

    NONE = "none"
    """The ACK bit is off."""
    NATURAL = "natural"
    """SND.NXT: everything, a FIN too."""
    UNA = "una"
    """SND.UNA: nothing new."""
    DUPLICATE = "duplicate"
    """SND.UNA-1: less than was acknowledged before, and no older than RFC 5961 allows."""
    OLD = "old"
    """SND.UNA-MAX.SND.WND-1: just older than RFC 5961 allows."""
    BEYOND = "beyond"
    """SND.NXT+1: something not yet sent."""
    AT_ISS = "below-or-at-iss"
    """ISS: not even the SYN."""
    PART = "part"
    """ISS+1: the SYN, and not the data that came with it."""
    COVERS_FIN = "covers-fin"
    """SND.NXT, while a FIN is the last thing sent."""
    NOT_COVERING_FIN = "not-covering-fin"
    """SND.NXT-1: everything but the FIN."""


class Stamp(enum.Enum):
    """The Timestamps option (RFC 7323) of a segment, relative to the last value that the target saw."""

    NONE = "none"
    NEWER = "newer"
    EQUAL = "equal"
    OLDER = "older"


@dataclass(frozen=True, slots=True)
class Variables:
    """The target's sequence variables (RFC 9293, 3.3.1; MAX.SND.WND: RFC 5961, 5.2), each modulo 2^32.

    In CLOSED, LISTEN and SYN-SENT there is no RCV.NXT: give the tester's own next number for it.
    """

    iss: int
    snd_una: int
    snd_nxt: int
    rcv_nxt: int
    rcv_wnd: int
    max_snd_wnd: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A segment's numbers: SEG.SEQ, SEG.ACK (None with the ACK bit off), octets of data, SEG.LEN."""

    seq: int
    ack: int | None
    data: int
    length: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that the tester writes, by its place.

    `zero_window`: the target's own receive window is closed. `offers`: SEG.WND is larger than before.
    `urgent`: SEG.UP points behind the segment's data. `stamp`: its Timestamps option; `stamped_before`: whether the
    connection was opened with that option (None: either). `held`: so many segments like it wait beyond it, out of
    order. `repeat`: it is sent so many times without a pause. `other_security`: it carries another security
    compartment. `to_group`: it is addressed to a broadcast or multicast address. `from_invalid`: its source address is
    invalid.
    """

    slug: str
    flags: frozenset[str]
    seq: Edge
    ack: Ack
    data: bool = False
    zero_window: bool = False
    offers: bool = False
    urgent: bool = False
    stamp: Stamp = Stamp.NONE
    stamped_before: bool | None = None
    held: int = 0
    repeat: int = 1
    other_security: bool = False
    to_group: bool = False
    from_invalid: bool = False

    @property
    def leaves_hole(self) -> bool:
        """Return True if it lies in the window with something missing before it, and can be held."""
        return self.seq is Edge.MIDDLE and self.ack is not Ack.NONE

    @property
    def repeats_text(self) -> bool:
        """Return True if some of its text was taken in before."""
        return self.data and self.seq in (Edge.OUTSIDE_LEFT, Edge.STRADDLE_LEFT)

    def place(self, target: Variables, data: int = 100) -> Placed:
        """Return the numbers of this segment with `data` octets of text (if it has text; at least 2) for these variables."""
        data = data if self.data else 0
        length = data + len(self.flags & {"SYN", "FIN"})
        return Placed(self._seq(target, length), self._ack(target), data, length)

    def _seq(self, target: Variables, length: int) -> int:
        window = target.rcv_wnd
        offset = {
            Edge.NATURAL: 0,
            Edge.ZERO: -target.rcv_nxt,
            Edge.OUTSIDE_LEFT: -max(length, 1),
            Edge.STRADDLE_LEFT: -(length // 2),
            Edge.LEFT_EDGE: 0,
            Edge.MIDDLE: window // 2,
            Edge.RIGHT_EDGE: window - 1,
            Edge.STRADDLE_RIGHT: max(0, window - length // 2),
            Edge.OUTSIDE_RIGHT: window,
        }[self.seq]
        return (target.rcv_nxt + offset) % MODULUS

    def _ack(self, target: Variables) -> int | None:
        if self.ack is Ack.NONE:
            return None
        number = {
            Ack.NATURAL: target.snd_nxt,
            Ack.UNA: target.snd_una,
            Ack.DUPLICATE: target.snd_una - 1,
            Ack.OLD: target.snd_una - target.max_snd_wnd - 1,
            Ack.BEYOND: target.snd_nxt + 1,
            Ack.AT_ISS: target.iss,
            Ack.PART: target.iss + 1,
            Ack.COVERS_FIN: target.snd_nxt,
            Ack.NOT_COVERING_FIN: target.snd_nxt - 1,
        }[self.ack]
        return number % MODULUS
