"""What carries segments: the header of IP as it came, and a datagram cut into fragments."""

from __future__ import annotations

import struct
from typing import NamedTuple

from conformance.wire.segment import address_text, internet_checksum

_MORE = 0x2000
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
    """The IP header in an Ethernet frame that `dissect` found a segment in."""
    if frame[12:14] == b"\x86\xdd":
        tos = int.from_bytes(frame[14:16], "big") >> 4 & 0xFF
        return IpHeader(6, address_text(frame[22:38]), address_text(frame[38:54]), tos, frame[21], None, True, b"")
    options = frame[34 : 14 + (frame[14] & 0xF) * 4]
    src, dst = address_text(frame[26:30]), address_text(frame[30:34])
    return IpHeader(
        4, src, dst, frame[15], frame[22], int.from_bytes(frame[18:20], "big"), bool(frame[20] & 0x40), options
    )


def destination(frame: bytes) -> str | None:
    """Where the IP packet in an Ethernet frame goes; None where there is none, or only neighbour discovery (RFC 4861)."""
    if frame[12:14] == b"\x08\x00":
        return address_text(frame[30:34])
    if frame[12:14] != b"\x86\xdd" or (frame[20] == _ICMPV6 and frame[54] in _NEIGHBOUR_DISCOVERY):
        return None
    return address_text(frame[38:54])


def fragments(frame: bytes, octets: int, number: int) -> list[bytes]:
    """The Ethernet frames that carry what `frame` does in fragments of that many octets, in order (RFC 791, RFC 8200 4.5).

    `number` is the Identification that they share. Raises ValueError where `octets` is no multiple of eight.
    """
    if octets <= 0 or octets % 8:
        raise ValueError(f"a fragment of {octets} octets: every one but the last is a multiple of 8 long")
    if frame[12:14] == b"\x86\xdd":
        return [
            frame[:18]
            + (8 + len(part)).to_bytes(2, "big")
            + bytes((44, frame[21]))
            + frame[22:54]
            + struct.pack("!BBHI", frame[20], 0, offset | more, number)
            + part
            for offset, more, part in _cut(frame[54:], octets)
        ]
    start = 14 + (frame[14] & 0xF) * 4
    end = 14 + int.from_bytes(frame[16:18], "big")
    cut = []
    for offset, more, part in _cut(frame[start:end], octets):
        place = struct.pack("!HHH", start - 14 + len(part), number & 0xFFFF, more * _MORE | offset // 8)
        header = frame[14:16] + place + frame[22:24] + b"\0\0" + frame[26:start]
        checksum = internet_checksum(header).to_bytes(2, "big")
        cut.append(frame[:14] + header[:10] + checksum + header[12:] + part)
    return cut


def _cut(data: bytes, octets: int) -> list[tuple[int, int, bytes]]:
    """Offset, whether more follow, and the octets of each part."""
    return [(at, int(at + octets < len(data)), data[at : at + octets]) for at in range(0, len(data), octets)]
