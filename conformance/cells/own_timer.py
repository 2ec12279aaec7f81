"""Tell an answer from what a timer of the target's would send again in any case."""

from __future__ import annotations

import math
from typing import Final

from conformance.judge import Inconclusive
from conformance.standard.profile import Profile

FIRST_TIMEOUT_S: Final = 1.0
"""The first timeout of a target whose profile documents none (RFC 6298, 2.1)."""
MOST_FIRST_TIMEOUT_S: Final = 3.0
"""The longest first timeout of a target whose profile documents none (RFC 2988, 2.1)."""
LEAST_S: Final = 0.25
"""As long as silence is watched for: in less time a living target may not have answered yet."""


def only_an_answer_s(earliest_s: float, elapsed_s: float, most_s: float) -> float:
    """Return for how many seconds, `most_s` at most, what comes can only be an answer.

    `earliest_s` is the target's timer at its earliest, `elapsed_s` how much of it was over when our segment left.

    Raises:
        Inconclusive: so little is left that a slow answer and the timer can't be told apart.
    """
    left_s = earliest_s - elapsed_s
    if left_s < LEAST_S:
        raise Inconclusive(
            f"the target's own timer may send the same {max(0.0, left_s):.3f} s after our segment: "
            "an answer can't be told from that"
        )
    return min(most_s, math.floor(left_s * 100) / 100)


def beyond_timeout_s(profile: Profile) -> float:
    """Return for how many seconds to watch until what is not acknowledged would have been sent again.

    That is the least retransmission timeout of the profile at its latest; a target without one may begin with up to 3 s.
    """
    timer = profile.timers.get("rto-min")
    return LEAST_S + (MOST_FIRST_TIMEOUT_S if timer is None else timer.high_s)
