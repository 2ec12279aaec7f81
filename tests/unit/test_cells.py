"""The table of cells against a model that was written from the RFC's text alone."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.report import baseline_files
from conformance.standard import _data, catalogue, cells, diagram
from conformance.standard.cells import COLUMNS, Cell, Outcome
from conformance.standard.machine import MODULUS, Endpoint, Reply, Seg, outcomes
from conformance.standard.responses import RESPONSES, Response
from conformance.standard.segments import Ack, Edge, Placed, Segment, Stamp, Variables
from conformance.standard.states import FIN_ACKNOWLEDGED, FIN_OUTSTANDING, FIN_RECEIVED, SYNCHRONIZED, State
from conformance.standard.stimuli import STIMULI, Call, Timeout
from conformance.standard.vocabulary import NEEDS, PROFILES

TEXT = _data.text("cells.tsv")

# What a profile settles; everything else the model explores.
FIXED: Mapping[str, Mapping[str, bool]] = {
    "base": {},
    "5961": {"RFC 5961": True},
    "rfc793-legacy": {"RFC 5961": False, "RFC 6191": False, "MAY-2": False, "RFC 1337": False},
    "mls": {},
    "reuse": {"RFC 5961": True, "RFC 6191": False},
    "6191": {"RFC 5961": True, "RFC 6191": True},
    "1337": {"RFC 1337": True},
    "tfo": {},
    "half-duplex-close": {"MAY-1": True},
}


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The place of a connection in the sequence spaces."""

    iss: int
    irs: int
    sent: int
    taken: int
    window: int
    offered: int


NUMBERS = Numbers(iss=4_294_967_200, irs=4_294_966_000, sent=5000, taken=900, window=8000, offered=6000)

# Half of the draws lie close to 2^32, where the arithmetic has to wrap.
sequence_numbers = st.one_of(st.integers(0, MODULUS - 1), st.integers(MODULUS - 3000, MODULUS - 1))
positions = st.builds(
    Numbers,
    iss=sequence_numbers,
    irs=sequence_numbers.filter(bool),  # 0 is what a RST from nowhere carries, and one cell wants another number
    sent=st.integers(0, 100_000),
    taken=st.integers(0, 100_000),
    window=st.integers(500, 1 << 20),
    offered=st.integers(1000, 1 << 24),
)


@dataclasses.dataclass(frozen=True)
class Seen:
    """One way of the model through one event."""

    state: State
    replies: tuple[Reply, ...]
    result: str
    advanced: bool
    restarted: bool
    after: Variables
    form: bool | None


def variables(end: Endpoint) -> Variables:
    return Variables(end.iss, end.snd_una, end.snd_nxt, end.rcv_nxt, end.rcv_wnd, end.max_snd_wnd)


def endpoint(cell: Cell, at: Numbers) -> Endpoint:
    """A model in the cell's state, with what the cell needs."""
    stimulus, needs = cell.stimulus, cell.needs
    end = Endpoint(
        cell.state,
        passive=cell.origin != "active",
        iss=at.iss,
        snd_una=at.iss,
        snd_nxt=at.iss,
        irs=at.irs,
        rcv_nxt=at.irs,
        rcv_wnd=at.window,
        max_snd_wnd=at.offered,
        unread="unread" in needs,
        pending="pending" in needs,
        reader_gone="reader-gone" in needs,
    )
    if cell.state in (State.SYN_SENT, State.SYN_RECEIVED):
        end.snd_nxt += 1
    if cell.state is State.SYN_RECEIVED:
        end.rcv_nxt += 1
    if cell.state in SYNCHRONIZED:
        end.snd_una += 1 + at.sent + (cell.state in FIN_ACKNOWLEDGED)
        end.snd_nxt = end.snd_una + 100 * ("outstanding" in needs) + (cell.state in FIN_OUTSTANDING)
        end.rcv_nxt += 1 + at.taken + (cell.state in FIN_RECEIVED)
    if isinstance(stimulus, Segment):
        if stimulus.ack is Ack.PART:
            end.snd_nxt += 100  # the data on the SYN
        if stimulus.zero_window:
            end.rcv_wnd = 0
        if stimulus.stamped_before:
            end.stamp = 1000
    for name in ("snd_una", "snd_nxt", "rcv_nxt"):
        setattr(end, name, getattr(end, name) % MODULUS)
    end.snd_wl1, end.snd_wl2 = end.rcv_nxt, end.snd_una
    return end


