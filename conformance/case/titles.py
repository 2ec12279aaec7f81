"""A case's title: one short sentence about the target's behaviour, the same in every report.

A written case's title is the first line of its docstring. The line may name parameters as `{state}`; where it names
none, the words of the case's pytest id follow in brackets. A row of the state machine has a title of its own, `{cell}`.
"""

from __future__ import annotations

import re
import string
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any, Final

from conformance.standard.cells import Cell
from conformance.standard.states import State

_STATES: Final = re.compile(
    r"\b(" + "|".join(sorted((state.value.lower() for state in State), key=len, reverse=True)) + r")\b"
)
_TERMS: Final = re.compile(
    r"\b(syn|ack|fin|rst|urg|psh|ece|cwr|sack|mss|iss|rfc|ecn)\b(-(ack)\b)?"  # a pair is written SYN,ACK
)


def title_of(line: str, params: Mapping[str, Any], case: str) -> str:
    """Return the title that `line`, the first of a docstring, makes with a case's parameters and the rest of its id.

    Raises:
        ValueError: the line names a parameter that the case does not have, or that has no words.
    """
    line = line.strip()
    names = [name for _, name, _, _ in string.Formatter().parse(line) if name is not None]
    if unknown := [name for name in names if name not in params]:
        raise ValueError(f"the docstring's first line names {{{unknown[0]}}}, which is no parameter of the case")
    if names:
        return line.format_map({name: _value(name, params[name]) for name in names})
    return f"{line.rstrip('.')} ({words(case)})." if case else line


def words(case: str) -> str:
    """Return the part of a case's id that says which parameters it has, in words: `FIN-WAIT-1 without SACK`."""
    text = _STATES.sub(lambda match: match[0].upper().replace("-", "\0"), case.removeprefix("in-"))
    text = _TERMS.sub(lambda match: match[0].upper().replace("-", ","), text)
    text = text.replace("snd-nxt", "SND.NXT")
    return re.sub(r"(?<=\w)-", " ", text).replace("\0", "-")


def _value(name: str, value: Any) -> str:
    if isinstance(value, Cell):
        return sentence(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, str | int):
        return str(value)
    raise ValueError(f"the docstring's first line names {{{name}}}, which has no words; leave it to the case's id")


def sentence(cell: Cell) -> str:
    """Return a row of the state machine as a sentence: its state, its event, and the outcomes that are allowed."""
    place, _, key = cell.id.partition("/")
    if cell.kind == "arc":
        return f"Figure 5: {cell.state} leads to {cell.outcomes[0].next} on {cell.event.removeprefix('rcv ')}"
    verb = {"segment": "gets", "call": "", "timeout": "sends"}[cell.kind]
    answers = _CALLS if cell.kind == "call" else _ANSWERS
    nexts: dict[str, list[State]] = {}
    for outcome in cell.outcomes:
        nexts.setdefault(answers[outcome.response.slug], []).append(outcome.next)
    allowed = [f"{answer}{_leads(cell.state, states)}" for answer, states in nexts.items()]
    if len(set(map(tuple, nexts.values()))) == 1:  # the state is named once where all answers lead to the same
        allowed[:-1] = list(nexts)[:-1]
    does = " ".join(part for part in (_EVENTS[key], verb, " or ".join(allowed)) if part)
    return f"{place.replace('(', ' (')}: {does}"


def _leads(state: State, following: list[State]) -> str:
    if following == [state]:
        return ""
    moved = [str(each) for each in dict.fromkeys(following) if each is not state]
    return f", then {' or '.join(moved)}{' or not' if state in following else ''}"


