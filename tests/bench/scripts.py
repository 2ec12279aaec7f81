"""Scripts with packetdrill, and the same as cases of ours, one by one and side by side; and how long each of many takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from conformance.target import HarnessFault
from tests.bench.numbers import Number, number

_FOLDER = Path(__file__).parent / "packetdrill"
_ROOT = Path(__file__).parents[2]
_MANY = 100
_SCRIPT = """
   0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
  +0 bind(3, ..., ...) = 0
  +0 listen(3, 1) = 0
  +0 < S 0:0(0) win 32792 <mss 1000>
  +0 > S. 0:0(0) ack 1 <...>
+.01 < . 1:1(0) ack 1 win 32792
  +0 accept(3, ..., ...) = 4
"""
# Ten at once on a few processors are late: its usual 4 ms would lose verdicts to that.
_TOLERANCE = "--tolerance_usecs=100000"
_HOW = "ten scripts of tests/bench/packetdrill"


def measure(packetdrill: str | None, repeats: int) -> list[Number]:
    """Seconds for all ten, and of many scripts for each; packetdrill's where its binary is named (`PACKETDRILL`).

    Raises HarnessFault.
    """
    ours = f"{_HOW}/same.py, pytest from its start to its end, with record and report"
    results = [
        number("scripts.ours.one_by_one", "ten scripts, one by one", "s", _ours("1", repeats), ours),
        number("scripts.ours", "ten scripts, side by side", "s", _ours("16", repeats), ours),
        *(_many(target, repeats) for target in ("linux", "smoltcp")),
    ]
    if packetdrill:
        theirs = f"{_HOW}, each by packetdrill in a network namespace of its own (`unshare -n`)"
        one_by_one = [_theirs(packetdrill, together=False) for _ in range(repeats)]
        together = [_theirs(packetdrill, together=True) for _ in range(repeats)]
        results += [
            number("scripts.packetdrill.one_by_one", "packetdrill, one by one", "s", one_by_one, theirs),
            number("scripts.packetdrill", "packetdrill, side by side", "s", together, theirs),
        ]
    return results


def _ours(concurrency: str, repeats: int) -> list[float]:
    took = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            options = ["-q", "--family=4", "--concurrency", concurrency, "--output", folder]
            command = [sys.executable, "-m", "pytest", str(_FOLDER / "same.py"), *options]
            started = time.monotonic()
            ran = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            took.append(time.monotonic() - started)
        if ran.returncode:
            raise HarnessFault(f"the ten cases of {_FOLDER.name}/same.py did not pass: {ran.stdout.decode()[-500:]}")
    return took


def _many(target: str, repeats: int) -> Number:
    """Return the milliseconds that a script takes of many that are alike, without pytest's start and the report."""
    values = [(_seconds(target, _MANY) - _seconds(target, 1)) * 1000 / (_MANY - 1) for _ in range(repeats)]
    how = f"{_MANY} scripts of a handshake and no more, less the time of one script alone"
    return number(f"scripts.pkt.{target}", f"a script of packetdrill's language on {target}", "ms", values, how)


def _seconds(target: str, scripts: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        for index in range(scripts):
            Path(folder, f"script{index}.pkt").write_text(_SCRIPT)
        words = [
            "run",
            "--target",
            target,
            "--family",
            "4",
            "--pkt-portable",
            "--output",
            f"{folder}/run",
            "--",
            folder,
        ]
        started = time.monotonic()
        ran = subprocess.run(
            [sys.executable, "-m", "conformance.cli", *words], cwd=_ROOT, capture_output=True, check=False
        )
        took = time.monotonic() - started
    if ran.returncode:
        raise HarnessFault(f"the scripts did not pass on {target}: {ran.stdout.decode()[-500:]}")
    return took


def _theirs(packetdrill: str, *, together: bool) -> float:
    commands = [["unshare", "-n", packetdrill, _TOLERANCE, str(script)] for script in sorted(_FOLDER.glob("*.pkt"))]
    started = time.monotonic()
    if together:
        _wait([_start(command) for command in commands])
    else:
        for command in commands:
            _wait([_start(command)])
    return time.monotonic() - started


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, cwd=_FOLDER, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        raise HarnessFault(f"can't run {command[0]}: {error.strerror}") from None


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        text, _ = process.communicate(timeout=60)
        if process.returncode:
            raise HarnessFault(f"packetdrill failed ({os.fsdecode(text).strip()[-300:] or process.returncode})")
