"""Expectations, differences, timing bounds and verdicts. No I/O, no clock."""

from conformance.judge.expectation import Base, Difference, Expectation, describe
from conformance.judge.timing import Bound, Timing
from conformance.judge.verdict import Inconclusive, NotApplicable, Verdict, Violation

__all__ = [
    "Base",
    "Bound",
    "Difference",
    "Expectation",
    "Inconclusive",
    "NotApplicable",
    "Timing",
    "Verdict",
    "Violation",
    "describe",
]
