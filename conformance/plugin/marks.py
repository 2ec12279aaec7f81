"""The marks by which a test function says what it verifies: `@verifies`, and `verifies_cell` for a row of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from conformance.case.lasts import Lasts
from conformance.standard.cells import Cell
from conformance.standard.states import State


def verifies(
    *ids: str,
    cells: Sequence[str] = (),
    level: str | None = None,
    needs: Sequence[str] = ("app",),
    lasts: Lasts = 0.0,
    quick: bool = True,
    alone: bool = False,
    sysctl: Mapping[str, str] | None = None,
) -> pytest.MarkDecorator:
    """Say what a case checks: requirements (`RFC9293:MUST-13`) and claims (`claim:C-18`), and the table's cells.

    `level` (MUST, SHOULD, MAY, text) is the strictest of the requirements' unless given. `needs` are capabilities of the
    target. `lasts` is about how long the case waits, in seconds or by a timer of the target's profile (`"time-wait"`,
    `after("time-wait", 10)`): it decides the tier, and the longest start first. One that is not
    `quick` repeats in another way, or with many segments, what others show: the quick tier leaves it out. A case that is
    `alone` gets a target of its own; those that change the same `sysctl` settings share one. Each setting is a capability
    that the case needs: a sysctl, or a setting of the target's profile (`syn-retries`). Names and values may name the
    case's parameters, as `{retries}`.
    """
    return pytest.mark.verifies(
        *ids,
        cells=tuple(cells),
        level=level,
        needs=tuple(needs),
        lasts=lasts,
        quick=quick,
        alone=alone,
        sysctl=dict(sysctl or {}),
    )


def verifies_cell(cell: Cell, *ids: str, needs: Sequence[str] = (), **keywords: Any) -> Any:
    """One row of the documented machine as a parameter called `cell` of a generated case, which may verify more `ids`."""
    mark = verifies(*cell.requirements, *ids, cells=[cell.id, cell.row], level=cell.strength, needs=needs, **keywords)
    return pytest.param(cell, id=cell.id, marks=mark)


def in_state(state: State, *then: State, marks: pytest.MarkDecorator) -> Any:
    """Return a parameter set for a case that begins in `state`; its id names that state."""
    return pytest.param(state, *then, id=f"in-{state.value.lower()}", marks=marks)
