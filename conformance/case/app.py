"""A case's handle on the target's application."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from conformance.judge import NotApplicable, Violation
from conformance.standard.states import State
from conformance.target import AgentFault, AppError
from conformance.target.protocol import CALLS

if TYPE_CHECKING:
    from conformance.case.case import Case

_DONE_AT_ONCE = frozenset({"listen", "connect", "shutdown", "close", "abort"})
"""Calls that wait for nothing: where one is done late, the application was."""
SocketOption = tuple[str, str, Any]
"""Level, name and value, as ("tcp", "TCP_NODELAY", 1)."""
_WAIT_S = 5.0


class Application:
    """Socket calls on the target, each a step of the case's record. All raise AppError when the call fails there."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._sockets: list[AppSocket] = []
        self.tolerated_errors: Collection[str] = ()
        """Error codes that the case expects: the record shows such a failure as expected."""
        self.lacking: NotApplicable | None = None
        """The first missing call that the case tried: nothing after it may judge the target."""

    async def listen(
        self,
        *,
        port: int | None = None,
        address: str | None = None,
        backlog: int = 16,
        options: Sequence[SocketOption] = (),
    ) -> AppSocket:
        """Open a listening socket on a port of this case's own; `address` is the target's, "" any of them."""
        arguments = {
            "family": self._case.family,
            "address": self._case.remote if address is None else address,
            "port": self._case.station.port() if port is None else port,
            "backlog": backlog,
            "options": options,
        }
        return await self._open("listen", arguments)

    async def connect(
        self,
        *,
        remote_port: int,
        address: str | None = None,
        port: int = 0,
        options: Sequence[SocketOption] = (),
        reuse: bool = False,
    ) -> AppSocket:
        """Begin an active open towards the tester; returns as soon as the call is made. With `address` "" nothing is bound."""
        arguments = {
            "family": self._case.family,
            "address": self._case.remote if address is None else address,
            "port": port,
            "remote_address": self._case.address,
            "remote_port": remote_port,
            "options": options,
            "reuse": reuse,
        }
        return await self._open("connect", arguments)

    @property
    def congestion_control(self) -> str:
        """Return the congestion control that the profile documents where none is asked for; RFC 5681's where it has none."""
        return str(self._case.profile.choices.get("congestion-control", "reno"))

    def now_ns(self) -> int:
        """Return the present time by the tester's clock."""
        return self._case.clock.now_ns()

    def of_stamp(self, at_ns: int) -> int:
        """Return an agent's stamp as a time of the tester's clock."""
        return self._case.clock.of_stamp(at_ns)

    async def state(self, port: int, remote_port: int, remote_address: str | None = None) -> State:
        """Return the kernel's state of a four-tuple with the tester; TIME-WAIT and closed sockets have one too."""
        await self._case.arrived()
        self._require("state")
        reply = await self._case.agent.call(
            "state",
            family=self._case.family,
            address=self._case.remote,
            port=port,
            remote_address=remote_address or self._case.address,
            remote_port=remote_port,
        )
        return State.parse(str(reply["state"]))

    async def sysctl(self, name: str, value: str | None = None) -> str:
        """Read a setting, or set it where `value` is given; only for a case that has the target alone."""
        if value is None:
            return str((await self.call("sysctl_get", name=name))["value"])
        await self.call("sysctl_set", name=name, value=value)
        return value

    async def call(self, op: str, *, wait_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """Make any call of the agent protocol, as a step of the record."""
        return await self._call(op, (), wait_s, arguments)

    async def fails(self, op: str, codes: Collection[str], *, wait_s: float | None = None, **arguments: Any) -> str:
        """Make a call that has to fail with one of `codes`; returns the code. Raises Violation if it succeeds."""
        try:
            await self._call(op, codes, wait_s, arguments)
        except AppError as error:
            if error.code in codes:
                return error.code
            raise
        raise Violation(f"the application's call {op} succeeded, it had to fail with {' or '.join(codes)}")

    def _require(self, op: str) -> None:
        """Raise NotApplicable if the target lacks the call, before the agent gets any request.

        The exception is stored as `lacking`: a case may wait elsewhere for the effect of the call, and must not judge its
        absence.
        """
        capability = CALLS[op].capability
        if op == "listen" and self._case.can("open-port"):
            return  # a black box documents a port that listens
        if capability and not capability.endswith("NAME"):  # the agent itself refuses each option that it lacks
            try:
                self._case.needs(capability)
            except NotApplicable as lacking:
                self.lacking = self.lacking or lacking
                raise

    async def _call(
        self, op: str, codes: Collection[str], wait_s: float | None, arguments: dict[str, Any]
    ) -> dict[str, Any]:
        self._require(op)
        case = self._case
        text = f"{op}({', '.join(f'{k}={v}' for k, v in arguments.items() if k in _SHOWN and v not in ('', None))})"
        await case.arrived()
        asked_ns = case.clock.now_ns()
        try:
            reply = await case.agent.call(op, wait_s=wait_s, **arguments)
        except AppError as error:
            text = f"{text} failed with {error.code}"
            tolerated = error.code in codes or error.code in self.tolerated_errors
            case.trace.step("app", case.clock.now_ns(), ok=tolerated, text=text)
            raise
        at_ns = int(reply["at_ns"])
        at_ns = case.clock.of_stamp(at_ns) if at_ns else case.clock.now_ns()
        case.trace.step("app", at_ns, ok=not codes, text=text)
        if op in _DONE_AT_ONCE:
            case.clock.jitter.note_call(at_ns, at_ns - asked_ns)
        return reply

    async def _open(self, op: str, arguments: dict[str, Any]) -> AppSocket:
        reply = await self.call(op, **arguments)
        return self.take(reply["socket"], reply["port"])

    def take(self, number: int, port: int) -> AppSocket:
        """Return the handle on a socket that an agent opened; the case closes it at its end."""
        socket = AppSocket(self, number, port)
        self._sockets.append(socket)
        return socket

    async def close(self) -> None:
        """Close what the case left open, without writing it down."""
        op = next((op for op in ("abort", "close") if self._case.can(op)), "")
        for socket in self._sockets:
            if op and not socket.closed:
                with contextlib.suppress(AppError):
                    await self._case.agent.call(op, socket=socket.number)


class AppSocket:
    """One socket of the target's application; `port` is its local one, for an accepted one the tester's."""

    def __init__(self, app: Application, number: int, port: int) -> None:
        self._app, self.number, self.port = app, number, port
        self.closed = False

    async def accept(self, *, wait_s: float = _WAIT_S) -> AppSocket:
        """Return the next connection of a listening socket."""
        reply = await self._app.call("accept", wait_s=wait_s, socket=self.number)
        return self._app.take(reply["socket"], reply["port"])

    async def connected(self, *, wait_s: float = _WAIT_S) -> None:
        """Wait for an active open to end well; AppError says how it failed."""
        await self._app.call("connected", wait_s=wait_s, socket=self.number)

    async def fails(self, op: str, *codes: str, wait_s: float | None = _WAIT_S, **arguments: Any) -> str:
        """Make a call on this socket that has to fail with one of `codes` (`timeout`: it still waits); returns the code.

        Raises Violation if it succeeds.
        """
        return await self._app.fails(op, codes, wait_s=wait_s, socket=self.number, **arguments)

    async def ends(self, *codes: str, wait_s: float, op: str = "receive") -> int:
        """Wait until the application gets one of `codes` as the connection's end; returns the time in ns.

        `op` is the call that waits, `connected` for an active open. Raises Violation if no error arrives in that time.
        """
        try:
            await self._app.call(op, wait_s=wait_s, socket=self.number, **({"count": 1} if op == "receive" else {}))
        except AppError as error:
            if error.code == "timeout":
                raise Violation(
                    f"the application is told nothing within {wait_s:g} s, owed is {' or '.join(codes)}"
                ) from None
            if error.code not in codes:
                raise
            return self._app.of_stamp(error.at_ns) if error.at_ns else self._app.now_ns()
        raise Violation(f"the application's call {op} succeeded, it had to be told {' or '.join(codes)}")

    async def send(self, data: bytes, *, urgent: bool = False, wait: bool = True) -> int:
        """Write data; returns the number of octets taken. Raises AppError `timeout` if the stack takes too long for all."""
        encoded = base64.b64encode(data).decode()
        reply = await self._app.call("send", socket=self.number, data=encoded, urgent=urgent, wait=wait)
        sent = int(reply["sent"])
        if sent > len(data):
            raise AgentFault(f"the agent's answer to `send`: sent is {sent}, data has {len(data)} octets")
        return sent

    async def receive(self, count: int, *, maximum: int = 65536, wait_s: float = _WAIT_S) -> bytes:
        """Read at least `count` octets and at most `maximum`, fewer only at the end of the stream; 0 reads without waiting."""
        arguments = {"socket": self.number, "count": count, "maximum": max(count, maximum)}
        reply = await self._app.call("receive", wait_s=wait_s, **arguments)
        data = base64.b64decode(reply["data"])
        if len(data) > arguments["maximum"]:
            raise AgentFault(f"the agent's answer to `receive`: {len(data)} octets, maximum is {arguments['maximum']}")
        return data

    async def receive_urgent(self, *, wait_s: float = _WAIT_S) -> bytes:
        """Return the last octet of urgent data as soon as the application can read it (MSG_OOB)."""
        reply = await self._app.call("receive", wait_s=wait_s, socket=self.number, count=1, urgent=True)
        return base64.b64decode(reply["data"])

    async def at_mark(self) -> bool:
        """Return True if the data read so far ends where the urgent data does (sockatmark)."""
        return bool((await self._app.call("at_mark", socket=self.number))["at_mark"])

    async def at_end(self, *, wait_s: float = _WAIT_S) -> bool:
        """Return True if the next read reports the end of the stream."""
        reply = await self._app.call("receive", wait_s=wait_s, socket=self.number, count=1)
        return bool(reply["eof"])

    async def shutdown(self, how: str = "send") -> None:
        """Close one direction: `send`, `receive` or `both`. The socket stays held."""
        await self._app.call("shutdown", socket=self.number, how=how)

    async def close(self) -> None:
        """Close the descriptor: the connection becomes an orphan."""
        self.closed = True
        await self._app.call("close", socket=self.number)

    async def abort(self) -> None:
        """Close with SO_LINGER 0."""
        self.closed = True
        await self._app.call("abort", socket=self.number)

    async def option(self, level: str, name: str, value: Any = None) -> Any:
        """Read a socket option, or set it where `value` is given: a number, or bytes."""
        if isinstance(value, bytes):
            value = {"bytes": base64.b64encode(value).decode()}
        if value is None:
            return (await self._app.call("option_get", socket=self.number, level=level, name=name))["value"]
        await self._app.call("option_set", socket=self.number, level=level, name=name, value=value)
        return value

    async def error(self) -> str | None:
        """Return the pending error's errno name (SO_ERROR)."""
        code = (await self._app.call("error", socket=self.number))["code"]
        return None if code is None else str(code)

    async def send_by_the_book(self, octets: int, *, congestion: bool = False) -> None:
        """Have the target send by RFC 5681 from a buffer of `octets`, where it has socket options for that.

        With `congestion` that is what the case judges: NotApplicable for a target that documents another congestion control
        and can't be asked for this one.
        """
        with contextlib.suppress(AppError):
            await self.option("socket", "SO_SNDBUF", 4 * octets)
        try:
            await self.option("tcp", "TCP_CONGESTION", b"reno")
        except AppError as error:
            if congestion and (usual := self._app.congestion_control) != "reno":
                raise NotApplicable(
                    f"the target sends by {usual}, and can't be asked for reno ({error.code})"
                ) from None


_SHOWN = ("port", "remote_port", "how", "name", "value", "count", "urgent", "backlog")
