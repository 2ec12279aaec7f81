#!/usr/bin/env python3
"""An upper tester of AUTOSAR's Testability Protocol 1.2.0 for TCP, on the sockets of the host that it runs on.

    python3 upper_tester.py 10000             # UDP
    python3 upper_tester.py 10000 --tcp

It needs Python 3.11 and nothing else. `Sockets` is what an upper tester asks of a stack: one of another stack takes its place.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import ipaddress
import itertools
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

HEADER = struct.Struct("!HBBIIBBBB")
SERVICE, REQUEST, EVENT, RESPONSE = 0x0105, 0x00, 0x02, 0x80
GENERAL, TCP = 0x00, 0x02
GET_VERSION, START_TEST, END_TEST = 1, 2, 3
CLOSE_SOCKET, CREATE_AND_BIND, SEND_DATA, RECEIVE_AND_FORWARD = 0, 1, 2, 3
LISTEN_AND_ACCEPT, CONNECT, CONFIGURE_SOCKET, SHUTDOWN = 4, 5, 6, 7
TTL, TOS, MSS, NAGLE = 0, 4, 5, 6
URGENT = 1 << 5
ANY_PORT = LIMITLESS = 0xFFFF
E_OK, E_NOK, E_NTF, E_INV, E_ISD, E_UCS, E_UBS = 0x00, 0x01, 0xFF, 0xFC, 0xEF, 0xEE, 0xED
RESULTS = {
    errno.EADDRINUSE: E_UBS,
    errno.EADDRNOTAVAIL: E_UBS,
    errno.EBADF: E_ISD,
    errno.EINVAL: E_INV,
    errno.EMFILE: E_UCS,
    errno.ENOBUFS: 0xE8,
    errno.EISCONN: 0xE7,
    errno.EPIPE: 0xE6,
    errno.ENOTCONN: 0xE5,
    errno.ECONNRESET: 0xE4,
    errno.ETIMEDOUT: 0xE3,
    errno.ECONNREFUSED: 0xE2,
}
"""By errno, the result id that says the same."""
_REMEMBERED = 256
_BACKLOG = 64
AT_ONCE_S = 0.005
"""What the stack takes, or refuses, within that time has been done when the response leaves."""

Peer = Any
Send = Callable[[bytes, Peer], None]


class Sockets(Protocol):
    """The stack's sockets, by numbers. Every method raises OSError."""

    async def create(self, bind: bool, port: int, address: str) -> int:
        """Return a new socket, bound where that is asked for."""

    async def configure(self, number: int, parameter: int, value: int) -> None:
        """Set TTL, TOS, MSS or NAGLE."""

    async def listen(self, number: int) -> None:
        """Begin to take connections."""

    async def accept(self, number: int) -> tuple[int, int, str]:
        """Wait for a connection: its socket, and the peer's port and address."""

    async def connect(self, number: int, port: int, address: str) -> None:
        """Connect; return when the connection is there."""

    async def send(self, number: int, data: bytes, urgent: bool) -> None:
        """Write all of it; return when the stack has taken it."""

    async def receive(self, number: int, most: int) -> bytes:
        """Wait for text and return it, nothing at the end of the stream."""

    async def shutdown(self, number: int, how: int) -> None:
        """Close receiving (0), sending (1) or both (2)."""

    async def close(self, number: int, abort: bool) -> None:
        """Close the socket, or reset its connection."""


