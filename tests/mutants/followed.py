"""One connection as the frames tell it that the real target sent and received."""

from __future__ import annotations

from dataclasses import dataclass, field

from conformance.wire import ACK, FIN, RST, SYN, Segment, Seq

TIMESTAMPS, WINDOW_SCALE = 8, 3


@dataclass
class Followed:
    """The known facts of a connection of the target; `state` follows from them."""

    iss: Seq | None = None
    ports: tuple[int, int] = (0, 0)
    """The target's and ours."""
    snd_una: Seq | None = None
    snd_max: Seq | None = None
    rcv_nxt: Seq | None = None
    window: int = 0
    scale: int = 0
    peer_syn: bool = False
    fin: Seq | None = None
    """After the target's FIN."""
    fin_acked: bool = False
    peer_fin_end: Seq | None = None
    peer_fin: bool = False
    """The target has acknowledged the tester's FIN."""
    peer_closed_first: bool = False
    gone: bool = False
    tsval: int = 0
    """The newest that the target was sent."""
    last_ack: Seq | None = None
    duplicates: int = 0
    """The number of times that the tester has repeated the same acknowledgment."""
    reset_seen: bool = False
    """The tester has sent a RST in this state."""
    fin_repeated: bool = False
    """The tester has sent a FIN in TIME-WAIT, which restarts it."""
    shift: int | None = None
    """The distance by which the mutant moved the target's sequence numbers."""
    first_sent: dict[tuple[int, int, int], int] = field(default_factory=dict)
    """Segments of the target that take sequence space, with the time (ns) when they were first sent."""
    counts: dict[int, int] = field(default_factory=dict)
    """The number of matches of each rule."""
    state: str = "LISTEN"
    since_ns: int = 0

    def sent(self, segment: Segment, now_ns: int) -> None:
        """The target sent it."""
        if segment.flags & RST:
            # A reset in answer to what acknowledges nothing leaves SYN-SENT and SYN-RECEIVED as they are.
            self.gone = self.gone or self.snd_una is not None
        else:
            self._sent(segment)
        self._note(now_ns)

    def _sent(self, segment: Segment) -> None:
        if segment.flags & SYN:
            again = self.gone or (self.snd_una is not None and segment.seq != self.snd_una - 1)
            if self.iss is None or again:
                self.__init__()  # type: ignore[misc] # a new incarnation of the connection
                self.iss, self.ports = segment.seq, (segment.sport, segment.dport)
            scale = next((one.data for one in segment.option_list if one.kind == WINDOW_SCALE and one.data), b"\0")
            self.scale = scale[0]
        if self.snd_max is None or segment.end >= self.snd_max:
            self.snd_max = segment.end
        if segment.flags & FIN and self.fin is None:
            self.fin, self.peer_closed_first = segment.end, self.peer_fin
        if segment.flags & ACK:
            self.rcv_nxt, self.peer_syn = segment.ack, True
            self.window = segment.window << (0 if segment.flags & SYN else self.scale)
            if segment.ack == self.peer_fin_end:
                self.peer_closed_first = self.peer_closed_first or self.fin is None
                self.peer_fin = True

    def received(self, segment: Segment, now_ns: int) -> None:
        """The target was sent it."""
        stamp = next((one.data for one in segment.option_list if one.kind == TIMESTAMPS and len(one.data) == 8), None)
        if stamp is not None:
            self.tsval = max(self.tsval, int.from_bytes(stamp[:4], "big"))
        if segment.flags & RST:
            self.reset_seen = True
            exact = segment.seq == self.rcv_nxt and self.state != "TIME-WAIT"
            refused = self.state == "SYN-SENT" and segment.ack == self.snd_max
            self.gone = self.gone or exact or refused
        else:
            self._received(segment)
        self._note(now_ns)

    def _received(self, segment: Segment) -> None:
        if segment.flags & SYN:
            self.peer_syn = self.peer_syn or self.snd_max is not None
        if segment.flags & FIN and self.rcv_nxt is not None:
            self.peer_fin_end = segment.end
            self.fin_repeated = self.fin_repeated or self.state == "TIME-WAIT"
        if not segment.flags & ACK or self.snd_max is None:
            return
        if segment.flags & SYN:
            self.snd_una = segment.ack if segment.ack == self.snd_max else self.snd_una
            return
        self.duplicates = self.duplicates + 1 if segment.ack == self.last_ack and not segment.length else 0
        self.last_ack = segment.ack
        if segment.ack <= self.snd_max:
            self.snd_una = segment.ack
            self.fin_acked = self.fin_acked or segment.ack == self.fin

    def _note(self, now_ns: int) -> None:
        state = self._state()
        if state != self.state:
            self.state, self.since_ns, self.reset_seen = state, now_ns, False

    def _state(self) -> str:
        if self.gone or self.snd_max is None:
            return "CLOSED" if self.gone else "LISTEN"
        if self.snd_una is None or not self.peer_syn:
            return "SYN-RECEIVED" if self.peer_syn else "SYN-SENT"
        if self.fin is None:
            return "CLOSE-WAIT" if self.peer_fin else "ESTABLISHED"
        if not self.peer_fin:
            return "FIN-WAIT-2" if self.fin_acked else "FIN-WAIT-1"
        if self.peer_closed_first:
            return "CLOSED" if self.fin_acked else "LAST-ACK"
        return "TIME-WAIT" if self.fin_acked else "CLOSING"

    def place(self, segment: Segment) -> str:
        """Return where a segment begins for the target: `exact` at RCV.NXT, `in` the window beyond that, or `out` of it."""
        if self.rcv_nxt is None:
            return ""
        beyond = segment.seq - self.rcv_nxt
        if beyond == 0:
            return "exact"
        return "in" if 0 < beyond < self.window else "out"
