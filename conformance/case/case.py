"""The handle that a case is given as `tcp`: connections, the application, states to drive to, timings to check."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from conformance.case.app import Application, SocketOption
from conformance.case.confirm import Confirmer
from conformance.case.connection import Connection
from conformance.case.drive import drive_to
from conformance.case.ending import Ending, see_end
from conformance.case.giving_up import GivenUp, see_given_up
from conformance.case.leaving import resets
from conformance.case.timings import Timings
from conformance.judge import (
    Bound,
    NotApplicable,
    Violation,
)
from conformance.link import Wire
from conformance.record.case import ChoiceTaken
from conformance.standard.profile import Profile
from conformance.standard.states import State
from conformance.target import Target
from conformance.tester.clock import SECOND, Clock
from conformance.tester.setting import Setting
from conformance.tester.stamped import Received
from conformance.tester.station import Station
from conformance.tester.trace import Trace
from conformance.tester.variables import Offer

_CROSSING_S = 0.005


class Case(Timings):
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
        delayed = target.wire != Wire()
        crossing_ns = round(2 * (target.wire.delay_s + _CROSSING_S) * SECOND) if delayed else 0
        super().__init__(profile, clock, Trace(room=station.room_for_frames), crossing_ns)
        self.name, self.station, self.target, self.family = name, station, target, family
        # Of two cases of one run none has the numbers of the other, and a case has the same again with the run's seed.
        self.random = random.Random(f"{seed} {name}")
        self.wire_round_trip_s = 2 * target.wire.delay_s
        """Seconds that the wire itself adds to a round trip that we see at our end."""
        self.remote = target.address(family)
        self.agent = target.app
        """The agent with which the case began: one that was started since knows nothing of it."""
        self.app = Application(self)
        self.connections: list[Connection] = []
        self.address = station.lease(family, self.trace)
        self._more: list[str] = []
        challenge_acks = profile.timers.get("challenge-ack-interval")
        self._setting = Setting(
            station=station,
            trace=self.trace,
            clock=clock,
            random=self.random,
            family=family,
            address=self.address,
            remote=self.remote,
            wire_round_trip_s=self.wire_round_trip_s,
            crossing_ns=crossing_ns,
            challenge_ack_s=None if challenge_acks is None else challenge_acks.high_s,
        )
        self._confirmer = Confirmer(self._setting, self.app, target.capabilities, probes=profile.probes)

    async def open(self) -> None:
        """Make the case's address known to the target. Raises TargetGone."""
        await self.station.introduce(self.address)

    async def close(self) -> None:
        """Reset what is left, so that the target keeps nothing of this case alive."""
        try:
            await self.app.close()
            if not self.has_app:
                for reset in resets(self.trace.frames):
                    self.station.transmit(reset, self.trace, "reset: nothing that the case opened stays")
        finally:
            for address in (self.address, *self._more):
                self.station.release(address)

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
                raise NotApplicable.lacking(capability, self.target.name)

    def needs_family(self, family: int, what: str) -> None:
        """Raise NotApplicable over the other family, which does not have that."""
        if self.family != family:
            raise NotApplicable(f"{what} is of IPv{family} alone")

    async def another_address(self) -> str:
        """Return one more tester address of this case's own, known to the target. Raises TargetGone."""
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
        """Return a four-tuple with a port of the target; by default the port from which the target will connect to us.

        `address` is one of `another_address`.
        """
        if port is None:
            port = self.station.own_port()
        conn = Connection(self._setting, self._confirmer, port=port, remote_port=remote_port, address=address, iss=iss)
        self.connections.append(conn)
        return conn

    async def listen(
        self,
        *,
        address: str | None = None,
        backlog: int = 16,
        options: Sequence[SocketOption] = (),
        offer: Offer | None = None,
        iss: int | None = None,
    ) -> Connection:
        """Return a connection for us to open: the target listens on a port of this case's own (`address` "": on all)."""
        listener = await self.app.listen(address=address, backlog=backlog, options=options)
        conn = self.connection(listener.port, iss=iss)
        conn.listener = listener
        if offer is not None:
            conn.offer(offer)
        return conn

    async def connect(
        self, *, options: Sequence[SocketOption] = (), offer: Offer | None = None, iss: int | None = None
    ) -> Connection:
        """Return a connection that the target's application opens towards us; its SYN is on the way."""
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
        """Return a connection whose target end is in `state`.

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

    async def arrived(self) -> None:
        """Wait until what was sent is at the target, on a wire that takes its time."""
        if self.crossing_ns:
            sent = next((one.at_ns for one in reversed(self.trace.frames) if not one.inbound), 0)
            await self.clock.sleep_until(sent + self.crossing_ns)

    async def state_of(self, conn: Connection) -> State | None:
        """Return the agent's own word about the connection's state; None where the target has no such word."""
        return await self._confirmer.state_of(conn)

    async def probe_listening(self, remote_port: int) -> None:
        """See that a port listens: a SYN from a port of its own is answered by SYN,ACK, and then taken back. Raises Violation."""
        await self._confirmer.probe_listening(remote_port)

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

    def choice(self, name: str, taken: str, allowed: Sequence[str]) -> None:
        """Keep which of several allowed outcomes the target took. Raises Violation for any other."""
        self.trace.choices.append(ChoiceTaken(name, taken, tuple(allowed)))
        if taken not in allowed:
            raise Violation(f"{name}: took {taken}, allowed is {' or '.join(allowed)}")

    def note(self, text: str) -> None:
        """Write a remark into the record."""
        self.trace.step("note", self.clock.now_ns(), text=text)

    async def sleep(self, seconds: float) -> None:
        """Let time pass, and nothing else."""
        await self.clock.sleep(seconds)
