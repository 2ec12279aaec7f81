"""The verdicts on a case, and the exceptions by which a case ends."""

from __future__ import annotations

import enum


class Verdict(enum.Enum):
    """The verdict on one case; the values are the words of the record."""

    CONFORMS = "conforms"
    VIOLATES = "violates"
    BREAKS_SHOULD = "breaks should"
    DEVIATES = "deviates"
    NOT_APPLICABLE = "not applicable"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


BROKEN = (Verdict.VIOLATES, Verdict.BREAKS_SHOULD)
"""The verdicts that say that the target broke a rule."""


class Violation(AssertionError):
    """The target did what the standard does not allow. `details` says more, line by line.

    `line` is the line of a script that is not Python; None where the traceback tells the line. `doubt` says why the tester may
    have brought it about itself: the case then runs again.
    """

    def __init__(self, message: str, details: str = "", *, line: int | None = None, doubt: str = "") -> None:
        super().__init__(message)
        self.message, self.details, self.line, self.doubt = message, details, line, doubt


class NotApplicable(Exception):
    """The case can't be put to this target: one line that names the capability or the reason.

    `capability` is the one that the target lacks, "" where that is not the reason.
    """

    def __init__(self, message: str, capability: str = "") -> None:
        super().__init__(message)
        self.capability = capability

    @classmethod
    def lacking(cls, capability: str, target: str) -> NotApplicable:
        """Return what to raise where that target lacks a capability."""
        return cls(f"needs {capability}, which target {target} does not have", capability)


class Inconclusive(Exception):
    """The harness can't tell, and says by which numbers."""


def verdict_of(raised: BaseException | None, level: str, *, strict: bool) -> Verdict:
    """Return the verdict when a case of that level (MUST, SHOULD, MAY, text) ended with `raised`.

    A SHOULD that is not followed counts as a violation only when `strict`. Everything that is not a statement about the
    target is an error.
    """
    match raised:
        case None:
            return Verdict.CONFORMS
        case Violation():
            return Verdict.VIOLATES if strict or level != "SHOULD" else Verdict.BREAKS_SHOULD
        case NotApplicable():
            return Verdict.NOT_APPLICABLE
        case Inconclusive():
            return Verdict.INCONCLUSIVE
        case _:
            return Verdict.ERROR
