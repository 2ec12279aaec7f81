"""The record of one case while it runs: frames, steps, states, timings."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from conformance.judge import Series, Timing
from conformance.record.case import ChoiceTaken, FieldDifference, Side, StateSeen, Step, StepKind, TrafficFacts
from conformance.target import HarnessFault
from conformance.tester.clock import SECOND
from conformance.wire.ip import destination
from conformance.wire.offload import PART

_MOST_FRAMES, _MOST_OCTETS = 20_000, 16 << 20
_MOST_OCTETS_OF_ALL = 256 << 20
MOST_SENT, MOST_A_SECOND = 20_000, 2_000
"""Limits: the segments that a case may send, in all and to a host within a second: a case that never ends is no flood."""


@dataclass(eq=False)
class Frame:
    """One frame on the wire: `at_ns` is the kernel's stamp, `inbound` means from the target.

    `mark` is what the link mended of it (`conformance.wire.offload`).
    """

    at_ns: int
    inbound: bool
    data: bytes
    comment: str = ""
    mark: str = ""

    @property
    def remark(self) -> str:
        """The comment, and the mark."""
        return "; ".join(filter(None, (self.comment, self.mark)))


class Traffic:
    """The load that cases put on a network: IP packets that left for the target, to whom, and how many in a second."""

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

    def facts(self) -> TrafficFacts:
        """Return the numbers for the record."""
        return TrafficFacts(self.packets, self.peak_per_s, tuple(sorted(self.to)))


class Room:
    """The octets of frames that all cases of a run may keep at one time."""

    def __init__(self, octets: int = _MOST_OCTETS_OF_ALL) -> None:
        self.left = octets


@dataclass
class Trace:
    """Frames, steps, states, timings and choices of a case, in the order they came.

    A step about a frame gets the frame's time and number from `numbered`: the kernel may stamp the frame later.
    """

    frames: list[Frame] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    states: list[StateSeen] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    choices: list[ChoiceTaken] = field(default_factory=list)
    room: Room = field(default_factory=Room)
    fault: str = ""
    """Why nothing judges the target any more: what the case sends is refused, and its verdict is an error."""
    sent: int = 0
    octets: int = 0
    """The octets of the frames that are kept."""
    _frames_of_steps: list[Frame | None] = field(default_factory=list)
    _lately: deque[float] = field(default_factory=lambda: deque(maxlen=MOST_A_SECOND))

    def frame(self, at_ns: int, data: bytes, *, inbound: bool, comment: str = "") -> Frame:
        """Keep a frame. What we send is bounded by `sends`, and kept behind any flood."""
        frame = Frame(at_ns, inbound, data, comment)
        self.frames.append(frame)
        self.octets += len(data)
        self.room.left -= len(data)
        return frame

    def has_room(self, octets: int) -> bool:
        """Tell whether a frame from the wire can be kept; where not, the case has a fault from then on."""
        flood = ""
        if len(self.frames) - self.sent >= _MOST_FRAMES:
            flood = f"{_MOST_FRAMES:,} frames came for the case"
        elif self.octets + octets > _MOST_OCTETS:
            flood = f"{_MOST_OCTETS >> 20} MiB came for the case"
        elif octets > self.room.left:
            flood = f"the cases that run keep {_MOST_OCTETS_OF_ALL >> 20} MiB of frames"
        if flood:
            self.fault = self.fault or f"flood: {flood}, more are not kept"
        return not flood

    def let_go(self) -> None:
        """Make room for other cases: the frames are recorded, or not wanted any more."""
        self.room.left += self.octets
        self.octets = 0
        self.frames.clear()

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

    def step(
        self,
        kind: StepKind,
        at_ns: int,
        text: str,
        *,
        frame: Frame | None = None,
        line: str = "",
        ok: bool | None = None,
        expected: str | None = None,
        differences: Iterable[FieldDifference] = (),
        until_ns: int | None = None,
        side: Side | None = None,
        state: str = "",
    ) -> None:
        """Keep a step; the parameters are the fields of `Step`, but for `frame`."""
        self.steps.append(
            Step(
                kind,
                at_ns,
                text,
                line=line,
                ok=ok,
                expected=expected,
                differences=tuple(differences),
                until_ns=until_ns,
                side=side,
                state=state,
            )
        )
        self._frames_of_steps.append(frame)

    def state(self, at_ns: int, state: str, by: str, *, side: Side = "target") -> None:
        """Keep the state that a side was seen in, unless it was last seen in the same."""
        last = next((seen for seen in reversed(self.states) if seen.side == side), None)
        if last is None or last.state != state:
            self.states.append(StateSeen(at_ns, side, state, by))

    @property
    def merged(self) -> bool:
        """Return True where segments arrived as one merged frame: no interval is known between those."""
        return any(frame.mark == PART for frame in self.frames)

    def numbered(self) -> tuple[list[Frame], list[Step]]:
        """Return the frames in order of time, and the steps with the frames' numbers (from 1) in that order."""
        frames = sorted(self.frames, key=lambda frame: frame.at_ns)
        numbers = {id(frame): number for number, frame in enumerate(frames, 1)}
        steps = [
            step if frame is None else replace(step, at_ns=frame.at_ns, frame=numbers.get(id(frame)))
            for step, frame in zip(self.steps, self._frames_of_steps, strict=True)
        ]
        return frames, sorted(steps, key=lambda step: step.at_ns)

    def listing(self) -> str:
        """Return every segment of the case with its relative time, one line each: what a failure prints."""
        frames, steps = self.numbered()
        first = frames[0].at_ns if frames else 0
        lines = []
        for step in steps:
            at = (step.at_ns - first) / SECOND
            sign = {"send": "->", "receive": "<-"}.get(step.kind, "  ")
            mark = f"   <== {step.expected or 'not allowed'}" if step.ok is False else ""
            number = f"#{step.frame}" if step.frame else ""
            lines.append(f"{at:12.6f} {number:>5} {sign} {step}{mark}")
        return "\n".join(lines)
