"""A script's socket calls made one by one, as the target's C library has them: the agent's capability `calls`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from conformance.case.case import Case
from conformance.judge import NotApplicable, Violation
from conformance.packetdrill import memory as mem
from conformance.packetdrill.calls import BLOCKED_S, Result, symbols
from conformance.packetdrill.constants import constant, number
from conformance.packetdrill.syntax import Address, Anything, Call, Expression, Function, Items, Struct, Symbol, Text
from conformance.target import AgentFault, AppError

_AT_ONCE_S = 2.0
"""The longest that a call may take which the script does not let block: a busy host starts threads late."""
_OPTION_ROOM = 512
_INFORMATION = 512
_LINGER_OFF = struct.pack("=ii", 1, 0)
_UNSPECIFIED = bytes(16)
_OPENERS = frozenset({"socket", "accept", "accept4", "open", "epoll_create", "epoll_create1"})
Check = Callable[[Sequence[bytes]], str]
"""Takes the memory that came back, and returns what differs from the script; "" where nothing does."""


@dataclass
class Prepared:
    """The arguments of one call, and how to compare what it leaves in memory."""

    arguments: list[Any]
    check: Check | None = None


@dataclass
class Descriptor:
    """A descriptor of the script: `number` is the target's own."""

    number: int
    listening: bool = False
    connection: bool = False
    """Accepted, or about to be opened."""
    socket: bool = True
    waiting: bool = field(default=False)


