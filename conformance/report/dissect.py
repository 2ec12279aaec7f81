"""Dissect a captured frame, read only: Ethernet, ARP, IPv4 and IPv6, which lead to ICMP and TCP.

It serves the tables and ladders of the report, takes any bytes and never raises: damage is described in `problems`.
"""

import struct
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop

from conformance.report.dissect_icmp import icmp_packet
from conformance.report.dissect_tcp import tcp_packet
from conformance.report.packet import Carried, Packet

_PROTOCOLS = {6: "TCP", 1: "ICMP", 58: "ICMPv6"}


def dissect(frame: bytes) -> Packet:
    """Describe an Ethernet frame; never raises."""
    try:
        return _ethernet(frame)
    except (struct.error, IndexError, ValueError):  # the checks below say more; this is the net under them
        return Packet("malformed", text=f"{len(frame)} bytes that could not be dissected", problems=("malformed",))


def _ethernet(frame: bytes) -> Packet:
    if len(frame) < 14:
        return Packet("Ethernet", text=f"{len(frame)} bytes", problems=("Ethernet header cut off",))
    (kind,) = struct.unpack_from("!H", frame, 12)
    inside = frame[14:]
    if kind == 0x0800:
        return _ipv4(inside)
    if kind == 0x86DD:
        return _ipv6(inside)
    if kind == 0x0806:
        return _arp(inside)
    return Packet("Ethernet", frame[6:12].hex(":"), frame[:6].hex(":"), f"type 0x{kind:04x}, {len(inside)} bytes")


def _arp(raw: bytes) -> Packet:
    if len(raw) < 28:
        return Packet("ARP", problems=("ARP cut off",))
    operation, mac, src, _, dst = struct.unpack_from("!H6s4s6s4s", raw, 6)
    sender, wanted = inet_ntop(AF_INET, src), inet_ntop(AF_INET, dst)
    if operation == 1:
        return Packet("ARP", sender, wanted, f"who has {wanted}? tell {sender}")
    text = f"{sender} is at {mac.hex(':')}" if operation == 2 else f"operation {operation}"
    return Packet("ARP", sender, wanted, text)


def _ipv4(raw: bytes) -> Packet:
    if len(raw) < 20:
        return Packet("IPv4", problems=("IPv4 header cut off",))
    header = (raw[0] & 15) * 4
    total, _, fragment, _, protocol = struct.unpack_from("!HHHBB", raw, 2)
    src, dst = _address(raw[12:16]), _address(raw[16:20])
    problems = []
    if raw[0] >> 4 != 4:
        problems.append(f"IP version {raw[0] >> 4}")
    if not 20 <= header <= min(len(raw), total):
        return Packet(
            "IPv4", src, dst, problems=(*problems, f"IPv4 lengths are impossible: header {header}, total {total}")
        )
    if not _sums_up(raw[:header]):
        problems.append("IPv4 header checksum wrong")
    if header > 20:
        problems.append(f"IPv4 options: {raw[20:header].hex(' ')}")
    if total > len(raw):
        problems.append(f"IPv4 packet cut off: {len(raw)} of {total} bytes")
    pseudo = raw[12:20] + struct.pack("!HH", protocol, total - header)
    more = bool(fragment & 0x2000)
    return _inside(Carried(src, dst, protocol, raw[header:total], pseudo, fragment & 0x1FFF, more, problems))


def _ipv6(raw: bytes) -> Packet:
    if len(raw) < 40:
        return Packet("IPv6", problems=("IPv6 header cut off",))
    length, protocol = struct.unpack_from("!HB", raw, 4)
    src, dst = _address(raw[8:24]), _address(raw[24:40])
    problems = [] if raw[0] >> 4 == 6 else [f"IP version {raw[0] >> 4}"]
    inside = raw[40 : 40 + length]
    if len(inside) < length:
        problems.append(f"IPv6 packet cut off: {len(inside)} of {length} bytes")
    offset, more = 0, False
    while protocol in (0, 43, 44, 60):  # hop-by-hop, routing, fragment, destination options
        size = 8 if protocol == 44 or len(inside) < 2 else (inside[1] + 1) * 8
        if len(inside) < size:
            return Packet("IPv6", src, dst, problems=(*problems, "IPv6 extension header cut off"))
        if protocol == 44:
            (fragment,) = struct.unpack_from("!H", inside, 2)
            offset, more = fragment >> 3, bool(fragment & 1)
        protocol, inside, length = inside[0], inside[size:], length - size
        if offset:
            break
    pseudo = raw[8:40] + struct.pack("!II", length, protocol)
    return _inside(Carried(src, dst, protocol, inside, pseudo, offset, more, problems))


def _inside(ip: Carried) -> Packet:
    name = _PROTOCOLS.get(ip.protocol)
    if ip.offset:
        what = name or f"protocol {ip.protocol}"
        text = f"{what} fragment at byte {ip.offset * 8}, {len(ip.data)} bytes"
        return Packet(name or "IP", ip.src, ip.dst, text, tuple(ip.problems))
    cut = bool(ip.problems) and any("cut off" in problem for problem in ip.problems)
    if ip.more:
        ip.problems.append("first fragment")
    elif name and not cut and not _sums_up(ip.data if ip.protocol == 1 else ip.pseudo + ip.data):
        ip.problems.append(f"{name} checksum wrong")
    if name == "TCP":
        return tcp_packet(ip)
    if name:
        return icmp_packet(name, ip)
    return Packet("IP", ip.src, ip.dst, f"protocol {ip.protocol}, {len(ip.data)} bytes", tuple(ip.problems))


def _sums_up(data: bytes) -> bool:
    # A right internet checksum makes the ones' complement sum 0xffff: a multiple of 0xffff.
    return int.from_bytes(data + b"\0" if len(data) % 2 else data) % 0xFFFF == 0


@lru_cache(4096)
def _address(raw: bytes) -> str:
    return inet_ntop(AF_INET if len(raw) == 4 else AF_INET6, raw)
