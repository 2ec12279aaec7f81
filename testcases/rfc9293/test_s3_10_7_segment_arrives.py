"""RFC 9293 section 3.10.7, SEGMENT ARRIVES: every row of the documented machine whose event is a segment.

The rows are `conformance/standard/cells.tsv`. Each puts the target into its state, sends its segment, and sees the
response, that nothing else comes, the next state, and that the connection still works where it survives.
"""

import pytest

from conformance.api import Case, Cell, cells, verifies_cell
from conformance.cells.preconditions import capabilities, settings, wraps
from conformance.cells.segments import run_segment

ROWS = [row for row in cells() if row.kind == "segment"]


@pytest.mark.parametrize("cell", [verifies_cell(row, needs=capabilities(row), sysctl=settings(row)) for row in ROWS])
async def test_segment_arrives(tcp: Case, cell: Cell) -> None:
    """{cell}.

    The target must give one of the responses of the row and nothing else, be in the state that goes with it, and
    keep the connection usable where the row does.
    """
    await run_segment(tcp, cell)


@pytest.mark.parametrize(
    "cell",
    [
        verifies_cell(row, "claim:C-37", quick=False, needs=capabilities(row, wrap=True), sysctl=settings(row))
        for row in ROWS
        if wraps(row)
    ],
)
async def test_segment_arrives_across_the_wrap(tcp: Case, cell: Cell) -> None:
    """{cell} (wrap).

    The same, while our sequence numbers pass 2^32, and by an active OPEN where the row leaves open how the target
    opens.

    All arithmetic on sequence numbers is modulo 2^32 (RFC 9293 section 3.4), so that the target must do exactly
    what it does elsewhere.
    """
    await run_segment(tcp, cell, wrap=True)
