"""pytest -p: every instance of a stack is driven through the testability protocol, by the example's upper tester on its agent.

The messages cross in memory, so that a stack with a time of its own goes on in it.
"""

from __future__ import annotations

import base64
import errno
import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from conformance.target import App, AppError
from conformance.target.protocol import APPLICATION
from conformance.target.stack import StackTarget
from conformance.target.testability import client
from conformance.target.testability.messages import Parameter

_EXAMPLE = Path(__file__).parents[2] / "examples" / "upper-tester" / "upper_tester.py"
_HOW = {0: "receive", 1: "send", 2: "both"}
_OPTIONS = {
    Parameter.NAGLE: ("tcp", "TCP_NODELAY"),
    Parameter.MSS: ("tcp", "TCP_MAXSEG"),
    Parameter.TTL: ("ip", "IP_TTL"),
    Parameter.TOS: ("ip", "IP_TOS"),
}
_NOT_OF_THE_STACK = {
    *APPLICATION,
    "app",
    "state",
    "half-close",
    "urgent-mark",
    "urgent",
    "keepalive",
    "calls",
    "sysctl",
}


def example() -> ModuleType:
    """Return the example's module."""
    spec = importlib.util.spec_from_file_location("upper_tester", _EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["upper_tester"] = module
    spec.loader.exec_module(module)
    return module


class AgentSockets:
    """The sockets of a stack behind our agent protocol. See `Sockets` of the example."""

    def __init__(self, app: App) -> None:
        self._app, self._numbers = app, itertools.count(1)
        self._agents: dict[int, int] = {}
        self._bound: dict[int, dict[str, Any]] = {}

    async def create(self, bind: bool, port: int, address: str) -> int:
        number = next(self._numbers)
        family = 6 if ":" in address else 4
        bound = {"address": "" if address in ("0.0.0.0", "::") else address, "port": 0 if port == 0xFFFF else port}
        self._bound[number] = {"family": family, "options": [], **(bound if bind else {"address": "", "port": 0})}
        return number

    async def configure(self, number: int, parameter: int, value: int) -> None:
        level, name = _OPTIONS[Parameter(parameter)]
        setting = int(not value) if parameter == Parameter.NAGLE else value
        if number in self._agents:
            await self._call("option_set", number, level=level, name=name, value=setting)
        else:
            self._bound[number]["options"].append([level, name, setting])

    async def listen(self, number: int) -> None:
        await self._open("listen", number, {**self._bound[number], "backlog": 16})

    async def accept(self, number: int) -> tuple[int, int, str]:
        reply = await self._call("accept", number)
        accepted = next(self._numbers)
        self._agents[accepted] = reply["socket"]
        return accepted, reply["port"], reply["address"]

    async def connect(self, number: int, port: int, address: str) -> None:
        remote = {"remote_port": port, "remote_address": address, "reuse": False}
        await self._open("connect", number, {**self._bound[number], **remote})
        await self._call("connected", number)

    async def send(self, number: int, data: bytes, urgent: bool) -> None:
        await self._call("send", number, data=base64.b64encode(data).decode(), urgent=urgent, wait=True)

    async def receive(self, number: int, most: int) -> bytes:
        return base64.b64decode((await self._call("receive", number, count=1, maximum=most))["data"])

    async def shutdown(self, number: int, how: int) -> None:
        await self._call("shutdown", number, how=_HOW[how])

    async def close(self, number: int, abort: bool) -> None:
        if number in self._agents:
            await self._call("abort" if abort else "close", number)
            del self._agents[number]

    async def _open(self, op: str, number: int, arguments: Mapping[str, Any]) -> None:
        with _as_errno():
            self._agents[number] = (await self._app.call(op, **arguments))["socket"]

    async def _call(self, op: str, number: int, **arguments: Any) -> dict[str, Any]:
        if number not in self._agents:
            raise OSError(errno.ENOTCONN, "not connected")
        with _as_errno():
            return await self._app.call(op, socket=self._agents[number], **arguments)


@contextmanager
def _as_errno() -> Iterator[None]:
    try:
        yield
    except AppError as error:
        raise OSError(getattr(errno, error.code, errno.EIO), str(error)) from None


class _InMemory:
    """The way to an upper tester in this process. See `Transport`."""

    loses, longest = False, 0xFFFF

    def __init__(self, app: App) -> None:
        self._app = app

    async def open(self, take: Callable[[bytes], None], fail: Callable[[str], None]) -> None:
        self._tester = EXAMPLE.UpperTester(AgentSockets(self._app), lambda message, _: take(message))

    def send(self, message: bytes) -> None:
        self._tester.take(message, None)

    def close(self) -> None:
        """Nothing to let go of."""


class _Driven:
    """An application that is reached through an upper tester, opened with its first call."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._tester = client.UpperTester(_InMemory(app), name="upper tester", tells_end=True)
        self._opened = False

    async def call(self, op: str, *, wait_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        if op in ("hello", "clock"):
            return await self._app.call(op, wait_s=wait_s, **arguments)
        if not self._opened:
            self._opened = True
            await self._tester.open()
        return await self._tester.call(op, wait_s=wait_s, **arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)


EXAMPLE = example()
_opened, _alone = StackTarget.open, StackTarget.alone


async def _open(self: StackTarget) -> None:
    await _opened(self)
    calls = {"listen", "accept", "connect", "send", "receive", "close", "abort", "shutdown", "half-close", "app"}
    stack = {one for one in self.capabilities if one not in _NOT_OF_THE_STACK and not one.startswith("options:")}
    options = {f"options:{name}" for name in ("TCP_NODELAY", "TCP_MAXSEG", "IP_TTL", "IP_TOS")} & self.capabilities
    self.capabilities = frozenset(calls | stack | options) - client._LACKING


async def _of_one_case(self: StackTarget, sysctl: Mapping[str, str]) -> StackTarget:
    instance = await _alone(self, sysctl)
    instance.app = _Driven(instance.app)  # type: ignore[assignment]
    return instance


def pytest_configure() -> None:
    """Put the upper tester before the agent of every instance."""
    StackTarget.open = _open  # type: ignore[method-assign]
    StackTarget.alone = _of_one_case  # type: ignore[method-assign]
