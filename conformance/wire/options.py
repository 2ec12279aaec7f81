"""TCP options as values, well-formed and malformed (RFC 9293 section 3.2, RFC 7323, RFC 2018)."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

EOL, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8
NAMES = {
    EOL: "EOL",
    NOP: "NOP",
    MSS: "MSS",
    WINDOW_SCALE: "WScale",
    SACK_PERMITTED: "SACK-permitted",
    SACK: "SACK",
    TIMESTAMPS: "Timestamps",
}


class Option(NamedTuple):
    """One option. `length` unset means the right one; EOL and NOP have none."""

    kind: int
    data: bytes = b""
    length: int | None = None

    def encode(self) -> bytes:
        """The octets on the wire."""
        if self.kind in (EOL, NOP) and self.length is None:
            return bytes((self.kind,))
        length = 2 + len(self.data) if self.length is None else self.length
        return bytes((self.kind, length)) + self.data

    def __str__(self) -> str:
        name = NAMES.get(self.kind, f"option {self.kind}")
        if self.kind == MSS and len(self.data) == 2:
            return f"{name}={int.from_bytes(self.data, 'big')}"
        if self.kind == WINDOW_SCALE and len(self.data) == 1:
            return f"{name}={self.data[0]}"
        if self.kind == TIMESTAMPS and len(self.data) == 8:
            value, echo = struct.unpack("!II", self.data)
            return f"TSval={value} TSecr={echo}"
        return f"{name}={self.data.hex()}" if self.data else name


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


def encode(options: Iterable[Option]) -> bytes:
    """The options one after the other, padded with zeros to a multiple of four octets."""
    data = b"".join(option.encode() for option in options)
    return data + bytes(-len(data) % 4)


def parse(data: bytes) -> tuple[Option, ...]:
    """The options in `data`; whatever follows an impossible length is one last option that holds the rest."""
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
    """The first option of that kind."""
    return next((option for option in options if option.kind == kind), None)
