"""Know the folders that runs made, and put a new one in the place of an old one: as a whole or not at all.

A new folder is made beside the old one and exchanged with it in one step of the kernel, so that a reader, a refused run and a
kill at any moment meet the old folder or the new one. Only files of ours are removed; what else lay in the old folder
moves into the new one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from conformance.record.errors import RecordError
from conformance.report import baseline_files
from conformance.report.files import BESIDES, PLACES, STATIC

MARKER = ".tcp-conformance"
_EARLIER_MARKER = ".run"
_NAME = "tcp-conformance"
_NOTE = "the next run with this --output replaces the folder"
FOLDERS: Mapping[str, str] = {"captures": ".pcapng", "cases": ".html"}
"""Folders inside of a run's folder, and how the names of our files in them end."""
FILES = frozenset(
    {*BESIDES, *PLACES, *STATIC, "report.html", "mutants.json", "tc8.json", "filter.css", MARKER, _EARLIER_MARKER}
    | {baseline_files.LAST, baseline_files.BEFORE}
)
"""The names of our files in a run's folder."""
_LONGEST_LOOK = 1 << 20  # octets of a foreign file that are read to know whose it is
_LONGEST_WAIT_S = 30.0  # another run needs less than a second to swap folders
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE


def refuse_no_run(folder: Path) -> None:
    """Raise RecordError where pages would be written into a folder that no run made."""
    if not folder.is_dir() or not _is_ours(folder):
        raise RecordError(f"{folder} holds no run; name the folder of one, as reports/latest")


def refuse_foreign(output: Path) -> None:
    """Raise RecordError, in one line, where `output` is no new folder, is not empty and was not made by a run."""
    if not os.path.lexists(output):
        return
    if not output.is_dir():
        raise RecordError(f"{output} is no folder; name an empty or a new one as --output")
    if _is_empty(output):
        return
    if not _is_ours(output):
        example = min(os.listdir(output))  # noqa: PTH208 - a name is all that is needed
        raise RecordError(f"{output} holds {example!r} and no run made it; name an empty or a new folder as --output")
    if Path.cwd().is_relative_to(output.resolve()):
        raise RecordError(f"{output} is, or holds, the working folder and can't be replaced; name another --output")


def run_of(output: Path) -> str:
    """Return the run that made the folder, as its processes know it; empty where no marker says so."""
    return str(_marker(output).get("run", ""))


def require_target(output: Path, target: str) -> None:
    """Make `output` ready for files that belong to a run on `target`.

    Raises RecordError where the folder is not ours, or holds a run on another target, and OSError.
    """
    refuse_foreign(output)
    if not output.exists() or _is_empty(output):
        output.mkdir(parents=True, exist_ok=True)
        _mark(output, {"target": target})
        return
    there = _marker(output).get("target") or _first_record(output).get("target", {}).get("name")
    if there and there != target:
        raise RecordError(
            f"{output} holds a run on {there}, and this belongs to one on {target}; name another --output"
        )


@contextlib.contextmanager
def replaced(output: Path, **facts: str) -> Iterator[Path]:
    """Give an empty folder to fill, and put it in the place of `output` at the end; an exception removes it.

    Raises RecordError where `output` is not ours, BlockingIOError where a run is at it, and OSError.
    """
    output = output.resolve()
    with alone(output):
        beside, held = begin_beside(output, facts)
    try:
        yield beside
        with alone(output):
            swap(beside, output)
    except BaseException:
        discard(beside, output)
        raise
    finally:
        os.close(held)