def segment(stimulus: Segment, at: Placed) -> Seg:
    stamps = {Stamp.NONE: None, Stamp.NEWER: 1010, Stamp.EQUAL: 1000, Stamp.OLDER: 990}
    return Seg(
        at.seq,
        stimulus.flags,
        at.ack,
        at.data,
        wnd=3000 if stimulus.offers else 1000,
        up=at.data if stimulus.urgent else 0,
        stamp=stamps[stimulus.stamp],
        other_security=stimulus.other_security,
        to_group=stimulus.to_group,
        from_invalid=stimulus.from_invalid,
    )


def place(cell: Cell, end: Endpoint) -> Placed | None:
    return cell.stimulus.place(variables(end)) if isinstance(cell.stimulus, Segment) else None


def event(cell: Cell, placed: Placed | None, run: Endpoint) -> None:
    """The cell's stimulus happens to the model."""
    stimulus = cell.stimulus
    if isinstance(stimulus, Call):
        run.call(stimulus.name, stimulus.how)
    elif isinstance(stimulus, Timeout):
        run.timeout(stimulus.name)
    else:
        assert placed is not None
        seg = segment(stimulus, placed)
        run.held = [
            dataclasses.replace(seg, seq=(seg.seq + n * seg.data) % MODULUS) for n in range(1, stimulus.held + 1)
        ]
        for _ in range(stimulus.repeat):
            run.segment_arrives(seg)


def allowed(cell: Cell, at: Numbers) -> list[Seen]:
    """Everything that the text allows in the cell, by the model."""
    start = endpoint(cell, at)
    placed = place(cell, start)
    return [
        Seen(
            run.state,
            tuple(run.sent),
            run.result,
            run.rcv_nxt != start.rcv_nxt,
            run.restarts > 0,
            variables(run),
            run.choices.get("reset takes SND.NXT"),
        )
        for run in outcomes(start, functools.partial(event, cell, placed), FIXED[cell.profile])
    ]


def matches(response: Response, seen: Seen, cell: Cell, start: Endpoint, placed: Placed | None) -> bool:
    """Return True if the model answered in this way, everything compared that the response says."""
    if response.slug in ("ok", "error", "queued", "received", "state"):
        return seen.result == response.slug and not seen.replies
    if seen.result:
        return False
    if response.forms:
        forms = [RESPONSES[slug] for slug in response.forms]
        return any(_is(form, seen, cell, start, placed, why=why) for form in forms for why in ("answer", "own"))
    if response.flags is None or (response.optional and not seen.replies):
        return not seen.replies and not (response.optional and seen.advanced)
    why = {
        "rst": "call",
        "syn": "call",
        "fin": "call",
        "data": "call",
        "data-urgent": "call",
        "probe": "probe",
        "keepalive": "keepalive",
    }
    default = "again" if response.slug.startswith("retransmit") else "answer"
    return _is(response, seen, cell, start, placed, why=why.get(response.slug, default))


