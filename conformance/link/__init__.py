"""Links: they carry frames between tester and target, with stamps in integer nanoseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

FaultHandler = Callable[[str], None]
"""Called once, with one line, when the link can carry nothing any more."""


class FrameHandler(Protocol):
    """Called with each frame that arrives, its receive stamp (ns since the epoch), and what the link mended of it."""

    def __call__(self, frame: bytes, at_ns: int, mark: str = "", /) -> None:
        """Take a frame."""


class LinkError(Exception):
    """The link can't carry frames: the interface is down or gone, or there is no right to it."""


@dataclass(frozen=True)
class Wire:
    """The faults of a wire, as its lab file gives them: `delay_s` one way, `loss` and `reorder` are fractions of them."""

    loss: float = 0.0
    reorder: float = 0.0
    delay_s: float = 0.0

    @property
    def faulty(self) -> bool:
        """Return True where the wire itself may lose or reorder frames."""
        return bool(self.loss or self.reorder)

    @property
    def attempts(self) -> int:
        """Return how often a case in doubt is run again; it is broken where it breaks alike each time.

        A wire that delays leaves less time to answer before a timer of the target's runs out.
        """
        return 4 if self.faulty or self.delay_s else 2

    def __str__(self) -> str:
        effects = {"loses {:g} %": self.loss, "reorders {:g} %": self.reorder}
        return " and ".join(text.format(part * 100) for text, part in effects.items() if part) or "is sound"


class Heard(NamedTuple):
    """Counts of a link: frames that were lost at our end, and about how many came that were for others."""

    lost: int = 0
    foreign: int = 0


class Link(Protocol):
    """Carries Ethernet frames. All calls are made from the engine's thread."""

    mac: str

    def open(self, on_frame: FrameHandler, on_fault: FaultHandler) -> None:
        """Start to deliver frames on the running loop."""

    def send(self, frame: bytes) -> int:
        """Put a frame on the wire; returns the number by which `sent_at` knows it. Raises LinkError."""

    async def sent_at(self, number: int) -> int:
        """The transmit stamp (ns since the epoch) of that frame."""

    def heard(self) -> Heard:
        """Return how well it was heard since the last call."""

    def close(self) -> None:
        """Let go of the interface."""
