"""RFC 9293 section 3.10.8: each timer of the target in each state, one case a row of the state machine."""

import pytest

from conformance.api import Case, Cell, cells, verifies_cell
from conformance.cells.preconditions import capabilities, lasts, settings
from conformance.cells.timeouts import run_timeout

CLAIMS = {"ESTABLISHED/timeout-retransmission": ["claim:C-31"], "ESTABLISHED/timeout-delayed-ack": ["claim:C-33"]}
ROWS = [
    verifies_cell(row, *CLAIMS.get(row.id, ()), needs=capabilities(row), lasts=lasts(row), sysctl=settings(row))
    for row in cells()
    if row.kind == "timeout"
]


@pytest.mark.parametrize("cell", ROWS)
async def test_timeout(tcp: Case, cell: Cell) -> None:
    """{cell}.

    It must do what the row says within the timer's bounds, and nothing else; the connection goes on, or is gone and
    the application told.
    """
    await run_timeout(tcp, cell)
