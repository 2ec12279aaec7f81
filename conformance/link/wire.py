"""Frames through a socket of a pair that keeps messages apart: our end of the wire to a stack that is a process of its own."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections.abc import Callable

from conformance.link import FaultHandler, FrameHandler, Heard, LinkError
from conformance.link.af_packet import SO_TIMESTAMPNS, stamp_of

FRAME_LIMIT = 65536
_BATCH = 64
_SEND_S = 5.0


def send_frame(sock: socket.socket, frame: bytes, busy: Callable[[], None]) -> None:
    """Send, however full the other end is; what it sends meanwhile is read by `busy`. Raises LinkError."""
    until = time.monotonic() + _SEND_S
    while True:
        try:
            sock.send(frame)
        except BlockingIOError:
            busy()
            if time.monotonic() > until:
                raise LinkError(f"the stack has read no frame for {_SEND_S:g} s") from None
            select.select([], [sock], [], 0.01)
        except OSError as error:
            raise LinkError(f"the stack reads no frames any more: {error.strerror}") from None
        else:
            return


class WireLink:
    """A link over a connected SOCK_SEQPACKET socket, in real time: the kernel stamps what arrives."""

    def __init__(self, sock: socket.socket, mac: str) -> None:
        self.mac = mac
        self._sock = sock
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, on_frame: FrameHandler, on_fault: FaultHandler) -> None:
        """Start to deliver frames on the running loop."""
        self._on_frame, self._on_fault = on_frame, on_fault
        self._sock.setblocking(False)
        self._sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._sock, self._readable)

    def send(self, frame: bytes) -> int:
        """Put a frame on the wire; its number for `sent_at` is the time of the call. Raises LinkError."""
        called = time.time_ns()
        send_frame(self._sock, frame, self._readable)
        return called

    async def sent_at(self, number: int) -> int:
        """The time of the call: the frame is in the stack's queue when it returns. What the stack answered already is read."""
        self._readable()
        return number

    def heard(self) -> Heard:
        """Nothing is lost: a sender waits for room; and the wire has no others on it."""
        return Heard()

    def close(self) -> None:
        """Let go of the wire."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._sock)
        self._sock.close()

    def _readable(self) -> None:
        for _ in range(_BATCH):
            try:
                frame, ancillary, _, _ = self._sock.recvmsg(FRAME_LIMIT, 256)
            except BlockingIOError:
                return
            except OSError:
                frame, ancillary = b"", []
            if not frame:
                assert self._loop is not None
                self._loop.remove_reader(self._sock)
                self._on_fault("the stack has let go of the wire: its process ended")
                return
            self._on_frame(frame, stamp_of(ancillary) or time.time_ns())
