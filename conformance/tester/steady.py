"""Real time on the scale of the kernel's stamps, that goes on as it was when somebody sets this machine's clock."""

from __future__ import annotations

import time

_LEAST_NS = 1_000_000
_TOGETHER_NS = 100_000


def _ahead_ns() -> int:
    """Return how far the machine's clock is ahead of the one that nobody sets; read together, and not around a pause of ours."""
    for _ in range(10):
        before_ns, at_ns, after_ns = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if after_ns - before_ns < _TOGETHER_NS:
            break
    return at_ns - before_ns


_BASE_NS = _ahead_ns()
_known = [0]


def steady_ns() -> int:
    """Now, in ns since the epoch as they were counted when we began."""
    return _BASE_NS + time.monotonic_ns()


def set_ns() -> int:
    """By how much the machine's clock was set since we began (0 where it was not): slewing turns both clocks alike."""
    ahead_ns = _ahead_ns() - _BASE_NS
    # Two readings are never quite together: what differs by that little is the same.
    if abs(ahead_ns - _known[0]) >= _LEAST_NS:
        _known[0] = ahead_ns
    return _known[0]
