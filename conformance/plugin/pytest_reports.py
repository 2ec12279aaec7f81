"""pytest's own reports, JUnit XML and pytest-html's: one in the folder of a run belongs to that run."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

from conformance.plugin.options import output_of


def path_of(config: pytest.Config, option: str) -> Path | None:
    """Return where pytest writes that report: its plugins look for variables and `~` in what the option says."""
    text = config.getoption(option, None)
    return Path(os.path.expandvars(text)).expanduser() if text else None


def reports_in(config: pytest.Config, folder: Path) -> dict[str, str]:
    """Return the names of those reports that pytest will write into `folder`, by option: it writes them last of all."""
    reports = {option: path_of(config, option) for option in ("htmlpath", "xmlpath")}
    return {
        option: path.name
        for option, path in reports.items()
        if path is not None and path.parent.resolve() == folder.resolve()
    }


class PytestReports:
    """Keeps the reports of the last run from being replaced by those of one that was refused, or had no case."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._results = output_of(config) / "results.jsonl"
        self._before = self._state()
        self._spared: set[str] = set()

    def _state(self) -> tuple[int, int] | None:
        try:
            status = self._results.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Look after a collection that fails."""
        try:
            result = yield
        except BaseException:
            self._spare()
            raise
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Look after the loop, however it ends: pytest writes its reports right after it."""
        try:
            result = yield
        except pytest.UsageError:
            self._spare(refused=True)
            raise
        except BaseException:
            self._spare()
            raise
        self._spare()
        return result

    def _spare(self, *, refused: bool = False) -> None:
        """Take pytest's reports out of this session where the folder is still what it was: an earlier run's, or not ours."""
        if self._state() != self._before or (self._before is None and not refused):
            return
        manager = self._config.pluginmanager
        reports = reports_in(self._config, self._results.parent)
        self._spared.update(reports.values())
        if "xmlpath" in reports and (junit := manager.get_plugin("junitxml")) is not None:
            junit.pytest_unconfigure(self._config)  # pytest itself calls it once the report is written
        if "htmlpath" in reports:
            for plugin in manager.get_plugins():
                if hasattr(plugin, "_report") and type(plugin).__module__.startswith("pytest_html."):
                    manager.unregister(plugin)

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name the reports that were not written."""
        if self._spared:
            names, folder = " and ".join(sorted(self._spared)), self._results.parent
            left = f"{folder} keeps the last one, and its {names}" if self._before else f"no {names} in {folder}"
            terminalreporter.write_line(f"no run: {left}")
