"""The segments of a sweep: flags, sequence edges, acknowledgment edges, text, and bits that must not matter. No I/O."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from conformance.standard.machine import MODULUS, Endpoint, Seg
from conformance.standard.states import State

FLAGS = ("SYN", "FIN", "RST", "ACK", "PSH", "URG")
DECIDING = ("SYN", "FIN", "RST", "ACK")
"""The flags that the machine looks at; PSH and URG change no answer."""
BESIDE = ("", "ECE", "CWR", "AE", "reserved")
"""Bits that are set beside the flags and must not change an outcome."""
TEXTS = (0, 1, 100)
SEQS: dict[str, str] = {
    "far-before": "far before the window",
    "before": "just before the window",
    "next": "at RCV.NXT",
    "inside": "inside the window",
    "last": "at the last number of the window",
    "beyond": "just beyond the window",
    "far-beyond": "far beyond the window",
}
ACKS: dict[str, str] = {
    "far-old": "far before SND.UNA",
    "old": "of SND.UNA-1",
    "una": "of SND.UNA",
    "part": "of a part of what is in flight",
    "all": "of SND.NXT",
    "unsent": "of SND.NXT+1",
    "far-unsent": "far beyond SND.NXT",
}
_FAR = 1_000_000_000
_NEAR = 1_000_000
_ANY_ACK = 0x01020304


@dataclass(frozen=True, slots=True)
class SweepSegment:
    """A segment by what matters of it. `ack` is empty without ACK; `beside` is a bit that must not matter."""

    flags: frozenset[str]
    seq: str = "next"
    ack: str = ""
    text: int = 0
    beside: str = ""

    def __str__(self) -> str:
        flags = ",".join(name for name in FLAGS if name in self.flags) or "no flag"
        parts = [flags, SEQS[self.seq]]
        if self.ack:
            parts.append(f"ACK {ACKS[self.ack]}")
        if self.text:
            parts.append(f"with {self.text} octet{'s' if self.text > 1 else ''}")
        if self.beside:
            parts.append(f"and {'a reserved bit' if self.beside == 'reserved' else self.beside}")
        return ", ".join(parts)

    def place(self, end: Endpoint, window: int) -> Seg:
        """Return the segment with the numbers of that connection; `window` is ours."""
        seq = (
            end.rcv_nxt
            + {
                "far-before": -_NEAR,
                "before": -1,
                "next": 0,
                "inside": 1,
                "last": end.rcv_wnd - 1,
                "beyond": end.rcv_wnd,
                "far-beyond": end.rcv_wnd + _NEAR,
            }[self.seq]
        )
        ack = {
            "": None,
            "far-old": end.snd_una - _FAR,
            "old": end.snd_una - 1,
            "una": end.snd_una,
            "part": end.snd_una + 1,
            "all": end.snd_nxt,
            "unsent": end.snd_nxt + 1,
            "far-unsent": end.snd_nxt + _NEAR,
        }[self.ack]
        up = max(1, self.text) if "URG" in self.flags else 0
        number = None if ack is None else ack % MODULUS
        return Seg(seq % MODULUS, self.flags, number, self.text, wnd=window, up=up)


@dataclass(frozen=True, slots=True)
class Way:
    """A way into a state. `in_flight`: text of the target's is sent and not acknowledged."""

    name: str
    state: State
    by: str = "passive"
    via: State | None = None
    in_flight: bool = False

    def __str__(self) -> str:
        return self.name


