"""Measure the tester's own lateness, so that no bound blames the target for it."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

from conformance.tester.steady import steady_ns

KINDS: Final = ("loop", "read", "sent")
"""The lateness of the engine's loop, a frame's wait until it is read, a frame's time from the call to the wire."""
_KEPT = 8_192
_SUMMED_EVERY_S = 1.0
# What is less is within every timer's precision, and not worth keeping for hours.
_NOTABLE_NS = 1_000_000


class Jitter:
    """Lateness in ns by kind: the last samples of each, and every notable one with its time."""

    def __init__(self) -> None:
        self._samples: dict[str, deque[int]] = {kind: deque(maxlen=_KEPT) for kind in KINDS}
        self._notable: deque[tuple[int, int]] = deque(maxlen=_KEPT)
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
            self._notable.append((at_ns, late_ns))

    def worst_s(self, since_ns: int, until_ns: int) -> float:
        """Return the greatest lateness that reaches into that time, in seconds; 0 if none was notable."""
        late = [late_ns for at_ns, late_ns in self._notable if at_ns >= since_ns and at_ns - late_ns <= until_ns]
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
