"""Read profiles, the facts that a kind of target documents about itself: timers, chosen MAYs, known deviations.

A profile is a TOML file in `profiles/`, or one that a user brings (docs/profiles.md). One that `extends` another has all that
it does not say itself from there, but for the deviations from requirements that are in `without`. All its timers may be
`late_s` seconds late.
"""

from __future__ import annotations

import datetime
import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from conformance.standard import _data
from conformance.standard.profile_differences import KnownDifference, difference_of
from conformance.standard.profile_rows import (
    Deviation,
    Setting,
    Timer,
    day_of,
    deviation_of,
    matches,
    setting_of,
    timer_of,
)
from conformance.standard.toml_place import NUMBER, TABLE, TEXT, Kind, Place, Table


class UnknownProfile(KeyError):
    """No profile or timer has that name, and the message gives the nearest one; or a user's profile can't be read."""

    def __str__(self) -> str:
        return str(self.args[0])


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
    differences: tuple[KnownDifference, ...] = ()

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
        return tuple(row for row in self.deviations if matches(row.in_the_way_of, ids))


KEYS: Final[Mapping[str, Kind]] = {
    "title": TEXT,
    "date": Kind("a day, as 2026-11-21", (str, datetime.date)),
    "extends": TEXT,
    "without": Kind("a list of requirements", (list,), (str,)),
    "late_s": NUMBER,
    "probes": Kind("true or false", (bool,)),
    "timer": Kind("tables, [timer.NAME]", (dict,), (dict,)),
    "setting": Kind("tables, [setting.NAME]", (dict,), (dict,)),
    "choices": TABLE,
    "deviation": Kind("tables, [[deviation]]", (list,), (dict,)),
    "difference": Kind("tables, [[difference]]", (list,), (dict,)),
}


def parse(content: str, where: str, name: str) -> Profile:
    """Return a profile from TOML text; `where` names the text in errors. Its `date` is that of deviations without one.

    Raises:
        DataError: a key is unknown or of the wrong kind, a row is incomplete, a bound is impossible, or a deviation names no
            requirement. The message is one line: file, line, row and key.
    """
    document, place = _data.toml(content, where), Place(content, where)
    table = Table(place)
    table.check(document, KEYS, ("title",))
    choices = document.get("choices", {})
    choice = Kind("a text, a whole number, or true or false", (str, int, bool))
    Table(place, "choices", "choices").check(choices, dict.fromkeys(choices, choice))
    day = day_of(str(document.get("date", "")), table.at("date"))
    base = Profile("", "", {}, {}, ())
    if "extends" in document:
        try:
            base = _packaged(document["extends"])
        except UnknownProfile as error:
            raise _data.DataError(f"{table.at('extends')}: extends: {error}") from None
    without = set(document.get("without", ()))
    if strange := without - {row.requirement for row in base.deviations}:
        raise _data.DataError(f"{table.at('without')}: without: what it extends has no deviation from {min(strange)}")
    inherited = tuple(row for row in base.deviations if row.requirement not in without)
    own = {key: timer_of(key, row, place) for key, row in document.get("timer", {}).items()}
    settings = {key: setting_of(key, row, place) for key, row in document.get("setting", {}).items()}
    late_s = float(document.get("late_s", 0))
    timers = {key: replace(row, late_s=max(row.late_s, late_s)) for key, row in {**base.timers, **own}.items()}
    deviations = tuple(
        deviation_of(row, day, number, place) for number, row in enumerate(document.get("deviation", []), start=1)
    )
    differences = tuple(
        difference_of(row, number, place) for number, row in enumerate(document.get("difference", []), start=1)
    )
    return Profile(
        name=name,
        title=document["title"],
        timers=types.MappingProxyType(timers),
        choices=types.MappingProxyType({**base.choices, **choices}),
        deviations=inherited + deviations + tuple(row.as_deviation(day) for row in differences),
        probes=document.get("probes", base.probes),
        settings=types.MappingProxyType({**base.settings, **settings}),
        differences=base.differences + differences,
    )


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


def profile(name: str) -> Profile:
    """Return the packaged profile of that name, or the profile of a file, whose path ends in `.toml`.

    Raises:
        UnknownProfile: there is none of that name, or the file can't be read, or is wrong.
        DataError: a packaged one is wrong.
    """
    return _brought(name) if name.endswith(".toml") else _packaged(name)


@functools.cache
def _packaged(name: str) -> Profile:
    if name not in profiles():
        raise UnknownProfile(
            f"no profile is called {name!r}{_data.nearest(name, profiles())}; a file of your own ends in .toml"
        )
    where = f"profiles/{name}.toml"
    return parse(_data.text(where), where, name)


def _brought(path: str) -> Profile:
    try:
        content = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnknownProfile(f"can't read profile {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return parse(content, path, Path(path).stem)
    except _data.DataError as error:
        raise UnknownProfile(str(error)) from None