class HostSockets:
    """The sockets of this host."""

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._numbers = itertools.cycle(range(1, 0xFFFF))
        self._connecting: dict[int, asyncio.Future[None]] = {}

    async def create(self, bind: bool, port: int, address: str) -> int:
        version = ipaddress.ip_address(address).version
        one = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
        one.setblocking(False)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)  # urgent text is text (RFC 6093 section 6)
            if bind:
                one.bind((address, 0 if port == ANY_PORT else port))
        except OSError:
            one.close()
            raise
        return self._keep(one)

    async def configure(self, number: int, parameter: int, value: int) -> None:
        v6 = self._of(number).family == socket.AF_INET6
        level, name, setting = {
            TTL: (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, value) if v6 else (0, socket.IP_TTL, value),
            TOS: (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, value) if v6 else (0, socket.IP_TOS, value),
            MSS: (socket.IPPROTO_TCP, socket.TCP_MAXSEG, value),
            NAGLE: (socket.IPPROTO_TCP, socket.TCP_NODELAY, int(not value)),
        }[parameter]
        self._of(number).setsockopt(level, name, setting)

    async def listen(self, number: int) -> None:
        self._of(number).listen(_BACKLOG)

    async def accept(self, number: int) -> tuple[int, int, str]:
        one, (address, port, *_) = await _loop().sock_accept(self._of(number))
        one.setblocking(False)
        return self._keep(one), port, address

    async def connect(self, number: int, port: int, address: str) -> None:
        connecting = asyncio.ensure_future(_loop().sock_connect(self._of(number), (address, port)))
        self._connecting[number] = connecting
        try:
            await connecting
        finally:
            self._connecting.pop(number, None)

    async def send(self, number: int, data: bytes, urgent: bool) -> None:
        one = self._of(number)
        if number in self._connecting:  # asyncio watches a socket for one purpose at a time
            await asyncio.wait([self._connecting[number]])
        if urgent:
            one.send(data, socket.MSG_OOB)
        else:
            await _loop().sock_sendall(one, data)

    async def receive(self, number: int, most: int) -> bytes:
        return await _loop().sock_recv(self._of(number), most)

    async def shutdown(self, number: int, how: int) -> None:
        self._of(number).shutdown(how)

    async def close(self, number: int, abort: bool) -> None:
        one = self._of(number)
        del self._sockets[number]
        if abort:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        _loop().remove_reader(one)
        _loop().remove_writer(one)
        one.close()

    def _keep(self, one: socket.socket) -> int:
        number = next(number for number in self._numbers if number not in self._sockets)
        self._sockets[number] = one
        return number

    def _of(self, number: int) -> socket.socket:
        if number not in self._sockets:
            raise OSError(errno.EBADF, "no such socket")
        return self._sockets[number]


