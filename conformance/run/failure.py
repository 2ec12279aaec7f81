"""Write the long text of a failure: what the standard says, what was seen, and what is closest to what was allowed."""

from __future__ import annotations

import traceback

from conformance.case.case import Case
from conformance.case.info import CaseInfo
from conformance.judge import Inconclusive, NotApplicable, Violation
from conformance.judge.judgement import one_line
from conformance.record import capture_name
from conformance.target import HarnessFault


def failure_text(info: CaseInfo, case: Case | None, raised: BaseException | None, failed_at: str) -> str:
    """Return the text for a case that ended with `raised`; `failed_at` is the case's own line, "" where there is none."""
    if raised is None:
        return ""
    lines = [one_line(raised), ""]
    for sentence in info.sentences():
        lines.append(f"{sentence.id} ({sentence.level}, section {sentence.section}): {sentence.text}")
    if case is not None:
        last = next((one for one in reversed(case.trace.states) if one.side == "target"), None)
        sent = next((step for step in reversed(case.trace.steps) if step.kind in ("send", "app")), None)
        lines.append(f"State: {last.state if last else 'unknown'}")
        lines.append(f"Stimulus: {sent or 'none'}")
    if failed_at:
        lines.append(f"Case: {failed_at}")
    if isinstance(raised, Violation):
        lines += [raised.details] if raised.details else []
    elif not isinstance(raised, (HarnessFault, NotApplicable, Inconclusive)):
        lines += ["", "".join(traceback.format_exception(raised)).rstrip()]
    if case is not None:
        lines += ["", f"Frames (numbers as in {capture_name(info.id)}):", case.trace.listing()]
    return "\n".join(lines)
