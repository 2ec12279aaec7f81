"""Rows of calls, timers and arcs: on the real stack each conforms as it is, and violates as soon as a word of it is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from conformance.case.case import Case
from conformance.case.info import CaseInfo, settings_by
from conformance.cells.arcs import run_arc
from conformance.cells.calls import run_call
from conformance.cells.preconditions import settings
from conformance.cells.timeouts import run_timeout
from conformance.judge import Verdict
from conformance.judge.doubt import Disturbance
from conformance.run.attempts import Attempts
from conformance.run.outcome import Outcome
from conformance.run.run import Run
from conformance.standard.cells import Cell, cells
from conformance.standard.profile import profile
from conformance.standard.responses import RESPONSES, Response
from conformance.standard.states import State
from conformance.target.load import load_target

RUNNERS: dict[str, Callable[[Case, Cell], Awaitable[None]]] = {"call": run_call, "timeout": run_timeout, "arc": run_arc}
ROWS = [row for row in cells() if row.kind in RUNNERS and row.runs]
# The one row from which the embedded lab's stack is known to depart.
DEVIATES = {"SYN-RECEIVED/call-close"}


@dataclass(frozen=True)
class Wrong:
    """A row with one word changed: no table check has seen it."""

    how: str
    cell: Cell


def _response(response: Response) -> Response:
    """A response that no target with the right one gives."""
    if response.flags is not None:
        return RESPONSES["ack" if response.optional else "silence"]
    return RESPONSES[{"silence": "ack", "queued": "ok"}.get(response.slug, "queued")]


def _numbers(state: State, response: Response) -> Iterator[tuple[str, Response]]:
    """The same segment with another number or bit, where there is one that can be known and has to come."""
    if response.flags is None or response.optional:
        return
    if response.seq and state not in (State.CLOSED, State.LISTEN):
        yield "seq", replace(response, seq="SND.NXT" if response.seq != "SND.NXT" else "SND.NXT-1")
    if response.ack:
        yield "ack", replace(response, ack="0")
    if response.slug != "retransmit":
        yield "flags", replace(response, flags=response.flags ^ {"FIN"})


def _state(cell: Cell) -> State:
    following = {outcome.next for outcome in cell.outcomes}
    return State.CLOSE_WAIT if State.ESTABLISHED in following else State.ESTABLISHED


def _wrong(cell: Cell) -> Iterator[Wrong]:
    first = cell.outcomes[0]
    yield Wrong("response", replace(cell, outcomes=(replace(first, response=_response(first.response)),)))
    yield Wrong("state", replace(cell, outcomes=tuple(replace(one, next=_state(cell)) for one in cell.outcomes)))
    for name, response in _numbers(cell.state, first.response):
        yield Wrong(name, replace(cell, outcomes=(replace(first, response=response),)))


def _info(cell: Cell, how: str) -> CaseInfo:
    changed, _ = settings_by(profile("linux"), settings(cell) if cell.kind == "timeout" else {})
    return CaseInfo(
        id=f"{how} of {cell.id}",  # which no known deviation covers
        title=cell.event,
        description="",
        document="RFC9293",
        section="3.10",
        level="MUST",
        requirements=cell.requirements,
        claims=(),
        cells=(),
        needs=("app",),
        lasts_s=0,
        quick=True,
        alone=bool(changed),
        sysctl=changed,
    )


async def _case(cell: Cell, tcp: Case) -> None:
    await RUNNERS[cell.kind](tcp, cell)


_doubt = Attempts._doubt


def _doubt_right_rows(self: Attempts, outcome: Outcome, disturbance: Disturbance) -> str:
    """Doubt no row that was turned wrong: hundreds that fail would use up what may run again, and then decide nothing."""
    return _doubt(self, outcome, disturbance) if outcome.info.id.startswith("row of ") else ""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    output: Path = tmp_path_factory.mktemp("run")
    made = Run(load_target("linux"), output=output, concurrency=128, strict=False, command="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Attempts, "_doubt", _doubt_right_rows)
        made.start()
        made.open_record()
        yield made
        made.stop()


@pytest.fixture(scope="module")
def outcomes(run: Run) -> dict[str, Outcome]:
    """Run every row as it is and with each wrong word, all side by side; the long ones first."""
    asked = [Wrong("row", row) for row in ROWS] + [wrong for row in ROWS for wrong in _wrong(row)]
    asked.sort(key=lambda wrong: "2msl" not in wrong.cell.id)
    futures: list[Future[Outcome]] = [run.submit(_info(one.cell, one.how), _case, {"cell": one.cell}) for one in asked]
    return {future.result().info.id: future.result() for future in futures}


@pytest.mark.usefixtures("lab")
def test_every_row_conforms_as_it_is(outcomes: dict[str, Outcome]) -> None:
    results = {row.id: outcomes[f"row of {row.id}"] for row in ROWS}
    broken = {name: one.message for name, one in results.items() if one.verdict is not Verdict.CONFORMS}
    assert set(broken) == DEVIATES, "\n".join(f"{name} {message}" for name, message in broken.items())


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("how", ["response", "state", "seq", "ack", "flags"])
def test_a_row_with_a_wrong_word_is_violated(outcomes: dict[str, Outcome], how: str) -> None:
    results = {name: one for name, one in outcomes.items() if name.startswith(f"{how} of ")}
    assert len(results) >= (len(ROWS) if how in ("response", "state") else 20)
    passed = [
        f"{name} {one.verdict}: {one.message}" for name, one in results.items() if one.verdict != Verdict.VIOLATES
    ]
    assert not passed, "\n".join(sorted(passed))
