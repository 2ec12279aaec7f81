"""A whole script: flags, the first command, events with their times, the last command."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

from conformance.bounded import read_octets
from conformance.packetdrill.expressions import expression, expressions
from conformance.packetdrill.lexer import Cursor, ScriptError, tokens
from conformance.packetdrill.packets import packet
from conformance.packetdrill.syntax import Action, Call, Code, Command, Event, Packet, Script, When

LARGEST_FILE = 1 << 20  # octets; the largest public script has 40 KiB
_LONGEST = 10**6  # seconds that a time may reach: no script waits for eleven days


def read(path: Path, defines: Mapping[str, str] | None = None) -> Script:
    """Read a script's file. Raises OSError, and ScriptError for text that is no script or not UTF-8."""
    content = read_octets(path, LARGEST_FILE)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        reason = f"the octet 0x{content[error.start]:02x} is not UTF-8; save the script as UTF-8"
        raise ScriptError(
            str(path), content.decode(errors="replace"), len(content[: error.start].decode()), reason
        ) from None
    return parse(text, str(path), defines)


def parse(text: str, name: str = "script", defines: Mapping[str, str] | None = None) -> Script:
    """Return the tree of a script's text; `name` and the place are in each fault. Raises ScriptError."""
    cursor = Cursor(name, text, tokens(name, text), dict(defines or {}))
    flags = []
    while cursor.token.kind == "flag":
        flags.append(_flag(cursor))
    before = _command(cursor) if cursor.token.kind == "shell" else None
    events: list[Event] = []
    after = None
    while cursor.token.kind != "end":
        if cursor.token.kind == "shell":
            after = _command(cursor)
            if cursor.token.kind != "end":
                raise cursor.needs("the end of the script behind a command without a time")
            break
        events.append(_event(cursor))
    return Script(tuple(flags), before, tuple(events), after)


def _command(cursor: Cursor) -> Command:
    return Command(cursor.take("shell")[1:-1])


def _flag(cursor: Cursor) -> tuple[str, str]:
    name = cursor.take("flag").removeprefix("--")
    if not cursor.maybe("="):
        return name, ""
    value = _joined(cursor)
    if not cursor.maybe("="):
        return name, value
    defined = cursor.advance("the value of the definition").text
    cursor.defines.setdefault(value, defined)
    return name, f"{value}={defined}"


def _joined(cursor: Cursor) -> str:
    """Return a flag's value: all tokens without a space between, as in `ipv4-mapped-ipv6`."""
    value = cursor.advance("the flag's value").text
    while cursor.token.at == cursor.ahead(-1).end and not cursor.at("=") and cursor.token.kind != "end":
        value += cursor.advance("the flag's value").text
    return value


def _event(cursor: Cursor) -> Event:
    first = cursor.token
    start = cursor.place
    when = _when(cursor)
    action = _action(cursor)
    if when.kind in ("any", "between", "within") and (not isinstance(action, Packet) or action.inbound):
        cursor.place = start
        raise cursor.error("only a packet from the target (`>`) may have a range of times, or `*`")
    return Event(first.line, when, action, cursor.text[first.at : cursor.ahead(-1).end])


def _when(cursor: Cursor) -> When:
    if cursor.maybe("*"):
        return When("any")
    after = cursor.maybe("+")
    low = _time(cursor)
    if not cursor.maybe("~"):
        return When("after" if after else "at", low, low)
    if after:
        cursor.take("sign", "+")
    at = cursor.place
    high = _time(cursor)
    if high < low:
        cursor.place = at
        raise cursor.error("the range ends before it begins")
    return When("within" if after else "between", low, high)


def _time(cursor: Cursor) -> int:
    """Return a time in nanoseconds. Raises ScriptError."""
    token = cursor.token
    if token.kind not in ("real", "whole"):
        raise cursor.needs("a time in seconds")
    seconds = Decimal(token.text)
    if not 0 <= seconds <= _LONGEST:
        raise cursor.error(f"a time lies between 0 and {_LONGEST} seconds")
    cursor.place += 1
    return int(seconds * 10**9)


def _action(cursor: Cursor) -> Action:
    match cursor.token.kind:
        case "shell":
            return _command(cursor)
        case "code":
            return Code(cursor.take("code")[2:-2].strip(" \t"))
        case "any" | "word":
            return _call(cursor)
    if cursor.at("<", ">"):
        return packet(cursor)
    raise cursor.needs("a packet (`<` or `>`), a call, a command or a block of code")


def _call(cursor: Cursor) -> Call:
    ends = _time(cursor) if cursor.maybe("...") else None
    name = cursor.take("word")
    cursor.take("sign", "(")
    arguments = expressions(cursor, ")")
    cursor.take("sign", "=")
    result = expression(cursor)
    error = cursor.take("word") if cursor.token.kind == "word" else None
    note = ""
    if cursor.maybe("("):
        start = cursor.ahead(-1).end
        while not cursor.at(")"):
            cursor.advance("`)` behind the error's text")
        note = cursor.text[start : cursor.tokens[cursor.place].at].strip()
        cursor.take("sign", ")")
    return Call(name, arguments, result, error, note, ends)
