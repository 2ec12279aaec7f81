"""A small read-only dissector of what a capture holds: Ethernet, ARP, IPv4, IPv6, ICMP and TCP.

It serves the report's tables and ladders, takes any bytes and never raises: what is cut off or malformed
is said in `problems`.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop
from typing import NamedTuple

from conformance.wire.names import EOL, NOP, SACK, flags_text, option_name, option_text, sack_edges

_ICMP = {
    0: "echo reply",
    3: "destination unreachable",
    5: "redirect",
    8: "echo request",
    11: "time exceeded",
    12: "parameter problem",
}
_PROTOCOLS = {6: "TCP", 1: "ICMP", 58: "ICMPv6"}
_ICMP_ERRORS = (3, 11, 12)
_UNREACHABLE = ("network", "host", "protocol", "port", "fragmentation needed")
_ICMP6 = {
    1: "destination unreachable",
    2: "packet too big",
    3: "time exceeded",
    4: "parameter problem",
    128: "echo request",
    129: "echo reply",
    133: "router solicitation",
    134: "router advertisement",
    135: "neighbour solicitation",
    136: "neighbour advertisement",
    143: "multicast listener report",
}


class Tcp(NamedTuple):
    """A TCP header with absolute numbers; `length` counts the payload's bytes; `sack` holds absolute edges."""

    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    urgent: int
    length: int
    options: tuple[str, ...] = ()
    sack: tuple[tuple[int, int], ...] = ()

    @property
    def flag_names(self) -> str:
        """`SYN+ACK`, or `no flags`."""
        return flags_text(self.flags)


class Packet(NamedTuple):
    """What one frame says. `text` describes it in a line unless `tcp` does."""

    kind: str
    src: str = ""
    dst: str = ""
    text: str = ""
    problems: tuple[str, ...] = ()
    tcp: Tcp | None = None
    error: bool = False  # an ICMP error: it acts on a connection

    @property
    def about_connection(self) -> bool:
        """Whether it belongs into a connection's ladder."""
        return self.kind == "TCP" or self.error


@dataclass(slots=True)
class _Carried:
    """What IP carries, with the pseudo header that TCP's checksum covers and what was wrong on the way."""

    src: str
    dst: str
    protocol: int
    data: bytes
    pseudo: bytes
    offset: int
    more: bool
    problems: list[str]


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
    return _inside(_Carried(src, dst, protocol, raw[header:total], pseudo, fragment & 0x1FFF, more, problems))


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
    return _inside(_Carried(src, dst, protocol, inside, pseudo, offset, more, problems))


def _inside(ip: _Carried) -> Packet:
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
        return _tcp(ip)
    if name:
        return _icmp(name, ip)
    return Packet("IP", ip.src, ip.dst, f"protocol {ip.protocol}, {len(ip.data)} bytes", tuple(ip.problems))


def _sums_up(data: bytes) -> bool:
    # A right internet checksum makes the ones' complement sum 0xffff: a multiple of 0xffff.
    return int.from_bytes(data + b"\0" if len(data) % 2 else data) % 0xFFFF == 0


@lru_cache(4096)
def _address(raw: bytes) -> str:
    return inet_ntop(AF_INET if len(raw) == 4 else AF_INET6, raw)


def _icmp(name: str, ip: _Carried) -> Packet:
    six, raw = name == "ICMPv6", ip.data
    if len(raw) < 8:
        return Packet(name, ip.src, ip.dst, problems=(*ip.problems, f"{name} cut off"))
    kind, code, _, rest = struct.unpack_from("!BBHI", raw)
    words = [(_ICMP6 if six else _ICMP).get(kind, f"type {kind}")]
    error = 1 <= kind <= 4 if six else kind in _ICMP_ERRORS
    if six and kind in (135, 136) and len(raw) >= 24:
        words.append(f"for {inet_ntop(AF_INET6, raw[8:24])}")
    if error:
        needed = not six and kind == 3 and code < len(_UNREACHABLE)
        words.append(f"({_UNREACHABLE[code]})" if needed else f"(code {code})")
        if six and kind == 2:
            words.append(f"MTU {rest}")
        elif not six and (kind, code) == (3, 4):
            words.append(f"MTU {rest & 0xFFFF}")
        words.append(_quoted(six, raw[8:]))
    return Packet(name, ip.src, ip.dst, " ".join(filter(None, words)), tuple(ip.problems), error=error)


def _quoted(six: bool, raw: bytes) -> str:
    """Return the TCP segment that an ICMP error quotes, as far as it does."""
    header = 40 if six else (raw[0] & 15) * 4 if raw else 0
    if len(raw) < max(header, 20) + 8 or raw[6 if six else 9] != 6:
        return ""
    sport, dport, seq = struct.unpack_from("!HHI", raw, header)
    return f"about TCP {sport}→{dport} seq {seq}"


def _tcp(ip: _Carried) -> Packet:
    raw, problems = ip.data, ip.problems
    if len(raw) < 20:
        ports = f"port {int.from_bytes(raw[:2])}→{int.from_bytes(raw[2:4])}, " if len(raw) >= 4 else ""
        return Packet("TCP", ip.src, ip.dst, f"{ports}{len(raw)} bytes", (*problems, "TCP header cut off"))
    sport, dport, seq, ack, flags, window, _, urgent = struct.unpack_from("!HHIIHHHH", raw)
    header = (flags >> 12) * 4
    if flags >> 9 & 7:
        problems.append(f"reserved bits {flags >> 9 & 7:03b}")
    if header < 20 or header > len(raw):
        problems.append(f"data offset {header} of {len(raw)} bytes")
        header = 20 if header < 20 else len(raw)
    options, sack, wrong = _options(raw[20:header])
    problems += wrong
    tcp = Tcp(sport, dport, seq, ack, flags & 0x1FF, window, urgent, len(raw) - header, options, sack)
    return Packet("TCP", ip.src, ip.dst, problems=tuple(problems), tcp=tcp)


@lru_cache(4096)
def _options(raw: bytes) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...], tuple[str, ...]]:
    """Return the options, the edges of SACK blocks, and what is wrong with them."""
    found: list[str] = []
    problems: list[str] = []
    sack: list[tuple[int, int]] = []
    at = 0
    while at < len(raw):
        kind = raw[at]
        if kind in (EOL, NOP):
            found.append(option_name(kind))
            at += 1
            if kind == EOL:
                if any(raw[at:]):
                    problems.append(f"after the end of options: {raw[at:].hex(' ')}")
                break
            continue
        length = raw[at + 1] if at + 1 < len(raw) else 0
        if length < 2 or at + length > len(raw):
            problems.append(f"option {kind} with the impossible length {length}")
            break
        value = raw[at + 2 : at + length]
        if kind == SACK and (edges := sack_edges(value)):
            sack += edges
        else:
            found.append(option_text(kind, value))
        at += length
    return tuple(found), tuple(sack), tuple(problems)