def _is(response: Response, seen: Seen, cell: Cell, start: Endpoint, placed: Placed | None, *, why: str) -> bool:
    *parts, last = seen.replies or (None,)
    if last is None or last.why != why:
        return False
    at = dataclasses.replace(seen.after, snd_nxt=start.snd_nxt)  # SND.NXT is taken before the response itself
    try:
        fields = response.fields(at, *((placed.seq, placed.ack, placed.length) if placed else (0, None, 0)))
    except ValueError:
        return False
    assert fields is not None
    flags = last.flags - ({"FIN"} if response.slug == "retransmit" else set())
    repeat = cell.stimulus.repeat if isinstance(cell.stimulus, Segment) else 1
    series = {
        "ack-limited": 1 <= len(seen.replies) < repeat and set(parts) <= {last},
        "ack-new": all(part.flags == last.flags for part in parts),  # parts may be acknowledged before the whole
    }
    timer = isinstance(cell.stimulus, Timeout)  # what came in came before
    return all(
        (
            (flags, last.ack) == (fields.flags, fields.ack) and fields.seq in (last.seq, None),
            series.get(response.slug, not parts),
            response.advances in (None, seen.advanced) or timer,
            seen.restarted == (response.slug == "ack-restart"),
            response.delayed == last.later,
            response.text == bool(last.data) or why in ("again", "probe"),
        )
    )


def fault(cell: Cell, at: Numbers, ways: list[Seen] | None = None) -> str:
    """Why the cell and the model disagree; empty where they agree. `ways`: what `allowed` has found before.

    Each thing that the model does has to be an outcome of the cell, and each outcome something that the model does.
    """
    start = endpoint(cell, at)
    placed = place(cell, start)
    ways = allowed(cell, at) if ways is None else ways
    used: dict[Outcome, set[tuple[bool, bool | None]]] = {outcome: set() for outcome in cell.outcomes}
    for seen in ways:
        fitting = [
            outcome
            for outcome in cell.outcomes
            if outcome.next is seen.state and matches(outcome.response, seen, cell, start, placed)
        ]
        if not fitting:
            return f"{cell.id}: the text also gives {seen.replies or 'silence'}{seen.result} and {seen.state}"
        for outcome in fitting:
            used[outcome].add((bool(seen.replies), seen.form))
    for outcome, ways_seen in used.items():
        several = outcome.response.optional or outcome.response.forms
        if len(ways_seen) < (2 if several else 1):
            return f"{cell.id}: the text does not give {outcome.response.slug} and {outcome.next}"
    return ""


IDS = [cell.id for cell in cells.cells()]


@pytest.mark.parametrize("cell", cells.cells(), ids=IDS)
def test_the_model_agrees_with_every_row(cell: Cell) -> None:
    assert not fault(cell, NUMBERS)


@settings(max_examples=30)
@given(positions)
def test_the_model_agrees_wherever_the_sequence_numbers_lie(at: Numbers) -> None:
    assert not [wrong for cell in cells.cells() if cell.kind != "arc" and (wrong := fault(cell, at))]


def test_windows_follow_the_newer_segment_alone() -> None:
    for cell in cells.cells():
        if cell.stimulus.slug not in ("ack-window-newer", "ack-window-stale"):
            continue
        start = endpoint(cell, NUMBERS)
        for run in outcomes(start, functools.partial(event, cell, place(cell, start)), {}):
            assert (run.snd_wnd == 3000) == (cell.stimulus.slug == "ack-window-newer"), cell.id


# -- wrong rows are noticed --------------------------------------------------------------------------


def rows() -> list[dict[str, str]]:
    return [dict(zip(COLUMNS, line.split("\t"), strict=True)) for line in TEXT.splitlines()[1:]]


def table(lines: Iterable[Mapping[str, str]]) -> str:
    return "\n".join(["\t".join(COLUMNS), *("\t".join(line[name] for name in COLUMNS) for line in lines)]) + "\n"


def read(row: Mapping[str, str]) -> Cell:
    """One row alone, without the rows that it names as twins."""
    return cells.parse(table([{**row, "twin": ""}]), "cells.tsv")[0]


