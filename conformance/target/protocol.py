"""The agent protocol as data: every call with its arguments and answer, every member's type and range.

The client checks an agent's lines against it where it reads them, `doctor --agent` shows what fails, and the tables of
docs/agent-protocol.md are made from it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from conformance.standard.states import State

VERSION = 1
LONGEST_LINE = 16 << 20
"""Octets of one line, in both directions."""
_LATEST_NS = 1 << 62
"""The year 2116: the sum of two such stamps still fits into 64 bits."""
_MOST_SOCKETS = (1 << 53) - 1
_LONGEST_MESSAGE = 500
_CODE = re.compile(r"E[A-Z0-9]{1,30}|[a-z][a-z-]{1,30}")


class Malformed(Exception):
    """A line breaks the protocol: the message names the member, what it is and what it must be."""


class Kind(Protocol):
    """A type with its range."""

    @property
    def words(self) -> str:
        """Describe the values that fit, for the documentation and for messages."""

    def fits(self, value: Any) -> bool:
        """Return True if the value is of this type and in its range."""


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`."""

    least: int
    most: int

    @property
    def words(self) -> str:
        return f"whole number, {_number(self.least)} to {_number(self.most)}"

    def fits(self, value: Any) -> bool:
        return type(value) is int and self.least <= value <= self.most


@dataclass(frozen=True)
class Seconds:
    """A number of seconds, or null."""

    most: float = 1e9

    @property
    def words(self) -> str:
        return f"seconds, 0 to {self.most:g}, or null"

    def fits(self, value: Any) -> bool:
        return value is None or (type(value) in (int, float) and 0 <= value <= self.most)


@dataclass(frozen=True)
class Text:
    """A text of printable characters."""

    most: int

    @property
    def words(self) -> str:
        return f"text, at most {self.most} printable characters"

    def fits(self, value: Any) -> bool:
        return type(value) is str and len(value) <= self.most and value.isprintable()


