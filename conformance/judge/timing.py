"""Measured intervals and the bounds they are held against."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bound:
    """The allowed interval in seconds, both ends included, and the document or profile that says so."""

    low_s: float
    high_s: float
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.low_s <= self.high_s:
            raise ValueError(
                f"bound from {self.low_s} s to {self.high_s} s ({self.source}): the low end must come first"
            )

    def widened(self, early_s: float, late_s: float) -> Bound:
        """The same bound with room for how coarsely it could be measured."""
        return Bound(max(0.0, self.low_s - early_s), self.high_s + late_s, self.source)

    def scaled(self, factor: float) -> Bound:
        """The bound of an interval `factor` times as long: one step of a backoff."""
        return Bound(self.low_s * factor, self.high_s * factor, self.source)

    def __str__(self) -> str:
        return f"{self.low_s:g} s to {self.high_s:g} s ({self.source})"


@dataclass(frozen=True)
class Timing:
    """One measured interval in seconds; `how` says between which two stamps."""

    name: str
    measured_s: float
    bound: Bound
    how: str = ""

    @property
    def ok(self) -> bool:
        """Whether the interval is within its bound."""
        return self.bound.low_s <= self.measured_s <= self.bound.high_s

    def __str__(self) -> str:
        return f"{self.name} took {self.measured_s:.4g} s, allowed is {self.bound}"
