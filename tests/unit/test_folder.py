"""A run's folder: only ours is replaced, as a whole or not at all, and what the user put there stays."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from conformance.cli import main
from conformance.record import RecordError
from conformance.report import folder as folders
from conformance.report.folder import FILES, FOLDERS, MARKER, refuse_foreign, replaced, require_target
from conformance.report.merge import merge
from conformance.report.pages import make_report
from conformance.report.single import make_single
from conformance.run.folder import RunFolder
from tests.unit.test_report import HANDSHAKE, make_record, save


class Killed(BaseException):
    """Stands for SIGKILL: nothing after it may be done."""


def files_of(folder: Path) -> Mapping[str, bytes]:
    """Return the files below a folder with what they hold."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def begin(output: Path, run: str = "a", target: str = "linux") -> RunFolder:
    """Begin a run."""
    folder = RunFolder(output, run)
    folder.begin(target)
    return folder


def a_run(output: Path) -> None:
    """Leave what a run leaves."""
    begin(output).leave()
    save(output, make_record(), list(HANDSHAKE))
    make_report(output)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """Make a folder of a user's own that looks like a run's in parts."""
    folder = tmp_path / "mine"
    for name in ("cases/brief.html", "captures/a.pcapng", "index.html", "results.jsonl", "src/code.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine\n")
    return folder


def test_a_folder_of_the_users_is_refused_by_name_and_not_touched(
    users: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_of(users)
    with pytest.raises(RecordError, match=r"mine holds 'captures' and no run made it; name an empty or a new folder"):
        RunFolder(users, "a")
    with pytest.raises(RecordError, match="no run made it"), replaced(users):
        pytest.fail("it was not refused")
    with pytest.raises(RecordError, match="no run made it"):
        require_target(users, "linux")
    a_run(tmp_path / "a")
    assert main(["report", str(tmp_path / "a"), str(tmp_path / "a"), "--output", str(users)]) == 1
    assert main(["report", str(users)]) == 1
    printed = capsys.readouterr().err.splitlines()
    assert [line.partition(str(users))[2] for line in printed] == [
        " holds 'captures' and no run made it; name an empty or a new folder as --output",
        " holds no run; name the folder of one, as reports/latest",
    ]
    assert files_of(users) == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RecordError, match="is no folder"):
        RunFolder(tmp_path / "file", "a")


