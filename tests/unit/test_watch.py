"""Watching a program: what runs, and when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance.cli import run as run_command
from conformance.cli.watch import watch


@pytest.mark.parametrize(
    ("codes", "asked"),
    [
        ([0, 0], [[], []]),
        ([1, 1, 1], [[], ["--failed"], ["--failed"]]),
        ([1, 0, 0, 0], [[], ["--failed"], [], []]),
    ],
    ids=["all is well", "still fails", "mended, then everything"],
)
def test_what_failed_runs_first_and_everything_once_it_is_mended(
    tmp_path: Path, codes: list[int], asked: list[list[str]]
) -> None:
    program, ran, looks = tmp_path / "stack", list[list[str]](), list[float]()
    program.write_bytes(b"1")

    def run(words: Sequence[str]) -> int:
        ran.append(list(words))
        return codes[len(ran) - 1]

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(ran) == len(codes):
            raise KeyboardInterrupt
        if len(looks) % 4 == 1:
            program.write_bytes(program.read_bytes() + b"1")

    assert watch(program, run, sleep=sleep) == codes[-1]
    assert ran == asked


def test_any_file_of_a_folder_counts_and_one_that_is_gone_is_waited_for(tmp_path: Path) -> None:
    ran = []
    (tmp_path / "a").write_bytes(b"1")

    def run(words: Sequence[str]) -> int:
        ran.append(words)
        return 0

    looks = 0

    def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            (tmp_path / "a").unlink()
        elif looks == 2:
            (tmp_path / "b").write_bytes(b"2")
        elif looks > 4:
            raise KeyboardInterrupt

    watch(tmp_path, run, sleep=sleep)
    assert len(ran) == 2


def test_program_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command.main(["--watch", "/nowhere/stack"]) == 4
    assert capsys.readouterr().err == "tcp-conformance run: --watch: there is no /nowhere/stack\n"
