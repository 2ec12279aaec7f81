"""The end of a run: its pages are written, and the terminal says what it came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.plugin.pytest_reports import reports_in
from conformance.plugin.terminal import write_line

if TYPE_CHECKING:
    from conformance.report.overview import Entry, Overview

_LEVELS = ("MUST", "text", "SHOULD", "MAY")
_UNJUDGED = ("not applicable", "inconclusive", "error")
_MOST_LINES = 20


class Ending:
    """Ends the run, gathers what it or its workers recorded, and writes the pages."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._overview: Overview | None = None
        self._problems: list[str] = []
        self._page: Path | None = None
        self._unjudged = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """End the run before pytest writes its own reports and its summary."""
        hook = self._config.hook
        stopped = hook.pytest_conformance_stop()
        if stopped is None:
            return
        from conformance.record import RecordError
        from conformance.report.overview import gather
        from conformance.report.pages import write_report

        self._problems = list(stopped.problems)
        # With -x and Ctrl-C, more cases may have ended than pytest reached.
        try:
            self._overview = overview = gather(stopped.output, check=False)
            if overview.entries:
                hook.pytest_conformance_gathered(session=session, overview=overview)
                self._demand_a_verdict(session, overview)
            coming = reports_in(self._config, stopped.output)
            self._page = write_report(stopped.output, overview, coming=set(coming.values()))
            hook.pytest_conformance_written(overview=overview)
        except RecordError as error:
            self._problems.append(str(error))
        if self._problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _demand_a_verdict(self, session: pytest.Session, overview: Overview) -> None:
        """Fail a run in which no case was judged."""
        verdicts = Counter(entry.verdict for entry in overview.entries.values())
        if set(verdicts) <= set(_UNJUDGED):
            counts = ", ".join(f"{verdicts[verdict]:,} {verdict}" for verdict in _UNJUDGED if verdicts[verdict])
            self._unjudged = f"nothing was judged: {counts}"
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
        """Write the table of verdicts by level, how much of the documented machine was run, and what violates.

        It stands after pytest's failures and before what the other features write; the report's name follows them.
        """
        if self._overview is not None:
            _write_overview(terminalreporter, self._overview)
        for problem in self._problems:
            write_line(terminalreporter, f"the record is incomplete: {problem}", red=True)
        if self._unjudged:
            terminalreporter.write_line(self._unjudged, red=True)
        yield
        if self._page is not None and self._overview is not None:
            from conformance.report.summary import headline
            from conformance.report.text import one_line

            verdict, words = headline(self._overview)
            terminalreporter.write_line("")
            write_line(terminalreporter, one_line(words), **{_COLOUR.get(verdict, "yellow"): True})
            terminalreporter.write_line(f"report: {self._page}")


_COLOUR = {"conforms": "green", "violates": "red"}


def _write_overview(reporter: pytest.TerminalReporter, overview: Overview) -> None:
    from conformance.judge import Verdict
    from conformance.report.state_map import coverage_line, tally
    from conformance.report.text import one_line
    from conformance.standard.cells import cells

    entries = list(overview.entries.values())
    if entries:
        names = ", ".join(f"{name} {version}" for name, version, *_ in overview.targets)
        reporter.section(one_line(f"conformance of {names}"), "=")
        _write_table(reporter, overview.table, [verdict.value for verdict in Verdict])
    if covered := coverage_line(tally((entry.cells, entry.verdict) for entry in entries), len(cells())):
        reporter.write_line(covered)
    for verdict in (Verdict.VIOLATES, Verdict.ERROR, Verdict.BREAKS_SHOULD, Verdict.INCONCLUSIVE):
        _list(reporter, verdict.value, [entry for entry in entries if entry.verdict == verdict.value])
    # Of what conforms there is nothing else to say.
    mended = [entry for entry in entries if entry.verdict == Verdict.CONFORMS.value and entry.message]
    _list(reporter, "no longer deviates (mend the profile)", mended)


def _write_table(reporter: pytest.TerminalReporter, counts: Counter[tuple[str, str]], verdicts: Sequence[str]) -> None:
    columns = [verdict for verdict in verdicts if any(counts[level, verdict] for level in _LEVELS)]
    reporter.write_line(f"{'level':<8}" + "".join(f"{verdict:>16}" for verdict in columns))
    for level in _LEVELS:
        if any(counts[level, verdict] for verdict in columns):
            cells = (f"{counts[level, verdict] or '-':>16}" for verdict in columns)
            reporter.write_line(f"{level:<8}" + "".join(cells))


def _list(reporter: pytest.TerminalReporter, title: str, entries: Sequence[Entry]) -> None:
    """Write the cases by cause: an example each, and how many more there are."""
    from conformance.report.causes import causes
    from conformance.report.text import count

    if not entries:
        return
    groups = causes(entries)
    reporter.write_line("")
    several = len(groups) < len(entries)
    reporter.write_line(
        f"{title} ({count(len(entries), 'case')}, {count(len(groups), 'cause')}):" if several else f"{title}:"
    )
    for group in groups[:_MOST_LINES]:
        write_line(reporter, f"  {group.example.id}: {group.message}")
        if more := len(group.cases) - 1:
            write_line(reporter, f"    and {count(more, 'more case')} of {group.requirement} alike")
    if len(groups) > _MOST_LINES:
        left = sum(len(group.cases) for group in groups[_MOST_LINES:])
        causes_left = count(len(groups) - _MOST_LINES, "more cause")
        reporter.write_line(f"  and {causes_left}, {count(left, 'case')}: see the report")
