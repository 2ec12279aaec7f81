"""Expectations, differences, timing bounds and verdicts. No I/O, no clock."""

from conformance.judge.expectation import Base, Difference, Expectation, describe
from conformance.judge.timing import Bound, Growth, Series, Step, Timing, retransmission_timeout
from conformance.judge.verdict import Inconclusive, NotApplicable, Verdict, Violation

__all__ = [
    "Base",
    "Bound",
    "Difference",
    "Expectation",
    "Growth",
    "Inconclusive",
    "NotApplicable",
    "Series",
    "Step",
    "Timing",
    "Verdict",
    "Violation",
    "describe",
    "retransmission_timeout",
]