@contextlib.contextmanager
def alone(output: Path) -> Iterator[None]:
    """Keep other processes from making or swapping folders beside `output` meanwhile. Raises OSError."""
    output.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(output.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        end_s = time.monotonic() + _LONGEST_WAIT_S
        while not lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > end_s:
                raise BlockingIOError(errno.EWOULDBLOCK, "another process holds it", str(output.parent))
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def begin_beside(output: Path, facts: Mapping[str, str]) -> tuple[Path, int]:
    """Make the folder that is to take the place of `output`; return it, and the open descriptor by which it is held.

    It is `output` itself where that is empty and can't be replaced. Call it within `alone`.
    """
    refuse_foreign(output)
    refuse_busy(output)
    _finish_what_was_killed(output)
    if _stays(output):
        beside = output
    else:
        beside = output.with_name(f".{output.name}.beside-{secrets.token_hex(4)}")
        beside.mkdir()
    held = os.open(beside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lock(held, fcntl.LOCK_SH)
        _mark(beside, facts)
        for name in FOLDERS:
            (beside / name).mkdir(exist_ok=True)
        (beside / "results.jsonl").touch()
    except BaseException:
        os.close(held)
        raise
    return beside, held


def swap(beside: Path, output: Path) -> None:
    """Put `beside` in the place of `output`. Call it within `alone`. Raises RecordError, BlockingIOError and OSError."""
    if beside == output:
        return
    refuse_foreign(output)
    refuse_busy(output)
    if not output.exists() or _is_empty(output):
        for name in (MARKER, f".{MARKER}.new"):
            (output / name).unlink(missing_ok=True)
        beside.rename(output)
        return
    for name in (baseline_files.LAST, baseline_files.BEFORE):  # a run that was killed has left no verdicts of its own
        if (output / name).is_file():
            shutil.copyfile(output / name, beside / baseline_files.BEFORE)
            break
    if not (output / MARKER).is_file():
        _mark(output, {})  # of an earlier version; if this is killed, the next run has to know it
    old = beside
    if not _exchange(beside, output):
        old = beside.with_name(f"{beside.name}-old")
        output.rename(old)
        beside.rename(output)
    _remove(old, output)


def discard(beside: Path, output: Path) -> None:
    """Remove a folder that is not to take the place of `output`."""
    if beside != output:
        with contextlib.suppress(OSError):
            _remove(beside, None)


def refuse_busy(output: Path) -> None:
    """Raise BlockingIOError where a run holds the folder."""
    try:
        descriptor = os.open(output, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not lock(descriptor, fcntl.LOCK_EX):
            raise BlockingIOError(errno.EWOULDBLOCK, "another run is at it", str(output))
    finally:
        os.close(descriptor)


def lock(descriptor: int, how: int) -> bool:
    """Lock it at once and return True; False where another holds it. Where a file system has no locks, nobody is kept out."""
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _marker(folder: Path) -> Mapping[str, Any]:
    """Return the content of the folder's marker; empty where there is none."""
    return _json_object(folder / MARKER, "")


def _first_record(folder: Path) -> Mapping[str, Any]:
    """Return the first line of the folder's results; empty where it is no JSON object."""
    return _json_object(folder / "results.jsonl", "\n")


def _json_object(path: Path, end: str) -> Mapping[str, Any]:
    """Return the JSON object at the beginning of a file, up to `end`; empty where there is none."""
    try:
        text = _beginning(path)
        content = json.loads(text.partition(end)[0] if end else text)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_empty(folder: Path) -> bool:
    """Return True for a folder with nothing in it but a marker that a killed process has left."""
    return set(os.listdir(folder)) <= {MARKER, f".{MARKER}.new"}  # noqa: PTH208 - names are all that is needed


def _is_ours(folder: Path) -> bool:
    # pytest-html makes `assets` when pytest starts: long before the run begins.
    if _marker(folder).get("made_by") == _NAME or os.listdir(folder) == ["assets"]:  # noqa: PTH208
        return True
    # Version 0.1 left no such marker: its folder has a record, or the lock file of a run, and no folder that is foreign.
    return (
        _has_earlier_marker(folder) or {"schema", "id", "verdict", "target"} <= _first_record(folder).keys()
    ) and all(entry.name in (*FOLDERS, "assets") or not entry.is_dir() for entry in os.scandir(folder))


def _has_earlier_marker(folder: Path) -> bool:
    try:
        return re.fullmatch(r"[0-9a-f]{32}( cleared)?", _beginning(folder / _EARLIER_MARKER)) is not None
    except OSError:
        return False


def _beginning(path: Path) -> str:
    """Return the text at the beginning of a regular file. Raises OSError."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    with path.open("rb") as file:
        return file.read(_LONGEST_LOOK).decode("utf-8", "replace")


def _mark(folder: Path, facts: Mapping[str, str]) -> None:
    """Write the marker."""
    _put_beside(folder / MARKER, (json.dumps({"made_by": _NAME, "note": _NOTE, **facts}, indent=1) + "\n").encode())


def _put_beside(path: Path, raw: bytes) -> None:
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(raw)
    beside.replace(path)


def _stays(output: Path) -> bool:
    """Return True for an empty folder that can't be replaced, or that the user stands in."""
    return output.is_dir() and (
        Path.cwd().is_relative_to(output) or output.is_mount() or not os.access(output.parent, os.W_OK)
    )


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; return False where the file system can't. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number), str(second))


def _finish_what_was_killed(output: Path) -> None:
    """Bring a swap to its end that was killed, and remove what a killed process was making."""
    for entry in list(os.scandir(output.parent)):
        left = Path(entry.path)
        if not left.name.startswith(f".{output.name}.beside-") or not entry.is_dir(follow_symlinks=False):
            continue
        if left.name.endswith("-old") and not output.exists():
            left.rename(output)  # its place was not taken yet
            continue
        with contextlib.suppress(OSError):
            refuse_busy(left)
            _remove(left, output if output.is_dir() else None)


def _remove(old: Path, goal: Path | None) -> None:
    """Remove our files and folders from `old`, move the rest to `goal`, and remove `old` if it is empty then."""
    for name, ending in FOLDERS.items():
        folder = old / name
        if folder.is_dir() and not folder.is_symlink():
            for entry in list(os.scandir(folder)):
                if entry.name.endswith(ending) or entry.name.endswith(".new"):
                    Path(entry.path).unlink()
                elif goal is not None and not os.path.lexists(goal / name / entry.name):
                    (goal / name).mkdir(exist_ok=True)
                    Path(entry.path).rename(goal / name / entry.name)
            with contextlib.suppress(OSError):
                folder.rmdir()
    for entry in list(os.scandir(old)):
        if entry.name == MARKER:
            continue  # last of all: it says that what is left here is ours to remove
        ours = entry.name in FILES or (entry.name.startswith(".") and entry.name.endswith(".new"))
        if ours and not entry.is_dir(follow_symlinks=False):
            Path(entry.path).unlink()
        elif goal is not None and not os.path.lexists(goal / entry.name):
            Path(entry.path).rename(goal / entry.name)
    if os.listdir(old) == [MARKER]:  # noqa: PTH208
        (old / MARKER).unlink()
        old.rmdir()
    elif not os.listdir(old):  # noqa: PTH208
        old.rmdir()
