"""Arguments and results of calls: numbers, symbols, strings, lists and structures."""

from __future__ import annotations

from conformance.packetdrill.lexer import Cursor
from conformance.packetdrill.syntax import Address, Anything, Expression, Flags, Function, Items, Struct, Symbol, Text

_DEEPEST = 32  # nested brackets; the deepest of real scripts, a message's control data, has five


def expression(cursor: Cursor, depth: int = 0) -> Expression:
    """Return the expression that is next. Raises ScriptError."""
    if depth > _DEEPEST:
        raise cursor.error(f"more than {_DEEPEST} brackets are nested")
    first = _single(cursor, depth)
    if not cursor.at("|"):
        return first
    parts = [first]
    while cursor.maybe("|"):
        parts.append(_single(cursor, depth))
    return Flags(tuple(parts))


def expressions(cursor: Cursor, close: str, depth: int = 0) -> tuple[Expression, ...]:
    """Return the expressions up to the closing bracket, and go past it. Raises ScriptError."""
    values: list[Expression] = []
    while not cursor.maybe(close):
        values.append(expression(cursor, depth))
        if not cursor.at(close):
            cursor.take("sign", ",")
    return tuple(values)


def _single(cursor: Cursor, depth: int) -> Expression:
    match cursor.token.kind:
        case "whole" | "hex":
            return cursor.whole()
        case "text":
            return _text(cursor)
        case "word":
            return _named(cursor, depth)
        case "ipv4" | "ipv6":
            return Address(cursor.advance("an address").text)
    return _bracketed(cursor, depth + 1)


def _bracketed(cursor: Cursor, depth: int) -> Expression:
    if cursor.maybe("..."):
        return Anything()
    if cursor.maybe("["):
        return Items(expressions(cursor, "]", depth))
    if cursor.maybe("{"):
        return _struct(cursor, depth)
    raise cursor.needs("a value")


def _text(cursor: Cursor) -> Text:
    parts = []
    while cursor.token.kind == "text":
        parts.append(cursor.take("text")[1:-1])
    return Text("".join(parts), cursor.maybe("..."))


def _named(cursor: Cursor, depth: int) -> Expression:
    name = cursor.take("word")
    if cursor.maybe("("):
        return Function(name, expressions(cursor, ")", depth + 1))
    if cursor.maybe("="):
        return Struct({name: expression(cursor, depth + 1)})
    return Symbol(name)


def _struct(cursor: Cursor, depth: int) -> Struct:
    members: dict[str, Expression] = {}
    while not cursor.maybe("}"):
        name = str(len(members))
        if cursor.token.kind == "word" and cursor.ahead(1).text == "=":
            name = cursor.take("word")
            cursor.take("sign", "=")
        value = expression(cursor, depth)
        if isinstance(value, Function) and cursor.maybe("="):  # msg_iov(1)=[...] is the member msg_iov
            name, value = value.name, expression(cursor, depth)
        members[name] = value
        if not cursor.at("}"):
            cursor.take("sign", ",")
    return Struct(members)