class SystemCalls:
    """The calls of one script, each made as it is written.

    `connect_to` gives the tester's port for an active open, `listens` is called behind listen(). `stamped` compares a stamp of
    the target's kernel with a time of the script. `mapped` puts IPv4 addresses into IPv6 sockets.
    `port` is the one to listen on, by default one of this case's own.
    """

    def __init__(
        self,
        case: Case,
        connect_to: Callable[[], int],
        listens: Callable[[int], None],
        stamped: Callable[[int, int], str],
        *,
        mapped: bool = False,
        port: int | None = None,
    ) -> None:
        self._case, self._connect_to, self._listens, self._stamped = case, connect_to, listens, stamped
        self._mapped = mapped
        self._descriptors: dict[int, Descriptor] = {}
        self._congestion_control = b""
        self._port, self._remote_port = port or 0, 0
        self._forms: Mapping[str, Callable[[Call], Prepared]] = {
            "socket": self._socket,
            "bind": self._bind,
            "connect": self._connect,
            "accept": self._accept,
            "accept4": self._accept,
            **dict.fromkeys(("listen", "shutdown", "close", "fcntl", "epoll_create", "epoll_create1"), self._plain),
            **dict.fromkeys(("read", "recv", "recvfrom", "write", "send", "sendto"), self._buffer),
            **dict.fromkeys(("readv", "writev"), self._vector),
            **dict.fromkeys(("sendmsg", "recvmsg"), self._message),
            "setsockopt": self._setsockopt,
            "getsockopt": self._getsockopt,
            "ioctl": self._ioctl,
            "poll": self._poll,
            "epoll_ctl": self._epoll_ctl,
            "epoll_wait": self._epoll_wait,
            "pipe": self._pipe,
            "splice": self._splice,
            "sendfile": self._sendfile,
            "open": self._open,
        }

    def use_congestion_control(self, name: str) -> None:
        """Have every socket of the script use that congestion control."""
        self._congestion_control = name.encode()

    async def make(self, call: Call, *, blocks: bool) -> Result:
        """Make a call. Raises AppError as it fails on the target, NotApplicable where it can't be made, Violation."""
        form = self._forms.get(call.name)
        if form is None:
            raise NotApplicable(f"{call.name}() is no call that an agent makes")
        prepared = form(call)
        first = self._known(call)
        reply = await self._ask(call.name, prepared.arguments, BLOCKED_S if blocks else _AT_ONCE_S, first)
        result, at_ns = int(reply["result"]), int(reply["at_ns"])
        self._happened(call, first, result, reply["code"])
        if result == -1:
            raise AppError(str(reply["code"]), f"{call.name}() failed", at_ns)
        if prepared.check is not None:
            wrong = prepared.check([base64.b64decode(octets) for octets in reply["memory"]])
            if wrong:
                raise Violation(f"{call.name}(): {wrong}")
        if call.name in _OPENERS:
            await self._opened(call, result)
            return call.result if isinstance(call.result, int) and call.result >= 0 else result, at_ns
        return result, at_ns

    async def information(self) -> bytes | None:
        """Return the target's tcp_info of the connection that was opened last; None where no such socket is open."""
        for descriptor in reversed(self._descriptors.values()):
            if descriptor.socket and descriptor.connection:
                arguments = [
                    descriptor.number,
                    constant("SOL_TCP"),
                    constant("TCP_INFO"),
                    mem.memory(size=_INFORMATION, back=_INFORMATION),
                    mem.whole(_INFORMATION, back=True),
                ]
                reply = await self._ask("getsockopt", arguments, _AT_ONCE_S)
                if reply["result"] != 0:
                    return None
                value, length = map(base64.b64decode, reply["memory"])
                return value[: int.from_bytes(length, "little")]
        return None

    async def close(self) -> None:
        """Close what the script left open, so that no thread of the agent waits any longer."""
        for descriptor in self._descriptors.values():
            with contextlib.suppress(AppError, AgentFault):
                if descriptor.socket:
                    linger = [
                        descriptor.number,
                        constant("SOL_SOCKET"),
                        constant("SO_LINGER"),
                        mem.memory(_LINGER_OFF),
                        8,
                    ]
                    await self._ask("setsockopt", linger, _AT_ONCE_S)
                    if descriptor.waiting:
                        await self._ask("shutdown", [descriptor.number, constant("SHUT_RDWR")], _AT_ONCE_S)
                await self._ask("close", [descriptor.number], _AT_ONCE_S)
        self._descriptors.clear()

    async def _ask(
        self, name: str, arguments: list[Any], limit_s: float, descriptor: Descriptor | None = None
    ) -> dict[str, Any]:
        if descriptor is not None:
            descriptor.waiting = True
        try:
            asked = self._case.app.call("call", name=name, arguments=arguments)
            reply = await (asked if self._case.target.virtual else asyncio.wait_for(asked, limit_s))
        except TimeoutError:
            raise Violation(f"{name}() still blocks after {limit_s:g} s") from None
        if descriptor is not None:
            descriptor.waiting = False
        return reply

    # Descriptors

    def _known(self, call: Call) -> Descriptor | None:
        first = call.arguments[0] if call.arguments else None
        return self._descriptors.get(first) if isinstance(first, int) else None

    def _number(self, value: Expression) -> int:
        """Return the target's descriptor; -1, which no process has, for one that the script has not opened."""
        descriptor = self._descriptors.get(value) if isinstance(value, int) else None
        return descriptor.number if descriptor is not None else -1

    async def _opened(self, call: Call, result: int) -> None:
        known_as = call.result if isinstance(call.result, int) and call.result >= 0 else -1 - len(self._descriptors)
        opened = Descriptor(result, socket=call.name in ("socket", "accept", "accept4"))
        opened.connection = call.name.startswith("accept")
        self._descriptors.pop(known_as, None)
        self._descriptors[known_as] = opened
        if call.name == "socket" and self._congestion_control:
            value = mem.memory(self._congestion_control)
            arguments = [result, constant("SOL_TCP"), constant("TCP_CONGESTION"), value, len(self._congestion_control)]
            reply = await self._ask("setsockopt", arguments, _AT_ONCE_S)
            if reply["result"] != 0:
                raise NotApplicable(f"congestion control {self._congestion_control.decode()}: {reply['code']}")

    def _happened(self, call: Call, first: Descriptor | None, result: int, code: str | None) -> None:
        if call.name == "listen" and result == 0 and first is not None:
            first.listening, first.connection = True, False
            self._listens(self._port)
        elif call.name == "close" and isinstance(call.arguments[0], int):
            self._descriptors.pop(call.arguments[0], None)
        elif call.name == "connect" and first is not None and code not in (None, "EINPROGRESS", "EALREADY", "EISCONN"):
            first.connection = False  # another connect begins another connection

    # Calls

    def _plain(self, call: Call) -> Prepared:
        first, *others = call.arguments
        begin = number(first) if call.name.startswith("epoll_create") else self._number(first)
        return Prepared([begin, *(number(other) for other in others)])

    def _socket(self, call: Call) -> Prepared:
        domain, kind, protocol = call.arguments
        if isinstance(domain, Anything):
            chosen = constant("AF_INET" if self._case.family == 4 and not self._mapped else "AF_INET6")
        else:
            chosen = number(domain)
        if not {"SOCK_STREAM"} & set(symbols(kind)):
            raise NotApplicable(f"socket() of kind {' | '.join(symbols(kind)) or 'unknown'}")
        return Prepared([chosen, number(kind), number(protocol)])

    def _bind(self, call: Call) -> Prepared:
        self._port = self._port or self._case.station.port()
        return self._with_address(call, self._case.remote, self._port)

    def _connect(self, call: Call) -> Prepared:
        if isinstance(call.arguments[1], Anything):
            self._begins(self._known(call))
        return self._with_address(call, self._case.address, self._remote_port)

    def _begins(self, descriptor: Descriptor | None) -> None:
        """Take note that a call opens a connection, unless it is being opened already."""
        if descriptor is not None and not descriptor.connection and not descriptor.listening:
            self._remote_port = self._connect_to()
            descriptor.connection = True

    def _with_address(self, call: Call, host: str, port: int) -> Prepared:
        where = self._address(call.arguments[1], host, port)
        given = call.arguments[2] if len(call.arguments) > 2 else Anything()
        size = (where["size"] if where else 0) if isinstance(given, Anything) else number(given)
        return Prepared([self._number(call.arguments[0]), where, size])

    def _address(self, value: Expression, host: str, port: int) -> mem.Memory | None:
        """Return a sockaddr: `...` is the natural one. Raises NotApplicable for addresses that are not the lab's."""
        match value:
            case Anything():
                return mem.address(self._case.family, host, port, mapped=self._mapped)
            case Symbol("NULL"):
                return None
            case Symbol("AF_UNSPEC"):
                return mem.memory(_UNSPECIFIED)
            case Struct(members) if members.get("sa_family") == Symbol("AF_UNSPEC"):
                return mem.memory(_UNSPECIFIED)
            case Struct() | Function() | Address():
                raise NotApplicable("an address that the script names: the tester's and the target's are the lab's")
        raise NotApplicable("a socket address that can't be read")

    def _accept(self, call: Call) -> Prepared:
        flags = [number(value) for value in call.arguments[3:]]
        return Prepared([self._number(call.arguments[0]), None, None, *flags])

    def _buffer(self, call: Call) -> Prepared:
        descriptor, buffer, count, *others = call.arguments
        size = number(count)
        room = None if buffer == Symbol("NULL") else mem.memory(_content(buffer), size=size)
        arguments: list[Any] = [self._number(descriptor), room, size]
        if others:
            arguments.append(number(others[0]))
        if call.name in ("sendto", "recvfrom"):
            where = None
            if call.name == "sendto" and arguments[3] & constant("MSG_FASTOPEN"):
                if isinstance(others[1], Anything):
                    self._begins(self._known(call))
                where = self._address(others[1], self._case.address, self._remote_port)
            arguments += [where, where["size"] if where else 0]
            if call.name == "recvfrom":
                arguments[-1] = None
        return Prepared(arguments)

    def _vector(self, call: Call) -> Prepared:
        descriptor, vector, count = call.arguments
        return Prepared([self._number(descriptor), mem.vector(_sizes(vector)), number(count)])

    def _message(self, call: Call) -> Prepared:
        descriptor, message, flags = call.arguments
        if not isinstance(message, Struct):
            raise NotApplicable(f"{call.name}() of a message that is no structure")
        wanted = message.members
        sizes, number_of_flags = _sizes(wanted["msg_iov"]), number(flags)
        if call.name == "sendmsg":
            where = None
            if number_of_flags & constant("MSG_FASTOPEN"):
                self._begins(self._known(call))
                where = self._address(wanted.get("msg_name", Anything()), self._case.address, self._remote_port)
            control = wanted.get("msg_control")
            room = mem.controls([_control(part) for part in _parts(control)]) if control is not None else None
            return Prepared([self._number(descriptor), mem.message(sizes, name=where, control=room), number_of_flags])
        name = mem.memory(size=mem.ADDRESS_ROOM)
        room = mem.memory(size=mem.CONTROL_ROOM, back=mem.CONTROL_ROOM) if "msg_control" in wanted else None
        received = mem.message(sizes, name=name, control=room, back=True)
        return Prepared(
            [self._number(descriptor), received, number_of_flags], lambda back: self._received(wanted, back)
        )

    def _received(self, wanted: Mapping[str, Expression], back: Sequence[bytes]) -> str:
        """Compare a message that was read with the script's: its flags and control messages."""
        header = back[0]
        flags = wanted.get("msg_flags")
        if flags is not None and not isinstance(flags, Anything) and number(flags) != mem.read_flags(header):
            return f"msg_flags are {mem.read_flags(header):#x}, expected {number(flags):#x}"
        if "msg_control" not in wanted:
            return ""
        actual, expected = list(mem.read_controls(header, back[1])), _parts(wanted["msg_control"])
        if len(actual) != len(expected):
            return f"{len(actual)} control messages came, expected {len(expected)}"
        return next(filter(None, map(self._control_differs, expected, actual)), "")

    def _control_differs(self, expected: Struct, actual: mem.Control) -> str:
        level, kind = number(expected.members["cmsg_level"]), number(expected.members["cmsg_type"])
        if (level, kind) != actual[:2]:
            return f"a control message of level {actual.level}, type {actual.kind} came, expected {level}, {kind}"
        data = expected.members["cmsg_data"]
        if isinstance(data, Struct) and "scm_sec" in data.members:
            seconds, rest = struct.unpack_from("=qq", actual.data)
            due_ns = number(data.members["scm_sec"]) * 10**9 + number(data.members["scm_nsec"])
            return self._stamped(seconds * 10**9 + rest, due_ns)
        if isinstance(data, Struct):
            values = dict(zip(mem.ERROR_MEMBERS, mem.EXTENDED_ERROR.unpack_from(actual.data), strict=True))
            if values["ee_origin"] == constant("SO_EE_ORIGIN_ZEROCOPY"):
                del values[
                    "ee_code"
                ]  # tells whether the device copied: packetdrill's copies always, the lab's as it likes
            wrong = [
                f"{name} is {values[name]}, expected {number(value)}"
                for name, value in data.members.items()
                if name in values and not isinstance(value, Anything) and values[name] != number(value)
            ]
            return "; ".join(wrong)
        value = int.from_bytes(actual.data[:4], "little", signed=True)
        return "" if value == number(data) else f"the control message holds {value}, expected {number(data)}"

    def _setsockopt(self, call: Call) -> Prepared:
        descriptor, level, name, value, length = call.arguments
        size = number(length)
        return Prepared([self._number(descriptor), number(level), number(name), _option(value, size), size])

    def _getsockopt(self, call: Call) -> Prepared:
        descriptor, level, name, value, length = call.arguments
        size = _single(length)
        room = mem.memory(size=_OPTION_ROOM, back=_OPTION_ROOM)
        arguments = [self._number(descriptor), number(level), number(name), room, mem.whole(size, back=True)]

        def check(back: Sequence[bytes]) -> str:
            (length,) = struct.unpack("=i", back[1])
            if length != size:
                return f"the value has {length} octets, expected {size}"
            expected = _option(value, size)
            if expected is None:
                return ""
            wanted = base64.b64decode(expected.get("bytes", "")).ljust(size, b"\0")
            if wanted == back[0][:size]:
                return ""
            if size == 4:
                shown = [int.from_bytes(octets[:4], "little", signed=True) for octets in (back[0], wanted)]
                return f"{symbols(name)[0] if symbols(name) else name} is {shown[0]}, expected {shown[1]}"
            return f"the value is {back[0][:size].hex()}, expected {wanted.hex()}"

        return Prepared(arguments, check)

    def _ioctl(self, call: Call) -> Prepared:
        descriptor, request, *value = call.arguments
        if not value or not isinstance(value[0], Items):
            return Prepared([self._number(descriptor), number(request), *map(number, value)])
        expected = _single(value[0])

        def check(back: Sequence[bytes]) -> str:
            actual = int.from_bytes(back[0], "little", signed=True)
            return "" if actual == expected else f"{' | '.join(symbols(request))} gives {actual}, expected {expected}"

        return Prepared([self._number(descriptor), number(request), mem.whole(0, back=True)], check)

    def _poll(self, call: Call) -> Prepared:
        entries, count, wait_ms = call.arguments
        wanted = [part.members for part in _parts(entries)]
        room = mem.polled([(self._number(one["fd"]), number(one["events"])) for one in wanted])

        def check(back: Sequence[bytes]) -> str:
            expected = [number(one.get("revents", 0)) for one in wanted]
            actual = mem.read_polled(back[0])
            return "" if actual == expected else f"revents are {_hex(actual)}, expected {_hex(expected)}"

        return Prepared([room, number(count), number(wait_ms)], check)

    def _epoll_ctl(self, call: Call) -> Prepared:
        pool, operation, descriptor, event = call.arguments
        room = None
        if isinstance(event, Struct):
            room = mem.epoll_event(number(event.members["events"]), self._number(event.members.get("fd", descriptor)))
        return Prepared([self._number(pool), number(operation), self._number(descriptor), room])

    def _epoll_wait(self, call: Call) -> Prepared:
        pool, event, most, wait_ms = call.arguments
        count = number(most)
        room = mem.memory(size=16 * max(count, 1), back=16)

        def check(back: Sequence[bytes]) -> str:
            if call.result == 0 or not isinstance(event, Struct):
                return ""
            events, descriptor = mem.read_epoll_event(back[0])
            expected = number(event.members["events"])
            if events != expected:
                return f"events are {events:#x}, expected {expected:#x}"
            return "" if "fd" not in event.members or descriptor == self._number(event.members["fd"]) else "another fd"

        return Prepared([self._number(pool), room, count, number(wait_ms)], check)

    def _pipe(self, call: Call) -> Prepared:
        ends = call.arguments[0]
        if not isinstance(ends, Items) or len(ends.values) != 2:
            raise NotApplicable("pipe() of something else than two descriptors")

        def check(back: Sequence[bytes]) -> str:
            for known_as, actual in zip(ends.values, struct.unpack("=ii", back[0]), strict=True):
                self._descriptors[number(known_as)] = Descriptor(actual, socket=False)
            return ""

        return Prepared([mem.memory(size=8, back=8)], check)

    def _splice(self, call: Call) -> Prepared:
        source, at, sink, to, count, flags = call.arguments
        arguments = [self._number(source), _offset(at), self._number(sink), _offset(to), number(count), number(flags)]
        return Prepared(arguments)

    def _sendfile(self, call: Call) -> Prepared:
        sink, source, at, count = call.arguments
        return Prepared([self._number(sink), self._number(source), _offset(at), number(count)])

    def _open(self, call: Call) -> Prepared:
        path, flags = call.arguments[:2]
        if not isinstance(path, Text) or number(flags) != 0:
            raise NotApplicable("open() of a file for anything but reading")
        return Prepared([mem.memory(mem.text(path.value) + b"\0"), 0])


