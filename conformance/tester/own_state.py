"""The state of our own end, by the arcs of Figure 5 as the table of the standard has them (RFC 9293, 3.3.2)."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping

from conformance.standard.cells import arcs
from conformance.standard.segments import Ack
from conformance.standard.segments import Segment as Stimulus
from conformance.standard.states import State
from conformance.standard.stimuli import Call
from conformance.wire import ACK, FIN, RST, SYN, Flags


def after_sending(state: State, flags: Flags, *, syn_seen: bool) -> State:
    """Return our state once a segment with `flags` has left; `syn_seen` means that the peer's SYN was taken.

    An end that answers a SYN without having sent one was listening. A reset ends the connection on both sides.
    """
    if flags & RST:
        return State.CLOSED
    if flags & SYN:
        event = "answers a SYN" if syn_seen else "opens"
        state = _arc(State.LISTEN if syn_seen and state is State.CLOSED else state, event)
    return _arc(state, "closes") if flags & FIN else state


def after_receiving(state: State, flags: Flags, *, all_acked: bool) -> State:
    """Return our state once a segment with `flags` was taken; `all_acked` means that nothing of ours is unacknowledged."""
    if flags & RST:
        return State.CLOSED
    if state is State.SYN_SENT and flags & SYN:
        state = _arc(state, "SYN,ACK" if flags & ACK else "SYN")
    elif flags & ACK:
        state = _arc(state, "ACK of SYN")
    if all_acked:
        state = _arc(state, "ACK of FIN")
    return _arc(state, "FIN") if flags & FIN else state


def _arc(state: State, event: str) -> State:
    """Follow the arc from `state`; where Figure 5 has none, the state stays."""
    return _arcs().get((state, event), state)


@functools.cache
def _arcs() -> Mapping[tuple[State, str], State]:
    """Return Figure 5 by state and event: our own calls and answers, and what the peer's segments bring."""
    table: dict[tuple[State, str], State] = {}
    for row in arcs():
        outcome = row.outcomes[0]
        event = None
        if isinstance(row.stimulus, Call):
            event = {"syn": "opens", "fin": "closes"}.get(outcome.response.slug)
        elif isinstance(row.stimulus, Stimulus):
            event = _event(row.stimulus)
            if outcome.response.slug == "syn-ack":
                table[row.state, "answers a SYN"] = outcome.next
        if event is not None:
            table[row.state, event] = outcome.next
    return types.MappingProxyType(table)


def _event(stimulus: Stimulus) -> str | None:
    """Return what the segment of an arc brings; None for one that follows from two others, and for a reset."""
    covers_fin = stimulus.ack is Ack.COVERS_FIN
    match sorted(stimulus.flags):
        case ["SYN"]:
            return "SYN"
        case ["ACK", "SYN"]:
            return "SYN,ACK"
        case ["ACK"]:
            return "ACK of FIN" if covers_fin else "ACK of SYN"
        case ["ACK", "FIN"] if not covers_fin:
            return "FIN"
    return None
