"""Target files: what they may say, and the one line that says what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.target.load import TargetFileError, load_target

TWO = """
[[target]]
name = "first"
kind = "netns"

[[target]]
name = "second"
kind = "netns"
[target.wire]
loss = 0.01
"""


def _file(folder: Path, text: str) -> str:
    path = folder / "lab.toml"
    path.write_text(text)
    return str(path)


def test_a_list_of_targets_has_one_for_each_worker(tmp_path: Path) -> None:
    path = _file(tmp_path, TWO)
    assert [load_target(path, number).name for number in (0, 1)] == ["first", "second"]
    assert load_target(path, 1).wire.loss == 0.01
    with pytest.raises(TargetFileError, match="lists 2 targets, one for each worker: say -n 2 at most"):
        load_target(path, 2)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('kind = "netz"', "lab.toml:1: kind 'netz' is not known; there is netns, stack, ssh, blackbox"),
        ('\nprofil = "linux"', "lab.toml:2: unknown key 'profil'; did you mean profile?"),
        ('kind = "netns"\n[wire]\nlost = 0.1', "lab.toml:3: wire: unknown key 'lost'; known are loss, reorder, delay"),
        ('kind = "netns"\n[wire]\nloss = 5', "lab.toml:3: wire: loss must be a number from 0 to below 1"),
        ('kind = "ssh"\nhost = "a"', "lab.toml:1: interface is missing: a target of kind ssh needs it"),
        (TWO.replace('kind = "netns"\n[', 'kin = "netns"\n['), "lab.toml:8: unknown key 'kin'; did you mean kind?"),
        ("[target]\nname = 3", "a file of several targets has [[target]] and nothing else"),
        ("name = ", "lab.toml: not TOML: "),
    ],
    ids=["kind", "key", "wire-key", "wire-value", "missing", "second-target", "no-list", "syntax"],
)
def test_what_is_wrong_is_one_line_with_its_place(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(TargetFileError) as raised:
        load_target(_file(tmp_path, text), 1 if "[[target]]" in text else 0)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)
