"""RFC 9293 sections 3.10.1 to 3.10.6: each call of the application in each state, one case a row of the state machine."""

import pytest

from conformance.api import Case, Cell, cells, verifies_cell
from conformance.cells.calls import run_call
from conformance.cells.preconditions import capabilities

ROWS = [verifies_cell(row, needs=capabilities(row)) for row in cells() if row.kind == "call"]


@pytest.mark.parametrize("cell", ROWS)
async def test_call(tcp: Case, cell: Cell) -> None:
    """{cell}.

    The wire and the call's own answer must be those of the row, the target be in the state that goes with them, and
    the connection do what it can do there.
    """
    await run_call(tcp, cell)
