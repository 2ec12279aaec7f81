"""The calls of the agent protocol, made through an upper tester. See `App`."""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from conformance.target import AgentFault, AppError, capabilities_of
from conformance.target.testability import messages as m
from conformance.target.testability.messages import Garbled, General, Group, Kind, Message, Parameter, Parameters, Tcp
from conformance.target.testability.transport import Transport

ANSWER_S = 5.0
LONGEST_WAIT_S = 600.0
_AGAIN_S = 1.0
_REFUSED_S = 0.01
"""Seconds within which a stack refuses what it refuses of itself."""
_LONGEST_SEND = 0xFFFF
_PORTS = range(50_000, 60_000)
"""The target's ports where a case names none: no response says which one an upper tester took."""
_ANY = {4: "0.0.0.0", 6: "::"}
_HOW = {"receive": 0, "send": 1, "both": 2}
_OPTIONS: Final[Mapping[tuple[str, str], tuple[Parameter, int]]] = {
    ("tcp", "TCP_NODELAY"): (Parameter.NAGLE, 1),
    ("tcp", "TCP_MAXSEG"): (Parameter.MSS, 2),
    ("ip", "IP_TTL"): (Parameter.TTL, 1),
    ("ip", "IP_TOS"): (Parameter.TOS, 1),
    ("ipv6", "IPV6_UNICAST_HOPS"): (Parameter.TTL, 1),
    ("ipv6", "IPV6_TCLASS"): (Parameter.TOS, 1),
}
"""By level and name of a socket option: what CONFIGURE_SOCKET sets, and its octets."""
# LISTEN_AND_ACCEPT accepts at once.
_LACKING = {"accept-queue"}
_CALLS = ("listen", "accept", "connect", "send", "receive", "close", "abort")
# What may be asked twice without harm. SEND_DATA would send its text twice, a port would be bound already.
_REPEATABLE = {
    (Group.GENERAL, General.GET_VERSION),
    (Group.GENERAL, General.START_TEST),
    (Group.GENERAL, General.END_TEST),
    (Group.TCP, Tcp.CONFIGURE_SOCKET),
    (Group.TCP, Tcp.SHUTDOWN),
}


