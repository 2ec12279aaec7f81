"""The folder that a run is recorded in: one run at a time, cleared once, however many workers it has."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


def claim(output: Path, run: str, clear: Callable[[Path], None]) -> int:
    """Have the folder for a run alone, and clear it where no process of the run has done that.

    `run` is what its processes have in common. Returns a descriptor: as long as one of them has its own open, other runs are
    kept out. Raises OSError, BlockingIOError where another run is at it.
    """
    output.mkdir(parents=True, exist_ok=True)
    held = os.open(output, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with (output / ".run").open("a+") as file:
            _lock(file.fileno(), fcntl.LOCK_EX)
            file.seek(0)
            if file.read() != run:
                _lock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                clear(output)
                file.truncate(0)
                file.write(run)
                file.flush()
            _lock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BaseException:
        os.close(held)
        raise
    return held


def _lock(descriptor: int, how: int) -> None:
    """Where a file system has no locks, nobody is kept out."""
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        raise
    except OSError:
        pass
