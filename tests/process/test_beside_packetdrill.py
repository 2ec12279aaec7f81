"""`tcp-conformance packetdrill`, with a program in packetdrill's place that fails the scripts whose name says so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from conformance.cli import main
from conformance.packetdrill import beside
from tests.unit.test_results import SAMPLE

_FAKE = """#!/bin/sh
for word; do script=$word; done
case $script in
    *fails*) echo "$script:7: error handling packet"; exit 1;;
    *sleeps*) sleep 20;;
esac
"""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """Return the program."""
    path = tmp_path / "packetdrill"
    path.write_text(_FAKE)
    path.chmod(0o755)
    return path


def record(folder: Path, name: str, verdict: str) -> str:
    """Make a script and return the line that a run would record for it."""
    (folder / f"{name}.pkt").write_text("0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n")
    return json.dumps(SAMPLE | {"id": f"{name}.pkt::{name}[ipv4]", "verdict": verdict})


Output = pytest.CaptureFixture[str]


def compare(run: Path, scripts: Path, binary: Path) -> int:
    return main(["packetdrill", str(run), str(scripts), "--binary", str(binary)])


def test_each_difference_has_a_line(tmp_path: Path, fake: Path, capsys: Output) -> None:
    verdicts = {"agree": "conforms", "agree-fails": "violates", "differs": "violates", "cannot": "not applicable"}
    lines = [record(tmp_path, name, verdict) for name, verdict in verdicts.items()]
    (tmp_path / "results.jsonl").write_text("\n".join(lines) + "\n")
    assert compare(tmp_path, tmp_path, fake) == 0
    written = capsys.readouterr().out
    assert "differs.pkt::differs[ipv4]: violates, packetdrill passes" in written
    assert "agree" not in written
    assert "of 3 scripts that packetdrill passes, 1 conform here (33%); 0 that fail there do, too" in written


def test_a_script_that_conforms_here_alone_is_an_error(tmp_path: Path, fake: Path, capsys: Output) -> None:
    (tmp_path / "results.jsonl").write_text(record(tmp_path, "fails", "conforms") + "\n")
    assert compare(tmp_path, tmp_path, fake) == 1
    written = capsys.readouterr().out
    assert "fails[ipv4]: conforms, packetdrill fails: fails.pkt:7: error handling packet" in written


def test_what_cant_be_compared_is_named(tmp_path: Path, fake: Path, capsys: Output) -> None:
    (tmp_path / "results.jsonl").write_text(record(tmp_path, "x", "conforms") + "\n")
    for scripts, binary, line in (
        (tmp_path, tmp_path / "none", f"{tmp_path}/none is no program; build google/packetdrill, and name its binary"),
        (tmp_path / "y", fake, f"{tmp_path} has no case of a script in {tmp_path}/y"),
    ):
        assert compare(tmp_path, scripts, binary) == 2
        assert capsys.readouterr().err == f"tcp-conformance packetdrill: {line}\n"


def test_a_script_that_never_ends_is_bounded(tmp_path: Path, fake: Path) -> None:
    record(tmp_path, "sleeps", "")
    outcome = beside.run(fake, "ipv6", tmp_path / "sleeps.pkt", longest_s=0.3)
    assert outcome == beside.Outcome(passed=False, message="still running after 0.3 s")
