"""A packet's line: headers, flags, sequence numbers, options and ICMP messages."""

from __future__ import annotations

from dataclasses import replace
from string import hexdigits
from typing import Literal, cast

from conformance.packetdrill.lexer import Cursor
from conformance.packetdrill.syntax import (
    EcnCounters,
    Icmp,
    IpFields,
    Number,
    Octets,
    Option,
    Packet,
    Plain,
    Sack,
    Timestamps,
)

_OPTIONS = frozenset({"nop", "eol", "mss", "wscale", "sackOK", "sack", "TS", "md5", "FO", "FOEXP", "ECN"})
_LAYERS = ("ipv4", "ipv6", "gre", "GREv0", "mpls")
_FLAGS = frozenset("FSRPUEWAC01234567")


def packet(cursor: Cursor) -> Packet:
    """Return the packet that is next. Raises ScriptError."""
    inbound = cursor.take("sign") == "<"
    ip = _ip(cursor)
    layers: list[str] = []
    while cursor.at(*_LAYERS):
        layers.append(cursor.take("word"))
        while not cursor.maybe(":"):
            cursor.advance("`:` behind a header")
        ip = _ip(cursor) or ip
    if cursor.maybe("encap"):
        layers.append(cursor.take("word", "psp"))
        cursor.take("word", "spi")
        cursor.whole()
    start = Packet(inbound, "tcp", ip=ip or IpFields(), layers=tuple(layers))
    if cursor.maybe("icmp"):
        return replace(start, protocol="icmp", icmp=_icmp(cursor))
    if cursor.maybe("udp"):
        return replace(start, protocol="udp", ports=_ports(cursor), length=_length(cursor))
    return _tcp(cursor, start)


def _tcp(cursor: Cursor, start: Packet) -> Packet:
    ports = _ports(cursor)
    flags, ace = _flags(cursor)
    seq, length = _seq(cursor)
    ack = cursor.whole() if cursor.maybe("ack") else None
    window = cursor.whole() if cursor.maybe("win") else None
    if start.inbound and window is None:
        raise cursor.needs("`win` and the window: a packet to the target needs it")
    urgent = cursor.whole() if cursor.maybe("urg") else 0
    options: tuple[Option, ...] | None = ()
    if cursor.at("<"):
        options = _options(cursor)
    return replace(
        start,
        flags=flags,
        ace=ace,
        seq=seq,
        length=length,
        ack=ack,
        window=window,
        urgent=urgent,
        options=options,
        ports=ports,
    )


def _ip(cursor: Cursor) -> IpFields | None:
    if not cursor.at("[", "("):
        return None
    close = {"[": "]", "(": ")"}[cursor.take("sign")]
    fields = IpFields()
    while not cursor.maybe(close):
        if cursor.at("ect0", "ect1", "ce", "ect01", "noecn"):
            fields = replace(fields, ecn=cursor.take("word"))
        elif cursor.maybe("tos"):
            fields = replace(fields, tos=cursor.whole())
        elif cursor.maybe("flowlabel"):
            fields = replace(fields, flowlabel=cursor.whole())
        elif cursor.maybe("ttl"):
            fields = replace(fields, ttl=cursor.whole())
        else:
            raise cursor.needs("a field of the IP header (ect0, ect1, ce, ect01, noecn, tos, flowlabel, ttl)")
        cursor.maybe(",")
    return fields


def _ports(cursor: Cursor) -> tuple[int, int] | None:
    if cursor.token.kind != "whole" or cursor.ahead(1).text != ">":
        return None
    source = cursor.whole()
    cursor.take("sign", ">")
    return source, cursor.whole()


def _flags(cursor: Cursor) -> tuple[str, int | None]:
    if cursor.maybe("-"):
        return "", None
    flags = ""
    if cursor.token.kind in ("word", "whole"):
        if not set(cursor.token.text) <= _FLAGS:
            raise cursor.needs("TCP flags (F, S, R, P, U, E, W, A, C, `.`, `-`)")
        flags = cursor.advance("flags").text
    if cursor.token.kind == "real":  # `.5`: ACK, and 5 in the AccECN field
        digits = cursor.token.text.removeprefix(".")
        if not (digits.isdecimal() and len(digits) == 1 and digits < "8"):
            raise cursor.needs("an AccECN field from .0 to .7")
        cursor.advance("flags")
        return f"{flags}.", int(digits)
    if cursor.maybe("."):
        return f"{flags}.", None
    if not flags:
        raise cursor.needs("TCP flags")
    return flags, None


