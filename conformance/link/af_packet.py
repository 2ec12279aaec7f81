"""Frames through an AF_PACKET socket, stamped by the kernel both ways."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
import time

from conformance.link import FaultHandler, FrameHandler, LinkError

# Linux's numbers; Python names none of them.
SO_TIMESTAMPNS = 35
_SO_TIMESTAMPING, _SO_RCVBUFFORCE = 37, 33
_SOL_PACKET, _PACKET_IGNORE_OUTGOING, _PACKET_TX_TIMESTAMP = 263, 23, 16
_TX_SOFTWARE, _SOFTWARE, _OPT_ID, _OPT_TSONLY = 1 << 1, 1 << 4, 1 << 7, 1 << 11
_TIMESPEC = struct.Struct("=qq")
_EXTENDED_ERROR = struct.Struct("=IBBBxII")
_STAMP_WAIT_S = 0.05
_BATCH = 64


def packet_socket(interface: str) -> socket.socket:
    """A packet socket on an interface of this namespace. Raises LinkError."""
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    except PermissionError:
        raise LinkError(f"{interface}: no right to raw sockets: run as root, or give python CAP_NET_RAW") from None
    try:
        sock.bind((interface, 0))
    except OSError as error:
        sock.close()
        raise LinkError(f"{interface}: {error.strerror}") from None
    return sock


class PacketLink:
    """A link over a bound packet socket: SO_TIMESTAMPNS on what arrives, SO_TIMESTAMPING (software) on what leaves."""

    def __init__(self, sock: socket.socket, mac: str, name: str) -> None:
        self.mac = mac
        self._sock, self._name = sock, name
        self._sent = -1
        self._stamps: dict[int, int] = {}
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, on_frame: FrameHandler, on_fault: FaultHandler) -> None:
        """Start to deliver frames on the running loop."""
        self._on_frame, self._on_fault = on_frame, on_fault
        sock = self._sock
        sock.setblocking(False)
        sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _TX_SOFTWARE | _SOFTWARE | _OPT_ID | _OPT_TSONLY)
        for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
            try:
                sock.setsockopt(socket.SOL_SOCKET, option, 16 << 20)
                break
            except PermissionError:
                continue
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    def send(self, frame: bytes) -> int:
        """Put a frame on the wire; returns the number by which `sent_at` knows it. Raises LinkError."""
        try:
            self._sock.send(frame)
        except OSError as error:
            raise LinkError(f"{self._name}: a frame can't be sent: {error.strerror}") from None
        self._sent += 1
        return self._sent

    async def sent_at(self, number: int) -> int:
        """The transmit stamp (ns since the epoch); the time of the call where the driver stamps nothing.

        On veth the stamp is there at once, and so is what the target answers: both are read here, so that an answer to that
        does not wait for all the tasks that are ready to run before the loop looks at the socket again.
        """
        self._readable()
        stamp = self._stamps.pop(number, None)
        if stamp is not None:
            return stamp
        called = time.time_ns()
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            return await asyncio.wait_for(future, _STAMP_WAIT_S)
        except TimeoutError:
            return called
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """Let go of the interface."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._sock)
        self._sock.close()

    def _readable(self) -> None:
        for _ in range(_BATCH):
            try:
                frame, ancillary, _, _ = self._sock.recvmsg(65536, 256)
            except BlockingIOError:
                break
            except OSError as error:
                self._fault(error)
                return
            self._on_frame(frame, stamp_of(ancillary) or time.time_ns())
        self._read_stamps()

    def _read_stamps(self) -> None:
        while True:
            try:
                _, ancillary, _, _ = self._sock.recvmsg(0, 256, socket.MSG_ERRQUEUE)
            except OSError:  # nothing there; a fault of the interface shows when reading or sending
                return
            stamp, number = stamp_of(ancillary), _number(ancillary)
            if stamp is None or number is None:
                continue
            future = self._waiting.get(number)
            if future is None:
                self._stamps[number] = stamp
                if len(self._stamps) > 65536:  # stamps that nobody asks for
                    self._stamps.clear()
            elif not future.done():
                future.set_result(stamp)

    def _fault(self, error: OSError) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._sock)
        what = "went down or vanished" if error.errno in (errno.ENETDOWN, errno.ENODEV, errno.ENXIO) else error.strerror
        self._on_fault(f"interface {self._name} {what}")


def stamp_of(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """The kernel's software stamp among the control messages, in ns."""
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind in (SO_TIMESTAMPNS, _SO_TIMESTAMPING):
            seconds, nanoseconds = _TIMESPEC.unpack_from(data)
            if seconds:
                return int(seconds * 1_000_000_000 + nanoseconds)
    return None


def _number(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    """Return the number of the frame that a transmit stamp belongs to (SOF_TIMESTAMPING_OPT_ID)."""
    for level, kind, data in ancillary:
        if level == _SOL_PACKET and kind == _PACKET_TX_TIMESTAMP:
            return int(_EXTENDED_ERROR.unpack_from(data)[5])
    return None
