"""Files that others wrote are read within bounds, and inside of the folder that holds them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.bounded import read_octets
from conformance.record import PcapngWriter, RecordError, ResultsWriter, read_pcapng, read_results, record_of
from conformance.record import pcapng as captures
from conformance.record import results as lines
from conformance.record.inside import open_inside
from conformance.report.baseline_files import load
from conformance.report.merge import merge
from conformance.report.pages import make_report
from conformance.report.single import make_single
from conformance.target.load import TargetFileError, load_target
from tests.unit.test_report import HANDSHAKE, make_record, save


@pytest.fixture(params=["device", "pipe"])
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Make something that can be opened, and has no end or none that comes."""
    path = tmp_path / "odd"
    if request.param == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    return path


def test_only_regular_files_are_read(odd: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="not a regular file"):
        read_octets(odd, 10)
    for name in ("results.jsonl", "base.json", "lab.toml"):
        (tmp_path / name).symlink_to(odd)
    with pytest.raises(RecordError, match="regular file"):
        read_results(tmp_path / "results.jsonl")
    with pytest.raises(RecordError, match="not a regular file"):
        load(str(tmp_path / "base.json"))
    with pytest.raises(TargetFileError, match="regular file"):
        load_target(str(tmp_path / "lab.toml"))
    assert not read_pcapng(odd).frames
    assert open_inside(tmp_path, "odd") is None


def test_what_is_too_large_is_refused_by_its_size(tmp_path: Path) -> None:
    for name in ("base.json", "lab.toml"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(65 << 20)
    with pytest.raises(RecordError, match="it has more than 64 MiB"):
        load(str(tmp_path / "base.json"))
    with pytest.raises(TargetFileError, match="it has more than 1 MiB"):
        load_target(str(tmp_path / "lab.toml"))


def test_a_line_without_an_end_ends_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 1 << 20)
    path = tmp_path / "results.jsonl"
    whole = json.dumps(make_record()).encode() + b"\n"
    path.write_bytes(whole + b"x" * (2 << 20) + b"\n" + whole)
    results = read_results(path)
    assert len(results.records) == 1
    assert results.problems == ["results.jsonl:2: longer than 1 MiB; the rest of the file is not read"]


def test_a_line_that_could_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 1 << 20)
    with ResultsWriter(tmp_path / "results.jsonl") as writer:
        with pytest.raises(RecordError, match="its line takes 2 MiB"):
            writer.append(record_of(make_record(message="x" * (2 << 20))))
        writer.append(record_of(make_record()))
    assert read_results(tmp_path / "results.jsonl").problems == []


def test_lines_that_are_no_records_are_named_up_to_a_number(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("x\n" * 5000)
    problems = read_results(tmp_path / "results.jsonl").problems
    assert len(problems) == 1001
    assert problems[-1] == "results.jsonl: 1,000 lines are no records; the rest of the file is not read"


def test_of_a_capture_so_many_octets_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "MOST_OCTETS", 1000)
    with (tmp_path / "x.pcapng").open("wb") as file:
        writer = PcapngWriter(file, application="test", interface="tester0")
        for number in range(10):
            writer.write(bytes(300), number, inbound=True)
    capture = read_pcapng(tmp_path / "x.pcapng")
    assert len(capture.frames) == 3
    assert capture.problem == "x.pcapng: the frames after number 3 are not read"


def link_file(folder: Path, secret: Path) -> None:
    """Put a link in the place of the capture."""
    capture = next((folder / "captures").iterdir())
    capture.unlink()
    capture.symlink_to(secret)


def link_folder(folder: Path, secret: Path) -> None:
    """Put a link in the place of the folder of captures."""
    name = next((folder / "captures").iterdir()).name
    (folder / "captures" / name).unlink()
    (folder / "captures").rmdir()
    (secret.parent / name).write_bytes(secret.read_bytes())
    (folder / "captures").symlink_to(secret.parent)


@pytest.mark.parametrize("link", [link_file, link_folder])
def test_a_link_in_a_runs_folder_gives_nothing_away(tmp_path: Path, link: Callable[[Path, Path], None]) -> None:
    """A run that somebody handed on is merged, shown and made one file without what its links lead to."""
    secret = tmp_path / "home" / "secret"
    secret.parent.mkdir()
    secret.write_bytes(b"the secret of this machine")
    run = tmp_path / "run"
    save(run, make_record(verdict="violates"), list(HANDSHAKE))
    link(run, secret)
    problems = merge([run], tmp_path / "all", lambda folder: (make_report(folder), make_single(folder)))
    assert [line.partition(": ")[2][:10] for line in problems] == ["no capture"]
    make_report(run)
    make_single(run)
    hidden = base64.b64encode(secret.read_bytes())[:20]
    for path in (*(tmp_path / "all").rglob("*"), *run.rglob("*.html")):
        if path.is_file() and not path.is_symlink():
            assert secret.read_bytes() not in path.read_bytes()
            assert hidden not in path.read_bytes(), path


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "", "x\0y", "."])
def test_a_name_that_leads_out_of_the_folder_leads_nowhere(tmp_path: Path, name: str) -> None:
    assert open_inside(tmp_path, name) is None
