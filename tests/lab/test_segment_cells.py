"""Turning one row of the documented machine wrong makes its case fail, on the real stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from conformance.case.case import Case
from conformance.case.info import CaseInfo, settings_by
from conformance.cells.preconditions import capabilities, settings, wraps
from conformance.cells.segments import run_segment
from conformance.cells.usable import works
from conformance.judge import Verdict
from conformance.run.attempts import Attempts
from conformance.run.outcome import Outcome as CaseOutcome
from conformance.run.run import Run
from conformance.standard.cells import Cell, Outcome, cells
from conformance.standard.profile import profile
from conformance.standard.responses import RESPONSES, Response
from conformance.standard.states import SYNCHRONIZED, State
from conformance.target import HarnessFault
from conformance.target.netns import NetnsTarget
from conformance.wire import RST, dissect

QUARTER = 1 << 30
FAILS = (Verdict.VIOLATES, Verdict.BREAKS_SHOULD)
KNOWN = profile("linux").deviations
ROWS = [row for row in cells() if row.kind == "segment" and row.runs and "group-address" not in row.needs]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    item = Run(
        NetnsTarget(), output=tmp_path_factory.mktemp("mutants"), concurrency=128, strict=True, command="mutants"
    )
    try:
        item.start()
        item.open_record()
    except HarnessFault as error:
        item.stop()
        pytest.skip(f"needs the embedded lab: {error}")
    yield item
    item.stop()


def outcomes(run: Run, rows: list[Cell]) -> dict[str, CaseOutcome]:
    """Run the rows side by side, all of them over IPv4."""

    async def case(cell: Cell, tcp: Case) -> None:
        await run_segment(tcp, cell)

    futures = {row.id: run.submit(_info(row), case, {"cell": row}) for row in rows}
    return {name: future.result(120) for name, future in futures.items()}


def _info(row: Cell) -> CaseInfo:
    # It names no cell, so that no known deviation of the profile hides what is seen.
    return CaseInfo(
        id=row.id,
        title=row.event,
        description="",
        document="RFC9293",
        section="3.10.7",
        level="MUST",
        requirements=row.requirements,
        claims=(),
        cells=(),
        needs=capabilities(row),
        lasts_s=0,
        quick=True,
        alone=bool(settings(row)),
        sysctl=settings_by(profile("linux"), settings(row))[0],
    )


# Each takes a row, and gives its wrong outcomes; none where the row has nothing of that kind.


def wrong_response(row: Cell) -> list[Outcome]:
    """Silence for a segment, a segment for silence."""
    silent = [one.response.flags is None and not one.response.forms for one in row.outcomes]
    if any(one.response.optional for one in row.outcomes) or (any(silent) and not all(silent)):
        wrong = RESPONSES["rst"]
    else:
        wrong = RESPONSES["ack" if all(silent) else "silence"]
    return [replace(one, response=wrong) for one in row.outcomes]


def segment_where_it_may_be_silent(row: Cell) -> list[Outcome]:
    """Another segment than the one that is optional, which has to come."""
    if not any(one.response.optional for one in row.outcomes):
        return []
    wrong = replace(RESPONSES["ack"], seq="SND.NXT-1")
    return [replace(one, response=wrong) for one in row.outcomes]


def wrong_seq(row: Cell) -> list[Outcome]:
    """Another SEQ in the same segment."""
    return _numbers(row, lambda response: {"seq": "SND.NXT-1" if response.seq == "SND.NXT" else "RCV.NXT"})


def wrong_ack(row: Cell) -> list[Outcome]:
    """Another ACK in the same segment."""
    return _numbers(row, lambda response: {"ack": "ISS"} if response.ack else {})


def _numbers(row: Cell, wrong: Callable[[Response], dict[str, str]]) -> list[Outcome]:
    results = []
    for outcome in row.outcomes:
        response = outcome.response
        if response.flags is not None and not response.optional and (fields := wrong(response)):
            results.append(replace(outcome, response=replace(response, seq=fields.get("seq", response.seq))))
            results[-1] = replace(
                results[-1], response=replace(results[-1].response, ack=fields.get("ack", response.ack))
            )
    return results


def wrong_next(row: Cell) -> list[Outcome]:
    """Another next state."""
    reached = {one.next for one in row.outcomes}
    wrong = next(one for one in (State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_1) if one not in reached)
    return [replace(one, next=wrong) for one in row.outcomes]


def next_state_beside(row: Cell) -> list[Outcome]:
    """The state that is hardest to tell from the right one."""
    beside = {
        State.LISTEN: State.SYN_RECEIVED,
        State.SYN_SENT: State.SYN_RECEIVED,
        State.SYN_RECEIVED: State.ESTABLISHED,
        State.ESTABLISHED: State.SYN_RECEIVED,
        State.FIN_WAIT_1: State.FIN_WAIT_2,
        State.FIN_WAIT_2: State.FIN_WAIT_1,
        State.CLOSE_WAIT: State.LAST_ACK,
        State.CLOSING: State.TIME_WAIT,
        State.LAST_ACK: State.CLOSE_WAIT,
        State.TIME_WAIT: State.CLOSING,
        State.CLOSED: State.TIME_WAIT,
    }
    wrong = [replace(one, next=beside[one.next]) for one in row.outcomes]
    return [] if {one.next for one in wrong} & {one.next for one in row.outcomes} else wrong


@pytest.mark.parametrize(
    "mutation",
    [wrong_response, segment_where_it_may_be_silent, wrong_seq, wrong_ack, wrong_next, next_state_beside],
    ids=lambda mutation: str(mutation.__name__).replace("_", "-"),
)
def test_a_wrong_row_fails(
    run: Run, mutation: Callable[[Cell], list[Outcome]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hundreds of rows that fail would use up what may run again; lateness would then leave them undecided.
    monkeypatch.setattr(Attempts, "_doubt", lambda self, outcome, disturbance: "")
    # The new id keeps the rows that are alternatives of the right one out of it.
    mutants = [
        replace(row, id=f"{row.id} with {mutation.__name__}", outcomes=tuple(wrong))
        for row in ROWS
        if (wrong := mutation(row))
    ]
    assert mutants
    passed = {
        name: f"{one.verdict.value}: {one.message}"
        for name, one in outcomes(run, mutants).items()
        # A wrong row can happen to say what the target does instead of the right thing.
        if one.verdict not in FAILS and not any(row.covers(name.partition(" ")[0]) for row in KNOWN)
    }
    assert not passed


def test_the_right_rows_pass(run: Run) -> None:
    """All that fails is known to the profile, so that the tests above see what the mutation does and nothing else."""
    failed = {
        name: f"{one.verdict.value}: {one.message}"
        for name, one in outcomes(run, ROWS).items()
        if one.verdict is not Verdict.CONFORMS
        and not any(row.covers(name) and row.shown_by(one.message) for row in KNOWN)
    }
    assert not failed


def test_what_a_state_can_do_fails_in_another(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Attempts, "_doubt", lambda self, outcome, disturbance: "")

    async def case(actual: State, claimed: State, tcp: Case) -> None:
        conn = await tcp.drive_to(State.ESTABLISHED if actual is State.CLOSED else actual)
        if actual is State.CLOSED:
            await conn.send(RST)
        await works(tcp, conn, claimed)

    # What is left of FIN-WAIT-1 and FIN-WAIT-2 is the same.
    alike = {State.FIN_WAIT_1, State.FIN_WAIT_2}
    pairs = [
        (actual, claimed)
        for actual in (SYNCHRONIZED - {State.TIME_WAIT}) | {State.CLOSED}
        for claimed in SYNCHRONIZED - {State.TIME_WAIT}
        if actual is not claimed and not alike >= {actual, claimed}
    ]
    info = _info(ROWS[0])
    futures = {
        f"{actual} for {claimed}": run.submit(
            replace(info, id=f"{actual} for {claimed}"), case, {"actual": actual, "claimed": claimed}
        )
        for actual, claimed in pairs
    }
    verdicts = {name: future.result(120) for name, future in futures.items()}
    passed = {name: f"{one.verdict.value}: {one.message}" for name, one in verdicts.items() if one.verdict not in FAILS}
    assert not passed


def test_our_numbers_wrap_in_each_row(run: Run) -> None:
    numbers: dict[str, set[int]] = {}

    async def case(cell: Cell, tcp: Case) -> None:
        try:
            await run_segment(tcp, cell, wrap=True)
        finally:
            sent = [dissect(frame.data) for frame in tcp.trace.frames if not frame.inbound]
            ours = [one for one in sent if one is not None and one.sport == tcp.connections[0].port]
            numbers[cell.id] = {int(one.seq) for one in ours} | {int(one.end) for one in ours}

    rows = [row for row in ROWS if wraps(row)]
    for future in [run.submit(_info(row), case, {"cell": row}) for row in rows]:
        future.result(120)
    stayed = [
        name
        for name, seen in numbers.items()
        if not any(n < QUARTER for n in seen) or not any(n > 3 * QUARTER for n in seen)
    ]
    assert len(numbers) == len(rows) >= 250
    assert not stayed


def test_most_rows_can_be_seen() -> None:
    assert len(ROWS) >= 270
