"""Group cases with one verdict by their cause: the requirement that is broken, and the shape of the message."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from conformance.report.overview import Entry
from conformance.report.state_map import STATES
from conformance.report.text import LEVELS

NO_REASON = "no reason was recorded"
_NUMBER = re.compile(r"[+-]?\b0x[0-9a-f]+\b|[+-]?\b\d[\d.,]*(?:e[+-]?\d+)?")
_STATE = re.compile("|".join(sorted(map(re.escape, STATES), key=len, reverse=True)))


@dataclass(slots=True)
class Cause:
    """Cases that break one requirement in one way; the first is the example."""

    requirement: str
    level: str
    cases: list[Entry] = field(default_factory=list)

    @property
    def example(self) -> Entry:
        """The first case."""
        return self.cases[0]

    @property
    def message(self) -> str:
        """The message of the example."""
        return self.example.message or NO_REASON


def causes(entries: Iterable[Entry]) -> list[Cause]:
    """Return the groups: those of a MUST first, then the largest."""
    groups: dict[tuple[str, str, str], Cause] = {}
    for entry in entries:
        requirement = entry.requirements[0] if entry.requirements else ""
        key = (requirement, entry.level, shape(entry.message))
        groups.setdefault(key, Cause(requirement, entry.level)).cases.append(entry)
    return sorted(groups.values(), key=_rank)


def shape(message: str) -> str:
    """Return a message without its numbers and the names of states: what messages of one cause have in common."""
    return _NUMBER.sub("#", _STATE.sub("STATE", message))


def _rank(cause: Cause) -> tuple[int, int, str]:
    levels: Sequence[str] = LEVELS
    order = levels.index(cause.level) if cause.level in levels else len(levels)
    return order, -len(cause.cases), cause.requirement