@dataclass(frozen=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    @property
    def words(self) -> str:
        return " or ".join(f"`{value}`" for value in self.values)

    def fits(self, value: Any) -> bool:
        return type(value) in {type(one) for one in self.values} and value in self.values


@dataclass(frozen=True)
class Flag:
    """True or false."""

    @property
    def words(self) -> str:
        return "true or false"

    def fits(self, value: Any) -> bool:
        return type(value) is bool


@dataclass(frozen=True)
class Base64:
    """Octets as base64 (RFC 4648 section 4, padded)."""

    most: int = LONGEST_LINE // 2

    @property
    def words(self) -> str:
        return f"base64 of at most {_number(self.most)} octets"

    def fits(self, value: Any) -> bool:
        if type(value) is not str or len(value) > self.most // 3 * 4 + 4:
            return False
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            return False
        return True


@dataclass(frozen=True)
class Texts:
    """A list of texts."""

    most: int
    each: Text

    @property
    def words(self) -> str:
        return f"list of at most {self.most} texts, each of at most {self.each.most} printable characters"

    def fits(self, value: Any) -> bool:
        return type(value) is list and len(value) <= self.most and all(map(self.each.fits, value))


@dataclass(frozen=True)
class Code:
    """An error's name."""

    words = "an error's name as in the table of codes"

    def fits(self, value: Any) -> bool:
        return type(value) is str and _CODE.fullmatch(value) is not None


@dataclass(frozen=True)
class CodeOrNull(Code):
    """An error's name, or null."""

    words = "an error's name as in the table of codes, or null"

    def fits(self, value: Any) -> bool:
        return value is None or super().fits(value)


@dataclass(frozen=True)
class OptionValue:
    """A value of a socket option: a whole number, [onoff, seconds], or octets."""

    words = 'whole number of 64 bits, `[onoff, seconds]`, `{"bytes": base64}`, or a text (a setting of the host)'
    _number = Whole(-(1 << 63), (1 << 63) - 1)
    _octets = Base64(4096)

    def fits(self, value: Any) -> bool:
        if type(value) is list:
            return len(value) <= 2 and all(map(self._number.fits, value))
        if type(value) is dict:
            return set(value) == {"bytes"} and self._octets.fits(value["bytes"])
        if type(value) is str:
            return Text(4096).fits(value.replace("\t", " "))  # settings of the host have several values, tabs between
        return self._number.fits(value) or type(value) is bool


@dataclass(frozen=True)
class Options:
    """A list of socket options."""

    words = "list of at most 32 `[level, name, value]`"

    def fits(self, value: Any) -> bool:
        return type(value) is list and len(value) <= 32


@dataclass(frozen=True)
class Arguments:
    """The arguments of a single call."""

    words = "list of at most 6: whole number, null, or memory (see Single calls)"
    _number = Whole(-(1 << 63), (1 << 64) - 1)

    def fits(self, value: Any) -> bool:
        return (
            type(value) is list
            and len(value) <= 6
            and all(one is None or type(one) is dict or self._number.fits(one) for one in value)
        )


@dataclass(frozen=True)
class Memory:
    """A list of octets, each as base64."""

    words = "list of at most 64 texts, each base64"
    _octets = Base64()

    def fits(self, value: Any) -> bool:
        return type(value) is list and len(value) <= 64 and all(map(self._octets.fits, value))


_NAME = Text(100)
_COUNT = Whole(0, LONGEST_LINE // 2)
_STATES = tuple(state.value for state in State)
MEMBERS: Mapping[str, Kind] = {
    "address": Text(64),
    "arguments": Arguments(),
    "at_mark": Flag(),
    "backlog": Whole(0, 1 << 30),
    "cancelled": Flag(),
    "code": CodeOrNull(),
    "count": _COUNT,
    "data": Base64(),
    "entered_ns": Whole(0, _LATEST_NS),
    "eof": Flag(),
    "expires_s": Seconds(),
    "family": Choice((4, 6)),
    "frames_in": Whole(0, _MOST_SOCKETS),
    "frames_out": Whole(0, _MOST_SOCKETS),
    "how": Choice(("send", "receive", "both")),
    "level": Choice(("socket", "tcp", "ip", "ipv6")),
    "maximum": Whole(1, LONGEST_LINE // 2),
    "memory": Memory(),
    "name": _NAME,
    "now_ns": Whole(0, _LATEST_NS),
    "options": Options(),
    "pending": Whole(0, _MOST_SOCKETS),
    "port": Whole(0, 65535),
    "remote_address": Text(64),
    "remote_port": Whole(0, 65535),
    "request": Whole(0, _MOST_SOCKETS),
    "result": Whole(-(1 << 63), (1 << 63) - 1),
    "reuse": Flag(),
    "sent": _COUNT,
    "socket": Whole(0, _MOST_SOCKETS),
    "state": Choice(_STATES),
    "timeout": Seconds(),
    "until_ns": Whole(0, _LATEST_NS),
    "urgent": Flag(),
    "value": OptionValue(),
    "wait": Flag(),
}
"""Every argument of a call and every member of its answer."""


@dataclass(frozen=True)
class Call:
    """One call. `arguments` and `answer` are names of MEMBERS; those with `=` may be left out, and have that default.

    `capability` is what a target names that has the call; "" where every agent has it. `waits`: it is answered when it is
    done, at the latest after `timeout` seconds.
    """

    arguments: tuple[str, ...] = ()
    answer: tuple[str, ...] = ()
    capability: str = ""
    waits: bool = False


_WHERE = ("address", "port")
CALLS: Mapping[str, Call] = {
    "hello": Call(),
    "sockets": Call((), ("count", "pending")),
    "cancel": Call(("request",), ("cancelled",)),
    "listen": Call(("family", *_WHERE, "backlog=16", "options=[]"), ("socket", *_WHERE), "listen"),
    "accept": Call(("socket", "timeout=null"), ("socket", *_WHERE), "accept", waits=True),
    "connect": Call(
        ("family", "remote_address", "remote_port", 'address=""', "port=0", "reuse=false", "options=[]"),
        ("socket", *_WHERE),
        "connect",
    ),
    "connected": Call(("socket", "timeout=null"), (), "connect", waits=True),
    "send": Call(("socket", "data", "urgent=false", "wait=true"), ("sent",), "send", waits=True),
    "receive": Call(
        ("socket", "count=1", "maximum=65536", "timeout=null", "urgent=false"), ("data", "eof"), "receive", waits=True
    ),
    "shutdown": Call(("socket", "how"), (), "shutdown"),
    "close": Call(("socket",), (), "close"),
    "abort": Call(("socket",), (), "abort"),
    "error": Call(("socket",), ("code",), "error"),
    "state": Call(("family", *_WHERE, 'remote_address=""', "remote_port=0"), ("state", "expires_s=null"), "state"),
    "option_set": Call(("socket", "level", "name", "value"), (), "options:NAME"),
    "option_get": Call(("socket", "level", "name"), ("value",), "options:NAME"),
    "at_mark": Call(("socket",), ("at_mark",), "urgent-mark"),
    "sysctl_get": Call(("name",), ("value",), "sysctl"),
    "sysctl_set": Call(("name", "value"), (), "sysctl"),
    "call": Call(("name", "arguments"), ("result", "code", "entered_ns", "memory"), "calls", waits=True),
    "clock": Call(("until_ns", "frames_in"), ("now_ns", "frames_out"), "virtual-time"),
}
APPLICATION = ("listen", "accept", "connect", "send", "receive", "shutdown", "close", "abort", "error")
"""The capabilities that are calls of an application. `app` in a hello stands for all of them."""

HELLO: Mapping[str, Kind] = {
    "name": Text(80),
    "version": Text(200),
    "agent": Text(80),
    "protocol": Whole(0, 1 << 16),
    "capabilities": Texts(4096, _NAME),
    "crashed": Texts(16, Text(_LONGEST_MESSAGE)),
}
"""The members of a hello."""
OPTIONAL_IN_HELLO = frozenset({"agent", "crashed"})


def check_hello(hello: Any) -> dict[str, Any]:
    """Return the members of a hello. Raises Malformed."""
    if type(hello) is not dict:
        raise Malformed(f"hello must be an object, it is {shown(hello)}")
    version = hello.get("protocol")
    if type(version) is int and version != VERSION:
        raise Malformed(f"the agent speaks protocol {shown(version)}, this harness speaks {VERSION}")
    for name, kind in HELLO.items():
        if name in hello or name not in OPTIONAL_IN_HELLO:
            _check("hello", name, hello, kind)
    return {name: hello[name] for name in HELLO if name in hello}


def check_reply(reply: Any) -> dict[str, Any]:
    """Return a reply whose envelope (`id`, `at_ns`, and `ok` or `error`) is as it must be. Raises Malformed."""
    if type(reply) is not dict or "id" not in reply:
        raise Malformed(f"a reply must be an object with an id, it is {shown(reply)}")
    if reply["id"] is not None:
        _check("a reply", "id", reply, MEMBERS["request"])
    if "at_ns" in reply:
        _check("a reply", "at_ns", reply, MEMBERS["now_ns"])
    error = reply.get("error")
    if error is None:
        if type(reply.get("ok")) is not dict:
            raise Malformed(f"a reply must have an object `ok` or `error`, it is {shown(reply)}")
        return reply
    if type(error) is not dict:
        raise Malformed(f"error must be an object, it is {shown(error)}")
    _check("error", "code", error, Code())
    message = str(error.get("message", ""))[:_LONGEST_MESSAGE]
    printable = "".join(letter if letter.isprintable() else "?" for letter in message)
    return {**reply, "error": {"code": error["code"], "message": printable}}


def check_answer(op: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that the call `op` answers with, checked; others are left out. Raises Malformed."""
    if op == "hello":
        return check_hello(answer)
    checked = {}
    for form in CALLS[op].answer:
        name, _, optional = form.partition("=")
        if name in answer or not optional:
            _check(f"`{op}`", name, answer, MEMBERS[name])
            checked[name] = answer[name]
    return checked


def _check(where: str, name: str, members: Mapping[str, Any], kind: Kind) -> None:
    if name not in members:
        raise Malformed(f"the answer to {where} has no `{name}`" if where[0] == "`" else f"{where} has no `{name}`")
    if not kind.fits(members[name]):
        raise Malformed(f"{where}: {name} must be {kind.words}; it is {shown(members[name])}")


def shown(value: Any) -> str:
    """Return a value as text for a message, cut where it is long."""
    if type(value) is int and value.bit_length() > 128:
        return f"a number of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _number(value: int) -> str:
    """Return a number as the documentation has it: from 2^20 on, a power of two by its exponent."""
    if value < 1 << 20:
        return str(value)
    if value & (value - 1) == 0:
        return f"2^{value.bit_length() - 1}"
    return f"2^{value.bit_length()} - 1" if value & (value + 1) == 0 else str(value)
