"""Virtual time: an event loop whose clock is that of a stack, and passes only where nothing can happen before.

The loop never waits for the machine. Where no callback is ready, it asks the stack to move its clock (`clock` of the agent
protocol) up to the loop's next timer; what the stack sends and answers on the way becomes ready, at that time. So
asyncio.sleep, wait_for and everything else that rests on the loop's clock runs in the stack's time, two hours as fast as a
second, and the same run twice gives the same intervals.

Frames and requests go to the stack on two ways. So that it always sees them in the same order, what went one way has been
dealt with before anything goes the other way.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import selectors
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from conformance.link import FaultHandler, FrameHandler, Heard, LinkError
from conformance.link.wire import FRAME_LIMIT, send_frame
from conformance.target import AgentFault
from conformance.target.agent_client import ANSWER_S, AgentClient
from conformance.target.protocol import LONGEST_LINE, Malformed, check_answer, shown

_T = TypeVar("_T")
_SECOND = 1_000_000_000
_IDLE_S = 3600.0
_MOST_FRAMES = 20_000
_MOST_IDLE = 100
_MOST_REPLIES = 20_000
_MOST_STILL = 1000
"""Give up a stack that so often in a row answers `clock` and neither moves it nor sends or answers anything."""
_SLOWEST, _SLOW_S = 1000, 30.0
"""A clock is as good as still that for so many seconds goes slower than the machine's by this factor."""
_WIRE_NS = 100_000  # from the stack to us: a stack may take a round trip of no time at all for none


class VirtualLink:
    """The wire to a stack with a clock of its own; every stamp is a time of that clock. See Link."""

    def __init__(self, machine: VirtualMachine, mac: str) -> None:
        self.mac, self._machine = mac, machine

    def open(self, on_frame: FrameHandler, on_fault: FaultHandler) -> None:
        """Deliver frames from now on."""
        self._machine.on_frame, self._machine.on_fault = on_frame, on_fault

    def send(self, frame: bytes) -> int:
        """Put a frame on the wire; its number for `sent_at` is the time. Raises LinkError."""
        return self._machine.send(frame)

    async def sent_at(self, number: int) -> int:
        """Return the time at which it was sent."""
        return number

    def heard(self) -> Heard:
        """Nothing is lost, and the wire has no others on it."""
        return Heard()

    def close(self) -> None:
        """Do nothing: the machine holds the wire."""


class _VirtualApp(AgentClient):
    """The agent of such a stack: its replies are read by the machine."""

    def __init__(self, machine: VirtualMachine, sock: socket.socket, name: str) -> None:
        super().__init__(sock, name)
        self._machine = machine

    def _write(self, line: bytes) -> None:
        self._machine.write(line)

    def write_clock(self, until_ns: int, frames_in: int) -> int:
        """Send the request `clock`; returns its number."""
        self._last += 1
        line = b'{"id":%d,"op":"clock","until_ns":%d,"frames_in":%d}\n' % (self._last, until_ns, frames_in)
        self._sock.sendall(line)
        return self._last

    def parse(self, line: bytes) -> dict[str, Any]:
        """See AgentClient; `at_ns` is in the time of the machine."""
        reply = super().parse(line)
        if reply.get("at_ns"):
            reply["at_ns"] += self._machine.ahead_ns
        return reply

    async def close(self) -> None:
        """Mark the agent as gone; the machine closes the pipe."""
        self._fault = self._fault or f"{self.name}: closed"


