"""The way to an upper tester: UDP or TCP from this machine's own stack, beside the wire under test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from conformance.target import AgentFault
from conformance.target.testability.messages import Garbled, size_of

Take = Callable[[bytes], None]
Fail = Callable[[str], None]
_CONNECT_S = 5.0


class Transport(Protocol):
    """Carries whole messages both ways."""

    loses: bool
    """True where a message may be lost, and has to be sent again."""
    longest: int
    """Octets of text in one message, at most."""

    async def open(self, take: Take, fail: Fail) -> None:
        """Begin; `take` gets each message's octets, `fail` the line that says why no more will come. Raises AgentFault."""

    def send(self, message: bytes) -> None:
        """Send one message."""

    def close(self) -> None:
        """End; nothing is taken any more."""


class UdpTransport(asyncio.DatagramProtocol):
    """A message is a datagram."""

    loses = True
    longest = 1400  # in one packet: a device need not put fragments together

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, take: Take, fail: Fail) -> None:
        """See Transport. A closed port shows with the first message."""
        self._take, self._fail = take, fail
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.create_datagram_endpoint(lambda: self, remote_addr=(self._host, self._port))
        except OSError as error:
            raise AgentFault(f"no way to the upper tester at {self._host}: {error.strerror}") from None

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Hand on a message."""
        self._take(data)

    def error_received(self, exc: Exception) -> None:
        """Say that nobody is there (ICMP port unreachable)."""
        reason = getattr(exc, "strerror", None) or str(exc)
        self._fail(f"the upper tester at {self._host}, UDP port {self._port}: {reason}")

    def send(self, message: bytes) -> None:
        """See Transport."""
        assert self._transport is not None
        self._transport.sendto(message)

    def close(self) -> None:
        """See Transport."""
        if self._transport is not None:
            self._transport.close()


class TcpTransport:
    """Messages one behind the other; each says how long it is."""

    loses = False
    longest = 0xFFFF

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, take: Take, fail: Fail) -> None:
        """See Transport."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                reader, self._writer = await asyncio.open_connection(self._host, self._port)
        except (OSError, TimeoutError) as error:
            why = getattr(error, "strerror", None) or f"no answer within {_CONNECT_S:g} s"
            raise AgentFault(f"the upper tester at {self._host}, TCP port {self._port}: {why}") from None
        self._task = asyncio.create_task(self._read(reader, take, fail))

    async def _read(self, reader: asyncio.StreamReader, take: Take, fail: Fail) -> None:
        waiting, why = b"", "the upper tester closed its connection"
        try:
            while octets := await reader.read(1 << 16):
                waiting += octets
                while 0 < (size := size_of(waiting)) <= len(waiting):
                    message, waiting = waiting[:size], waiting[size:]
                    take(message)
        except OSError as error:
            why = f"the connection to the upper tester broke: {error.strerror}"
        except Garbled as error:
            why = f"the upper tester breaks the protocol: {error}"
        fail(why)

    def send(self, message: bytes) -> None:
        """See Transport."""
        assert self._writer is not None
        self._writer.write(message)

    def close(self) -> None:
        """See Transport."""
        if self._task is not None:
            self._task.cancel()
        if self._writer is not None:
            self._writer.close()
