"""The tree of a script: events, what each does, and when. Plain values that know no target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias


class Symbol(NamedTuple):
    """A constant by its name: `O_NONBLOCK`."""

    name: str


class Text(NamedTuple):
    """A string; `more` where `...` behind it lets any text follow."""

    value: str
    more: bool = False


class Anything(NamedTuple):
    """`...`: any value fits."""


class Flags(NamedTuple):
    """Values joined by `|`."""

    parts: tuple[Expression, ...]


class Items(NamedTuple):
    """`[a, b]`."""

    values: tuple[Expression, ...]


class Struct(NamedTuple):
    """`{name=value, ...}`; a member without a name has its place as name."""

    members: Mapping[str, Expression]


class Function(NamedTuple):
    """`htons(1)`, `inet_addr("192.0.2.1")`."""

    name: str
    arguments: tuple[Expression, ...]


class Address(NamedTuple):
    """An IPv4 or IPv6 address without quotes."""

    text: str


Expression: TypeAlias = int | Symbol | Text | Anything | Flags | Items | Struct | Function | Address


class Plain(NamedTuple):
    """An option without a value: `nop`, `eol`, `sackOK`."""

    name: Literal["nop", "eol", "sackOK"]


class Number(NamedTuple):
    """`mss 1460`, `wscale 7`."""

    name: Literal["mss", "wscale"]
    value: int


class Timestamps(NamedTuple):
    """`TS val 100 ecr 0`."""

    value: int
    echo: int


class Sack(NamedTuple):
    """`sack 1:1001 2001:3001`, as left and right edges."""

    blocks: tuple[tuple[int, int], ...]


class Octets(NamedTuple):
    """`FO`, `FOEXP` or `md5`, with hexadecimal digits or a secret as written."""

    name: Literal["FO", "FOEXP", "md5"]
    text: str


class EcnCounters(NamedTuple):
    """The AccECN option's counters in the order written: `ECN e1b 1 ceb 0 e0b 1`."""

    counters: tuple[tuple[str, int], ...]


Option: TypeAlias = Plain | Number | Timestamps | Sack | Octets | EcnCounters


@dataclass(frozen=True, slots=True)
class When:
    """The time of an event in nanoseconds. `after` and `within` count from the event before."""

    kind: Literal["at", "after", "any", "between", "within"]
    low: int = 0
    high: int = 0


@dataclass(frozen=True, slots=True)
class IpFields:
    """Fields of the IP header in `[...]` or `(...)`; None where the script names none."""

    ecn: str | None = None
    tos: int | None = None
    flowlabel: int | None = None
    ttl: int | None = None


@dataclass(frozen=True, slots=True)
class Icmp:
    """An ICMP message, and the packet it quotes."""

    kind: str
    code: str | None = None
    mtu: int | None = None
    identifier: int | None = None
    quoted_protocol: str | None = None
    quoted_seq: int | None = None
    quoted_length: int | None = None


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. `inbound` is towards the target; `options` is None for `<...>`, which fits any."""

    inbound: bool
    protocol: Literal["tcp", "udp", "icmp"]
    flags: str = ""
    ace: int | None = None
    seq: int = 0
    length: int = 0
    ack: int | None = None
    window: int | None = None
    urgent: int = 0
    options: tuple[Option, ...] | None = ()
    ports: tuple[int, int] | None = None
    ip: IpFields = field(default_factory=IpFields)
    layers: tuple[str, ...] = ()
    icmp: Icmp | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One socket call. A blocking call ends at `ends`, in nanoseconds on the script's clock."""

    name: str
    arguments: tuple[Expression, ...]
    result: Expression
    error: str | None = None
    note: str = ""
    ends: int | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A command in backquotes; reading a script never runs it."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """A block between `%{` and `}%`; reading a script never runs it."""

    text: str


Action: TypeAlias = Packet | Call | Command | Code


@dataclass(frozen=True, slots=True)
class Event:
    """An action, its time, and its line and text in the script."""

    line: int
    when: When
    action: Action
    text: str


@dataclass(frozen=True, slots=True)
class Script:
    """A whole script: its flags, the first and last command, and the events between."""

    flags: tuple[tuple[str, str], ...] = ()
    before: Command | None = None
    events: tuple[Event, ...] = ()
    after: Command | None = None

    def flag(self, name: str) -> str | None:
        """Return the last value of a flag without its dashes; None where it is not set."""
        return next((value for key, value in reversed(self.flags) if key == name), None)
