"""Figure 5 of RFC 9293, drawn from the table: what the documentation shows is what the cases run."""

from __future__ import annotations

from conformance.standard.cells import Cell, arcs
from conformance.standard.states import State


def mermaid() -> str:
    """Return the connection state diagram as a Mermaid `stateDiagram-v2`."""
    names = [f'    state "{state}" as {state.name}' for state in State]
    return "\n".join(["stateDiagram-v2", *names, *(_arc(row) for row in arcs())])


def _arc(row: Cell) -> str:
    outcome = row.outcomes[0]
    flags = outcome.response.flags or frozenset()
    sent = "FIN" if "FIN" in flags else ",".join(flag for flag in ("SYN", "ACK") if flag in flags)
    # An acknowledgment that need not be sent is no action of the figure's.
    action = f" / snd {sent}" if sent and not outcome.response.optional else ""
    return f"    {row.state.name} --> {outcome.next.name}: {row.event}{action}"
