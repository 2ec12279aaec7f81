"""Dissect an ICMP or ICMPv6 message, and the segment that an error quotes."""

import struct
from socket import AF_INET6, inet_ntop

from conformance.report.packet import Carried, Packet

_ICMP = {
    0: "echo reply",
    3: "destination unreachable",
    5: "redirect",
    8: "echo request",
    11: "time exceeded",
    12: "parameter problem",
}
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


def icmp_packet(name: str, ip: Carried) -> Packet:
    """Return the ICMP or ICMPv6 message (`name`) in an IP payload."""
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
    """Return the ports and number of the TCP segment in an ICMP error; empty without them."""
    header = 40 if six else (raw[0] & 15) * 4 if raw else 0
    if len(raw) < max(header, 20) + 8 or raw[6 if six else 9] != 6:
        return ""
    sport, dport, seq = struct.unpack_from("!HHI", raw, header)
    return f"about TCP {sport}→{dport} seq {seq}"
