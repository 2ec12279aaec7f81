"""TCP options as values, well-formed and malformed (RFC 9293 section 3.2, RFC 7323, 2018, 7413, 5482)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from conformance.wire.names import (
    EOL,
    FAST_OPEN,
    MSS,
    NOP,
    SACK,
    SACK_PERMITTED,
    TIMESTAMPS,
    USER_TIMEOUT,
    WINDOW_SCALE,
    option_name,
    option_text,
    sack_edges,
)
from conformance.wire.seq import Seq

__all__ = [
    "EOL",
    "FAST_OPEN",
    "MSS",
    "NOP",
    "SACK",
    "SACK_PERMITTED",
    "TIMESTAMPS",
    "USER_TIMEOUT",
    "WINDOW_SCALE",
    "Option",
    "blocks",
    "encode",
    "fast_open",
    "find",
    "mss",
    "name_of",
    "options_text",
    "parse",
    "sack",
    "sack_permitted",
    "stamped",
    "stamps",
    "timestamps",
    "user_timeout",
    "window_scale",
]


class Option(NamedTuple):
    """One option. `length` unset means the right one; EOL and NOP have none."""

    kind: int
    data: bytes = b""
    length: int | None = None

    def encode(self) -> bytes:
        """Return the octets on the wire."""
        if self.kind in (EOL, NOP) and self.length is None:
            return bytes((self.kind,))
        length = 2 + len(self.data) if self.length is None else self.length
        return bytes((self.kind, length)) + self.data

    def __str__(self) -> str:
        return option_text(self.kind, self.data)

    def __repr__(self) -> str:
        return str(self)  # a message may print a tuple of options


def options_text(options: Iterable[Option]) -> str:
    """Return all options in one line: `MSS=1460, SACK-permitted`, or `no options`."""
    return ", ".join(map(str, options)) or "no options"


def name_of(kind: int) -> str:
    """Return an option's name as this program writes it, `option 77` for one without a name here."""
    return option_name(kind)


def mss(size: int) -> Option:
    """Maximum segment size, in octets (RFC 9293 section 3.7.1)."""
    return Option(MSS, struct.pack("!H", size))


def window_scale(shift: int) -> Option:
    """Window scale shift count (RFC 7323 section 2.2)."""
    return Option(WINDOW_SCALE, bytes((shift,)))


def sack_permitted() -> Option:
    """SACK permitted (RFC 2018 section 2)."""
    return Option(SACK_PERMITTED)


def timestamps(value: int, echo: int = 0) -> Option:
    """TSval and TSecr (RFC 7323 section 3.2)."""
    return Option(TIMESTAMPS, struct.pack("!II", value & 0xFFFFFFFF, echo & 0xFFFFFFFF))


def stamped(value: int, echo: int = 0) -> tuple[Option, ...]:
    """Timestamps behind two NOPs, as RFC 7323 appendix A recommends it."""
    return (Option(NOP), Option(NOP), timestamps(value, echo))


def sack(*edges: tuple[int, int]) -> Option:
    """SACK blocks, each from its first number up to the one behind its last (RFC 2018 section 3)."""
    return Option(SACK, b"".join(struct.pack("!II", left % 2**32, right % 2**32) for left, right in edges))


def fast_open(cookie: bytes = b"") -> Option:
    """Return a Fast Open cookie; without one, the request for one (RFC 7413 section 4.1.1)."""
    return Option(FAST_OPEN, cookie)


def user_timeout(value: int, *, minutes: bool = False) -> Option:
    """Return a user timeout of that many seconds, or minutes: 15 bits (RFC 5482 section 3.3)."""
    return Option(USER_TIMEOUT, struct.pack("!H", minutes << 15 | value))


def encode(options: Iterable[Option]) -> bytes:
    """Return the options one after the other, padded with zeros to a multiple of four octets."""
    data = b"".join(option.encode() for option in options)
    return data + bytes(-len(data) % 4)


def parse(data: bytes) -> tuple[Option, ...]:
    """Return the options in `data`; whatever follows an impossible length is one last option that holds the rest."""
    return tuple(_walk(data))


def _walk(data: bytes) -> Iterator[Option]:
    at = 0
    while at < len(data):
        kind = data[at]
        if kind == EOL:
            return
        if kind == NOP:
            yield Option(NOP)
            at += 1
            continue
        length = data[at + 1] if at + 1 < len(data) else 0
        if length < 2 or at + length > len(data):
            yield Option(kind, data[at + 2 :], length)
            return
        yield Option(kind, data[at + 2 : at + length])
        at += length


def find(options: Iterable[Option], kind: int) -> Option | None:
    """Return the first option of that kind."""
    return next((option for option in options if option.kind == kind), None)


def stamps(options: Iterable[Option]) -> tuple[int, int] | None:
    """TSval and TSecr; None where there is no whole Timestamps option."""
    option = find(options, TIMESTAMPS)
    if option is None or len(option.data) != 8:
        return None
    value, echo = struct.unpack("!II", option.data)
    return value, echo


def blocks(options: Iterable[Option]) -> tuple[tuple[Seq, Seq], ...]:
    """Return the SACK blocks in their order; none where there is no whole SACK option."""
    option = find(options, SACK)
    edges = sack_edges(option.data) if option is not None else ()
    return tuple((Seq(left), Seq(right)) for left, right in edges)
