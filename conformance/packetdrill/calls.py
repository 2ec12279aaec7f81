"""A script's socket calls, made by the target's application through composite calls (`listen` binds and listens)."""

from __future__ import annotations

import base64
import errno
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from conformance.case.app import AppSocket, SocketOption
from conformance.case.case import Case
from conformance.judge import NotApplicable, Violation
from conformance.packetdrill.syntax import Call, Expression, Flags, Items, Struct, Symbol, Text
from conformance.target import AppError

BLOCKED_S = 60.0
"""The longest that a call blocks which the script lets block."""
AT_ONCE_S = 0.2
"""The time within which a call that does not block is done, on a busy host, too."""
_LEVELS = {
    **dict.fromkeys(("SOL_TCP", "IPPROTO_TCP"), "tcp"),
    **dict.fromkeys(("SOL_IP", "IPPROTO_IP"), "ip"),
    **dict.fromkeys(("SOL_IPV6", "IPPROTO_IPV6"), "ipv6"),
    "SOL_SOCKET": "socket",
}
_OF_EVERY_LISTENER = "SO_REUSEADDR"
_SEND_FLAGS = frozenset({"MSG_NOSIGNAL", "MSG_DONTWAIT", "MSG_OOB"})
_RECEIVE_FLAGS = frozenset({"MSG_DONTWAIT", "MSG_NOSIGNAL"})
_VALUES = {name: number for number, name in enumerate(("DONT", "WANT", "DO", "PROBE", "INTERFACE", "OMIT"))}
_O_RDWR, _O_NONBLOCK = 2, 0x800
Result = tuple[int, int]
"""The value that a call returned, and the agent's stamp in ns; 0 where the call needed no agent."""


@dataclass
class Descriptor:
    """A descriptor of the script: not open on the target before it listens or connects."""

    socket: AppSocket | None = None
    nonblocking: bool = False
    listening: bool = False
    options: list[SocketOption] = field(default_factory=list)


