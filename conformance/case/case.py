"""What a case is given as `tcp`: connections, the application, states to drive to, timings to check."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise

from conformance.case.app import Application, SocketOption
from conformance.case.drive import drive_to
from conformance.case.ending import Ending, see_end
from conformance.case.giving_up import GivenUp, see_given_up
from conformance.judge import (
    Bound,
    Growth,
    Inconclusive,
    NotApplicable,
    Series,
    Timing,
    Violation,
    retransmission_timeout,
)
from conformance.link import Wire
from conformance.standard.profile import LATE_FRACTION, Profile
from conformance.standard.states import State
from conformance.target import Target
from conformance.tester.clock import SECOND, Clock
from conformance.tester.connection import Connection, Offer, Received
from conformance.tester.station import Station
from conformance.tester.trace import Trace, told
from conformance.wire import ACK, RST, SYN, Seq

_WORD_S = 0.25
_CROSSING_S = 0.005
_WORD_EVERY_S = 0.01
_TICK_S = 0.5
"""The coarsest clock of a stack that nobody has described: BSD's slow timer."""


class Case:
    """One running case: its own tester address, its own target ports, its own record."""

    def __init__(
        self,
        *,
        station: Station,
        target: Target,
        profile: Profile,
        clock: Clock,
        family: int,
        name: str = "",
        seed: int = 0,
    ) -> None:
        self.name = name
        # Of two cases of one run none has the numbers of the other, and a case has the same again with the run's seed.
        self.random = random.Random(f"{seed} {name}")
        self.station, self.target, self.profile, self.clock, self.family = station, target, profile, clock, family
        self.trace = Trace()
        self.began_ns = clock.now_ns()
        self.remote = target.address(family)
        self.agent = target.app
        """That with which the case began: one that was started since knows nothing of it."""
        self.app = Application(self)
        self.connections: list[Connection] = []
        self.address = station.lease(family, self.trace)
        self._more: list[str] = []
        self.spoiled = False
        """Whether the target keeps something about our address beyond the case, as a path MTU: no other case gets it."""

    async def open(self) -> None:
        """Make the case's address known to the target. Raises TargetGone."""
        await self.station.introduce(self.address)

    async def close(self) -> None:
        """Reset what is left, so that the target keeps nothing of this case alive."""
        try:
            await self.app.close()
        finally:
            for address in (self.address, *self._more):
                self.station.release(address, spoiled=self.spoiled)

    @property
    def has_app(self) -> bool:
        """Return True if the target has an application that opens connections when asked."""
        return self.can("app")

    def can(self, *capabilities: str) -> bool:
        """Return True if the target has all these capabilities."""
        return self.target.capabilities.issuperset(capabilities)

    def needs(self, *capabilities: str) -> None:
        """Raise NotApplicable, naming the first capability that the target lacks."""
        for capability in capabilities:
            if not self.can(capability):
                raise NotApplicable(f"needs {capability}, which target {self.target.name} does not have")

    def needs_family(self, family: int, what: str) -> None:
        """Raise NotApplicable over the other family, which does not have that."""
        if self.family != family:
            raise NotApplicable(f"{what} is of IPv{family} alone")

    # Connections

    async def another_address(self) -> str:
        """One more tester address of this case's own, known to the target. Raises TargetGone."""
        self._more.append(self.station.lease(self.family, self.trace))
        await self.station.introduce(self._more[-1])
        return self._more[-1]

    def connection(
        self,
        remote_port: int | None = None,
        *,
        port: int | None = None,
        address: str | None = None,
        iss: int | None = None,
    ) -> Connection:
        """A four-tuple with that port of the target; without one, the port from which the target will connect to us.

        `address` is one of `another_address`.
        """
        if port is None:
            port = self.station.own_port()
        one = Connection(self, port=port, remote_port=remote_port, address=address, iss=iss)
        self.connections.append(one)
        return one

    async def listen(
        self,
        *,
        address: str | None = None,
        backlog: int = 16,
        options: Sequence[SocketOption] = (),
        offer: Offer | None = None,
        iss: int | None = None,
    ) -> Connection:
        """A connection about to be opened by us: the target listens on a port of this case's own (`address` "": on all)."""
        listener = await self.app.listen(address=address, backlog=backlog, options=options)
        conn = self.connection(listener.port, iss=iss)
        conn.listener = listener
        if offer is not None:
            conn.offer(offer)
        return conn

    async def connect(
        self, *, options: Sequence[SocketOption] = (), offer: Offer | None = None, iss: int | None = None
    ) -> Connection:
        """A connection that the target's application is opening towards us; its SYN is on the way."""
        conn = self.connection(iss=iss)
        if offer is not None:
            conn.offer(offer)
        conn.app = await self.app.connect(remote_port=conn.port, options=options)
        return conn

    async def drive_to(
        self,
        state: State,
        *,
        by: str = "passive",
        via: State | None = None,
        how: str = "shutdown",
        conn: Connection | None = None,
        options: Sequence[SocketOption] = (),
        offer: Offer | None = None,
        iss: int | None = None,
        round_trip_s: float = 0.0,
        established: Callable[[Connection], Awaitable[None]] | None = None,
    ) -> Connection:
        """A connection whose target end is in `state`.

        `by` is how the target opened: `passive` (it listens) or `active` (it connects). `via` picks the way into TIME-WAIT:
        FIN_WAIT_2 (the default), FIN_WAIT_1 or CLOSING. `how` is the application's call that closes: `shutdown` keeps the
        socket held, `close` orphans it. `conn` is a connection of `listen` or `connect` that is set up by the caller.
        `offer` is what our SYN offers. `round_trip_s` is how long our answer takes in the handshake, which is the target's first
        measurement; what it came to is the connection's `round_trip_s`.

        `established` is done in ESTABLISHED, on the way. What the target sends there and is not acknowledged there stays
        so, unless the way has to acknowledge the FIN behind it.
        """
        return await drive_to(
            self,
            state,
            by=by,
            via=via,
            how=how,
            conn=conn,
            options=options,
            offer=offer,
            iss=iss,
            round_trip_s=round_trip_s,
            established=established,
        )

    # What the target is in

    @property
    def wire_round_trip_s(self) -> float:
        """What the wire itself adds to a round trip that we see at our end, in seconds."""
        return 2 * self.target.wire.delay_s

    @property
    def crossing_ns(self) -> int:
        """How long a segment and what it changes at the other end are on their way, there and back; 0 on a wire without delay."""
        return round(2 * (self.target.wire.delay_s + _CROSSING_S) * SECOND) if self.target.wire != Wire() else 0

    async def arrived(self) -> None:
        """Wait until what was sent is at the target, on a wire that takes its time."""
        if self.crossing_ns:
            sent = next((one.at_ns for one in reversed(self.trace.frames) if not one.inbound), 0)
            await self.clock.sleep_until(sent + self.crossing_ns)

    async def state_of(self, conn: Connection) -> State | None:
        """The agent's own word about the connection's state; None where the target has no such word."""
        if not self.can("state") or not conn.has_remote_port:
            return None
        return await self.app.state(conn.remote_port, conn.port, conn.address)

    async def confirm(self, conn: Connection, state: State, *, probe: bool = True) -> None:
        """See that the target's end of `conn` is in `state`. Raises Violation."""
        if probe and (self.profile.probes or not self.can("state")):
            await self._probe(conn, state)
        word = await self._word(conn, state)
        at_ns = self.clock.now_ns()
        if word is not None and word is not state:
            self.trace.step("state", at_ns, ok=False, side="target", state=word.value, text=f"agent says {word.value}")
            self.trace.state(at_ns, word.value, "agent")
            raise Violation(f"the target is in {word.value}, it had to be in {state.value}")
        by = "probe" if word is None else "agent"
        self.trace.step("state", at_ns, ok=True, side="target", state=state.value, text=f"{by} says {state.value}")
        self.trace.state(at_ns, state.value, by)

    async def _word(self, conn: Connection, wanted: State) -> State | None:
        """The agent's word, once more for a moment while it is not the wanted one: a segment may still be on its way up."""
        until_ns = self.clock.now_ns() + round(_WORD_S * SECOND)
        while True:
            word = await self.state_of(conn)
            # The socket API has no connection in LISTEN: the four-tuple is gone and its listener remains.
            if word is State.CLOSED and wanted is State.LISTEN and conn.has_listener:
                word = await self.app.state(conn.listener.port, 0)
            elif word is State.LISTEN and wanted is State.CLOSED:
                word = State.CLOSED
            if word is None or word is wanted or self.clock.now_ns() > until_ns:
                return word
            await self.clock.sleep(_WORD_EVERY_S)

    async def _probe(self, conn: Connection, state: State) -> None:
        """Have the wire tell the state, as far as it can, and leave it as it is."""
        if state is State.CLOSED:
            # RFC 9293 section 3.10.7.1: everything but a reset is answered by one.
            sent = await conn.inject(ACK, ack=Seq(0x01020304), text="probe: is there a connection?")
            await conn.expect_reset(seq=sent.segment.ack, label="no connection:")
        elif state is State.LISTEN:
            await self.probe_listening(conn.remote_port)
        elif state is State.SYN_SENT:
            # Section 3.10.7.3, first check: an acknowledgment of nothing that was sent is reset, and the state stays.
            sent = await conn.inject(ACK, ack=conn.irs, text="probe: an unacceptable acknowledgment")
            await conn.expect_reset(seq=sent.segment.ack, label="answer to the probe:")
        else:
            await conn.probe()

    async def probe_listening(self, remote_port: int) -> None:
        """See that a port listens: a SYN from a port of its own is answered by SYN+ACK, and then taken back. Raises Violation."""
        other = self.connection(remote_port)
        await other.send(SYN, text="probe: does the port listen?")
        await other.expect(SYN | ACK, ack=other.snd_nxt, label="it listens:")
        await other.inject(RST, text="probe: taken back")

    async def see_end(self, conn: Connection, *, since_ns: int, expected: Bound, since: str) -> Ending:
        """When the target forgets `conn`, by probes that restart no timer; they begin shortly before `expected`.

        `since` says what happened at `since_ns`. The listener must be closed before. Raises Violation.
        """
        return await see_end(self, conn, since_ns=since_ns, expected=expected, since=since)

    async def see_given_up(
        self, conn: Connection, first: Received, *, within: float, codes: Sequence[str] = ("ETIMEDOUT",)
    ) -> GivenUp:
        """Leave `first` unanswered, and every repetition of it, until the application is told. Raises Violation."""
        return await see_given_up(self, conn, first, within=within, codes=codes)

    # Timings and choices

    def timer(self, name: str, nominal_s: float | None = None) -> Bound:
        """The bound of one of the profile's timers, by name; with `nominal_s`, of that interval by the same timer's precision.

        Raises NotApplicable when the profile does not document it.
        """
        timer = self.profile.timers.get(name)
        if timer is None:
            raise NotApplicable(f"profile {self.profile.name} documents no timer {name}")
        if nominal_s is None:
            return Bound(timer.low_s, timer.high_s, timer.source)
        return Bound(*timer.bounds(nominal_s), timer.source)

    def schedule(self, name: str) -> tuple[Bound, ...]:
        """The bounds of a series of retransmissions, in their order. Raises NotApplicable when the profile has no such series."""
        bound = self.timer(name)
        schedule = self.profile.timers[name].schedule_s
        if not schedule:
            raise NotApplicable(f"profile {self.profile.name} documents no schedule of timer {name} ({bound.source})")
        return tuple(self.timer(name, nominal_s) for nominal_s in schedule)

    def growth(self, name: str, source: str, *, factor: float = 2.0) -> Growth:
        """A backoff by `factor`, by the precision of one of the profile's timers, or where it has none, of the coarsest clock."""
        timer = self.profile.timers.get(name)
        late = (LATE_FRACTION, _TICK_S) if timer is None else (timer.late_fraction, timer.late_s)
        return Growth(factor, *late, source)

    def timeout_after(self, *round_trips_s: float, least_s: float | None = None) -> Bound:
        """The bound of the retransmission timeout after those round trips in seconds, in their order (RFC 6298, 2.2 and 2.3).

        A stack may hold its least timeout (the profile's `rto-min`, or `least_s`) on the whole, or on the variation alone.
        """
        least = self.timer("rto-min")
        if least_s is None:
            least_s = self.profile.timers["rto-min"].value_s
        low_s = max(least_s, retransmission_timeout(round_trips_s))
        high_s = retransmission_timeout(round_trips_s, least_variation_s=least_s)
        source = f"RFC 6298, 2.2 and 2.3; at least {least_s:g} s: {least.source}"
        return Bound(self.timer("rto-min", low_s).low_s, self.timer("rto-min", high_s).high_s, source)

    def nominal_s(self, name: str) -> float:
        """What the profile documents for a timer, in seconds. Raises NotApplicable when it does not."""
        self.timer(name)
        return self.profile.timers[name].value_s

    def check_timing(
        self,
        name: str,
        measured_s: float,
        bound: Bound,
        *,
        how: str = "",
        shortened: str = "",
        between: tuple[int, int] | None = None,
    ) -> None:
        """Keep a measured interval, and see that it is within its bound. Raises Violation.

        `shortened` says by what the target was told a shorter time (`TCP_KEEPIDLE = 2 s`). `between` are the two stamps,
        where they are known; without them the tester's lateness in the whole case counts. Raises Inconclusive where that
        lateness alone may be the reason.
        """
        bound = self._over_the_wire(bound)
        jitter_s = self.clock.jitter.worst_s(*(between or (self.began_ns, self.clock.now_ns())))
        timing = Timing(name, measured_s, bound, how, shortened, jitter_s)
        self.trace.timings.append(timing)
        if not timing.ok:
            self._fails(timing.unclear, str(timing), how, bound.outside_s(measured_s), jitter_s)

    def check_series(
        self,
        name: str,
        stamps_ns: Sequence[int],
        bounds: Sequence[Bound],
        *,
        how: str,
        growth: Growth | None = None,
        cap: Bound | None = None,
        count: tuple[int, int] | None = None,
        end: str = "",
        shortened: str = "",
    ) -> None:
        """Keep a series of retransmissions or probes, and see that it is as allowed as a whole (see Series). Raises Violation.

        Raises Inconclusive where the tester's own lateness alone may be the reason for all that is wrong.
        """
        bounds = [self._over_the_wire(one) for one in bounds]
        jitters = tuple(self.clock.jitter.worst_s(*pair) for pair in pairwise(stamps_ns))
        series = Series(
            name, tuple(stamps_ns), tuple(bounds), how, growth, cap, count, end, shortened, jitters_s=jitters
        )
        self.trace.series.append(series)
        if faults := series.faults():
            outside_s = max(one.bound.outside_s(one.measured_s) for step in series.steps() for one in step.timings)
            self._fails(series.unclear, faults[0], "\n".join((how, *faults[1:])), outside_s, max(jitters))

    def _over_the_wire(self, bound: Bound) -> Bound:
        """The bound of what happens at the other end of a wire that takes its time, and may not take the same time twice."""
        return bound.widened(0, self.crossing_ns / SECOND) if self.crossing_ns else bound

    def _fails(self, unclear: bool, message: str, details: str, outside_s: float, jitter_s: float) -> None:
        if unclear:
            late = f"outside by {outside_s:.4f} s, and the tester itself was up to {jitter_s:.4f} s late in that time"
            raise Inconclusive(f"{message}: {late}")
        raise Violation(message, details)

    def choice(self, name: str, taken: str, allowed: Sequence[str]) -> None:
        """Keep which of several allowed outcomes the target took. Raises Violation for any other."""
        self.trace.choices.append({"name": name, "taken": taken, "allowed": list(allowed)})
        if taken not in allowed:
            raise Violation(f"{name}: took {taken}, allowed is {' or '.join(allowed)}")

    def note(self, text: str) -> None:
        """Write a remark into the record."""
        self.trace.step("note", self.clock.now_ns(), text=text)

    async def sleep(self, seconds: float) -> None:
        """Let time pass, and nothing else."""
        await self.clock.sleep(seconds)

    def report_of_frames(self) -> str:
        """Every segment of the case with its relative time, one line each: what a failure prints."""
        frames, steps = self.trace.numbered()
        first = frames[0].at_ns if frames else 0
        lines = []
        for step in steps:
            at = (int(step["at_ns"]) - first) / SECOND
            sign = {"send": "->", "receive": "<-"}.get(step["kind"], "  ")
            mark = "" if step.get("ok", True) else "   <== " + str(step.get("expected") or "not allowed")
            number = f"#{step['frame']}" if step.get("frame") else ""
            lines.append(f"{at:12.6f} {number:>5} {sign} {told(step)}{mark}")
        return "\n".join(lines)
