"""Processes as /proc tells of them, and waiting for what they come to."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path


def wait(until: Callable[[], bool], *, seconds: float = 30) -> None:
    """Until that is so."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """All descendants of a process."""
    descendants = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                descendants += [child, *children(child)]
    return descendants


def alive(pid: int) -> bool:
    """Return True if it is there, and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def program_of(pid: int) -> str:
    """Return the first 15 octets of a program's name; nothing where the process has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def namespace(pid: int) -> str:
    """The network namespace of a process; nothing where it has ended."""
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    return ""


def namespaces(*, began_by: int | None = None) -> set[str]:
    """Return the network namespaces of all processes, or of those that had begun by then (in `ticks`): numbers are used again."""
    pids = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
    return {namespace(pid) for pid in pids if began_by is None or 0 <= _started(pid) <= began_by} - {""}


def ticks() -> int:
    """Return the time since the boot as /proc counts it."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def _started(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return -1
