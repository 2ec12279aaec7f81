"""Measure the cost of building and dissecting a segment, ours beside scapy's."""

from __future__ import annotations

import time
from collections.abc import Callable

from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from conformance.wire import ACK, SYN, Segment, Seq, dissect
from conformance.wire import options as opt
from conformance.wire.frames import PreparedFrame, Template
from tests.bench.numbers import Number, number

_BATCH = 20
_MACS, _ADDRESSES = ("02:00:00:00:00:01", "02:00:00:00:00:02"), ("10.77.4.1", "10.77.0.1")
_OPTIONS = (opt.mss(1460), opt.sack_permitted(), opt.timestamps(1, 2), opt.Option(opt.NOP), opt.window_scale(7))
_SCAPY_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]


def measure(batches: int) -> list[Number]:
    """Costs in us of a frame with a TCP segment with five options."""
    template = Template(*_MACS, *_ADDRESSES)
    frame = _built(template)
    prepared = PreparedFrame(frame)
    assert frame == _built_by_scapy(), "ours and scapy's frame differ"
    how = f"process time of {_BATCH} frames (Ethernet, IPv4, TCP with five options, no data) in a row, divided"
    return [
        number("build.prepared", "patch a prepared frame", "us", _cost(lambda: prepared.patched(1, 2), batches), how),
        number("build.ours", "build a segment", "us", _cost(lambda: _built(template), batches), how),
        number("build.scapy", "build a segment, scapy", "us", _cost(_built_by_scapy, batches), how),
        number("dissect.ours", "dissect a segment", "us", _cost(lambda: _dissected(frame), batches), how),
        number(
            "dissect.scapy", "dissect a segment, scapy", "us", _cost(lambda: _dissected_by_scapy(frame), batches), how
        ),
    ]


def _cost(work: Callable[[], object], batches: int) -> list[float]:
    took = []
    for _ in range(batches + 1):
        started = time.process_time_ns()
        for _ in range(_BATCH):
            work()
        took.append((time.process_time_ns() - started) / _BATCH / 1000)
    return took[1:]  # the first one fills caches


def _built(template: Template) -> bytes:
    segment = Segment(*_ADDRESSES, 40_001, 10_001, Seq(1), Seq(2), SYN | ACK, 8192, options=opt.encode(_OPTIONS))
    return template.frame(segment)


def _built_by_scapy() -> bytes:
    ether, ip = Ether(src=_MACS[0], dst=_MACS[1]), IP(src=_ADDRESSES[0], dst=_ADDRESSES[1], id=0, flags="DF")
    tcp = TCP(sport=40_001, dport=10_001, seq=1, ack=2, flags="SA", window=8192, options=_SCAPY_OPTIONS)
    return bytes(ether / ip / tcp)


def _dissected(frame: bytes) -> tuple[opt.Option, ...]:
    segment = dissect(frame)
    assert segment is not None
    return segment.option_list


def _dissected_by_scapy(frame: bytes) -> object:
    return Ether(frame)[TCP].options
