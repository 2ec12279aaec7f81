"""The documented state machine, one row per state and event (RFC 9293, 3.10.1 to 3.10.8 and Figure 5).

`cells.tsv` holds the rows; `stimuli`, `responses` and `vocabulary` are the words they are written in. A row is checked
when it is read:

1. Its words are known, and its id is `STATE/stimulus`, with a suffix where two rows share both.
2. Every response has its next state, the response can lead there, and the state can be reached from this one.
3. Its requirements exist, their strictest level is its strength, and its sentence is one of theirs.
4. What it says of the connection's survival follows from the next state.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from conformance.standard import _data, catalogue
from conformance.standard.responses import RESPONSES, Response
from conformance.standard.segments import Segment
from conformance.standard.states import SYNCHRONIZED, State
from conformance.standard.stimuli import STIMULI, Call, Stimulus, Timeout
from conformance.standard.vocabulary import NEEDS, PROFILES

COLUMNS: Final = (
    "cell",
    "row",
    "kind",
    "state",
    "origin",
    "event",
    "stimulus",
    "responses",
    "next",
    "strength",
    "requirement",
    "profile",
    "section",
    "needs",
    "survives",
    "socket",
    "unseen",
    "twin",
    "sentence",
    "note",
)
KINDS: Final = ("segment", "call", "timeout", "arc")
ORIGINS: Final = ("passive", "active", "either")
STRENGTHS: Final = ("MUST", "SHOULD", "MAY", "text")
SURVIVES: Final = ("yes", "closing", "no")
"""`yes`: both directions work, now or once the handshake is completed; a listener goes on listening. `closing`: at
least one direction has ended, and what is left still works. `no`: there is no connection."""

_EVERYWHERE: Final = frozenset({State.CLOSED})
# Beside staying: Figure 5, its notes, and the steps of 3.10.7 that pass through two of its arcs at once.
# Note 3 lets the sender of a RST go to TIME-WAIT.
_LEADS: Final[Mapping[State, frozenset[State]]] = types.MappingProxyType(
    {
        State.CLOSED: frozenset({State.LISTEN, State.SYN_SENT}),
        State.LISTEN: frozenset({State.SYN_SENT, State.SYN_RECEIVED}),
        State.SYN_SENT: frozenset({State.SYN_RECEIVED, State.ESTABLISHED, State.CLOSE_WAIT}),
        State.SYN_RECEIVED: frozenset(
            {State.LISTEN, State.ESTABLISHED, State.FIN_WAIT_1, State.CLOSE_WAIT, State.TIME_WAIT}
        ),
        State.ESTABLISHED: frozenset({State.FIN_WAIT_1, State.CLOSE_WAIT, State.TIME_WAIT}),
        State.FIN_WAIT_1: frozenset({State.FIN_WAIT_2, State.CLOSING, State.TIME_WAIT}),
        State.FIN_WAIT_2: frozenset({State.TIME_WAIT}),
        State.CLOSE_WAIT: frozenset({State.LAST_ACK, State.TIME_WAIT}),
        State.CLOSING: frozenset({State.TIME_WAIT}),
        State.LAST_ACK: frozenset({State.TIME_WAIT}),
        State.TIME_WAIT: frozenset({State.SYN_RECEIVED}),
    }
)
_STIMULUS_OF: Final[Mapping[str, type[Segment | Call | Timeout]]] = types.MappingProxyType(
    {"segment": Segment, "call": Call, "timeout": Timeout}
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One thing that is allowed: the response, the state that it leaves, and what that leaves of the connection."""

    response: Response
    next: State
    survives: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the documented machine.

    `outcomes` are alternatives; where two documents disagree, `note` gives each its source. `survives` is that of the
    first. `socket` says how a call and its outcome, or what the application is told, look through the BSD socket API.
    `unseen` is the reason why the row cannot be run, empty for a row that can. `twin` is the id of the row that this
    one is an alternative of, or the row behind an arc. `needs` are words of NEEDS. `row` is the running number.
    """

    id: str
    row: str
    kind: str
    state: State
    origin: str
    event: str
    stimulus: Stimulus
    outcomes: tuple[Outcome, ...]
    strength: str
    requirements: tuple[str, ...]
    profile: str
    sections: tuple[str, ...]
    needs: tuple[str, ...]
    survives: str
    socket: str
    unseen: str
    twin: str
    sentence: str
    note: str

    @property
    def runs(self) -> bool:
        """True if the row can be run against a target at all."""
        return not self.unseen

    @property
    def segment(self) -> Segment:
        """The stimulus of a row whose event is a segment. Raises TypeError for another row."""
        if not isinstance(self.stimulus, Segment):
            raise TypeError(f"{self.id}: its event is no segment, it is {self.stimulus.slug}")
        return self.stimulus

    @property
    def call(self) -> Call:
        """The stimulus of a row whose event is a call. Raises TypeError for another row."""
        if not isinstance(self.stimulus, Call):
            raise TypeError(f"{self.id}: its event is no call, it is {self.stimulus.slug}")
        return self.stimulus


def parse(content: str, where: str) -> tuple[Cell, ...]:
    """Return the rows of a table in the form of `cells.tsv`; `where` names it in errors.

    Raises:
        DataError: a row breaks one of the four rules above; the message names the line, the row and the remedy.
    """
    by_id: dict[str, Cell] = {}
    rows: dict[str, str] = {}
    for line, fields in _data.tsv(content, where, COLUMNS):
        here = f"{where}, line {line} ({fields['row'] or 'no row'}, {fields['cell'] or 'no cell'})"
        cell = _cell(fields, here)
        if cell.id in by_id:
            raise _data.DataError(f"{here}: the id is that of {by_id[cell.id].row} too; a suffix tells them apart")
        if cell.row in rows:
            raise _data.DataError(f"{here}: the row number is that of {rows[cell.row]} too")
        by_id[cell.id], rows[cell.row] = cell, cell.id
    for cell in by_id.values():
        if cell.twin and cell.twin not in by_id:
            near = _data.nearest(cell.twin, by_id)
            raise _data.DataError(f"{where} ({cell.row}, {cell.id}): there is no twin {cell.twin!r}{near}")
    return tuple(by_id.values())


@functools.cache
def cells() -> tuple[Cell, ...]:
    """Return every row, in the table's order.

    Raises:
        DataError: the table is wrong.
    """
    return parse(_data.text("cells.tsv"), "cells.tsv")


@functools.cache
def _index() -> Mapping[str, Cell]:
    by_id = {cell.id: cell for cell in cells()}
    return types.MappingProxyType(by_id | {cell.row: cell for cell in cells()})


def cell(name: str) -> Cell:
    """Return the row with that id (`ESTABLISHED/rst-left-edge`) or running number (`SA-142`).

    Raises:
        UnknownRequirement: there is none; the message gives the nearest one.
    """
    row = _index().get(name)
    if row is None:
        raise catalogue.UnknownRequirement(f"no cell is called {name!r}{_data.nearest(name, _index())}")
    return row


def arcs() -> tuple[Cell, ...]:
    """Return the 21 arcs of Figure 5 and its note 2."""
    return tuple(row for row in cells() if row.kind == "arc")


def _cell(fields: Mapping[str, str], here: str) -> Cell:
    _data.one_of(fields["kind"], KINDS, here, "kind")
    _data.one_of(fields["origin"], ORIGINS, here, "origin")
    _data.one_of(fields["strength"], STRENGTHS, here, "strength")
    _data.one_of(fields["survives"], SURVIVES, here, "survives")
    _data.one_of(fields["profile"], PROFILES, here, "profile")
    if not fields["event"] or not fields["section"]:
        raise _data.DataError(f"{here}: event or section is empty; a report cannot name the row without them")
    state = _state(fields["state"], here)
    stimulus = _stimulus(fields, here)
    outcomes = _outcomes(fields, state, here)
    requirements = _requirements(fields, here)
    needs = _list(fields["needs"])
    for word in needs:
        _data.one_of(word, NEEDS, here, "needs")
    first = outcomes[0]
    if fields["survives"] != first.survives:
        raise _data.DataError(f"{here}: survives is {fields['survives']!r}; with {first.next} it is {first.survives!r}")
    return Cell(
        id=fields["cell"],
        row=fields["row"],
        kind=fields["kind"],
        state=state,
        origin=fields["origin"],
        event=fields["event"],
        stimulus=stimulus,
        outcomes=outcomes,
        strength=fields["strength"],
        requirements=requirements,
        profile=fields["profile"],
        sections=_list(fields["section"]),
        needs=needs,
        survives=fields["survives"],
        socket=fields["socket"],
        unseen=fields["unseen"],
        twin=fields["twin"],
        sentence=fields["sentence"],
        note=fields["note"],
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _state(text: str, here: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise _data.DataError(f"{here}: there is no state {text!r}{_data.nearest(text, map(str, State))}") from None


def _stimulus(fields: Mapping[str, str], here: str) -> Stimulus:
    slug, kind = fields["stimulus"], fields["kind"]
    if slug not in STIMULI:
        raise _data.DataError(f"{here}: there is no stimulus {slug!r}{_data.nearest(slug, STIMULI)}")
    stimulus = STIMULI[slug]
    if kind != "arc" and not isinstance(stimulus, _STIMULUS_OF[kind]):
        raise _data.DataError(f"{here}: stimulus {slug!r} is no {kind}; kind and stimulus have to agree")
    origin = f"({fields['origin']})" if fields["state"] == "SYN-RECEIVED" and fields["origin"] != "either" else ""
    start = f"arc/{fields['state']}-" if kind == "arc" else f"{fields['state']}{origin}/{slug}"
    if not fields["cell"].startswith(start):
        raise _data.DataError(f"{here}: the id should begin with {start}")
    return stimulus


def _outcomes(fields: Mapping[str, str], state: State, here: str) -> tuple[Outcome, ...]:
    responses = [part.strip() for part in fields["responses"].split("|")]
    states = [part.strip() for part in fields["next"].split("|")]
    if len(responses) != len(states):
        raise _data.DataError(f"{here}: {len(responses)} responses and {len(states)} next states; each has its own")
    outcomes = []
    for slug, text in zip(responses, states, strict=True):
        if slug not in RESPONSES:
            raise _data.DataError(f"{here}: there is no response {slug!r}{_data.nearest(slug, RESPONSES)}")
        following = _state(text, here)
        outcome = Outcome(RESPONSES[slug], following, _survival(state, following))
        _check(outcome, state, here)
        _check_series(outcome.response, STIMULI[fields["stimulus"]], here)
        if outcome in outcomes:
            raise _data.DataError(f"{here}: {slug} and {text} are there twice; once will do")
        outcomes.append(outcome)
    optional = {outcome.next for outcome in outcomes if outcome.response.slug == "optional-ack"}
    if any(outcome.next in optional and outcome.response.slug in ("ack", "silence") for outcome in outcomes):
        raise _data.DataError(f"{here}: optional-ack already stands for ack and for silence")
    return tuple(outcomes)


def _check(outcome: Outcome, state: State, here: str) -> None:
    response, following = outcome.response, outcome.next
    if following is not state and following not in _LEADS[state] | _EVERYWHERE:
        raise _data.DataError(f"{here}: {following} cannot be reached from {state} by one event (RFC 9293, Figure 5)")
    if response.keeps and following is not state:
        raise _data.DataError(f"{here}: {response.slug} leaves the state as it is; next is {following}, not {state}")
    if response.moves and following is state:
        raise _data.DataError(f"{here}: {response.slug} goes with a change of state; next is {following} again")
    if following not in response.leads:
        leads = ", ".join(sorted(map(str, response.leads)))
        raise _data.DataError(f"{here}: {response.slug} does not lead to {following}; it leads to {leads}")


def _check_series(response: Response, stimulus: Stimulus, here: str) -> None:
    held = isinstance(stimulus, Segment) and stimulus.held > 0
    burst = isinstance(stimulus, Segment) and stimulus.repeat > 1
    if held != (response.slug == "ack-once") or burst != (response.slug == "ack-limited"):
        raise _data.DataError(f"{here}: ack-once answers held segments, ack-limited a burst, and nothing else does")


def _requirements(fields: Mapping[str, str], here: str) -> tuple[str, ...]:
    names = _list(fields["requirement"])
    known = catalogue.requirements()
    for name in names:
        if name not in known:
            raise _data.DataError(f"{here}: no requirement is called {name!r}{_data.nearest(name, known)}")
    if not names or fields["sentence"] not in {known[name].sentence for name in names} or not fields["sentence"]:
        raise _data.DataError(f"{here}: the sentence is none of its requirements'; a row rests on one of them")
    level = catalogue.level_of(names)
    if fields["strength"] != level:
        raise _data.DataError(f"{here}: strength is {fields['strength']}; its requirements make it {level}")
    return names


def _survival(state: State, following: State) -> str:
    if following is State.CLOSED or (following is State.LISTEN and state not in (State.LISTEN, State.CLOSED)):
        return "no"
    return "closing" if following in SYNCHRONIZED and following is not State.ESTABLISHED else "yes"