def _parts(value: Expression | None) -> list[Struct]:
    """Return the structures in a list. Raises NotApplicable."""
    parts = value.values if isinstance(value, Items) else ()
    structures = [part for part in parts if isinstance(part, Struct)]
    if len(structures) != len(parts):
        raise NotApplicable("a list of something else than structures")
    return structures


def _sizes(vector: Expression) -> list[int]:
    """Return the sizes of the buffers in a vector."""
    return [number(list(part.members.values())[1]) for part in _parts(vector)]


def _content(buffer: Expression) -> bytes:
    return mem.text(buffer.value) if isinstance(buffer, Text) else b""


def _single(value: Expression) -> int:
    """Return the number in `[4]`, or a number without brackets."""
    if isinstance(value, Items):
        if len(value.values) != 1:
            raise NotApplicable("a list of several numbers where a call needs one")
        value = value.values[0]
    return number(value)


def _offset(value: Expression) -> mem.Memory | None:
    return None if value == Symbol("NULL") else mem.whole(_single(value), 8)


def _option(value: Expression, size: int) -> mem.Memory | None:
    """Return a socket option's value of that size in memory; None where the script passes no pointer, or takes any."""
    match value:
        case Anything() | Symbol("NULL"):
            return None
        case Text(written):
            return mem.memory(mem.text(written), size=size)
        case Struct(members) if set(members) == {"onoff", "linger"}:
            return mem.memory(struct.pack("=ii", number(members["onoff"]), number(members["linger"])))
        case Struct():
            raise NotApplicable("a socket option whose value is a structure")
    whole = mem.whole(_single(value))
    return {**whole, "size": max(size, 4)} if size > 4 else whole


def _control(part: Struct) -> mem.Control:
    data = part.members["cmsg_data"]
    return mem.Control(
        number(part.members["cmsg_level"]),
        number(part.members["cmsg_type"]),
        struct.pack("=I", number(data) % (1 << 32)),
    )


def _hex(values: Sequence[int]) -> str:
    return ", ".join(f"{value:#x}" for value in values)
