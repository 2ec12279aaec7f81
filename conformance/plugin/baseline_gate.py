"""`--baseline`: a run fails only where something got worse since then, or is no longer judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from conformance.plugin.options import is_strict
from conformance.plugin.selection import narrowed_by
from conformance.plugin.terminal import usage_error

if TYPE_CHECKING:
    from conformance.report.changes import Changes
    from conformance.report.overview import Overview


class BaselineGate:
    """Holds the run against its baseline, which is read before anything runs: the run may write over it."""

    def __init__(self, config: pytest.Config) -> None:
        from conformance.record import RecordError
        from conformance.report.baseline_files import load

        self._config = config
        self._failed_otherwise = False
        self._changes: Changes | None = None
        try:
            self._baseline = load(config.getoption("--baseline"))
        except RecordError as error:
            raise usage_error(error) from None

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notice failures that are no verdict: a baseline does not excuse them."""
        self._failed_otherwise |= report.failed and not getattr(report, "judged", False)

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Notice modules that can't be collected."""
        self._failed_otherwise |= report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_conformance_gathered(self, session: pytest.Session, overview: Overview) -> None:
        """Decide a finished run's exit code by what got worse; a run that was stopped early can only get worse by it."""
        stopped = bool(session.shouldfail or session.shouldstop)
        ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        overview.hold_against(
            self._baseline,
            whole=ended and not stopped and not narrowed_by(self._config),
            left_out=frozenset().union(*self._config.hook.pytest_conformance_left_out()),
            most_inconclusive=0 if is_strict(self._config) else self._config.getoption("--most-inconclusive"),
        )
        self._changes = overview.changes
        if not ended or overview.changes is None:
            return
        if overview.changes.worse:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif not stopped and not self._failed_otherwise:
            session.exitstatus = pytest.ExitCode.OK

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List what has changed."""
        if self._changes is not None:
            from conformance.report.changes import as_lines

            terminalreporter.section("baseline", "=")
            for line in as_lines(self._changes):
                terminalreporter.write_line(line)
