"""Say how long a case waits by the timers of the target's profile, so that it counts by each target's own time."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from conformance.standard.profile import Profile, timer_names


class UnknownTimer(ValueError):
    """No profile has a timer of that name. The message gives the nearest one."""


@dataclass(frozen=True)
class After:
    """The time until a timer of the target's profile has run out, and `more_s` seconds.

    `intervals` counts the intervals of its schedule of retransmissions: they run out one after the other. One beyond the
    last is the wait until the target gives up, which doubles the last. Where a profile does not document the timer, only
    `more_s` is waited: the case is not applicable there.
    """

    timer: str
    more_s: float = 0.0
    intervals: int = 0

    def seconds(self, profile: Profile) -> float:
        """Return how long that is for a target of this profile. Raises UnknownTimer."""
        timer = profile.timers.get(self.timer)
        if timer is None and self.timer not in timer_names():
            near = difflib.get_close_matches(self.timer, timer_names(), n=1, cutoff=0.4)
            hint = f"; the nearest is {near[0]}" if near else ""
            raise UnknownTimer(f"lasts: no profile has a timer {self.timer!r}{hint}")
        if timer is None:
            return self.more_s
        if not self.intervals:
            return timer.value_s + self.more_s
        schedule = timer.schedule_s or (timer.value_s,)
        last_wait = (2 * schedule[-1],) if self.intervals > len(schedule) else ()
        return sum((*schedule[: self.intervals], *last_wait)) + self.more_s


Lasts = float | str | After
"""Seconds, the name of a timer, or `after` one."""


def after(timer: str, more_s: float = 0.0, *, intervals: int = 0) -> After:
    """Return the time of a case that waits for a timer of the target's profile: `lasts=after("time-wait", 10)`."""
    return After(timer, more_s, intervals)


def seconds(lasts: Lasts, profile: Profile) -> float:
    """Return how long a case waits on a target of this profile. Raises UnknownTimer."""
    if isinstance(lasts, str):
        lasts = After(lasts)
    return lasts.seconds(profile) if isinstance(lasts, After) else float(lasts)
