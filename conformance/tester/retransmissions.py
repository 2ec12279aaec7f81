"""The classifier of segments that repeat old ones and answer nothing: retransmissions, and what crossed ours."""

from __future__ import annotations

from conformance.tester.variables import Variables
from conformance.wire import ACK, CWR, NO_FLAGS, PSH, RST, SYN, Segment, Seq

# Linux sends its SYN again within milliseconds of an unacceptable ACK: that copy may leave one processor of the target while
# another takes our answer. No stack is known to do so with a SYN,ACK.
_SAME_MOMENT_NS = 1_000_000
# What a repetition may lack: CWR is of the first new data alone (RFC 3168, 6.1.2).
_NOT_REPEATED = PSH | CWR


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
            and (self._repeats(segment) or self._joins(segment))
        )

    def crossed_our_ack(self, segment: Segment, at_ns: int, first: Seq) -> bool:
        """Return True for a retransmission from before `first` that left before our acknowledgment of it arrived."""
        acked = self._variables.has_acked and segment.end <= self._variables.acked
        return acked and segment.seq < first and self.is_harmless(segment, at_ns)

    def crossed_our_last(self, segment: Segment, at_ns: int) -> bool:
        """Return True for a retransmission that left before our last segment arrived, and so does not answer it."""
        return at_ns <= self._left_ns + self._crossing_ns and self.is_harmless(segment, at_ns)

    def _repeats(self, segment: Segment) -> bool:
        """Return True for a segment that was taken before, or a part of one."""
        return any(
            segment.seq >= old.seq and segment.end <= old.end and not (segment.flags ^ old.flags) & ~_NOT_REPEATED
            for old in self._history
        )

    def _joins(self, segment: Segment) -> bool:
        """Return True for several segments that were taken before, in one."""
        at, flags = segment.seq, NO_FLAGS
        while at < segment.end:
            old = next((one for one in self._history if one.seq <= at < one.end), None)
            if old is None:
                return False
            at, flags = old.end, flags | old.flags
        return at == segment.end and not (segment.flags ^ flags) & ~_NOT_REPEATED
