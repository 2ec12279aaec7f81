"""Run again what failed, whenever a stack's program changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LOOK_S, _STILL_S = 0.2, 0.4
_FAILED = 1
Stamps = Mapping[str, tuple[int, int]]


def watch(path: Path, run: Callable[[Sequence[str]], int], *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Run all that was asked for, and again after each change of `path`; return the last exit code when interrupted.

    `path` is a program, or a folder of which any file counts. `run` gets the words to add to those of the first run: while cases
    fail they run alone, and once none does everything runs again.
    """
    code = run([])
    seen = _stamps(path)
    try:
        while True:
            print(f"waiting for a change of {path}; Ctrl-C ends", flush=True)
            seen = _changed(path, seen, sleep)
            if code == _FAILED and (code := run(["--failed"])):
                continue
            code = run([])
    except KeyboardInterrupt:
        return code


def _changed(path: Path, seen: Stamps, sleep: Callable[[float], None]) -> Stamps:
    """Wait for a change, and until nothing has changed for a moment: a linker writes for a while."""
    while (now := _stamps(path)) == seen or not now:
        sleep(_LOOK_S)
    settled: Stamps = {}
    while now != settled:
        settled = now
        sleep(_STILL_S)
        now = _stamps(path)
    return now


def _stamps(path: Path) -> Stamps:
    """Return the time and size of each file there; none while there is no such file."""
    files = path.rglob("*") if path.is_dir() else [path]
    stamps = {}
    for file in files:
        try:
            status = file.stat()
        except OSError:  # removed meanwhile
            continue
        stamps[str(file)] = (status.st_mtime_ns, status.st_size)
    return stamps