# How a row's response is named behind "gets" or "sends".
_ANSWERS: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "silence": "nothing",
        "rst-ack-of-segment": "a RST,ACK",
        "rst-seq-of-ack": "a RST",
        "rst": "a RST",
        "reset": "a RST",
        "ack": "an ACK",
        "ack-restart": "an ACK and 2 MSL anew",
        "ack-limited": "few ACKs",
        "optional-ack": "at most an ACK",
        "ack-syn": "an ACK",
        "ack-new": "an ACK of it",
        "ack-once": "one ACK of all",
        "syn": "a SYN",
        "syn-ack": "a SYN,ACK",
        "fin": "a FIN",
        "data": "the data",
        "retransmit-syn": "the SYN again",
        "retransmit-syn-ack": "the SYN,ACK again",
        "retransmit": "the oldest segment again",
        "probe": "a window probe",
        "keepalive": "a keep-alive",
    }
)
# The same behind the name of a call.
_CALLS: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "silence": "sends nothing",
        "rst": "sends a RST",
        "syn": "sends a SYN",
        "fin": "sends a FIN",
        "data": "sends the data",
        "data-urgent": "sends the data with URG",
        "ok": "succeeds",
        "error": "fails",
        "queued": "waits",
        "received": "returns data",
        "state": "returns the state",
    }
)
# How a row's event is named, by the part of its id behind the state.
_EVENTS: Final[Mapping[str, str]] = types.MappingProxyType(
    {
        "rst": "a RST",
        "rst-ack": "a RST,ACK",
        "syn": "a SYN",
        "syn-data": "a SYN with data",
        "fin-no-ack": "a FIN without ACK",
        "data-no-ack": "data without ACK",
        "no-flags": "a segment without flags",
        "ack": "an ACK",
        "syn-ack": "a SYN,ACK",
        "fin": "a FIN",
        "data": "data",
        "syn-rst": "a SYN,RST",
        "syn-fin": "a SYN,FIN",
        "syn-security": "a SYN of another security",
        "syn-to-group": "a SYN to a group address",
        "syn-from-invalid": "a SYN from an invalid address",
        "ack-at-iss": "an ACK of ISS",
        "ack-beyond": "an ACK beyond SND.NXT",
        "syn-ack-at-iss": "a SYN,ACK of ISS",
        "syn-ack-beyond": "a SYN,ACK beyond SND.NXT",
        "fin-ack-at-iss": "a FIN,ACK of ISS",
        "rst-ack-at-iss": "a RST,ACK of ISS",
        "rst-ack-beyond": "a RST,ACK beyond SND.NXT",
        "rst-ack-acceptable": "an acceptable RST,ACK",
        "rst-ack-other-seq": "a RST,ACK with a sequence number",
        "ack-security": "an ACK of another security",
        "syn-ack-acceptable": "an acceptable SYN,ACK",
        "syn-ack-data": "an acceptable SYN,ACK with data",
        "syn-ack-fin": "an acceptable SYN,ACK with FIN",
        "syn-ack-urg": "an acceptable SYN,ACK with URG",
        "syn-ack-part": "a SYN,ACK of a part of the data",
        "ack-acceptable": "an acceptable ACK",
        "fin-acceptable": "an acceptable FIN",
        "ack-outside-left": "an ACK left of the window",
        "ack-outside-right": "an ACK right of the window",
        "data-outside-left": "data left of the window",
        "data-outside-right": "data right of the window",
        "zero-window-ack": "an ACK beside a zero window",
        "zero-window-data": "data at a zero window",
        "rst-outside-left": "a RST left of the window",
        "syn-outside-left": "a SYN left of the window",
        "data-straddle-left-acceptable": "data on the left edge",
        "data-straddle-right-acceptable": "data on the right edge",
        "data-straddle-left": "data on the left edge",
        "data-straddle-right": "data on the right edge",
        "data-hole": "data behind a hole",
        "fin-hole": "a FIN behind a hole",
        "rst-left-edge": "a RST at RCV.NXT",
        "rst-middle": "a RST within the window",
        "rst-middle-legacy": "a RST within the window (RFC 793)",
        "rst-data": "a RST with data",
        "rst-left-edge-1337": "a RST at RCV.NXT (RFC 1337)",
        "syn-burst": "a burst of SYNs",
        "syn-middle": "a SYN within the window",
        "syn-middle-legacy": "a SYN within the window (RFC 793)",
        "syn-ack-outside-left": "a repeated SYN,ACK",
        "syn-outside-left-legacy": "a SYN left of the window (RFC 793)",
        "syn-newer-seq": "a SYN with a newer number",
        "syn-stamp-newer": "a SYN with a newer TSval",
        "syn-stamp-equal": "a newer SYN with an equal TSval",
        "syn-stamp-gone": "a newer SYN without timestamps",
        "syn-stamp-older": "a SYN with an older TSval",
        "syn-stamp-first": "a SYN with new timestamps",
        "syn-no-stamp-newer": "a newer SYN, never timestamps",
        "syn-no-stamp-older": "an older SYN, never timestamps",
        "no-ack": "a segment without ACK",
        "data-ack-old": "data with a very old ACK",
        "ack-old": "a very old ACK",
        "data-acceptable": "data in order",
        "ack-new": "an ACK of new data",
        "ack-duplicate": "a duplicate ACK",
        "ack-window-newer": "a window update",
        "ack-window-stale": "a stale window",
        "ack-new-not-fin": "an ACK of data, not of the FIN",
        "ack-covers-fin": "the ACK of its FIN",
        "ack-not-covering-fin": "an ACK short of its FIN",
        "urg-data": "urgent data in order",
        "urg": "URG",
        "data-psh": "data with PSH",
        "data-reader-gone": "data after CLOSE",
        "fin-data": "a FIN with data",
        "fin-covers-fin": "a FIN that acknowledges its FIN",
        "fin-not-covering-fin": "a FIN that crosses its FIN",
        "fin-data-not-covering-fin": "a FIN with data that crosses its FIN",
        "fin-duplicate": "the FIN again",
        "data-fill-hole": "data that fills a hole",
        "call-open-passive": "a passive OPEN",
        "call-open-active": "an active OPEN",
        "call-open-unspecified": "an active OPEN without a peer",
        "call-send": "SEND",
        "call-send-unspecified": "SEND without a peer",
        "call-send-urgent": "an urgent SEND",
        "call-receive": "RECEIVE",
        "call-close": "CLOSE",
        "call-close-pending": "CLOSE with data pending",
        "call-close-unread": "CLOSE with unread data",
        "call-abort": "ABORT",
        "call-status": "STATUS",
        "timeout-user": "the user timeout",
        "timeout-retransmission": "the retransmission timeout",
        "timeout-r2": "R2",
        "timeout-2msl": "the 2 MSL timeout",
        "timeout-persist": "the persist timer",
        "timeout-keepalive": "the keep-alive timer",
        "timeout-delayed-ack": "the delayed ACK timer",
    }
)
