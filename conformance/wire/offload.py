"""Unfinished checksums, and frames that carry several segments at once: work that a host left to its interface.

Linux hands both to a packet socket as they are. With PACKET_VNET_HDR each frame has a header in front that says so (struct
virtio_net_hdr, linux/virtio_net.h): where the checksum is missing, and how much text each segment has (`gso_size`).
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from conformance.wire.layout import layout
from conformance.wire.segment import internet_checksum, pseudo_header

_HEADER = struct.Struct("=BBHHHH")
HEADER_OCTETS = _HEADER.size
PLAIN = bytes(HEADER_OCTETS)
"""The header of a frame on which nothing is left to do."""
COMPLETED = "the host left the checksum to its interface: completed here"
PART = "one of the segments that came as one merged frame: they share a stamp"
_NEEDS_CHECKSUM = 1
_CHECKSUM = 16  # where a TCP header has it
_TCP, _FIN, _PSH, _CWR = 6, 0x01, 0x08, 0x80
_MERGED_TCP, _ECN = (1, 4), 0x80  # VIRTIO_NET_HDR_GSO_TCPV4 and _TCPV6; a flag beside them
_NUMBER = struct.Struct("!I")


class CannotSplit(Exception):
    """A frame is merged of parts that are no TCP segments, or it is not whole."""


class Wired(NamedTuple):
    """A frame as it is on the wire; `mark` says what was mended, "" where nothing was."""

    frame: bytes
    mark: str


def as_wired(octets: bytes) -> list[Wired]:
    """Return the frames that leave the interface for what stands behind a header. Raises CannotSplit."""
    flags, merged, _, size, start, offset = _HEADER.unpack_from(octets)
    frame = octets[HEADER_OCTETS:]
    if merged & ~_ECN:
        if merged & ~_ECN not in _MERGED_TCP or not size:
            raise CannotSplit(f"a merged frame of {len(frame)} octets (kind {merged}, parts of {size})")
        parts = segments(frame, size)
        return [Wired(part, PART) for part in parts] if len(parts) > 1 else [Wired(parts[0], COMPLETED)]
    if flags & _NEEDS_CHECKSUM:
        return [Wired(with_checksum(frame, start, offset), COMPLETED)]
    return [Wired(frame, "")]


def as_merged(frame: bytes, mtu: int) -> bytes:
    """Return a TCP frame above the link's MTU behind the header by which it passes as a receive offload would have merged it.

    Raises CannotSplit.
    """
    place = layout(frame)
    if place is None or place.protocol != _TCP or place.fragment or not place.payload + 20 <= place.end <= len(frame):
        raise CannotSplit(f"a frame of {len(frame)} octets without a whole TCP segment")
    headers = place.payload + (frame[place.payload + 12] >> 4) * 4
    size = mtu - (headers - place.ip)
    header = _HEADER.pack(_NEEDS_CHECKSUM, _MERGED_TCP[place.v6], headers, size, place.payload, _CHECKSUM)
    unfinished = pseudo_header(frame[place.addresses], place.end - place.payload)
    at = place.payload + _CHECKSUM
    sum_of_it = 0xFFFF - internet_checksum(unfinished)
    return header + frame[:at] + sum_of_it.to_bytes(2, "big") + frame[at + 2 :]


def with_checksum(frame: bytes, start: int, offset: int) -> bytes:
    """Return the frame with its checksum finished.

    It covers all from `start` on and belongs `offset` octets behind that, where the pseudo-header's sum stands now.
    """
    at = start + offset
    if at + 2 > len(frame):
        raise CannotSplit(f"a frame of {len(frame)} octets with its checksum at {at}")
    checksum = internet_checksum(frame[start:])
    return frame[:at] + checksum.to_bytes(2, "big") + frame[at + 2 :]


def segments(frame: bytes, size: int) -> list[bytes]:
    """Return the frames of which a merged one consists, with `size` octets of text each but for the last. Raises CannotSplit.

    FIN and PSH belong to the last, CWR to the first (RFC 3168 section 6.1.2); IPv4's identification counts on, and lengths
    and checksums are each part's own.
    """
    place = layout(frame)
    if place is None or place.protocol != _TCP or place.fragment or not place.payload + 20 <= place.end <= len(frame):
        raise CannotSplit(f"a merged frame of {len(frame)} octets without a whole TCP segment")
    text = place.payload + (frame[place.payload + 12] >> 4) * 4
    if not place.payload + 20 <= text <= place.end:
        raise CannotSplit(f"a merged frame of {len(frame)} octets with a broken data offset")
    starts = range(text, place.end, size) or range(text, text + 1)
    seq, flags = _NUMBER.unpack_from(frame, place.payload + 4)[0], frame[place.payload + 13]
    parts = []
    for number, start in enumerate(starts):
        tcp = bytearray(frame[place.payload : text] + frame[start : min(start + size, place.end)])
        _NUMBER.pack_into(tcp, 4, (seq + start - text) & 0xFFFFFFFF)
        tcp[13] = flags
        if number:
            tcp[13] &= ~_CWR
        if number < len(starts) - 1:
            tcp[13] &= ~(_FIN | _PSH)
        tcp[16:18] = b"\0\0"
        whole = pseudo_header(frame[place.addresses], len(tcp)) + tcp
        tcp[16:18] = internet_checksum(whole).to_bytes(2, "big")
        ip = bytearray(frame[place.ip : place.payload])
        if place.v6:
            ip[4:6] = len(tcp).to_bytes(2, "big")
        else:
            ip[2:4] = (len(ip) + len(tcp)).to_bytes(2, "big")
            ip[4:6] = (int.from_bytes(ip[4:6], "big") + number & 0xFFFF).to_bytes(2, "big")
            ip[10:12] = b"\0\0"
            ip[10:12] = internet_checksum(bytes(ip)).to_bytes(2, "big")
        parts.append(bytes(frame[: place.ip] + ip + tcp))
    return parts
