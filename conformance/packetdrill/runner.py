"""Run a script as a case: calls become the application's, packets the tester's, and every time is a kernel's or agent's stamp.

An event that follows another counts from when that one happened by its stamp, not from when our loop woke: a busy tester is
late itself, and does not make the target late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from conformance.case.case import Case
from conformance.judge import Inconclusive, NotApplicable, Violation
from conformance.packetdrill import shell
from conformance.packetdrill.calls import Calls, same_error
from conformance.packetdrill.code import CodeError, Evaluator
from conformance.packetdrill.fastopen import KEY, cookies
from conformance.packetdrill.icmp import send_icmp
from conformance.packetdrill.information import members
from conformance.packetdrill.matching import Comparison
from conformance.packetdrill.notes import Notes
from conformance.packetdrill.numbers import Numbers, flags_of
from conformance.packetdrill.settings import settings_of
from conformance.packetdrill.syntax import Call, Code, Command, Event, Icmp, Packet, Script
from conformance.packetdrill.system import SystemCalls
from conformance.target import AppError
from conformance.tester.clock import SECOND
from conformance.tester.stamped import Received
from conformance.wire import FIN, SYN

TOLERANCE_NS = 4_000_000
"""Packetdrill's own tolerance: an event may be that early or late, or by an eighth of the time since the event before."""
PORT = 8080
"""The port on which packetdrill's scripts listen: only commands of a shell can tell."""
CONGESTION_CONTROL = "net.ipv4.tcp_congestion_control"
_PATIENCE_NS = 2 * SECOND
_ANY_TIME_NS = 30 * SECOND
_LINK_MTU = 1500
_HEADERS = {4: 40, 6: 60}
"""Octets of the IP and TCP headers without options."""
_RETURNS_S = 2
_STARTS_NS = 500_000
"""The time until a call that blocks has been made: what comes next in the script finds it blocked."""


@dataclass(frozen=True)
class Ways:
    """The ways to look at what the target does."""

    portable: bool = False
    shell: bool = False
    mapped: bool = False
    tolerance_ns: int = TOLERANCE_NS


class _OutOfTime(Violation):
    """Something came too early or too late: a late tester brings that about each time."""


