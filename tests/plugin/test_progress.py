"""The progress line: seen while pytest waits, gone afterwards, and in no report."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyte
import pytest

from tests.conftest import Suite, clean_environment

CASES = '''
    @pytest.mark.parametrize("seconds", [1, 3, 5])
    @verifies("RFC9293:MUST-13", lasts=5)
    async def test_waits(tcp, seconds):
        """It waits, and then it fails."""
        await tcp.sleep(seconds)
        raise Violation("not so")
'''
DONE = re.compile(r"(\d+) of 3 cases done, (\d+) running, about (\d+) s left, waiting for (\S+)")


def test_a_terminal_has_one_live_line_that_leaves_nothing_behind(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    screen = pyte.Screen(120, 300)
    seen: list[str] = []
    for octets in _on_a_terminal(made.command("--family=4", "--html=out/pytest.html", "-rN"), made.folder):
        pyte.ByteStream(screen).feed(octets)
        lines = [line.rstrip() for line in screen.display if "cases done" in line]
        assert len(lines) <= 1, "one line, not one below the other"
        seen += lines
    moved = list(dict.fromkeys(seen))
    assert len(moved) > 3, screen.display
    done, running, left_s, waiting = zip(*(DONE.fullmatch(line).groups() for line in moved), strict=True)  # type: ignore[union-attr]
    assert {"0", "1"} <= set(done)
    assert {"3", "2"} <= set(running)
    assert len(set(left_s)) > 2
    assert waiting[0].startswith("test_waits[ipv4-")
    assert any(line.startswith("test_cases.py FFF") for line in screen.display)
    assert not [line for line in screen.display if "cases done" in line]
    assert "cases done" not in (made.folder / "out" / "pytest.html").read_text()


def _on_a_terminal(command: list[str], folder: Path) -> list[bytes]:
    """Run a command on a terminal of its own; return what it wrote, piece by piece."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, True)
    environment = clean_environment() | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        pieces = []
        while piece := _read(ours):
            pieces.append(piece)
        process.wait(60)
    os.close(ours)
    return pieces


def _read(terminal: int) -> bytes:
    """Return what is there; nothing where the last writer has closed it."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


@pytest.mark.parametrize("workers", [(), ("-s",)], ids=["captured", "not-captured"])
def test_elsewhere_it_is_a_plain_line_and_in_no_report(suite: Callable[[str], Suite], workers: tuple[str, ...]) -> None:
    made = suite(CASES)
    (made.folder / "conftest.py").write_text("import conformance.plugin.progress as progress\nprogress._EVERY_S = 1\n")
    ran = made.run("--family=4", "--html=out/pytest.html", "--junitxml=out/junit.xml", *workers)
    assert len([line for line in ran.out.splitlines() if DONE.fullmatch(line)]) > 2, ran.out
    assert "\x1b" not in ran.out
    assert "Captured stdout" not in ran.out
    for name in ("pytest.html", "junit.xml"):
        assert "cases done" not in (ran.output / name).read_text()
