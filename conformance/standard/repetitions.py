"""The fields in which a segment and its repetition may differ, each with the document that lets them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from conformance.standard._data import DataError, only, text, toml

_FILE = "repetitions.toml"


@cache
def may_differ() -> Mapping[str, str]:
    """Return the fields in which a repetition may differ, each with its source. Raises DataError."""
    return parse(text(_FILE), _FILE)


def parse(content: str, where: str) -> Mapping[str, str]:
    """Return the fields of such a file with their sources. Raises DataError with one line."""
    fields: dict[str, str] = {}
    for number, row in enumerate(toml(content, where).get("may_differ", ()), start=1):
        only(row, f"{where}, row {number}", ("field", "source"))
        if row["field"] in fields:
            raise DataError(f"{where}, row {number}: {row['field']} is there twice")
        fields[row["field"]] = row["source"]
    return fields
