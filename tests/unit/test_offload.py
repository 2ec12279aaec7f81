"""Completed and split, frames that an interface was to finish are those that the wire carries."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.l2 import Ether

from conformance.case.timings import Timings
from conformance.judge import Bound, Inconclusive, Violation
from conformance.standard.profile import profile
from conformance.tester.clock import SECOND, Clock
from conformance.tester.trace import Trace
from conformance.wire import ACK, CWR, FIN, PSH, Flags, Segment, Seq, dissect
from conformance.wire import options as opt
from conformance.wire.frames import Template
from conformance.wire.ip import ip_header
from conformance.wire.layout import layout
from conformance.wire.offload import COMPLETED, PART, PLAIN, CannotSplit, as_wired, segments
from conformance.wire.segment import internet_checksum, pseudo_header

MACS = "02:00:00:00:00:01", "02:00:00:00:00:02"
ENDS = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
NEEDS_CHECKSUM, MERGED = 1, {4: 1, 6: 4}
FAMILIES = st.sampled_from((4, 6))


def built(family: int, segment: dict[str, object]) -> bytes:
    """A segment in a frame, as the wire carries it."""
    src, dst = ENDS[family]
    return Template(*MACS, src, dst).frame(Segment(src, dst, 80, 5000, **segment))  # type: ignore[arg-type]


def header(flags: int = 0, merged: int = 0, size: int = 0, start: int = 0, offset: int = 0) -> bytes:
    """The kernel's header before a frame."""
    return struct.pack("=BBHHHH", flags, merged, 0, size, start, offset)


def unfinished(frame: bytes) -> tuple[bytes, int]:
    """The frame with no more than the pseudo-header's sum in its checksum, and where its TCP header begins."""
    place = layout(frame)
    assert place is not None
    at = place.payload + 16
    total = 0xFFFF - internet_checksum(pseudo_header(frame[place.addresses], place.end - place.payload))
    return frame[:at] + total.to_bytes(2, "big") + frame[at + 2 :], place.payload


@given(FAMILIES, st.binary(max_size=3000), st.integers(0, 2**32 - 1))
def test_unfinished_checksum_is_completed_and_marked(family: int, text: bytes, seq: int) -> None:
    frame = built(family, {"seq": Seq(seq), "flags": ACK, "payload": text})
    left, start = unfinished(frame)
    ((wired, mark),) = as_wired(header(NEEDS_CHECKSUM, start=start, offset=16) + left)
    segment = dissect(wired)
    assert segment is not None
    assert segment.checksum_ok
    assert (wired[: start + 16], wired[start + 18 :]) == (frame[: start + 16], frame[start + 18 :])
    assert mark == COMPLETED


@given(
    FAMILIES,
    st.binary(min_size=1, max_size=20_000),
    st.integers(48, 1460),
    st.integers(0, 2**32 - 1),
    st.sampled_from((ACK, ACK | FIN, ACK | PSH, ACK | CWR, ACK | FIN | PSH | CWR)),
)
def test_splitting_loses_no_octet(family: int, text: bytes, size: int, seq: int, flags: Flags) -> None:
    stamped, number = seq % 2, seq % 0x10000
    options = opt.timestamps(7, 9).encode() + b"\1\1" if stamped else b""
    ip = {"id": number} if family == 4 else {}
    merged = built(
        family, {"seq": Seq(seq), "flags": flags, "payload": text, "options": options, "window": 4711, "ip": ip}
    )
    wired = as_wired(header(NEEDS_CHECKSUM, MERGED[family], size, 34, 16) + merged)
    parts = [dissect(frame) for frame, _ in wired]
    assert b"".join(part.payload for part in parts if part is not None) == text
    assert {mark for _, mark in wired} == {PART if len(text) > size else COMPLETED}
    following = Seq(seq)
    for at, ((frame, _), part) in enumerate(zip(wired, parts, strict=True)):
        assert part is not None
        assert part.checksum_ok
        assert part.seq == following
        following = part.seq + len(part.payload)
        last = at == len(parts) - 1
        assert len(part.payload) == (len(text) - at * size if last else size)
        assert part.flags == (flags & ~(Flags(0) if last else FIN | PSH) & ~(CWR if at else Flags(0)))
        assert (part.options, part.window, part.ack) == (options, 4711, Seq(0))
        rebuilt = Ether(frame)
        del rebuilt["TCP"].chksum
        if family == 4:
            assert ip_header(frame).id == (number + at) & 0xFFFF
            del rebuilt["IP"].chksum
            del rebuilt["IP"].len
        else:
            del rebuilt["IPv6"].plen
        assert bytes(rebuilt) == frame


@pytest.mark.parametrize("flags", [0, 2], ids=["unchecked", "checked"])
def test_frame_on_which_nothing_is_left_to_do_stays_as_it_is(flags: int) -> None:
    """A wrong checksum, too: that is the host's own."""
    frame = built(4, {"seq": Seq(1), "flags": ACK, "checksum": 1})
    assert as_wired(header(flags) + frame) == [(frame, "")]
    assert len(PLAIN) == len(header())


@pytest.mark.parametrize(
    ("before", "frame"),
    [
        (header(NEEDS_CHECKSUM, 3, 1000, 34, 8), built(4, {"seq": Seq(1)})),
        (header(NEEDS_CHECKSUM, 1, 0, 34, 16), built(4, {"seq": Seq(1)})),
        (header(NEEDS_CHECKSUM, 1, 1000, 34, 16), built(4, {"seq": Seq(1)})[:50]),
        (header(NEEDS_CHECKSUM, 1, 1000, 34, 16), bytes(60)),
        (header(NEEDS_CHECKSUM, 1, 1000, 34, 16), built(4, {"seq": Seq(1), "data_offset": 15})),
        (header(NEEDS_CHECKSUM, start=34, offset=60000), built(4, {"seq": Seq(1)})),
    ],
    ids=["udp", "no-size", "cut", "no-ip", "offset", "beyond"],
)
def test_what_can_not_be_split_is_named(before: bytes, frame: bytes) -> None:
    with pytest.raises(CannotSplit, match=r"a (merged )?frame of \d+ octets"):
        as_wired(before + frame)


@given(st.binary(min_size=10, max_size=200))
def test_any_octets_are_taken_or_refused(octets: bytes) -> None:
    with contextlib.suppress(CannotSplit):
        as_wired(octets)


def _timings(mark: str) -> Timings:
    trace = Trace()
    for part in segments(built(4, {"seq": Seq(1), "flags": ACK, "payload": bytes(200)}), 100):
        trace.frame(SECOND, part, inbound=True).mark = mark
    return Timings(profile("linux"), Clock(), trace, 0)


@pytest.mark.parametrize(("mark", "outcome"), [(PART, Inconclusive), ("", Violation)])
def test_no_interval_between_parts_of_a_merged_frame_is_judged(mark: str, outcome: type[Exception]) -> None:
    bound = Bound(0.2, 1.0, "a source")
    with pytest.raises(outcome):
        _timings(mark).check_timing("an interval", 0.0, bound)
    with pytest.raises(outcome):
        _timings(mark).check_series("a series", [SECOND, SECOND], [bound], how="stamps")