@dataclass
class _Socket:
    """One socket of an upper tester, by its responses and events."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: deque[tuple[int, int, str]] = field(default_factory=deque)
    opening: asyncio.Task[Message] | None = None
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)
    text: bytearray = field(default_factory=bytearray)
    asked: int = 0
    """Octets that RECEIVE_AND_FORWARD was asked for and that have not come."""
    session: int = 0
    ended: bool = False
    failed: int = m.OK


class UpperTester:
    """An upper tester as the application of a target.

    `tells_end` says that it reports the end of a stream, by an event of RECEIVE_AND_FORWARD without text or with the result
    that ended the connection. Without it nothing can be told of calls that wait for that: they are lacking.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        name: str,
        features: Sequence[str] = (),
        tells_end: bool = False,
        service: int = m.SERVICE,
    ) -> None:
        self._transport, self.name = transport, name
        self._features, self._tells_end, self._service = tuple(features), tells_end, service
        self._session, self._ports = itertools.count(1), itertools.cycle(_PORTS)
        self._asked: dict[int, tuple[tuple[int, int], asyncio.Future[Message]]] = {}
        self._sockets: dict[int, _Socket] = {}
        self._fault = ""
        self._gives_back = False
        """The session of a request comes back: then a repeated request can be told by it."""
        self.version = ""
        self.capabilities: frozenset[str] = frozenset()

    @property
    def gone(self) -> bool:
        """Return True once every call fails."""
        return bool(self._fault)

    async def open(self) -> None:
        """Begin a test, and find out what the upper tester can do; again where it was lost. Raises AgentFault."""
        self._transport.close()
        self._fault = ""
        await self._transport.open(self._take, self._fail)
        response = await self._ask(Group.GENERAL, General.GET_VERSION)
        try:
            given = Parameters(response.data)
            parts = [given.number() for _ in range(len(response.data) // 2)]
        except Garbled as error:
            raise AgentFault(f"{self.name}: GET_VERSION: {error}") from None
        self.version = ".".join(map(str, parts))
        await self.begin()
        unknown = m.number(0xFFFF) + m.number(_HOW["send"], 1)
        can_shut = (await self._ask(Group.TCP, Tcp.SHUTDOWN, unknown)).result != m.NOT_FOUND
        calls = (*_CALLS, "shutdown", "half-close") if can_shut else _CALLS
        options = (f"options:{name}" for _, name in _OPTIONS)
        self.capabilities = capabilities_of({"capabilities": [*calls, *options, *self._features]}) - _LACKING

    async def begin(self) -> None:
        """End what ran before, with all its sockets, and begin a test. Raises AgentFault."""
        await self._ask(Group.GENERAL, General.END_TEST, m.number(0) + m.text(b""))
        self._sockets.clear()
        await self._ask(Group.GENERAL, General.START_TEST)

    async def close(self) -> None:
        """End the test, and the way to the upper tester."""
        if not self._fault:
            self._send(Group.GENERAL, General.END_TEST, m.number(0) + m.text(b""), 0)
        self._fault = self._fault or f"{self.name}: closed"
        for socket in self._sockets.values():
            if socket.opening is not None:
                socket.opening.cancel()
        self._transport.close()

    async def call(self, op: str, *, wait_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """Make a call of the agent protocol. See `App`."""
        make = _MAKE.get(op)
        if make is None:
            raise AppError("unknown-op", f"the testability protocol has no {op}")
        try:
            return {"at_ns": 0, **await make(self, arguments, LONGEST_WAIT_S if wait_s is None else wait_s)}
        except Garbled as error:
            raise AgentFault(f"{self.name}: the upper tester breaks the protocol: {error}") from None

    async def _hello(self, _: Mapping[str, Any], __: float) -> dict[str, Any]:
        await self._ask(Group.GENERAL, General.GET_VERSION)
        return {}

    async def _listen(self, given: Mapping[str, Any], _: float) -> dict[str, Any]:
        port, address = given["port"] or next(self._ports), given.get("address", "")
        number = await self._created(True, port, address or _ANY[given["family"]], given.get("options", ()))
        await self._done(Group.TCP, Tcp.LISTEN_AND_ACCEPT, m.number(number) + m.number(given.get("backlog", 16)))
        return {"socket": number, "port": port, "address": address}

    async def _accept(self, given: Mapping[str, Any], wait_s: float) -> dict[str, Any]:
        listening = self._socket(given["socket"])
        try:
            async with asyncio.timeout(wait_s):
                while not listening.accepted:
                    if self._fault:
                        raise AgentFault(self._fault)
                    listening.news.clear()
                    await listening.news.wait()
        except TimeoutError:
            raise AppError("timeout", f"no connection came within {wait_s:g} s") from None
        number, port, address = listening.accepted.popleft()
        return {"socket": number, "port": port, "address": address}

    async def _connect(self, given: Mapping[str, Any], _: float) -> dict[str, Any]:
        address, port = given.get("address", ""), given.get("port") or m.ANY_PORT
        bind, local = bool(address) or port != m.ANY_PORT, address or _ANY[given["family"]]
        number = await self._created(bind, port, local, given.get("options", ()))
        remote = m.number(given["remote_port"]) + m.address(given["remote_address"])
        # Whether the response comes at once or when the connection is there is the upper tester's own affair.
        call = self._ask(Group.TCP, Tcp.CONNECT, m.number(number) + remote, wait_s=LONGEST_WAIT_S)
        opening = self._sockets[number].opening = asyncio.create_task(call)
        if (await asyncio.wait([opening], timeout=_REFUSED_S))[0]:
            _raise_for(opening.result())
        return {"socket": number, "port": 0 if port == m.ANY_PORT else port, "address": address}

    async def _connected(self, given: Mapping[str, Any], wait_s: float) -> dict[str, Any]:
        opening = self._socket(given["socket"]).opening
        if opening is None:
            raise AppError("EINVAL", "the socket was not asked to connect")
        done, _ = await asyncio.wait([opening], timeout=wait_s)
        if not done:
            raise AppError("timeout", f"CONNECT was not answered within {wait_s:g} s")
        _raise_for(opening.result())
        return {}

    async def _send_data(self, given: Mapping[str, Any], _: float) -> dict[str, Any]:
        data = base64.b64decode(given["data"])
        flags = m.number(m.URGENT if given.get("urgent") else 0, 1)
        text = data if len(data) <= self._transport.longest else _repeated(data, self._transport.longest)
        if text is None:
            most = self._transport.longest
            raise AppError("unknown-op", f"{len(data)} octets do not fit into a message, which carries {most} octets")
        whole = _LONGEST_SEND // max(1, len(text)) * len(text)
        for start in range(0, len(data), whole or 1):
            total = m.number(min(whole, len(data) - start))
            await self._done(Group.TCP, Tcp.SEND_DATA, m.number(given["socket"]) + total + flags + m.text(text))
        return {"sent": len(data)}

    async def _receive(self, given: Mapping[str, Any], wait_s: float) -> dict[str, Any]:
        number, count = given["socket"], given.get("count", 1)
        if count == 0 or given.get("urgent"):
            raise AppError("unknown-op", "the testability protocol reads what is due, not what happens to be there")
        socket = self._socket(number)
        try:
            async with asyncio.timeout(wait_s), socket.reading:
                while len(socket.text) < count and not socket.ended:
                    await self._more(number, socket, count - len(socket.text))
                data = bytes(socket.text[: given.get("maximum", 65536)])
                del socket.text[: len(data)]
        except TimeoutError:
            if not socket.text and not self._tells_end:
                raise AppError("unknown-op", "the upper tester does not report where a stream ends") from None
            raise AppError("timeout", f"nothing was received within {wait_s:g} s") from None
        return {"data": base64.b64encode(data).decode(), "eof": socket.ended and not socket.text}

    async def _more(self, number: int, socket: _Socket, count: int) -> None:
        """Wait for text that is asked for, or ask for more. Raises AppError where the connection has failed."""
        if socket.failed:
            raise _error(socket.failed)
        if self._fault:
            raise AgentFault(self._fault)
        if socket.asked:
            socket.news.clear()
            await socket.news.wait()
            return
        socket.asked = min(count, m.LIMITLESS - 1)
        most = m.number(socket.asked)
        try:
            socket.session = (
                await self._done(Group.TCP, Tcp.RECEIVE_AND_FORWARD, m.number(number) + most + most)
            ).session
        except AppError:
            socket.asked = 0
            raise

    async def _shutdown(self, given: Mapping[str, Any], _: float) -> dict[str, Any]:
        await self._done(Group.TCP, Tcp.SHUTDOWN, m.number(given["socket"]) + m.number(_HOW[given["how"]], 1))
        return {}

    async def _close(self, given: Mapping[str, Any], _: float) -> dict[str, Any]:
        return await self._let_go(given["socket"], abort=False)

    async def _abort(self, given: Mapping[str, Any], _: float) -> dict[str, Any]:
        return await self._let_go(given["socket"], abort=True)

    async def _option_set(self, given: Mapping[str, Any], _: float) -> dict[str, Any]:
        await self._configure(given["socket"], given["level"], given["name"], given["value"])
        return {}

    async def _let_go(self, number: int, *, abort: bool) -> dict[str, Any]:
        await self._done(Group.TCP, Tcp.CLOSE_SOCKET, m.number(number) + m.number(abort, 1))
        socket = self._sockets.pop(number, None)
        if socket is not None and socket.opening is not None:
            socket.opening.cancel()
        return {}

    async def _created(self, bind: bool, port: int, address: str, options: Sequence[Sequence[Any]]) -> int:
        where = m.number(bind, 1) + m.number(port) + m.address(address)
        response = await self._done(Group.TCP, Tcp.CREATE_AND_BIND, where)
        number = Parameters(response.data).number()
        self._sockets[number] = _Socket()
        for level, name, value in options:
            await self._configure(number, level, name, value)
        return number

    async def _configure(self, number: int, level: str, name: str, value: Any) -> None:
        parameter, octets = _OPTIONS.get((level, name), (None, 0))
        if parameter is None or not isinstance(value, int):
            raise AppError("ENOPROTOOPT", f"the testability protocol does not set {name}")
        setting = m.number(not value if parameter is Parameter.NAGLE else value, octets)
        await self._done(Group.TCP, Tcp.CONFIGURE_SOCKET, m.number(number) + m.number(parameter) + m.text(setting))

    def _socket(self, number: int) -> _Socket:
        if number not in self._sockets:
            raise AppError("EBADF", f"there is no socket {number}")
        return self._sockets[number]

    async def _done(self, group: Group, primitive: int, data: bytes = b"") -> Message:
        """Make a request; return its response. Raises AppError where that reports an error, and AgentFault."""
        response = await self._ask(group, primitive, data)
        _raise_for(response)
        return response

    async def _ask(self, group: Group, primitive: int, data: bytes = b"", *, wait_s: float = ANSWER_S) -> Message:
        """Make a request, again where it may have been lost; return its response. Raises AgentFault."""
        if self._fault:
            raise AgentFault(self._fault)
        session = next(self._session)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._asked[session] = (group, primitive), future
        again = self._transport.loses and (self._gives_back or (group, primitive) in _REPEATABLE)
        try:
            async with asyncio.timeout(wait_s):
                self._send(group, primitive, data, session)
                while again and not (await asyncio.wait([future], timeout=_AGAIN_S))[0]:
                    self._send(group, primitive, data, session)
                return await future
        except TimeoutError:
            name = _named(group, primitive)
            raise AgentFault(f"{self.name}: the upper tester did not answer {name} within {wait_s:g} s") from None
        finally:
            self._asked.pop(session, None)

    def _send(self, group: Group, primitive: int, data: bytes, session: int) -> None:
        request = Message(group, primitive, Kind.REQUEST, data, session=session, service=self._service)
        self._transport.send(request.encode())

    def _take(self, octets: bytes) -> None:
        """Take a message: a response goes to what waits for it, an event to its socket."""
        try:
            message = m.decode(octets)
            if message.kind is Kind.RESPONSE:
                self._respond(message)
            elif message.kind is Kind.EVENT and message.group == Group.TCP:
                self._note(message)
        except Garbled as error:
            self._fail(f"the upper tester breaks the protocol: {error}")

    def _respond(self, message: Message) -> None:
        what, future = self._asked.get(message.session, (None, None))
        if what == (message.group, message.primitive):
            self._gives_back = self._gives_back or message.session != 0
        else:  # it does not give the session back: the eldest request of this kind
            alike = (one for what, one in self._asked.values() if what == (message.group, message.primitive))
            future = next((one for one in alike if not one.done()), None)
        if future is not None and not future.done():
            future.set_result(message)

    def _note(self, message: Message) -> None:
        given = Parameters(message.data)
        if message.primitive == Tcp.LISTEN_AND_ACCEPT:
            listening, number, port, address = given.number(), given.number(), given.number(), given.address()
            if listening in self._sockets and number not in self._sockets:
                self._sockets[number] = _Socket()
                self._sockets[listening].accepted.append((number, port, address))
                self._sockets[listening].news.set()
        elif message.primitive == Tcp.RECEIVE_AND_FORWARD:
            socket = self._receiving(message.session)
            if socket is None:
                return  # of a socket that is closed
            whole, text = (given.number(), given.text()) if message.data else (0, b"")
            socket.text += text
            socket.asked = max(0, socket.asked - len(text))
            if message.result != m.OK:
                socket.failed = message.result
            elif not whole:
                socket.ended = True
            socket.news.set()

    def _receiving(self, session: int) -> _Socket | None:
        """Return the socket that an event is about: it names none, but may give back the session of the request."""
        waiting = [socket for socket in self._sockets.values() if socket.asked]
        return next((socket for socket in waiting if socket.session == session), next(iter(waiting), None))

    def _fail(self, why: str) -> None:
        self._fault = self._fault or f"{self.name}: {why}"
        for _, future in self._asked.values():
            if not future.done():
                future.set_exception(AgentFault(self._fault))
        for socket in self._sockets.values():
            socket.news.set()


_Make = Callable[[UpperTester, Mapping[str, Any], float], Coroutine[Any, Any, dict[str, Any]]]
_MAKE: Final[Mapping[str, _Make]] = {
    "hello": UpperTester._hello,
    "listen": UpperTester._listen,
    "accept": UpperTester._accept,
    "connect": UpperTester._connect,
    "connected": UpperTester._connected,
    "send": UpperTester._send_data,
    "receive": UpperTester._receive,
    "shutdown": UpperTester._shutdown,
    "close": UpperTester._close,
    "abort": UpperTester._abort,
    "option_set": UpperTester._option_set,
}


def _repeated(data: bytes, longest: int) -> bytes | None:
    """Return the shortest text that makes up `data` when it is repeated, None where it is longer than that.

    SEND_DATA repeats its text up to the length that it is asked for.
    """
    size = data.find(data[:1], 1, longest + 1)
    while size > 0 and data[size:] != data[:-size]:
        size = data.find(data[:1], size + 1, longest + 1)
    return data[:size] if size > 0 else None


def _named(group: int, primitive: int) -> str:
    return General(primitive).name if group == Group.GENERAL else Tcp(primitive).name


def _error(result: int) -> AppError:
    code, words = m.RESULTS.get(result, ("EIO", f"result {result:#04x}"))
    return AppError(code, words)


def _raise_for(response: Message) -> None:
    """Raise AppError where a response reports an error."""
    if response.result != m.OK:
        raise _error(response.result)
