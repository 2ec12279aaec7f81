"""`--step-summary`: the summary of a run on the page of a GitHub step."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conformance.report.overview import Overview


class StepSummary:
    """Appends the summary to the file that $GITHUB_STEP_SUMMARY names."""

    def __init__(self) -> None:
        self._path = os.environ.get("GITHUB_STEP_SUMMARY")
        if not self._path:
            raise pytest.UsageError("--step-summary: GITHUB_STEP_SUMMARY is not set, so there is no step to write to")

    def pytest_conformance_written(self, overview: Overview) -> None:
        """Append the summary. Raises RecordError."""
        from conformance.record import RecordError
        from conformance.report.summary import as_markdown

        assert self._path is not None
        try:
            with Path(self._path).open("a", encoding="utf-8") as file:
                file.write(as_markdown(overview))
        except OSError as error:
            raise RecordError(f"can't write the step's summary {self._path}: {error.strerror or error}") from error
