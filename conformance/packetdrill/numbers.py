"""A connection's numbers as a script writes them: absolute for a SYN, else relative to the initial sequence number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from conformance.case.connection import Connection
from conformance.judge import NotApplicable
from conformance.packetdrill.syntax import EcnCounters, Number, Octets, Option, Packet, Plain, Sack, Timestamps
from conformance.wire import ACK, CWR, ECE, FIN, NO_FLAGS, PSH, RST, SYN, URG, Flags, Segment, Seq
from conformance.wire import options as opt

LETTERS = {"F": FIN, "S": SYN, "R": RST, "P": PSH, ".": ACK, "U": URG, "E": ECE, "W": CWR}
MD5, EXPERIMENT, ECN_ORDER_0, ECN_ORDER_1 = 19, 254, 172, 174
"""Kinds of options that few stacks have: RFC 2385, RFC 6994, and AccECN's two."""
FAST_OPEN_MAGIC = b"\xf9\x89"
_OF_RFC_9293 = {
    opt.NOP: "nop",
    opt.MSS: "mss",
    opt.WINDOW_SCALE: "wscale",
    opt.SACK_PERMITTED: "sackOK",
    opt.SACK: "sack",
}
_NAMES = {**_OF_RFC_9293, opt.TIMESTAMPS: "TS", opt.FAST_OPEN: "FO", MD5: "md5", ECN_ORDER_0: "ECN", ECN_ORDER_1: "ECN"}


@dataclass
class Numbers:
    """The initial numbers of one connection, in the script and on the wire, and which timestamp stands for which."""

    conn: Connection
    ours: int = 0
    """The script's number of our SYN."""
    theirs: int = 0
    """The script's number of the target's SYN."""
    opened: bool = False
    """Our SYN was sent."""
    irs: Seq | None = None
    stamps: dict[int, int] = field(default_factory=dict)
    """The target's timestamps by those of the script."""
    scaled: bool = False
    """An echo that the target never sent counts from the first that it did (`--tcp_ts_ecr_scaled`)."""
    cookies: Mapping[str, str] = field(default_factory=dict)
    """The Fast Open cookies on the wire by those of the script."""

    def seq_of(self, packet: Packet) -> Seq:
        """Return the sequence number on the wire of a packet of ours."""
        return self.conn.iss + (packet.seq - (self.ours if "S" in packet.flags else 0))

    def ack_of(self, packet: Packet) -> Seq:
        """Return the acknowledgment number on the wire of a packet of ours."""
        if "." not in packet.flags or self.irs is None:
            return Seq(packet.ack or 0)
        return self.irs + ((packet.ack or 0) - (self.theirs if "S" in packet.flags else 0))

    def seq_in_script(self, segment: Segment) -> int:
        """Return the script's number of a segment of the target."""
        base = segment.seq if self.irs is None else self.irs
        return segment.seq.since(base) + (self.theirs if segment.flags & SYN else 0)

    def ack_in_script(self, segment: Segment) -> int:
        """Return the script's acknowledgment number of a segment of the target."""
        return segment.ack.since(self.conn.iss) + (self.ours if segment.flags & SYN else 0)

    def encoded(self, packet: Packet) -> bytes:
        """Return the options of a packet of ours. Raises NotApplicable."""
        data = b"".join(self._option(option, packet).encode() for option in packet.options or ())
        return data + bytes(-len(data) % 4)

    def _option(self, option: Option, packet: Packet) -> opt.Option:
        match option:
            case Timestamps(value, echo):
                return opt.timestamps(value, self._echo(echo) if "." in packet.flags else echo)
            case Sack(edges):
                irs = self.irs if self.irs is not None else Seq(0)
                return opt.sack(*((irs + left, irs + right) for left, right in edges))
        return self.fixed(option)

    def _echo(self, echo: int) -> int:
        if echo in self.stamps:
            return self.stamps[echo]
        if not self.scaled or not self.stamps:
            raise NotApplicable(f"no timestamp that the target sent is known as {echo} in the script")
        script, actual = next(iter(self.stamps.items()))
        return (actual + echo - script) % (1 << 32)

    def fixed(self, option: Option) -> opt.Option:
        """Return an option that has no numbers of this connection. Raises NotApplicable."""
        if isinstance(option, Octets):
            option = option._replace(text=self.cookies.get(option.text.lower(), option.text))
        return _fixed(option)

    def written(self, segment: Segment) -> str:
        """Return a segment of the target as the script would write it."""
        start, size = self.seq_in_script(segment), len(segment.payload)
        ack = f" ack {self.ack_in_script(segment)}" if segment.flags & ACK else ""
        options = f" <{opt.options_text(segment.option_list)}>" if segment.options else ""
        return f"{letters(segment.flags)} {start}:{start + size}({size}){ack} win {segment.window}{options}"


def _fixed(option: Option) -> opt.Option:  # noqa: PLR0911 - one branch an option
    """Return an option that is the same on each connection. Raises NotApplicable."""
    match option:
        case Plain("nop"):
            return opt.Option(opt.NOP)
        case Plain("eol"):
            return opt.Option(opt.EOL)
        case Plain():
            return opt.sack_permitted()
        case Number("mss", value):
            return opt.mss(value)
        case Number(_, value):
            return opt.window_scale(value)
        case EcnCounters(counters):
            first = ECN_ORDER_0 if not counters or counters[0][0] == "e0b" else ECN_ORDER_1
            return opt.Option(first, b"".join((count % 2**24).to_bytes(3, "big") for _, count in counters))
        case Octets("FO", text):
            return opt.fast_open(bytes.fromhex(text))
        case Octets("FOEXP", text):
            return opt.Option(EXPERIMENT, FAST_OPEN_MAGIC + bytes.fromhex(text))
        case Octets(_, text):
            return opt.Option(MD5, bytes.fromhex(text))
    raise NotApplicable("an option that is not made here")


def name_of(option: opt.Option) -> str:
    """Return an option's name in the language."""
    if option.kind == EXPERIMENT and option.data.startswith(FAST_OPEN_MAGIC):
        return "FOEXP"
    return _NAMES.get(option.kind, f"kind {option.kind}")


def name_in_script(option: Option) -> str:
    """Return the name of an option of the script."""
    match option:
        case Timestamps():
            return "TS"
        case Sack():
            return "sack"
        case EcnCounters():
            return "ECN"
    return option.name


def letters(flags: Flags) -> str:
    """Return flags as the language writes them."""
    return "".join(letter for letter, flag in LETTERS.items() if flags & flag) or "-"


def flags_of(packet: Packet) -> tuple[Flags, int]:
    """Return the flags of a packet, and its reserved bits, of which AccECN uses the last as AE."""
    flags = NO_FLAGS
    for letter in packet.flags:
        if letter.isdecimal():
            raise NotApplicable("a packet whose reserved bits are written as a number")
        if letter not in "AC":
            flags |= LETTERS[letter]
    if packet.ace is None:
        return flags, int("A" in packet.flags)
    if packet.ace & 2:
        flags |= CWR
    if packet.ace & 1:
        flags |= ECE
    return flags, packet.ace >> 2
