"""Choose among the outcomes of a row by the segment that arrived."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.cells.forms import own_forms
from conformance.judge import Expectation, NotApplicable
from conformance.standard.cells import Cell, Outcome, cells

if TYPE_CHECKING:
    from conformance.case.connection import Connection
    from conformance.tester.stamped import Received


@dataclass(frozen=True)
class Answer:
    """One segment that may come: for which outcomes, or (`part`) as the beginning of an answer."""

    expectation: Expectation
    outcomes: tuple[Outcome, ...]
    part: bool = False


def require_visible(cell: Cell) -> None:
    """Raise NotApplicable where nobody could see the row, with the reason."""
    if not cell.runs:
        raise NotApplicable(cell.unseen)


def allowed(cell: Cell) -> tuple[Outcome, ...]:
    """Return everything that the target may do: the row's outcomes, and those of rows that run only as a part of it.

    Raises NotApplicable where nobody could see the row.
    """
    require_visible(cell)
    twins = [outcome for row in cells() if row.twin == cell.id and not row.runs for outcome in row.outcomes]
    return tuple(dict.fromkeys((*cell.outcomes, *twins)))


def silent(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Return the outcomes whose response is no segment."""
    return [one for one in outcomes if one.response.flags is None and not one.response.forms]


def own_answers(conn: Connection, outcomes: Iterable[Outcome], data: bytes = b"") -> list[Answer]:
    """Return the segments of the target's own accord that go with these outcomes."""
    return grouped((form, outcome) for outcome in outcomes for form in own_forms(conn, outcome.response, data))


def grouped(pairs: Iterable[tuple[Expectation, Outcome]]) -> list[Answer]:
    """Return one answer for each expectation, in their order."""
    by_expectation: dict[Expectation, list[Outcome]] = {}
    for expectation, outcome in pairs:
        by_expectation.setdefault(expectation, []).append(outcome)
    return [Answer(expectation, tuple(outcomes)) for expectation, outcomes in by_expectation.items()]


def expectations(answers: Iterable[Answer]) -> list[Expectation]:
    """Return what each answer must look like, in their order."""
    return [answer.expectation for answer in answers]


def fitting(conn: Connection, answers: Sequence[Answer], received: Received) -> list[Outcome]:
    """Return the outcomes that the segment goes with, each once."""
    fits = [one for one in answers if not one.expectation.differences(received.segment, conn.base)]
    return list(dict.fromkeys(outcome for answer in fits for outcome in answer.outcomes))


def name_of(outcome: Outcome) -> str:
    """Return an outcome as the record calls it."""
    return f"{outcome.response.slug}, then {outcome.next}"
