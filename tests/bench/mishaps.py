"""Measure what a run takes at its peak and how soon it recovers: memory, Ctrl-C, a worker that is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from conformance.target import HarnessFault
from tests.bench.numbers import Number, number
from tests.lab.processes import children

_ROOT = Path(__file__).parents[2]
_SMALL = ("testcases/rfc9293/test_s3_6_closing.py", "--tier=quick", "--family=4")


def measure() -> list[Number]:
    """Return peak memory in MiB, and seconds after Ctrl-C and after a worker's death. Raises HarnessFault."""
    return [
        number(
            "memory.standard",
            "peak memory of the standard tier",
            "MiB",
            [_peak_mib("testcases")],
            "the largest resident set of `pytest testcases`, without lab and agent",
        ),
        number(
            "memory.quick",
            "peak memory of the quick tier over IPv4",
            "MiB",
            [_peak_mib("testcases", "--tier=quick", "--family=4")],
            "the same",
            aim=200,
        ),
        number(
            "ctrl_c.to_prompt",
            "from Ctrl-C to the prompt",
            "s",
            [_interrupted_s() for _ in range(5)],
            "SIGINT to a run whose cases wait, until its process has ended, pages written",
            aim=2,
        ),
        number(
            "worker.recovery",
            "from a worker's death to its cases begun again",
            "s",
            [_recovered_s() for _ in range(3)],
            "SIGKILL to one of two workers, until a third has started a lab of its own",
        ),
    ]


def _start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words, f"--output={folder / 'out'}"]
    return subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _peak_mib(*words: str) -> float:
    with tempfile.TemporaryDirectory() as name:
        process, peak_kib = _start(Path(name), *words), 0
        while process.poll() is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            if peak := re.search(r"VmHWM:\s*(\d+)", status):
                peak_kib = int(peak[1])
            time.sleep(0.1)
        process.wait()
        if process.returncode not in (0, 1):
            raise HarnessFault(f"the suite did not run: pytest {' '.join(words)} ended with {process.returncode}")
        return peak_kib / 1024


def _interrupted_s() -> float:
    with tempfile.TemporaryDirectory() as name:
        process = _start(Path(name), *_SMALL)
        _until(lambda: bool(_agents(process.pid)))
        time.sleep(1)
        began_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.wait(60)
        return time.monotonic() - began_s


def _recovered_s() -> float:
    with tempfile.TemporaryDirectory() as name:
        process = _start(Path(name), *_SMALL, "-n2")
        _until(lambda: len(_agents(process.pid)) > 1)
        before = _agents(process.pid)
        workers = [pid for pid in children(process.pid) if b"sys.stdin.readline()" in _command(pid)]
        os.kill(workers[0], signal.SIGKILL)
        began_s = time.monotonic()
        try:
            _until(lambda: bool(_agents(process.pid) - before))
            return time.monotonic() - began_s
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _agents(pid: int) -> frozenset[int]:
    return frozenset(child for child in children(pid) if b"agent.py" in _command(child))


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not holds():
        if time.monotonic() > end_s:
            raise HarnessFault("the run did not come so far within a minute")
        time.sleep(0.02)
