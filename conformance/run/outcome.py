"""The outcome of one case of a run: its verdict, and all that is shown of it."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.case.info import CaseInfo
from conformance.judge import Verdict
from conformance.judge.judgement import Judgement
from conformance.standard.profile_rows import Deviation


@dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt at a case, and of the case itself for the last one; `failure` is the long text."""

    info: CaseInfo
    judgement: Judgement
    failure: str
    started_ns: int
    duration_s: float
    capture: str | None = None
    ran_again: str = ""
    """Why an earlier attempt gave no verdict."""
    states: tuple[str, ...] = ()
    """The states that the target was seen in, in their order."""
    raised_itself: bool = False
    """It ended with an exception of the case's own: no fault of harness, agent or lab."""
    failed_at: str = ""
    """File and line of the case where it failed, "" where it did not."""
    declared: str = ""
    """The setting in the target's file by which the case does not apply."""

    @property
    def verdict(self) -> Verdict:
        """The verdict on the case."""
        return self.judgement.verdict

    @property
    def message(self) -> str:
        """The one line of the verdict."""
        return self.judgement.message

    @property
    def deviation(self) -> Deviation | None:
        """The known deviation that the case showed."""
        return self.judgement.deviation

    @property
    def stopped_deviating(self) -> bool:
        """True where the profile names a deviation that is gone."""
        return self.judgement.stopped_deviating
