"""The schema as a check: a quick yes for what keeps to it, one line that says what is wrong for the rest.

Knows the few keywords of JSON Schema that `results.schema.json` uses.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@cache
def _schema() -> dict[str, Any]:
    text = resources.files("conformance.record").joinpath("results.schema.json").read_text("utf-8")
    schema: dict[str, Any] = _resolve(json.loads(text))
    return schema


def _resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with each definition in the place of the `$ref` that names it: ours has no recursive ones."""
    definitions = schema["$defs"]

    def expand(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return expand(definitions[node["$ref"].rpartition("/")[2]])
            return {key: expand(value) for key, value in node.items() if key != "$defs"}
        return [expand(value) for value in node] if isinstance(node, list) else node

    return expand(schema)  # type: ignore[no-any-return]


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


@dataclass(frozen=True, slots=True)
class _Shape:
    """A schema prepared for a quick yes: exact types, and the shapes of their contents."""

    kinds: frozenset[type]
    enum: Sequence[Any] | None
    low: float
    high: float
    required: frozenset[str]
    inside: dict[str, "_Shape"]
    items: "_Shape | None"


def _shaped(schema: dict[str, Any]) -> _Shape:
    types = schema.get("type", list(_TYPES))
    names = [types] if isinstance(types, str) else types
    kinds = [kind for name in names for kind in _TYPES[name]]
    return _Shape(
        frozenset(kinds),
        schema.get("enum"),
        schema.get("minimum", -math.inf),
        schema.get("maximum", math.inf),
        frozenset(schema.get("required", ())),
        {key: _shaped(inside) for key, inside in schema.get("properties", {}).items()},
        _shaped(schema["items"]) if "items" in schema else None,
    )


def known_schema(number: object) -> bool:
    """Return True for the number of a schema that can be read here."""
    return number in _schema()["properties"]["schema"]["enum"]


@cache
def _shape() -> _Shape:
    return _shaped(_schema())


def _fits(value: Any, shape: _Shape) -> bool:
    """Return True for a value of JSON's own types that keeps to the schema; `_differences` says what is wrong."""
    kind = type(value)
    if kind not in shape.kinds or (shape.enum is not None and value not in shape.enum):
        return False
    if kind is dict:
        inside = shape.inside
        return shape.required <= value.keys() and all(
            _fits(item, inside[key]) for key, item in value.items() if key in inside
        )
    if kind is list:
        items = shape.items
        return items is None or all(_fits(item, items) for item in value)
    return kind not in (int, float) or shape.low <= value <= shape.high


def mismatch(record: Any) -> str | None:
    """Return the first way in which a record breaks the schema, None where it keeps to it."""
    return None if _fits(record, _shape()) else next(_differences(record, _schema(), ""), None)


def _differences(value: Any, schema: dict[str, Any], where: str) -> Iterator[str]:
    """Yield one line for each way in which the value breaks the schema."""
    name = where or "the record"
    types = schema.get("type", ())
    allowed = (types,) if isinstance(types, str) else types
    if allowed and not any(_is(value, kind) for kind in allowed):
        yield f"{name} is {type_name(value)}, not {' or '.join(allowed)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{name} is {value!r}, not one of {schema['enum']}"
    if _is(value, "number") and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{name} is {value!r}, not from {schema.get('minimum')} to {schema.get('maximum')}"
    if isinstance(value, dict):
        missing = [key for key in schema.get("required", ()) if key not in value]
        if missing:
            yield f"{name} has no {', '.join(missing)}"
        for key, inside in schema.get("properties", {}).items():
            if key in value:
                yield from _differences(value[key], inside, f"{where}.{key}" if where else key)
    elif "items" in schema and isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _differences(item, schema["items"], f"{where}[{index}]")


def _is(value: Any, kind: str) -> bool:
    # In Python, True is an int; in JSON it is no number.
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def type_name(value: Any) -> str:
    """Return the JSON type of a value, as a message names it: `a JSON array`."""
    return next((f"a JSON {kind}" for kind in _TYPES if _is(value, kind)), type(value).__name__)
