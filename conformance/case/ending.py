"""When the target forgets a connection of which it says nothing any more: TIME-WAIT, and FIN-WAIT-2 of an orphan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.judge import Bound, Expectation, Violation
from conformance.tester.clock import SECOND
from conformance.wire import ACK, RST, SYN, Segment, Seq

if TYPE_CHECKING:
    from conformance.case.case import Case
    from conformance.case.connection import Connection

_EVERY_S = 0.05
_MOST = 200
_AROUND_S = 1.0


@dataclass(frozen=True)
class Ending:
    """Seconds from where the time began to the last probe of a connection that was there, and to the first that found none."""

    there_s: float
    gone_s: float
    how: str

    def within(self, bound: Bound) -> Bound:
        """Return the bound for `gone_s`: later by as much as the end may lie before the probe that found it."""
        return bound.widened(0, self.gone_s - self.there_s)


async def see_end(case: Case, conn: Connection, *, since_ns: int, expected: Bound, since: str) -> Ending:
    """See by probes when the four-tuple of `conn` is free again. Raises Violation when it never is.

    The probe is a SYN without ACK and timestamps, from before the window, to a port whose listener the caller has closed.
    No document has a connection in TIME-WAIT restart its timer for it: it is answered by an acknowledgment (RFC 9293
    section 3.10.7.4) or dropped (RFC 6191 section 2), and where the acknowledgments are limited in rate (RFC 5961
    section 7) most get none. With no connection left each one is answered by a reset, which nothing limits.
    """
    clock = case.clock
    low_s, high_s = max(0.0, expected.low_s - _AROUND_S), expected.high_s + _AROUND_S
    every_s = max(_EVERY_S, (high_s - low_s) / _MOST)
    await conn.silence(for_=max(0.0, low_s - (clock.now_ns() - since_ns) / SECOND))
    # Each probe has a number of its own: the reset acknowledges the one that it answers.
    sent: list[tuple[Seq, int]] = []
    there = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="still there:")
    gone = Expectation(RST | ACK, seq=Seq(0), label="no connection:")
    while clock.now_ns() < since_ns + round(high_s * SECOND):
        number = conn.snd_nxt - 1_000 - len(sent)
        probe = await conn.inject(SYN, seq=number, options=(), text="probe: an old SYN")
        sent.append((number, probe.at_ns))
        due_ns = clock.now_ns() + round(every_s * SECOND)
        while (taken := await conn.allow(there, gone, within=max(0.0, (due_ns - clock.now_ns()) / SECOND))) is not None:
            if taken[0] == 1:
                return await _ending(conn, sent, taken[1].segment, since_ns, since)
    last_s = (sent[-1][1] - since_ns) / SECOND
    raise Violation(f"the connection is still there after {last_s:.2f} s, allowed is {expected}")


async def _ending(conn: Connection, sent: list[tuple[Seq, int]], reset: Segment, since_ns: int, since: str) -> Ending:
    answered = next((at for at, (number, _) in enumerate(sent) if number + 1 == reset.ack), None)
    if answered is None:
        raise Violation(f"the reset acknowledges {int(reset.ack)}, which is none of the probes")
    for number, _ in sent[answered + 1 :]:
        # Sent before we came to read that reset: each is owed one of its own.
        await conn.expect(RST | ACK, seq=Seq(0), ack=number + 1, label="no connection:")
    gone_s = (sent[answered][1] - since_ns) / SECOND
    there_s = (sent[answered - 1][1] - since_ns) / SECOND if answered else 0.0
    how = f"transmit stamp of {since} to that of the first old SYN that was reset, up to {gone_s - there_s:.3f} s late"
    return Ending(there_s, gone_s, how)
