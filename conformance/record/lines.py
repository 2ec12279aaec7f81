"""One case record as one JSON line, and back.

Both ways go through the schema, so a record that was written is a record that can be read.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from conformance.record.case import CaseRecord
from conformance.record.errors import RecordError
from conformance.record.renamed import current_id
from conformance.record.shape import known_schema, mismatch, type_name

_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


def encode(record: CaseRecord) -> bytes:
    """Return the record's line, with the line end; RecordError when it breaks the schema."""
    content = _plain(record)
    wrong = mismatch(content)
    if wrong:
        raise RecordError(f"can't record case {record.id!r}: {wrong}")
    try:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    except (TypeError, ValueError) as error:
        raise RecordError(f"can't record case {record.id!r}: {error}") from error


def decode(raw: bytes, *, check: bool = True) -> CaseRecord:
    """Return the record of a line; RecordError says in a few words why it holds none.

    Without `check`, the line only has to be a JSON object of a known schema: for lines that were checked when written.
    """
    try:
        content = _DECODER.decode(raw.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        if not raw.endswith(b"\n"):
            raise RecordError("the last line is cut off (the run was killed while it was written)") from error
        raise RecordError(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise RecordError(f"not a case record but {type_name(content)}")
    return record_of(content, check=check)


def record_of(content: Mapping[str, Any], *, check: bool = True) -> CaseRecord:
    """Return the record that a line's JSON object is; RecordError when it is none. Fields that no version has are left out."""
    if check or not known_schema(content.get("schema")):
        wrong = mismatch(content)
        if wrong:
            raise RecordError(f"not a case record: {wrong}")
    try:
        record: CaseRecord = _build(CaseRecord)(content)
    except (AttributeError, TypeError, ValueError) as error:  # only of a line that was not checked
        raise RecordError(f"not a case record: {error}") from error
    today = current_id(record.id)
    return record if today is record.id else dataclasses.replace(record, id=today)


_Build = Callable[[Mapping[str, Any]], Any]


@cache
def _build(kind: type) -> _Build:
    """Return a function that makes a value of `kind` from its JSON object: each field by position, for speed."""
    hints = typing.get_type_hints(kind)
    fields = dataclasses.fields(kind)
    names = tuple(field.name for field in fields)
    defaults = tuple(None if field.default is dataclasses.MISSING else field.default for field in fields)
    converters = [(at, convert) for at, name in enumerate(names) if (convert := _converter(hints[name])) is not None]

    def build(content: Mapping[str, Any]) -> Any:
        values = list(map(content.get, names, defaults))
        for at, convert in converters:
            values[at] = convert(values[at])
        return kind(*values)

    return build


def _converter(hint: Any) -> Callable[[Any], Any] | None:
    """Return what turns a field's JSON value into the field's type; None where both are the same."""
    if typing.get_origin(hint) is tuple:
        (item, _) = typing.get_args(hint)
        if not dataclasses.is_dataclass(item):
            return tuple
        build_item = _build(item)  # type: ignore[arg-type]
        return lambda values: tuple(map(build_item, values)) if values else ()
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        kinds = [kind for kind in typing.get_args(hint) if dataclasses.is_dataclass(kind)]
        if kinds:
            build_part = _build(kinds[0])  # type: ignore[arg-type]
            return lambda value: None if value is None else build_part(value)
        return None
    return _build(hint) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else None


def _plain(value: Any) -> Any:
    """Return what `json.dumps` takes. A part leaves out fields at their default, a case record only those that are None."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if not dataclasses.is_dataclass(value):
        return value
    always = isinstance(value, CaseRecord)
    content = {}
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if field.default is not dataclasses.MISSING and (item is None or (item == field.default and not always)):
            continue
        content[field.name] = _plain(item)
    return content
