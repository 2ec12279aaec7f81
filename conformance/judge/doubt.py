"""Say when a verdict is in doubt, and what several attempts at a case come to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from conformance.judge.judgement import Judgement
from conformance.judge.verdict import Verdict

LATE_S = 0.02
"""A tester that was later than this may have broken a case itself."""
VERY_LATE_S = 0.1
"""One that was later than this may break it in the same way each time: timers of 0.2 s overtake what it does."""
_MOST_DOUBTED, _LONGEST_DOUBTED_S = 100, 240
# Times, and numbers that differ in every run.
_NUMBERS = re.compile(r"\d+\.\d+|\d{6,}")


@dataclass(frozen=True)
class Disturbance:
    """An attempt's disturbance: the tester's lateness, frames that were lost at its end, or a fault of the wire's.

    `silence` says that the attempt rests on a silence, which a lost frame looks like.
    """

    late_s: float = 0.0
    lost: int = 0
    fault: str = ""
    silence: bool = False

    @property
    def grave(self) -> bool:
        """Return True where several such attempts may fail alike though the target does nothing wrong."""
        return self.late_s >= VERY_LATE_S or self.lost > 0

    def spoils(self, judgement: Judgement) -> bool:
        """Return True where the judgement may be the disturbance's doing."""
        if self.fault:
            return judgement.verdict is Verdict.ERROR
        if self.lost:
            silent = self.silence and judgement.verdict is not Verdict.NOT_APPLICABLE
            return judgement.broken or judgement.stopped_deviating or silent
        return judgement.broken and self.late_s >= LATE_S

    def __str__(self) -> str:
        if self.lost:
            return f"{self.lost:,} frames were lost at the tester's end"
        return f"the tester itself was up to {self.late_s:.3f} s late"


class Doubts:
    """Say which cases are doubted, and count those that run again because of a disturbance.

    There is a limit to them: a run that never has calm has an end all the same.
    """

    def __init__(self, most: int = _MOST_DOUBTED, longest_s: float = _LONGEST_DOUBTED_S) -> None:
        self._left, self._left_s = most, longest_s

    def why(
        self, judgement: Judgement, disturbance: Disturbance, *, wire: str = "", raised_itself: bool = False
    ) -> str:
        """Return why a verdict is not to be believed yet, "" where it is.

        `wire` says what the wire does to frames, "" where it is sound: what was lost may be what the case takes for granted.
        `raised_itself` says that an exception of the case's own ended it.
        """
        if judgement.verdict is Verdict.INCONCLUSIVE:
            return judgement.message
        if judgement.doubt:
            return f"{judgement.doubt}: {judgement.message}"
        if wire and (judgement.broken or judgement.stopped_deviating or raised_itself):
            return f"on a wire that {wire}: {judgement.message}"
        if not disturbance.spoils(judgement):
            return ""
        return judgement.message if disturbance.fault else _because(disturbance, judgement)

    def may_run_again(self, judgement: Judgement, disturbance: Disturbance, *, duration_s: float) -> bool:
        """Count a doubted case that took so long; return False where it is one too many to run again."""
        if not disturbance.spoils(judgement):
            return True
        if not self._left or self._left_s < 0:
            return False
        self._left -= 1
        self._left_s -= duration_s
        return True


def undecided(judgement: Judgement, disturbance: Disturbance) -> Judgement:
    """Return the judgement of a disturbed attempt that is not made again: inconclusive, unless it is an error already."""
    if judgement.verdict in (Verdict.INCONCLUSIVE, Verdict.ERROR):
        return judgement
    message = _because(disturbance, judgement)
    return replace(judgement, verdict=Verdict.INCONCLUSIVE, message=message, deviation=None, stopped_deviating=False)


def agreed(attempts: Sequence[tuple[Judgement, Disturbance]], why: str) -> Judgement:
    """Return what attempts that were all in doubt come to.

    The last one counts where all failed alike, and at least one of them was not gravely disturbed; else nothing is
    decided. `why` is the reason for the first doubt.
    """
    (last, disturbance), earlier = attempts[-1], attempts[:-1]
    if disturbance.fault and last.verdict is Verdict.ERROR:
        return last
    for judgement, _ in earlier:
        if judgement.verdict is not last.verdict or not _alike(judgement.message, last.message):
            message = f"broken in one way ({judgement.message}), then in another ({last.message}): {why}"
            return replace(last, verdict=Verdict.INCONCLUSIVE, message=message, deviation=None)
    if all(of_it.grave and of_it.spoils(judgement) for judgement, of_it in attempts):
        return undecided(last, disturbance)
    return last


def with_clock_set(judgement: Judgement, by_s: float) -> Judgement:
    """Return the judgement of a case during which the machine's clock was set by that much: broken is then inconclusive."""
    if not by_s or not judgement.broken:
        return judgement
    message = f"this machine's clock was set by {by_s:+.3f} s meanwhile: {judgement.message}"
    return replace(judgement, verdict=Verdict.INCONCLUSIVE, message=message)


def _because(disturbance: Disturbance, judgement: Judgement) -> str:
    """Return the reason for a doubt: what got in the way, and what the attempt came to all the same."""
    return f"{disturbance}: {judgement.message or f'without that, the case {judgement.verdict.value}'}"


def _alike(message: str, another: str) -> bool:
    """Return True where two messages differ in nothing but times and absolute sequence numbers."""
    return _NUMBERS.sub("#", message) == _NUMBERS.sub("#", another)
