"""Compare the places of a frame's parts with scapy's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Ether

from conformance.tester.sorting import key_of
from conformance.wire import ACK, Segment, Seq
from conformance.wire.frames import Template
from conformance.wire.ip import fragments, is_neighbour_discovery
from conformance.wire.layout import as_frame, behind_extensions, ends, ethertype, layout
from conformance.wire.segment import packed

MACS = "02:00:00:00:00:01", "02:00:00:00:00:02"
ENDS = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
CARRIED = [
    pytest.param(4, {}, id="ipv4"),
    pytest.param(4, {"options": b"\x94\x04\0\0"}, id="ipv4-options"),
    pytest.param(6, {}, id="ipv6"),
]


def carried(family: int, ip: dict[str, object], payload: bytes = b"data") -> bytes:
    """A segment in a frame, behind that IP header."""
    src, dst = ENDS[family]
    segment = Segment(src, dst, 80, 5000, Seq(1), flags=ACK, payload=payload, ip=ip)
    return Template(*MACS, src, dst).frame(segment)


@pytest.mark.parametrize(("family", "ip"), CARRIED)
@pytest.mark.parametrize("padding", [0, 6])
def test_parts_begin_where_scapy_finds_them(family: int, ip: dict[str, object], padding: int) -> None:
    frame = carried(family, ip)
    inner, frame = Ether(frame).payload, frame + bytes(padding)
    place = layout(frame)
    assert place is not None
    assert frame[place.ip :].startswith(bytes(inner)[:4])
    assert (place.v6, place.protocol, place.fragment) == (family == 6, 6, False)
    assert frame[place.payload : place.end] == bytes(inner["TCP"])
    src, dst = map(packed, ENDS[family])
    assert (frame[place.src], frame[place.dst], frame[place.addresses]) == (src, dst, src + dst)


@pytest.mark.parametrize(("family", "ip"), CARRIED)
def test_ends_of_a_frame_are_the_key_by_which_it_is_sorted(family: int, ip: dict[str, object]) -> None:
    remote, local = ENDS[family]
    assert ends(carried(family, ip)) == key_of(remote, local, 80, 5000)


@pytest.mark.parametrize("last", [False, True])
def test_every_ipv4_fragment_is_one(last: bool) -> None:
    place = layout(fragments(carried(4, {}, bytes(100)), 64, 7)[-1 if last else 0])
    assert place is not None
    assert place.fragment


def test_extension_headers_are_the_payload_and_tcp_is_behind_them() -> None:
    frame = carried(6, {"extensions": ((0, bytes(6)), (60, bytes(14)))})
    place = layout(frame)
    assert place is not None
    assert place.protocol == 0
    assert behind_extensions(frame, place) == (6, place.payload + 8 + 16)
    for piece in fragments(frame, 64, 7)[:1]:
        place = layout(piece)
        assert place is not None
        assert behind_extensions(piece, place)[0] == 6


@pytest.mark.parametrize("family", [4, 6])
def test_a_packet_alone_has_the_layout_of_its_frame(family: int) -> None:
    frame = carried(family, {})
    assert layout(as_frame(frame[14:])) == layout(frame)


@given(st.binary(max_size=80), st.sampled_from([b"\x08\x00", b"\x86\xdd", b"\x08\x06"]))
def test_no_octets_make_it_fail(octets: bytes, kind: bytes) -> None:
    frame = bytes(12) + kind + octets
    assert ethertype(frame) == kind
    ends(frame)
    place = layout(frame)
    if place is None:
        return
    assert len(frame) >= (54 if place.v6 else 34)
    is_neighbour_discovery(frame, place)
    behind_extensions(frame, place)


@pytest.mark.parametrize(
    "frame", [b"", bytes(13), bytes(60), bytes(12) + b"\x08\x00", bytes(12) + b"\x86\xdd" + bytes(39)]
)
def test_what_has_no_whole_ip_header_has_no_layout(frame: bytes) -> None:
    assert layout(frame) is None
