"""ICMP errors about segments (RFC 792, RFC 1122 section 3.2.2, RFC 4443), built and taken apart."""

from __future__ import annotations

import struct
from collections.abc import Container, Mapping
from typing import NamedTuple

from conformance.wire.layout import as_frame, behind_extensions, layout
from conformance.wire.segment import internet_checksum, packed

PROTOCOL = {4: 1, 6: 58}
_ERRORS: Mapping[int, Container[int]] = {4: (3, 4, 11, 12), 6: range(1, 128)}
_HEAD = struct.Struct("!BBHI")
# RFC 4443 section 2.4 (c): as much of the packet as fits into the least MTU of IPv6.
_MOST_V6 = 1280 - 40 - 8
_TCP = 6


class IcmpError(NamedTuple):
    """A kind of ICMP error: type and code over IPv4 and over IPv6, None where that family has no such error."""

    name: str
    v4: tuple[int, int] | None
    v6: tuple[int, int] | None

    def numbers(self, family: int) -> tuple[int, int]:
        """Type and code. Raises ValueError where the family has no such error."""
        numbers = self.v4 if family == 4 else self.v6
        if numbers is None:
            raise ValueError(f"ICMP over IPv{family} has no {self.name}")
        return numbers


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
    """Return what an error about the packet in a frame quotes: its IP header, and `octets` of what it carries.

    Unset means what the standards ask for at least: 8 octets over IPv4 (RFC 792), all that fits over IPv6 (RFC 4443).
    Raises ValueError where the frame holds no IP packet.
    """
    place = layout(frame)
    if place is None:
        raise ValueError("there is no IP packet to be quoted")
    if place.v6:
        return frame[place.ip : place.ip + _MOST_V6 if octets is None else place.payload + octets]
    return frame[place.ip : min(place.end, place.payload + (8 if octets is None else octets))]


def encode(error: IcmpError, src: str, dst: str, rest: int, quoted: bytes) -> bytes:
    """Return the message with its checksum, over IPv6 with that of the pseudo-header (RFC 4443 section 2.3)."""
    family = 6 if ":" in src else 4
    kind, code = error.numbers(family)
    body = _HEAD.pack(kind, code, 0, rest) + quoted
    pseudo = packed(src) + packed(dst) + struct.pack("!II", len(body), 58) if family == 6 else b""
    return body[:2] + internet_checksum(pseudo + body).to_bytes(2, "big") + body[4:]


def icmp_message(frame: bytes) -> IcmpMessage | None:
    """Return the ICMP error in an Ethernet frame; None without a whole one."""
    place = layout(frame)
    if place is None or place.protocol != PROTOCOL[6 if place.v6 else 4]:
        return None
    start, end = place.payload, place.end
    if end > len(frame) or end - start < _HEAD.size:
        return None
    kind, code, _, rest = _HEAD.unpack_from(frame, start)
    if kind not in _ERRORS[6 if place.v6 else 4]:
        return None
    pseudo = frame[place.addresses] + struct.pack("!II", end - start, PROTOCOL[6]) if place.v6 else b""
    right = internet_checksum(pseudo + frame[start:end]) in (0, 0xFFFF)
    return IcmpMessage(kind, code, rest, frame[start + _HEAD.size : end], right)


def quoted_ends(message: IcmpMessage) -> bytes | None:
    """Destination, source, and the ports in that order, of the quoted TCP segment; None where it is none."""
    frame = as_frame(message.quoted)
    place = layout(frame)
    if place is None:
        return None
    protocol, at = behind_extensions(frame, place)
    if protocol != _TCP or len(frame) < at + 4:
        return None
    return frame[place.dst] + frame[place.src] + frame[at + 2 : at + 4] + frame[at : at + 2]
