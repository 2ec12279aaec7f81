"""Hold the result of a measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Number:
    """One measured number: its median and its bad end, `p99`, where 99 of 100 samples are better.

    `aim` is what the median is to be at most. `how` says how it was measured.
    """

    key: str
    what: str
    unit: str
    median: float
    p99: float
    samples: int
    how: str
    aim: float | None = None

    @property
    def holds(self) -> bool | None:
        """True if the median is within its aim; None without an aim."""
        return None if self.aim is None else self.median <= self.aim

    def as_json(self) -> dict[str, Any]:
        """The number as `bench.json` keeps it."""
        return {**asdict(self), "holds": self.holds}


def number(
    key: str,
    what: str,
    unit: str,
    values: Sequence[float],
    how: str,
    *,
    aim: float | None = None,
    more_is_better: bool = False,
) -> Number:
    """A number of its samples, of which there is at least one."""
    ordered = sorted(values, reverse=more_is_better)
    median, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return Number(key, what, unit, round(median, 3), round(p99, 3), len(ordered), how, aim)