class Runner:
    """One run of one script."""

    def __init__(self, script: Script, notes: Notes, path: Path, case: Case, ways: Ways) -> None:
        self._script, self._notes, self._path = script, notes, path
        self._case, self._clock = case, case.clock
        self._portable, self._shell, self._tolerance_ns = ways.portable, ways.shell, ways.tolerance_ns
        given = script.flag("tolerance_usecs")
        if given is not None and given.isdecimal():
            self._tolerance_ns = max(self._tolerance_ns, int(given) * 1000)
        self._calls: Calls | SystemCalls
        if case.can("calls"):
            self._calls = SystemCalls(
                case,
                self._connects,
                self._listens,
                self._stamp_differs,
                mapped=ways.mapped,
                port=PORT if ways.shell and self._has_commands() else None,
            )
        else:
            self._calls = Calls(case, self._connects, self._listens)
        self._mapped = ways.mapped
        self._addresses = case.address, case.remote
        self._strict_segments = script.flag("strict_segments") is not None
        self._evaluator = Evaluator()
        self._cookies: Mapping[str, str] = {}
        self._numbers: Numbers | None = None
        self._port: int | None = None
        """The port of the listener whose first packet is awaited."""
        self._before_all = ""
        """The part of the command before all events that needs a shell."""
        self._pending: asyncio.Task[None] | None = None
        self._start_ns = self._happened_ns = 0
        self._due_ns = 0
        """When the event before was due; times are counted from the script's start."""
        self._before: Event | None = None
        self._late_ns = self._late_line = 0
        self._slack_ns = 0
        """The lateness of all calls since the last packet: a packet that one of them brings about is not late itself."""
        self._nominal_ns = 0
        """The time of the last event as the script adds it up."""
        self._drift_ns = 0
        """The lateness of all our events so far: a call that waits for what we send returns later by as much."""

    def _has_commands(self) -> bool:
        """Return True for commands between the events: such a script has a network of its own."""
        return any(isinstance(event.action, Command) for event in self._script.events)

    async def run(self) -> None:
        """Run to the end. Raises Violation, NotApplicable, and Inconclusive for what breaks behind a late event of ours."""
        self._prepare()
        if self._before_all:
            await shell.run(self._before_all, self._path.parent, self._case.target, self._addresses)
        self._start_ns = self._happened_ns = self._clock.now_ns()
        try:
            for event in self._script.events:
                await self._event(event)
            await self._returned()
            if self._notes.nothing_more and self._numbers is not None:
                await self._numbers.conn.silence(strict=True)
        except Violation as violation:
            if self._late_ns > 0 and not self._case.target.virtual:
                violation.doubt = f"the tester was {self._late_ns / 1e6:.1f} ms too late in line {self._late_line}"
                if isinstance(violation, _OutOfTime):
                    raise Inconclusive(f"{violation}; {violation.doubt}") from None
            raise
        finally:
            if self._pending is not None:
                await end(self._pending)
            await self._calls.close()

    def _prepare(self) -> None:
        """Raise NotApplicable for what no target of ours can be asked for."""
        command = settings_of(self._script.before, self._path.parent)
        settings, rest = command.values, command.rest
        if CONGESTION_CONTROL in settings and not self._portable:
            self._calls.use_congestion_control(settings[CONGESTION_CONTROL])
        if rest and not self._portable and not self._shell:
            raise NotApplicable(f"a shell on the target (--pkt-shell): {rest[0][:60]}")
        self._before_all = command.for_shell if self._shell and not self._portable else ""
        if self._mapped and not self._case.can("calls"):
            raise NotApplicable("IPv4-mapped addresses: only an agent with `calls` opens such sockets")
        if self._script.flag("mss") is not None:
            raise NotApplicable("--mss: packets are merged of as much as the link carries")
        addresses = self._script.flag("remote_ip"), self._script.flag("local_ip")
        key = None if self._portable else settings.get(KEY)
        self._cookies = cookies(self._case.family, key, addresses, (self._case.address, self._case.remote))

    # Time

    def _since_start(self, at_ns: int) -> int:
        return at_ns - self._start_ns

    async def _event(self, event: Event) -> None:
        action, when, before = event.action, event.when, self._before
        inbound = isinstance(action, Packet) and action.inbound
        base = 0
        if when.kind in ("after", "within", "any"):
            # Packets of ours that follow each other leave when they are due, however late the one before left.
            both = inbound and before is not None and isinstance(before.action, Packet) and before.action.inbound
            base = self._due_ns if both else self._since_start(self._happened_ns)
        low, high = base + when.low, base + when.high
        self._nominal_ns = when.low + (0 if when.kind in ("at", "between") else self._nominal_ns)
        try:
            if isinstance(action, Packet) and not action.inbound:
                await self._expect(event, action, low, high)
            else:
                await self._act(event, low, base)
        except Violation as violation:
            line = event.line if violation.line is None else violation.line
            differs = "differs from the script: " if self._portable and not self._notes.verifies else ""
            raise type(violation)(f"{differs}{violation.message}", violation.details, line=line) from None
        lag_ns = 0 if isinstance(action, Packet) else max(0, self._since_start(self._happened_ns) - low)
        self._slack_ns = self._slack_ns + lag_ns if lag_ns else 0
        self._before, self._due_ns = event, low

    async def _act(self, event: Event, low: int, base: int) -> None:
        await self._clock.sleep_until(self._start_ns + low)
        after_due = self._since_start(self._clock.now_ns()) - low
        late = after_due - self._tolerance(low)
        if self._before is not None and late > self._late_ns:
            self._late_ns, self._late_line = late, event.line
        match event.action:
            case Packet():
                await self._inject(event, event.action)
                self._drift_ns += max(0, self._since_start(self._happened_ns) - low)
            case Call():
                await self._call(event, event.action, low, base)
            case Code():
                await self._check_code(event.action)
            case Command():
                await self._command(event.action)

    def _tolerance(self, at: int) -> int:
        return max(self._tolerance_ns, (at - self._due_ns) // 8)

    def _check_time(self, event: Event, at_ns: int, low: int, high: int) -> None:
        if event.when.kind == "any" or self._portable:
            return
        at, tolerance = self._since_start(at_ns), self._tolerance(low)
        if event.when.kind in ("after", "within"):
            low -= self._slack_ns
        if low - tolerance <= at <= high + tolerance:
            return
        due = f"{low / 1e9:.6f}" if low == high else f"{low / 1e9:.6f} to {high / 1e9:.6f}"
        message = f"the packet came at {at / 1e9:.6f} s, due was {due} s (tolerance {tolerance / 1e9:.6f} s)"
        if self._pending is not None and self._before and isinstance(self._before.action, Call) and at > high:
            raise Inconclusive(f"line {event.line}: {message}, and no agent stamps when a call that blocks is made")
        late_s = self._clock.jitter.worst_s(self._happened_ns, at_ns)
        if late_s * 1e9 > tolerance and not self._case.target.virtual:
            raise Inconclusive(f"line {event.line}: {message}, and the tester was up to {late_s:.4f} s late")
        raise _OutOfTime(message, f"script: {event.text}")

    def _stamp_differs(self, at_ns: int, due_ns: int) -> str:
        """Compare a stamp that the target's kernel gave with a time since the script's start; "" where it fits."""
        at, tolerance = self._since_start(self._clock.of_stamp(at_ns)), max(self._tolerance_ns, due_ns // 8)
        drift = max(0, self._since_start(self._clock.now_ns()) - self._nominal_ns)
        if self._portable or -tolerance <= at - due_ns <= tolerance + drift:
            return ""
        return f"the stamp is {at / 1e9:.6f} s, expected {due_ns / 1e9:.6f} s"

    # Packets

    def _listens(self, port: int) -> None:
        self._port = port

    def _connects(self) -> int:
        self._numbers, self._port = (
            Numbers(
                self._case.connection(),
                cookies=self._cookies,
                scaled=self._script.flag("tcp_ts_ecr_scaled") is not None,
            ),
            None,
        )
        return self._numbers.conn.port

    def _connection(self, packet: Packet) -> Numbers:
        opens = packet.inbound and packet.protocol == "tcp" and ("S" in packet.flags or self._numbers is None)
        if opens and self._port is not None:
            self._numbers, self._port = (
                Numbers(self._case.connection(self._port), ours=packet.seq, opened=True, cookies=self._cookies),
                None,
            )
        if self._numbers is None:
            raise NotApplicable("a packet that belongs to no connection of the script")
        if packet.layers or packet.protocol == "udp" or packet.ports:
            raise NotApplicable("UDP, packets in packets, and ports that the script names")
        return self._numbers

    async def _inject(self, event: Event, packet: Packet) -> None:
        numbers = self._connection(packet)
        conn = numbers.conn
        if not conn.has_remote_port:
            raise NotApplicable("a packet to a connection that the target has not begun to open")
        if packet.icmp is not None:
            self._happened_ns = await self._inject_icmp(numbers, packet.icmp)
            return
        if "S" in packet.flags and ("." in packet.flags or not numbers.opened):
            numbers.ours, numbers.opened = packet.seq, True
        flags, reserved = flags_of(packet)
        options = numbers.encoded(packet)
        octets = packet.length + len(options) + _HEADERS[self._case.family]
        if octets > _LINK_MTU and not self._case.can("receive-offload"):
            raise NotApplicable(f"a packet of {packet.length} octets, which is larger than the link carries")
        sent = await conn.inject(
            flags,
            seq=numbers.seq_of(packet),
            ack=numbers.ack_of(packet),
            window=packet.window or 0,
            options=options,
            payload=bytes(packet.length),
            urgent=packet.urgent,
            reserved=reserved,
            ip=_ip_fields(packet),
            text=f"line {event.line}",
        )
        self._happened_ns = sent.at_ns

    async def _inject_icmp(self, numbers: Numbers, message: Icmp) -> int:
        return await send_icmp(self._case, numbers, message)

    async def _expect(self, event: Event, packet: Packet, low: int, high: int) -> None:
        numbers = self._connection(packet)
        if packet.icmp is not None:
            raise NotApplicable("an ICMP message of the target's")
        now = self._since_start(self._clock.now_ns())
        until_ns = self._start_ns + (now + _ANY_TIME_NS if event.when.kind == "any" else max(high, now) + _PATIENCE_NS)
        parts: list[Received] = []
        while not parts or (
            not self._strict_segments and sum(len(part.segment.payload) for part in parts) < packet.length
        ):
            received = await self._next(numbers, until_ns)
            if received is None:
                await self._case.station.prove_alive(self._case.address, self._case.trace)
                shown = "; ".join(numbers.written(part.segment) for part in parts)
                arrived = f"only {shown} came" if parts else "nothing came"
                self._case.trace.step("missing", self._clock.now_ns(), ok=False, expected=event.text, text=arrived)
                raise Violation(f"{arrived} where the script expects {event.text}")
            parts.append(received)
            if not received.segment.payload or received.segment.flags & (FIN | SYN):
                break
        first = parts[0].segment
        if "S" in packet.flags and first.flags & SYN:
            numbers.theirs, numbers.irs = packet.seq, first.seq
        differences = Comparison(packet, numbers, parts, self._portable).run()
        for part in parts:
            line = numbers.written(part.segment)
            part.frame.comment = f"line {event.line}"
            self._case.trace.step(
                "receive", part.at_ns, frame=part.frame, ok=not differences, text=line, expected=event.text
            )
        if differences:
            shown = "\n        ".join(numbers.written(part.segment) for part in parts)
            raise Violation("; ".join(differences), f"script: {event.text}\nactual: {shown}")
        self._check_time(event, parts[0].at_ns, low, high)
        self._happened_ns = parts[-1].at_ns

    async def _next(self, numbers: Numbers, until_ns: int) -> Received | None:
        """Return the next segment. A blocking call that fails meanwhile is the reason why none comes: raises what it did."""
        within_s = max(0.0, (until_ns - self._clock.now_ns()) / SECOND)
        coming = asyncio.ensure_future(numbers.conn.next_segment(within=within_s))
        try:
            while not coming.done() and self._pending is not None and not self._pending.done():
                await asyncio.wait({coming, self._pending}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done() and self._pending is not None and self._pending.exception() is not None:
                await self._pending
            return await coming
        finally:
            coming.cancel()

    # Calls and code

    async def _call(self, event: Event, call: Call, low: int, base: int) -> None:
        await self._returned()
        if call.ends is None:
            await self._perform(event, call, None, low)
            return
        ends = call.ends + (base if event.when.kind == "after" else 0)
        self._happened_ns = self._clock.now_ns()
        self._pending = asyncio.ensure_future(self._perform(event, call, ends, low))
        await asyncio.sleep(0)  # the call is begun even where the time below is past
        await self._clock.sleep_until(self._happened_ns + _STARTS_NS)

    async def _returned(self) -> None:
        """Wait for the call that blocks, if there is one."""
        if self._pending is not None:
            await self._pending
            self._pending = None

    async def _perform(self, event: Event, call: Call, ends: int | None, low: int) -> None:
        tolerance = self._tolerance(ends) if ends is not None else 0
        error, value, drift_ns = "", 0, self._drift_ns
        called_ns = self._clock.now_ns()
        try:
            value, at_ns = await self._calls.make(call, blocks=ends is not None)
        except AppError as failure:
            if failure.code in ("unknown-op", "bad-request", "ENOPROTOOPT") and failure.code != call.error:
                raise NotApplicable(f"{call.name}(): {failure}") from None
            error, at_ns = failure.code, failure.at_ns
        except Violation as violation:
            raise Violation(violation.message, f"script: {event.text}", line=event.line) from None
        begun_late = max(0, self._since_start(called_ns) - low)
        at_ns = self._clock.of_stamp(at_ns) if at_ns else self._clock.now_ns()
        wrong = _result_differs(call, value, error)
        if wrong:
            raise Violation(f"{call.name}() {wrong}", f"script: {event.text}", line=event.line)
        if ends is None:
            self._happened_ns = max(at_ns, called_ns)
            return
        at = self._since_start(at_ns)
        if not self._portable and not -tolerance <= at - ends <= tolerance + begun_late + self._drift_ns - drift_ns:
            due = f"due was {ends / 1e9:.6f} s (tolerance {tolerance / 1e9:.6f} s)"
            message = f"{call.name}() returned at {at / 1e9:.6f} s, {due}"
            late_s = self._clock.jitter.worst_s(self._start_ns, at_ns)
            if late_s * 1e9 > tolerance and not self._case.target.virtual:
                raise Inconclusive(f"line {event.line}: {message}, and the tester was up to {late_s:.4f} s late")
            raise _OutOfTime(message, f"script: {event.text}", line=event.line)

    async def _command(self, command: Command) -> None:
        """Make the settings of a command, and run the rest where a shell is allowed. Raises NotApplicable where not."""
        settings = settings_of(command, self._path.parent, first=False)
        if settings.rest and not self._shell:
            raise NotApplicable(f"a shell on the target (--pkt-shell): {settings.rest[0][:60]}")
        if not self._portable:
            for name, value in settings.values.items():
                await self._case.app.sysctl(name, value)
        if settings.rest:
            await shell.run(settings.for_shell, self._path.parent, self._case.target, self._addresses)
        self._happened_ns = self._clock.now_ns()

    async def _check_code(self, code: Code) -> None:
        information = await self._calls.information()
        if information is None and self._pending is not None:  # a call that is about to return opens the connection
            await asyncio.wait({self._pending}, timeout=_RETURNS_S)
            information = await self._calls.information()
            if information is None and not self._pending.done() and self._case.can("calls"):
                raise Violation(f"the call before still blocks after {_RETURNS_S:g} s, so there is no tcp_info")
        if information is None:
            raise NotApplicable("tcp_info of the connection, which the target does not tell")
        try:
            wrong = self._evaluator.check(code.text, members(information))
        except CodeError as error:
            raise NotApplicable(f"a block of code: {error}") from None
        self._happened_ns = self._clock.now_ns()
        self._case.trace.step("note", self._happened_ns, ok=not wrong, text=" ".join(code.text.split())[:200])
        if wrong:
            raise Violation(wrong)


async def end(call: asyncio.Task[None]) -> None:
    """Cancel a call that blocks, and wait until nothing of it runs any longer: its reply may be there just now."""
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


def _result_differs(call: Call, value: int, error: str) -> str:
    """Return what differs between a call's result and the script's; "" where nothing does."""
    expected = call.error or call.result
    if error:
        if call.result == -1 and (call.error is None or same_error(error, call.error)):
            return ""
        return f"failed with {error}, expected {expected}"
    if call.error is not None:
        return f"returned {value}, expected {expected}"
    return "" if not isinstance(call.result, int) or value == call.result else f"returned {value}, expected {expected}"


def _ip_fields(packet: Packet) -> dict[str, object]:
    """Return what the script sets in the IP header."""
    fields: dict[str, object] = {}
    codepoints = {"noecn": 0, "ect1": 1, "ect0": 2, "ce": 3}
    if packet.ip.ecn is not None:
        fields["tos"] = codepoints.get(packet.ip.ecn, 2)
    if packet.ip.tos is not None:
        fields["tos"] = packet.ip.tos
    if packet.ip.ttl is not None:
        fields["ttl"] = packet.ip.ttl
    return fields
