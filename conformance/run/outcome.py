"""What one case of a run came to."""

from __future__ import annotations

from dataclasses import dataclass

from conformance.case.info import CaseInfo
from conformance.judge import Verdict
from conformance.standard.profile import Deviation


@dataclass(frozen=True)
class Outcome:
    """What one case came to; `failure` is the long text, `message` its one line."""

    info: CaseInfo
    verdict: Verdict
    message: str
    failure: str
    started_ns: int
    duration_s: float
    deviation: Deviation | None
    stopped_deviating: bool
    capture: str | None = None
    ran_again: str = ""
    """Why a first run, among the others, gave no verdict."""
    states: tuple[str, ...] = ()
    """The states that the target was seen in, in their order."""
    raised_itself: bool = False
    """It ended with an exception of the case's own: no fault of harness, agent or lab."""
