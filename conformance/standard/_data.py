"""Reads this package's own data files. Nothing else here touches a file."""

from __future__ import annotations

import csv
import difflib
import functools
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any


class DataError(ValueError):
    """A data file is wrong. The message is one line: file, row, and what would be right."""


def text(name: str) -> str:
    """Return the text of a data file, `name` relative to this package.

    Raises:
        DataError: there is no such file.
    """
    try:
        return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{name}: no such file in {__package__}") from None


def path(name: str) -> str:
    """Return the path of a data file, for messages."""
    return str(resources.files(__package__).joinpath(name))


def names(folder: str, suffix: str) -> tuple[str, ...]:
    """Return the names of a data folder's files that end in `suffix`, without it, sorted."""
    files = (entry.name for entry in resources.files(__package__).joinpath(folder).iterdir())
    return tuple(sorted(name.removesuffix(suffix) for name in files if name.endswith(suffix)))


def toml(content: str, where: str) -> dict[str, Any]:
    """Return a TOML document; `where` names it in errors."""
    try:
        return tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{where}: not TOML: {error}") from None


def tsv(content: str, where: str, columns: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a tab-separated table as (line number, column -> text), its head checked."""
    lines = content.splitlines()
    expected = list(columns)
    head = lines[0].split("\t") if lines else []
    if head != expected:
        raise DataError(f"{where}, line 1: columns are {head}; they should be {expected}")
    rows = []
    for number, fields in enumerate(csv.reader(lines[1:], delimiter="\t", quoting=csv.QUOTE_NONE), start=2):
        if len(fields) != len(expected):
            raise DataError(f"{where}, line {number}: {len(fields)} columns; there should be {len(expected)}")
        rows.append((number, dict(zip(expected, fields, strict=True))))
    return rows


def only(table: Mapping[str, Any], where: str, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Checks a TOML table's keys: all of `required`, nothing beyond `optional`."""
    wanted, allowed = set(required), set(required) | set(optional)
    if missing := sorted(wanted - table.keys()):
        raise DataError(f"{where}: {', '.join(missing)} missing; a row has {', '.join(sorted(allowed))}")
    if unknown := sorted(table.keys() - allowed):
        raise DataError(f"{where}: unknown key {', '.join(unknown)}; a row has {', '.join(sorted(allowed))}")


def one_of(value: str, allowed: Iterable[str], where: str, what: str) -> str:
    """Checks a word against its vocabulary."""
    words = list(allowed)
    if value not in words:
        raise DataError(f"{where}: {what} is {value!r}; it should be one of {', '.join(words)}")
    return value


def nearest(name: str, among: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the most similar known name, or nothing."""
    near = difflib.get_close_matches(name, list(among), n=1, cutoff=0.4)
    return f"; the nearest is {near[0]}" if near else ""


@functools.cache
def glob(pattern: str) -> re.Pattern[str]:
    """Return a glob with `*` and `?` only: brackets are part of a case's id."""
    return re.compile("".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern))
