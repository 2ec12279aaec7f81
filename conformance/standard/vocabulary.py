"""The words that the cells are written in: what is done to a target, and what it may answer.

1. A stimulus is a segment, a call of the application, or a timer that runs out. Each has one slug.
2. A segment is described by where it lies, never by numbers: its first octet relative to the target's receive
   window, its ACK field relative to what the target has sent. `Segment.place` makes the numbers.
3. A response is a segment by the RFC's own formulas (`<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`), or silence, or what a
   call returns. `Response.fields` makes the numbers.
4. All numbers are the target's: SND.UNA is the oldest octet of the target's that is not acknowledged.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from conformance.standard.states import SYNCHRONIZED, State

_MODULUS: Final = 1 << 32


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
    """The number that a segment acknowledges. In CLOSED and LISTEN nothing was sent, so any number serves."""

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
        """Return this segment's numbers for these variables, with `data` octets of text (at least 2) if it has text."""
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
        return (target.rcv_nxt + offset) % _MODULUS

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
        return number % _MODULUS


@dataclass(frozen=True, slots=True)
class Call:
    """A call of the application (RFC 9293, 3.9.1). `how` tells two calls of one name apart."""

    slug: str
    name: str
    how: str = ""


@dataclass(frozen=True, slots=True)
class Timeout:
    """A timer of the target that runs out."""

    slug: str
    name: str


