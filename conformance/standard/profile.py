"""Read profiles, the facts that a kind of target documents about itself: timers, chosen MAYs, known deviations.

A profile is a TOML file in `profiles/`, or text from the caller (`parse`). A profile that `extends` another inherits all
that it does not state itself, except deviations from the requirements in `without`. All its timers may be `late_s`
seconds late.
"""

from __future__ import annotations

import datetime
import functools
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from conformance.standard import _data, catalogue

LATE_FRACTION: Final = 0.125
"""A timer wheel rounds an expiry up by at most an eighth of the interval (Linux, kernel/time/timer.c)."""

LATE_S: Final = 0.05
"""Seconds from the expiry to the segment on the wire, on a busy machine."""

EARLY_S: Final = 0.01
"""Seconds: one jiffy at 100 Hz, by which a tick-driven timer may seem early."""


class UnknownProfile(KeyError):
    """No profile or timer has that name. The message gives the nearest one."""

    def __str__(self) -> str:
        return str(self.args[0])


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
        return _matches(self.cases, ids)


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of target: its timers by name, its choices by name, its known deviations in the file's order.

    `probes` is false where it does not answer the segments that ask for its state: then the agent's word alone tells that.
    """

    name: str
    title: str
    timers: Mapping[str, Timer]
    choices: Mapping[str, str | int | bool]
    deviations: tuple[Deviation, ...]
    probes: bool = True
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def timer(self, name: str) -> Timer:
        """Return the timer of that name.

        Raises:
            UnknownProfile: the profile says nothing of it.
        """
        timer = self.timers.get(name)
        if timer is None:
            raise UnknownProfile(f"profile {self.name} has no timer {name!r}{_data.nearest(name, self.timers)}")
        return timer

    def deviations_of(self, *ids: str) -> tuple[Deviation, ...]:
        """Return the known deviations that cover a case with any of these ids."""
        return tuple(row for row in self.deviations if row.covers(*ids))

    def deviations_in_the_way_of(self, *ids: str) -> tuple[Deviation, ...]:
        """Return the known deviations that a case with any of these ids may meet."""
        return tuple(row for row in self.deviations if _matches(row.in_the_way_of, ids))


def parse(content: str, where: str, name: str) -> Profile:
    """Return a profile from TOML text; `where` names the text in errors. Its `date` is that of deviations without one.

    Raises:
        DataError: a row is incomplete, a bound is impossible, or a deviation names no requirement.
    """
    document = _data.toml(content, where)
    keys = ("date", "extends", "without", "late_s", "probes", "timer", "setting", "choices", "deviation")
    _data.only(document, where, ("title",), keys)
    day = str(document.get("date", ""))
    base = profile(document["extends"]) if "extends" in document else Profile("", "", {}, {}, ())
    without = set(document.get("without", ()))
    if strange := without - {row.requirement for row in base.deviations}:
        raise _data.DataError(f"{where}: without: what it extends has no deviation from {min(strange)}")
    inherited = tuple(row for row in base.deviations if row.requirement not in without)
    own = {key: _timer(key, row, f"{where}, timer {key}") for key, row in document.get("timer", {}).items()}
    late_s = float(document.get("late_s", 0))
    probes = document.get("probes", base.probes)
    if type(probes) is not bool:
        raise _data.DataError(f"{where}: probes must be true or false, it is {probes!r}")
    settings = {key: _setting(key, row, f"{where}, setting {key}") for key, row in document.get("setting", {}).items()}
    timers = {key: replace(row, late_s=max(row.late_s, late_s)) for key, row in {**base.timers, **own}.items()}
    deviations = tuple(
        _deviation(row, day, f"{where}, deviation {number}")
        for number, row in enumerate(document.get("deviation", []), start=1)
    )
    return Profile(
        name=name,
        title=document["title"],
        timers=types.MappingProxyType(timers),
        choices=types.MappingProxyType({**base.choices, **document.get("choices", {})}),
        deviations=inherited + deviations,
        probes=probes,
        settings=types.MappingProxyType({**base.settings, **settings}),
    )


def _timer(name: str, row: Mapping[str, Any], here: str) -> Timer:
    _data.only(
        row, here, ("value_s", "source"), ("least_s", "early_s", "late_fraction", "late_s", "note", "schedule_s")
    )
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
        raise _data.DataError(f"{here}: value_s {timer.value_s}, least_s {timer.least_s}; 0 <= least_s <= value_s")
    if timer.late_fraction < 0 or timer.late_s < 0 or timer.early_s < 0:
        raise _data.DataError(f"{here}: early_s, late_fraction and late_s cannot be negative")
    return timer


def _setting(name: str, row: Mapping[str, Any], here: str) -> Setting:
    _data.only(row, here, ("sysctl", "source"))
    sysctl = row["sysctl"]
    if not isinstance(sysctl, dict) or not sysctl or not row["source"]:
        raise _data.DataError(f"{here}: sysctl is a table of names and values, and source says where they stand")
    return Setting(name, types.MappingProxyType({str(key): str(value) for key, value in sysctl.items()}), row["source"])


def _deviation(row: Mapping[str, Any], day: str, here: str) -> Deviation:
    _data.only(
        row, here, ("cases", "requirement", "sentence", "reason", "source", "shows"), ("since", "date", "in_the_way_of")
    )
    cases = row["cases"]
    if row["requirement"] not in catalogue.requirements():
        near = _data.nearest(row["requirement"], catalogue.requirements())
        raise _data.DataError(f"{here}: no requirement is called {row['requirement']!r}{near}")
    if not (cases or row.get("in_the_way_of")) or not row["reason"] or not row["source"] or not row["shows"]:
        raise _data.DataError(f"{here}: cases (or in_the_way_of), reason, source and shows cannot be empty")
    try:
        re.compile(row["shows"])
    except re.error as error:
        raise _data.DataError(f"{here}: shows is no regular expression: {error}") from None
    patterns = {key: _patterns(row.get(key, ())) for key in ("cases", "in_the_way_of")}
    date = str(row.get("date", day))
    try:
        datetime.date.fromisoformat(date or "2000-01-01")
    except ValueError:
        raise _data.DataError(f"{here}: date {date!r} is no day; one is 2026-11-21") from None
    return Deviation(**{**row, **patterns, "date": date})


def profiles() -> tuple[str, ...]:
    """Return the names of the profiles that are part of the package."""
    return _data.names("profiles", ".toml")


@functools.cache
def timer_names() -> tuple[str, ...]:
    """Return the names of the timers that any packaged profile has, sorted."""
    return tuple(sorted({timer for name in profiles() for timer in profile(name).timers}))


@functools.cache
def setting_names() -> tuple[str, ...]:
    """Return the names of the settings that any packaged profile has, sorted."""
    return tuple(sorted({setting for name in profiles() for setting in profile(name).settings}))


@functools.cache
def profile(name: str) -> Profile:
    """Return the profile `profiles/<name>.toml`.

    Raises:
        UnknownProfile: there is none of that name.
        DataError: the file is wrong.
    """
    if name not in profiles():
        raise UnknownProfile(f"no profile is called {name!r}{_data.nearest(name, profiles())}")
    where = f"profiles/{name}.toml"
    return parse(_data.text(where), where, name)


def _patterns(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _matches(patterns: tuple[str, ...], ids: Sequence[str]) -> bool:
    matches = _any_of(patterns).fullmatch
    return any(matches(name) for name in ids)


@functools.cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Return one pattern for all globs: a profile has hundreds, and each case is looked up in all of them."""
    return re.compile("|".join(_data.glob(pattern).pattern for pattern in patterns) or r"(?!)")
