"""Our end of the agent protocol: requests and replies as JSON lines over a stream socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Mapping
from typing import Any

from conformance.target import AgentFault, AppError, protocol
from conformance.target.protocol import LONGEST_LINE, Malformed

ANSWER_S = 10.0
LONGEST_WAIT_S = 600.0
"""The bound of a call that waits and has no `timeout`."""
_HELLO_S = 30.0  # the target may have to boot
_DRIFT = 1e-4
"""The rate, at most, at which one clock gains on another."""


class AgentClient:
    """Calls to one agent, many at a time; replies come in any order."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock, self.name = sock, name
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last = 0
        self._fault: str | None = None
        self._ahead_ns = 0
        self._known: tuple[int, int] | None = None
        """The error in ns of `_ahead_ns`, and the time (ns since the epoch) at which it was measured."""
        self.hello: dict[str, Any] = {}

    @property
    def gone(self) -> bool:
        """Return True once every call fails."""
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

    async def synchronize(self, tries: int = 1) -> None:
        """Find out how far the agent's clock is ahead of ours, where it may be another one. Raises AgentFault.

        It is known to half a round trip, and from then on less and less: another look counts where it is better by now.
        """
        for _ in range(tries):
            asked_ns = time.time_ns()
            at_ns = int((await self.call("hello"))["at_ns"])
            came_ns = time.time_ns()
            if not at_ns:
                return
            within_ns = came_ns - asked_ns
            if self._known is None or within_ns <= self._known[0] + _DRIFT * (came_ns - self._known[1]):
                self._ahead_ns += at_ns - (asked_ns + came_ns) // 2
                self._known = within_ns, came_ns

    def greet(self, line: bytes) -> None:
        """Take the agent's first line. Raises AgentFault where it is no hello of this protocol."""
        try:
            hello = json.loads(line)["hello"]
        except (ValueError, KeyError, TypeError, RecursionError):
            seen = f"it said {line[:80]!r}" if line else "it said nothing"
            raise AgentFault(
                f"{self.name}: the agent did not say hello ({seen}): is it the protocol's version?"
            ) from None
        try:
            self.hello = protocol.check_hello(hello)
        except Malformed as wrong:
            raise AgentFault(f"{self.name}: the agent breaks the protocol: {wrong}") from None

    async def call(self, op: str, *, wait_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """Make a call and return its checked answer, with `at_ns` (0: unknown).

        Raises AppError when it fails on the target, AgentFault when the agent can't be asked or breaks the protocol. A call
        that waits and has no `wait_s` fails with the code `timeout` after LONGEST_WAIT_S.
        """
        if self._fault:
            raise AgentFault(self._fault)
        if wait_s is not None:
            arguments["timeout"] = wait_s
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        number = self._ask(op, arguments)
        self._waiting[number] = future
        for_ever = wait_s is None and op in _WAITING
        limit_s = LONGEST_WAIT_S if for_ever else ANSWER_S + (wait_s or 0)
        try:
            reply = await asyncio.wait_for(future, limit_s)
        except TimeoutError:
            if for_ever:
                raise AppError("timeout", f"`{op}` was not done within {limit_s:g} s") from None
            raise AgentFault(f"{self.name}: the agent did not answer `{op}` within {limit_s:g} s") from None
        finally:
            self._waiting.pop(number, None)
            if future.cancelled() and not self._fault and op in _WAITING:
                self._ask("cancel", {"request": number})
        if "error" in reply:
            error = reply["error"]
            raise AppError(error["code"], error["message"], reply.get("at_ns", 0))
        try:
            return {"at_ns": reply.get("at_ns", 0), **protocol.check_answer(op, reply["ok"])}
        except Malformed as wrong:
            raise AgentFault(f"{self.name}: the agent breaks the protocol: {wrong}") from None

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
        """Return the reply that a line is. Raises AgentFault where it is none."""
        try:
            return protocol.check_reply(json.loads(line.decode()))
        except (ValueError, RecursionError):
            wrong = "the line is no JSON"
        except Malformed as malformed:
            wrong = str(malformed)
        raise AgentFault(f"{self.name}: the agent breaks the protocol ({wrong}): {line[:80]!r}") from None

    def hand(self, reply: dict[str, Any]) -> None:
        """Give a reply to the call that waits for it."""
        if reply.get("at_ns"):
            reply["at_ns"] -= self._ahead_ns
        future = self._waiting.get(reply["id"])
        if future is not None and not future.done():
            future.set_result(reply)

    def fail(self, why: str) -> None:
        """Mark the agent as gone: pending and later calls raise AgentFault."""
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


_WAITING = frozenset(op for op, call in protocol.CALLS.items() if call.waits)
