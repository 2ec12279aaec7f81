"""Hold what a target answers against the documented machine: which of its outcomes can that have been? No I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from conformance.standard.machine import MODULUS, Endpoint, Reply, Seg, less, outcomes
from conformance.standard.states import State

FIXED: Mapping[str, bool] = {"RFC 5961": True, "MAY-1": False}
"""The choices that targets are held to: RFC 5961's checks, which RFC 9293 has taken up; and an application that reads."""
GONE = (State.CLOSED, State.LISTEN)
"""On a four-tuple's own there is no difference: no connection."""
_COMPARED = frozenset({"SYN", "FIN", "RST", "ACK"})
_ORDER = ("SYN", "FIN", "RST", "ACK")


@dataclass(frozen=True, slots=True)
class SeenSegment:
    """A segment of the target, with the fields that the machine decides."""

    flags: frozenset[str]
    seq: int
    ack: int | None
    text: int = 0

    @property
    def end(self) -> int:
        """The number behind it."""
        return (self.seq + self.text + len(self.flags & {"SYN", "FIN"})) % MODULUS

    def repeats(self, end: Endpoint) -> bool:
        """Tell whether a timer of the target's may have sent it: it occupies numbers, all of which were used before."""
        return self.end != self.seq and "RST" not in self.flags and not less(end.snd_nxt, self.end)


@dataclass(frozen=True)
class World:
    """One way in which the machine may have done what was seen."""

    end: Endpoint
    text: str
    """The replies in words."""


def fits(run: Endpoint, before: Endpoint, seen: Sequence[SeenSegment]) -> Endpoint | None:
    """Return the machine's end after `run` if that is what was seen, renumbered where the target chose an ISS; or None."""
    end = run
    replies = list(run.sent)
    for segment in seen:
        while replies and replies[0].later and not _is(replies[0], segment, before):
            replies.pop(0)
        if replies and _is(replies[0], segment, before):
            if "SYN" in segment.flags and before.state in (State.LISTEN, State.TIME_WAIT):
                end = _renumbered(end, segment.seq)
            replies.pop(0)
        elif not segment.repeats(before):
            return None
    return end if all(reply.later for reply in replies) else None


def _is(reply: Reply, segment: SeenSegment, before: Endpoint) -> bool:
    flags, ack = reply.flags & _COMPARED, reply.ack
    if "RST" in flags and "ACK" not in flags and "ACK" in segment.flags:  # a reset may carry an ACK field of its own
        flags, ack = flags | {"ACK"}, segment.ack
    chosen = "SYN" in flags and before.state in (State.LISTEN, State.TIME_WAIT)
    return (
        flags == segment.flags & _COMPARED
        and (chosen or reply.seq == segment.seq)
        and ack == segment.ack
        and reply.data == segment.text
    )


def _renumbered(end: Endpoint, iss: int) -> Endpoint:
    after = end.copy({})
    after.iss = after.snd_una = iss
    after.snd_nxt = (iss + 1) % MODULUS
    return after


def possible(
    before: Endpoint, event: Callable[[Endpoint], object], *, fixed: Mapping[str, bool] = FIXED
) -> list[Endpoint]:
    """Return all that the machine allows for that event."""
    start = before.copy({})
    start.challenges = 0
    return list(outcomes(start, event, fixed))


def after_segment(before: Endpoint, segment: Seg) -> list[Endpoint]:
    """Return all that the machine allows when that segment arrives."""
    return possible(before, lambda end: end.segment_arrives(segment))


def matching(runs: Sequence[Endpoint], before: Endpoint, seen: Sequence[SeenSegment]) -> list[Endpoint]:
    """Return those of the outcomes that can have been what was seen."""
    ends = (fits(run, before, seen) for run in runs)
    return [end for end in ends if end is not None]


def unmoved(end: Endpoint, before: Endpoint) -> bool:
    """Tell whether the connection is where it was, and holds nothing more."""
    names = ("state", "snd_una", "snd_nxt", "rcv_nxt", "rcv_wnd", "iss")
    return not end.held and all(getattr(end, name) == getattr(before, name) for name in names)


def probe_of(end: Endpoint) -> Seg:
    """Return an old octet: a connection says its numbers, where there is none it is reset, and nothing moves."""
    ack = end.snd_nxt if end.state is State.SYN_RECEIVED else end.snd_una
    return Seg((end.rcv_nxt - 2) % MODULUS, frozenset({"ACK"}), ack, 1, wnd=65535)


def same_state(word: State, end: State) -> bool:
    """Tell whether the agent's word about a four-tuple is that state."""
    return word is end or (word in GONE and end in GONE)


def words_of(replies: Sequence[SeenSegment | Reply], before: Endpoint, segment: Seg) -> str:
    """Return the replies in the words of the standard, as `ACK` or `RST <SEQ=SEG.ACK>`; `nothing` for none."""
    return " and ".join(_word(reply, before, segment) for reply in replies) or "nothing"


def _word(reply: SeenSegment | Reply, before: Endpoint, segment: Seg) -> str:
    flags = ",".join(name for name in _ORDER if name in reply.flags) or "no flag"
    text = reply.data if isinstance(reply, Reply) else reply.text
    notes = []
    if "RST" in reply.flags:
        names = {segment.ack: "SEG.ACK", before.snd_nxt: "SND.NXT", 0: "0"}
        flags = "RST" if reply.seq else flags
        notes.append(f"SEQ={names.get(reply.seq, 'another')}")
    elif "SYN" not in reply.flags:
        if reply.seq != before.snd_nxt:
            notes.append("SEQ=SND.UNA" if reply.seq == before.snd_una else "SEQ=another")
        if reply.ack != before.rcv_nxt:
            moved = reply.ack is not None and less(before.rcv_nxt, reply.ack)
            taken = (segment.seq + segment.length) % MODULUS
            notes.append("of the segment" if reply.ack == taken and moved else "of more" if moved else "ACK=another")
    if text:
        notes.append(f"{text} octets")
    return f"{flags} {' '.join(f'<{note}>' if '=' in note else note for note in notes)}".strip()


def due(runs: Sequence[Endpoint], before: Endpoint, segment: Seg) -> str:
    """Return all that the machine allows, in words: `ACK, then CLOSE-WAIT`."""
    texts = (f"{words_of(run.sent, before, segment)}, then {_after(run, before)}" for run in runs)
    return " or ".join(dict.fromkeys(texts))


def _after(run: Endpoint, before: Endpoint) -> str:
    if run.state in GONE and before.state not in GONE:
        return "no connection"
    moved = before.state not in GONE and run.rcv_nxt != before.rcv_nxt and run.state is before.state
    return f"{run.state}{' with more taken in' if moved else ''}"


def with_readings(end: Endpoint, names: frozenset[str]) -> Endpoint:
    """Return the same connection with these readings switched on."""
    return dataclasses.replace(end, readings=names)
