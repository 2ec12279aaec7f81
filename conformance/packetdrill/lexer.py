"""A script's text as tokens, each with its place, and the fault that points at a place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

LARGEST = 1 << 64  # numbers of the language fit into 64 bits
_LONGEST_NUMBER = 24  # digits: `-`, 20 of a 64-bit number, and some leading zeros; longer ones are not even read


class ScriptError(Exception):
    """The text is no script. The message has file, line, column, reason, the line itself and a caret below it."""

    def __init__(self, name: str, text: str, at: int, reason: str) -> None:
        self.line = text.count("\n", 0, at) + 1
        start = text.rfind("\n", 0, at) + 1
        self.column = at - start + 1
        self.reason = reason
        written = text[start:].partition("\n")[0]
        first = max(0, self.column - 1 - _SHOWN // 2)
        shown = "".join(letter if letter.isprintable() else " " for letter in written[first : first + _SHOWN])
        caret = " " * (self.column - 1 - first) + "^"
        super().__init__(f"{name}:{self.line}:{self.column}: {reason}\n    {shown}\n    {caret}")


_SHOWN = 120  # letters of a line in a message


class Token(NamedTuple):
    """A piece of the text, with its line. `at` and `end` are offsets into the text."""

    kind: str
    text: str
    line: int
    at: int
    end: int


_TOKENS = re.compile(
    r"""(?P<space>\s+)|(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<code>%\{.*?\}%)|(?P<shell>`(?:\\.|[^`\\])*`)
    |(?P<text>"(?:\\.|[^"\\])*")|(?P<open>/\*|%\{|`|")|(?P<flag>--[A-Za-z0-9_]+)|(?P<any>\.\.\.)
    |(?P<ipv6>[0-9a-fA-F:]*::(?:[0-9a-fA-F:]+(?:\.\d+){3}|[0-9a-fA-F:]*)|(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4})
    |(?P<ipv4>\d+\.\d+\.\d+\.\d+)|(?P<hex>0x[0-9a-fA-F]+)|(?P<real>-?\d*\.\d+)|(?P<whole>-?\d+(?![A-Za-z0-9_]))
    |(?P<word>[A-Za-z0-9_]+)|(?P<sign>.)""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_NAMES = {"whole": "a number", "text": "a string", "word": "a name", "real": "a number", "shell": "a command"}


def tokens(name: str, text: str) -> list[Token]:
    """Return the tokens without spaces and comments, and a last token of kind `end`. Raises ScriptError."""
    pieces = []
    line = 1
    for match in _TOKENS.finditer(text):
        kind = str(match.lastgroup)
        if kind == "open":
            raise ScriptError(name, text, match.start(), f"what begins with {match.group()} is never closed")
        if kind not in ("space", "comment"):
            pieces.append(Token(kind, match.group(), line, match.start(), match.end()))
        line += match.group().count("\n")
    return [*pieces, Token("end", "", line, len(text), len(text))]


@dataclass
class Cursor:
    """A place among a script's tokens, and what to do there."""

    name: str
    text: str
    tokens: list[Token]
    defines: dict[str, str]
    place: int = 0

    @property
    def token(self) -> Token:
        """Return the next token; a defined word is replaced by its value."""
        token = self.tokens[self.place]
        value = self.defines.get(token.text) if token.kind == "word" else None
        if value is None:
            return token
        first, *_ = tokens(self.name, value)
        return first._replace(line=token.line, at=token.at, end=token.end)

    def ahead(self, count: int) -> Token:
        """Return the token `count` behind the next."""
        return self.tokens[min(self.place + count, len(self.tokens) - 1)]

    def error(self, reason: str) -> ScriptError:
        """Return a fault at the next token."""
        return ScriptError(self.name, self.text, self.tokens[self.place].at, reason)

    def needs(self, needed: str) -> ScriptError:
        """Return a fault for a next token that is not what is needed."""
        token = self.token
        shown = "the end of the script" if token.kind == "end" else repr(token.text[:40])
        return self.error(f"expected {needed}, not {shown}")

    def advance(self, needed: str) -> Token:
        """Return the next token and go past it. Raises ScriptError at the end."""
        token = self.token
        if token.kind == "end":
            raise self.needs(needed)
        self.place += 1
        return token

    def take(self, kind: str, text: str | None = None) -> str:
        """Return the text of a token of this kind and go past it. Raises ScriptError."""
        token = self.token
        if token.kind != kind or (text is not None and token.text != text):
            raise self.needs(f"`{text}`" if text else _NAMES.get(kind, kind))
        self.place += 1
        return token.text

    def at(self, *texts: str) -> bool:
        """Return True if the next token is one of these signs or words."""
        token = self.token
        return token.kind in ("sign", "word", "any") and token.text in texts

    def maybe(self, text: str) -> bool:
        """Go past a sign or word if it is next; return whether it was."""
        present = self.at(text)
        self.place += present
        return present

    def whole(self) -> int:
        """Return a whole number and go past it. Raises ScriptError, also for one that needs more than 64 bits."""
        token = self.token
        if token.kind not in ("hex", "whole"):
            raise self.needs("a number")
        if len(token.text) > _LONGEST_NUMBER:
            raise self.error("the number does not fit into 64 bits")
        value = int(token.text, 16 if token.kind == "hex" else 10)
        if abs(value) >= LARGEST:
            raise self.error("the number does not fit into 64 bits")
        self.place += 1
        return value
