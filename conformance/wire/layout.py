"""Offsets of the parts of an Ethernet frame: the one place that knows the offsets of Ethernet and of IP.

A VLAN tag would move `ip`, an IPv6 extension header `payload`: whoever reads or writes a frame asks here.
"""

from __future__ import annotations

from typing import NamedTuple

ETHERNET = 14
"""Octets of the Ethernet header, with which a frame begins."""
IPV4_ETHERTYPE, IPV6_ETHERTYPE, ARP_ETHERTYPE = b"\x08\x00", b"\x86\xdd", b"\x08\x06"
_FRAGMENT = 44
_EXTENSIONS = (0, 43, _FRAGMENT, 60)
"""Hop-by-Hop Options, Routing, Fragment and Destination Options: what may stand before TCP (RFC 8200 section 4)."""
_IPV4_HEADER, _IPV6_HEADER = 20, 40
_ADDRESSES = {False: (12, 16, 20), True: (8, 24, 40)}


class Layout(NamedTuple):
    """The offsets of the parts of a frame with an IP packet, in octets from the frame's first.

    `payload` is behind the IP header and its options. `end` is where the packet says that it ends: a padded frame goes on,
    and one that was cut does not reach it. `protocol` is the number of what the packet carries; a `fragment` carries only a
    part of it (over IPv6 a fragment says so in an extension header, which is then the payload).
    """

    v6: bool
    ip: int
    payload: int
    end: int
    protocol: int
    fragment: bool

    @property
    def src(self) -> slice:
        """The octets of the source address."""
        first, second, _ = _ADDRESSES[self.v6]
        return slice(self.ip + first, self.ip + second)

    @property
    def dst(self) -> slice:
        """The octets of the destination address."""
        _, first, second = _ADDRESSES[self.v6]
        return slice(self.ip + first, self.ip + second)

    @property
    def addresses(self) -> slice:
        """The octets of both addresses, the source first."""
        first, _, end = _ADDRESSES[self.v6]
        return slice(self.ip + first, self.ip + end)


def before_addresses(*, v6: bool) -> int:
    """Return the octets of an IP header that stand before its addresses."""
    return _ADDRESSES[v6][0]


def ethertype(frame: bytes) -> bytes:
    """Return the two octets that say what the frame carries; fewer where the frame is shorter."""
    return frame[12:14]


def layout(frame: bytes) -> Layout | None:
    """Return where the parts of a frame begin; None where it holds no whole IP header.

    No layer above IP is looked at. An IPv6 packet with extension headers has the first of them as its payload.
    """
    kind = frame[12:14]
    if kind == IPV4_ETHERTYPE:
        if len(frame) < ETHERNET + _IPV4_HEADER:
            return None
        payload, end = 14 + (frame[14] & 0xF) * 4, 14 + (frame[16] << 8 | frame[17])
        return Layout(False, 14, payload, end, frame[23], bool(frame[20] & 0x3F or frame[21]))
    if kind == IPV6_ETHERTYPE and len(frame) >= ETHERNET + _IPV6_HEADER:
        return Layout(True, 14, 54, 54 + (frame[18] << 8 | frame[19]), frame[20], False)
    return None


def as_frame(packet: bytes) -> bytes:
    """Return a frame without addresses around an IP packet, for `layout` to read."""
    return bytes(12) + (IPV6_ETHERTYPE if packet[:1] and packet[0] >> 4 == 6 else IPV4_ETHERTYPE) + packet


def behind_extensions(frame: bytes, place: Layout) -> tuple[int, int]:
    """Return the protocol behind the packet's IPv6 extension headers, and where that begins."""
    protocol, at = place.protocol, place.payload
    while place.v6 and protocol in _EXTENSIONS and len(frame) >= at + 8:
        # The fragment header has a fixed size; the others count units of 8 octets beyond the first.
        protocol, at = frame[at], at + (8 if protocol == _FRAGMENT else 8 + frame[at + 1] * 8)
    return protocol, at


def ends(frame: bytes) -> bytes:
    """Return source, destination, and both ports, as they stand in a frame that carries TCP; else something shorter or else.

    Any octets are taken: the caller compares the result with the ends of connections that it knows. Prepared answers wait
    for this, so it makes no Layout.
    """
    if frame[12:14] == IPV6_ETHERTYPE:
        return frame[22:58]
    ports = 14 + (frame[14] & 0xF) * 4 if len(frame) > 14 else 0
    return frame[26:34] + frame[ports : ports + 4]
