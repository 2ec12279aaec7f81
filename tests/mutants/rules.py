"""The words in which a mutant says what it breaks: `from SYN ACK, in SYN-RECEIVED, nth 1: ack +1`.

First the way: `from` the target or `to` it with flags (`any`; exact ones, where PSH is not looked at; or `+` and flags that
have to be among them), or `app` and a call of the agent protocol. Then conditions, all of which have to hold (CONDITIONS).
Behind the colon what is done instead (CHANGES; what needs the link or the agent is in wire.py).

Of several rules all are held against the segment as its sender sent it, whatever an earlier one has made of it; what they do
is done in their order: `to SYN: as RST` and `to SYN: exact` make of a SYN a RST at RCV.NXT.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from conformance.standard.catalogue import UnknownRequirement, requirement
from conformance.standard.states import State
from conformance.wire import ACK, CWR, ECE, FIN, PSH, RST, SYN, URG, Flags, Segment, Seq
from tests.mutants.followed import TIMESTAMPS, Followed

FILE = Path(__file__).with_name("mutants.toml")
SECOND = 1_000_000_000
_FLAGS = {"SYN": SYN, "ACK": ACK, "FIN": FIN, "RST": RST, "URG": URG, "PSH": PSH, "ECE": ECE, "CWR": CWR}
_NEWEST_OPTION = 34  # the last kind of option that is in common use (TCP Fast Open)
_COUNT = itertools.count(1000)


class MutantError(Exception):
    """The data of a mutant can't be used: one line."""


@dataclass(frozen=True)
class Scene:
    """A segment on its way, and what is known of its connection."""

    segment: Segment
    conn: Followed
    now_ns: int
    first_ns: int
    """When the target sent the same for the first time; 0: it did not."""
    before: str
    """The state before the segment."""


@dataclass(frozen=True)
class Rule:
    """A condition on a segment, and the changes to a segment that meets it."""

    way: str
    flags: str
    conditions: tuple[tuple[str, str], ...]
    word: str
    rest: tuple[str, ...]

    def matches(self, scene: Scene) -> bool:
        """Return True if all conditions hold; the connection counts the matches."""
        if not _has(scene.segment.flags, self.flags):
            return False
        if not all(CONDITIONS[word](scene, rest) for word, rest in self.conditions if word in CONDITIONS):
            return False
        counts = scene.conn.counts
        counts[id(self)] = count = counts.get(id(self), 0) + 1
        return all(COUNTED[word](count, int(rest)) for word, rest in self.conditions if word in COUNTED)


@dataclass(frozen=True)
class Mutant:
    """One documented rule broken, by rules on the wire. `cases` are arguments of pytest: what could notice."""

    id: str
    breaks: str
    what: str
    cases: str
    rules: tuple[Rule, ...] = ()
    survives: str = ""
    """Why nobody on the wire could see it; nothing where one can."""


def _has(flags: Flags, wanted: str) -> bool:
    if wanted == "any":
        return True
    bits = flags_of(wanted.strip("+").split())
    return flags & bits == bits if wanted[0] == "+" else flags & ~PSH == bits & ~PSH


def flags_of(names: Sequence[str]) -> Flags:
    """The flags among some words."""
    bits = Flags.NONE
    for name in names:
        bits |= _FLAGS.get(name, Flags.NONE)
    return bits


def _is_probe(scene: Scene) -> bool:
    last = scene.conn.snd_max
    return last is not None and scene.segment.seq < last and len(scene.segment.payload) <= 1


def _has_option(scene: Scene, wanted: Callable[[int], bool]) -> bool:
    return any(wanted(one.kind) for one in scene.segment.option_list)


