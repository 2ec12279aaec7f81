"""What the terminal shows: how far the run is while it waits, and what it came to."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from conformance.judge import Verdict
from conformance.standard.cells import cells

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from conformance.report import Overview
    from conformance.report.overview import Entry
    from conformance.run.run import Run

_EVERY_S = 10.0
_EVERY_ON_TERMINAL_S = 0.5
_LEVELS = ("MUST", "text", "SHOULD", "MAY")
_MOST_LINES = 20


class Progress:
    """One line now and then while pytest waits for a case: done, running, and the time to the last timer."""

    def __init__(self, reporter: TerminalReporter | None, run: Run, total: int) -> None:
        self._reporter, self._run, self._total = reporter, run, total
        self._last = time.monotonic()

    def show(self) -> None:
        """Write the line if it is time for one."""
        reporter = self._reporter
        if reporter is None:
            return
        on_terminal = bool(reporter.isatty)
        if time.monotonic() - self._last < (_EVERY_ON_TERMINAL_S if on_terminal else _EVERY_S):
            return
        self._last = time.monotonic()
        run = self._run
        line = f"{run.done} of {self._total} cases done, {len(run.running)} running, last timer in {run.last_timer_s():.0f} s"
        if on_terminal:
            reporter.rewrite(f"  {line}", erase=True)
        else:
            reporter.ensure_newline()
            reporter.write_line(f"  {line}")


def summary(reporter: TerminalReporter, overview: Overview | None, problems: Sequence[str]) -> None:
    """The table of verdicts by level, how much of the documented machine was run, and what violates."""
    cases = list(overview.entries.values()) if overview is not None else []
    if overview is not None and cases:
        names = ", ".join(f"{name} {version}" for name, version, *_ in overview.targets)
        reporter.section(f"conformance of {names}", "=")
        _table(reporter, overview.table)
    from conformance.report.state_map import said, tally  # noqa: PLC0415

    if covered := said(tally((one.cells, one.verdict) for one in cases), len(cells())):
        reporter.write_line(covered)
    for verdict in (Verdict.VIOLATES, Verdict.ERROR, Verdict.BREAKS_SHOULD, Verdict.INCONCLUSIVE):
        _list(reporter, verdict.value, [one for one in cases if one.verdict == verdict.value])
    # Of what conforms there is nothing else to say.
    mended = [one for one in cases if one.verdict == Verdict.CONFORMS.value and one.message]
    _list(reporter, "no longer deviates (mend the profile)", mended)
    for problem in problems:
        reporter.write_line(f"the record is incomplete: {problem}", red=True)


def _table(reporter: TerminalReporter, counts: Counter[tuple[str, str]]) -> None:
    verdicts = [one.value for one in Verdict if any(counts[level, one.value] for level in _LEVELS)]
    reporter.write_line(f"{'level':<8}" + "".join(f"{one:>16}" for one in verdicts))
    for level in _LEVELS:
        if any(counts[level, one] for one in verdicts):
            reporter.write_line(f"{level:<8}" + "".join(f"{counts[level, one] or '-':>16}" for one in verdicts))


def _list(reporter: TerminalReporter, title: str, cases: Sequence[Entry]) -> None:
    if not cases:
        return
    reporter.write_line("")
    reporter.write_line(f"{title}:")
    for one in cases[:_MOST_LINES]:
        reporter.write_line(f"  {one.id}: {one.message}")
    if len(cases) > _MOST_LINES:
        reporter.write_line(f"  and {len(cases) - _MOST_LINES} more, see the report")
