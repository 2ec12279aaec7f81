"""Segments that were sent and received, with the kernel's stamps."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.judge import Violation
from conformance.tester.trace import Frame
from conformance.wire import Segment
from conformance.wire import options as opt
from conformance.wire.ip import IpHeader, ip_header


@dataclass(frozen=True)
class Sent:
    """A segment of ours with the kernel's transmit stamp."""

    segment: Segment
    at_ns: int
    frame: Frame


@dataclass(frozen=True)
class Received:
    """A segment from the target with the kernel's receive stamp."""

    segment: Segment
    at_ns: int
    frame: Frame

    @property
    def ip(self) -> IpHeader:
        """The IP header that it came with."""
        return ip_header(self.frame.data)

    def has_option(self, kind: int) -> bool:
        """Tell whether the segment has a TCP option of that kind."""
        return opt.find(self.segment.option_list, kind) is not None

    def option(self, kind: int) -> opt.Option:
        """Return the segment's first TCP option of that kind. Raises Violation where it has none."""
        option = opt.find(self.segment.option_list, kind)
        if option is None:
            raise Violation(f"there is no {opt.name_of(kind)} option")
        return option

    @property
    def stamps(self) -> tuple[int, int]:
        """TSval and TSecr. Raises Violation where there is no whole Timestamps option."""
        stamps = opt.stamps(self.segment.option_list)
        if stamps is None:
            raise Violation("there is no whole Timestamps option")
        return stamps
