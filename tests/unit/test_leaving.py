"""Resets that take back what a case opened on a target whose application can't be asked to."""

from __future__ import annotations

from conformance.case.leaving import resets
from conformance.tester.trace import Frame
from conformance.wire import ACK, RST, SYN, Flags, Segment, Seq
from conformance.wire.frames import Template

OURS, THEIRS = "10.0.0.2", "10.0.0.1"
MACS = "02:00:00:00:00:01", "02:00:00:00:00:02"


def sent(seq: int, flags: Flags, port: int = 33000, text: bytes = b"") -> Frame:
    segment = Segment(OURS, THEIRS, port, 7, Seq(seq), Seq(500), flags, payload=text)
    return Frame(0, False, Template(*MACS, OURS, THEIRS).frame(segment))


def seen(ack: int, flags: Flags, port: int = 33000) -> Frame:
    segment = Segment(THEIRS, OURS, 7, port, Seq(500), Seq(ack), flags)
    return Frame(0, True, Template(*MACS, THEIRS, OURS).frame(segment))


def numbers(*frames: Frame) -> list[tuple[int, int]]:
    """Return port and number of each reset."""
    assert all(reset.flags == RST for reset in resets(frames))
    return [(reset.sport, int(reset.seq)) for reset in resets(frames)]


def test_a_connection_is_reset_where_the_target_is() -> None:
    opened = sent(100, SYN), seen(101, SYN | ACK)
    assert numbers(*opened) == [(33000, 101)]
    assert numbers(*opened, sent(101, ACK, text=b"text")) == [(33000, 101), (33000, 105)]


def test_what_never_opened_or_is_gone_needs_none() -> None:
    assert numbers(sent(100, SYN)) == []
    assert numbers(sent(100, SYN), seen(101, RST | ACK)) == []
    assert numbers(sent(100, SYN), seen(101, SYN | ACK), seen(101, RST)) == []
    both = sent(100, SYN), sent(200, SYN, 33001), seen(101, SYN | ACK), seen(201, RST | ACK, 33001)
    assert numbers(*both) == [(33000, 101)]