class Calls:
    """The calls of one script. `connect_to` gives the tester's port for an active open, `listens` is called behind listen()."""

    def __init__(self, case: Case, connect_to: Callable[[], int], listens: Callable[[int], None]) -> None:
        self._case, self._connect_to, self._listens = case, connect_to, listens
        self._descriptors: dict[int, Descriptor] = {}
        self._options: list[SocketOption] = []
        """The options that every socket of the script begins with."""
        self._made: Mapping[str, Callable[[Call, bool], Awaitable[Result]]] = {
            "socket": self._socket,
            "bind": self._bind,
            "listen": self._listen,
            "accept": self._accept,
            "connect": self._connect,
            "write": self._send,
            "send": self._send,
            "sendto": self._send,
            "writev": self._send,
            "sendmsg": self._send,
            "read": self._receive,
            "recv": self._receive,
            "recvfrom": self._receive,
            "close": self._close,
            "shutdown": self._shutdown,
            "fcntl": self._fcntl,
            "setsockopt": self._setsockopt,
            "getsockopt": self._getsockopt,
        }

    def use_congestion_control(self, name: str) -> None:
        """Have every socket of the script use that congestion control."""
        self._options = [("tcp", "TCP_CONGESTION", {"bytes": base64.b64encode(name.encode()).decode()})]

    async def make(self, call: Call, *, blocks: bool) -> Result:
        """Make a call. Raises AppError as it fails on the target, NotApplicable where no agent makes such a call."""
        made = self._made.get(call.name)
        if made is None:
            raise NotApplicable(f"{call.name}() is no call that an agent makes")
        if call.error in ("EFAULT", "EBADF", "ENOTSOCK"):
            raise NotApplicable(f"{call.name}() with a bad pointer or descriptor: an agent makes none ({call.error})")
        return await made(call, blocks)

    async def close(self) -> None:
        """Leave it to the case: it closes every socket that an agent opened for it."""

    async def information(self) -> bytes | None:
        """Return the target's tcp_info of the connection that was opened last; None where no such socket is open."""
        for descriptor in reversed(self._descriptors.values()):
            if descriptor.socket is not None and not descriptor.listening:
                value = await descriptor.socket.option("tcp", "TCP_INFO")
                return base64.b64decode(value["bytes"]) if isinstance(value, dict) else None
        return None

    def _descriptor(self, call: Call) -> Descriptor:
        number = call.arguments[0] if call.arguments else None
        if not isinstance(number, int) or number not in self._descriptors:
            raise NotApplicable(f"{call.name}() on a descriptor that the script has not opened")
        return self._descriptors[number]

    def _open(self, call: Call) -> AppSocket:
        socket = self._descriptor(call).socket
        if socket is None:
            raise NotApplicable(f"{call.name}() on a socket that neither listens nor connects")
        return socket

    async def _ask(self, op: str, socket: AppSocket, **arguments: Any) -> tuple[dict[str, Any], int]:
        reply = await self._case.app.call(op, socket=socket.number, **arguments)
        return reply, int(reply["at_ns"])

    async def _socket(self, call: Call, blocks: bool) -> Result:
        kinds = symbols(call.arguments[1])
        if "SOCK_STREAM" not in kinds or not isinstance(call.result, int) or call.result < 0:
            raise NotApplicable(f"socket() of kind {' | '.join(kinds) or 'unknown'}")
        self._descriptors[call.result] = Descriptor(nonblocking="SOCK_NONBLOCK" in kinds, options=list(self._options))
        return call.result, 0

    async def _bind(self, call: Call, blocks: bool) -> Result:
        self._descriptor(call)
        if call.error:
            raise NotApplicable("bind() that has to fail: an agent binds as it listens")
        return 0, 0

    async def _listen(self, call: Call, blocks: bool) -> Result:
        descriptor = self._descriptor(call)
        if descriptor.socket is not None or call.error:
            raise NotApplicable("listen() on a socket that is open already, or that has to fail")
        backlog = call.arguments[1]
        descriptor.socket = await self._case.app.listen(
            backlog=backlog if isinstance(backlog, int) else 16, options=descriptor.options
        )
        descriptor.listening = True
        self._listens(descriptor.socket.port)
        return 0, 0

    async def _accept(self, call: Call, blocks: bool) -> Result:
        wait_s = BLOCKED_S if blocks else 0.0 if self._descriptor(call).nonblocking else AT_ONCE_S
        reply, at_ns = await self._ask("accept", self._open(call), wait_s=wait_s)
        socket = self._case.app.take(reply["socket"], reply["port"])
        if not isinstance(call.result, int) or call.result < 0:
            return socket.number, at_ns
        self._descriptors[call.result] = Descriptor(socket)
        return call.result, at_ns

    async def _connect(self, call: Call, blocks: bool) -> Result:
        descriptor = self._descriptor(call)
        if descriptor.listening:
            raise NotApplicable("connect() on a socket that listens")
        if descriptor.socket is None:
            descriptor.socket = await self._case.app.connect(remote_port=self._connect_to(), options=descriptor.options)
            if call.error == "EINPROGRESS":  # an agent's connect never waits
                raise AppError("EINPROGRESS", "the connection is being opened")
            if descriptor.nonblocking:
                return 0, 0
        wait_s = BLOCKED_S if blocks else AT_ONCE_S
        _, at_ns = await self._ask("connected", descriptor.socket, wait_s=wait_s)
        return 0, at_ns

    async def _send(self, call: Call, blocks: bool) -> Result:
        socket, size, flags = self._open(call), _octets_of(call), _message_flags(call)
        _refuse(call, flags - _SEND_FLAGS)
        wait = not self._descriptor(call).nonblocking and "MSG_DONTWAIT" not in flags
        data = base64.b64encode(bytes(size)).decode()
        reply, at_ns = await self._ask("send", socket, data=data, urgent="MSG_OOB" in flags, wait=wait)
        if size and not reply["sent"]:
            raise AppError("EAGAIN", "nothing was taken", at_ns)
        return int(reply["sent"]), at_ns

    async def _receive(self, call: Call, blocks: bool) -> Result:
        socket, flags, size = self._open(call), _message_flags(call), call.arguments[2]
        _refuse(call, flags - _RECEIVE_FLAGS)
        if not isinstance(size, int) or size < 1:
            raise NotApplicable(f"{call.name}() of no octets")
        waits = not self._descriptor(call).nonblocking and "MSG_DONTWAIT" not in flags
        wait_s = (BLOCKED_S if blocks else AT_ONCE_S) if waits else None
        reply, at_ns = await self._ask("receive", socket, count=int(waits), maximum=size, wait_s=wait_s)
        data = base64.b64decode(reply["data"])
        if not data and not reply["eof"]:
            raise AppError("EAGAIN", "nothing was there", at_ns)
        return len(data), at_ns

    async def _close(self, call: Call, blocks: bool) -> Result:
        descriptor = self._descriptor(call)
        del self._descriptors[int(str(call.arguments[0]))]
        if descriptor.socket is None:
            return 0, 0
        descriptor.socket.closed = True
        _, at_ns = await self._ask("close", descriptor.socket)
        return 0, at_ns

    async def _shutdown(self, call: Call, blocks: bool) -> Result:
        hows = {"SHUT_WR": "send", "SHUT_RD": "receive", "SHUT_RDWR": "both"}
        how = hows.get("".join(symbols(call.arguments[1])))
        if how is None:
            raise NotApplicable("shutdown() in a way that has no name")
        _, at_ns = await self._ask("shutdown", self._open(call), how=how)
        return 0, at_ns

    async def _fcntl(self, call: Call, blocks: bool) -> Result:
        descriptor, command = self._descriptor(call), symbols(call.arguments[1])
        if command == ["F_SETFL"]:
            descriptor.nonblocking = "O_NONBLOCK" in symbols(call.arguments[2])
            return 0, 0
        if command != ["F_GETFL"]:
            raise NotApplicable(f"fcntl() with {' | '.join(command) or 'a number'}")
        return _O_RDWR | (_O_NONBLOCK if descriptor.nonblocking else 0), 0

    async def _setsockopt(self, call: Call, blocks: bool) -> Result:
        descriptor, level, name = self._descriptor(call), *_option_of(call)
        if name == _OF_EVERY_LISTENER:
            return 0, 0
        value = _option_value(call.arguments[3])
        if descriptor.socket is not None:
            _, at_ns = await self._ask("option_set", descriptor.socket, level=level, name=name, value=value)
            return 0, at_ns
        if call.error:
            raise NotApplicable("setsockopt() that has to fail before the socket listens or connects")
        descriptor.options.append((level, name, value))
        return 0, 0

    async def _getsockopt(self, call: Call, blocks: bool) -> Result:
        socket, level, name, wanted = self._open(call), *_option_of(call), call.arguments[3]
        if not isinstance(wanted, Items) or len(wanted.values) != 1:
            raise NotApplicable(f"getsockopt() of {name} whose value is no single number")
        expected = wanted.values[0]
        if name == "SO_ERROR":
            reply, at_ns = await self._ask("error", socket)
            actual: object = reply["code"] or 0
            same = expected == actual or (isinstance(expected, Symbol) and expected.name == actual)
        else:
            reply, at_ns = await self._ask("option_get", socket, level=level, name=name)
            actual = reply["value"]
            if not isinstance(expected, int):
                raise NotApplicable(f"getsockopt() of {name} whose value is no number")
            same = expected == actual
        if not same:
            shown = expected.name if isinstance(expected, Symbol) else expected
            raise Violation(f"getsockopt() of {name} gave {actual}, expected {shown}")
        return 0, at_ns


