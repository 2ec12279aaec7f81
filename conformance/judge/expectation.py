"""State what a segment must be: match it, name the differences, and describe it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from conformance.wire import PSH, RST, Flags, Segment, Seq
from conformance.wire.names import NOP, option_name, option_text, relative, sack_text
from conformance.wire.options import Option, blocks, find, stamps


class Base(NamedTuple):
    """The initial numbers of the sending side (`seq`) and of its peer (`ack`), for relative printing."""

    seq: Seq | None
    ack: Seq | None


class Difference(NamedTuple):
    """A field that is not as it must be, both values as text."""

    field: str
    expected: str
    actual: str

    def __str__(self) -> str:
        return f"{self.field}: expected {self.expected}, came {self.actual}"


def describe(segment: Segment, base: Base) -> str:
    """Return a segment as one line: flags, relative numbers, length and options."""
    reset = bool(segment.flags & RST)
    words = [str(segment.flags), f"seq={relative(segment.seq, base.seq, reset=reset)}"]
    if segment.flags & Flags.ACK:
        words.append(f"ack={relative(segment.ack, base.ack, reset=reset)}")
    if segment.payload:
        words.append(f"len={len(segment.payload)}")
    words.append(f"win={segment.window}")
    if segment.flags & Flags.URG:
        words.append(f"urg={segment.urgent}")
    for option in segment.option_list:
        if option.kind > NOP:
            words.append(option_text(option.kind, option.data, base.ack))
    return " ".join(words)


@dataclass(frozen=True)
class Expectation:
    """The fields that a segment must have. An unset field matches anything; PSH is compared only where `flags` has it.

    `options` maps an option's kind to the option that must be there, or to None where it must be absent; `has` are kinds
    that must be there, whatever they say. `tsecr` is the timestamp that must be echoed; `sack` are the SACK blocks in their
    order, () where there must be none.
    """

    flags: Flags | None = None
    seq: Seq | None = None
    ack: Seq | None = None
    length: int | None = None
    payload: bytes | None = None
    window: int | None = None
    urgent: int | None = None
    options: tuple[tuple[int, Option | None], ...] = ()
    has: tuple[int, ...] = ()
    tsecr: int | None = None
    sack: tuple[tuple[Seq, Seq], ...] | None = None
    label: str = ""

    def differences(self, segment: Segment, base: Base) -> tuple[Difference, ...]:
        """Return every field in which `segment` differs; a wrong checksum always does (RFC 9293 MUST-2)."""
        return tuple(self._walk(segment, base))

    def _number(self, number: Seq, base: Seq | None) -> str:
        return relative(number, base, reset=bool(self.flags and self.flags & RST))

    def _walk(self, segment: Segment, base: Base) -> Iterator[Difference]:
        reset = bool(segment.flags & RST)
        if not segment.checksum_ok:
            yield Difference("checksum", "right", f"{segment.checksum:#06x}")
        if self.flags is not None:
            actual = segment.flags if self.flags & PSH else segment.flags & ~PSH
            if actual != self.flags:
                yield Difference("flags", str(self.flags), str(actual))
        if self.seq is not None and segment.seq != self.seq:
            yield Difference("seq", self._number(self.seq, base.seq), relative(segment.seq, base.seq, reset=reset))
        if self.ack is not None and segment.ack != self.ack:
            yield Difference("ack", self._number(self.ack, base.ack), relative(segment.ack, base.ack, reset=reset))
        if self.length is not None and len(segment.payload) != self.length:
            yield Difference("length", str(self.length), str(len(segment.payload)))
        if self.payload is not None and segment.payload != self.payload:
            yield Difference("data", _short(self.payload), _short(segment.payload))
        if self.window is not None and segment.window != self.window:
            yield Difference("window", str(self.window), str(segment.window))
        if self.urgent is not None and segment.urgent != self.urgent:
            yield Difference("urgent pointer", str(self.urgent), str(segment.urgent))
        yield from self._walk_options(segment.option_list, base)

    def _walk_options(self, options: tuple[Option, ...], base: Base) -> Iterator[Difference]:
        for kind, wanted in self.options:
            option = find(options, kind)
            if option != wanted:
                name = option_name(kind)
                yield Difference(name, str(wanted or "absent"), str(option or "absent"))
        for kind in self.has:
            if find(options, kind) is None:
                yield Difference(option_name(kind), "there", "absent")
        if self.tsecr is not None:
            pair = stamps(options)
            if pair is None or pair[1] != self.tsecr:
                yield Difference("TSecr", str(self.tsecr), "absent" if pair is None else str(pair[1]))
        if self.sack is not None and (reported := blocks(options)) != self.sack:
            yield Difference("SACK", sack_text(self.sack, base.ack), sack_text(reported, base.ack))

    def describe(self, base: Base) -> str:
        """Return the expectation as one line, in the words of the function `describe`."""
        words = [self.label] if self.label else []
        if self.flags is not None:
            words.append(str(self.flags))
        if self.seq is not None:
            words.append(f"seq={self._number(self.seq, base.seq)}")
        if self.ack is not None:
            words.append(f"ack={self._number(self.ack, base.ack)}")
        if self.length is not None:
            words.append(f"len={self.length}")
        if self.payload is not None:
            words.append(f"data={_short(self.payload)}")
        if self.window is not None:
            words.append(f"win={self.window}")
        if self.urgent is not None:
            words.append(f"urg={self.urgent}")
        for kind, wanted in self.options:
            words.append(str(wanted) if wanted else f"no {option_name(kind)}")
        words += [f"any {option_name(kind)}" for kind in self.has]
        if self.tsecr is not None:
            words.append(f"TSecr={self.tsecr}")
        if self.sack is not None:
            words.append(f"SACK={sack_text(self.sack, base.ack)}")
        return " ".join(words) or "any segment"


def _short(data: bytes) -> str:
    return repr(data) if len(data) <= 32 else f"{data[:29]!r}... ({len(data)} octets)"
