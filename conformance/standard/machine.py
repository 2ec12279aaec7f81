"""The documented machine: RFC 9293 section 3.10, executable, written from its text and never from the table of cells.

It has no I/O and no clock. Where the text leaves a choice, or another document makes one, the machine asks `_does(...)`.
`outcomes` runs an event once for every answer, and so gives all that is allowed. Each outcome names the sentences of the
standard that it followed, in `by`. The choices are the rows of machine.toml, each with its source. A row that goes
`beyond` the text is a reading: it is asked only where it is switched on by name.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from conformance.standard import _data
from conformance.standard.states import FIN_OUTSTANDING, RECEIVES_DATA, SYNCHRONIZED, State

MODULUS = 1 << 32
CHALLENGES = 10
"""Acknowledgments of one burst that RFC 5961, 7, gives as an example."""

_FIN: Mapping[State, str] = {
    State.ESTABLISHED: "3.10.7.4-fin-established",
    State.FIN_WAIT_1: "3.10.7.4-fin-fin-wait-1",
    State.FIN_WAIT_2: "3.10.7.4-fin-fin-wait-2",
    State.CLOSE_WAIT: "3.10.7.4-fin-close-wait",
    State.CLOSING: "3.10.7.4-fin-closing",
    State.LAST_ACK: "3.10.7.4-fin-last-ack",
    State.TIME_WAIT: "3.10.7.4-fin-time-wait-restart",
}
_CALLS: Mapping[str, Mapping[State, str]] = {
    "OPEN": {
        State.CLOSED: "3.10.1-closed-active",
        State.LISTEN: "3.10.1-listen-active",
        State.ESTABLISHED: "3.10.1-exists",
    },
    "SEND": {
        State.CLOSED: "3.10.2-closed",
        State.LISTEN: "3.10.2-listen",
        State.SYN_SENT: "3.10.2-queue",
        State.SYN_RECEIVED: "3.10.2-queue",
        State.ESTABLISHED: "3.10.2-send",
        State.CLOSE_WAIT: "3.10.2-send",
        State.CLOSING: "3.10.2-closing",
    },
    "RECEIVE": {
        State.CLOSED: "3.10.3-closed",
        State.LISTEN: "3.10.3-queue",
        State.SYN_SENT: "3.10.3-queue",
        State.SYN_RECEIVED: "3.10.3-queue",
        State.ESTABLISHED: "3.10.3-receive",
        State.FIN_WAIT_1: "3.10.3-receive",
        State.FIN_WAIT_2: "3.10.3-receive",
        State.CLOSE_WAIT: "3.10.3-close-wait",
        State.CLOSING: "3.10.3-closing",
    },
    "CLOSE": {
        State.CLOSED: "3.10.4-closed",
        State.LISTEN: "3.10.4-listen",
        State.SYN_SENT: "3.10.4-syn-sent",
        State.SYN_RECEIVED: "3.10.4-syn-received",
        State.ESTABLISHED: "3.10.4-established",
        State.FIN_WAIT_1: "3.10.4-fin-wait",
        State.FIN_WAIT_2: "3.10.4-fin-wait",
        State.CLOSE_WAIT: "3.10.4-close-wait",
        State.CLOSING: "3.10.4-closing",
    },
    "ABORT": {
        State.CLOSED: "3.10.5-closed",
        State.LISTEN: "3.10.5-listen",
        State.SYN_SENT: "3.10.5-syn-sent",
        State.ESTABLISHED: "3.10.5-abort",
        State.CLOSING: "3.10.5-closing",
    },
    "STATUS": {state: f"3.10.6-{state.value.lower()}" for state in State},
}
"""The sentence that governs a call, by the first state of those that the text treats alike."""
_ALIKE: Mapping[str, Mapping[State, State]] = {
    "SEND": {State.FIN_WAIT_1: State.CLOSING, State.FIN_WAIT_2: State.CLOSING},
    "ABORT": dict.fromkeys(
        (State.SYN_RECEIVED, State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT), State.ESTABLISHED
    ),
}
_HALF_CLOSED = frozenset({State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK})


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that the machine may do or not: by the text, or (`beyond`) by a reading that is switched on by name."""

    name: str
    says: str
    source: str
    beyond: bool = False


