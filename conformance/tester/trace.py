"""What was seen and done in one case, kept until the case is recorded."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.judge import Series, Timing
from conformance.target import HarnessFault
from conformance.tester.clock import SECOND
from conformance.wire.ip import destination

_MOST_FRAMES = 20_000
MOST_SENT, MOST_A_SECOND = 20_000, 2_000
"""How many segments a case may send, in all and to a host within a second: a case that never ends is no flood."""


@dataclass(eq=False)
class Frame:
    """One frame on the wire: `at_ns` is the kernel's stamp, `inbound` means from the target."""

    at_ns: int
    inbound: bool
    data: bytes
    comment: str = ""


class Traffic:
    """How much of a network some cases took: IP packets that left for the target, to whom, and how many in a second."""

    def __init__(self) -> None:
        self.packets = self.peak_per_s = 0
        self.to: set[str] = set()
        self._seconds: Counter[int] = Counter()

    def add(self, frames: Iterable[Frame], *, apart: bool = False) -> None:
        """Count in what left among these frames; where their time is their own, their seconds are `apart` from others'."""
        seconds: Counter[int] = Counter() if apart else self._seconds
        for frame in frames:
            to = None if frame.inbound else destination(frame.data)
            if to is not None:
                second = frame.at_ns // SECOND
                seconds[second] += 1
                self.packets += 1
                self.peak_per_s = max(self.peak_per_s, seconds[second])
                self.to.add(to)

    def facts(self) -> dict[str, Any]:
        """As the record has it."""
        return {"packets": self.packets, "peak_per_s": self.peak_per_s, "to": sorted(self.to)}


def step_line(step: Mapping[str, Any]) -> str:
    """A step in one line: what it is for, and what was sent."""
    return ": ".join(part for part in (step.get("text"), step.get("line")) if part)


@dataclass
class Trace:
    """Frames, steps, states, timings and choices of a case, in the order they came.

    A step is a dict of the record's schema, but for `frame`, which holds the Frame until `numbered` counts them.
    """

    frames: list[Frame] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    choices: list[dict[str, Any]] = field(default_factory=list)
    dropped: int = 0
    sent: int = 0
    _lately: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_A_SECOND))

    def frame(self, at_ns: int, data: bytes, *, inbound: bool, comment: str = "") -> Frame:
        """Keep a frame; a flood is kept up to a bound and counted beyond it. What we send has room behind any flood."""
        one = Frame(at_ns, inbound, data, comment)
        if len(self.frames) < _MOST_FRAMES + (0 if inbound else MOST_SENT):
            self.frames.append(one)
        else:
            self.dropped += 1
        return one

    def sends(self, *, hasty: bool = False) -> None:
        """Count a segment that is to be sent; seconds do not count where the target is `hasty`. Raises HarnessFault."""
        now_s = time.monotonic()
        if self.sent >= MOST_SENT:
            raise HarnessFault(f"flood: the case has sent {self.sent:,} segments, more are not sent")
        if not hasty and len(self._lately) == MOST_A_SECOND and now_s - self._lately[0] < 1:
            raise HarnessFault(
                f"flood: the case has sent {MOST_A_SECOND:,} segments within a second, more are not sent"
            )
        self.sent += 1
        self._lately.append(now_s)

    def step(self, kind: str, at_ns: int, **fields: Any) -> None:
        """Keep a step."""
        self.steps.append({"kind": kind, "at_ns": at_ns, **fields})

    def state(self, at_ns: int, state: str, by: str, *, side: str = "target") -> None:
        """Keep the state that a side was seen in, unless that is where it was."""
        last = next((one for one in reversed(self.states) if one["side"] == side), None)
        if last is None or last["state"] != state:
            self.states.append({"at_ns": at_ns, "side": side, "state": state, "by": by})

    def numbered(self) -> tuple[list[Frame], list[dict[str, Any]]]:
        """The frames in order of time, and the steps with the frames' numbers (from 1) in that order."""
        frames = sorted(self.frames, key=lambda frame: frame.at_ns)
        numbers = {id(frame): number for number, frame in enumerate(frames, 1)}
        steps = []
        for step in self.steps:
            frame = step.get("frame")
            if frame is None:
                steps.append(step)
            else:
                steps.append({**step, "at_ns": frame.at_ns, "frame": numbers.get(id(frame))})
        return frames, sorted(steps, key=lambda step: int(step["at_ns"]))

    def listing(self) -> str:
        """Every segment of the case with its relative time, one line each: what a failure prints."""
        frames, steps = self.numbered()
        first = frames[0].at_ns if frames else 0
        lines = []
        for step in steps:
            at = (int(step["at_ns"]) - first) / SECOND
            sign = {"send": "->", "receive": "<-"}.get(step["kind"], "  ")
            mark = "" if step.get("ok", True) else "   <== " + str(step.get("expected") or "not allowed")
            number = f"#{step['frame']}" if step.get("frame") else ""
            lines.append(f"{at:12.6f} {number:>5} {sign} {step_line(step)}{mark}")
        return "\n".join(lines)
