"""Check a TOML file that a person wrote: keys, kinds of values, and the line of what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from conformance.standard._data import DataError, only


@dataclass(frozen=True, slots=True)
class Kind:
    """The kind that a value has to be of: in words, its type, and the type of its members."""

    words: str
    types: tuple[type, ...]
    inside: tuple[type, ...] = ()

    def fits(self, value: Any) -> bool:
        """Return True for a value of the kind; true and false are no numbers."""
        if type(value) not in self.types:
            return False
        values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return not self.inside or all(type(part) in self.inside for part in values)


TEXT: Final = Kind("a text", (str,))
TEXTS: Final = Kind("a text or a list of texts", (str, list), (str,))
NUMBER: Final = Kind("a number", (int, float))
TABLE: Final = Kind("a table", (dict,))


class Place:
    """Finds the line of a key in a file."""

    def __init__(self, content: str, where: str) -> None:
        self._lines, self._where = content.splitlines(), where
        self._heads = {at: name for at, line in enumerate(self._lines) if (name := _header(line))}

    def line_of(self, key: str, header: str = "", number: int = 1) -> str:
        """Return `FILE:LINE` of a key in the table `header`, the table's own line where it has no such key.

        Of tables of the same header, `number` is which, counted from 1. The file alone where nothing is found.
        """
        heads = [at for at, name in self._heads.items() if header and name == header]
        first = heads[number - 1] if len(heads) >= number else -1
        for at, line in enumerate(self._lines[first + 1 :], first + 1):
            if at in self._heads or not key:
                break
            if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[=.]", line):
                return f"{self._where}:{at + 1}"
        if not header:  # the key may be a table
            first = next((at for at, name in self._heads.items() if key and name.split(".")[0] == key), -1)
        return f"{self._where}:{first + 1}" if first >= 0 else self._where


def _header(line: str) -> str:
    """Return the name of the table that begins on a line, "" where none does."""
    match = re.fullmatch(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?", line)
    return match[1].replace('"', "") if match else ""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a file: what messages call it, its header, and which of those with that header it is, from 1."""

    place: Place
    words: str = ""
    header: str = ""
    number: int = 1

    def at(self, key: str = "") -> str:
        """Return where a key stands: `own.toml:12, deviation 1`."""
        return self.place.line_of(key, self.header, self.number) + (f", {self.words}" if self.words else "")

    def check(self, row: object, kinds: Mapping[str, Kind], required: Iterable[str] = ()) -> None:
        """Raise DataError where a value is of another kind, or a key is missing or unknown."""
        if not isinstance(row, dict):
            raise DataError(f"{self.at()}: this must be a table, it is {row!r}")
        for key, value in row.items():
            if key in kinds and not kinds[key].fits(value):
                raise DataError(f"{self.at(key)}: {key} must be {kinds[key].words}, it is {value!r}")
        missing = set(required) - row.keys()
        only(row, self.at("" if missing else min(row.keys() - kinds.keys(), default="")), required, kinds)
