"""Frames through an AF_PACKET socket, stamped by the kernel both ways."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import fcntl
import socket
import struct
import time

from conformance.link import FaultHandler, FrameHandler, Heard, LinkError
from conformance.link.socket_filter import FOREIGN_OCTETS, SAMPLED, attach
from conformance.wire.offload import HEADER_OCTETS, PLAIN, CannotSplit, as_merged, as_wired

# Linux's numbers; Python names none of them.
SO_TIMESTAMPNS = 35
_SO_TIMESTAMPING, _SO_RCVBUFFORCE = 37, 33
_SOL_PACKET, _PACKET_IGNORE_OUTGOING, _PACKET_TX_TIMESTAMP, _PACKET_VNET_HDR = 263, 23, 16, 15
_PACKET_STATISTICS = 6
_TX_SOFTWARE, _SOFTWARE, _OPT_ID, _OPT_TSONLY = 1 << 1, 1 << 4, 1 << 7, 1 << 11
_TIMESPEC = struct.Struct("=qq")
_EXTENDED_ERROR = struct.Struct("=IBBBxII")
_STATISTICS = struct.Struct("=II")  # struct tpacket_stats: packets, drops
_STAMP_WAIT_S = 0.05
_SIOCGIFFLAGS, _SIOCGIFMTU, _IFNAMSIZ, _IFREQ = 0x8913, 0x8921, 16, 40
_SIOCETHTOOL = 0x8946
# ETHTOOL_GTXCSUM, GTSO, GGSO, GGRO and GFLAGS of linux/ethtool.h, and the bit of the answer.
_ETHTOOL = {"tx": (0x16, 1), "tso": (0x1E, 1), "gso": (0x23, 1), "gro": (0x2B, 1), "lro": (0x25, 1 << 15)}
_ETHERNET, _NONE, _UP = 1, 0xFFFE, 1  # ARPHRD_ETHER and ARPHRD_NONE of linux/if_arp.h, IFF_UP of linux/if.h
_BATCH = 64
_LARGEST = 65536 + 64  # a merged IP packet, with the headers before it
OFFLOADS_OFF = "ethtool -K IF tx off tso off gso off gro off"
"""The command that has an interface put on the wire, and hand up, what the wire carries."""


def packet_socket(interface: str) -> socket.socket:
    """Return a packet socket on an interface of this namespace that is up, of Ethernet or IP alone. Raises LinkError."""
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    except PermissionError:
        raise LinkError(f"{interface}: no right to raw sockets: run as root, or give python CAP_NET_RAW") from None
    try:
        sock.bind((interface, 0))
    except OSError as error:
        sock.close()
        raise LinkError(f"{interface}: {error.strerror}") from None
    hardware = sock.getsockname()[3]
    (flags,) = struct.unpack_from("=H", _asked(sock, interface, _SIOCGIFFLAGS), _IFNAMSIZ)
    wrong = ""
    if hardware not in (_ETHERNET, _NONE):
        wrong = "carries neither Ethernet frames nor IP packets: name a TAP or TUN interface, a veth or a bridge"
    elif not flags & _UP:
        wrong = f"is down: ip link set {interface} up"
    if wrong:
        sock.close()
        raise LinkError(f"{interface} {wrong}")
    return sock


def carries_packets(sock: socket.socket) -> bool:
    """Tell whether the interface carries IP packets alone, without any header of a link, as a TUN does."""
    return bool(sock.getsockname()[3] == _NONE)


def mtu(sock: socket.socket, interface: str) -> int:
    """Return how many octets an IP packet on that interface may have. Raises OSError."""
    return int(struct.unpack_from("=i", _asked(sock, interface, _SIOCGIFMTU), _IFNAMSIZ)[0])


def offloads(sock: socket.socket, interface: str) -> list[str]:
    """Return the names, as ethtool has them, of the offloads that are on at that interface. Raises OSError."""
    names = []
    for name, (number, bit) in _ETHTOOL.items():
        value = ctypes.create_string_buffer(struct.pack("=II", number, 0))
        request = struct.pack("16sP16x", interface.encode(), ctypes.addressof(value))
        try:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
        except OSError:  # an interface that can't do it
            continue
        if struct.unpack("=II", value.raw[:8])[1] & bit:
            names.append(name)
    return names


def _asked(sock: socket.socket, interface: str, number: int) -> bytes:
    return bytes(fcntl.ioctl(sock, number, interface.encode().ljust(_IFREQ, b"\0")))


class PacketLink:
    """A link over a bound packet socket: SO_TIMESTAMPNS on what arrives, SO_TIMESTAMPING (software) on what leaves.

    With `offload` the interfaces of both ends may finish checksums and merge segments: the kernel says so of each frame
    (PACKET_VNET_HDR), and what is delivered is what the wire carries. Without, nobody offloads. `only` is the filter (see
    socket_filter.program) for what may arrive once the link is open.
    """

    def __init__(self, sock: socket.socket, mac: str, name: str, *, offload: bool = False, only: bytes = b"") -> None:
        self.mac = mac
        self._offload, self._only = offload, only
        self._before = b""
        """The octets before each frame in the socket."""
        self._sock, self._name = sock, name
        self._foreign = 0
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
        if self._offload:
            try:
                sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
                self._before = PLAIN
            except OSError:  # whoever opens the link looks at `sees_offload`
                pass
        if self._only:
            with contextlib.suppress(OSError):  # where a sandbox has no filters, all is read
                attach(sock, self._only)
        self.heard()  # what was lost before is no loss of ours
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    @property
    def sees_offload(self) -> bool:
        """Return True if the kernel says what an interface left undone of each frame; known once the link is open."""
        return bool(self._before)

    def send(self, frame: bytes) -> int:
        """Put a frame on the wire; returns the number by which `sent_at` knows it. Raises LinkError."""
        try:
            self._sock.send(self._before + frame)
        except OSError as error:
            if error.errno != errno.EMSGSIZE or not self._send_merged(frame):
                raise LinkError(f"{self._name}: a frame can't be sent: {error.strerror}") from None
        self._sent += 1
        return self._sent

    def _send_merged(self, frame: bytes) -> bool:
        """Send a TCP frame above the MTU as a receive offload would have merged it; False where that can't be done."""
        try:
            merged = as_merged(frame, mtu(self._sock, self._name))
            self._sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
            try:
                self._sock.send(merged)
            finally:  # read frames have the header only where that was asked for
                self._sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, int(bool(self._before)))
        except (CannotSplit, OSError):
            return False
        return True

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

    def heard(self) -> Heard:
        """Return how well the interface was heard since the last call: the kernel's count, which a look sets back."""
        try:
            _, lost = _STATISTICS.unpack(self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size))
        except OSError:  # closed, or a sandbox that does not count
            lost = 0
        foreign, self._foreign = self._foreign, 0
        return Heard(lost, foreign)

    def close(self) -> None:
        """Let go of the interface."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._sock)
        self._sock.close()

    def _readable(self) -> None:
        for _ in range(_BATCH):
            try:
                frame, ancillary, flags, _ = self._sock.recvmsg(_LARGEST, 256)
            except BlockingIOError:
                break
            except OSError as error:
                self._fault(error)
                return
            at_ns = stamp_of(ancillary) or time.time_ns()
            if len(frame) == len(self._before) + FOREIGN_OCTETS:
                self._foreign += SAMPLED
            elif not self._before:
                self._on_frame(frame, at_ns)
            elif frame.startswith(PLAIN):
                self._on_frame(frame[HEADER_OCTETS:], at_ns)
            else:
                self._deliver_wired(frame, at_ns, whole=not flags & socket.MSG_TRUNC)
        self._read_stamps()

    def _deliver_wired(self, frame: bytes, at_ns: int, *, whole: bool) -> None:
        """Deliver a frame on which something was left to do as the frames that the wire carries."""
        try:
            frames = as_wired(frame) if whole else []
        except CannotSplit as broken:
            self._on_fault(f"interface {self._name} merges frames ({broken}): run `{OFFLOADS_OFF}` at both ends")
            return
        if not whole:
            self._on_fault(f"interface {self._name} merges frames above 64 KiB: run `{OFFLOADS_OFF}` at both ends")
        for wired, mark in frames:
            self._on_frame(wired, at_ns, mark)

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
        if self._before and error.errno == errno.EINVAL:
            what = f"merges frames of a kind that can't be split: run `{OFFLOADS_OFF}` at both ends"
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
