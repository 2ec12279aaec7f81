"""Our end of the agent protocol: requests and replies as JSON lines over a stream socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Mapping
from typing import Any

from conformance.target import AgentFault, AppError

PROTOCOL = 1
ANSWER_S = 10.0
_HELLO_S = 30.0  # the target may have to boot
LONGEST_LINE = 16 << 20


class AgentClient:
    """Calls to one agent, many at a time; replies come in any order."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock, self.name = sock, name
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last = 0
        self._fault: str | None = None
        self.hello: dict[str, Any] = {}

    @property
    def gone(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._fault is not None

    async def open(self) -> dict[str, Any]:
        """Wait for the agent's hello. Raises AgentFault."""
        self._sock.setblocking(False)
        self._reader, self._writer = await asyncio.open_connection(sock=self._sock, limit=LONGEST_LINE)
        line = b""
        with contextlib.suppress(TimeoutError, ValueError, OSError):
            line = await asyncio.wait_for(self._reader.readline(), _HELLO_S)
        self.greet(line)
        self._task = asyncio.create_task(self._read())
        return self.hello

    def greet(self, line: bytes) -> None:
        """Take the agent's first line. Raises AgentFault where it is no hello of this protocol."""
        try:
            self.hello = dict(json.loads(line)["hello"])
        except (ValueError, KeyError, TypeError, RecursionError):
            said = f"it said {line[:80]!r}" if line else "it said nothing"
            raise AgentFault(
                f"{self.name}: the agent did not say hello ({said}): is it the protocol's version?"
            ) from None
        if self.hello.get("protocol") != PROTOCOL:
            raise AgentFault(
                f"{self.name}: the agent speaks protocol {self.hello.get('protocol')}, this harness speaks {PROTOCOL}"
            )

    async def call(self, op: str, *, wait_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """One call. Raises AppError when it fails on the target, AgentFault when the agent can't be asked."""
        if self._fault:
            raise AgentFault(self._fault)
        if wait_s is not None:
            arguments["timeout"] = wait_s
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        number = self._ask(op, arguments)
        self._waiting[number] = future
        limit_s = None if wait_s is None and op in _WAITING else ANSWER_S + (wait_s or 0)
        try:
            reply = await asyncio.wait_for(future, limit_s)
        except TimeoutError:
            raise AgentFault(f"{self.name}: the agent did not answer `{op}` within {limit_s:g} s") from None
        finally:
            self._waiting.pop(number, None)
            if future.cancelled() and not self._fault and op in _WAITING:
                self._ask("cancel", {"request": number})
        if "error" in reply:
            error = reply["error"]
            raise AppError(str(error.get("code")), str(error.get("message")), int(reply.get("at_ns", 0)))
        return _Answer(self.name, op, {"at_ns": reply.get("at_ns", 0), **reply["ok"]})

    async def close(self) -> None:
        """Close the pipe: the agent closes its sockets and ends."""
        if not self._fault:
            self._fault = f"{self.name}: closed"
        if hasattr(self, "_task"):
            self._task.cancel()
            self._writer.close()
        else:
            self._sock.close()

    def _ask(self, op: str, arguments: Mapping[str, Any]) -> int:
        """Send a request; returns its number."""
        self._last = number = self._last + 1
        self._write(json.dumps({"id": number, "op": op, **arguments}).encode() + b"\n")
        return number

    def _write(self, line: bytes) -> None:
        self._writer.write(line)

    def parse(self, line: bytes) -> dict[str, Any]:
        """A reply from its line. Raises AgentFault where the line is none."""
        try:
            reply = json.loads(line.decode())
            number, good = reply["id"], isinstance(reply.get("ok"), dict) or isinstance(reply.get("error"), dict)
            good = good and type(reply.get("at_ns", 0)) is int and (number is None or type(number) is int)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            good = False
        if not good:
            raise AgentFault(f"{self.name}: the agent said something that is not the protocol: {line[:80]!r}")
        return dict(reply)

    def hand(self, reply: dict[str, Any]) -> None:
        """Give a reply to the call that waits for it."""
        future = self._waiting.get(reply["id"])
        if future is not None and not future.done():
            future.set_result(reply)

    def fail(self, why: str) -> None:
        """Nothing can be asked any more: every call that waits, and every later one, fails with AgentFault."""
        self._fault = self._fault or f"{self.name}: {why.removeprefix(f'{self.name}: ')}"
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(AgentFault(self._fault))

    async def _read(self) -> None:
        why = "the agent's process ended"
        try:
            while line := await self._reader.readline():
                self.hand(self.parse(line))
        except AgentFault as fault:
            why = str(fault)
        except ValueError:
            why = f"the agent said a line of more than {LONGEST_LINE >> 20} MiB"
        except OSError as error:
            why = f"the agent's pipe broke: {error.strerror}"
        self.fail(why)


class _Answer(dict[str, Any]):
    """What a call came to; a member that is not there is the agent's fault."""

    def __init__(self, name: str, op: str, members: dict[str, Any]) -> None:
        super().__init__(members)
        self._name, self._op = name, op

    def __missing__(self, key: str) -> Any:
        raise AgentFault(f"{self._name}: the agent's answer to `{self._op}` has no `{key}`")


_WAITING = frozenset({"accept", "connected", "send", "receive"})
