"""Compare what the target sent with the packet that a script expects; several segments may make up one packet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from conformance.packetdrill.numbers import Numbers, flags_of, letters, name_in_script, name_of
from conformance.packetdrill.syntax import Packet, Sack, Timestamps
from conformance.tester.stamped import Received
from conformance.wire import ACK, CWR, ECE, FIN, PSH, SYN, Segment, Seq
from conformance.wire import options as opt

_ECN = {"noecn": (0,), "ect1": (1,), "ect0": (2,), "ce": (3,), "ect01": (1, 2)}
_REPORTED_ALIKE = ("sack", "TS")
"""Options that are compared in portable mode, too: the others are a stack's own choice."""


@dataclass
class Comparison:
    """The differences between a script's packet and the segments that came for it.

    `portable` leaves out what stacks choose for themselves: PSH, windows, and which options a SYN offers.
    """

    packet: Packet
    numbers: Numbers
    parts: Sequence[Received]
    portable: bool
    differences: list[str] = field(default_factory=list)

    def run(self) -> list[str]:
        """Return the differences, in words. The target's timestamps are noted on the way."""
        packet, first = self.packet, self.parts[0].segment
        self._flags()
        if self.numbers.irs is not None:
            self._check("seq", packet.seq, self.numbers.seq_in_script(first))
        self._check("length", packet.length, sum(len(part.segment.payload) for part in self.parts))
        for earlier, later in zip(self.parts, self.parts[1:], strict=False):
            self._check("distance of the next segment", 0, later.segment.seq.since(earlier.segment.end))
        if "." in packet.flags and first.flags & ACK:
            self._check("ack", packet.ack or 0, self.numbers.ack_in_script(first))
        if packet.window is not None and not self.portable:
            self._check("win", packet.window, first.window)
        self._check("urg", packet.urgent, first.urgent)
        self._ip()
        if any(any(part.segment.payload) for part in self.parts):
            self.differences.append("data that is not what the application wrote")
        self._options(first)
        return self.differences

    def _check(self, name: str, expected: object, actual: object) -> None:
        if expected != actual:
            self.differences.append(f"{name}: expected {expected}, came {actual}")

    def _flags(self) -> None:
        first, last = self.parts[0].segment, self.parts[-1].segment
        actual = (first.flags & ~PSH) | (last.flags & (PSH | FIN))
        expected, reserved = flags_of(self.packet)
        if self.portable:
            actual, expected = actual & ~PSH, expected & ~PSH
        self._check("flags", letters(expected), letters(actual))
        if not self.portable or self.packet.ace is not None:
            self._check("AE", reserved, first.reserved & 1)
        if self.packet.ace is not None:
            ace = (first.reserved & 1) << 2 | bool(first.flags & CWR) << 1 | bool(first.flags & ECE)
            self._check("ACE", self.packet.ace, ace)

    def _ip(self) -> None:
        fields, header = self.packet.ip, self.parts[0].ip
        if fields.ecn is not None and header.ecn not in _ECN[fields.ecn]:
            self.differences.append(f"ecn: expected {fields.ecn}, came {header.ecn}")
        for name in ("tos", "ttl"):
            if (expected := getattr(fields, name)) is not None:
                self._check(name, expected, getattr(header, name))

    def _options(self, segment: Segment) -> None:
        if self.packet.options is None:
            return
        actual = [option for option in segment.option_list if option.kind != opt.EOL]
        expected = [option for option in self.packet.options if name_in_script(option) != "eol"]
        if self.portable:
            actual = [option for option in actual if name_of(option) in _REPORTED_ALIKE]
            expected = [option for option in expected if name_in_script(option) in _REPORTED_ALIKE]
            if segment.flags & SYN and len(actual) != len(expected):
                return
        names = [name_in_script(option) for option in expected], [name_of(option) for option in actual]
        if names[0] != names[1]:
            self.differences.append(f"options: expected <{','.join(names[0])}>, came <{','.join(names[1])}>")
            return
        for option, arrived in zip(expected, actual, strict=True):
            if isinstance(option, Timestamps):
                self._stamps(option, arrived)
            elif isinstance(option, Sack):
                iss = self.numbers.conn.iss
                edges = tuple((Seq(left).since(iss), Seq(right).since(iss)) for left, right in opt.blocks((arrived,)))
                self._check("sack", option.blocks, edges)
            elif (wanted := self.numbers.fixed(option)).data != arrived.data:
                self.differences.append(f"{name_of(arrived)}: expected {wanted}, came {arrived}")

    def _stamps(self, option: Timestamps, arrived: opt.Option) -> None:
        """Compare the echo, which repeats a value of ours, and note by which value the target's is known in the script."""
        stamps = opt.stamps((arrived,))
        if stamps is None:
            self.differences.append("TS: the option is not whole")
            return
        self.numbers.stamps[option.value] = stamps[0]
        self._check("TS ecr", option.echo, stamps[1])
