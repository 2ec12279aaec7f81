"""Hooks of our own: by them a feature learns of the run without knowing the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conformance.report.overview import Overview


@dataclass(frozen=True)
class Stopped:
    """A run that has ended: where it is recorded, and what its record lacks, a line each."""

    output: Path
    problems: list[str] = field(default_factory=list)


@pytest.hookspec(firstresult=True)
def pytest_conformance_stop() -> Stopped | None:
    """End the run, here or in the workers; None where there was none."""


@pytest.hookspec
def pytest_conformance_left_out() -> frozenset[str]:  # type: ignore[empty-body]
    """Return the ids of cases that were collected and deselected."""


@pytest.hookspec
def pytest_conformance_gathered(session: pytest.Session, overview: Overview) -> None:
    """Judge or add to the overview of an ended run, before its pages are written."""


@pytest.hookspec
def pytest_conformance_written(overview: Overview) -> None:
    """Hand on a run whose pages are written. Raises RecordError."""