def mutants(row: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The row with one response, or one next state, replaced by each other one; and with one outcome taken away."""
    responses, following = row["responses"].split(" | "), row["next"].split(" | ")
    for index in range(len(responses)):
        for slug in RESPONSES.keys() - {responses[index]}:
            yield {**row, "responses": " | ".join([*responses[:index], slug, *responses[index + 1 :]])}
        for state in set(map(str, State)) - {following[index]}:
            changed = " | ".join([*following[:index], state, *following[index + 1 :]])
            first = cells._survival(State(row["state"]), State(changed.split(" | ")[0]))
            yield {**row, "next": changed, "survives": first}
        if len(responses) > 1:
            others = [n for n in range(len(responses)) if n != index]
            changed = " | ".join(following[n] for n in others)
            first = cells._survival(State(row["state"]), State(changed.split(" | ")[0]))
            yield {**row, "responses": " | ".join(responses[n] for n in others), "next": changed, "survives": first}


@pytest.mark.parametrize("row", rows(), ids=IDS)
def test_a_wrong_response_or_next_state_is_noticed(row: dict[str, str]) -> None:
    ways = allowed(read(row), NUMBERS)  # a mutant differs in what it says, not in what happens

    def noticed(wrong: Mapping[str, str]) -> bool:
        try:
            return bool(fault(read(wrong), NUMBERS, ways))
        except _data.DataError:
            return True

    assert not [f"{wrong['responses']} -> {wrong['next']}" for wrong in mutants(row) if not noticed(wrong)]


# -- the loader names the row and the remedy ---------------------------------------------------------

RST = next(row for row in rows() if row["cell"] == "ESTABLISHED/rst-left-edge")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"state": "ESTABLISHD"}, "there is no state 'ESTABLISHD'; the nearest is ESTABLISHED"),
        ({"next": "CLOSE"}, "there is no state 'CLOSE'; the nearest is CLOSED"),
        ({"next": "LAST-ACK"}, "LAST-ACK cannot be reached from ESTABLISHED by one event"),
        ({"stimulus": "rst-leftedge"}, "there is no stimulus 'rst-leftedge'; the nearest is rst-left-edge"),
        ({"stimulus": "call-close"}, "stimulus 'call-close' is no segment"),
        ({"responses": "silent"}, "there is no response 'silent'; the nearest is silence"),
        ({"responses": "ack"}, "ack leaves the state as it is; next is CLOSED, not ESTABLISHED"),
        ({"responses": "ack-limited", "next": "ESTABLISHED"}, "ack-limited a burst"),
        ({"responses": "syn"}, "syn does not lead to CLOSED; it leads to SYN-SENT"),
        ({"responses": "silence | silence"}, "2 responses and 1 next states"),
        ({"responses": "silence | silence", "next": "CLOSED | CLOSED"}, "there twice"),
        ({"strength": "SHOULD"}, "strength is SHOULD; its requirements make it MUST"),
        ({"strength": "must"}, "strength is 'must'; it should be one of MUST, SHOULD, MAY, text"),
        ({"requirement": "RFC9293:MUST-131"}, "no requirement is called 'RFC9293:MUST-131'; the nearest is"),
        ({"requirement": ""}, "the sentence is none of its requirements'"),
        ({"sentence": "Drop the segment."}, "the sentence is none of its requirements'"),
        ({"profile": "5962"}, "profile is '5962'"),
        ({"needs": "magic"}, "needs is 'magic'"),
        ({"survives": "yes"}, "survives is 'yes'; with CLOSED it is 'no'"),
        ({"origin": "left"}, "origin is 'left'"),
        ({"kind": "frame"}, "kind is 'frame'"),
        ({"event": ""}, "event or section is empty"),
        ({"cell": "ESTABLISHED/rst"}, "the id should begin with ESTABLISHED/rst-left-edge"),
        ({"twin": "ESTABLISHED/rst-right-edge"}, "there is no twin 'ESTABLISHED/rst-right-edge'; the nearest is"),
    ],
)
def test_the_loader_says_what_is_wrong(change: dict[str, str], says: str) -> None:
    with pytest.raises(_data.DataError) as raised:
        cells.parse(table([{**RST, **change}]), "cells.tsv")
    message = str(raised.value)
    assert says in message
    assert "cells.tsv" in message
    assert "SA-142" in message
    assert "\n" not in message


def test_an_id_or_a_number_that_is_there_twice_is_refused() -> None:
    with pytest.raises(_data.DataError, match=r"line 3 .*the id is that of SA-142 too"):
        cells.parse(table([RST, {**RST, "row": "SA-999"}]), "cells.tsv")
    with pytest.raises(_data.DataError, match=r"line 3 .*the row number is that of ESTABLISHED/rst-left-edge too"):
        cells.parse(table([RST, {**RST, "cell": "ESTABLISHED/rst-left-edge-again"}]), "cells.tsv")


def test_a_table_with_other_columns_is_refused() -> None:
    with pytest.raises(_data.DataError, match="line 1: columns are"):
        cells.parse("cell\trow\n", "cells.tsv")
    with pytest.raises(_data.DataError, match=r"line 2: 2 columns; there should be 20"):
        cells.parse("\t".join(COLUMNS) + "\na\tb\n", "cells.tsv")


# -- the table as a whole ----------------------------------------------------------------------------


def test_every_row_has_its_number_and_every_state_its_events() -> None:
    table_rows = cells.cells()
    numbers = sorted(row.row for row in table_rows)
    assert numbers == [f"SA-{number:03}" for number in range(1, len(table_rows) + 1)]
    assert {row.state for row in table_rows if row.kind == "segment"} == set(State)
    assert len(cells.arcs()) == 21


def test_an_arc_is_one_outcome_of_the_row_it_names() -> None:
    for arc in cells.arcs():
        row = cells.cell(arc.twin)
        assert (row.state, row.stimulus) == (arc.state, arc.stimulus)
        assert set(arc.outcomes) <= set(row.outcomes), arc.id


def test_rows_that_differ_between_documents_say_where_each_outcome_comes_from() -> None:
    for row in cells.cells():
        if len(row.outcomes) > 1 and row.kind != "arc":
            assert ":" in row.note or "both" in row.note, row.id


def test_a_row_that_cannot_be_run_says_why_and_a_legacy_row_names_its_twin() -> None:
    for row in cells.cells():
        if row.profile in ("mls", "tfo", "rfc793-legacy"):
            assert row.unseen, row.id
        if row.profile in ("rfc793-legacy", "1337"):
            assert cells.cell(row.twin).stimulus == row.stimulus, row.id
        if row.kind == "call":
            assert row.socket or row.unseen, row.id
    assert sum(row.runs for row in cells.cells()) >= 380


def test_a_cell_is_found_by_id_and_by_number() -> None:
    assert cells.cell("SA-308").id == "FIN-WAIT-1/fin-not-covering-fin"
    assert cells.cell("TIME-WAIT/fin-duplicate").row == "SA-315"
    with pytest.raises(catalogue.UnknownRequirement, match="the nearest is ESTABLISHED/rst-left-edge"):
        cells.cell("ESTABLISHED/rst-leftedge")


# -- the vocabulary ----------------------------------------------------------------------------------

HERE = Variables(iss=10, snd_una=4_294_967_290, snd_nxt=4, rcv_nxt=4_294_967_200, rcv_wnd=200, max_snd_wnd=1000)


@pytest.mark.parametrize(
    ("edge", "seq", "inside"),
    [
        (Edge.OUTSIDE_LEFT, 4_294_967_190, False),
        (Edge.STRADDLE_LEFT, 4_294_967_195, True),
        (Edge.LEFT_EDGE, 4_294_967_200, True),
        (Edge.MIDDLE, 4, True),
        (Edge.RIGHT_EDGE, 103, True),
        (Edge.STRADDLE_RIGHT, 99, True),
        (Edge.OUTSIDE_RIGHT, 104, False),
        (Edge.NATURAL, 4_294_967_200, True),
    ],
)
def test_edges_lie_where_their_names_say(edge: Edge, seq: int, inside: bool) -> None:
    data = Segment("data", frozenset({"ACK"}), edge, Ack.UNA, data=True).place(HERE, 10)
    assert data.seq == seq
    end = Endpoint(State.ESTABLISHED, rcv_nxt=HERE.rcv_nxt, rcv_wnd=HERE.rcv_wnd)
    assert end._acceptable(Seg(data.seq, frozenset(), data.ack, data.data)) == inside


def test_without_a_number_outside_left_is_one_before_the_window() -> None:
    assert Segment("ack", frozenset({"ACK"}), Edge.OUTSIDE_LEFT, Ack.UNA).place(HERE).seq == 4_294_967_199


@pytest.mark.parametrize(
    ("ack", "number"),
    [
        (Ack.NONE, None),
        (Ack.NATURAL, 4),
        (Ack.UNA, 4_294_967_290),
        (Ack.DUPLICATE, 4_294_967_289),
        (Ack.OLD, 4_294_966_289),
        (Ack.BEYOND, 5),
        (Ack.AT_ISS, 10),
        (Ack.PART, 11),
        (Ack.COVERS_FIN, 4),
        (Ack.NOT_COVERING_FIN, 3),
    ],
)
def test_acknowledgments_are_what_their_names_say(ack: Ack, number: int | None) -> None:
    assert Segment("ack", frozenset({"ACK"}), Edge.NATURAL, ack).place(HERE).ack == number


def test_every_word_of_the_vocabulary_is_used() -> None:
    table_rows = cells.cells()
    assert {row.stimulus.slug for row in table_rows} == set(STIMULI)
    forms = {form for response in RESPONSES.values() for form in response.forms}
    assert {outcome.response.slug for row in table_rows for outcome in row.outcomes} | forms == set(RESPONSES)
    assert {need for row in table_rows for need in row.needs} == set(NEEDS)
    assert {row.profile for row in table_rows} == set(PROFILES)


def test_a_response_that_needs_an_ack_refuses_a_segment_without() -> None:
    with pytest.raises(ValueError, match=r"needs SEG\.ACK"):
        RESPONSES["rst-seq-of-ack"].fields(HERE, 1, None, 1)
    assert RESPONSES["ack"].formula == "<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>"
    assert RESPONSES["silence"].formula == ""


def test_the_readme_shows_the_diagram_of_the_table() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert f"```mermaid\n{diagram.mermaid()}\n```" in readme


def test_cases_name_cells_by_state_and_event() -> None:
    folder = Path(__file__).parents[2] / "testcases"
    numbered = re.compile(r"\bSA-\d{3}\b")
    assert not [str(path) for path in folder.rglob("*.py") if numbered.search(path.read_text())]


# Cases that break at a later step than the row's: what follows the answer is theirs alone.
GO_ON = ("test_syn_that_turns_out_to_be_old_leads_back_to_time_wait",)


def test_no_case_denies_an_outcome_that_the_table_allows() -> None:
    """No scripted case may break by the sentences of a row of which a target took an alternative."""
    contradictions = []
    for path in sorted((Path(__file__).parents[2] / "reports" / "baselines").glob("*.json")):
        baseline = baseline_files.load(str(path))
        sentences = {one.key: one.sentence for one in baseline.deviations}
        rows_of = {name: one for name, one in baseline.cases.items() if "::test_segment_arrives[" in name}
        outcomes = {(name.partition("[")[2][:4], one.cells[0]): one for name, one in rows_of.items() if one.cells}
        for name, case in baseline.cases.items():
            row = outcomes.get((name.partition("[")[2][:4], case.cells[0])) if len(case.cells) == 1 else None
            if "s3_10_7_segment_arrives" in name or row is None or row.verdict != "conforms":
                continue
            if name.partition("::")[2].partition("[")[0] in GO_ON:
                continue
            cell = cells.cell(case.cells[0])
            own = {catalogue.requirement(id_).sentence for id_ in cell.requirements}
            its = {f"{outcome.response.slug}, then {outcome.next}" for outcome in cell.outcomes[1:]}
            if sentences.get(case.deviation) in own and its & set(row.choices.values()):
                contradictions.append(f"{baseline.name}: {name} and {cell.id}")
    assert not contradictions
