"""Frames as scapy describes them: headers, packets of any kind, and the messages by which neighbours find each other."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import cast

from scapy.config import conf

# Neither the routes of this machine nor a warning about one that lacks them: frames are made here, never sent.
conf.route_autoload = conf.route6_autoload = False
logging.getLogger("scapy.runtime").setLevel(logging.ERROR)

from scapy.layers.inet import IP, TCP  # noqa: E402
from scapy.layers.inet6 import (  # noqa: E402
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import ARP, Ether  # noqa: E402
from scapy.packet import Raw  # noqa: E402

from conformance.wire.layout import ETHERNET, before_addresses  # noqa: E402
from conformance.wire.segment import packed  # noqa: E402

_EVERYONE = "ff:ff:ff:ff:ff:ff"


def headers(src_mac: str, dst_mac: str, v6: bool) -> tuple[bytes, bytes]:
    """Return the Ethernet header of TCP segments, and the IP header up to its addresses."""
    ip = (
        IPv6(plen=0, src="::", dst="::") if v6 else IP(id=0, flags="DF", len=20, chksum=0, src="0.0.0.0", dst="0.0.0.0")
    )
    frame = bytes(Ether(src=src_mac, dst=dst_mac) / ip / TCP())
    return frame[:ETHERNET], frame[ETHERNET : ETHERNET + before_addresses(v6=v6)]


def packet(
    macs: tuple[str, str], hosts: tuple[str, str], protocol: int, raw: bytes, fields: Mapping[str, object]
) -> bytes:
    """Return the frame that carries `raw` by that protocol's number, each pair source first; `fields` as `Segment.ip`."""
    given = dict(fields)
    v6 = ":" in hosts[0]
    ether = Ether(src=macs[0], dst=macs[1], type=0x86DD if v6 else 0x0800)
    if not v6:
        options = given.pop("options", b"")
        assert isinstance(options, bytes)
        padded = [Raw(options + bytes(-len(options) % 4))] if options else []
        ip = {"src": hosts[0], "dst": hosts[1], "flags": "DF", "proto": protocol, "options": padded, **given}
        return bytes(ether / IP(**ip) / raw)
    extensions = given.pop("extensions", ())
    names = {"ttl": "hlim", "tos": "tc"}
    for number, body in reversed(tuple(cast("Iterable[tuple[int, bytes]]", extensions))):
        # Their length is counted in units of 8 octets beyond the first (RFC 8200 section 4).
        raw = bytes((protocol, (len(body) + 1) // 8)) + body + bytes(-(2 + len(body)) % 8) + raw
        protocol = number
    ip = {"src": hosts[0], "dst": hosts[1], "nh": protocol, **{names.get(k, k): v for k, v in given.items()}}
    return bytes(ether / IPv6(**ip) / raw)


def answer(mac: str, asker_mac: str, asker: str, address: str) -> bytes:
    """Return the answer to the asker: `address` is at `mac`."""
    ether = Ether(src=mac, dst=asker_mac)
    if ":" not in address:
        return bytes(ether / ARP(op=2, hwsrc=mac, psrc=address, hwdst=asker_mac, pdst=asker))
    # An asker without an address of its own yet is answered to all nodes (RFC 4861 section 7.2.4).
    unspecified = asker == "::"
    message = ICMPv6ND_NA(tgt=address, R=0, S=0 if unspecified else 1, O=1) / ICMPv6NDOptDstLLAddr(lladdr=mac)
    return bytes(ether / IPv6(src=address, dst="ff02::1" if unspecified else asker, hlim=255) / message)


def question(mac: str, asked: str, named: str) -> bytes:
    """Return the question who has `asked`, from an asker without an IP address.

    `named` is the Ethernet address by which neighbour discovery may know the asker, "" where it is to know none.
    """
    if ":" not in asked:
        return bytes(Ether(src=mac, dst=_EVERYONE) / ARP(op=1, hwsrc=mac, psrc="0.0.0.0", pdst=asked))
    group, group_mac = _solicited(asked)
    message = ICMPv6ND_NS(tgt=asked)
    if named:
        message /= ICMPv6NDOptSrcLLAddr(lladdr=named)
    return bytes(Ether(src=mac, dst=group_mac) / IPv6(src="::", dst=group, hlim=255) / message)


def _solicited(address: str) -> tuple[str, str]:
    """Return the solicited-node group of an IPv6 address, and its Ethernet address."""
    low = int.from_bytes(packed(address)[-3:], "big")
    group = f"ff02::1:ff{low >> 16:02x}:{low & 0xFFFF:04x}"
    return group, f"33:33:ff:{low >> 16:02x}:{low >> 8 & 0xFF:02x}:{low & 0xFF:02x}"
