"""List what a target may answer: a segment by the RFC's own formulas, silence, or what a call returns.

The formulas are those of the document (`<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`); `Response.fields` makes the numbers.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from conformance.standard.segments import MODULUS, Variables
from conformance.standard.states import SYNCHRONIZED, State


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of a response segment: SEQ, ACK (None: the field is not significant), control bits.

    `seq` is None where the document leaves it open.
    """

    seq: int | None
    ack: int | None
    flags: frozenset[str]


@dataclass(frozen=True, slots=True)
class Response:
    """One answer that a target may give.

    `flags` is None where no segment is sent; PSH is never compared, and a RST may also carry ACK where the formula
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
        """Return the segment for a target with these variables, in answer to SEG.SEQ, SEG.ACK, SEG.LEN; None for silence.

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
            made = [numbers[formula] % MODULUS if formula else None for formula in (self.seq, self.ack)]
        except KeyError:
            raise ValueError(f"response {self.slug} needs SEG.ACK, and the segment has no ACK") from None
        return Fields(made[0], made[1], self.flags)

    @property
    def formula(self) -> str:
        """Return it as the RFC writes it: `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`; empty for silence and for calls."""
        if self.flags is None:
            return ""
        order = ("SYN", "FIN", "RST", "URG", "ACK")
        parts = [f"<SEQ={self.seq}>" if self.seq else "", f"<ACK={self.ack}>" if self.ack else ""]
        return "".join(parts) + f"<CTL={','.join(flag for flag in order if flag in self.flags)}>"


def _bits(text: str) -> frozenset[str]:
    return frozenset(text.split("+")) if text else frozenset()


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
