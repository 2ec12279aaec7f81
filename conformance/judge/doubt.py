"""Say when a verdict is in doubt, and what several attempts at a case come to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from conformance.judge.judgement import Judgement
from conformance.judge.verdict import Verdict

LATE_S = 0.02
"""A tester that was later than this may have broken a case itself."""
_MOST_DOUBTED, _LONGEST_DOUBTED_S = 100, 240
# Times, and numbers that differ in every run.
_NUMBERS = re.compile(r"\d+\.\d+|\d{6,}")


class Doubts:
    """Count the broken cases of a run that are doubted because the tester was late.

    There is a limit to them: a target that is broken in many cases need not be run twice.
    """

    def __init__(self, most: int = _MOST_DOUBTED, longest_s: float = _LONGEST_DOUBTED_S) -> None:
        self._left, self._left_s = most, longest_s

    def why(
        self, judgement: Judgement, *, late_s: float, duration_s: float, wire: str = "", raised_itself: bool = False
    ) -> str:
        """Return why a verdict is not to be believed yet, "" where it is.

        `late_s` is how late the tester was during the case, which took `duration_s`. `wire` says what the wire does to frames,
        "" where it is sound: what was lost may be what the case takes for granted. `raised_itself` says that an exception of
        the case's own ended it.
        """
        if judgement.verdict is Verdict.INCONCLUSIVE:
            return judgement.message
        if wire and (judgement.broken or judgement.stopped_deviating or raised_itself):
            return f"on a wire that {wire}: {judgement.message}"
        if not judgement.broken or late_s < LATE_S or not self._left or self._left_s < 0:
            return ""
        self._left -= 1
        self._left_s -= duration_s
        return f"the tester itself was up to {late_s:.3f} s late: {judgement.message}"


def agreed(attempts: Sequence[Judgement], why: str) -> Judgement:
    """Return what attempts that were all in doubt come to: the last, or inconclusive where they do not fail alike.

    `why` is the reason for the first doubt.
    """
    last = attempts[-1]
    for earlier in attempts[:-1]:
        if earlier.verdict is not last.verdict or not _alike(earlier.message, last.message):
            message = f"broken in one way ({earlier.message}), then in another ({last.message}): {why}"
            return replace(last, verdict=Verdict.INCONCLUSIVE, message=message, deviation=None)
    return last


def with_clock_set(judgement: Judgement, by_s: float) -> Judgement:
    """Return the judgement of a case during which the machine's clock was set by that much: broken is then inconclusive."""
    if not by_s or not judgement.broken:
        return judgement
    message = f"this machine's clock was set by {by_s:+.3f} s meanwhile: {judgement.message}"
    return replace(judgement, verdict=Verdict.INCONCLUSIVE, message=message)


def _alike(message: str, another: str) -> bool:
    """Return True where two messages differ in nothing but times and absolute sequence numbers."""
    return _NUMBERS.sub("#", message) == _NUMBERS.sub("#", another)