class UpperTester:
    """Requests in, responses and events out."""

    def __init__(self, sockets: Sockets, send: Send) -> None:
        self._sockets, self._send = sockets, send
        self._open: set[int] = set()
        self._tasks: dict[int, set[asyncio.Task[None]]] = {}
        self._writing: dict[int, asyncio.Task[None]] = {}
        self._answered: dict[tuple[Peer, int], bytes] = {}

    def take(self, octets: bytes, peer: Peer) -> None:
        """Take one request. What was asked before, with the same session, has the same answer."""
        if len(octets) < HEADER.size:
            return
        service, group, primitive, length, session, *versions, kind, _ = HEADER.unpack_from(octets)
        if service != SERVICE or kind != REQUEST or versions != [1, 1] or length != len(octets) - 8:
            return
        if session and (peer, session) in self._answered:
            if answer := self._answered[peer, session]:
                self._send(answer, peer)
            return
        self._answered[peer, session] = b""
        self._task(0, self._answer(group, primitive, octets[HEADER.size :], session, peer))

    async def end(self) -> None:
        """Close every socket, and stop what waits for one."""
        for number in list(self._open):
            await self._close(number, abort=True)

    async def _answer(self, group: int, primitive: int, data: bytes, session: int, peer: Peer) -> None:
        def event(parameters: bytes, result: int = E_OK) -> None:
            self._send(_message((group, primitive), EVENT, session, parameters, result), peer)

        make = _PRIMITIVES.get((group, primitive))
        result, parameters = E_NTF, b""
        if make is not None:
            try:
                result, parameters = E_OK, await make(self, _Taken(data), event)
            except OSError as error:
                result = RESULTS.get(error.errno or 0, E_NOK)
            except (KeyError, ValueError):
                result = E_INV
        answer = _message((group, primitive), RESPONSE, session, parameters, result)
        self._answered[peer, session] = answer
        while len(self._answered) > _REMEMBERED:
            del self._answered[next(iter(self._answered))]
        self._send(answer, peer)

    async def _version(self, _: _Taken, __: Event) -> bytes:
        return struct.pack("!HHH", 1, 2, 0)

    async def _start(self, _: _Taken, __: Event) -> bytes:
        return b""

    async def _end_test(self, _: _Taken, __: Event) -> bytes:
        await self.end()
        self._answered.clear()
        return b""

    async def _create(self, given: _Taken, _: Event) -> bytes:
        number = await self._sockets.create(bool(given.number(1)), given.number(), given.address())
        self._open.add(number)
        return _u16(number)

    async def _configure(self, given: _Taken, _: Event) -> bytes:
        number, parameter, value = given.number(), given.number(), given.text()
        if parameter not in (TTL, TOS, MSS, NAGLE):
            raise KeyError(parameter)
        await self._sockets.configure(number, parameter, int.from_bytes(value, "big"))
        return b""

    async def _listen(self, given: _Taken, event: Event) -> bytes:
        number, most = given.number(), given.number()
        await self._sockets.listen(number)

        async def accept() -> None:
            for _ in range(most):
                other, port, address = await self._sockets.accept(number)
                self._open.add(other)
                event(_u16(number) + _u16(other) + _u16(port) + _vint8(ipaddress.ip_address(address).packed))

        self._task(number, accept())
        return b""

    async def _connect(self, given: _Taken, _: Event) -> bytes:
        await self._sockets.connect(given.number(), given.number(), given.address())
        return b""

    async def _send_data(self, given: _Taken, _: Event) -> bytes:
        number, total, flags, text = given.number(), given.number(), given.number(1), given.text()
        if number not in self._open:
            raise OSError(errno.EBADF, "no such socket")
        data = (text * (total // max(1, len(text)) + 1))[: max(total, len(text))]
        before = self._writing.get(number)

        async def write() -> None:
            if before is not None:
                await asyncio.wait([before])
            await self._sockets.send(number, data, bool(flags & URGENT))

        self._writing[number] = self._task(number, write())
        await asyncio.wait([self._writing[number]], timeout=AT_ONCE_S)
        if self._writing[number].done() and (error := self._writing[number].exception()):
            raise error
        return b""

    async def _receive(self, given: _Taken, event: Event) -> bytes:
        number, forwarded, most = given.number(), given.number(), given.number()
        if number not in self._open:
            raise OSError(errno.EBADF, "no such socket")

        async def receive() -> None:
            left = float("inf") if most == LIMITLESS else most
            while left:
                try:
                    data = await self._sockets.receive(number, int(min(left, 0x8000)))
                except OSError as error:
                    event(_u16(0) + _vint8(b""), RESULTS.get(error.errno or 0, E_NOK))
                    return
                event(_u16(len(data)) + _vint8(data[:forwarded]))
                if not data:
                    return
                left -= len(data)

        self._task(number, receive())
        return _u16(0)

    async def _shutdown(self, given: _Taken, _: Event) -> bytes:
        number, how = given.number(), given.number(1)
        if number not in self._open:
            raise OSError(errno.EBADF, "no such socket")
        await self._written(number)
        await self._sockets.shutdown(number, how)
        return b""

    async def _close_socket(self, given: _Taken, _: Event) -> bytes:
        number, abort = given.number(), bool(given.number(1))
        if number not in self._open:
            raise OSError(errno.EBADF, "no such socket")
        if not abort:
            await self._written(number)
        await self._close(number, abort=abort)
        return b""

    async def _close(self, number: int, *, abort: bool) -> None:
        self._open.discard(number)
        self._writing.pop(number, None)
        for task in self._tasks.pop(number, set()):
            task.cancel()
        with contextlib.suppress(OSError):
            await self._sockets.close(number, abort)

    async def _written(self, number: int) -> None:
        if (writing := self._writing.get(number)) is not None and not writing.done():
            await asyncio.wait([writing], timeout=1.0)

    def _task(self, number: int, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run what belongs to a socket, until that is closed."""
        task = asyncio.create_task(work)
        tasks = self._tasks.setdefault(number, set())
        tasks.add(task)

        def done(ended: asyncio.Task[None]) -> None:
            tasks.discard(ended)
            if not ended.cancelled() and (error := ended.exception()) and not isinstance(error, OSError):
                print(f"upper tester: {error!r}", file=sys.stderr)

        task.add_done_callback(done)
        return task


Event = Callable[..., None]
_PRIMITIVES: dict[tuple[int, int], Callable[[UpperTester, _Taken, Event], Awaitable[bytes]]] = {
    (GENERAL, GET_VERSION): UpperTester._version,
    (GENERAL, START_TEST): UpperTester._start,
    (GENERAL, END_TEST): UpperTester._end_test,
    (TCP, CLOSE_SOCKET): UpperTester._close_socket,
    (TCP, CREATE_AND_BIND): UpperTester._create,
    (TCP, SEND_DATA): UpperTester._send_data,
    (TCP, RECEIVE_AND_FORWARD): UpperTester._receive,
    (TCP, LISTEN_AND_ACCEPT): UpperTester._listen,
    (TCP, CONNECT): UpperTester._connect,
    (TCP, CONFIGURE_SOCKET): UpperTester._configure,
    (TCP, SHUTDOWN): UpperTester._shutdown,
}


class _Taken:
    """Parameters, one by one; ValueError where too few octets are left."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def number(self, octets: int = 2) -> int:
        return int.from_bytes(self._take(octets), "big")

    def text(self) -> bytes:
        return self._take(self.number())

    def address(self) -> str:
        return str(ipaddress.ip_address(self.text()))

    def _take(self, count: int) -> bytes:
        if len(self._left) < count:
            raise ValueError("too few octets")
        taken, self._left = self._left[:count], self._left[count:]
        return taken


def _u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def _vint8(value: bytes) -> bytes:
    return _u16(len(value)) + value


def _message(what: tuple[int, int], kind: int, session: int, parameters: bytes, result: int) -> bytes:
    group, primitive = what[0] | (0x80 if kind == EVENT else 0), what[1]
    return HEADER.pack(SERVICE, group, primitive, 8 + len(parameters), session, 1, 1, kind, result) + parameters


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


async def serve_udp(address: str, port: int) -> None:
    """Serve for ever; a message is a datagram."""

    class Datagrams(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.tester = UpperTester(HostSockets(), transport.sendto)

        def datagram_received(self, data: bytes, addr: Peer) -> None:
            self.tester.take(data, addr)

    await _loop().create_datagram_endpoint(Datagrams, local_addr=(address, port))
    print("ready", flush=True)
    await asyncio.Event().wait()


async def serve_tcp(address: str, port: int) -> None:
    """Serve for ever, one tester after the other; messages follow each other, each with its length."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tester = UpperTester(HostSockets(), lambda message, _: writer.write(message))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readexactly(8)
                tester.take(head + await reader.readexactly(int.from_bytes(head[4:8], "big")), None)
        await tester.end()
        writer.close()

    server = await asyncio.start_server(serve, address, port)
    print("ready", flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve on a port until interrupted."""
    parser = argparse.ArgumentParser(description="An upper tester on this host's sockets.")
    parser.add_argument("port", type=int)
    parser.add_argument("--tcp", action="store_true", help="over TCP instead of UDP")
    parser.add_argument("--address", default="0.0.0.0", help="where to serve (default: everywhere)")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run((serve_tcp if options.tcp else serve_udp)(options.address, options.port))


if __name__ == "__main__":
    main()
