"""The spelling of flags, options and sequence numbers: in messages, in the record and on the pages alike.

Plain numbers and octets go in, text comes out; nothing else of `wire` is needed, so that the report can use it.
"""

import struct
from collections.abc import Iterable
from functools import cache

FLAG_BITS = {
    "FIN": 0x01,
    "SYN": 0x02,
    "RST": 0x04,
    "PSH": 0x08,
    "ACK": 0x10,
    "URG": 0x20,
    "ECE": 0x40,
    "CWR": 0x80,
    "AE": 0x100,
}
"""Control bits by name (RFC 9293 section 3.1; AE: RFC 9768), from the lowest up."""
# SYN, FIN and RST say what a segment is for, so they are written first.
_WRITTEN = ("SYN", "FIN", "RST", "PSH", "URG", "ECE", "CWR", "AE", "ACK")

EOL, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, SACK, TIMESTAMPS = 0, 1, 2, 3, 4, 5, 8
USER_TIMEOUT, FAST_OPEN = 28, 34
_OPTIONS = {
    EOL: "EOL",
    NOP: "NOP",
    MSS: "MSS",
    WINDOW_SCALE: "WScale",
    SACK_PERMITTED: "SACK-permitted",
    SACK: "SACK",
    TIMESTAMPS: "Timestamps",
    USER_TIMEOUT: "User-Timeout",
    FAST_OPEN: "Fast-Open",
}

_LARGEST_WINDOW = 1 << 30  # RFC 7323 section 2.3: a number further from the initial one is outside of every window
# A reset whose sender knows no number has 0 (RFC 9293 section 3.10.7.1); it counts as a number only this near to its base.
_NEAR_ZERO = 1 << 16


@cache
def flags_text(bits: int) -> str:
    """Return the control bits by name: `SYN+ACK`, or `no flags`."""
    return "+".join(name for name in _WRITTEN if bits & FLAG_BITS[name]) or "no flags"


def relative(number: int, base: int | None, *, reset: bool = False) -> str:
    """Return a sequence number as its distance from the initial number `base`: `+1`.

    A number that lies in no sequence space of the connection stays absolute, and so does any number without a base.
    In a `reset`, 0 stands for no number at all.
    """
    if base is None:
        return str(int(number))
    distance = (number - base) & 0xFFFFFFFF
    if distance >= 1 << 31:
        distance -= 1 << 32
    return (
        f"{distance:+d}"
        if abs(distance) <= (_NEAR_ZERO if reset and number == 0 else _LARGEST_WINDOW)
        else str(int(number))
    )


def option_name(kind: int) -> str:
    """Return an option's name, `option 77` for a kind without a name here."""
    return _OPTIONS.get(kind, f"option {kind}")


def option_text(kind: int, data: bytes, base: int | None = None) -> str:
    """Return an option in a word or two: `MSS=1460`, `TSval=1 TSecr=2`, `SACK=+1..+501`; octets in hexadecimal otherwise.

    `data` is what follows kind and length, `base` the initial number that SACK blocks count from.
    """
    name = option_name(kind)
    if kind == MSS and len(data) == 2:
        return f"{name}={int.from_bytes(data, 'big')}"
    if kind == WINDOW_SCALE and len(data) == 1:
        return f"{name}={data[0]}"
    if kind == TIMESTAMPS and len(data) == 8:
        value, echo = struct.unpack("!II", data)
        return f"TSval={value} TSecr={echo}"
    if kind == SACK and (edges := sack_edges(data)):
        return f"{name}={sack_text(edges, base)}"
    return f"{name}={data.hex()}" if data else name


def sack_edges(data: bytes) -> tuple[tuple[int, int], ...]:
    """Return the blocks of a SACK option, each as (first number, number after the last); none of one that is not whole."""
    if len(data) % 8:
        return ()
    return tuple(struct.iter_unpack("!II", data))


def sack_text(edges: Iterable[tuple[int, int]], base: int | None) -> str:
    """Return SACK blocks as distances from the initial number: `+1..+501,+601..+701`, or `none`."""
    return ",".join(f"{relative(left, base)}..{relative(right, base)}" for left, right in edges) or "none"
