"""Send the segment of a row, placed by the target's own numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from conformance.cells.forms import bare_ack
from conformance.cells.numbers import flags_of, variables
from conformance.cells.segment_start import ONE_SIDED, TSVAL, Row
from conformance.cells.text import OLD_TEXT, TEXT
from conformance.judge import Inconclusive, NotApplicable
from conformance.standard.segments import Placed, Stamp, Variables
from conformance.standard.states import FIN_RECEIVED, State
from conformance.tester.stamped import Sent
from conformance.wire import ACK, SYN, Flags, Seq
from conformance.wire import options as opt

if TYPE_CHECKING:
    from conformance.case.case import Case
    from conformance.case.connection import Connection

OFFERED_MORE: Final = 4000
# A source address has to be of one host (RFC 1122, 3.2.1.3; RFC 4291, 2.7).
INVALID_SOURCE: Final = {4: "224.0.0.1", 6: "ff02::1"}
_HOLE_ANSWER_S = 0.1


@dataclass(frozen=True)
class Stimulus:
    """The segment of a row as it was sent, and the target's variables before it."""

    placed: Placed
    sent: Sent
    payload: bytes
    before: Variables


async def hold(row: Row) -> None:
    """Send segments like the row's beyond it, out of order; each may be acknowledged, and brings nothing in."""
    conn = row.conn
    for number in range(row.segment.held, 0, -1):
        await conn.inject(
            ACK, seq=conn.snd_nxt + number * len(TEXT), ack=conn.acked, payload=TEXT, text="beyond a hole"
        )
        await conn.allow(bare_ack(conn), within=_HOLE_ANSWER_S)


async def send(row: Row) -> Stimulus:
    """Write the row's segment. Raises NotApplicable, and Inconclusive where the target's window did not close."""
    conn, segment, before = row.conn, row.segment, variables(row.conn)
    if segment.zero_window and before.rcv_wnd == 1 and row.state in FIN_RECEIVED:
        raise NotApplicable(f"the target gives a FIN no place in its window, which is never zero in {row.state}")
    if segment.zero_window and before.rcv_wnd > 1 and row.state is State.TIME_WAIT:
        raise NotApplicable(f"in {row.state} the target's window is open again, with {len(row.unread)} octets unread")
    if segment.zero_window and before.rcv_wnd:
        raise Inconclusive(f"the target's window is still {before.rcv_wnd} octets after {len(row.unread)}")
    placed, flags = segment.place(before), flags_of(segment.flags)
    payload = _payload(row, placed, before)
    fields = _fields(row, placed, payload)
    text = row.cell.event
    for _ in range(segment.repeat - 1):
        await conn.inject(flags, text=text, **fields)
    if segment.from_invalid:
        sent = await _send_between(row.case, conn, flags, text, src=INVALID_SOURCE[row.case.family])
    elif segment.to_group:
        sent = await _send_between(row.case, conn, flags, text, dst=row.case.target.groups[row.case.family][0])
    elif flags & SYN and row.state in ONE_SIDED and all(outcome.response.moves for outcome in row.every):
        sent = await conn.send(flags, text=text, **fields)
        # What comes with a SYN is queued, and acknowledged later, if at all.
        conn.snd_nxt = sent.segment.seq + 1
    else:
        sent = await conn.inject(flags, text=text, **fields)
    return Stimulus(placed, sent, payload, before)


def _fields(row: Row, placed: Placed, payload: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "seq": placed.seq,
        "ack": placed.ack or 0,
        "payload": payload,
        "options": _options(row),
    }
    if row.segment.urgent:
        fields["urgent"] = max(1, len(payload))
    if row.segment.offers:
        fields["window"] = OFFERED_MORE
    return fields


def _payload(row: Row, placed: Placed, before: Variables) -> bytes:
    if not placed.data:
        return b""
    if row.segment.repeats_text and row.state is not State.SYN_RECEIVED:
        old = -Seq(placed.seq).since(before.rcv_nxt)
        return (OLD_TEXT[-old:] + TEXT)[: placed.data]
    return TEXT[: placed.data]


def _options(row: Row) -> Sequence[opt.Option] | None:
    segment, conn = row.segment, row.conn
    if "SYN" not in segment.flags or segment.stamped_before is None:
        return None
    if segment.stamp is Stamp.NONE:
        return conn.syn_options
    last = (conn.tsval if conn.has_timestamps else 0) or TSVAL
    value = last + {Stamp.NEWER: 1000, Stamp.EQUAL: 0, Stamp.OLDER: -1000}[segment.stamp]
    return (*conn.syn_options, opt.Option(opt.NOP), opt.Option(opt.NOP), opt.timestamps(value))


async def _send_between(case: Case, conn: Connection, flags: Flags, text: str, **addresses: Any) -> Sent:
    """Send a segment with an address that is not the connection's."""
    segment = replace(conn.segment(flags), **addresses)
    number, frame = case.station.transmit(segment, case.trace, text)
    line = f"{segment.flags} from {segment.src} to {segment.dst}"
    case.trace.step("send", frame.at_ns, frame=frame, text=text, line=line)
    return Sent(segment, await case.station.stamp(number, frame), frame)
