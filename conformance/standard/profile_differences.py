"""The rows of a profile about sweeps: known differences between a target and the documented machine."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from conformance.standard import _data, catalogue
from conformance.standard.profile_rows import Deviation, matches
from conformance.standard.toml_place import TEXT, TEXTS, Kind, Place, Table

_REQUIRED = ("name", "requirement", "sentence", "reason", "source")
_LISTS = ("ways", "with_flags", "without_flags", "seq", "ack", "answer")
DIFFERENCE: Final[Mapping[str, Kind]] = {
    **dict.fromkeys((*_REQUIRED, "text"), TEXT),
    **dict.fromkeys(_LISTS, TEXTS),
}


@dataclass(frozen=True, slots=True)
class KnownDifference:
    """A known difference from the documented machine in a sweep of segments; an empty field means any.

    `ways` are globs of ways into a state (`TIME-WAIT*`), `with_flags` and `without_flags` flags that are set or not, `seq` and
    `ack` names of edges, `text` is `some` or `none`, `answer` globs of what the target did (`nothing, then *`).
    """

    name: str
    requirement: str
    sentence: str
    reason: str
    source: str
    ways: tuple[str, ...] = ()
    with_flags: tuple[str, ...] = ()
    without_flags: tuple[str, ...] = ()
    seq: tuple[str, ...] = ()
    ack: tuple[str, ...] = ()
    text: str = ""
    answer: tuple[str, ...] = ()

    def covers(self, *, way: str, flags: Collection[str], seq: str, ack: str, text: str, answer: str) -> bool:
        """Return True if a difference with these fields is the known one."""
        return (
            (not self.ways or matches(self.ways, [way]))
            and all(flag in flags for flag in self.with_flags)
            and not any(flag in flags for flag in self.without_flags)
            and seq in (self.seq or (seq,))
            and ack in (self.ack or (ack,))
            and text == (self.text or text)
            and (not self.answer or matches(self.answer, [answer]))
        )

    def as_deviation(self, day: str) -> Deviation:
        """Return the difference as a deviation that the cases of a sweep may come across."""
        return Deviation(
            cases=(),
            requirement=self.requirement,
            sentence=self.sentence,
            reason=self.reason,
            source=self.source,
            shows=f"^known difference: {re.escape(self.name)}",
            date=day,
            in_the_way_of=("*::test_segments_of_a_sweep*",),
        )


def difference_of(row: Mapping[str, Any], number: int, place: Place) -> KnownDifference:
    """Return the difference of the table `number`, counted from 1. Raises DataError."""
    table = Table(place, f"difference {number}", "difference", number)
    table.check(row, DIFFERENCE, _REQUIRED)
    if row["requirement"] not in catalogue.requirements():
        near = _data.nearest(row["requirement"], catalogue.requirements())
        raise _data.DataError(f"{table.at('requirement')}: no requirement is called {row['requirement']!r}{near}")
    if not all(row[key] for key in _REQUIRED) or not any(row.get(key) for key in (*_LISTS, "text")):
        raise _data.DataError(f"{table.at()}: {', '.join(_REQUIRED)} cannot be empty, nor all that it matches")
    values = {key: row.get(key, ()) for key in _LISTS}
    lists = {key: (value,) if isinstance(value, str) else tuple(value) for key, value in values.items()}
    return KnownDifference(**{**row, **lists})
