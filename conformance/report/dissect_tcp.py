"""Dissect a TCP segment and its options."""

import struct
from functools import lru_cache

from conformance.report.packet import Carried, Packet, Tcp
from conformance.wire.names import EOL, NOP, SACK, option_name, option_text, sack_edges


def tcp_packet(ip: Carried) -> Packet:
    """Return the TCP segment in an IP payload, with problems for each damaged part."""
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
    texts: list[str] = []
    problems: list[str] = []
    sack: list[tuple[int, int]] = []
    at = 0
    while at < len(raw):
        kind = raw[at]
        if kind in (EOL, NOP):
            texts.append(option_name(kind))
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
            texts.append(option_text(kind, value))
        at += length
    return tuple(texts), tuple(sack), tuple(problems)
