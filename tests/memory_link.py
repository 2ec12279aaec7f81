"""A link that exists in memory alone, and the least of a target on it, for tests of the tester's end."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from conformance.link import FaultHandler, FrameHandler, Heard, Wire


class Memory:
    """A link that keeps what it is given to send, and loses what it is told to."""

    def __init__(self, mac: str) -> None:
        self.mac = mac
        self.sent: list[bytes] = []
        self.lost = 0

    def open(self, on_frame: FrameHandler, on_fault: FaultHandler) -> None:
        self.deliver = on_frame

    def send(self, frame: bytes) -> int:
        self.sent.append(frame)
        return len(self.sent)

    async def sent_at(self, number: int) -> int:
        return number

    def heard(self) -> Heard:
        lost, self.lost = self.lost, 0
        return Heard(lost, 1024 * lost)

    def close(self) -> None:
        """Nothing to let go of."""


def target_on(link: Memory, mac: str, address: Mapping[int, str], pool: Mapping[int, Any]) -> Any:
    """Return what a station asks of a target: its name, its link, and addresses by family; it has no application."""
    return SimpleNamespace(
        link=link,
        name="memory",
        app=None,
        mac=mac,
        routed=False,
        virtual=False,
        wire=Wire(),
        closed_port=9,
        groups={},
        capabilities=frozenset(),
        address=address.__getitem__,
        pool=pool.__getitem__,
    )
