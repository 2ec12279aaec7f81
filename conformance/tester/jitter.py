"""Measure the tester's own lateness, so that no bound blames the target for it."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Final, NamedTuple

from conformance.tester.steady import steady_ns

KINDS: Final = ("loop", "read", "sent", "call")
"""The lateness of the engine's loop, a frame's wait until it is read, a frame's time from the call to the wire, and the time
until the application has done a call that waits for nothing."""
_KEPT = 8_192
_SUMMED_EVERY_S = 1.0
# What is less is within every timer's precision, and not worth keeping for hours.
_NOTABLE_NS = 1_000_000
# Notable samples of so short a time are one: under a flood there are thousands a second, and older ones must stay.
_TOGETHER_NS = 10_000_000


class Late(NamedTuple):
    """Samples that lie together: the times of the first and the last, and the greatest lateness."""

    first_ns: int
    last_ns: int
    late_ns: int


class Loss(NamedTuple):
    """Frames that were lost at our end at some time between two looks."""

    since_ns: int
    until_ns: int
    frames: int


class Jitter:
    """Lateness in ns by kind: the last samples of each, and every notable one with its time."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[int]] = {kind: deque(maxlen=_KEPT) for kind in KINDS}
        self._notable: deque[Late] = deque(maxlen=_KEPT)
        self._losses: deque[Loss] = deque(maxlen=_KEPT)
        self.lost = self.foreign = 0
        """Frames that were lost at our end, and about how many came for others, in all."""
        self._quickest_call_ns = sys.maxsize
        self.due_ns: int | None = None
        """When the loop is to wake next: what it is late by now counts before it has come to say so."""
        self._summed: tuple[float, dict[str, float]] | None = None
        self._woke_ns = 0

    def note(self, kind: str, at_ns: int, late_ns: int) -> None:
        """Add a sample: something was done at `at_ns` that was due `late_ns` earlier."""
        self._samples[kind].append(late_ns)
        if kind == "loop":
            self._woke_ns = late_ns
        if late_ns >= _NOTABLE_NS:
            last = self._notable[-1] if self._notable else None
            if last is not None and 0 <= at_ns - last.first_ns < _TOGETHER_NS:
                self._notable[-1] = Late(last.first_ns, max(last.last_ns, at_ns), max(last.late_ns, late_ns))
            else:
                self._notable.append(Late(at_ns, at_ns, late_ns))

    def note_call(self, at_ns: int, took_ns: int) -> None:
        """Note that a call which waits for nothing was done at `at_ns`; it is late by what it took beyond the quickest."""
        self._quickest_call_ns = min(took_ns, self._quickest_call_ns)
        self.note("call", at_ns, took_ns - self._quickest_call_ns)

    def note_heard(self, since_ns: int, until_ns: int, *, lost: int, foreign: int) -> None:
        """Note how well a link was heard in that time."""
        self.lost += lost
        self.foreign += foreign
        if lost:
            self._losses.append(Loss(since_ns, until_ns, lost))

    def lost_between(self, since_ns: int, until_ns: int) -> int:
        """Return how many frames may have been lost at our end in that time."""
        return sum(one.frames for one in self._losses if one.until_ns >= since_ns and one.since_ns <= until_ns)

    def worst_s(self, since_ns: int, until_ns: int) -> float:
        """Return the greatest lateness that reaches into that time, in seconds; 0 if none was notable."""
        late = [
            one.late_ns for one in self._notable if one.last_ns >= since_ns and one.first_ns - one.late_ns <= until_ns
        ]
        if self.due_ns is not None and self.due_ns <= until_ns:
            late.append(steady_ns() - self.due_ns)
        return max(0, *late, 0) / 1e9

    def behind_s(self) -> float:
        """Return the loop's lateness in seconds: now, or when it last woke."""
        overdue_ns = 0 if self.due_ns is None else steady_ns() - self.due_ns
        return max(overdue_ns, self._woke_ns) / 1e9

    def summary(self) -> dict[str, float]:
        """Median, 99th percentile and the greatest of the last samples of each kind, in microseconds; a second old at most."""
        now_s = time.monotonic()
        if self._summed is not None and now_s - self._summed[0] < _SUMMED_EVERY_S:
            return dict(self._summed[1])
        summary: dict[str, float] = {}
        for kind, samples in self._samples.items():
            if ordered := sorted(samples.copy()):
                middle, end = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
                for name, late_ns in (("p50", middle), ("p99", end), ("max", ordered[-1])):
                    summary[f"{kind}_{name}_us"] = round(late_ns / 1000, 1)
        self._summed = now_s, summary
        return dict(summary)
