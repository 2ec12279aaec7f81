"""Say what a response of the table looks like on the wire, as expectations of a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.cells.numbers import flags_of, variables
from conformance.judge import Expectation
from conformance.standard.responses import RESPONSES, Response
from conformance.standard.segments import Placed, Variables
from conformance.wire import ACK, RST, URG, Seq

if TYPE_CHECKING:
    from conformance.case.connection import Connection


def forms(
    response: Response,
    target: Variables,
    *,
    answered: Placed | None = None,
    iss_known: bool = True,
    data: bytes = b"",
) -> list[Expectation]:
    """Return each form that `response` may take; none for silence, or where its formula needs an ACK that was not sent.

    `target` are the target's variables, RCV.NXT those after the segment that is `answered`, None for what it sends of its
    own accord. `data` is the text of a response that carries some.
    """
    if response.forms:
        return [
            form
            for slug in response.forms
            for form in forms(RESPONSES[slug], target, answered=answered, iss_known=iss_known, data=data)
        ]
    try:
        fields = response.fields(target, *((answered.seq, answered.ack, answered.length) if answered else (0, None, 0)))
    except ValueError:
        return []
    if fields is None:
        return []
    flags = flags_of(fields.flags)
    seq = None if fields.seq is None or (response.seq == "ISS" and not iss_known) else Seq(fields.seq)
    exact = Expectation(
        flags,
        seq=seq,
        ack=Seq(fields.ack) if fields.ack is not None and flags & ACK else None,
        length=None if response.text else 0,
        payload=data if response.text else None,
        urgent=len(data) if flags & URG else None,
    )
    # A reset may carry ACK where the formula has none; its ACK field is then the stack's own business.
    return [exact, Expectation(flags | ACK, seq=seq, length=0)] if flags & RST and not flags & ACK else [exact]


def own_forms(conn: Connection, response: Response, data: bytes = b"") -> list[Expectation]:
    """Return the forms of a response that the target sends of its own accord."""
    return forms(response, variables(conn), iss_known=conn.syn_was_seen, data=data)


def bare_ack(conn: Connection, label: str = "") -> Expectation:
    """Return an acknowledgment without text of all that we sent."""
    return Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label=label)
