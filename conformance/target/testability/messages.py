"""Messages of the testability protocol and their parameters, as octets; big endian throughout.

Source: AUTOSAR, Testability Protocol and Service Primitives, release 1.2.0.
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HEADER: Final = struct.Struct("!HBBIIBBBB")
"""Service, event bit and group, primitive, length, session, protocol's and interface's version, kind, result."""
SERVICE: Final = 0x0105
LARGEST: Final = 1 << 17
"""More octets than any message can have: a parameter has at most 65,535."""
_BEHIND_LENGTH: Final = 8
_VERSIONS: Final = (1, 1)
ANY_PORT: Final = 0xFFFF
LIMITLESS: Final = 0xFFFF


class Garbled(Exception):
    """Octets are no message of the protocol, or its parameters are not what they must be: one line."""


class Kind(enum.IntEnum):
    """The kind of a message (TID)."""

    REQUEST = 0x00
    EVENT = 0x02
    RESPONSE = 0x80


class Group(enum.IntEnum):
    """The group that a primitive belongs to (GID), of those that are used here."""

    GENERAL = 0x00
    TCP = 0x02


class General(enum.IntEnum):
    """Primitives of the group GENERAL."""

    GET_VERSION = 0x01
    START_TEST = 0x02
    END_TEST = 0x03


class Tcp(enum.IntEnum):
    """Primitives of the group TCP; SHUTDOWN is an extension that not every upper tester has."""

    CLOSE_SOCKET = 0x00
    CREATE_AND_BIND = 0x01
    SEND_DATA = 0x02
    RECEIVE_AND_FORWARD = 0x03
    LISTEN_AND_ACCEPT = 0x04
    CONNECT = 0x05
    CONFIGURE_SOCKET = 0x06
    SHUTDOWN = 0x07


class Parameter(enum.IntEnum):
    """A parameter that CONFIGURE_SOCKET sets."""

    TTL = 0x0000
    TOS = 0x0004
    MSS = 0x0005
    NAGLE = 0x0006


OK: Final = 0x00
NOT_FOUND: Final = 0xFF
BAD_SOCKET: Final = 0xEF
RESULTS: Final[Mapping[int, tuple[str, str]]] = {
    0x01: ("unknown-op", "E_NOK: the upper tester does not say why"),
    NOT_FOUND: ("unknown-op", "E_NTF: the upper tester has no such primitive"),
    0xFE: ("EAGAIN", "E_PEN: pending"),
    0xFD: ("ENOBUFS", "E_ISB: insufficient buffer"),
    0xFC: ("EINVAL", "E_INV: invalid parameter"),
    BAD_SOCKET: ("EBADF", "E_ISD: invalid socket id"),
    0xEE: ("EMFILE", "E_UCS: unable to create the socket"),
    0xED: ("EADDRINUSE", "E_UBS: unable to bind"),
    0xEC: ("EINVAL", "E_IIF: invalid interface, or in release 1.1.0 an invalid parameter"),
    0xE8: ("ENOBUFS", "E_TCP_INR: insufficient resources"),
    0xE7: ("EISCONN", "E_TCP_CAE: the connection already exists"),
    0xE6: ("EPIPE", "E_TCP_COC: the connection is closing"),
    0xE5: ("ENOTCONN", "E_TCP_CNE: the connection does not exist"),
    0xE4: ("ECONNRESET", "E_TCP_CRE: connection reset"),
    0xE3: ("ETIMEDOUT", "E_TCP_CAT: connection aborted due to user timeout"),
    0xE2: ("ECONNREFUSED", "E_TCP_COR: connection refused"),
}
"""By result id: the errno's name, and the protocol's own word. The errors of RFC 9293 section 3.9.1 are 0xE2 to 0xE8."""
URGENT: Final = 1 << 5
"""The flag of SEND_DATA, where it stands in a TCP header."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `session` is not looked at by the protocol, and most upper testers give it back."""

    group: int
    primitive: int
    kind: Kind
    data: bytes = b""
    result: int = OK
    session: int = 0
    service: int = SERVICE

    def encode(self) -> bytes:
        """Return the octets."""
        event = 0x80 if self.kind is Kind.EVENT else 0
        header = HEADER.pack(
            self.service,
            event | self.group,
            self.primitive,
            _BEHIND_LENGTH + len(self.data),
            self.session,
            *_VERSIONS,
            self.kind,
            self.result,
        )
        return header + self.data


def decode(octets: bytes) -> Message:
    """Return the message that the octets are, all of them. Raises Garbled."""
    if len(octets) < HEADER.size:
        raise Garbled(f"a message has {HEADER.size} octets at least, this one {len(octets)}")
    service, group, primitive, length, session, protocol, interface, kind, result = HEADER.unpack_from(octets)
    if size_of(octets) != len(octets):
        raise Garbled(f"LEN is {length}, and {len(octets) - _BEHIND_LENGTH} octets follow it")
    if (protocol, interface) != _VERSIONS:
        raise Garbled(f"protocol and interface version must be 1 and 1, they are {protocol} and {interface}")
    try:
        known = Kind(kind)
    except ValueError:
        raise Garbled(f"TID {kind:#04x} is neither request, response nor event") from None
    return Message(group & 0x7F, primitive, known, octets[HEADER.size :], result, session, service)


def size_of(octets: bytes) -> int:
    """Return how many octets the message has that begins here, 0 where too few are there to know. Raises Garbled."""
    if len(octets) < _BEHIND_LENGTH:
        return 0
    size = int.from_bytes(octets[4:8], "big") + _BEHIND_LENGTH
    if not HEADER.size <= size <= LARGEST:
        raise Garbled(f"LEN {size - _BEHIND_LENGTH} is out of range: 8 to {LARGEST - _BEHIND_LENGTH}")
    return size


def number(value: int, octets: int = 2) -> bytes:
    """Return a parameter of type uint16, or uint8 with `octets` 1."""
    return value.to_bytes(octets, "big")


def text(value: bytes) -> bytes:
    """Return a parameter of type vint8: octets behind their number."""
    return number(len(value)) + value


def address(value: str) -> bytes:
    """Return a parameter of type ipxaddr."""
    return text(ipaddress.ip_address(value).packed)


class Parameters:
    """The parameters of a message, taken one by one; a method raises Garbled where too few octets are left."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def number(self, octets: int = 2) -> int:
        """Take a number of so many octets."""
        return int.from_bytes(self._take(octets), "big")

    def text(self) -> bytes:
        """Take a vint8."""
        return self._take(self.number())

    def address(self) -> str:
        """Take an ipxaddr."""
        packed = self.text()
        if len(packed) not in (4, 16):
            raise Garbled(f"an address has 4 or 16 octets, this one {len(packed)}")
        return str(ipaddress.ip_address(packed))

    def _take(self, count: int) -> bytes:
        if len(self._left) < count:
            raise Garbled(f"{count} octets of parameters are due, {len(self._left)} are there")
        taken, self._left = self._left[:count], self._left[count:]
        return taken
