"""A case's connection: a four-tuple on the wire, and the target's application at its other end."""

from __future__ import annotations

import asyncio

from conformance.case.app import AppSocket
from conformance.case.confirm import Confirmer
from conformance.case.steps import reads
from conformance.judge import Violation
from conformance.standard.states import State
from conformance.tester.clock import SECOND
from conformance.tester.connection import REACTION_S, WireConnection
from conformance.tester.setting import Setting
from conformance.tester.stamped import Received, Sent
from conformance.tester.variables import there
from conformance.wire import ACK, PSH, SYN, Seq
from conformance.wire import options as opt


class Connection(WireConnection):
    """One four-tuple of a case, with the application's sockets: the listening one, and the connection's own."""

    def __init__(
        self,
        setting: Setting,
        confirmer: Confirmer,
        *,
        port: int,
        remote_port: int | None,
        address: str | None = None,
        iss: int | None = None,
    ) -> None:
        super().__init__(setting, port=port, remote_port=remote_port, address=address, iss=iss)
        self._confirmer = confirmer
        self._listener: AppSocket | None = None
        self._app: AppSocket | None = None
        self.round_trip_s = 0.0
        """The round trip that the target can measure, from its SYN to our answer; known once the handshake is complete."""

    @property
    def app(self) -> AppSocket:
        """The target's socket of this connection. Raises NotYet."""
        return there(
            self._app, "no socket of the application: accept() it, or open the connection by connect or drive_to"
        )

    @app.setter
    def app(self, socket: AppSocket) -> None:
        self._app = socket

    @property
    def has_app(self) -> bool:
        """Tell whether the target's application holds a socket of this connection."""
        return self._app is not None

    @property
    def listener(self) -> AppSocket:
        """The target's listening socket that this connection is opened through. Raises NotYet."""
        return there(self._listener, "no listening socket: begin it by listen, or set `listener`")

    @listener.setter
    def listener(self, socket: AppSocket) -> None:
        self._listener = socket

    @property
    def has_listener(self) -> bool:
        """Tell whether this connection is opened through a listening socket of the target."""
        return self._listener is not None

    def next_incarnation(self, *, iss: Seq | None = None) -> Connection:
        """Return a new connection on the same four-tuple; what comes from now on belongs to it."""
        following = Connection(
            self._setting,
            self._confirmer,
            port=self.port,
            remote_port=self._remote_port,
            address=self.address,
            iss=iss,
        )
        following.syn_options, following._listener = self.syn_options, self._listener
        return following

    def reopened(self, syn: Sent, answer: Received) -> Connection:
        """Return the connection that a SYN of ours opened anew on this four-tuple; `answer` is the SYN,ACK to it."""
        following = self.next_incarnation(iss=syn.segment.seq)
        stamps = opt.stamps(syn.segment.option_list)
        following.tsval = None if stamps is None else stamps[0]
        following._follow_sent(syn.segment)
        following._take(answer, "a new connection", "")
        return following

    async def complete(self) -> None:
        """Finish the handshake behind the target's SYN,ACK, or its SYN, and have its application's socket. Raises Violation."""
        if self._listener is not None:
            self._measured(await self.send(ACK))
            if self._confirmer.has_app:
                self.app = await self.listener.accept()
            return
        self._measured(await self.send(SYN | ACK))
        await self.expect_ack()
        await self.app.connected()

    def _measured(self, answer: Sent) -> None:
        self.round_trip_s = (answer.at_ns - self.opening_ns) / SECOND + self._setting.wire_round_trip_s

    async def deliver(self, data: bytes) -> None:
        """Send data in order, which the target must acknowledge and hand to its application. Raises Violation."""
        await self.send(ACK | PSH, payload=data)
        await self.expect_ack(label="the data acknowledged:")
        await reads(self.app, data)

    async def collect(self, data: bytes) -> None:
        """Have the application send data, expect it as the next segment, and acknowledge it. Raises Violation."""
        await self.app.send(data)
        await self.expect(ACK, seq=self.rcv_nxt, ack=self.snd_nxt, payload=data)
        await self.send(ACK)

    async def collect_segments(self, data: bytes, *, within: float = REACTION_S) -> list[Received]:
        """Have the application send data, and acknowledge each of its segments, in order and without a gap.

        Returns the segments. Raises Violation.
        """
        sending = asyncio.ensure_future(self.app.send(data))
        try:
            segments: list[Received] = []
            at = 0
            while at < len(data):
                received = await self.expect(ACK, seq=self.rcv_nxt, ack=self.snd_nxt, within=within)
                payload = received.segment.payload
                if not payload or payload != data[at : at + len(payload)]:
                    raise Violation(f"expected octets {at} to {len(data)} of what was sent, came {len(payload)} others")
                segments.append(received)
                at += len(payload)
                await self.send(ACK)
            await sending
        finally:
            sending.cancel()
        return segments

    async def confirm(self, state: State, *, probe: bool = True) -> None:
        """Check that the target is in `state`: by a probe that leaves it there, and by the agent's report. Raises Violation."""
        await self._confirmer.confirm(self, state, listener=self._listener, probe=probe)
