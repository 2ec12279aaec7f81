"""The TCP cases of the OPEN Alliance's TC8 test specification, and the cases here that check the same.

Its text is not public: `tc8.toml` has its ids, what they check in our words, and globs of our cases.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conformance.standard import _data


@dataclass(frozen=True, slots=True)
class Check:
    """One TC8 case, or a family of them: its id, what it checks, and the globs of our cases that check the same."""

    id: str
    says: str
    cases: tuple[str, ...]

    def covered_by(self, *names: str) -> bool:
        """Return True if the check names a case by any of these (function, function with parameters, row of the machine)."""
        return any(_data.glob(pattern).fullmatch(name) for pattern in self.cases for name in names)


@dataclass(frozen=True, slots=True)
class Family:
    """A family of TC8 cases. `section` is that of version 3; `checks` are those of its members that are told by themselves."""

    whole: Check
    section: str
    members: tuple[str, ...]
    checks: tuple[Check, ...]

    def check_of(self, member: str) -> Check:
        """Return a member's own row, or its family's."""
        return next((one for one in self.checks if one.id == member), self.whole)


def parse(content: str, where: str) -> tuple[Family, ...]:
    """Return the families of `tc8.toml`.

    Raises:
        DataError: a row is incomplete or doubled, names no case of ours, or is of a member that its family does not have.
    """
    document = _data.toml(content, where)
    _data.only(document, where, ("title", "family"))
    rows: dict[str, Family] = {}
    for number, row in enumerate(document["family"], start=1):
        here = f"{where}, family {number} ({row.get('id', 'no id')})"
        _data.only(row, here, ("id", "section", "says", "members", "cases"), ("case",))
        members = tuple(f"{row['id']}_{member}" for member in row["members"])
        checks = tuple(_check(one, here) for one in row.get("case", ()))
        for check in checks:
            _data.one_of(check.id, members, here, "case")
        if row["id"] in rows or len({one.id for one in checks}) < len(checks):
            raise _data.DataError(f"{here}: an id is there twice")
        whole = _check({name: row[name] for name in ("id", "says", "cases")}, here)
        rows[whole.id] = Family(whole, row["section"], members, checks)
    return tuple(rows.values())


def _check(row: Mapping[str, Any], here: str) -> Check:
    _data.only(row, here, ("id", "says", "cases"))
    if not row["says"] or not row["cases"]:
        raise _data.DataError(f"{here}: {row['id']} says nothing or names no case; both are needed")
    return Check(row["id"], row["says"], tuple(row["cases"]))


@functools.cache
def families() -> tuple[Family, ...]:
    """Return every family, in the order of TC8's sections.

    Raises:
        DataError: the file is wrong.
    """
    return parse(_data.text("tc8.toml"), "tc8.toml")
