"""TCP segments as frozen values, and the octets that carry them."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from conformance.wire import options as opt
from conformance.wire.flags import Flags
from conformance.wire.layout import Layout, layout
from conformance.wire.seq import Seq

_PROTOCOL = 6
_TCP = struct.Struct("!HHIIHHHH")


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment with the addresses that carry it.

    An unset `data_offset` (in 32-bit words) or `checksum` is the right one when sending. `ip` overrides fields of the IP
    header, so that any of them can be set wrong on purpose: `ttl`, `tos` and `src` in either family, `options` (IPv4: octets),
    `extensions` (IPv6: pairs of a header's number and what follows its first two octets, before TCP),
    and all others by scapy's names (`id`, `frag`, `proto`, `nh`, ...).
    """

    src: str
    dst: str
    sport: int
    dport: int
    seq: Seq
    ack: Seq = Seq(0)  # noqa: RUF009 - immutable
    flags: Flags = Flags.NONE
    window: int = 65535
    urgent: int = 0
    options: bytes = b""
    payload: bytes = b""
    data_offset: int | None = None
    reserved: int = 0
    checksum: int | None = None
    ip: Mapping[str, object] = field(default_factory=dict, hash=False)

    @property
    def length(self) -> int:
        """SEG.LEN: octets of data, SYN and FIN counted (RFC 9293 section 3.3.1)."""
        bits = int(self.flags)  # an integer, because each operation on an enum takes half a microsecond
        return len(self.payload) + (bits >> 1 & 1) + (bits & 1)

    @property
    def end(self) -> Seq:
        """The sequence number after the segment's last octet."""
        return self.seq + self.length

    @property
    def option_list(self) -> tuple[opt.Option, ...]:
        """The options, dissected."""
        return opt.parse(self.options)

    def header(self) -> bytes:
        """TCP header and data, the checksum filled in (or as asked)."""
        offset = 5 + (len(self.options) + 3) // 4 if self.data_offset is None else self.data_offset
        options = self.options + bytes(-len(self.options) % 4)
        bits = (offset & 0xF) << 12 | (self.reserved & 0xF) << 8 | int(self.flags) & 0xFF
        raw = _TCP.pack(self.sport, self.dport, self.seq, self.ack, bits, self.window, 0, self.urgent)
        raw += options + self.payload
        checksum = self.checksum
        if checksum is None:
            checksum = tcp_checksum(str(self.ip.get("src", self.src)), self.dst, raw)
        return raw[:16] + checksum.to_bytes(2, "big") + raw[18:]

    @property
    def checksum_ok(self) -> bool:
        """Return True for a right checksum in what arrived, and for one that is not set."""
        if self.checksum is None:
            return True
        raw = self.header()
        right = tcp_checksum(self.src, self.dst, raw[:16] + b"\0\0" + raw[18:])
        # One's complement has two zeros (RFC 1071), and stacks write either.
        return (right - self.checksum) % 0xFFFF == 0


def internet_checksum(data: bytes) -> int:
    """Return the Internet checksum of `data` (RFC 1071): an integer modulo 0xFFFF is its one's complement sum."""
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big")
    return 0xFFFF - (total % 0xFFFF or 0xFFFF) if total else 0xFFFF


@lru_cache(maxsize=4096)
def packed(address: str) -> bytes:
    """Return the address in network order: 4 or 16 octets. Raises ValueError for other text."""
    return ipaddress.ip_address(address).packed


def tcp_checksum(src: str, dst: str, raw: bytes) -> int:
    """Return the checksum over pseudo-header, header and data (RFC 9293 section 3.1); its field must be zero in `raw`."""
    return internet_checksum(pseudo_header(packed(src) + packed(dst), len(raw)) + raw)


def pseudo_header(addresses: bytes, length: int) -> bytes:
    """Return what the checksum covers before a TCP header: both `addresses`, the source first, and the segment's length."""
    return addresses + struct.pack("!IBBBB", length, 0, 0, 0, _PROTOCOL)


def _bounds(frame: bytes, place: Layout | None) -> tuple[int, int, int] | None:
    """Return the offsets of the TCP header, of its data and of their end; None for what is not whole TCP over IP."""
    if place is None or place.protocol != _PROTOCOL or place.fragment:
        return None
    start, end = place.payload, place.end
    if end > len(frame) or end - start < 20:
        return None
    data = start + (frame[start + 12] >> 4) * 4
    return (start, data, end) if start + 20 <= data <= end else None


@lru_cache(maxsize=4096)
def address_text(address: bytes) -> str:
    """Return the text of an address in network order."""
    return str(ipaddress.ip_address(address))


def glance(frame: bytes) -> tuple[int, int] | None:
    """Return the flags, and the sequence number after the last octet, of the segment in a frame.

    Cheaper than `dissect`: a prepared answer waits for these two numbers only.
    """
    bounds = _bounds(frame, layout(frame))
    if bounds is None:
        return None
    start, data, end = bounds
    flags = frame[start + 13]
    seq = int.from_bytes(frame[start + 4 : start + 8], "big")
    return flags, (seq + end - data + (flags >> 1 & 1) + (flags & 1)) & 0xFFFFFFFF


def dissect(frame: bytes) -> Segment | None:
    """Return the segment in an Ethernet frame; None without a whole one.

    Written by hand because scapy takes 70 to 90 us for what this does in a few; a test holds the two together.
    """
    place = layout(frame)
    bounds = _bounds(frame, place)
    if bounds is None or place is None:
        return None
    start, data, end = bounds
    sport, dport, seq, ack, bits, window, checksum, urgent = _TCP.unpack_from(frame, start)
    return Segment(
        address_text(frame[place.src]),
        address_text(frame[place.dst]),
        sport,
        dport,
        Seq(seq),
        Seq(ack),
        Flags(bits & 0xFF),
        window,
        urgent,
        frame[start + 20 : data],
        frame[data:end],
        bits >> 12,
        bits >> 8 & 0xF,
        checksum,
    )
