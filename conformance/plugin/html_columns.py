"""Columns of our own in pytest-html's report, and links to each case's page and capture."""

from __future__ import annotations

import html
import os
from collections.abc import Generator
from functools import cached_property
from typing import TYPE_CHECKING

import pytest

from conformance.plugin.collection import CASE
from conformance.plugin.options import output_of
from conformance.plugin.pytest_reports import path_of
from conformance.plugin.running import OUTCOME

if TYPE_CHECKING:
    from conformance.run.outcome import Outcome

COLUMNS = {
    "section": "Section",
    "requirement": "Requirement",
    "level": "Level",
    "verdict": "Verdict",
    "states": "State path",
}
_HEADS = [f'<th class="sortable" data-column-type="{name}">{title}</th>' for name, title in COLUMNS.items()]


class HtmlColumns:
    """Fills the columns from each case's outcome. A run without cases has none."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._shown = True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the report what stands in the columns; it goes from a worker to its controller."""
        report = yield
        outcome = item.stash.get(OUTCOME, None)
        if outcome is not None and (report.failed or report.skipped or report.when == "call"):
            info = outcome.info
            report.conformance = {  # type: ignore[attr-defined]
                "id": item.nodeid if report.when == "call" else f"{item.nodeid}::{report.when}",
                "section": f"{info.document} {info.section}",
                "requirement": next(iter(info.requirements), info.document),
                "level": info.level,
                "verdict": outcome.verdict.value,
                "states": " ".join(outcome.states),
            }
            self._link(report, outcome)
        return report

    def _link(self, report: pytest.TestReport, outcome: Outcome) -> None:
        """Link to the case's page and capture, by relative path."""
        if self._to_output is None:
            return
        from pytest_html import extras

        from conformance.record import case_name

        links = [extras.url(f"{self._to_output}/cases/{case_name(outcome.info.id)}.html", name="case")]
        if outcome.capture:
            links.append(extras.url(f"{self._to_output}/{outcome.capture}", name="capture"))
        report.extras = [*getattr(report, "extras", []), *links]  # type: ignore[attr-defined]

    @cached_property
    def _to_output(self) -> str | None:
        """The way from pytest-html's report to the run's folder; None where there is no such report."""
        report = path_of(self._config, "htmlpath")
        if self._config.pluginmanager.get_plugin("html") is None or report is None:
            return None
        return os.path.relpath(output_of(self._config), report.parent)

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        """Add the columns after pytest-html's own result and test."""
        cells[2:2] = _HEADS

    @pytest.hookimpl
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Take the columns out of the report of a run without cases: pytest-html asks before anything is collected."""
        if any(CASE in item.stash for item in session.items):
            return
        for plugin in self._config.pluginmanager.get_plugins():
            report = getattr(plugin, "_report", None)
            head = getattr(report, "table_header", None)
            if isinstance(head, list) and set(_HEADS) <= set(head):
                report.table_header = [cell for cell in head if cell not in _HEADS]  # type: ignore[union-attr]
                self._shown = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        """Fill the columns; cells are raw HTML, and what a target or a parameter says is text.

        pytest-html makes a row for each phase, and throws away those of setup and teardown that passed: here they get none.
        """
        if report.when in ("setup", "teardown") and report.passed and not report.sections:
            cells.clear()
        elif self._shown:
            values: dict[str, str] = getattr(report, "conformance", {})
            if values:  # pytest-html takes the parameters in an id for markup
                cells[1] = f'<td class="col-testId">{html.escape(values["id"])}</td>'
            cells[2:2] = [f'<td class="col-{name}">{html.escape(values.get(name, ""))}</td>' for name in COLUMNS]
