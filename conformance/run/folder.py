"""The folder that a run is recorded in: one run at a time, begun once, however many workers the run has."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from conformance.report.folder import alone, begin_beside, discard, lock, refuse_busy, refuse_foreign, run_of, swap


class RunFolder:
    """Takes the folder for one run, and keeps other runs out until each of its processes has left or ended.

    `run` is what the processes of the run have in common. Nothing is touched before `begin`. Raises RecordError where the
    folder is not ours, OSError, and BlockingIOError where another run is at it.
    """

    def __init__(self, output: Path, run: str) -> None:
        self._output, self._run = output.resolve(), run
        self._held: int | None = None
        refuse_foreign(output)
        if not self._is_begun():
            refuse_busy(self._output)

    def begin(self, target: str) -> None:
        """Put a new folder in the place of the last run's, where no process of this run has done that.

        Call it when the run can no longer be refused. Raises as the class does.
        """
        with alone(self._output):
            if self._is_begun():
                self._held = os.open(self._output, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                lock(self._held, fcntl.LOCK_SH)
                return
            beside, self._held = begin_beside(self._output, {"run": self._run, "target": target})
            try:
                swap(beside, self._output)
            except BaseException:
                discard(beside, self._output)
                raise

    def leave(self) -> None:
        """Let other runs have it."""
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _is_begun(self) -> bool:
        return run_of(self._output) == self._run