WAYS = (
    Way("CLOSED", State.CLOSED),
    Way("LISTEN", State.LISTEN),
    Way("SYN-SENT", State.SYN_SENT, "active"),
    Way("SYN-RECEIVED", State.SYN_RECEIVED),
    Way("SYN-RECEIVED-active", State.SYN_RECEIVED, "active"),
    Way("ESTABLISHED", State.ESTABLISHED),
    Way("ESTABLISHED-active", State.ESTABLISHED, "active"),
    Way("ESTABLISHED-in-flight", State.ESTABLISHED, in_flight=True),
    Way("FIN-WAIT-1", State.FIN_WAIT_1),
    Way("FIN-WAIT-2", State.FIN_WAIT_2),
    Way("CLOSE-WAIT", State.CLOSE_WAIT),
    Way("CLOSE-WAIT-in-flight", State.CLOSE_WAIT, in_flight=True),
    Way("CLOSING", State.CLOSING),
    Way("LAST-ACK", State.LAST_ACK),
    Way("TIME-WAIT", State.TIME_WAIT),
    Way("TIME-WAIT-by-CLOSING", State.TIME_WAIT, via=State.CLOSING),
    Way("TIME-WAIT-by-FIN-WAIT-1", State.TIME_WAIT, via=State.FIN_WAIT_1),
)
_OUTSTANDING = (State.SYN_SENT, State.SYN_RECEIVED, State.FIN_WAIT_1, State.CLOSING, State.LAST_ACK)
_WITHOUT_NUMBERS = (State.CLOSED, State.LISTEN)


def flag_sets(names: tuple[str, ...]) -> list[frozenset[str]]:
    """Return every set of these flags, the empty one first."""
    return [frozenset(chosen) for size in range(len(names) + 1) for chosen in itertools.combinations(names, size)]


def acks_of(way: Way) -> list[str]:
    """Return the acknowledgment edges that differ there."""
    if way.in_flight:
        return list(ACKS)
    if way.state in _OUTSTANDING:
        return [name for name in ACKS if name != "part"]
    return [name for name in ACKS if name not in ("part", "una")]


def seqs_of(way: Way) -> list[str]:
    """Return the sequence edges that differ there: without a connection there is no window."""
    if way.state in _WITHOUT_NUMBERS:
        return ["far-before", "next", "far-beyond"]
    return list(SEQS)


def every_segment(way: Way, flags: frozenset[str]) -> Iterator[SweepSegment]:
    """Yield every combination of edges and text for these flags; the bits that must not matter take turns."""
    beside = itertools.cycle(BESIDE)
    acks = acks_of(way) if "ACK" in flags else [""]
    for seq, ack, text in itertools.product(seqs_of(way), acks, TEXTS):
        yield SweepSegment(flags, seq, ack, text, next(beside))


def covering_segments(way: Way, deciding: frozenset[str]) -> list[SweepSegment]:
    """Return segments with these deciding flags that, over all sets of them, cover every pair of values.

    Each edge comes once with everything else in order, and once with another value of the rest; bits that must not
    matter take turns.
    """
    alike = [flags for flags in flag_sets(DECIDING) if ("ACK" in flags) == ("ACK" in deciding)]
    turn = alike.index(deciding)
    seqs, acks = seqs_of(way), acks_of(way) if "ACK" in deciding else [""]
    natural = "all" if "ACK" in deciding else ""
    chosen = [SweepSegment(deciding, "next", natural, text) for text in TEXTS]
    for place, seq in enumerate(seqs):
        chosen.append(SweepSegment(deciding, seq, natural, TEXTS[(place + turn) % len(TEXTS)]))
        rotated = acks[(place + turn) % len(acks)]
        chosen.append(SweepSegment(deciding, seq, rotated, TEXTS[(place + turn // 2) % len(TEXTS)]))
    for place, ack in enumerate(acks):
        chosen.append(SweepSegment(deciding, "next", ack, TEXTS[(place + turn) % len(TEXTS)]))
    beside = itertools.cycle(itertools.product(flag_sets(("PSH", "URG")), BESIDE))
    for _ in range(3 * turn):  # so that over all sets each edge meets each of them
        next(beside)
    unique = list(dict.fromkeys(chosen))
    plain = [segment for segment in unique if segment.seq == "next" and segment.ack == natural]
    rest = [segment for segment in unique if segment not in plain]
    return plain + [
        replace(segment, flags=deciding | harmless, beside=bit)
        for segment, (harmless, bit) in zip(rest, beside, strict=False)
    ]


@functools.cache
def count_of(ways: tuple[Way, ...]) -> int:
    """Return how many segments a full sweep of these ways has."""
    return sum(len(list(every_segment(way, flags))) for way in ways for flags in flag_sets(FLAGS))