@functools.cache
def choices() -> Mapping[str, Choice]:
    """Return the choices of machine.toml by name. Raises DataError."""
    return parse_choices(_data.text("machine.toml"), "machine.toml")


def _group(call: str, state: State) -> State:
    """Return the first of the states in which the text treats that call as it does in `state`."""
    if state in _CALLS[call]:
        return state
    return _ALIKE.get(call, {}).get(state, State.ESTABLISHED if call == "OPEN" else State.CLOSING)


def parse_choices(content: str, where: str) -> Mapping[str, Choice]:
    """Return the choices of a file's text; `where` names it in errors. Raises DataError."""
    rows: dict[str, Choice] = {}
    for number, row in enumerate(_data.toml(content, where).get("choice", ()), start=1):
        here = f"{where}, choice {number}"
        _data.only(row, here, ("name", "says", "source"), ("beyond",))
        if row["name"] in rows:
            raise _data.DataError(f"{here}: two choices are called {row['name']!r}")
        if not all(row[key] for key in ("name", "says", "source")):
            raise _data.DataError(f"{here}: name, says and source cannot be empty")
        rows[row["name"]] = Choice(**row)
    return types.MappingProxyType(rows)


def readings() -> frozenset[str]:
    """Return the names of all readings that go beyond the text."""
    return frozenset(name for name, choice in choices().items() if choice.beyond)


def less(a: int, b: int) -> bool:
    """a < b modulo 2^32 (RFC 9293, 3.4)."""
    return 0 < (b - a) % MODULUS < MODULUS // 2


def at_most(a: int, b: int) -> bool:
    """a =< b modulo 2^32."""
    return a == b or less(a, b)


@dataclass(frozen=True)
class Seg:
    """A segment that arrives. `ack` is None with the ACK bit off, `stamp` None without the Timestamps option."""

    seq: int
    flags: frozenset[str]
    ack: int | None = None
    data: int = 0
    wnd: int = 1000
    up: int = 0
    stamp: int | None = None
    other_security: bool = False
    to_group: bool = False
    from_invalid: bool = False

    @property
    def length(self) -> int:
        """SEG.LEN counts SYN and FIN."""
        return self.data + len(self.flags & {"SYN", "FIN"})


@dataclass(frozen=True)
class Reply:
    """A segment that is sent.

    `later`: it may be delayed. `why`: answer, own (a reset that could have been an answer), call, again (retransmitted),
    probe or keepalive.
    """

    seq: int
    ack: int | None
    flags: frozenset[str]
    data: int = 0
    later: bool = False
    why: str = "answer"


