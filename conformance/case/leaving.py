"""Take back what a case opened on a target whose application can't be asked to close it."""

from __future__ import annotations

from collections.abc import Iterable

from conformance.tester.trace import Frame
from conformance.wire import ACK, RST, Segment, Seq, dissect


def resets(frames: Iterable[Frame]) -> list[Segment]:
    """Return the resets that end every connection of these frames, given in the order in which they were sent and seen.

    A reset counts at RCV.NXT alone (RFC 9293 section 3.10.7.4): that is where the target's last acknowledgment was, or
    behind our last segment if it was taken since. A connection that the target reset itself is gone.
    """
    acknowledged: dict[tuple[str, str, int, int], Seq] = {}
    ends: dict[tuple[str, str, int, int], Seq] = {}
    for frame in frames:
        segment = dissect(frame.data)
        if segment is None:
            continue
        if not frame.inbound:
            ends[segment.src, segment.dst, segment.sport, segment.dport] = segment.end
            continue
        four_tuple = segment.dst, segment.src, segment.dport, segment.sport
        if segment.flags & RST:
            acknowledged.pop(four_tuple, None)
        elif segment.flags & ACK:
            acknowledged[four_tuple] = segment.ack
    return [
        Segment(*four_tuple, seq, flags=RST)
        for four_tuple, ack in acknowledged.items()
        for seq in dict.fromkeys((ack, ends.get(four_tuple, ack)))
    ]