def symbols(value: Expression) -> list[str]:
    """Return the names in an expression: `SOCK_STREAM | SOCK_NONBLOCK`."""
    parts = value.parts if isinstance(value, Flags) else (value,)
    return [part.name for part in parts if isinstance(part, Symbol)]


def same_error(actual: str, expected: str | None) -> bool:
    """Return True where an agent's code is the errno that the script names."""
    number = {"timeout": errno.EAGAIN}.get(actual) or getattr(errno, actual, None)
    return expected is not None and number == getattr(errno, expected, -1)


def _refuse(call: Call, flags: set[str]) -> None:
    if flags:
        raise NotApplicable(f"{call.name}() with {' | '.join(sorted(flags))}: no agent takes that flag")


def _message_flags(call: Call) -> set[str]:
    place = {"sendmsg": 2, "write": 9, "writev": 9, "read": 9}.get(call.name, 3)
    return set(symbols(call.arguments[place])) if len(call.arguments) > place else set()


def _octets_of(call: Call) -> int:
    """Return how many octets a call writes. Raises NotApplicable where it carries control data."""
    vector: Expression = call.arguments[1]
    if call.name == "sendmsg":
        if not isinstance(vector, Struct) or vector.members.get("msg_control"):
            raise NotApplicable("sendmsg() with control data")
        vector = vector.members["msg_iov"]
    if isinstance(vector, Items):
        parts = [part.members.get("1") for part in vector.values if isinstance(part, Struct)]
        return sum(part for part in parts if isinstance(part, int))
    size = call.arguments[2]
    if not isinstance(size, int):
        raise NotApplicable(f"{call.name}() of a number of octets that is no number")
    return size


def _option_of(call: Call) -> tuple[str, str]:
    names = symbols(call.arguments[1]), symbols(call.arguments[2])
    level = _LEVELS.get("".join(names[0]))
    if level is None or len(names[1]) != 1:
        raise NotApplicable(f"{call.name}() of an option whose level or name no agent knows")
    return level, names[1][0]


def _option_value(value: Expression) -> Any:
    """Return an option's value as the agent's protocol has it. Raises NotApplicable."""
    if isinstance(value, Items) and len(value.values) == 1:
        value = value.values[0]
    match value:
        case int():
            return value
        case Text(text):
            return {"bytes": base64.b64encode(text.encode()).decode()}
        case Struct(members) if set(members) == {"onoff", "linger"}:
            return [members["onoff"], members["linger"]]
        case Symbol(name) if name.startswith("IP_PMTUDISC_"):
            return _VALUES[name.removeprefix("IP_PMTUDISC_")]
    raise NotApplicable("a socket option whose value an agent can't take")
