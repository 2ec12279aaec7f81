"""Show a run's progress while pytest waits for a case: a live line on a terminal, elsewhere a plain line at times."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conformance.case.info import CaseInfo
    from conformance.run.run import Run

_EVERY_S = 10.0
_EVERY_ON_TERMINAL_S = 0.5
_CLEAR_LINE = "\r\x1b[K"


class Progress:
    """Shows the cases that are done of all, those that run, the one that the run waits for, and the time that is left."""

    def __init__(self, config: pytest.Config, run: Run, cases: Sequence[CaseInfo]) -> None:
        manager = config.pluginmanager
        self._reporter: pytest.TerminalReporter | None = manager.get_plugin("terminalreporter")
        # pytest captures what is written while it sets an item up: its own live log suspends that in this way, too.
        self._captured: Any = manager.get_plugin("capturemanager")
        self._run, self._total = run, len(cases)
        self._lasts_s = {case.id: case.lasts_s for case in cases}
        self._live = self._reporter is not None and self._reporter.isatty
        self._written_s = time.monotonic()
        self._shown = self._was_shown = False

    def show(self) -> None:
        """Write the line if it is time for it."""
        every_s = _EVERY_ON_TERMINAL_S if self._live else _EVERY_S
        late = time.monotonic() - self._written_s >= every_s
        if self._reporter is None or not (late or (self._was_shown and not self._shown)):
            return
        self._written_s = time.monotonic()
        with self._uncaptured():
            if self._live:
                self._draw(self._line())
            else:
                self._reporter.ensure_newline()
                self._reporter.write_line(self._line())

    def clear(self) -> None:
        """Leave nothing of the live line behind: pytest goes on writing."""
        if self._shown:
            with self._uncaptured():
                self._draw("")

    def _draw(self, line: str) -> None:
        """Write the line below the one that pytest is at, and put the cursor back where it was."""
        assert self._reporter is not None
        writer = self._reporter._tw
        column = writer.width_of_current_line % writer.fullwidth + 1
        writer._file.write(f"\n{_CLEAR_LINE}{line[: writer.fullwidth - 1]}\x1b[A\x1b[{column}G")
        writer._file.flush()
        self._shown = bool(line)
        self._was_shown = self._was_shown or self._shown

    def _line(self) -> str:
        now_ns = self._run.clock.now_ns()
        left_s = {
            name: self._lasts_s.get(name, 0.0) - (now_ns - started_ns) / 1e9
            for name, started_ns in self._run.running.copy().items()
        }
        last = max(left_s, key=lambda name: left_s[name], default=None)
        waiting = f", waiting for {last.rpartition('::')[2]}" if last is not None else ""
        seconds = max(self._run.last_timer_s(), *left_s.values(), 0.0)
        done = f"{self._run.done:,} of {self._total:,} cases done, {len(left_s)} running"
        return f"{done}, about {seconds:.0f} s left{waiting}"

    def _uncaptured(self) -> contextlib.AbstractContextManager[None]:
        if self._captured is None:
            return contextlib.nullcontext()
        suspended: contextlib.AbstractContextManager[None] = self._captured.global_and_fixture_disabled()
        return suspended
