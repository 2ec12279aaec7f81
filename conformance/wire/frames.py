"""Frames around segments: scapy describes them, bytes are patched for each segment.

scapy takes a third of a second to import, which a list of cases and a process that only reports can do without: see
`described`, which is imported when the first frame is made.

scapy takes about half a millisecond for a frame; a template made by it once, with the TCP part rewritten, a few
microseconds; one that is prepared before it is needed, one microsecond. Everything that is not TCP (ARP, neighbour
discovery) is rare enough for scapy, and remembered.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import NamedTuple

from conformance.wire.ip import is_neighbour_discovery
from conformance.wire.layout import ARP_ETHERTYPE, ETHERNET, ethertype, layout
from conformance.wire.segment import Segment, address_text, internet_checksum, packed

_SOLICITED = (135, 136)
"""Neighbour solicitation and neighbour advertisement (RFC 4861 section 4)."""
_ARP_SENDER = 14  # octets before the sender's IPv4 address in an ARP message (RFC 826)
_ARP_MESSAGE = struct.Struct("!HHBBH6s4s6s4s")
_NUMBERS, _CHECKSUM = struct.Struct("!II"), struct.Struct("!H")


class Template:
    """The Ethernet and IP headers between two hosts, ready for segments.

    `src_mac` and `dst_mac` are the tester's and the target's, as `02:00:00:00:00:01`.
    """

    def __init__(self, src_mac: str, dst_mac: str, src: str, dst: str) -> None:
        self._macs, self._hosts = (src_mac, dst_mac), (src, dst)
        self._v6 = ":" in src
        self._ethernet, ip = _headers(src_mac, dst_mac, self._v6)
        self._ip = ip + packed(src) + packed(dst)

    def frame(self, segment: Segment) -> bytes:
        """Return the Ethernet frame that carries `segment`."""
        raw = segment.header()
        if segment.ip:
            return self.carry(6, raw, segment.ip)
        ip = self._ip
        if self._v6:
            return self._ethernet + ip[:4] + len(raw).to_bytes(2, "big") + ip[6:] + raw
        ip = ip[:2] + (20 + len(raw)).to_bytes(2, "big") + ip[4:10] + b"\0\0" + ip[12:]
        return self._ethernet + ip[:10] + internet_checksum(ip).to_bytes(2, "big") + ip[12:] + raw

    def carry(self, protocol: int, raw: bytes, fields: Mapping[str, object] | None = None) -> bytes:
        """Return the Ethernet frame that carries `raw` by that protocol's number; `fields` as `Segment.ip`."""
        from conformance.wire import described  # noqa: PLC0415

        return described.packet(self._macs, self._hosts, protocol, raw, fields or {})


@functools.cache
def _headers(src_mac: str, dst_mac: str, v6: bool) -> tuple[bytes, bytes]:
    """Return the Ethernet header of TCP segments, and the IP header up to its addresses."""
    from conformance.wire import described  # noqa: PLC0415

    return described.headers(src_mac, dst_mac, v6)


class PreparedFrame:
    """A frame rendered beforehand with seq and ack 0: they and the checksum are put in when it leaves."""

    def __init__(self, frame: bytes) -> None:
        place = layout(frame)
        if place is None:
            raise ValueError("only a frame with an IP packet can be prepared")
        self._frame = bytearray(frame)
        self._tcp = place.payload
        self._sum = 0xFFFF - int.from_bytes(frame[self._tcp + 16 : self._tcp + 18], "big")

    def patched(self, seq: int, ack: int) -> bytes:
        """Return the frame with these numbers and the checksum updated for them (RFC 1624)."""
        _NUMBERS.pack_into(self._frame, self._tcp + 4, seq, ack)
        checksum = 0xFFFF - ((self._sum + int(seq) + int(ack)) % 0xFFFF or 0xFFFF)
        _CHECKSUM.pack_into(self._frame, self._tcp + 16, checksum)
        return bytes(self._frame)


class Neighbour(NamedTuple):
    """An ARP or neighbour discovery message: who asks (`request`) or says that `address` is at `mac`."""

    request: bool
    sender: str
    sender_mac: str
    address: str


@functools.lru_cache(4096)
def neighbour_message(frame: bytes) -> Neighbour | None:
    """Return the ARP or neighbour discovery message in a frame; None without a whole one.

    Read by hand: a flood of questions must not keep the tester from its frames.
    """
    if ethertype(frame) == ARP_ETHERTYPE:
        return _arp_message(frame[ETHERNET:])
    place = layout(frame)
    if place is None or not is_neighbour_discovery(frame, place) or frame[place.payload] not in _SOLICITED:
        return None
    target = frame[place.payload + 8 : place.payload + 24]
    if len(target) < 16:
        return None
    asks = frame[place.payload] == _SOLICITED[0]
    return Neighbour(asks, address_text(frame[place.src]), frame[6:12].hex(":"), address_text(target))


def _arp_message(arp: bytes) -> Neighbour | None:
    """Return the message in an ARP packet for IPv4 over Ethernet (RFC 826); None for any other."""
    if len(arp) < _ARP_MESSAGE.size:
        return None
    *kind, operation, sender_mac, sender, _, target = _ARP_MESSAGE.unpack_from(arp)
    if kind != [1, 0x0800, 6, 4] or operation not in (1, 2):
        return None
    asks = operation == 1
    return Neighbour(asks, address_text(sender), sender_mac.hex(":"), address_text(target if asks else sender))


@functools.lru_cache(4096)
def neighbour_answer(asked: Neighbour, mac: str) -> bytes:
    """Return the answer to the asker: the asked address is at `mac`."""
    from conformance.wire import described  # noqa: PLC0415

    return described.answer(mac, asked.sender_mac, asked.sender, asked.address)


def neighbour_probe(mac: str, address: str) -> bytes:
    """Return the frame that asks who has `address`, in nobody's name (RFC 5227 section 2.1, RFC 4862 section 5.4)."""
    from conformance.wire import described  # noqa: PLC0415

    return described.question(mac, address, "")


def neighbour_question(mac: str, address: str, asked: str) -> bytes:
    """Return the frame by which `address` at `mac` asks where `asked` is; it also makes the asker known there."""
    frame, here = _question(mac, asked), packed(address)
    place = layout(frame)
    if place is None:
        sender = ETHERNET + _ARP_SENDER
        return frame[:sender] + here + frame[sender + len(here) :]
    # What the checksum covers grows by our address, which the pseudo-header holds (RFC 1624).
    words = sum(int.from_bytes(here[at : at + 2], "big") for at in range(0, 16, 2))
    at = place.payload + 2
    checksum = 0xFFFF - ((0xFFFF - int.from_bytes(frame[at : at + 2], "big") + words) % 0xFFFF or 0xFFFF)
    return frame[: place.src.start] + here + frame[place.src.stop : at] + checksum.to_bytes(2, "big") + frame[at + 2 :]


@functools.cache
def _question(mac: str, asked: str) -> bytes:
    """Return the question from an asker without an address."""
    from conformance.wire import described  # noqa: PLC0415

    return described.question(mac, asked, mac)
