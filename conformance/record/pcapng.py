"""Captures as pcapng files: nanoseconds, direction and a comment for each frame.

The writer makes one section with one Ethernet interface. The reader takes any pcapng file, in either byte
order and resolution, and gives what it could read of a damaged one.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from conformance.bounded import open_regular
from conformance.record.errors import RecordError

_SECTION, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_COMMENT, _IF_NAME, _APPLICATION, _IF_TSRESOL, _IF_TSOFFSET, _EPB_FLAGS = 1, 2, 4, 9, 14, 2
_INBOUND, _OUTBOUND = 1, 2
_DIRECTIONS = {_INBOUND: True, _OUTBOUND: False}
_PACKET = {order: struct.Struct(order + "IIIII") for order in "<>"}
_OPTION = {order: struct.Struct(order + "HH") for order in "<>"}
_LINK_ETHERNET = 1
MOST_OCTETS = 64 << 20
"""Octets of frames that are read of one capture: eight times as many as a run of ours keeps of a case."""
_END_OF_OPTIONS = bytes(4)
_LONGEST_BLOCK = 1 << 20  # a frame has 256 KiB at most, its comment 64 KiB
_LONGEST_OPTION = 65532  # the largest 16-bit length that needs no padding


class CapturedFrame(NamedTuple):
    """One frame: its 1-based number, time in ns since 1970, direction as the tester sees it, bytes, comment."""

    number: int
    at_ns: int
    inbound: bool | None
    data: bytes
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Capture:
    """The frames that could be read, and one line that says why there are no more (None: all were read)."""

    frames: tuple[CapturedFrame, ...]
    problem: str | None = None


class PcapngWriter:
    """Writes frames to an open binary file; the caller owns the file, and so its buffering and closing.

    Each block is one `write` call: in an unbuffered file a killed run loses at most the last frame.
    Raises RecordError when the file takes no more (a full disk); the frames before stay readable.
    """

    def __init__(self, file: BinaryIO, *, application: str, interface: str, comment: str = "") -> None:
        self._file = file
        self._put(
            _block(
                _SECTION,
                struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1),
                (_COMMENT, comment),
                (_APPLICATION, application),
            )
        )
        nanoseconds = b"\x09"
        self._put(
            _block(
                _INTERFACE, struct.pack("<HHI", _LINK_ETHERNET, 0, 0), (_IF_NAME, interface), (_IF_TSRESOL, nanoseconds)
            )
        )

    def write(self, frame: bytes, at_ns: int, *, inbound: bool, comment: str = "") -> None:
        """Append one frame seen at `at_ns` (ns since 1970, 0 to 2**64-1, else ValueError).

        `inbound` means that it came from the target.
        """
        if not 0 <= at_ns < 1 << 64:
            raise ValueError(f"can't write a frame's time {at_ns}: not a count of nanoseconds since 1970")
        fixed = struct.pack("<IIIII", 0, at_ns >> 32, at_ns & 0xFFFFFFFF, len(frame), len(frame))
        flags = struct.pack("<I", _INBOUND if inbound else _OUTBOUND)
        self._put(_block(_ENHANCED, fixed + frame + bytes(-len(frame) % 4), (_EPB_FLAGS, flags), (_COMMENT, comment)))

    def _put(self, block: bytes) -> None:
        try:
            done = self._file.write(block)
        except OSError as error:
            raise RecordError(f"can't write capture {_name(self._file)}: {error.strerror or error}") from error
        if done < len(block):  # an unbuffered file on a disk that has just become full
            raise RecordError(f"can't write capture {_name(self._file)}: only {done} of {len(block)} bytes fitted")


def _name(file: BinaryIO) -> str:
    return str(getattr(file, "name", "in memory"))


def _block(kind: int, body: bytes, *options: tuple[int, bytes | str]) -> bytes:
    parts = [body]
    for code, value in options:
        raw = value if isinstance(value, bytes) else _utf8(value)
        if raw:
            parts.append(struct.pack("<HH", code, len(raw)) + raw + bytes(-len(raw) % 4))
    parts.append(_END_OF_OPTIONS)
    inside = b"".join(parts)
    total = len(inside) + 12
    return struct.pack("<II", kind, total) + inside + struct.pack("<I", total)


def _utf8(text: str) -> bytes:
    # Cutting may split a character: the reader of the file would choke on half of one.
    raw = text.encode("utf-8", "backslashreplace")
    return raw if len(raw) <= _LONGEST_OPTION else raw[:_LONGEST_OPTION].decode("utf-8", "ignore").encode()


def read_pcapng(path: Path, *, limit: int | None = None) -> Capture:
    """Read the frames of a pcapng file, at most `limit` of them and `MOST_OCTETS` octets; never raises.

    A file that is missing, truncated, damaged or no pcapng gives the frames before the damage and `problem`.
    """
    try:
        if not path.is_file():
            return Capture((), f"{path.name}: no such file")
        with open_regular(path) as file:
            return read_frames(file, path.name, limit=limit)
    except OSError as error:
        return Capture((), f"{path.name}: {error.strerror or error}")


def read_frames(file: BinaryIO, name: str, *, limit: int | None = None) -> Capture:
    """Read an open file as `read_pcapng` does; `name` is its name in the problem."""
    frames: list[CapturedFrame] = []
    octets = 0
    try:
        for frame in islice(_frames(file, os.fstat(file.fileno()).st_size), limit):
            octets += len(frame.data)
            if octets > MOST_OCTETS:
                return Capture(tuple(frames), f"{name}: the frames after number {len(frames):,} are not read")
            frames.append(frame)
    except OSError as error:
        return Capture(tuple(frames), f"{name}: {error.strerror or error}")
    except _DamageError as error:
        return Capture(tuple(frames), f"{name}: {error}")
    return Capture(tuple(frames))


class _DamageError(Exception):
    pass


def _frames(file: BinaryIO, size: int) -> Iterator[CapturedFrame]:
    interfaces: list[tuple[int, int]] = []  # ticks a second, offset in ns
    number = 0
    for order, kind, body, at in _blocks(file, size):
        try:
            if kind == _SECTION:
                interfaces = []
            elif kind == _INTERFACE:
                interfaces.append(_interface(order, body))
            elif kind == _ENHANCED:
                number += 1
                yield _enhanced(order, body, number, interfaces)
            elif kind == _SIMPLE:  # has neither a time nor a direction
                number += 1
                (length,) = struct.unpack_from(order + "I", body)
                yield CapturedFrame(number, 0, None, body[4 : 4 + length])
        except struct.error as error:
            raise _DamageError(f"damaged: block at byte {at} is too short for its kind") from error
        except IndexError as error:
            raise _DamageError(f"damaged: block at byte {at} names an interface that is not described") from error


def _blocks(file: BinaryIO, size: int) -> Iterator[tuple[str, int, bytes, int]]:
    """Yield each block as (struct's byte order, kind, body without the lengths around it, position in the file)."""
    if size == 0:
        raise _DamageError("the file is empty")
    order = ""
    at = 0
    while head := file.read(12):
        if head[:4] == b"\x0a\x0d\x0d\x0a":
            order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(head[8:12], "")
        if not order:
            raise _DamageError(f"not a pcapng section at byte {at}")
        if len(head) < 12:
            raise _DamageError(f"truncated: it ends inside the block at byte {at}")
        kind, length = struct.unpack_from(order + "II", head)
        if length < 12 or length % 4:
            raise _DamageError(f"damaged: block at byte {at} has the impossible length {length}")
        if at + length > size:  # asked before reading, so a false length reserves no memory
            raise _DamageError(f"truncated: it ends inside the block at byte {at}")
        if length > _LONGEST_BLOCK:
            raise _DamageError(f"damaged: block at byte {at} has {length} octets, more than any frame")
        block = head + file.read(length - 12)
        if block[-4:] != block[4:8]:
            raise _DamageError(f"damaged: the two lengths of the block at byte {at} differ")
        yield order, kind, block[8:-4], at
        at += length


def _interface(order: str, body: bytes) -> tuple[int, int]:
    struct.unpack_from(order + "HHI", body)
    options = _options(order, body, 8)
    resolution = options.get(_IF_TSRESOL, b"\x06")[:1] or b"\x06"
    power = resolution[0] & 0x7F
    offset = options.get(_IF_TSOFFSET, b"")
    seconds = struct.unpack(order + "q", offset)[0] if len(offset) == 8 else 0
    return (2 if resolution[0] & 0x80 else 10) ** power, seconds * 10**9


def _enhanced(order: str, body: bytes, number: int, interfaces: list[tuple[int, int]]) -> CapturedFrame:
    interface, high, low, length, _ = _PACKET[order].unpack_from(body)
    per_second, offset = interfaces[interface]
    end = 20 + length
    if len(body) < end:
        raise struct.error
    options = _options(order, body, end + -length % 4)
    flags = options.get(_EPB_FLAGS, b"")
    direction = struct.unpack(order + "I", flags)[0] & 3 if len(flags) == 4 else 0
    ticks = high << 32 | low
    at_ns = (ticks if per_second == 10**9 else ticks * 10**9 // per_second) + offset
    comment = options.get(_COMMENT, b"").decode("utf-8", "replace")
    return CapturedFrame(number, at_ns, _DIRECTIONS.get(direction), body[20:end], comment)


def _options(order: str, raw: bytes, at: int) -> dict[int, bytes]:
    """Return the options of a block, which begin at byte `at`."""
    options: dict[int, bytes] = {}
    head = _OPTION[order]
    while at + 4 <= len(raw):
        code, length = head.unpack_from(raw, at)
        if code == 0:
            break
        options.setdefault(code, raw[at + 4 : at + 4 + length])
        at += 4 + length + -length % 4
    return options
