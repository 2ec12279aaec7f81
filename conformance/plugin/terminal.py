"""Text that others wrote, on its way to the terminal by pytest: no control characters of a target or an agent get there."""

from __future__ import annotations

import pytest


def usage_error(error: object) -> pytest.UsageError:
    """Return pytest's error for a wrong call, in one line."""
    from conformance.report.text import one_line

    return pytest.UsageError(one_line(str(error)))


def write_line(reporter: pytest.TerminalReporter, line: str, **markup: bool) -> None:
    """Write one line."""
    from conformance.report.text import one_line

    reporter.write_line(one_line(line), **markup)
