"""ICMP errors of a script, about a segment that the target is taken to have sent."""

from __future__ import annotations

from conformance.case.case import Case
from conformance.judge import NotApplicable
from conformance.packetdrill.numbers import Numbers
from conformance.packetdrill.syntax import Icmp
from conformance.wire import ACK, Segment, icmp

_ERRORS = {
    ("unreachable", None): icmp.NET_UNREACHABLE,
    ("unreachable", "net_unreachable"): icmp.NET_UNREACHABLE,
    ("unreachable", "no_route"): icmp.NET_UNREACHABLE,
    ("unreachable", "host_unreachable"): icmp.HOST_UNREACHABLE,
    ("unreachable", "addr_unreachable"): icmp.HOST_UNREACHABLE,
    ("unreachable", "address_unreachable"): icmp.HOST_UNREACHABLE,
    ("unreachable", "protocol_unreachable"): icmp.PROTOCOL_UNREACHABLE,
    ("unreachable", "port_unreachable"): icmp.PORT_UNREACHABLE,
    ("unreachable", "admin_prohibited"): icmp.PROHIBITED,
    ("unreachable", "frag_needed"): icmp.FRAGMENTATION_NEEDED,
    ("packet_too_big", None): icmp.FRAGMENTATION_NEEDED,
    ("source_quench", None): icmp.SOURCE_QUENCH,
}


async def send_icmp(case: Case, numbers: Numbers, message: Icmp) -> int:
    """Send a script's ICMP error, and return its stamp in ns. Raises NotApplicable."""
    error = _ERRORS.get((message.kind, message.code))
    if error is None or (error.v4 if case.family == 4 else error.v6) is None:
        raise NotApplicable(f"ICMP {message.kind} {message.code or ''} over IPv{case.family}")
    if numbers.irs is None or message.quoted_protocol not in (None, "tcp"):
        raise NotApplicable("an ICMP error about something else than a segment that the target sent")
    conn = numbers.conn
    about = Segment(
        case.remote,
        conn.address,
        conn.remote_port,
        conn.port,
        numbers.irs + (message.quoted_seq or 0),
        conn.iss + 1,
        ACK,
        payload=bytes(message.quoted_length or 0),
    )
    return (await conn.send_icmp(error, quoting=about, rest=message.mtu or 0)).at_ns
