"""The host under test, behind two small protocols: `Target` and `App`."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from netaddr import IPAddress

from conformance.link import Link, Wire
from conformance.target.protocol import APPLICATION

_T = TypeVar("_T")
TESTER_PORTS = range(33_000, 49_000)
"""The tester's ports: where its address is this machine's own, the kernel's resets from them are kept back."""

AGENT = ("agent.py", "agent_calls.py")
"""The parts of a host's agent, files of this package: the second runs in the names of the first."""

SETTING = re.compile(r"net(?:\.[A-Za-z0-9_-]+)+")
"""The whole name of a setting of the network: no part of it leaves /proc/sys/net."""


class HarnessFault(Exception):
    """The harness, its lab or its agent failed: an error of the run, never a violation. One clear line."""


class SettingRefused(HarnessFault):
    """The target's kernel does not take a setting: it has none of that `name`, or not with that value."""

    def __init__(self, name: str, value: str, why: str) -> None:
        super().__init__(f"{name} = {value} is refused: {why}")
        self.name = name


class TargetGone(HarnessFault):
    """The target no longer answers anything."""


class AgentFault(HarnessFault):
    """The agent died, hangs, or says something that is not the protocol."""


class AppError(Exception):
    """A socket call failed on the target: `code` is the errno's name or the agent's own word.

    `at_ns` is when it did by the agent's clock, 0 where it does not say.
    """

    def __init__(self, code: str, message: str, at_ns: int = 0) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.at_ns = code, at_ns


def capabilities_of(hello: Mapping[str, Any]) -> frozenset[str]:
    """Return what a hello names and what follows from it.

    `app` of an older agent stands for every call of an application. Derived are `app` itself, where connections can be
    opened at all, the open ports of a target that can listen, and that connections wait until they are accepted.
    """
    named = frozenset(hello["capabilities"])
    if "app" in named:
        named |= frozenset(APPLICATION)
    if "listen" in named:
        named |= {"open-port", "discard-port"}
    if "accept" in named:
        named |= {"accept-queue"}
    return named | {"app"} if named & {"listen", "connect"} else named


class App(Protocol):
    """The application on the target: socket calls made for a case."""

    async def call(self, op: str, *, wait_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """Make one call of the agent protocol; returns its result.

        `wait_s` is how long the call itself may wait (None: for ever). Raises AppError when the call fails on the target,
        AgentFault when no answer can be had.
        """


class Machine(Protocol):
    """Runs coroutines in the time of a stack with a clock of its own."""

    def now_ns(self) -> int:
        """Now, in ns since the epoch; the clock stands still but for what is waited for."""

    def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run to the end; blocks its thread. Raises AgentFault, and what `work` raises."""

    def stop(self) -> None:
        """End what runs, from another thread."""


class Target(Protocol):
    """A host's TCP stack, reached over a link."""

    name: str
    version: str
    profile: str
    capabilities: frozenset[str]
    settings: Mapping[str, str]
    declared: Mapping[str, str]
    """By capability that the target lacks because its file says so: the setting of the file that does."""
    mac: str
    isolated: bool
    """True if each case has an instance of its own (`alone`)."""
    virtual: bool
    """True if time is the stack's own; then each case has an instance of its own."""
    concurrency: int | None
    """The number of cases at once that is good for it, where that is known."""
    machine: Machine | None
    """Of an instance with a clock of its own: what runs a case in that time."""
    groups: Mapping[int, tuple[str, str]]
    """By family, a multicast address that the target belongs to and its Ethernet address (capability `group-address`)."""

    wire: Wire
    """Faults that the way to the target adds."""
    routed: bool
    """True if a router is between: the target itself answers no question for its Ethernet address."""
    closed_port: int
    """A port on which nothing listens, nor ever will: what is sent there shows that the target lives."""

    @property
    def link(self) -> Link:
        """The link to it, once it is open."""

    @property
    def app(self) -> App:
        """Its application, once it is open."""

    def address(self, family: int) -> str:
        """The target's address of that family (4 or 6); nothing where it has none."""

    def pool(self, family: int) -> Iterable[IPAddress]:
        """The tester's addresses of that family, on the target's segment."""

    def spoil(self, addresses: Iterable[str]) -> None:
        """Take note that the target keeps something about these addresses of the tester, as a path MTU."""

    async def open(self) -> None:
        """Make the target ready. Raises HarnessFault."""

    async def ready(self) -> None:
        """See that a case can begin: where the host was started anew, so is its agent. Raises HarnessFault."""

    async def alone(self, sysctl: Mapping[str, str]) -> Target:
        """The same kind of target for one case alone, with these settings. Raises HarnessFault."""

    async def close(self) -> None:
        """Leave nothing behind."""
