"""Our end of the agent protocol: requests and replies as JSON lines over a stream socket."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

from conformance.target import AgentFault, AppError

PROTOCOL = 1
_ANSWER_S = 10.0
_LONGEST_LINE = 16 << 20


class AgentClient:
    """Calls to one agent, many at a time; replies come in any order."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock, self._name = sock, name
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last = 0
        self._fault: str | None = None
        self.hello: dict[str, Any] = {}

    async def open(self) -> dict[str, Any]:
        """Wait for the agent's hello. Raises AgentFault."""
        self._sock.setblocking(False)
        self._reader, self._writer = await asyncio.open_connection(sock=self._sock, limit=_LONGEST_LINE)
        try:
            line = await asyncio.wait_for(self._reader.readline(), _ANSWER_S)
            self.hello = dict(json.loads(line)["hello"])
        except (TimeoutError, ValueError, KeyError, TypeError, OSError):
            raise AgentFault(f"{self._name}: the agent did not say hello: is it the protocol's version?") from None
        if self.hello.get("protocol") != PROTOCOL:
            raise AgentFault(
                f"{self._name}: the agent speaks protocol {self.hello.get('protocol')}, this harness speaks {PROTOCOL}"
            )
        self._task = asyncio.create_task(self._read())
        return self.hello

    async def call(self, op: str, *, wait_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """One call. Raises AppError when it fails on the target, AgentFault when the agent can't be asked."""
        if self._fault:
            raise AgentFault(self._fault)
        self._last += 1
        number = self._last
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        request = {"id": number, "op": op, **arguments}
        if wait_s is not None:
            request["timeout"] = wait_s
        try:
            self._writer.write(json.dumps(request).encode() + b"\n")
            reply = await asyncio.wait_for(
                future, None if wait_s is None and op in _WAITING else _ANSWER_S + (wait_s or 0)
            )
        except TimeoutError:
            raise AgentFault(f"{self._name}: the agent did not answer `{op}` within {_ANSWER_S:g} s") from None
        finally:
            self._waiting.pop(number, None)
            if future.cancelled() and not self._fault and op in _WAITING:
                self._writer.write(json.dumps({"id": 0, "op": "cancel", "request": number}).encode() + b"\n")
        if "error" in reply:
            error = reply["error"]
            raise AppError(str(error.get("code")), str(error.get("message")), int(reply.get("at_ns", 0)))
        return {"at_ns": reply.get("at_ns", 0), **reply["ok"]}

    async def close(self) -> None:
        """Close the pipe: the agent closes its sockets and ends."""
        if not self._fault:
            self._fault = f"{self._name}: closed"
        if hasattr(self, "_task"):
            self._task.cancel()
            self._writer.close()
        else:
            self._sock.close()

    async def _read(self) -> None:
        why = "the agent's process ended"
        try:
            while line := await self._reader.readline():
                reply = json.loads(line)
                future = self._waiting.get(reply.get("id"))
                if future is not None and not future.done() and ("ok" in reply or "error" in reply):
                    future.set_result(reply)
        except (ValueError, AttributeError, TypeError):
            why = "the agent said something that is not the protocol"
        except OSError as error:
            why = f"the agent's pipe broke: {error.strerror}"
        self._fault = self._fault or f"{self._name}: {why}"
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(AgentFault(self._fault))


_WAITING = frozenset({"accept", "connected", "send", "receive"})
