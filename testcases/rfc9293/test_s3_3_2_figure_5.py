"""RFC 9293 section 3.3.2: every arc of Figure 5, and the one that its note 2 adds, from one state to the next."""

import pytest

from conformance.api import Case, Cell, verifies_cell
from conformance.cells.arcs import run_arc
from conformance.cells.preconditions import lasts
from conformance.standard.cells import arcs

ROWS = [verifies_cell(row, needs=("app",), lasts=lasts(row)) for row in arcs()]


@pytest.mark.parametrize("cell", ROWS)
async def test_arc(tcp: Case, cell: Cell) -> None:
    """{cell}.

    It must be seen in the state where the arc begins, send what is written on the arc, and be seen in the state
    where it ends, where the connection does what it can do there.
    """
    await run_arc(tcp, cell)
