"""ICMP errors about segments (RFC 792, RFC 1122 section 3.2.2, RFC 4443), built and taken apart."""

from __future__ import annotations

import struct
from typing import NamedTuple

from conformance.wire.segment import internet_checksum, packed

PROTOCOL = {4: 1, 6: 58}
_HEAD = struct.Struct("!BBHI")
# RFC 4443 section 2.4 (c): as much of the packet as fits into the least MTU of IPv6.
_MOST_V6 = 1280 - 40 - 8
# Hop-by-Hop Options, Routing, Fragment and Destination Options: what may stand before TCP (RFC 8200 section 4).
_EXTENSIONS = (b"\0", b"+", b",", b"<")


class IcmpError(NamedTuple):
    """A kind of ICMP error: type and code over IPv4 and over IPv6, None where that family has no such error."""

    name: str
    v4: tuple[int, int] | None
    v6: tuple[int, int] | None

    def numbers(self, family: int) -> tuple[int, int]:
        """Type and code. Raises ValueError where the family has no such error."""
        found = self.v4 if family == 4 else self.v6
        if found is None:
            raise ValueError(f"ICMP over IPv{family} has no {self.name}")
        return found


NET_UNREACHABLE = IcmpError("net unreachable", (3, 0), (1, 0))
HOST_UNREACHABLE = IcmpError("host unreachable", (3, 1), (1, 3))
PROTOCOL_UNREACHABLE = IcmpError("protocol unreachable", (3, 2), (4, 1))
PORT_UNREACHABLE = IcmpError("port unreachable", (3, 3), (1, 4))
FRAGMENTATION_NEEDED = IcmpError("fragmentation needed", (3, 4), (2, 0))
SOURCE_ROUTE_FAILED = IcmpError("source route failed", (3, 5), None)
PROHIBITED = IcmpError("administratively prohibited", (3, 13), (1, 1))
SOURCE_QUENCH = IcmpError("source quench", (4, 0), None)
HOP_LIMIT_EXCEEDED = IcmpError("time to live exceeded in transit", (11, 0), (3, 0))
REASSEMBLY_TIME_EXCEEDED = IcmpError("fragment reassembly time exceeded", (11, 1), (3, 1))
PARAMETER_PROBLEM = IcmpError("parameter problem", (12, 0), (4, 0))


class IcmpMessage(NamedTuple):
    """An ICMP error as it came: `rest` is the second word of its header, `quoted` the packet that it is about."""

    type: int
    code: int
    rest: int
    quoted: bytes
    checksum_ok: bool


def quotation(frame: bytes, octets: int | None = None) -> bytes:
    """What an error about the packet in an Ethernet frame quotes of it: its IP header, and `octets` of what it carries.

    Unset means what the standards ask for at least: 8 octets over IPv4 (RFC 792), all that fits over IPv6 (RFC 4443).
    """
    if frame[12:14] == b"\x86\xdd":
        return frame[14 : 14 + (_MOST_V6 if octets is None else 40 + octets)]
    header = (frame[14] & 0xF) * 4
    packet = frame[14 : 14 + int.from_bytes(frame[16:18], "big")]
    return packet[: header + (8 if octets is None else octets)]


def encode(error: IcmpError, src: str, dst: str, rest: int, quoted: bytes) -> bytes:
    """The message with its checksum, over IPv6 with that of the pseudo-header (RFC 4443 section 2.3)."""
    family = 6 if ":" in src else 4
    kind, code = error.numbers(family)
    body = _HEAD.pack(kind, code, 0, rest) + quoted
    pseudo = packed(src) + packed(dst) + struct.pack("!II", len(body), 58) if family == 6 else b""
    return body[:2] + internet_checksum(pseudo + body).to_bytes(2, "big") + body[4:]


def icmp_message(frame: bytes) -> IcmpMessage | None:
    """The ICMP error in an Ethernet frame; None where there is none that is whole."""
    if len(frame) < 34:
        return None
    if frame[12:14] == b"\x86\xdd":
        start, end, protocol, pseudo = 54, 54 + int.from_bytes(frame[18:20], "big"), frame[20:21], frame[22:54]
        pseudo += struct.pack("!II", max(0, end - start), 58)
        errors: range | tuple[int, ...] = range(1, 128)
    else:
        start, end = 14 + (frame[14] & 0xF) * 4, 14 + int.from_bytes(frame[16:18], "big")
        protocol, pseudo, errors = frame[23:24], b"", (3, 4, 11, 12)
    if protocol != bytes((58 if pseudo else 1,)) or end > len(frame) or end - start < _HEAD.size:
        return None
    kind, code, _, rest = _HEAD.unpack_from(frame, start)
    if kind not in errors:
        return None
    right = internet_checksum(pseudo + frame[start:end]) in (0, 0xFFFF)
    return IcmpMessage(kind, code, rest, frame[start + _HEAD.size : end], right)


def quoted_ends(message: IcmpMessage) -> bytes | None:
    """Destination, source, and the ports in that order, of the quoted TCP segment; None where it is none."""
    quoted = message.quoted
    if not quoted:
        return None
    if quoted[0] >> 4 == 6:
        ends, ports, tcp = (quoted[24:40], quoted[8:24]), 40, quoted[6:7]
        while tcp in _EXTENSIONS and len(quoted) >= ports + 8:
            tcp, ports = quoted[ports : ports + 1], ports + (8 if tcp == b"," else 8 + quoted[ports + 1] * 8)
    else:
        ends, ports, tcp = (quoted[16:20], quoted[12:16]), (quoted[0] & 0xF) * 4, quoted[9:10]
    if tcp != b"\x06" or len(quoted) < ports + 4:
        return None
    return b"".join(ends) + quoted[ports + 2 : ports + 4] + quoted[ports : ports + 2]