def _seq(cursor: Cursor) -> tuple[int, int]:
    first = cursor.whole()
    cursor.take("sign", ":")
    at = cursor.place
    last = cursor.whole()
    length = _length(cursor)
    if last != first + length:
        cursor.place = at
        raise cursor.error(f"the end is {first + length}, the start {first} plus the length {length}, not {last}")
    return first, length


def _length(cursor: Cursor) -> int:
    cursor.take("sign", "(")
    if cursor.token.text.startswith("-"):
        raise cursor.needs("a length of at least 0")
    length = cursor.whole()
    cursor.take("sign", ")")
    return length


def _options(cursor: Cursor) -> tuple[Option, ...] | None:
    place = cursor.place
    cursor.take("sign", "<")
    if cursor.maybe("..."):
        cursor.take("sign", ">")
        return None
    options = [_option(cursor)]
    while cursor.maybe(","):
        options.append(_option(cursor))
    cursor.take("sign", ">")
    excess = sum(_size(option) for option in options) % 4
    if excess:
        cursor.place = place
        raise cursor.error(f"the options are {excess} octets more than a multiple of 4; pad them with nop or eol")
    return tuple(options)


def _size(option: Option) -> int:
    """Return the octets that an option takes in a header."""
    match option:
        case Plain(name):
            return 2 if name == "sackOK" else 1
        case Number(name):
            return 4 if name == "mss" else 3
        case Timestamps():
            return 10
        case Sack(blocks):
            return 2 + 8 * len(blocks)
        case EcnCounters(counters):
            return 2 + 3 * len(counters)
        case Octets(name, text):
            return (4 if name == "FOEXP" else 2) + len(text) // 2


def _option(cursor: Cursor) -> Option:
    if not cursor.at(*_OPTIONS):
        raise cursor.needs(f"a TCP option ({', '.join(sorted(_OPTIONS))})")
    match name := cursor.take("word"):
        case "nop" | "eol" | "sackOK":
            return Plain(name)
        case "mss" | "wscale":
            return Number(name, cursor.whole())
        case "TS":
            cursor.take("word", "val")
            value = cursor.whole()
            cursor.take("word", "ecr")
            return Timestamps(value, cursor.whole())
        case "sack":
            return Sack(_blocks(cursor))
        case "ECN":
            counters = []
            while cursor.at("e0b", "e1b", "ceb"):
                counters.append((cursor.take("word"), cursor.whole()))
            return EcnCounters(tuple(counters))
    text = "" if cursor.at(",", ">") else cursor.token.text
    if not set(text) <= set(hexdigits):
        raise cursor.needs("hexadecimal digits, or a name that is defined as such")
    cursor.place += bool(text)
    return Octets(cast(Literal["FO", "FOEXP", "md5"], name), text)


def _blocks(cursor: Cursor) -> tuple[tuple[int, int], ...]:
    blocks = []
    while cursor.token.kind == "whole":
        left = cursor.whole()
        cursor.take("sign", ":")
        blocks.append((left, cursor.whole()))
    return tuple(blocks)


def _icmp(cursor: Cursor) -> Icmp:
    message = Icmp(cursor.take("word"))
    if cursor.token.kind == "word" and not cursor.at("mtu", "id"):
        message = replace(message, code=cursor.take("word"))
    if cursor.maybe("mtu"):
        message = replace(message, mtu=cursor.whole())
    if cursor.maybe("id"):
        message = replace(message, identifier=cursor.whole())
    if not cursor.maybe("["):
        return message
    if cursor.at("udp", "raw"):
        message = replace(message, quoted_protocol=cursor.take("word"), quoted_length=_length(cursor))
    else:
        seq, length = _seq(cursor)
        message = replace(message, quoted_protocol="tcp", quoted_seq=seq, quoted_length=length)
    cursor.take("sign", "]")
    return message
