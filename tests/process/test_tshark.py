"""Wireshark's own reader takes our captures."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_pcapng import sample, write


def test_tshark_reads_our_files(tmp_path: Path) -> None:
    tshark = shutil.which("tshark")
    if tshark is None:
        pytest.skip("tshark is not installed")
    path = write(tmp_path / "x.pcapng", sample())
    fields = ["frame.time_epoch", "frame.comment", "frame.packet_flags_direction", "frame.interface_name"]
    command = [tshark, "-r", str(path), "-T", "fields", *[word for name in fields for word in ("-e", name)]]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"LC_ALL": "C.UTF-8"})
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [f"1795000000.{123_456_789 + n}" for n in (1, 2, 3)]
    assert [row[1] for row in rows] == [f"Rahmen {n}: ✓" for n in (1, 2, 3)]
    assert [int(row[2], 16) for row in rows] == [2, 1, 2]
    assert {row[3] for row in rows} == {"tester0"}
