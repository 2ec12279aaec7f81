"""The classifier of segments that repeat old ones and answer nothing: retransmissions, and what crossed ours."""

from __future__ import annotations

from conformance.judge.repetition import OF_THE_MOMENT, differences
from conformance.tester.variables import Variables
from conformance.wire import ACK, FIN, NO_FLAGS, RST, SYN, Segment, Seq

# Linux sends its SYN again within milliseconds of an unacceptable ACK: that copy may leave one processor of the target while
# another takes our answer. No stack is known to do so with a SYN,ACK.
_SAME_MOMENT_NS = 1_000_000


class Retransmissions:
    """The target's segments so far and our acknowledgments, with their times: enough to classify its next segment.

    `crossing_ns` is how long a segment and what it changes at the other end are on their way, there and back.
    """

    def __init__(self, variables: Variables, crossing_ns: int) -> None:
        self._variables, self._crossing_ns = variables, crossing_ns
        self._history: list[Segment] = []
        self._acks: list[tuple[Seq, int]] = []
        self._left_ns = 0

    @property
    def last(self) -> Segment | None:
        """The last segment of the target that occupied sequence numbers."""
        return self._history[-1] if self._history else None

    def left(self, at_ns: int) -> None:
        """Note when our last segment left."""
        self._left_ns = at_ns

    def acknowledged(self, ack: Seq, at_ns: int) -> None:
        """Note an acknowledgment of ours that left at `at_ns`."""
        self._acks.append((ack, at_ns))

    def taken(self, segment: Segment) -> None:
        """Note a segment of the target."""
        if segment.length and not segment.flags & RST:
            self._history.append(segment)

    def is_harmless(self, segment: Segment, at_ns: int) -> bool:
        """Return True for a retransmission of what we left unacknowledged, which may come at any time and says nothing new.

        What left the target before our acknowledgment arrived there has crossed it, and counts too.
        """
        variables = self._variables
        crossing_ns = max(self._crossing_ns, _SAME_MOMENT_NS if segment.flags & (SYN | ACK) == SYN else 0)
        return (
            bool(segment.length)
            and not segment.flags & RST
            and variables.syn_was_seen
            and segment.end <= variables.rcv_nxt
            and not any(segment.end <= ack and acked_ns + crossing_ns < at_ns for ack, acked_ns in self._acks)
            and (not segment.flags & ACK or segment.ack <= variables.snd_una)
            and self._repeats(segment)
        )

    def crossed_our_ack(self, segment: Segment, at_ns: int, first: Seq) -> bool:
        """Return True for a retransmission from before `first` that left before our acknowledgment of it arrived."""
        acked = self._variables.has_acked and segment.end <= self._variables.acked
        return acked and segment.seq < first and self.is_harmless(segment, at_ns)

    def crossed_our_last(self, segment: Segment, at_ns: int) -> bool:
        """Return True for a retransmission that left before our last segment arrived, and so does not answer it."""
        return at_ns <= self._left_ns + self._crossing_ns and self.is_harmless(segment, at_ns)

    def _repeats(self, segment: Segment) -> bool:
        """Return True where all that the segment carries was taken before, in one segment, a part of one, or several.

        A whole segment's repetition also has that one's flags and options, but for those that a document lets differ.
        """
        whole = [old for old in self._history if (old.seq, old.end) == (segment.seq, segment.end)]
        if whole:
            return any(old.payload == segment.payload and not differences(old, segment) for old in whole)
        at, flags = segment.seq, NO_FLAGS
        while at < segment.end:
            old = next((one for one in self._history if one.seq <= at < one.end), None)
            if old is None:
                return False
            until = min(old.end, segment.end)
            if _carried(old, at, until) != _carried(segment, at, until):
                return False
            at, flags = until, flags | old.flags
        # A part of what was sent need not have the FIN of its end. Text that comes again without its SYN says something new: the
        # SYN has arrived (RFC 7413 section 4.2.2).
        return not (segment.flags ^ flags) & ~(FIN | OF_THE_MOMENT)


def _carried(segment: Segment, first: Seq, end: Seq) -> tuple[bool, bytes, bool]:
    """Return what the segment carries from `first` up to `end`, which lie in it: a SYN, text, a FIN."""
    text = segment.seq + bool(segment.flags & SYN)
    return (
        bool(segment.flags & SYN) and first == segment.seq,
        segment.payload[max(0, first - text) : max(0, end - text)],
        bool(segment.flags & FIN) and end == segment.end,
    )
