"""The rows of a profile: a timer and its bounds, a known deviation and the cases that it is about."""

from __future__ import annotations

import datetime
import functools
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from conformance.standard import _data, catalogue
from conformance.standard.toml_place import NUMBER, TEXT, TEXTS, Kind, Place, Table

LATE_FRACTION: Final = 0.125
"""A timer wheel rounds an expiry up by at most an eighth of the interval (Linux, kernel/time/timer.c)."""

LATE_S: Final = 0.05
"""Seconds from the expiry to the segment on the wire, on a busy machine."""

EARLY_S: Final = 0.01
"""Seconds: one jiffy at 100 Hz, by which a tick-driven timer may seem early."""


@dataclass(frozen=True, slots=True)
class Timer:
    """A documented interval in seconds and the bounds to judge it by.

    `value_s` is what the document says, `least_s` the lower end where it gives a range. `schedule_s` lists the
    nominal intervals of a series of retransmissions in their order, empty where the timer is no series.
    """

    name: str
    value_s: float
    least_s: float
    late_fraction: float
    late_s: float
    source: str
    note: str = ""
    schedule_s: tuple[float, ...] = ()
    early_s: float = EARLY_S

    @property
    def low_s(self) -> float:
        """The earliest that agrees with the document, in seconds."""
        return max(0.0, self.least_s - self.early_s)

    @property
    def high_s(self) -> float:
        """The latest that agrees with the document, in seconds."""
        return self.bounds(self.value_s)[1]

    def bounds(self, nominal_s: float) -> tuple[float, float]:
        """Earliest and latest, in seconds, for another interval of this timer, such as one of its schedule."""
        return max(0.0, nominal_s - self.early_s), nominal_s * (1 + self.late_fraction) + self.late_s


@dataclass(frozen=True, slots=True)
class Setting:
    """Something that a case may set on the target, by the names and values that the target has for it.

    `sysctl` maps names to values, in which `{}` stands for the value that is asked for.
    """

    name: str
    sysctl: Mapping[str, str]
    source: str

    def with_value(self, value: str) -> dict[str, str]:
        """Return the names and values that set it so."""
        return {name: text.replace("{}", value) for name, text in self.sysctl.items()}


@dataclass(frozen=True, slots=True)
class Deviation:
    """A known departure from a requirement, in the cases and cells that `cases` matches.

    A glob of `cases` has `*` and `?` only: brackets are part of a case's id. `shows` is a regular expression that the
    failure's one line must match, so that no other failure of the same case passes as the known one. `since` is the first
    version that does so, `date` the day on which it was last seen.

    In every case of `cases` it has to show. `in_the_way_of` are globs of cases that may come across it: that check something
    else, as where they need a state which the target can't be brought into, or in which it shows by chance.
    """

    cases: tuple[str, ...]
    requirement: str
    sentence: str
    reason: str
    source: str
    shows: str
    since: str = ""
    date: str = ""
    in_the_way_of: tuple[str, ...] = ()

    def shown_by(self, message: str) -> bool:
        """Return True if a failure with this message is the known one."""
        return re.search(self.shows, message) is not None

    def covers(self, *ids: str) -> bool:
        """Return True if the deviation names any of a case's ids (node id, function name, cell id)."""
        return matches(self.cases, ids)


TIMER: Final[Mapping[str, Kind]] = {
    "value_s": NUMBER,
    "source": TEXT,
    "least_s": NUMBER,
    "early_s": NUMBER,
    "late_fraction": NUMBER,
    "late_s": NUMBER,
    "note": TEXT,
    "schedule_s": Kind("a list of numbers", (list,), (int, float)),
}
SETTING: Final[Mapping[str, Kind]] = {
    "sysctl": Kind("a table of names and values", (dict,), (str, int)),
    "source": TEXT,
}
DEVIATION: Final[Mapping[str, Kind]] = {
    "cases": TEXTS,
    "requirement": TEXT,
    "sentence": TEXT,
    "reason": TEXT,
    "source": TEXT,
    "shows": TEXT,
    "since": TEXT,
    "date": Kind("a day, as 2026-11-21", (str, datetime.date)),
    "in_the_way_of": TEXTS,
}


