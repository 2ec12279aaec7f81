"""Say what a target must have for a row, and how long the row waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from conformance.case.lasts import Lasts, after
from conformance.cells.giving_up import r2_of
from conformance.standard.cells import Cell
from conformance.standard.segments import Ack, Segment
from conformance.standard.states import State

_ALONE: Final = (State.CLOSED, State.LISTEN, State.SYN_RECEIVED, State.ESTABLISHED)
_OF_CALLS: Final = {"call-send-urgent": ("urgent",), "call-abort": ("abort",)}
_OF_NEEDS: Final = {"user-timeout": "options:TCP_USER_TIMEOUT", "keepalive": "keepalive"}
_LASTS: Final[Mapping[str, Lasts]] = {
    "timeout-2msl": after("time-wait", 4),
    "timeout-user": 2.5,
    "timeout-r2": 4.0,
    "timeout-keepalive": 4.0,
}
_RETRANSMISSION_LASTS: Final[Mapping[State, Lasts]] = {
    State.SYN_SENT: after("syn-rto", 1, intervals=3),
    State.SYN_RECEIVED: after("syn-ack-rto", 1, intervals=3),
}


def capabilities(cell: Cell, *, wrap: bool = False) -> tuple[str, ...]:
    """Return the capabilities that a target must have for the row, the settings aside.

    `wrap`: our sequence numbers pass 2^32 in it.
    """
    match cell.kind:
        case "segment":
            return (_application(cell, wrap=wrap), *(name for name in ("group-address",) if name in cell.needs))
        case "call":
            state = ("state",) if "state" in cell.needs else ()
            return ("app", *state, *_OF_CALLS.get(cell.stimulus.slug, ()))
        case "timeout":
            # The first probe waits for the timeout, which grows with the round trip.
            prompt = ("prompt-wire",) if cell.stimulus.slug == "timeout-persist" else ()
            return ("app", *(name for word, name in _OF_NEEDS.items() if word in cell.needs), *prompt)
    return ("app",)


def settings(cell: Cell) -> Mapping[str, str]:
    """Return the settings that the row needs, by the names that the target's profile has for them."""
    if cell.stimulus.slug == "timeout-r2":
        name, count = r2_of(cell.state)
        return {name: str(count)}
    return {"rfc1337": "1"} if cell.profile == "1337" else {}


def lasts(cell: Cell) -> Lasts:
    """Return about how long the row waits."""
    if cell.stimulus.slug == "timeout-retransmission":
        return _RETRANSMISSION_LASTS.get(cell.state, 2.0)
    return _LASTS.get(cell.stimulus.slug, 0.0)


def wraps(cell: Cell) -> bool:
    """Return True if our numbers can pass 2^32 in the row: its segment takes numbers, or it goes on afterwards."""
    segment = cell.stimulus
    if not cell.runs or not isinstance(segment, Segment) or segment.from_invalid or segment.to_group:
        return False
    takes_numbers = segment.data or bool(segment.flags & {"SYN", "FIN"})
    if takes_numbers or cell.state in (State.CLOSED, State.LISTEN):
        return takes_numbers
    return cell.state is not State.SYN_SENT or all(outcome.next is not State.CLOSED for outcome in cell.outcomes)


def _application(cell: Cell, *, wrap: bool) -> str:
    """Return how much of an application a segment's row needs: one to be asked, or a port that is open."""
    segment, ends = cell.segment, {outcome.next for outcome in cell.outcomes}
    opens = cell.origin == "active" or (wrap and cell.origin == "either")
    asks = segment.zero_window or segment.urgent or segment.from_invalid or bool(cell.needs)
    # It has to read what came before, or to send what is acknowledged.
    serves = segment.offers or segment.ack is Ack.DUPLICATE or segment.repeats_text or segment.leaves_hole
    if opens or asks or serves or not {cell.state, *ends} <= set(_ALONE):
        return "app"
    # Data that arrives must be read, and nothing said about it.
    return "discard-port" if State.ESTABLISHED in (cell.state, *ends) else "open-port"
