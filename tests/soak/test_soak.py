"""The soak works: it runs the cases over every wire, and tells what violates there alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.__main__ import WIRES, Kind

ROOT = Path(__file__).parents[2]


@pytest.mark.usefixtures("lab")
def test_soak_in_small_finds_nothing_false(tmp_path: Path) -> None:
    """One run over each wire, every other on busy cores."""
    command = [sys.executable, "-m", "tests.soak", f"--quick={len(WIRES)}", "--standard=0", f"--output={tmp_path}"]
    selection = ["--", "-k", "test_simultaneous_close or test_timestamp_behind_a_hole", "--family=4"]
    ran = subprocess.run([*command, *selection], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
    for wire in WIRES:
        assert f"{wire}, " in ran.stdout
    assert not list(tmp_path.iterdir()), "the folders of clean runs are still there"


def test_what_violates_on_a_calm_machine_too_is_not_false() -> None:
    kind = Kind()
    assert kind.add({"a": ("violates", "as ever"), "b": ("conforms", ""), "c": ("inconclusive", "0.3 s late")}, {"a"})
    assert not kind.add(
        {"a": ("conforms", ""), "b": ("violates", "nothing came"), "c": ("inconclusive", "4 s late")}, {"a"}
    )
    assert (kind.runs, kind.cases, kind.false) == (2, 6, ["b: nothing came"])
    assert kind.unsure == {"c: # s late": 2}
