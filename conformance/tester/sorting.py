"""Frames sorted to connections by raw bytes, prepared answers first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from conformance.tester.addresses import Addresses
from conformance.tester.clock import Clock
from conformance.tester.neighbours import Neighbours
from conformance.tester.trace import Frame
from conformance.wire import Segment, dissect, icmp
from conformance.wire.layout import ends, layout
from conformance.wire.segment import glance, packed

_TCP = 6

Receiver = Callable[[bytes, Segment, Frame], None]
IcmpReceiver = Callable[[icmp.IcmpMessage, Frame], None]
Answerer = Callable[[int, int], bool]
"""Called with a segment's flags and end before anything else is done with it; returns whether it has more answers."""


class Sorter:
    """Gives each frame of the target to the connection that it is for, and keeps it in the trace of its address."""

    def __init__(self, addresses: Addresses, neighbours: Neighbours, clock: Clock) -> None:
        self._addresses, self._neighbours, self._clock = addresses, neighbours, clock
        self._receivers: dict[bytes, Receiver] = {}
        self._openers: dict[bytes, Receiver] = {}
        self._icmp_receivers: dict[bytes, IcmpReceiver] = {}
        self._answerers: dict[bytes, Answerer] = {}
        self._waiting: list[tuple[bytes, int, str]] = []

    def receive(self, local: str, port: int, remote: str, remote_port: int, receiver: Receiver) -> None:
        """From now on give what comes on that four-tuple to `receiver`."""
        key = key_of(remote, local, remote_port, port)
        self._receivers[key] = receiver
        self._answerers.pop(key, None)

    def receive_no_more(self, local: str, port: int, remote: str, remote_port: int) -> None:
        """Give what comes on that four-tuple to nobody."""
        self._receivers.pop(key_of(remote, local, remote_port, port), None)

    def receive_icmp(self, local: str, port: int, remote: str, remote_port: int, receiver: IcmpReceiver) -> None:
        """Give ICMP errors about what we sent on that four-tuple to `receiver`."""
        self._icmp_receivers[key_of(remote, local, remote_port, port)] = receiver

    def receive_open(self, local: str, port: int, receiver: Receiver) -> None:
        """Give what comes for that address and port, from any port of the target, to `receiver`."""
        self._openers[packed(local) + port.to_bytes(2, "big")] = receiver

    def prepare(self, local: str, port: int, remote: str, remote_port: int, answerer: Answerer) -> None:
        """Have `answerer` answer what comes on that four-tuple, until it has no more answers."""
        self._answerers[key_of(remote, local, remote_port, port)] = answerer

    def forget(self, address: str) -> None:
        """Drop all receivers of that address of ours."""
        key = packed(address)
        tables: tuple[dict[bytes, Receiver] | dict[bytes, IcmpReceiver] | dict[bytes, Answerer], ...]
        tables = self._receivers, self._openers, self._icmp_receivers, self._answerers
        for table in tables:
            for ends_of_address in [ends_seen for ends_seen in table if key in ends_seen]:
                del table[ends_of_address]

    def on_frame(self, data: bytes, at_ns: int, mark: str = "") -> None:
        """Take a frame from the link; `mark` is what the link mended of it.

        Where answers are prepared, all else waits until every frame that came together with this one has had its answer.
        """
        at_ns = self._clock.of_stamp(at_ns)
        if not self._answerers and not self._waiting:
            self.sort(data, at_ns, mark)
            return
        key = ends(data)
        answerer = self._answerers.get(key)
        seen = glance(data) if answerer is not None else None
        if answerer is not None and seen is not None and not answerer(*seen):
            del self._answerers[key]
        self._waiting.append((data, at_ns, mark))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._sort_all)

    def _sort_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for data, at_ns, mark in waiting:
            self.sort(data, at_ns, mark)

    def sort(self, data: bytes, at_ns: int, mark: str = "") -> None:
        """Keep a frame, and give it to whom it is for; `at_ns` is on the scale of the case's clock."""
        now_ns = self._clock.now_ns()
        self._clock.jitter.note("read", now_ns, now_ns - at_ns)
        place = layout(data)
        local = data[place.dst] if place is not None else b""
        trace = self._addresses.traces.get(local)
        if trace is not None and not trace.has_room(len(data)):
            return
        if place is None or place.protocol != _TCP:
            message = icmp.icmp_message(data) if trace is not None else None
            if message is not None and trace is not None:
                self._on_icmp(message, trace.frame(at_ns, data, inbound=True))
            else:
                self._neighbours.on_frame(data, at_ns, trace)
            return
        if trace is None:
            return
        frame = trace.frame(at_ns, data, inbound=True)
        frame.mark = mark
        segment = dissect(data)
        if segment is None:
            frame.comment = "not a whole TCP segment"
            return
        port = data[place.payload + 2 : place.payload + 4]
        receiver = self._receivers.get(ends(data)) or self._openers.get(local + port)
        if receiver is None:
            frame.comment = "on no connection of this case"
        else:
            receiver(data, segment, frame)

    def _on_icmp(self, message: icmp.IcmpMessage, frame: Frame) -> None:
        receiver = self._icmp_receivers.get(icmp.quoted_ends(message) or b"")
        if receiver is None:
            frame.comment = "about no connection of this case"
        else:
            receiver(message, frame)


def key_of(remote: str, local: str, remote_port: int, port: int) -> bytes:
    """Return addresses and ports in the order in which a frame from the target carries them, as `ends` reads them."""
    return packed(remote) + packed(local) + remote_port.to_bytes(2, "big") + port.to_bytes(2, "big")
