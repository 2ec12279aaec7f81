"""Put differences with one cause together, say them with the fewest set fields, and hold them against a profile. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from conformance.explore.segments import ACKS, FLAGS, SEQS, SweepSegment
from conformance.explore.sweep import Difference

_DROPPED = tuple(reversed(FLAGS))


@dataclass(frozen=True)
class Signature:
    """Differences that have state, deciding fields, answer and what was due in common; `example` is the smallest of them."""

    way: str
    text: str
    answer: str
    due: str
    segments: tuple[SweepSegment, ...]
    example: Difference

    @property
    def count(self) -> int:
        """Count the differences that it stands for."""
        return len(self.segments)

    def __str__(self) -> str:
        return f"{self.way}: {self.text}: came {self.answer}; due {self.due}"


def signatures(differences: Iterable[Difference]) -> list[Signature]:
    """Return the signatures of these differences, those that stand for most of them first."""
    groups: dict[tuple[str, str, str], dict[SweepSegment, Difference]] = defaultdict(dict)
    for difference in differences:
        groups[difference.way, difference.answer, difference.due][replace(difference.segment, beside="")] = difference
    lines = []
    for (way, answer, owed), segments in groups.items():
        least = min((minimal(segment, segments) for segment in segments), key=_size)
        lines.append(Signature(way, _text(list(segments)), answer, owed, tuple(segments), segments[least]))
    return sorted(lines, key=lambda signature: (-signature.count, str(signature)))


def minimal(segment: SweepSegment, differing: Collection[SweepSegment]) -> SweepSegment:
    """Return the segment with the fewest set fields that differs in the same way: `differing` are those that do."""
    while (simpler := next((one for one in _simpler(segment) if one in differing), None)) is not None:
        segment = simpler
    return segment


def _simpler(segment: SweepSegment) -> Iterator[SweepSegment]:
    """Yield the segment with one field less, or with one field in its natural place."""
    for name in _DROPPED:
        if name in segment.flags and name != "ACK":
            yield replace(segment, flags=segment.flags - {name})
    if segment.text:
        yield replace(segment, text=0)
    if segment.text > 1:
        yield replace(segment, text=1)
    if segment.ack not in ("", "all"):
        yield replace(segment, ack="all")
    if "ACK" in segment.flags and segment.ack == "all" and segment.flags != {"ACK"}:
        yield replace(segment, flags=segment.flags - {"ACK"}, ack="")
    if segment.seq != "next":
        yield replace(segment, seq="next")


def _size(segment: SweepSegment) -> tuple[int, str]:
    """Return how many fields are set, for an order."""
    fields = (segment.seq != "next", segment.ack not in ("", "all"), segment.text > 0)
    return len(segment.flags) + sum(fields), str(segment)


def _text(segments: Sequence[SweepSegment]) -> str:
    """Return what these segments have in common, in words."""
    always = frozenset.intersection(*(segment.flags for segment in segments))
    at_times = frozenset.union(*(segment.flags for segment in segments)) - always
    parts = [",".join(name for name in FLAGS if name in always) or "no flag"]
    if at_times:
        parts[0] += f" (also with {','.join(name for name in FLAGS if name in at_times)})"
    parts.append(" or ".join(text for name, text in SEQS.items() if any(one.seq == name for one in segments)))
    acks = [text for name, text in ACKS.items() if any(one.ack == name for one in segments)]
    if acks and acks != [ACKS["all"]]:
        parts.append("ACK " + " or ".join(acks))
    texts = {bool(segment.text) for segment in segments}
    if texts != {False}:
        parts.append("with text" if len(texts) == 1 else "with text or none")
    return ", ".join(parts)
