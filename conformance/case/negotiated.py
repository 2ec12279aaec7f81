"""The options that a stack agrees to in a handshake: learnt from a handshake if its hello does not list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from conformance.judge import NotApplicable, Violation
from conformance.target import AppError
from conformance.wire import ACK, CWR, ECE, RST, SYN
from conformance.wire import options as opt

if TYPE_CHECKING:
    from conformance.case.case import Case

_BY_OPTION = {"timestamps": opt.TIMESTAMPS, "sack": opt.SACK_PERMITTED, "wscale": opt.WINDOW_SCALE}
_TSVAL = 1
NAMES = frozenset({*_BY_OPTION, "ecn"})


async def negotiated(case: Case) -> frozenset[str]:
    """Return the names of NAMES that the target agrees to when a SYN offers all of them. Raises TargetGone."""
    try:
        conn = await case.listen()
        offered = (*conn.syn_options, opt.sack_permitted(), opt.window_scale(7), opt.timestamps(_TSVAL))
        # RFC 3168 section 6.1.1: an ECN-setup SYN has both bits, the SYN,ACK that agrees has ECE alone.
        await conn.send(SYN | ECE | CWR, options=offered)
        answer = (await conn.expect(ack=conn.snd_nxt)).segment
        await conn.inject(RST)
    except (AppError, NotApplicable, Violation):
        return frozenset()  # the cases themselves show the abilities of such a stack
    agreed = {name for name, kind in _BY_OPTION.items() if opt.find(answer.option_list, kind) is not None}
    return frozenset(agreed | ({"ecn"} if answer.flags & (SYN | ACK | ECE | CWR) == SYN | ACK | ECE else set()))
