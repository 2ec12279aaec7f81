"""The embedded lab with an observer beside it, and a sender that is not us."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

from conformance.case.case import Case
from conformance.standard.profile import profile
from conformance.target.netns import NetnsTarget
from conformance.tester.clock import SECOND, Clock
from conformance.tester.station import Station

_SO_TIMESTAMPNS, _SO_RCVBUFFORCE, _PACKET_OUTGOING = 35, 33, 4
_TIMESPEC = struct.Struct("=qq")
# Waits until the loop sleeps, then sends what is on its standard input as fast as it can.
_SENDER = """
import socket, struct, sys, time
sock = socket.socket(fileno=int(sys.argv[1]))
while head := sys.stdin.buffer.read(2):
    frames = []
    for _ in range(*struct.unpack("=H", head)):
        frames.append(sys.stdin.buffer.read(*struct.unpack("=H", sys.stdin.buffer.read(2))))
    time.sleep(0.003)
    for frame in frames:
        sock.send(frame)
"""


@dataclass(frozen=True)
class Observed:
    """A frame as the observer's packet socket saw it: `at_ns` is that socket's own SO_TIMESTAMPNS stamp."""

    at_ns: int
    outgoing: bool
    data: bytes


class Lab:
    """The embedded lab for measurements: cases as a run makes them, without pytest."""

    def __init__(self, target: NetnsTarget) -> None:
        assert target.capture_socket is not None
        self.target, self.clock = target, Clock()
        self.station = Station(target, self.clock)
        self._profile = profile(target.profile)
        self.capture = target.capture_socket
        self.capture.setblocking(False)
        self.capture.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        try:
            self.capture.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        except PermissionError:
            self.capture.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)

    @asynccontextmanager
    async def cases(self, count: int) -> AsyncIterator[list[Case]]:
        """So many cases of their own, over IPv4, made known to the target."""
        async with AsyncExitStack() as stack:
            cases = []
            for _ in range(count):
                case = Case(station=self.station, target=self.target, profile=self._profile, clock=self.clock, family=4)
                stack.push_async_callback(case.close)
                await case.open()
                cases.append(case)
            yield cases

    def observed(self) -> list[Observed]:
        """Return the frames that the observer saw since the last call."""
        seen: list[Observed] = []
        while True:
            try:
                data, ancillary, _, address = self.capture.recvmsg(65536, 256)
            except BlockingIOError:
                return seen
            for level, kind, stamp in ancillary:
                if level == socket.SOL_SOCKET and kind == _SO_TIMESTAMPNS:
                    seconds, nanoseconds = _TIMESPEC.unpack_from(stamp)
                    seen.append(Observed(seconds * SECOND + nanoseconds, address[2] == _PACKET_OUTGOING, data))

    @contextmanager
    def sender(self) -> Iterator[Callable[[Sequence[bytes]], None]]:
        """A process of its own that sends frames while the loop is asleep; called with the frames of one burst.

        It has a processor of its own where there are two: the kernel else likes to wake the loop where the sender is running.
        """
        processors = os.sched_getaffinity(0)
        command = [sys.executable, "-I", "-S", "-c", _SENDER, str(self.capture.fileno())]
        with subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[self.capture.fileno()]) as process:
            pipe = process.stdin
            assert pipe is not None
            if len(processors) > 1:
                apart = max(processors)
                os.sched_setaffinity(process.pid, {apart})
                os.sched_setaffinity(0, processors - {apart})  # this thread: the loop's

            def send(frames: Sequence[bytes]) -> None:
                text = b"".join(struct.pack("=H", len(frame)) + frame for frame in frames)
                pipe.write(struct.pack("=H", len(frames)) + text)
                pipe.flush()

            try:
                yield send
            finally:
                os.sched_setaffinity(0, processors)


@asynccontextmanager
async def open_lab() -> AsyncIterator[Lab]:
    """Make the lab. Raises HarnessFault."""
    target = NetnsTarget(capture=True)
    try:
        await target.open()
        yield Lab(target)
    finally:
        await target.close()
