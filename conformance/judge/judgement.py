"""Judge one attempt at a case: from what it raised and what is known of the target to a verdict and its message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conformance.judge.verdict import BROKEN, Verdict, Violation, verdict_of

if TYPE_CHECKING:
    from conformance.standard.profile_rows import Deviation


@dataclass(frozen=True)
class Judgement:
    """A verdict and its one line. `deviation` is the known deviation that the case showed."""

    verdict: Verdict
    message: str = ""
    deviation: Deviation | None = None
    stopped_deviating: bool = False
    """The case conforms, and the profile says that it deviates."""
    doubt: str = ""
    """Why the tester may have brought a broken rule about itself."""

    @property
    def broken(self) -> bool:
        """Return True where the target broke the rule, and no profile knows of it."""
        return self.verdict in BROKEN


def judge(
    raised: BaseException | None,
    level: str,
    *,
    strict: bool,
    own: Sequence[Deviation] = (),
    may_show: Sequence[Deviation] = (),
) -> Judgement:
    """Judge a case of that level (MUST, SHOULD, MAY, text) that ended with `raised`.

    `own` are the known deviations that the case has to show, `may_show` all that it may show.
    """
    verdict, message = verdict_of(raised, level, strict=strict), one_line(raised)
    known = next((row for row in may_show if verdict in BROKEN and row.shown_by(message)), None)
    if known is not None:
        return Judgement(Verdict.DEVIATES, message, known)
    if own and verdict is Verdict.CONFORMS:
        message = f"no longer deviates, the profile says it does: {own[0].reason}"
        return Judgement(verdict, message, stopped_deviating=True)
    return Judgement(verdict, message, doubt=raised.doubt if isinstance(raised, Violation) else "")


def one_line(raised: BaseException | None) -> str:
    """Return the first line of an exception; its type comes first where it is none of our own."""
    if raised is None:
        return ""
    name = type(raised).__name__
    line = (str(raised).strip() or name).splitlines()[0]
    ours = any(kind.__module__.startswith("conformance.") for kind in type(raised).__mro__)
    return line if ours else f"{name}: {line}"
