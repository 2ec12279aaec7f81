"""Sequence arithmetic, segments, options and frames; scapy is the independent reading."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import Ether
from scapy.utils import checksum

from conformance.wire import ACK, FIN, SYN, URG, Flags, Segment, Seq, dissect, icmp
from conformance.wire import options as opt
from conformance.wire.frames import PreparedFrame, Template, neighbour_answer, neighbour_message, neighbour_question
from conformance.wire.ip import destination, fragments, ip_header
from conformance.wire.segment import internet_checksum, packed

MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
ADDRESSES = {4: ("10.77.4.1", "10.77.0.1"), 6: ("fd77::4:1", "fd77::1")}
u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
options = st.lists(
    st.sampled_from(
        [
            opt.mss(1460),
            opt.window_scale(7),
            opt.sack_permitted(),
            opt.timestamps(5, 6),
            opt.Option(opt.NOP),
            opt.Option(254, b"xy"),
        ]
    ),
    max_size=4,
).map(opt.encode)


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    src, dst = ADDRESSES[draw(st.sampled_from((4, 6)))]
    return Segment(
        src,
        dst,
        draw(u16),
        draw(u16),
        Seq(draw(u32)),
        Seq(draw(u32)),
        Flags(draw(st.integers(0, 0xFF))),
        draw(u16),
        draw(u16),
        draw(options),
        draw(st.binary(max_size=64)),
        reserved=draw(st.integers(0, 15)),
    )


@given(u32, st.integers(-(2**31), 2**31 - 1))
def test_distance_is_what_was_added(start: int, octets: int) -> None:
    assert (Seq(start) + octets) - Seq(start) == octets
    assert (Seq(start) + octets) - octets == Seq(start)


@given(u32, st.integers(1, 2**31 - 1))
def test_order_holds_across_the_wrap(start: int, octets: int) -> None:
    first, later = Seq(start), Seq(start) + octets
    assert first < later
    assert later > first
    assert first <= later
    assert not later <= first


def test_numbers_wrap_at_two_to_the_32() -> None:
    assert Seq(0xFFFFFFFF) + 1 == 0
    assert Seq(0) - 1 == 0xFFFFFFFF
    assert Seq(0xFFFFFFFF) < Seq(0)
    assert isinstance(Seq(1) - 1, Seq)


@pytest.mark.parametrize(
    ("flags", "text"), [(SYN | ACK, "SYN+ACK"), (FIN | ACK | URG, "FIN+URG+ACK"), (Flags.NONE, "no flags")]
)
def test_flags_read_as_the_field_writes_them(flags: Flags, text: str) -> None:
    assert str(flags) == text


@given(segments())
def test_frames_are_what_scapy_would_build(segment: Segment) -> None:
    frame = Template(*MACS, segment.src, segment.dst).frame(segment)
    layer = IPv6 if ":" in segment.src else IP
    read = Ether(frame)
    again = read.copy()
    del again[TCP].chksum
    if layer is IP:
        del again[IP].chksum
        del again[IP].len
    else:
        del again[IPv6].plen
    assert bytes(again) == frame
    assert (read[TCP].seq, read[TCP].ack, int(read[TCP].flags) & 0xFF) == (segment.seq, segment.ack, int(segment.flags))
    assert bytes(read[TCP].payload) == segment.payload


@given(segments())
def test_dissecting_gives_back_what_was_built(segment: Segment) -> None:
    read = dissect(Template(*MACS, segment.src, segment.dst).frame(segment))
    assert read is not None
    assert read.checksum_ok
    for name in (
        "src",
        "dst",
        "sport",
        "dport",
        "seq",
        "ack",
        "flags",
        "window",
        "urgent",
        "options",
        "payload",
        "reserved",
    ):
        assert getattr(read, name) == getattr(segment, name), name


@given(segments(), st.integers(0, 200))
def test_a_flipped_bit_shows_in_the_checksum(segment: Segment, bit: int) -> None:
    frame = bytearray(Template(*MACS, segment.src, segment.dst).frame(segment))
    start = 54 if ":" in segment.src else 34
    # Not in the data offset, which would change what is dissected.
    at = start + [*range(12), *range(13, 20)][bit % 19]
    frame[at] ^= 1 << bit % 8
    read = dissect(bytes(frame))
    assert read is not None
    assert not read.checksum_ok


@given(st.binary(max_size=120))
def test_no_octets_make_the_dissectors_raise(data: bytes) -> None:
    for ethertype in (b"\x08\x00", b"\x86\xdd", b"\x08\x06", data[12:14]):
        frame = data[:12] + ethertype + data[14:]
        dissect(frame)
        neighbour_message(frame)


@given(st.binary(max_size=60))
def test_no_octets_make_the_options_raise(data: bytes) -> None:
    for item in opt.parse(data):
        assert str(item)


def test_every_field_can_be_wrong_on_purpose() -> None:
    src, dst = ADDRESSES[4]
    segment = Segment(
        src, dst, 1, 2, Seq(3), checksum=0x1234, data_offset=15, reserved=7, ip={"ttl": 3, "id": 77, "frag": 0}
    )
    frame = Template(*MACS, src, dst).frame(segment)
    assert frame[34 + 16 : 34 + 18] == b"\x12\x34"
    assert frame[34 + 12] >> 4 == 15
    assert frame[34 + 12] & 0xF == 7
    assert (Ether(frame)[IP].ttl, Ether(frame)[IP].id) == (3, 77)
    assert dissect(frame) is None, "an offset behind the segment's end is no whole segment"


def test_an_impossible_option_length_keeps_the_rest() -> None:
    assert opt.parse(b"\x01\x02\x00abc") == (opt.Option(opt.NOP), opt.Option(opt.MSS, b"abc", 0))


def test_options_are_what_their_documents_draw() -> None:
    assert opt.sack((1, 2), (3, 4)).encode().hex() == "0512" + "00000001000000020000000300000004"
    assert opt.fast_open(b"cook").encode() == b"\x22\x06cook"
    assert opt.fast_open().encode() == b"\x22\x02"
    assert opt.user_timeout(90).encode().hex() == "1c04005a"
    assert opt.user_timeout(2, minutes=True).encode().hex() == "1c048002"


@given(u32, u32)
def test_what_the_options_say_can_be_read_back(left: int, right: int) -> None:
    options = opt.parse(opt.encode([*opt.stamped(left, right), opt.sack((left, right))]))
    assert opt.stamps(options) == (left, right)
    assert opt.blocks(options) == ((left, right),)
    assert opt.stamps(()) is None
    assert opt.blocks((opt.Option(opt.SACK, b"short"),)) == ()


@pytest.mark.parametrize("family", [4, 6])
def test_neighbours_are_asked_and_answered(family: int) -> None:
    tester, target = ADDRESSES[family]
    asked = neighbour_message(neighbour_question(MACS[1], target, tester))
    assert asked is not None
    assert (asked.request, asked.sender, asked.sender_mac, asked.address) == (True, target, MACS[1], tester)
    answer = neighbour_answer(asked, MACS[0])
    printed = neighbour_message(answer)
    assert printed is not None
    assert (printed.request, printed.address, printed.sender_mac) == (False, tester, MACS[0])
    assert answer[:6] == bytes.fromhex(MACS[1].replace(":", ""))


@given(segments(), u16)
def test_a_packet_goes_where_its_header_says(segment: Segment, number: int) -> None:
    frame = Template(*MACS, segment.src, segment.dst).frame(segment)
    assert [destination(one) for one in (frame, *fragments(frame, 8, number))] == [segment.dst] * (
        1 + -(-len(segment.header()) // 8)
    )


@pytest.mark.parametrize("family", [4, 6])
def test_neighbour_discovery_is_no_packet_for_anybody(family: int) -> None:
    tester, target = ADDRESSES[family]
    asks = neighbour_question(MACS[1], target, tester)
    asked = neighbour_message(asks)
    assert asked is not None
    assert destination(asks) is destination(neighbour_answer(asked, MACS[0])) is None


@given(segments(), u32, u32)
def test_a_prepared_frame_is_what_would_have_been_built(segment: Segment, seq: int, ack: int) -> None:
    template = Template(*MACS, segment.src, segment.dst)
    prepared = PreparedFrame(template.frame(replace(segment, seq=Seq(0), ack=Seq(0))))
    made = dissect(prepared.patched(Seq(seq), Seq(ack)))
    assert made is not None
    assert made.checksum_ok
    built = dissect(template.frame(replace(segment, seq=Seq(seq), ack=Seq(ack))))
    assert built is not None
    assert replace(made, checksum=None) == replace(built, checksum=None)


@given(segments(), st.integers(1, 8))
def test_fragments_are_put_together_again(segment: Segment, eights: int) -> None:
    whole = Template(*MACS, segment.src, segment.dst).frame(segment)
    start = 54 if ":" in segment.src else 34
    pieces = fragments(whole, eights * 8, 0x1234_5678)
    assert len(pieces) == -(-(len(whole) - start) // (eights * 8))
    data = b""
    for piece in pieces:
        read = Ether(piece)
        assert dissect(piece) is None or len(pieces) == 1
        if start == 54:
            cut = read[IPv6ExtHdrFragment]
            assert (cut.offset * 8, cut.nh, cut.id, read[IPv6].plen) == (len(data), 6, 0x1234_5678, len(piece) - 54)
            more = bool(cut.m)
            data += bytes(cut.payload)
        else:
            cut = read[IP]
            assert (cut.frag * 8, cut.id, cut.len) == (len(data), 0x5678, len(piece) - 14)
            assert internet_checksum(piece[14:34]) in (0, 0xFFFF)
            more = bool(cut.flags.MF)
            data += bytes(cut.payload)
        assert more is (piece is not pieces[-1])
    assert data == whole[start:]


def test_a_fragment_is_a_multiple_of_eight_octets() -> None:
    with pytest.raises(ValueError, match="multiple of 8"):
        fragments(Template(*MACS, *ADDRESSES[4]).frame(Segment(*ADDRESSES[4], 1, 2, Seq(3))), 12, 1)


@given(segments(), st.integers(0, 255), st.integers(0, 255))
def test_fields_of_the_ip_header_are_what_was_asked_for(segment: Segment, ttl: int, tos: int) -> None:
    frame = Template(*MACS, segment.src, segment.dst).frame(replace(segment, ip={"ttl": ttl, "tos": tos}))
    assert ip_header(frame)[:5] == (6 if ":" in segment.src else 4, segment.src, segment.dst, tos, ttl)
    assert dissect(frame) == dissect(Template(*MACS, segment.src, segment.dst).frame(segment))


def test_ip_options_and_extension_headers_stand_before_the_segment() -> None:
    made = {family: Segment(*ADDRESSES[family], 1, 2, Seq(3), flags=SYN) for family in (4, 6)}
    frame = Template(*MACS, *ADDRESSES[4]).frame(replace(made[4], ip={"options": b"\x07\x03\x04"}))
    assert ip_header(frame).options == b"\x07\x03\x04\0"
    assert internet_checksum(frame[14:38]) in (0, 0xFFFF)
    assert dissect(frame) == dissect(Template(*MACS, *ADDRESSES[4]).frame(made[4]))
    for body in (b"\x01\x04\0\0\0\0", b"\x01\x05" + bytes(5), b"\x01\x0c" + bytes(12)):
        frame = Template(*MACS, *ADDRESSES[6]).frame(replace(made[6], ip={"extensions": ((60, body),)}))
        read = Ether(frame)
        assert read[IPv6].nh == 60
        assert read[IPv6ExtHdrDestOpt].nh == 6
        assert bytes(read[TCP]) == made[6].header()
        ends = icmp.quoted_ends(icmp.IcmpMessage(4, 2, 0, icmp.quotation(frame), checksum_ok=True))
        assert ends == b"".join(map(packed, reversed(ADDRESSES[6]))) + b"\0\2\0\1"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    "error", [one for one in vars(icmp).values() if isinstance(one, icmp.IcmpError)], ids=lambda error: error.name
)
def test_icmp_errors_are_what_scapy_reads(family: int, error: icmp.IcmpError) -> None:
    tester, target = ADDRESSES[family]
    segment = Segment(target, tester, 80, 1234, Seq(77), flags=ACK, payload=bytes(2000))
    about = Template(*MACS, target, tester).frame(segment)
    if (error.v4 if family == 4 else error.v6) is None:
        with pytest.raises(ValueError, match=f"IPv{family} has no {error.name}"):
            icmp.encode(error, tester, target, 0, icmp.quotation(about))
        return
    message = icmp.encode(error, tester, target, 1400, icmp.quotation(about))
    frame = Template(*MACS, tester, target).carry(icmp.PROTOCOL[family], message)
    read = Ether(frame)
    layer = read[ICMP] if family == 4 else read[IPv6].payload
    assert (layer.type, layer.code) == error.numbers(family)
    octets = (
        message
        if family == 4
        else packed(tester) + packed(target) + len(message).to_bytes(4, "big") + b"\0\0\0:" + message
    )
    assert checksum(octets) == 0, "scapy's own sum of message and pseudo-header"
    seen = icmp.icmp_message(frame)
    assert seen is not None
    assert seen.checksum_ok
    assert (seen.type, seen.code, seen.rest) == (*error.numbers(family), 1400)
    assert seen.quoted == (about[14:42] if family == 4 else about[14 : 14 + 1232])
    assert icmp.quoted_ends(seen) == packed(tester) + packed(target) + (1234).to_bytes(2, "big") + b"\0\x50"


@given(st.binary(max_size=120))
def test_no_octets_make_the_icmp_dissector_raise(data: bytes) -> None:
    for ethertype in (b"\x08\x00", b"\x86\xdd"):
        results = icmp.icmp_message(data[:12] + ethertype + data[14:])
        if results is not None:
            icmp.quoted_ends(results)
    icmp.quoted_ends(icmp.IcmpMessage(3, 0, 0, data, checksum_ok=True))
