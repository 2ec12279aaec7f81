"""The IP header of a frame that arrived, and datagrams cut into fragments."""

from __future__ import annotations

import struct
from typing import NamedTuple

from conformance.wire.layout import Layout, layout
from conformance.wire.segment import address_text, internet_checksum

_MORE, _FRAGMENT = 0x2000, 44
_ICMPV6, _NEIGHBOUR_DISCOVERY = 58, range(133, 138)
NOT_ECT, ECT_1, ECT_0, CE = range(4)
"""The codepoints of the ECN field, the low two bits of `tos` (RFC 3168 section 5)."""


class IpHeader(NamedTuple):
    """The header of an IPv4 or IPv6 packet.

    `ttl` is IPv6's hop limit, `tos` its traffic class (DSCP and ECN). `id` and `dont_fragment` are IPv4's: None and True
    over IPv6, which has no such fields. `options` are IPv4's, as they stand.
    """

    version: int
    src: str
    dst: str
    tos: int
    ttl: int
    id: int | None
    dont_fragment: bool
    options: bytes

    @property
    def ecn(self) -> int:
        """The ECN field: NOT_ECT, ECT_0, ECT_1 or CE."""
        return self.tos & 3


def ip_header(frame: bytes) -> IpHeader:
    """Return the IP header in an Ethernet frame. Raises ValueError where there is none."""
    place = layout(frame)
    if place is None:
        raise ValueError("there is no IP packet in the frame")
    src, dst, header = address_text(frame[place.src]), address_text(frame[place.dst]), frame[place.ip : place.payload]
    if place.v6:
        return IpHeader(6, src, dst, int.from_bytes(header[:2], "big") >> 4 & 0xFF, header[7], None, True, b"")
    number, dont_fragment = int.from_bytes(header[4:6], "big"), bool(header[6] & 0x40)
    return IpHeader(4, src, dst, header[1], header[8], number, dont_fragment, header[20:])


def destination(frame: bytes) -> str | None:
    """Return the destination of the IP packet in a frame; None without one, and for neighbour discovery (RFC 4861)."""
    place = layout(frame)
    if place is None or is_neighbour_discovery(frame, place):
        return None
    return address_text(frame[place.dst])


def is_neighbour_discovery(frame: bytes, place: Layout) -> bool:
    """Tell whether the packet at `place` is a message of RFC 4861, from router solicitation to redirect."""
    return (
        place.v6
        and place.protocol == _ICMPV6
        and len(frame) > place.payload
        and frame[place.payload] in _NEIGHBOUR_DISCOVERY
    )


def fragments(frame: bytes, octets: int, number: int) -> list[bytes]:
    """Return `frame` as Ethernet frames with fragments of that many octets, in order (RFC 791, RFC 8200 4.5).

    `number` is the Identification that they share. Raises ValueError where `octets` is no multiple of eight.
    """
    if octets <= 0 or octets % 8:
        raise ValueError(f"a fragment of {octets} octets: every one but the last is a multiple of 8 long")
    place = layout(frame)
    if place is None:
        raise ValueError("there is no IP packet to be cut into fragments")
    ethernet, old = frame[: place.ip], frame[place.ip : place.payload]
    cut = []
    for offset, more, part in _cut(frame[place.payload : place.end], octets):
        if place.v6:
            header = old[:4] + (8 + len(part)).to_bytes(2, "big") + bytes((_FRAGMENT, old[7])) + old[8:]
            header += struct.pack("!BBHI", place.protocol, 0, offset | more, number)
        else:
            fields = struct.pack("!HHH", len(old) + len(part), number & 0xFFFF, more * _MORE | offset // 8)
            header = old[:2] + fields + old[8:10] + b"\0\0" + old[12:]
            header = header[:10] + internet_checksum(header).to_bytes(2, "big") + header[12:]
        cut.append(ethernet + header + part)
    return cut


def _cut(data: bytes, octets: int) -> list[tuple[int, int, bytes]]:
    """Offset, whether more follow, and the octets of each part."""
    return [(at, int(at + octets < len(data)), data[at : at + octets]) for at in range(0, len(data), octets)]