class _Selector(selectors.SelectSelector):
    """Tells when the loop has nothing to do but to wait. It looks at no descriptor: all that comes comes by the machine."""

    idle: Callable[[float | None], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            self.idle(timeout)
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, machine: VirtualMachine) -> None:
        self._machine = machine
        # Of this loop alone: asyncio.all_tasks walks over those of all loops, for each case over all cases of the run.
        self._tasks = weakref.WeakSet[asyncio.Task[Any]]()
        selector = _Selector()
        selector.idle = machine.idle
        super().__init__(selector)
        self.set_task_factory(self._make_task)

    def _make_task(self, _: asyncio.AbstractEventLoop, work: Any, **keywords: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(work, loop=self, **keywords)
        self._tasks.add(task)
        return task

    def time(self) -> float:
        return self._machine.elapsed_ns / _SECOND

    async def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Run `work`, and end the tasks that it left."""
        try:
            return await work()
        finally:
            left = [task for task in self._tasks if task is not asyncio.current_task() and not task.done()]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await self.shutdown_asyncgens()


class VirtualMachine:
    """A stack with its agent, and the loop that runs in its time. `run` does everything; it blocks its thread.

    `epoch_ns` is the time (ns since the epoch) that the clock shows at the beginning.
    """

    def __init__(self, channel: socket.socket, wire: socket.socket, *, name: str, mac: str, epoch_ns: int) -> None:
        self._channel, self._wire, self._epoch_ns = channel, wire, epoch_ns
        channel.setblocking(True)
        channel.settimeout(ANSWER_S)
        wire.setblocking(False)
        self.link, self.app = VirtualLink(self, mac), _VirtualApp(self, channel, name)
        self.on_frame: FrameHandler = lambda frame, at_ns, mark="": None
        self.on_fault: FaultHandler = lambda why: None
        self._start_ns = self._now_ns = 0
        self._frames_in = self._frames_out = 0
        self._lines: deque[bytes] = deque()
        self._replies: deque[dict[str, Any]] = deque()
        self._part = bytearray()
        self._poll = select.poll()
        for sock in (channel, wire):
            self._poll.register(sock, select.POLLIN)
        self._read: list[bytes] = []
        self._arrived: deque[tuple[bytes, int]] = deque()
        self._last: object = None
        self._fault: str | None = None
        self._wire_gone = False
        self._idle = 0
        self._still = 0
        self._moving_since: tuple[float, int] | None = None
        """Since when it has sent and answered nothing: seconds of the machine's clock, ns of the stack's."""
        self._loop: _Loop | None = None

    # The clock

    @property
    def elapsed_ns(self) -> int:
        """Return the ns since the beginning."""
        return self._now_ns - self._start_ns

    @property
    def ahead_ns(self) -> int:
        """Return by how many ns this clock is ahead of the stack's own."""
        return self._epoch_ns - self._start_ns

    def now_ns(self) -> int:
        """Return the time, in ns since the epoch."""
        return self._epoch_ns + self.elapsed_ns

    def run(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Greet the agent, and run `work` in the stack's time. Raises AgentFault, and what `work` raises."""
        try:
            self._greet()
            self._loop = loop = _Loop(self)
            with contextlib.closing(loop):
                return loop.run_until_complete(loop.run(work))
        finally:
            self._channel.close()
            self._wire.close()

    def stop(self) -> None:
        """Let go of stack and agent, from another thread: what runs there ends with a fault."""
        for sock in (self._channel, self._wire):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _greet(self) -> None:
        until = time.monotonic() + ANSWER_S
        try:
            while not self._lines:
                self._read_lines(until, "did not say hello")
        except AgentFault as fault:
            if not self._part:
                raise
            raise AgentFault(f"{fault}; it said {bytes(self._part[:80])!r}") from None
        self.app.greet(self._lines.popleft())
        if "virtual-time" in self.app.hello.get("capabilities", ()):
            self._step(0)
        self._start_ns = self._now_ns

    # What the loop does

    def idle(self, timeout_s: float | None) -> None:
        """Let time pass until something is ready, at most `timeout_s` seconds (None: no bound)."""
        self._idle = self._idle + 1 if timeout_s is None else 0
        if self._idle > _MOST_IDLE:
            why = f"{self.app.name}: the case waits for what can't come"
            if self._fault is not None:
                raise AgentFault(why)
            self._give_up(why)
            self._idle = 0
        until_ns = self._now_ns + max(1, round((_IDLE_S if timeout_s is None else timeout_s) * _SECOND))
        if self._fault is None:
            try:
                before_ns = self._now_ns
                self._step(until_ns)
                self._check_progress(before_ns)
                if self._arrived:
                    self._step(self._now_ns + _WIRE_NS)
            except AgentFault as fault:
                self._give_up(str(fault))
        else:
            self._now_ns = until_ns
        self._deliver()

    def _check_progress(self, before_ns: int) -> None:
        """Raise AgentFault where the stack's clock stands still, or as good as that, and nothing happens."""
        if self._arrived or self._replies:
            self._still, self._moving_since = 0, None
            return
        self._still = self._still + 1 if self._now_ns == before_ns else 0
        if self._still > _MOST_STILL:
            raise AgentFault(
                f"{self.app.name}: the stack's clock stands still: `clock` was answered {_MOST_STILL} times without moving"
                " it, a frame or a reply"
            )
        if self._moving_since is None:
            self._moving_since = time.monotonic(), before_ns
        took_s = time.monotonic() - self._moving_since[0]
        moved_s = (self._now_ns - self._moving_since[1]) / _SECOND
        if took_s > _SLOW_S and moved_s * _SLOWEST < took_s:
            raise AgentFault(
                f"{self.app.name}: the stack's clock as good as stands still: {moved_s:g} s of it in {took_s:.0f} s"
            )

    def send(self, frame: bytes) -> int:
        """Send a frame, once the stack has served every request that came before it. Raises LinkError."""
        if self._fault is not None:
            raise LinkError(self._fault)
        self._turn("frame")
        self._frames_in += 1
        try:
            send_frame(self._wire, frame, self._read_frames)
        except AgentFault as fault:
            raise LinkError(str(fault)) from None
        return self.now_ns()

    def write(self, line: bytes) -> None:
        """Send a request, once the stack has seen every frame that came before it."""
        self._turn("request")
        if self._fault is None:
            try:
                self._channel.sendall(line)
            except OSError as error:
                self._give_up(str(self._gone(error)))

    def _turn(self, kind: str) -> None:
        if self._last not in (None, kind) and self._fault is None:
            try:
                self._step(0)
            except AgentFault as fault:
                self._give_up(str(fault))
            if self._loop is not None:
                self._loop.call_soon(self._deliver)
        self._last = kind

    def _gone(self, error: OSError) -> AgentFault:
        """Return the fault that explains why a request can't be sent."""
        if isinstance(error, TimeoutError):
            return AgentFault(f"{self.app.name}: the agent has read no request for {ANSWER_S:g} s")
        return AgentFault(f"{self.app.name}: the agent's process ended")

    def _give_up(self, why: str) -> None:
        self._fault = why
        self.app.fail(why)
        self.on_fault(why)

    def _deliver(self) -> None:
        """Hand over frames and replies; a frame's time is that at which it was sent."""
        while self._arrived:
            frame, sent_ns = self._arrived.popleft()
            self.on_frame(frame, self._epoch_ns + sent_ns - self._start_ns)
        while self._replies:
            self.app.hand(self._replies.popleft())
        if self._fault is not None:
            self.app.fail(self._fault)

    # One step of the clock

    def _step(self, until_ns: int) -> None:
        """Ask the stack to move its clock up to then; what it sends and answers is kept. Raises AgentFault."""
        self._last = None
        try:
            number = self.app.write_clock(until_ns, self._frames_in)
        except OSError as error:
            raise self._gone(error) from None
        until = time.monotonic() + ANSWER_S
        while True:
            while self._lines:
                reply = self.app.parse(self._lines.popleft())
                if reply["id"] == number:
                    self._moved(reply, until_ns)
                    return
                self._replies.append(reply)
                if len(self._replies) > _MOST_REPLIES:
                    raise AgentFault(
                        f"{self.app.name}: the agent sent {_MOST_REPLIES} replies and did not answer `clock`"
                    )
            self._read_lines(until, "did not answer `clock`")

    def _moved(self, reply: dict[str, Any], until_ns: int) -> None:
        """Take the reply to `clock`. Raises AgentFault where the clock goes back, or beyond what was asked for."""
        name = self.app.name
        try:
            answer = check_answer("clock", reply.get("ok", {}))
        except Malformed as wrong:
            raise AgentFault(f"{name}: the agent breaks the protocol: {wrong}: {shown(reply)}") from None
        now_ns, frames_out = answer["now_ns"], answer["frames_out"]
        if now_ns < self._now_ns:
            raise AgentFault(f"{name}: the stack's clock went back, from {self._now_ns} to {now_ns} ns")
        if self._now_ns and now_ns > max(until_ns, self._now_ns):
            raise AgentFault(
                f"{name}: the stack's clock ran past `until_ns`: to {now_ns}, {max(until_ns, self._now_ns)} ns was asked for"
            )
        if self._frames_out != frames_out:
            self._read_frames()
        if self._frames_out != frames_out:
            raise AgentFault(
                f"{self.app.name}: the agent says that {frames_out} frames were sent, {self._frames_out} came"
            )
        self._now_ns = now_ns
        self._arrived += ((frame, now_ns) for frame in self._read)
        self._read.clear()

    def _read_lines(self, until: float, what: str) -> None:
        """Wait for something from the agent; the wire is read meanwhile, so that the stack never waits for us."""
        left = until - time.monotonic()
        ready = [descriptor for descriptor, _ in self._poll.poll(left * 1000)] if left > 0 else []
        if not ready:
            raise AgentFault(f"{self.app.name}: the agent {what} within {ANSWER_S:g} s")
        if self._wire.fileno() in ready and not self._wire_gone:
            self._read_frames()
        if self._channel.fileno() not in ready:
            return
        try:
            piece = self._channel.recv(1 << 16)
        except OSError:
            piece = b""
        if not piece:
            raise AgentFault(f"{self.app.name}: the agent's process ended")
        self._part += piece
        if b"\n" in piece:
            *whole, rest = self._part.split(b"\n")
            self._lines += map(bytes, whole)
            self._part = rest
        elif len(self._part) > LONGEST_LINE:
            raise AgentFault(f"{self.app.name}: the agent said a line of more than {LONGEST_LINE >> 20} MiB")

    def _read_frames(self) -> None:
        for _ in range(_MOST_FRAMES):
            try:
                frame = self._wire.recv(FRAME_LIMIT)
            except BlockingIOError:
                return
            except OSError:
                frame = b""
            if not frame:
                self._wire_gone = True  # the end of the process shows on the channel
                self._poll.unregister(self._wire)
                return
            self._frames_out += 1
            self._read.append(frame)
            if len(self._read) > _MOST_FRAMES:
                raise AgentFault(f"{self.app.name}: the stack floods the wire: {_MOST_FRAMES} frames at one time")