Stimulus = Segment | Call | Timeout


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a response segment: SEQ, ACK (None: the field is not significant), control bits.

    `seq` is None if the document leaves it open.
    """

    seq: int | None
    ack: int | None
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Response:
    """An allowed answer of a target.

    `flags` is None if no segment is sent; PSH is never compared, and a RST may also carry ACK where the formula
    has none. `seq` and `ack` are formulas: SND.NXT is taken before the response itself, RCV.NXT after the stimulus.
    `optional`: silence will do as well. `delayed`: up to 0.5 s later, or on a segment with data (MUST-40).
    `text`: it carries data. `advances`: RCV.NXT has moved over what was accepted (None: either). `forms`: slugs of
    which any one will do. `keeps`: the state does not change, `moves`: it does. `leads`: the states that can follow.
    """

    slug: str
    meaning: str
    flags: frozenset[str] | None = None
    seq: str = ""
    ack: str = ""
    optional: bool = False
    delayed: bool = False
    text: bool = False
    advances: bool | None = None
    forms: tuple[str, ...] = ()
    keeps: bool = False
    moves: bool = False
    leads: frozenset[State] = frozenset(State)

    def fields(self, target: Variables, seq: int, ack: int | None, length: int) -> Fields | None:
        """Return a target's segment with these variables, in answer to SEG.SEQ, SEG.ACK, SEG.LEN; None for silence.

        For `forms` ask each of them in RESPONSES.

        Raises:
            ValueError: the formula needs SEG.ACK and the segment has none.
        """
        if self.flags is None:
            return None
        numbers = {
            "0": 0,
            "ISS": target.iss,
            "SND.UNA": target.snd_una,
            "SND.NXT": target.snd_nxt,
            "SND.NXT-1": target.snd_nxt - 1,
            "RCV.NXT": target.rcv_nxt,
            "SEG.SEQ+SEG.LEN": seq + length,
        }
        if ack is not None:
            numbers["SEG.ACK"] = ack
        try:
            made = [numbers[formula] % _MODULUS if formula else None for formula in (self.seq, self.ack)]
        except KeyError:
            raise ValueError(f"response {self.slug} needs SEG.ACK, and the segment has no ACK") from None
        return Fields(made[0], made[1], self.flags)

    @property
    def formula(self) -> str:
        """As the RFC writes it: `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`; empty for silence and for calls."""
        if self.flags is None:
            return ""
        order = ("SYN", "FIN", "RST", "URG", "ACK")
        parts = [f"<SEQ={self.seq}>" if self.seq else "", f"<ACK={self.ack}>" if self.ack else ""]
        return "".join(parts) + f"<CTL={','.join(flag for flag in order if flag in self.flags)}>"


def _bits(text: str) -> frozenset[str]:
    return frozenset(text.split("+")) if text else frozenset()


def _segment(
    slug: str,
    flags: str,
    seq: Edge,
    ack: Ack = Ack.NONE,
    *,
    data: bool = False,
    zero_window: bool = False,
    urgent: bool = False,
    stamp: Stamp = Stamp.NONE,
    stamped_before: bool | None = None,
    other_security: bool = False,
) -> Segment:
    return Segment(
        slug,
        _bits(flags),
        seq,
        ack,
        data=data,
        zero_window=zero_window,
        urgent=urgent,
        stamp=stamp,
        stamped_before=stamped_before,
        other_security=other_security,
    )


_SEGMENTS: Final = (
    # Without a connection, and while one is opened. The tester's own number is as good as any.
    _segment("rst", "RST", Edge.NATURAL),
    _segment("rst-ack", "RST+ACK", Edge.NATURAL, Ack.NATURAL),
    _segment("syn", "SYN", Edge.NATURAL),
    _segment("syn-data", "SYN", Edge.NATURAL, data=True),
    _segment("syn-fin", "SYN+FIN", Edge.NATURAL),
    _segment("syn-rst", "SYN+RST", Edge.NATURAL),
    _segment("syn-ack", "SYN+ACK", Edge.NATURAL, Ack.NATURAL),
    _segment("no-flags", "", Edge.NATURAL),
    _segment("fin-no-ack", "FIN", Edge.NATURAL),
    _segment("data-no-ack", "", Edge.NATURAL, data=True),
    _segment("syn-security", "SYN", Edge.NATURAL, other_security=True),
    Segment("syn-to-group", _bits("SYN"), Edge.NATURAL, Ack.NONE, to_group=True),
    Segment("syn-from-invalid", _bits("SYN"), Edge.NATURAL, Ack.NONE, from_invalid=True),
    # SYN-SENT tells by the ACK field.
    _segment("ack-at-iss", "ACK", Edge.NATURAL, Ack.AT_ISS),
    _segment("syn-ack-at-iss", "SYN+ACK", Edge.NATURAL, Ack.AT_ISS),
    _segment("syn-ack-beyond", "SYN+ACK", Edge.NATURAL, Ack.BEYOND),
    _segment("fin-ack-at-iss", "FIN+ACK", Edge.NATURAL, Ack.AT_ISS),
    _segment("rst-ack-at-iss", "RST+ACK", Edge.ZERO, Ack.AT_ISS),
    _segment("rst-ack-beyond", "RST+ACK", Edge.ZERO, Ack.BEYOND),
    _segment("rst-ack-acceptable", "RST+ACK", Edge.ZERO, Ack.NATURAL),
    _segment("rst-ack-other-seq", "RST+ACK", Edge.NATURAL, Ack.NATURAL),
    _segment("syn-ack-acceptable", "SYN+ACK", Edge.NATURAL, Ack.NATURAL),
    _segment("syn-ack-data", "SYN+ACK", Edge.NATURAL, Ack.NATURAL, data=True),
    _segment("syn-ack-fin", "SYN+ACK+FIN", Edge.NATURAL, Ack.NATURAL),
    _segment("syn-ack-urg", "SYN+ACK+URG", Edge.NATURAL, Ack.NATURAL, urgent=True),
    _segment("syn-ack-part", "SYN+ACK", Edge.NATURAL, Ack.PART),
    # SYN-RECEIVED waits for SND.NXT; `-acceptable` says that the segment brings it.
    _segment("ack-acceptable", "ACK", Edge.NATURAL, Ack.NATURAL),
    _segment("data-acceptable", "ACK", Edge.LEFT_EDGE, Ack.NATURAL, data=True),
    _segment("fin-acceptable", "FIN+ACK", Edge.NATURAL, Ack.NATURAL),
    _segment("data-straddle-left-acceptable", "ACK", Edge.STRADDLE_LEFT, Ack.NATURAL, data=True),
    _segment("data-straddle-right-acceptable", "ACK", Edge.STRADDLE_RIGHT, Ack.NATURAL, data=True),
    # First step: the sequence number. The ACK field would do, so a target that looks at it first gives itself away.
    _segment("ack-outside-left", "ACK", Edge.OUTSIDE_LEFT, Ack.NATURAL),
    _segment("ack-outside-right", "ACK", Edge.OUTSIDE_RIGHT, Ack.NATURAL),
    _segment("data-outside-left", "ACK", Edge.OUTSIDE_LEFT, Ack.NATURAL, data=True),
    _segment("data-outside-right", "ACK", Edge.OUTSIDE_RIGHT, Ack.NATURAL, data=True),
    _segment("zero-window-ack", "ACK", Edge.OUTSIDE_LEFT, Ack.UNA, zero_window=True),
    _segment("zero-window-data", "ACK", Edge.LEFT_EDGE, Ack.UNA, data=True, zero_window=True),
    _segment("data-straddle-left", "ACK", Edge.STRADDLE_LEFT, Ack.UNA, data=True),
    _segment("data-straddle-right", "ACK", Edge.STRADDLE_RIGHT, Ack.UNA, data=True),
    _segment("data-hole", "ACK", Edge.MIDDLE, Ack.UNA, data=True),
    _segment("fin-hole", "FIN+ACK", Edge.MIDDLE, Ack.UNA),
    Segment("data-fill-hole", _bits("ACK"), Edge.LEFT_EDGE, Ack.UNA, data=True, held=2),
    # Second step: RST.
    _segment("rst-outside-left", "RST", Edge.OUTSIDE_LEFT),
    _segment("rst-left-edge", "RST", Edge.LEFT_EDGE),
    _segment("rst-middle", "RST", Edge.MIDDLE),
    _segment("rst-data", "RST", Edge.LEFT_EDGE, data=True),
    # Third step: security.
    _segment("ack-security", "ACK", Edge.NATURAL, Ack.UNA, other_security=True),
    # Fourth step: SYN.
    _segment("syn-outside-left", "SYN", Edge.OUTSIDE_LEFT),
    _segment("syn-middle", "SYN", Edge.MIDDLE),
    _segment("syn-ack-outside-left", "SYN+ACK", Edge.OUTSIDE_LEFT, Ack.UNA),
    Segment("syn-burst", _bits("SYN"), Edge.MIDDLE, Ack.NONE, repeat=20),
    _segment("syn-newer-seq", "SYN", Edge.MIDDLE),
    _segment("syn-stamp-newer", "SYN", Edge.OUTSIDE_LEFT, stamp=Stamp.NEWER, stamped_before=True),
    _segment("syn-stamp-equal", "SYN", Edge.MIDDLE, stamp=Stamp.EQUAL, stamped_before=True),
    _segment("syn-stamp-gone", "SYN", Edge.MIDDLE, stamped_before=True),
    _segment("syn-stamp-older", "SYN", Edge.OUTSIDE_LEFT, stamp=Stamp.OLDER, stamped_before=True),
    _segment("syn-stamp-first", "SYN", Edge.OUTSIDE_LEFT, stamp=Stamp.NEWER, stamped_before=False),
    _segment("syn-no-stamp-newer", "SYN", Edge.MIDDLE, stamped_before=False),
    _segment("syn-no-stamp-older", "SYN", Edge.OUTSIDE_LEFT, stamped_before=False),
    # Fifth step: ACK. `ack` says nothing new.
    _segment("no-ack", "", Edge.LEFT_EDGE),
    _segment("ack", "ACK", Edge.NATURAL, Ack.UNA),
    _segment("ack-old", "ACK", Edge.NATURAL, Ack.OLD),
    _segment("data-ack-old", "ACK", Edge.LEFT_EDGE, Ack.OLD, data=True),
    _segment("ack-beyond", "ACK", Edge.NATURAL, Ack.BEYOND),
    _segment("ack-new", "ACK", Edge.NATURAL, Ack.NATURAL),
    _segment("ack-new-not-fin", "ACK", Edge.NATURAL, Ack.NOT_COVERING_FIN),
    _segment("ack-duplicate", "ACK", Edge.NATURAL, Ack.DUPLICATE),
    _segment("ack-covers-fin", "ACK", Edge.NATURAL, Ack.COVERS_FIN),
    _segment("ack-not-covering-fin", "ACK", Edge.NATURAL, Ack.NOT_COVERING_FIN),
    Segment("ack-window-newer", _bits("ACK"), Edge.NATURAL, Ack.UNA, offers=True),
    Segment("ack-window-stale", _bits("ACK"), Edge.NATURAL, Ack.DUPLICATE, offers=True),
    # Sixth step: URG. Seventh: text. Eighth: FIN.
    _segment("urg", "URG+ACK", Edge.NATURAL, Ack.UNA, urgent=True),
    _segment("urg-data", "URG+ACK", Edge.LEFT_EDGE, Ack.UNA, data=True, urgent=True),
    _segment("data", "ACK", Edge.LEFT_EDGE, Ack.UNA, data=True),
    _segment("data-psh", "PSH+ACK", Edge.LEFT_EDGE, Ack.UNA, data=True),
    _segment("fin", "FIN+ACK", Edge.NATURAL, Ack.UNA),
    _segment("fin-data", "FIN+ACK", Edge.LEFT_EDGE, Ack.UNA, data=True),
    _segment("fin-covers-fin", "FIN+ACK", Edge.NATURAL, Ack.COVERS_FIN),
    _segment("fin-not-covering-fin", "FIN+ACK", Edge.NATURAL, Ack.NOT_COVERING_FIN),
    _segment("fin-data-not-covering-fin", "FIN+ACK", Edge.LEFT_EDGE, Ack.NOT_COVERING_FIN, data=True),
    _segment("fin-duplicate", "FIN+ACK", Edge.OUTSIDE_LEFT, Ack.UNA),
)

_CALLS: Final = (
    Call("call-open-passive", "OPEN", "passive"),
    Call("call-open-active", "OPEN", "active"),
    Call("call-open-unspecified", "OPEN", "active, remote socket unspecified"),
    Call("call-send", "SEND"),
    Call("call-send-unspecified", "SEND", "remote socket unspecified"),
    Call("call-send-urgent", "SEND", "urgent"),
    Call("call-receive", "RECEIVE"),
    Call("call-close", "CLOSE"),
    Call("call-close-pending", "CLOSE", "data to send is queued"),
    Call("call-close-unread", "CLOSE", "received data is unread"),
    Call("call-abort", "ABORT"),
    Call("call-status", "STATUS"),
)

_TIMEOUTS: Final = (
    Timeout("timeout-user", "USER TIMEOUT"),
    Timeout("timeout-retransmission", "RETRANSMISSION TIMEOUT"),
    Timeout("timeout-r2", "R2"),
    Timeout("timeout-2msl", "TIME-WAIT TIMEOUT"),
    Timeout("timeout-persist", "PERSIST"),
    Timeout("timeout-keepalive", "KEEPALIVE"),
    Timeout("timeout-delayed-ack", "DELAYED ACK"),
)

STIMULI: Final[Mapping[str, Stimulus]] = types.MappingProxyType(
    {row.slug: row for row in (*_SEGMENTS, *_CALLS, *_TIMEOUTS)}
)
"""Every stimulus by its slug."""

_CONNECTION: Final = SYNCHRONIZED | {State.SYN_RECEIVED}
_ACK: Final = _bits("ACK")


def _states(*states: State) -> frozenset[State]:
    return frozenset(states)


_RESPONSES: Final = (
    Response("silence", "no segment, and the target is alive"),
    Response(
        "rst-ack-of-segment",
        "a reset of a segment without ACK",
        _bits("RST+ACK"),
        "0",
        "SEG.SEQ+SEG.LEN",
        keeps=True,
        leads=_states(State.CLOSED, State.LISTEN, State.SYN_SENT),
    ),
    Response(
        "rst-seq-of-ack",
        "a reset of a segment with ACK",
        _bits("RST"),
        "SEG.ACK",
        leads=_states(State.CLOSED, State.LISTEN, State.SYN_SENT, State.SYN_RECEIVED),
    ),
    Response(
        "rst",
        "a reset of the target's own accord",
        _bits("RST"),
        "SND.NXT",
        leads=_states(State.CLOSED, State.TIME_WAIT),
    ),
    Response(
        "reset",
        "a reset whose form the text leaves open",
        forms=("rst-seq-of-ack", "rst-ack-of-segment", "rst"),
        leads=_states(State.CLOSED),
    ),
    Response(
        "ack",
        "an acknowledgment of what was expected before; the segment is dropped",
        _ACK,
        "SND.NXT",
        "RCV.NXT",
        advances=False,
        keeps=True,
        leads=_CONNECTION,
    ),
    Response(
        "ack-restart",
        "the same, and the 2 MSL timer starts again",
        _ACK,
        "SND.NXT",
        "RCV.NXT",
        advances=False,
        keeps=True,
        leads=_states(State.TIME_WAIT),
    ),
    Response(
        "ack-limited",
        "fewer such acknowledgments than segments, and at least one",
        _ACK,
        "SND.NXT",
        "RCV.NXT",
        advances=False,
        keeps=True,
        leads=_CONNECTION,
    ),
    Response(
        "optional-ack",
        "silence, or an acknowledgment that takes in nothing: a duplicate or a window update",
        _ACK,
        "SND.NXT",
        "RCV.NXT",
        optional=True,
        advances=False,
        leads=_CONNECTION,
    ),
    Response(
        "ack-syn",
        "an acknowledgment of the SYN at once; queued data may come with it",
        _ACK,
        "SND.NXT",
        "RCV.NXT",
        advances=True,
        moves=True,
        leads=_states(State.ESTABLISHED),
    ),
    Response(
        "ack-new",
        "an acknowledgment of all that the segment brought; parts may be acknowledged before",
        _ACK,
        "SND.NXT",
        "RCV.NXT",
        delayed=True,
        advances=True,
        leads=SYNCHRONIZED - {State.LAST_ACK},
    ),
    Response(
        "ack-once",
        "one acknowledgment of the segment and of all that was held behind it, none of a part",
        _ACK,
        "SND.NXT",
        "RCV.NXT",
        delayed=True,
        advances=True,
        keeps=True,
        leads=_states(State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2),
    ),
    Response("syn", "a connection request", _bits("SYN"), "ISS", moves=True, leads=_states(State.SYN_SENT)),
    Response(
        "syn-ack",
        "an answer to a connection request: RCV.NXT is one beyond the SYN",
        _bits("SYN+ACK"),
        "ISS",
        "RCV.NXT",
        moves=True,
        leads=_states(State.SYN_RECEIVED),
    ),
    Response(
        "fin",
        "a FIN after all queued data",
        _bits("FIN+ACK"),
        "SND.NXT",
        "RCV.NXT",
        moves=True,
        leads=_states(State.FIN_WAIT_1, State.LAST_ACK),
    ),
    Response(
        "data",
        "the data, with an acknowledgment",
        _ACK,
        "SND.NXT",
        "RCV.NXT",
        text=True,
        keeps=True,
        leads=_states(State.ESTABLISHED, State.CLOSE_WAIT),
    ),
    Response(
        "data-urgent",
        "the data, with URG and a pointer behind it",
        _bits("URG+ACK"),
        "SND.NXT",
        "RCV.NXT",
        text=True,
        keeps=True,
        leads=_states(State.ESTABLISHED, State.CLOSE_WAIT),
    ),
    Response("retransmit-syn", "the SYN again", _bits("SYN"), "ISS", keeps=True, leads=_states(State.SYN_SENT)),
    Response(
        "retransmit-syn-ack",
        "the SYN,ACK again",
        _bits("SYN+ACK"),
        "ISS",
        "RCV.NXT",
        keeps=True,
        leads=_states(State.SYN_RECEIVED),
    ),
    Response(
        "retransmit",
        "the oldest segment that is not acknowledged, again: data, or a FIN with its bit",
        _ACK,
        "SND.UNA",
        "RCV.NXT",
        keeps=True,
        leads=_states(State.ESTABLISHED, State.FIN_WAIT_1, State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK),
    ),
    Response(
        "probe",
        "a zero-window probe: a segment that the peer has to acknowledge",
        _ACK,
        "",
        "RCV.NXT",
        keeps=True,
        leads=_states(State.ESTABLISHED, State.FIN_WAIT_1, State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK),
    ),
    Response(
        "keepalive",
        "a keep-alive probe, with no data or one octet",
        _ACK,
        "SND.NXT-1",
        "RCV.NXT",
        keeps=True,
        leads=_states(State.ESTABLISHED, State.CLOSE_WAIT),
    ),
    Response("ok", "the call succeeds, without a segment"),
    Response("error", "the call fails, without a segment", keeps=True),
    Response("queued", "the call waits, without a segment", keeps=True),
    Response("received", "the call returns data that was on hand; a window update may follow", keeps=True),
    Response("state", "the call tells the state, without a segment", keeps=True),
)

RESPONSES: Final[Mapping[str, Response]] = types.MappingProxyType({row.slug: row for row in _RESPONSES})
"""Every response by its slug."""

PROFILES: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "base": "RFC 9293 without its options",
        "5961": "the mitigations of RFC 5961, which RFC 9293 takes up",
        "rfc793-legacy": "what RFC 793 said and RFC 9293 still allows where RFC 5961 is not implemented",
        "mls": "multi-level security: compartments on segments",
        "reuse": "a new SYN reopens TIME-WAIT by its sequence number (MAY-2)",
        "6191": "a new SYN reopens TIME-WAIT by its timestamp (SHLD-4, RFC 6191)",
        "1337": "RSTs are ignored in TIME-WAIT (RFC 1337, F1)",
        "tfo": "data on the SYN (RFC 7413)",
        "half-duplex-close": "after CLOSE nothing is read any more (MAY-1)",
    }
)
"""The document, or its option, that a cell belongs to."""

NEEDS: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "app": "the application makes calls on the way, so an agent is needed",
        "state": "the outcome shows in the target's own word alone",
        "zero-window": "the application reads nothing until the target's receive window is closed",
        "outstanding": "the target has sent data that is not acknowledged yet",
        "unread": "data was received that the application has not read",
        "pending": "the application has sent data that cannot go out yet",
        "reader-gone": "the application has closed the descriptor, not only its sending side",
        "peer-window-zero": "the tester offers a window of zero while the application sends",
        "keepalive": "keep-alives are switched on with short intervals",
        "user-timeout": "a user timeout is set (RFC 5482)",
        "r2": "the number of retransmissions is set low",
        "timestamps": "the connection was opened with the Timestamps option",
        "no-timestamps": "the connection was opened without the Timestamps option",
        "group-address": "a segment to a broadcast or multicast address can be sent",
        "wait": "the case takes as long as a timer of the target",
    }
)
"""The needs of a cell from a lab or target beyond an open port."""
