"""The pytest plugin: registers the features of a run, each an object from a module of its own.

It does nothing in a run without cases. The features import late what is large, so that it costs such a run nothing.
"""

from __future__ import annotations

import pytest

from conformance.plugin import hooks
from conformance.plugin.baseline_gate import BaselineGate
from conformance.plugin.collection import Collection
from conformance.plugin.ending import Ending
from conformance.plugin.html_columns import HtmlColumns
from conformance.plugin.junit_properties import JunitProperties
from conformance.plugin.options import add_options, is_worker
from conformance.plugin.pytest_reports import PytestReports
from conformance.plugin.running import Running
from conformance.plugin.scripts import Scripts
from conformance.plugin.selection import Deselection
from conformance.plugin.step_summary import StepSummary


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Make our own hooks known."""
    pluginmanager.add_hookspecs(hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of a run and the settings of its features."""
    add_options(parser)
    JunitProperties.add_setting(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register what this process needs: one alone needs all, a worker runs cases, a controller of workers reports."""
    features = [
        Scripts(),
        Collection(config),
        Deselection(config),
        HtmlColumns(config),
        JunitProperties(config),
        Running(config),
    ]
    if is_worker(config):
        from conformance.plugin.workers import Worker

        features.append(Worker(config))
    else:
        features += [Ending(config), PytestReports(config)]
        if config.getoption("--baseline") is not None:
            features.append(BaselineGate(config))
        if config.getoption("--step-summary"):
            features.append(StepSummary())
        if config.getoption("dist", "no") != "no":
            from conformance.plugin.workers import Controller

            features.append(Controller(config))
    for feature in features:
        config.pluginmanager.register(feature, f"conformance-{type(feature).__name__.lower()}")
