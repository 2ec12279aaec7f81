"""The target's state, confirmed by a probe that leaves it there, and by the agent's own word."""

from __future__ import annotations

from collections.abc import Collection

from conformance.case.app import Application, AppSocket
from conformance.judge import Expectation, Violation
from conformance.standard.states import State
from conformance.target import AgentFault
from conformance.tester.clock import SECOND
from conformance.tester.connection import WireConnection, resets
from conformance.tester.setting import Setting
from conformance.wire import ACK, RST, SYN

_WORD_S = 0.25
_WORD_EVERY_S = 0.01
_NO_CONNECTION = frozenset({State.CLOSED, State.LISTEN, State.SYN_SENT})
# What the answer to a probe rules out, whatever the stack does wrong: a SYN,ACK comes from a port that listens alone, and
# both numbers of a connection are known to nobody but a stack that has it. A reset proves nothing: a stack may send it
# where it must not. Nor does the answer tell ESTABLISHED from what follows it.
_CONTRADICTED = {State.LISTEN: frozenset({State.CLOSED})} | {
    state: _NO_CONNECTION for state in State if state not in _NO_CONNECTION | {State.SYN_RECEIVED}
}


class Confirmer:
    """Asks one case's target for states. `probes` is False where its profile has the agent's word alone count."""

    def __init__(self, setting: Setting, app: Application, capabilities: Collection[str], *, probes: bool) -> None:
        self._setting, self._app, self._capabilities, self._probes = setting, app, capabilities, probes

    @property
    def has_app(self) -> bool:
        """Tell whether the target has an application that can be asked to do things."""
        return "app" in self._capabilities

    async def state_of(self, conn: WireConnection) -> State | None:
        """Return the agent's own word about the connection's state; None where the target has no such word."""
        if "state" not in self._capabilities or not conn.has_remote_port:
            return None
        return await self._app.state(conn.remote_port, conn.port, conn.address)

    async def confirm(
        self, conn: WireConnection, state: State, *, listener: AppSocket | None = None, probe: bool = True
    ) -> None:
        """See that the target's end of `conn`, which opened through `listener`, is in `state`. Raises Violation."""
        trace, clock = self._setting.trace, self._setting.clock
        probe = probe and (self._probes or "state" not in self._capabilities)
        if probe:
            await self.probe(conn, state)
            if "state" not in self._capabilities and state in (State.CLOSED, State.LISTEN) and conn.syn_was_seen:
                await self._see_it_gone(conn, state)
        word = await self._word(conn, state, listener)
        at_ns = clock.now_ns()
        if word is not None and word is not state:
            if probe and word in _CONTRADICTED.get(state, ()):
                await self._see_who_is_right(conn, state, word)
            trace.step("state", at_ns, ok=False, side="target", state=word.value, text=f"agent says {word.value}")
            trace.state(at_ns, word.value, "agent")
            raise Violation(f"the target is in {word.value}, it had to be in {state.value}")
        by = "probe" if word is None else "agent"
        trace.step("state", at_ns, ok=True, side="target", state=state.value, text=f"{by} says {state.value}")
        trace.state(at_ns, state.value, by)

    async def _see_it_gone(self, conn: WireConnection, state: State) -> None:
        """See that no connection is left, also none in SYN-RECEIVED, which resets what CLOSED resets. Raises Violation.

        RFC 9293 section 3.10.7.4, first check: an old octet is acknowledged wherever there is a connection.
        """
        ack = conn.acked if conn.has_acked else conn.rcv_nxt
        await conn.inject(ACK, seq=conn.snd_nxt - 2, ack=ack, payload=b"\0", text="probe: an old octet")
        gone = resets(seq=ack, label="no connection:")
        which, _ = await conn.expect_any(*gone, Expectation(ACK, length=0, label="a connection:"))
        if which == len(gone):
            raise Violation(f"the target still has a connection, it had to be in {state.value}")

    async def _see_who_is_right(self, conn: WireConnection, state: State, word: State) -> None:
        """Ask the wire again: where it contradicts the agent before and after its word, the agent is wrong: AgentFault."""
        try:
            await self.probe(conn, state)
        except Violation:
            return  # by now it is as the agent says
        proved = "that the port listens" if state is State.LISTEN else "a connection, with its numbers"
        raise AgentFault(f"the agent says {word.value}, and the wire proves {proved}: the agent is wrong")

    async def _word(self, conn: WireConnection, wanted: State, listener: AppSocket | None) -> State | None:
        """Return the agent's word, asked again for a moment while it differs: a segment may still be on its way up."""
        clock = self._setting.clock
        until_ns = clock.now_ns() + round(_WORD_S * SECOND)
        while True:
            word = await self.state_of(conn)
            # The socket API has no connection in LISTEN: the four-tuple is gone and its listener remains.
            if word is State.CLOSED and wanted is State.LISTEN and listener is not None:
                word = await self._app.state(listener.port, 0)
            elif word is State.LISTEN and wanted is State.CLOSED:
                word = State.CLOSED
            if word is None or word is wanted or clock.now_ns() > until_ns:
                return word
            await clock.sleep(_WORD_EVERY_S)

    async def probe(self, conn: WireConnection, state: State) -> None:
        """Probe for the state by a segment that leaves it as it is. Raises Violation."""
        remote_port = conn.remote_port  # NotYet where the target has not opened the connection
        if state is State.CLOSED:
            # RFC 9293 section 3.10.7.1: everything but a reset is answered by one.
            sent = await conn.inject(ACK, ack=0x01020304, text="probe: is there a connection?")
            await conn.expect_reset(seq=sent.segment.ack, label="no connection:")
        elif state is State.LISTEN:
            await self.probe_listening(remote_port)
        elif state is State.SYN_SENT:
            # Section 3.10.7.3, first check: an acknowledgment of nothing that was sent is reset, and the state stays.
            sent = await conn.inject(ACK, ack=conn.irs, text="probe: an unacceptable acknowledgment")
            await conn.expect_reset(seq=sent.segment.ack, label="answer to the probe:")
        else:
            await conn.probe()

    async def probe_listening(self, remote_port: int) -> None:
        """See that a port listens: a SYN from a port of its own is answered by SYN,ACK, and then taken back. Raises Violation."""
        beside = WireConnection(self._setting, port=self._setting.station.own_port(), remote_port=remote_port)
        await beside.send(SYN, text="probe: does the port listen?")
        await beside.expect(SYN | ACK, ack=beside.snd_nxt, label="it listens:")
        await beside.inject(RST, text="probe: taken back")