def timer_of(name: str, row: Mapping[str, Any], place: Place) -> Timer:
    """Return a timer from its table. Raises DataError."""
    table = Table(place, f"timer {name}", f"timer.{name}")
    table.check(row, TIMER, ("value_s", "source"))
    timer = Timer(
        name=name,
        value_s=float(row["value_s"]),
        least_s=float(row.get("least_s", row["value_s"])),
        late_fraction=float(row.get("late_fraction", LATE_FRACTION)),
        late_s=float(row.get("late_s", LATE_S)),
        source=row["source"],
        note=row.get("note", ""),
        schedule_s=tuple(float(step) for step in row.get("schedule_s", ())),
        early_s=float(row.get("early_s", EARLY_S)),
    )
    if timer.value_s <= 0 or not 0 <= timer.least_s <= timer.value_s:
        wanted = "0 <= least_s <= value_s, and value_s above 0"
        raise _data.DataError(f"{table.at('value_s')}: value_s {timer.value_s}, least_s {timer.least_s}; {wanted}")
    if negative := [key for key in ("early_s", "late_fraction", "late_s") if getattr(timer, key) < 0]:
        raise _data.DataError(f"{table.at(negative[0])}: {negative[0]} cannot be negative")
    return timer


def setting_of(name: str, row: Mapping[str, Any], place: Place) -> Setting:
    """Return a setting from its table. Raises DataError."""
    table = Table(place, f"setting {name}", f"setting.{name}")
    table.check(row, SETTING, SETTING)
    if not row["sysctl"] or not row["source"]:
        raise _data.DataError(f"{table.at()}: sysctl and source cannot be empty")
    return Setting(
        name, types.MappingProxyType({str(key): str(value) for key, value in row["sysctl"].items()}), row["source"]
    )


def deviation_of(row: Mapping[str, Any], day: str, number: int, place: Place) -> Deviation:
    """Return the deviation of the table `number`, counted from 1; `day` is its date if it has none. Raises DataError."""
    table = Table(place, f"deviation {number}", "deviation", number)
    table.check(row, DEVIATION, ("cases", "requirement", "sentence", "reason", "source", "shows"))
    if row["requirement"] not in catalogue.requirements():
        near = _data.nearest(row["requirement"], catalogue.requirements())
        raise _data.DataError(f"{table.at('requirement')}: no requirement is called {row['requirement']!r}{near}")
    if not (row["cases"] or row.get("in_the_way_of")) or not row["reason"] or not row["source"] or not row["shows"]:
        raise _data.DataError(f"{table.at()}: cases (or in_the_way_of), reason, source and shows cannot be empty")
    try:
        re.compile(row["shows"])
    except re.error as error:
        raise _data.DataError(f"{table.at('shows')}: shows is no regular expression: {error}") from None
    patterns = {key: _patterns(row.get(key, ())) for key in ("cases", "in_the_way_of")}
    return Deviation(**{**row, **patterns, "date": day_of(str(row.get("date", day)), table.at("date"))})


def day_of(text: str, where: str) -> str:
    """Return a date as it is written, "" for none. Raises DataError."""
    try:
        datetime.date.fromisoformat(text or "2000-01-01")
    except ValueError:
        raise _data.DataError(f"{where}: date {text!r} is no day; one is 2026-11-21") from None
    return text


def _patterns(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def matches(patterns: tuple[str, ...], ids: Sequence[str]) -> bool:
    """Return True where any of the globs matches any of the ids."""
    fits = _any_of(patterns).fullmatch
    return any(fits(name) for name in ids)


@functools.cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return one pattern for all globs: a profile has hundreds, and each case is looked up in all of them."""
    return re.compile("|".join(_data.glob(pattern).pattern for pattern in patterns) or r"(?!)")
