"""List what is done to a target: a segment, a call of the application, or a timer that runs out; each has one slug."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from conformance.standard.segments import Ack, Edge, Segment, Stamp


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
