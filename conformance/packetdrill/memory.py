"""The structures of Linux's socket calls on 64-bit machines, as memory of the agent protocol, and read back from it."""

from __future__ import annotations

import base64
import re
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

Memory = dict[str, Any]
_IOVEC, _POINTER = 16, 8
_MESSAGE = 56
_MESSAGE_FLAGS = 48
_CONTROL_HEADER = struct.Struct("=Qii")
EXTENDED_ERROR = struct.Struct("=IBBBxII")
ERROR_MEMBERS = ("ee_errno", "ee_origin", "ee_type", "ee_code", "ee_info", "ee_data")
CONTROL_ROOM = 512
ADDRESS_ROOM = 128


class Control(NamedTuple):
    """One control message."""

    level: int
    kind: int
    data: bytes


def memory(
    content: bytes = b"", *, size: int = 0, back: int = 0, pointers: Sequence[tuple[int, Memory]] = ()
) -> Memory:
    """Return memory of at least `size` octets that begins with `content`, of which `back` are wanted after the call."""
    described: Memory = {"size": max(size, len(content)), "back": back}
    if any(content):
        described["bytes"] = base64.b64encode(content).decode()
    if pointers:
        described["pointers"] = [list(pointer) for pointer in pointers]
    return described


def whole(value: int, octets: int = 4, *, back: bool = False) -> Memory:
    """Return memory that holds a whole number."""
    return memory((value % (1 << 8 * octets)).to_bytes(octets, "little"), back=octets if back else 0)


def address(family: int, host: str, port: int, *, mapped: bool = False) -> Memory:
    """Return a sockaddr; `mapped` puts an IPv4 address into an IPv6 one."""
    if family == 4 and not mapped:
        return memory(struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", port, socket.inet_aton(host)))
    text = f"::ffff:{host}" if mapped else host
    octets = socket.inet_pton(socket.AF_INET6, text)
    return memory(struct.pack("=H", socket.AF_INET6) + struct.pack(">HI16sI", port, 0, octets, 0))


def vector(sizes: Sequence[int], back: int = 0) -> Memory:
    """Return an array of iovec, each with memory of that size. Of the first, `back` octets are wanted."""
    content = b"".join(struct.pack("=QQ", 0, size) for size in sizes)
    rooms = [memory(size=size, back=min(back, size)) for size in sizes]
    return memory(content, pointers=[(_IOVEC * place, room) for place, room in enumerate(rooms)])


def message(
    sizes: Sequence[int], *, name: Memory | None = None, control: Memory | None = None, back: bool = False
) -> Memory:
    """Return a msghdr. With `back` it comes back, so that `read_flags` and the length of control data can be read."""
    content = struct.pack(
        "=QIxxxxQQQQixxxx", 0, name["size"] if name else 0, 0, len(sizes), 0, control["size"] if control else 0, 0
    )
    pointers = [(16, vector(sizes))]
    if name is not None:
        pointers.insert(0, (0, name))
    if control is not None:
        pointers.append((32, control))
    return memory(content, size=_MESSAGE, back=_MESSAGE if back else 0, pointers=pointers)


def read_flags(header: bytes) -> int:
    """Return msg_flags of a msghdr."""
    return int(struct.unpack_from("=i", header, _MESSAGE_FLAGS)[0])


def read_controls(header: bytes, room: bytes) -> Iterator[Control]:
    """Yield the control messages that a msghdr says are in its room."""
    (length,) = struct.unpack_from("=Q", header, 40)
    at = 0
    while at + _CONTROL_HEADER.size <= min(length, len(room)):
        size, level, kind = _CONTROL_HEADER.unpack_from(room, at)
        if size < _CONTROL_HEADER.size:
            return
        yield Control(level, kind, room[at + _CONTROL_HEADER.size : at + size])
        at += (size + 7) & ~7


def controls(messages: Sequence[Control]) -> Memory:
    """Return control messages to be sent."""
    content = b""
    for level, kind, data in messages:
        content += _CONTROL_HEADER.pack(_CONTROL_HEADER.size + len(data), level, kind) + data
        content += bytes(-len(content) % 8)
    return memory(content)


def polled(entries: Sequence[tuple[int, int]]) -> Memory:
    """Return an array of pollfd: descriptor and events."""
    content = b"".join(struct.pack("=ihh", descriptor, events, 0) for descriptor, events in entries)
    return memory(content, back=len(content))


def read_polled(octets: bytes) -> list[int]:
    """Return the revents of each pollfd."""
    return [returned % (1 << 16) for _, _, returned in struct.iter_unpack("=ihh", octets)]


def epoll_event(events: int, descriptor: int) -> Memory:
    """Return an epoll_event.

    Its data begin at octet 4 on x86-64 and at 8 elsewhere: the descriptor stands in both halves of them, so that octet 8
    has it on either.
    """
    return memory(struct.pack("=Iiii", events, descriptor, descriptor, descriptor), back=16)


def read_epoll_event(octets: bytes) -> tuple[int, int]:
    """Return events and descriptor of an epoll_event."""
    events, _, descriptor, _ = struct.unpack("=Iiii", octets)
    return events, descriptor


def text(written: str) -> bytes:
    r"""Return the octets of a string as the language writes it, with `\x00` and the like."""
    return re.sub(
        rb"\\(x[0-9a-fA-F]{1,2}|.)",
        lambda escape: bytes((int(escape[1][1:], 16),)) if len(escape[1]) > 1 else _ESCAPES.get(escape[1], escape[1]),
        written.encode("utf-8", "surrogateescape"),
    )


_ESCAPES = {b"0": b"\0", b"n": b"\n", b"t": b"\t", b"r": b"\r"}
