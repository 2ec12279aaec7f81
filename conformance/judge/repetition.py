"""Compare a segment with its repetition, whole: flags, options, and the header that carried them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from conformance.judge.expectation import Difference
from conformance.standard.repetitions import may_differ
from conformance.wire import FIN, URG, Flags, Segment
from conformance.wire.ip import IpHeader
from conformance.wire.names import FLAG_BITS, NOP, TIMESTAMPS, option_name, option_text
from conformance.wire.options import stamps

OF_THE_MOMENT = Flags(sum(bit for name, bit in FLAG_BITS.items() if name in may_differ()) & 0xFF)
"""The flags in which a repetition may differ."""
_ABSENT = "absent"


def differences(
    first: Segment, again: Segment, first_ip: IpHeader | None = None, again_ip: IpHeader | None = None
) -> tuple[Difference, ...]:
    """Return the fields in which `again` differs from `first` though no document lets them: RFC 9293 section 3.10.8.

    What lies in the sequence space (number, text, FIN) is left to the caller: a repetition may carry more or less of it than one
    segment. So are the IP headers where they are not given.
    """
    before, now = _fields(first, first_ip), _fields(again, again_ip)
    return tuple(_differing(before, now))


def _differing(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Difference]:
    for name in dict.fromkeys((*before, *now)):
        wanted, actual = before.get(name, _ABSENT), now.get(name, _ABSENT)
        if wanted != actual and name not in may_differ():
            yield Difference(name, f"{wanted}, as the first time", actual)


def _fields(segment: Segment, ip: IpHeader | None) -> dict[str, str]:
    """Return all that the segment's headers say, by the names that the list has, but for what lies in the sequence space."""
    fields = {name: "set" for name, bit in FLAG_BITS.items() if segment.flags & bit & ~FIN}
    if segment.reserved & 1:  # the lowest of the four bits that RFC 9293 reserves (RFC 9768)
        fields["AE"] = "set"
    fields |= {"ack": str(segment.ack), "window": str(segment.window), "reserved bits": f"{segment.reserved >> 1:03b}"}
    if segment.flags & URG:
        fields["urgent pointer"] = str(segment.urgent)
    for option in segment.option_list:
        if option.kind > NOP:
            fields[option_name(option.kind)] = option_text(option.kind, option.data)
    pair = stamps(segment.option_list)
    if pair is not None:
        fields |= {option_name(TIMESTAMPS): "there", "TSval": str(pair[0]), "TSecr": str(pair[1])}
    if ip is not None:
        fields |= {
            "TTL": str(ip.ttl),
            "DSCP": str(ip.tos >> 2),
            "ECN field": str(ip.ecn),
            "IP options": ip.options.hex(),
        }
        fields |= {"DF": str(ip.dont_fragment), "IP identification": str(ip.id)}
    return fields