def test_the_working_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_run(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out" / "cases")
    with pytest.raises(RecordError, match=r"is, or holds, the working folder"):
        RunFolder(tmp_path / "out", "b")


def test_an_empty_working_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    begin(Path()).leave()
    assert {path.name for path in Path().iterdir()} == {MARKER, "captures", "cases", "results.jsonl"}


def test_nothing_is_touched_before_the_run_begins(tmp_path: Path) -> None:
    RunFolder(tmp_path / "new" / "out", "a").leave()
    assert list(tmp_path.iterdir()) == []
    a_run(tmp_path / "out")
    before = files_of(tmp_path)
    RunFolder(tmp_path / "out", "b").leave()
    assert files_of(tmp_path) == before


def test_the_next_run_replaces_ours_and_keeps_what_is_the_users(tmp_path: Path) -> None:
    out = tmp_path / "out"
    a_run(out)
    make_single(out)
    verdicts = (out / "verdicts.json").read_bytes()
    for name in ("notes.txt", "captures/read me", "more/deep/file"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    begin(out, "b").leave()
    assert files_of(out).keys() == {
        MARKER, "captures/read me", "more/deep/file", "notes.txt", "results.jsonl", "verdicts-before.json",
    }  # fmt: skip
    assert (out / "verdicts-before.json").read_bytes() == verdicts
    assert not (out / "results.jsonl").read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_links_are_not_followed(tmp_path: Path, users: Path) -> None:
    out, before = tmp_path / "out", files_of(users)
    a_run(out)
    for path in (out / "captures").iterdir():
        path.unlink()
    (out / "captures").rmdir()
    (out / "captures").symlink_to(users / "captures")
    (out / "index.html").unlink()
    (out / "index.html").symlink_to(users / "index.html")
    begin(out, "b").leave()
    assert files_of(users) == before
    assert not (out / "captures").is_symlink()


def test_the_folder_behind_a_link_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    a_run(tmp_path / "real")
    (tmp_path / "latest").symlink_to("real")
    begin(tmp_path / "latest", "b").leave()
    assert (tmp_path / "latest").is_symlink()
    assert not (tmp_path / "real" / "results.jsonl").read_bytes()


def test_a_folder_of_version_0_1_is_known_by_what_it_holds(tmp_path: Path, users: Path) -> None:
    save(tmp_path / "run", make_record(), list(HANDSHAKE))
    (tmp_path / "run" / "mine.xml").write_text("mine")
    refuse_foreign(tmp_path / "run")
    begin(tmp_path / "run").leave()
    assert (tmp_path / "run" / "mine.xml").read_text() == "mine"
    save(tmp_path / "began", make_record(), [])
    (tmp_path / "began" / "results.jsonl").write_text("")
    (tmp_path / "began" / ".run").write_text("0123456789abcdef0123456789abcdef cleared")
    refuse_foreign(tmp_path / "began")
    # A run that version 0.1 recorded in a source tree makes the tree no folder of ours.
    (users / "results.jsonl").write_text(json.dumps(make_record()) + "\n")
    with pytest.raises(RecordError):
        refuse_foreign(users)


def test_one_run_at_a_time_and_all_processes_of_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = begin(out, "a")
    (out / "results.jsonl").write_text("x")
    second = begin(out, "a")  # a worker of the same run clears nothing
    assert (out / "results.jsonl").read_text() == "x"
    first.leave()
    with pytest.raises(BlockingIOError):
        RunFolder(out, "b")
    with pytest.raises(BlockingIOError), replaced(out):
        pytest.fail("it was not refused")
    second.leave()
    waiting = RunFolder(out, "b")
    third = begin(out, "c")
    with pytest.raises(BlockingIOError):
        waiting.begin("linux")
    third.leave()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("step", range(40))
@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two-renames"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, exchange: bool
) -> None:
    """Each step that changes the disk is the last one in turn; the next run finds everything in order."""
    out = tmp_path / "out"
    a_run(out)
    (out / "notes.txt").write_text("mine")
    before = files_of(out)
    left = [step]

    def counted(module: object, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: object, **keywords: object) -> object:
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return real(*arguments, **keywords)

        patched.setattr(module, name, call)

    with monkeypatch.context() as patched:
        if not exchange:
            patched.setattr(folders, "_exchange", lambda *_: False)
        for module, name in (
            (folders, "_exchange"), (Path, "rename"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir"),
            (Path, "rmdir"), (Path, "touch"), (os, "open"),
        ):  # fmt: skip
            counted(module, name)
        patched.setattr(folders, "discard", lambda *_: None)
        patched.setattr("conformance.run.folder.discard", lambda *_: None)
        killed = None
        try:
            killed = RunFolder(out, "b")
            killed.begin("linux")
        except Killed:
            pass
    if killed is not None:
        killed.leave()
    if out.exists():
        now = files_of(out)
        if json.loads(now[MARKER])["run"] == "a":
            assert now == before
        else:
            assert now.keys() - {"notes.txt"} == {MARKER, "results.jsonl", "verdicts-before.json"}
    else:
        assert not exchange
    begin(out, "c").leave()
    assert (out / "notes.txt").read_text() == "mine"
    assert files_of(out).keys() == {MARKER, "results.jsonl", "verdicts-before.json", "notes.txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_merge_that_fails_leaves_the_last_one(tmp_path: Path) -> None:
    a_run(tmp_path / "a")
    merge([tmp_path / "a"], tmp_path / "all", make_report)
    before = files_of(tmp_path / "all")

    def full(_: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(RecordError, match="No space left on device"):
        merge([tmp_path / "a"], tmp_path / "all", full)
    assert files_of(tmp_path / "all") == before
    assert {path.name for path in tmp_path.iterdir()} == {"a", "all"}


def test_what_is_added_belongs_to_the_same_target(tmp_path: Path) -> None:
    require_target(tmp_path / "new", "linux")
    require_target(tmp_path / "new", "linux")
    begin(tmp_path / "lwip", target="lwip").leave()
    with pytest.raises(RecordError, match="holds a run on lwip, and this belongs to one on linux; name another"):
        require_target(tmp_path / "lwip", "linux")
    save(tmp_path / "old", make_record(), [])
    with pytest.raises(RecordError, match="holds a run on linux"):
        require_target(tmp_path / "old", "lwip")


def test_each_file_of_a_run_is_known_as_ours(tmp_path: Path) -> None:
    a_run(tmp_path / "out")
    make_single(tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"index.html", "report.html"} <= names
    assert names <= FILES | FOLDERS.keys()


def test_a_comparison_replaces_no_page_of_the_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(tmp_path / "a")
    page = tmp_path / "page.html"
    page.write_text("mine")
    command = ["compare", str(tmp_path / "a"), str(tmp_path / "a"), "--html"]
    assert main([*command, str(page)]) == 2
    assert "page.html belongs to something else; name another folder" in capsys.readouterr().err
    assert page.read_text() == "mine"
    page.unlink()
    assert main([*command, str(page)]) == main([*command, str(page)]) == 0
