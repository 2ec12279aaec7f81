"""A socket filter in the kernel: what is for the tester's addresses passes, all else on the wire is sampled and dropped.

The program is classic BPF (Documentation/networking/filter.rst). It may let through more than is needed, never less.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from netaddr import IPAddress, IPRange

SAMPLED: Final = 1024
"""One frame for others in so many passes, cut to FOREIGN_OCTETS: so they can be counted, and cost next to nothing."""
FOREIGN_OCTETS: Final = 1

_SO_ATTACH_FILTER = 26
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _AND, _RETURN = 0x20, 0x28, 0x30, 0x54, 0x06
_JUMP, _EQUAL, _GREATER, _AT_LEAST = 0x05, 0x15, 0x25, 0x35
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_WHOLE = 0x40000
_INSTRUCTION = struct.Struct("=HBBI")
# Where a frame's fields are: of Ethernet, ARP, IPv4, IPv6, and of a neighbour solicitation or advertisement.
_ETHERTYPE, _ARP_SENDER, _ARP_TARGET = 12, 28, 38
_V4_PROTOCOL, _V4_SRC, _V4_DST = 23, 26, 30
_V6_PROTOCOL, _V6_SRC, _V6_DST, _ND_TARGET = 20, 22, 38, 62
_ARP, _IPV4, _IPV6, _TCP, _ICMPV6 = 0x0806, 0x0800, 0x86DD, 6, 58


class _Program:
    """Instructions in order, and the names of places among them; all jumps go forward."""

    def __init__(self) -> None:
        self._instructions: list[tuple[int, int, str, str]] = []
        self._places: dict[str, int] = {}

    def add(self, code: int, value: int) -> None:
        """Append an instruction that goes on to the next."""
        self._instructions.append((code, value, "", ""))

    def go(self, name: str) -> None:
        """Append a jump to that place, however far."""
        self._instructions.append((_JUMP, 0, name, ""))

    def unless(self, code: int, value: int, name: str) -> None:
        """Append a comparison that goes to that place where it does not hold, else on."""
        holds = f"holds {len(self._instructions)}"
        self._instructions.append((code, value, holds, ""))
        self.go(name)
        self.place(holds)

    def when(self, code: int, value: int, name: str) -> None:
        """Append a comparison that goes to that place where it holds, else on."""
        fails = f"fails {len(self._instructions)}"
        self._instructions.append((code, value, "", fails))
        self.go(name)
        self.place(fails)

    def place(self, name: str) -> None:
        """Name the place of the next instruction."""
        self._places[name] = len(self._instructions)

    def in_ranges(self, at: int, ranges: Iterable[IPRange], name: str) -> None:
        """Go to that place where the address at `at` lies in one of the ranges; else go on."""
        for pool in ranges:
            beyond = f"beyond {len(self._instructions)}"
            for low, high, offset in zip(_words(pool[0]), _words(pool[-1]), range(at, at + 16, 4), strict=False):
                self.add(_LOAD_WORD, offset)
                if low != high:  # what lies below is not looked at: more passes then, never less
                    self.unless(_AT_LEAST, low, beyond)
                    self.when(_GREATER, high, beyond)
                    break
                self.unless(_EQUAL, low, beyond)
            self.go(name)
            self.place(beyond)

    def assembled(self) -> bytes:
        """Return the program as the kernel takes it."""
        code = b""
        for number, (operation, value, *names) in enumerate(self._instructions, 1):
            yes, no = (self._places[name] - number if name else 0 for name in names)
            code += _INSTRUCTION.pack(operation, *((0, 0, yes) if operation == _JUMP else (yes, no, value)))
        return code


def program(pools: Mapping[int, Sequence[IPRange]], senders: Iterable[str] = ()) -> bytes:
    """Return the filter for the tester's addresses by family, as the kernel takes it.

    These pass: ARP and neighbour discovery about an address of the pools or from one, and IP packets to one. Where
    `senders` are given, TCP passes only from them: the addresses are then this machine's own, and others use them too.
    """
    from_only = [IPAddress(sender) for sender in senders]
    made = _Program()
    made.add(_LOAD_HALF, _ETHERTYPE)
    for kind, name in ((_ARP, "arp"), (_IPV4, "ipv4"), (_IPV6, "ipv6")):
        made.when(_EQUAL, kind, name)
    made.go("foreign")

    made.place("arp")
    for at in (_ARP_SENDER, _ARP_TARGET):
        made.in_ranges(at, pools.get(4, ()), "pass")
    made.go("foreign")

    made.place("ipv4")
    made.in_ranges(_V4_DST, pools.get(4, ()), "to us over ipv4")
    made.go("foreign")

    made.place("ipv6")
    made.in_ranges(_V6_DST, pools.get(6, ()), "to us over ipv6")
    made.add(_LOAD_BYTE, _V6_PROTOCOL)
    made.unless(_EQUAL, _ICMPV6, "foreign")
    for at in (_ND_TARGET, _V6_SRC):
        made.in_ranges(at, pools.get(6, ()), "pass")
    made.go("foreign")

    for version, protocol_at, src_at in ((4, _V4_PROTOCOL, _V4_SRC), (6, _V6_PROTOCOL, _V6_SRC)):
        made.place(f"to us over ipv{version}")
        if from_only:
            made.add(_LOAD_BYTE, protocol_at)
            made.unless(_EQUAL, _TCP, "pass")
            targets = (IPRange(sender, sender) for sender in from_only if sender.version == version)
            made.in_ranges(src_at, targets, "pass")
            made.go("foreign")
        else:
            made.go("pass")

    made.place("foreign")
    made.add(_LOAD_WORD, _RANDOM)
    made.add(_AND, SAMPLED - 1)
    made.unless(_EQUAL, 0, "drop")
    made.add(_RETURN, FOREIGN_OCTETS)
    made.place("drop")
    made.add(_RETURN, 0)
    made.place("pass")
    made.add(_RETURN, _WHOLE)
    return made.assembled()


def _words(address: IPAddress) -> tuple[int, ...]:
    """Return an address as the 32-bit words that the filter loads."""
    return struct.unpack(f"!{len(address.packed) // 4}I", address.packed)


def attach(sock: socket.socket, code: bytes) -> None:
    """Have the socket receive only what `program` passes. Raises OSError."""
    buffer = ctypes.create_string_buffer(code, len(code))
    fields = struct.pack("@HP", len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fields)