CONDITIONS: Mapping[str, Callable[[Scene, str], bool]] = {
    "in": lambda scene, rest: bool({scene.conn.state, scene.before} & set(rest.split())),
    "after": lambda scene, rest: scene.now_ns - scene.conn.since_ns >= float(rest) * SECOND,
    "data": lambda scene, _: bool(scene.segment.payload),
    "empty": lambda scene, _: not scene.segment.payload,
    "repeat": lambda scene, _: bool(scene.first_ns),
    "first": lambda scene, _: not scene.first_ns,
    "probe": lambda scene, _: _is_probe(scene),
    "after-rst": lambda scene, _: scene.conn.reset_seen,
    "restarted": lambda scene, _: scene.conn.fin_repeated,
    "window": lambda scene, rest: scene.conn.place(scene.segment) == rest,
    "duplicate": lambda scene, rest: scene.conn.duplicates >= int(rest),
    "option": lambda scene, rest: _has_option(scene, lambda kind: kind == int(rest)),
    "unknown-option": lambda scene, _: _has_option(scene, lambda kind: kind > _NEWEST_OPTION),
    "holds": lambda scene, rest: bytes.fromhex(rest) in scene.segment.options,
}
COUNTED: Mapping[str, Callable[[int, int], bool]] = {
    "nth": lambda count, rest: count == rest,
    "every": lambda count, rest: count % rest == 0,
    "beyond": lambda count, rest: count > rest,
}


def _flagged(segment: Segment, rest: Sequence[str]) -> Segment:
    flags = segment.flags
    for name in rest:
        flags = flags | _FLAGS[name[1:]] if name[0] == "+" else flags & ~_FLAGS[name[1:]]
    return replace(segment, flags=flags)


def _turned(segment: Segment, rest: Sequence[str]) -> Segment:
    flags = flags_of(rest)
    return replace(segment, flags=flags, payload=b"" if flags & (RST | SYN) else segment.payload)


def _moved(now: int, text: str) -> int:
    return now + int(text) if text[0] in "+-" else int(text)


def _renumbered(segment: Segment, wanted: str, conn: Followed) -> Segment:
    """The target's numbers moved so that its first is the wanted one; what we acknowledge is moved back."""
    if conn.iss is None:
        return segment
    if conn.shift is None:
        conn.shift = (next(_COUNT) if wanted == "count" else int(wanted)) - int(conn.iss)
    if (segment.sport, segment.dport) == conn.ports:
        return replace(segment, seq=segment.seq + conn.shift)
    return replace(segment, ack=segment.ack - conn.shift) if segment.flags & ACK else segment