@dataclass
class Endpoint:
    """A connection record (RFC 9293 section 3.3.1), and what an event made it send, signal and choose.

    `timestamps`: the option was negotiated (RFC 7323), and `stamp` is TS.Recent. `readings` are the names of those that are
    switched on. `by` are the ids of the requirements that an event was processed by, in order.
    """

    state: State
    passive: bool = True
    iss: int = 0
    snd_una: int = 0
    snd_nxt: int = 0
    snd_wnd: int = 1000
    snd_wl1: int = 0
    snd_wl2: int = 0
    max_snd_wnd: int = 1000
    irs: int = 0
    rcv_nxt: int = 0
    rcv_wnd: int = 1000
    stamp: int | None = None
    unread: bool = False
    pending: bool = False
    reader_gone: bool = False
    timestamps: bool = False
    readings: Collection[str] = ()
    choices: Mapping[str, bool] = field(default_factory=dict)
    held: list[Seg] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    sent: list[Reply] = field(default_factory=list)
    signals: list[str] = field(default_factory=list)
    result: str = ""
    restarts: int = 0
    challenges: int = 0
    ack_due: bool = False
    by: list[str] = field(default_factory=list)

    def copy(self, choices: Mapping[str, bool]) -> Endpoint:
        """Return the same connection with other choices, before it has sent, signalled or asked anything."""
        return dataclasses.replace(self, choices=choices, held=[*self.held], asked=[], sent=[], signals=[], by=[])

    # -- what all of it needs ------------------------------------------------------------------------

    def _by(self, *sentences: str) -> None:
        """Note which sentences are followed; without a document they are RFC 9293's."""
        ids = (name if ":" in name else f"RFC9293:{name}" for name in sentences)
        self.by += (name for name in ids if name not in self.by)

    def _does(self, choice: str) -> bool:
        if choices()[choice].beyond and choice not in self.readings:
            return False
        if choice not in self.asked:
            self.asked.append(choice)
        return self.choices.get(choice, False)

    def _send(
        self, flags: str, seq: int, ack: int | None = None, *, data: int = 0, later: bool = False, why: str = "answer"
    ) -> None:
        number = None if ack is None else ack % MODULUS
        self.sent.append(Reply(seq % MODULUS, number, frozenset(flags.split(",")), data, later, why))

    def _ack(self, *, later: bool = False) -> None:
        self._send("ACK", self.snd_nxt, self.rcv_nxt, later=later)

    def _challenge(self) -> None:
        self.challenges += 1
        if self.challenges <= CHALLENGES:
            self._ack()

    def _reset(self, seg: Seg) -> None:
        """3.5.2: the reset takes its number from SEG.ACK; without one it is zero and acknowledges the segment."""
        self._by("3.5.2-reset-form")
        if seg.ack is not None:
            self._reset_at(seg.ack)
        else:
            self._send("RST,ACK", 0, seg.seq + seg.length)

    def _reset_at(self, ack: int) -> None:
        """<SEQ=SEG.ACK><CTL=RST>."""
        self._send("RST", ack)

    def _reset_of_open_form(self, seg: Seg) -> None:
        if self._does("reset takes SND.NXT"):
            self._send("RST", self.snd_nxt, why="own")
        else:
            self._reset(seg)

    @property
    def _fin_acked(self) -> bool:
        return self.snd_una == self.snd_nxt

    # -- 3.10.7 SEGMENT ARRIVES ----------------------------------------------------------------------

    def segment_arrives(self, seg: Seg) -> list[Reply]:
        """Process one segment; return what it makes the endpoint send."""
        before = len(self.sent)
        if "SYN" in seg.flags and (seg.to_group or seg.from_invalid):
            self._by("MUST-57" if seg.to_group else "MUST-63")
        else:
            step = {State.CLOSED: self._closed, State.LISTEN: self._listen, State.SYN_SENT: self._syn_sent}
            step.get(self.state, self._other)(seg)
        return self.sent[before:]

    def _closed(self, seg: Seg) -> None:
        """3.10.7.1"""
        self._by("3.10.7.1-closed")
        if "RST" not in seg.flags:
            self._reset(seg)

    def _listen(self, seg: Seg) -> None:
        """3.10.7.2"""
        if "RST" in seg.flags:
            self._by("3.10.7.2-listen-rst")
            return
        if seg.ack is not None:
            self._by("3.10.7.2-listen-ack")
            self._reset_at(seg.ack)
            return
        if "SYN" not in seg.flags:
            self._by("3.10.7.2-listen-other")
            return
        if seg.other_security:
            self._by("3.10.7.2-listen-security")
            self._send("RST,ACK", 0, seg.seq + seg.length)
            return
        self._by("3.10.7.2-listen-syn", "3.10.7.2-listen-syn-state")
        self.rcv_nxt, self.irs = (seg.seq + 1) % MODULUS, seg.seq
        self._send("SYN,ACK", self.iss, self.rcv_nxt)
        self.snd_nxt, self.snd_una = (self.iss + 1) % MODULUS, self.iss
        self.state, self.passive = State.SYN_RECEIVED, True

    def _syn_sent(self, seg: Seg) -> None:
        """3.10.7.3"""
        if seg.ack is not None and (at_most(seg.ack, self.iss) or less(self.snd_nxt, seg.ack)):
            self._by("3.10.7.3-ack-unacceptable")
            if "RST" not in seg.flags:
                self._reset_at(seg.ack)
            return
        if "RST" in seg.flags:
            self._by("3.10.7.3-rst")
            # RCV.NXT is not known yet: the zero that a peer without a connection writes is what it can match.
            if seg.ack is None or (seg.seq != 0 and self._does("SYN-SENT checks SEG.SEQ of a RST")):
                return
            self._end("connection reset")
            return
        if seg.other_security:
            self._by("3.10.7.3-security")
            self._reset(seg)
            return
        if "SYN" not in seg.flags:
            self._by("3.10.7.3-other")
            return
        self.rcv_nxt, self.irs = (seg.seq + 1) % MODULUS, seg.seq
        if seg.ack is not None:
            self.snd_una = seg.ack
        if less(self.iss, self.snd_una):
            self._by("3.10.7.3-syn-ack")
            self.state = State.ESTABLISHED
            self._take_window(seg)
            rest = dataclasses.replace(seg, seq=self.rcv_nxt, flags=seg.flags - {"SYN"})
            if not (seg.data and self._does("SYN's ACK is merged with that of the text")):
                self._ack()
            self._from_sixth(rest)
            return
        self._by("3.10.7.3-syn")
        self.state, self.passive = State.SYN_RECEIVED, False
        self._send("SYN,ACK", self.iss, self.rcv_nxt)
        self._take_window(seg)

    def _other(self, seg: Seg) -> None:
        """3.10.7.4, one method per step; a step that ends the processing returns True."""
        steps: tuple[Callable[[Seg], bool], ...] = (
            self._new_incarnation,
            self._first,
            self._second,
            self._third,
            self._fourth,
        )
        if any(step(seg) for step in steps):
            return
        seg = self._trimmed(seg)
        if seg.seq != self.rcv_nxt:
            self._hold(seg)
        elif not self._fifth(seg):
            self._from_sixth(seg)

    def _new_incarnation(self, seg: Seg) -> bool:
        """3.6.1 (MAY-2) and RFC 6191, 2, which come before the sequence check of the first step."""
        if self.state is not State.TIME_WAIT or seg.flags & {"SYN", "ACK", "RST"} != {"SYN"}:
            return False
        newer = less((self.rcv_nxt - 1) % MODULUS, seg.seq)  # the last number seen was that of the FIN
        if self._does("RFC 6191"):
            if seg.stamp is not None:
                honoured = self.stamp is None or less(self.stamp, seg.stamp) or (seg.stamp == self.stamp and newer)
            else:
                honoured = newer
            if not honoured and self._does("a SYN that RFC 6191 drops is challenged"):
                return False
            self._by("3.10.7.4-time-wait-timestamps")
        elif newer and self._does("MAY-2"):
            self._by("MAY-2")
            honoured = True
        else:
            return False
        if honoured:
            self.iss = (self.snd_nxt + 100_000) % MODULUS  # larger than any that was used
            self.state = State.LISTEN
            self._listen(seg)
        return True

    def _acceptable(self, seg: Seg) -> bool:
        """Table 6."""

        def inside(number: int) -> bool:
            return (number - self.rcv_nxt) % MODULUS < self.rcv_wnd

        if not seg.length:
            return inside(seg.seq) if self.rcv_wnd else seg.seq == self.rcv_nxt
        return self.rcv_wnd > 0 and (inside(seg.seq) or inside(seg.seq + seg.length - 1))

    def _first(self, seg: Seg) -> bool:
        """Check sequence number."""
        if self._paws(seg):
            return True
        if self._acceptable(seg):
            self._take_stamp(seg)
            return False
        if "RST" in seg.flags:
            self._by("3.10.7.4-rst-outside")
            return True
        self._by("3.10.7.4-seq-unacceptable")
        if self.rcv_wnd == 0 and seg.ack is not None and less(self.snd_una, seg.ack) and at_most(seg.ack, self.snd_nxt):
            self._fifth(seg)  # special allowance for valid ACKs
        if (
            self.state is State.SYN_RECEIVED
            and "SYN" in seg.flags
            and self._does("a repeated SYN has the SYN,ACK repeated")
        ):
            self._send("SYN,ACK", self.iss, self.rcv_nxt, why="again")
            return True
        if self.state is State.TIME_WAIT and "FIN" in seg.flags and self._does("a repeated FIN restarts 2 MSL"):
            self.restarts += 1
        self._ack()
        return True

    def _paws(self, seg: Seg) -> bool:
        """RFC 7323 sections 3.2 and 5.3, R1: before the sequence number is looked at. A RST is never kept out."""
        if not self.timestamps or "RST" in seg.flags:
            return False
        if seg.stamp is None:
            if self._does("a segment without the negotiated timestamp is taken"):
                return False
            self._by("RFC7323:3.2-missing")
            return True
        if self.stamp is not None and less(seg.stamp, self.stamp) and "SYN" not in seg.flags:
            self._by("RFC7323:5.3-R1")
            self._ack()
            return True
        return False

    def _take_stamp(self, seg: Seg) -> None:
        """RFC 7323 section 5.3, R3, for what lies at the left edge of the window."""
        if self.timestamps and seg.stamp is not None and "RST" not in seg.flags and at_most(seg.seq, self.rcv_nxt):
            self.stamp = seg.stamp

    def _second(self, seg: Seg) -> bool:
        """Check the RST bit. The number that counts is the segment's own: it is not held for a hole before it."""
        if "RST" not in seg.flags:
            return False
        if self.state is State.TIME_WAIT and self._does("RFC 1337"):
            self._by("RFC1337:3-F1")
        elif less(seg.seq, self.rcv_nxt):  # its text reaches into the window, its number does not
            self._by("3.10.7.4-rst-outside")
        elif seg.seq != self.rcv_nxt and self._does("RFC 5961"):
            self._by("3.10.7.4-rst-in-window")
            self._challenge()
        elif self.state is State.SYN_RECEIVED:
            self._by("3.10.7.4-rst-exact")
            if self.passive:
                self._by("3.10.7.4-rst-syn-received-passive")
                self.state = State.LISTEN
            else:
                self._by("3.10.7.4-rst-syn-received-active")
                self._end("connection refused")
        else:
            self._by("3.10.7.4-rst-exact")
            self._end("" if self.state in (State.CLOSING, State.LAST_ACK, State.TIME_WAIT) else "connection reset")
        return True

    def _third(self, seg: Seg) -> bool:
        """Check security."""
        if seg.other_security:
            self._by("3.10.7.4-security")
            self._reset(seg)
            if self.state is not State.SYN_RECEIVED:
                self._end("connection reset")
        return seg.other_security

    def _fourth(self, seg: Seg) -> bool:
        """Check the SYN bit."""
        if "SYN" not in seg.flags:
            return False
        if self.state is State.SYN_RECEIVED and self.passive and less(seg.seq, self.rcv_nxt):
            return self._repeated_syn(seg)
        if self.state is State.SYN_RECEIVED and self.passive:
            self._by("3.10.7.4-syn-received-syn")
            self.state = State.LISTEN
        elif self._does("RFC 5961"):
            self._by("3.10.7.4-syn-challenge")
            self._challenge()
        else:
            self._by("3.10.7.4-syn-reset")
            self._reset_of_open_form(seg)
            self._end("connection reset")
        return True

    def _repeated_syn(self, seg: Seg) -> bool:
        """Process a SYN before the window whose text lies in it: trimmed off, it is not in the segment any more."""
        self._by("3.10.7.4-trim")
        if self._does("a repeated SYN has the SYN,ACK repeated"):
            self._send("SYN,ACK", self.iss, self.rcv_nxt, why="again")
            return True
        if self._does("RFC 5961"):
            self._challenge()
            return True
        return False

    def _trimmed(self, seg: Seg) -> Seg:
        """Return the idealized segment of the first step: nothing left of RCV.NXT, nothing beyond the window."""
        old = (self.rcv_nxt - seg.seq) % MODULUS
        if 0 < old < MODULUS // 2:
            seg = dataclasses.replace(seg, seq=self.rcv_nxt, data=max(0, seg.data - old))
        room = self.rcv_wnd - (seg.seq - self.rcv_nxt) % MODULUS
        if seg.length > room:
            seg = dataclasses.replace(seg, data=min(seg.data, room), flags=seg.flags - {"FIN"})
        return seg

    def _hold(self, seg: Seg) -> None:
        """SHLD-31 and MAY-13."""
        self._by("SHLD-31")
        if not self._does("what lies beyond a hole is dropped"):
            self.held.append(seg)
        if self._does("the ACK field of a held segment is processed at once") and self._fifth(seg):
            return
        if self._does("MAY-13"):
            self._ack()

    def _fifth(self, seg: Seg) -> bool:
        """Check the ACK field."""
        if seg.ack is None:
            self._by("3.10.7.4-no-ack")
            return True
        lowest = (self.snd_una - self.max_snd_wnd) % MODULUS
        fits = at_most(lowest, seg.ack) and at_most(seg.ack, self.snd_nxt)
        opening = self.state is State.SYN_RECEIVED
        if not fits and self._does("RFC 5961") and not (opening and self._does("SYN-RECEIVED resets first")):
            self._by("3.10.7.4-ack-range")
            self._ack()
            return True
        if opening:
            if not (less(self.snd_una, seg.ack) and at_most(seg.ack, self.snd_nxt)):
                self._by("3.10.7.4-ack-syn-received-bad")
                self._reset_at(seg.ack)
                return True
            self._by("3.10.7.4-ack-syn-received")
            self.state = State.ESTABLISHED
            self._take_window(seg)
            self.snd_una = seg.ack
            if not seg.length and self._does("a window update follows the handshake"):
                self._ack()
            return False
        if less(self.snd_nxt, seg.ack):  # 3.5.2, group 3, says it for every synchronized state
            self._by("3.10.7.4-ack-unsent")
            self._ack()
            return True
        return self._acknowledged(seg, seg.ack)

    def _acknowledged(self, seg: Seg, ack: int) -> bool:
        """Return the fifth step in a synchronized state, for an ACK of data that was sent."""
        if less(self.snd_una, ack):
            self._by("3.10.7.4-ack-new")
            self.snd_una = ack
        else:
            self._by("3.10.7.4-ack-duplicate")
        if self.state not in (State.LAST_ACK, State.TIME_WAIT) and at_most(self.snd_una, ack):
            self._update_window(seg, ack)
        if self.state is State.FIN_WAIT_1 and self._fin_acked:
            self._by("3.10.7.4-ack-fin-wait-1")
            self.state = State.FIN_WAIT_2
        elif self.state is State.CLOSING:
            self._by("3.10.7.4-ack-closing")
            if not self._fin_acked:
                return True
            self.state = State.TIME_WAIT
        elif self.state is State.LAST_ACK and self._fin_acked:
            self._by("3.10.7.4-ack-last-ack")
            self._end("")
            return True
        elif self.state is State.TIME_WAIT and self._does("TIME-WAIT acknowledges whatever comes"):
            self._ack()
        return False

    def _take_window(self, seg: Seg) -> None:
        self.snd_wnd, self.snd_wl1, self.snd_wl2 = seg.wnd, seg.seq, seg.ack or 0

    def _update_window(self, seg: Seg, ack: int) -> None:
        if less(self.snd_wl1, seg.seq) or (self.snd_wl1 == seg.seq and at_most(self.snd_wl2, ack)):
            self._take_window(seg)

    def _from_sixth(self, seg: Seg) -> None:
        """Check the URG bit, process the segment text, check the FIN bit; then what was held behind it."""
        self._consume(seg)
        while self.state in RECEIVES_DATA and (ready := [late for late in self.held if late.seq == self.rcv_nxt]):
            self.held.remove(ready[0])
            if not self._fifth(ready[0]):
                self._consume(ready[0])
        if self.ack_due:  # MUST-58, MUST-59: one for all
            self.ack_due = False
            self._ack(later=True)

    def _consume(self, seg: Seg) -> None:
        if "URG" in seg.flags and self.state in RECEIVES_DATA and seg.up:
            self.signals.append("urgent")
        if seg.data and self.state not in RECEIVES_DATA:
            self._by("3.10.7.4-text-ignored")
        elif seg.data:
            self._by("3.10.7.4-text")
            if self.reader_gone and self._does("MAY-1"):
                self._reset_of_open_form(seg)
                self._end("")
                return
            self.rcv_nxt = (self.rcv_nxt + seg.data) % MODULUS
            self.rcv_wnd -= seg.data
            self.ack_due = True
        if "FIN" not in seg.flags:
            return
        self._by("3.10.7.4-fin", _FIN[self.state])
        self.signals.append("connection closing")
        self.rcv_nxt = (self.rcv_nxt + 1) % MODULUS
        self.ack_due = True
        follows = {
            State.ESTABLISHED: State.CLOSE_WAIT,
            State.FIN_WAIT_1: State.CLOSING,
            State.FIN_WAIT_2: State.TIME_WAIT,
        }
        if self.state is State.TIME_WAIT:
            self.restarts += 1
        self.state = follows.get(self.state, self.state)

    def _end(self, signal: str) -> None:
        if signal:
            self.signals.append(signal)
        self.state = State.CLOSED

    # -- 3.10.1 to 3.10.6: calls ---------------------------------------------------------------------

    def call(self, name: str, how: str = "") -> list[Reply]:
        """Make a user call. `result` is error, ok, queued, received, state, or empty where the text just returns."""
        before = len(self.sent)
        self._by(_CALLS[name][_group(name, self.state)])
        getattr(self, f"_call_{name.lower()}")(how)
        return self.sent[before:]

    def _call_open(self, how: str) -> None:
        if self.state not in (State.CLOSED, State.LISTEN) or "unspecified" in how:
            self.result = "error"
        elif how == "passive":
            self.state = State.LISTEN
        else:
            self._open_actively()

    def _open_actively(self) -> None:
        self._send("SYN", self.iss, why="call")
        self.snd_una, self.snd_nxt = self.iss, (self.iss + 1) % MODULUS
        self.state, self.passive = State.SYN_SENT, False

    def _call_send(self, how: str) -> None:
        if self.state in (State.SYN_SENT, State.SYN_RECEIVED):
            self.result = "queued"
        elif self.state in (State.ESTABLISHED, State.CLOSE_WAIT):
            self._send("URG,ACK" if how == "urgent" else "ACK", self.snd_nxt, self.rcv_nxt, data=10, why="call")
            self.snd_nxt = (self.snd_nxt + 10) % MODULUS
        elif self.state is State.LISTEN and "unspecified" not in how:
            self._open_actively()
        else:
            self.result = "error"

    def _call_receive(self, _how: str) -> None:
        if self.state in (State.LISTEN, State.SYN_SENT, State.SYN_RECEIVED):
            self.result = "queued"
        elif self.state in RECEIVES_DATA or (self.state is State.CLOSE_WAIT and self._does("text awaits delivery")):
            self.result = "received"
        else:
            self.result = "error"

    def _call_close(self, _how: str) -> None:
        if self.state in (State.LISTEN, State.SYN_SENT):
            self._end("")
        elif self.state in _HALF_CLOSED | {State.ESTABLISHED} and self.unread and self._does("MAY-1"):
            self._abort()  # SHLD-3: "issues a CLOSE call while received data is still pending", whoever has closed before
        elif self.state is State.SYN_RECEIVED and self.pending:
            self.result = "queued"
        elif self.state in (State.SYN_RECEIVED, State.ESTABLISHED, State.CLOSE_WAIT):
            self._send("FIN,ACK", self.snd_nxt, self.rcv_nxt, why="call")
            self.snd_nxt = (self.snd_nxt + 1) % MODULUS
            self.state = State.LAST_ACK if self.state is State.CLOSE_WAIT else State.FIN_WAIT_1
        else:  # 3.9.1: interfaces differ, and 3.10.4 itself allows "ok" in FIN-WAIT-1 and FIN-WAIT-2
            self.result = "ok" if self._does("the interface answers ok") else "error"

    def _call_abort(self, _how: str) -> None:
        if self.state is State.CLOSED:
            self.result = "ok" if self._does("the interface answers ok") else "error"
        elif self.state in (State.LISTEN, State.SYN_SENT):
            self._end("")
        elif self.state in (State.CLOSING, State.LAST_ACK, State.TIME_WAIT):
            self.result = "ok"
            self._end("")
        else:
            self._abort()

    def _abort(self) -> None:
        self._send("RST", self.snd_nxt, why="call")
        self._end("")
        if self._does("the sender of a RST enters TIME-WAIT"):  # 3.5.2, 3.3.2 note 3
            self.state = State.TIME_WAIT

    def _call_status(self, _how: str) -> None:
        known = self.state is not State.CLOSED or self._does("the interface answers ok")
        self.result = "state" if known else "error"

    # -- 3.10.8 and 3.8: timers ----------------------------------------------------------------------

    def timeout(self, name: str) -> list[Reply]:
        """Let a timer run out. Raises ValueError where none is called so."""
        before = len(self.sent)
        if name in ("USER TIMEOUT", "R2"):
            # 3.9.1.1 has the connection aborted; 3.10.5 sends nothing in SYN-SENT and TIME-WAIT.
            if self.state not in (State.SYN_SENT, State.TIME_WAIT) and self._does("giving up sends a RST"):
                self._send("RST", self.snd_nxt, why="call")
            self._by("3.10.8-user")
            self._end("aborted due to user timeout")
        elif name == "RETRANSMISSION TIMEOUT":
            self._by("3.10.8-retransmission")
            self._retransmit()
        elif name == "TIME-WAIT TIMEOUT":
            self._by("3.10.8-time-wait")
            self._end("")
        elif name == "PERSIST":
            self._by("SHLD-29")
            self._send("ACK", self.snd_nxt, self.rcv_nxt, data=1, why="probe")
        elif name == "KEEPALIVE":
            self._by("MAY-5")
            self._send("ACK", self.snd_nxt - 1, self.rcv_nxt, why="keepalive")
        elif name == "DELAYED ACK":
            self._by("MUST-40")
            self._ack(later=True)
        else:
            raise ValueError(f"no timer is called {name!r}")
        return self.sent[before:]

    def _retransmit(self) -> None:
        if self.state is State.SYN_SENT:
            self._send("SYN", self.iss, why="again")
        elif self.state is State.SYN_RECEIVED:
            self._send("SYN,ACK", self.iss, self.rcv_nxt, why="again")
        elif self.state in SYNCHRONIZED and self.snd_una != self.snd_nxt:
            fin = self.state in FIN_OUTSTANDING
            data = (self.snd_nxt - self.snd_una) % MODULUS - fin
            self._send("FIN,ACK" if fin else "ACK", self.snd_una, self.rcv_nxt, data=data, why="again")


def outcomes(
    endpoint: Endpoint, event: Callable[[Endpoint], object], fixed: Mapping[str, bool] = types.MappingProxyType({})
) -> Iterator[Endpoint]:
    """Yield copies of `endpoint` after `event`, one for every way to answer the questions that are not in `fixed`.

    Each says what was sent (`sent`), what the user was told (`signals`, `result`), how it chose (`choices`), and by which
    requirements (`by`).
    """
    todo: list[dict[str, bool]] = [{}]
    while todo:
        answers = todo.pop()
        run = endpoint.copy({**answers, **fixed})
        event(run)
        fresh = [choice for choice in run.asked if choice not in run.choices]
        if not fresh:
            yield run
            continue
        todo += [{**answers, fresh[0]: answer} for answer in (False, True)]
