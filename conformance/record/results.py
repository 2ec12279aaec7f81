"""`results.jsonl`: one line per case, in the order in which the cases ended."""

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from conformance.bounded import open_regular
from conformance.record.case import CaseRecord
from conformance.record.errors import RecordError
from conformance.record.lines import decode, encode

LONGEST_LINE = 16 << 20
"""Octets: four hundred times as many as the longest line of a run of ours has."""
MOST_PROBLEMS = 1_000
"""Lines that are no records, after which a file is not read on."""


@dataclass(frozen=True, slots=True)
class Results:
    """All records that could be read, in the order of the file, and one line per problem met on the way."""

    records: list[CaseRecord]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file: its 1-based number, its byte offset, and either a record or a problem."""

    number: int
    offset: int
    record: CaseRecord | None
    problem: str | None


class ResultsWriter:
    """Appends records to a file, which several threads and processes may do at once.

    Every record is one whole line, on disk (in the kernel's hands) when `append` returns.
    """

    def __init__(self, path: Path) -> None:
        """Open or create the file and the folders above it; RecordError when that fails."""
        self.path = path
        self._threads = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RecordError(f"can't open {path}: {error.strerror or error}") from error

    def append(self, record: CaseRecord) -> None:
        """Append one record; RecordError when it breaks the schema or the disk takes no more.

        After an error the file is as it was before.
        """
        try:
            line = encode(record)
        except RecordError as error:
            raise RecordError(f"{self.path}: {error}") from error
        if len(line) > LONGEST_LINE:
            raise RecordError(f"{self.path}: can't record case {record.id!r}: its line takes {len(line) >> 20} MiB")
        try:
            with self._threads, self._alone():
                self._put(line)
        except OSError as error:
            raise RecordError(f"can't write {self.path}: {error.strerror or error}") from error

    def _put(self, line: bytes) -> None:
        size = os.fstat(self._fd).st_size
        if size and os.pread(self._fd, 1, size - 1) != b"\n":
            line = b"\n" + line  # an earlier writer was killed inside its line: do not lengthen it
        try:
            while line:
                line = line[os.write(self._fd, line) :]
        except OSError:
            os.ftruncate(self._fd, size)
            raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        # It keeps other processes out; our own threads share it. Not every file system has locks; without one, a line
        # is still one write at the file's end.
        with contextlib.suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; again is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_results(path: Path) -> Results:
    """Read every record; where an id appears twice (a rerun) the last record counts.

    Lines that are no record become problems (`results.jsonl:7: ...`). RecordError when there is no such file.
    """
    records: dict[str, CaseRecord] = {}
    problems: list[str] = []
    for line in scan_results(path):
        if line.record is None:
            problems.append(line.problem or "")
        else:
            records[line.record.id] = line.record
    return Results(list(records.values()), problems)


def scan_results(path: Path, *, check: bool = True) -> Iterator[Line]:
    """Go through the file line by line, holding one record at a time; RecordError when it can't be opened.

    Without `check`, a line only has to be a JSON object of a known schema: for records that were checked when written.
    """
    offset = number = problems = 0
    try:
        with open_regular(path) as file:
            while raw := file.readline(LONGEST_LINE + 1):
                number += 1
                if len(raw) > LONGEST_LINE:
                    text = (
                        f"{path.name}:{number}: longer than {LONGEST_LINE >> 20} MiB; the rest of the file is not read"
                    )
                    yield Line(number, offset, None, text)
                    return
                if raw.strip():
                    line = _line(path, number, offset, raw, check=check)
                    problems += line.record is None
                    yield line
                if problems == MOST_PROBLEMS:
                    text = f"{path.name}: {problems:,} lines are no records; the rest of the file is not read"
                    yield Line(number, offset, None, text)
                    return
                offset += len(raw)
    except OSError as error:
        raise RecordError(f"can't read {path}: {error.strerror or error}") from error


def _line(path: Path, number: int, offset: int, raw: bytes, *, check: bool) -> Line:
    try:
        return Line(number, offset, decode(raw, check=check), None)
    except RecordError as error:
        return Line(number, offset, None, f"{path.name}:{number}: {error}")


def read_records(path: Path, offsets: Iterable[int]) -> Iterator[CaseRecord]:
    """Read again the records at byte offsets that `scan_results` gave; RecordError when one is no longer there."""
    try:
        with open_regular(path) as file:
            for offset in offsets:
                file.seek(offset)
                yield _again(path, file.readline(LONGEST_LINE + 1))
    except OSError as error:
        raise RecordError(f"can't read {path}: {error.strerror or error}") from error


def _again(path: Path, raw: bytes) -> CaseRecord:
    try:
        return decode(raw, check=False)
    except RecordError as error:
        raise RecordError(f"{path} changed while it was read: {error}") from error