def _options(segment: Segment, rest: Sequence[str]) -> Segment:
    """One kind of option: `remove` (NOPs stay), `set HEX` its data, or `add N AT WIDTH` to a number in its data."""
    raw, place = bytearray(segment.options), 0
    kind, word, *more = rest
    while place < len(raw) and raw[place] != 0:
        size = 1 if raw[place] == 1 or place + 1 >= len(raw) else max(2, raw[place + 1])
        start = place + 2
        if raw[place] != int(kind):
            pass
        elif word == "remove":
            raw[place : place + size] = b"\1" * size
        elif word == "set":
            raw[start : start + len(more[0]) // 2] = bytes.fromhex(more[0])
        else:
            at, width = start + int(more[1]), int(more[2])
            number = int.from_bytes(raw[at : at + width], "big") + int(more[0])
            raw[at : at + width] = (number % (1 << 8 * width)).to_bytes(width, "big")
        place += size
    return replace(segment, options=bytes(raw))


def _fresh(segment: Segment, conn: Followed) -> Segment:
    return _options(segment, [str(TIMESTAMPS), "set", f"{conn.tsval:08x}"]) if conn.tsval else segment


CHANGES: Mapping[str, Callable[[Segment, Sequence[str], Followed], Segment]] = {
    "seq": lambda segment, rest, _: replace(segment, seq=Seq(_moved(segment.seq, rest[0]))),
    "ack": lambda segment, rest, _: replace(segment, ack=Seq(_moved(segment.ack, rest[0]))),
    "window": lambda segment, rest, _: replace(segment, window=_moved(segment.window, rest[0]) & 0xFFFF),
    "urgent": lambda segment, rest, _: replace(segment, urgent=_moved(segment.urgent, rest[0]) & 0xFFFF),
    "reserved": lambda segment, rest, _: replace(segment, reserved=int(rest[0])),
    "flags": lambda segment, rest, _: _flagged(segment, rest),
    "as": lambda segment, rest, _: _turned(segment, rest),
    "flip": lambda segment, _, __: (
        replace(segment, payload=bytes([segment.payload[0] ^ 1]) + segment.payload[1:]) if segment.payload else segment
    ),
    "checksum": lambda segment, rest, _: replace(segment, checksum=None if rest[0] == "right" else 0xBAD1),
    "exact": lambda segment, _, conn: segment if conn.rcv_nxt is None else replace(segment, seq=conn.rcv_nxt),
    "acceptable": lambda segment, _, conn: segment if conn.snd_max is None else replace(segment, ack=conn.snd_max),
    "isn": lambda segment, rest, conn: _renumbered(segment, rest[0], conn),
    "add": lambda segment, rest, _: replace(
        segment, options=segment.options + bytes.fromhex(rest[0]), data_offset=None
    ),
    "option": lambda segment, rest, _: _options(segment, rest),
    "fresh-timestamp": lambda segment, _, conn: _fresh(segment, conn),
}

ON_THE_LINK = ("drop", "delay", "stretch", "twice", "repeat-every", "answer", "forget")
"""The words that MutantLink obeys."""
CALLS = (
    "skip",
    "instead",
    "without",
    "nodelay",
    "error",
    "forgive",
    "double",
    "reverse",
    "lose-last",
    "no-eof",
    "early-eof",
    "no-error",
)
"""The words that MutantApp obeys."""


@cache
def mutants() -> dict[str, Mutant]:
    """All of mutants.toml, by id. Raises MutantError."""
    return loaded(FILE.read_text(encoding="utf-8"), FILE.name)


def loaded(content: str, where: str) -> dict[str, Mutant]:
    """The mutants of a file, by id; `where` names it in errors. Raises MutantError."""
    mutants_by_id: dict[str, Mutant] = {}
    for row in tomllib.loads(content)["mutants"]:
        texts = [row["rule"]] if isinstance(row["rule"], str) else row["rule"]
        try:
            requirement(row["breaks"])
            rules = tuple(rule(text) for text in texts)
        except (MutantError, UnknownRequirement, ValueError) as error:
            raise MutantError(f"{where}: {row['id']}: {error}") from None
        if row["id"] in mutants_by_id:
            raise MutantError(f"{where}: two mutants are called {row['id']}")
        mutants_by_id[row["id"]] = Mutant(
            row["id"], row["breaks"], row["what"], row["cases"], rules, row.get("survives", "")
        )
    return mutants_by_id


def rule(text: str) -> Rule:
    """A rule from its words. Raises MutantError, or ValueError where a state is none."""
    match, colon, do = text.partition(": ")
    head, *conditions = [part.strip() for part in match.split(",")]
    way, _, flags = head.partition(" ")
    if not colon or way not in ("from", "to", "app"):
        raise MutantError(f"{text!r} is not `from|to|app WHAT, conditions: what is done`")
    pairs = [(word, rest) for word, _, rest in (one.partition(" ") for one in conditions)]
    for word, rest in pairs:
        _known("condition", word, (*CONDITIONS, *COUNTED))
        if word == "in":
            for name in rest.split():
                State(name)
    if way != "app" and flags != "any":
        for name in flags.strip("+").split():
            _known("flag", name, _FLAGS)
    word, *rest_of = do.split()
    _known("change", word, CALLS if way == "app" else (*CHANGES, *ON_THE_LINK))
    return Rule(way, flags, tuple(pairs), word, tuple(rest_of))


def _known(what: str, word: str, among: Collection[str]) -> None:
    if word not in among:
        raise MutantError(f"{what} {word!r} is not known: {', '.join(among)}")
