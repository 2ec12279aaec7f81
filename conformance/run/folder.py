"""The folder that a run is recorded in: one run at a time, cleared once, however many workers it has."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

_CLEARED = " cleared"


class RunFolder:
    """Holds the folder for one run, and keeps other runs out until each of its processes has left or ended.

    `run` is what the processes of the run have in common. Raises OSError, BlockingIOError where another run is at it.
    """

    def __init__(self, output: Path, run: str) -> None:
        self._output, self._run = output, run
        self._made = not output.exists()
        self._cleared = False
        output.mkdir(parents=True, exist_ok=True)
        self._held: int | None = os.open(output, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with (output / ".run").open("a+") as file:
                _lock(file.fileno(), fcntl.LOCK_EX)
                file.seek(0)
                if file.read().removesuffix(_CLEARED) != run:
                    _lock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    file.truncate(0)
                    file.write(run)
                    file.flush()
                _lock(self._held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._held)
            raise

    def clear_once(self, clear: Callable[[Path], None]) -> None:
        """Clear it for the record, where no process of the run has done that. Raises OSError."""
        with (self._output / ".run").open("a+") as file:
            _lock(file.fileno(), fcntl.LOCK_EX)
            file.seek(0)
            if file.read() == self._run:
                clear(self._output)
                file.write(_CLEARED)
                file.flush()
        self._cleared = True

    def leave(self) -> None:
        """Let other runs have it. A folder that was made for a run that never began is removed."""
        if self._held is None:
            return
        if self._made and not self._cleared and os.listdir(self._output) == [".run"]:  # noqa: PTH208 - no path is needed
            (self._output / ".run").unlink()
            self._output.rmdir()
        os.close(self._held)
        self._held = None


def _lock(descriptor: int, how: int) -> None:
    """Lock it; where a file system has no locks, nobody is kept out."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        raise
    except OSError:
        pass
