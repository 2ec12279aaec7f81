"""`results.jsonl`: one JSON object per case and line, in the order in which the cases ended.

The shape of a record is `results.schema.json`; `CaseRecord` says the same to a type checker. The schema is
what both ends check, so a record that was written is a record that can be read.
"""

import contextlib
import fcntl
import json
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NotRequired, Self, TypedDict

from conformance.record.errors import RecordError

Verdict = Literal["conforms", "violates", "breaks should", "deviates", "not applicable", "inconclusive", "error"]
Level = Literal["MUST", "SHOULD", "MAY", "text"]
Side = Literal["target", "tester"]


class Sentence(TypedDict):
    """One sentence of a standard that the case is about."""

    id: str
    level: Level
    section: str
    text: str
    url: str
    partly: NotRequired[str]


class Source(TypedDict):
    """Where the case is written: its file as pytest sees it from its root, and the 1-based line."""

    file: str
    line: int


class Row(TypedDict):
    """One row of the documented machine that the case checks; `next` are the states that it allows."""

    id: str
    row: str
    kind: Literal["segment", "call", "timeout", "arc"]
    state: str
    origin: Literal["passive", "active", "either"]
    event: str
    next: list[str]
    responses: NotRequired[list[str]]


class TargetFacts(TypedDict):
    """What was tested; `settings` are the target's own (sysctls and the like)."""

    name: str
    version: str
    profile: str
    address: str
    settings: dict[str, Any]


class Traffic(TypedDict):
    """IP packets that left for the target, neighbour discovery aside: how many, in the busiest second, and to whom."""

    packets: int
    peak_per_s: int
    to: list[str]


class RunFacts(TypedDict):
    """The run that the case belongs to; `jitter` is the harness's own, in microseconds.

    `machine` is where the harness ran, `cells` how many rows the documented machine has, `sent` what all cases together had
    sent when this one ended.
    """

    id: str
    started_ns: int
    harness: str
    python: str
    command: str
    jitter: dict[str, float]
    machine: NotRequired[str]
    cells: NotRequired[int]
    sent: NotRequired[Traffic]


class Timing(TypedDict):
    """A measured time in seconds and its bounds; None where there is no such bound or nothing was measured.

    `shortened` says by what the target was told a shorter time than its own; `jitter_s` how late the tester was meanwhile,
    and `ok` is None where that alone may be why it is outside.
    """

    name: str
    measured_s: float | None
    low_s: float | None
    high_s: float | None
    source: str
    how: str
    ok: bool | None
    shortened: NotRequired[str]
    jitter_s: NotRequired[float]


class Interval(TypedDict):
    """One interval of a series in seconds; `ratio` is that to the interval before."""

    measured_s: float
    low_s: float | None
    high_s: float | None
    ratio: float | None
    source: str
    ok: bool | None


class Series(TypedDict):
    """Repetitions judged as one; `growth` is the factor of each interval to the one before, None where there is none.

    `count` is how many repetitions came, `end` what the last interval ends with, where that is no repetition.
    """

    name: str
    intervals: list[Interval]
    growth: float | None
    cap_s: float | None
    count: int
    count_low: int | None
    count_high: int | None
    end: str
    source: str
    how: str
    ok: bool | None
    faults: list[str]
    shortened: str
    jitter_s: float


class StateSeen(TypedDict):
    """A state that one side was in from `at_ns` on, and who says so: `agent`, `probe` or `wire`."""

    at_ns: int
    side: Side
    state: str
    by: str


class Choice(TypedDict):
    """What the target chose where the standard leaves it free."""

    name: str
    taken: str
    allowed: list[str]


class Deviation(TypedDict):
    """A documented deviation of the target's profile."""

    reason: str
    source: str
    sentence: str
    date: NotRequired[str]


class Difference(TypedDict):
    """One field of a frame that is not as expected."""

    field: str
    expected: str | float | None
    actual: str | float | None


class Step(TypedDict):
    """One thing that happened, at `at_ns`; `frame` is its 1-based number in the capture.

    Of a segment that was sent, `text` is the intention, or empty, and `line` the segment.
    """

    kind: Literal["send", "receive", "missing", "silence", "app", "state", "note"]
    at_ns: int
    text: str
    line: NotRequired[str]
    ok: NotRequired[bool | None]
    frame: NotRequired[int | None]
    expected: NotRequired[str | None]
    differences: NotRequired[list[Difference]]
    until_ns: NotRequired[int]
    side: NotRequired[Side]
    state: NotRequired[str]


class TesterEnd(TypedDict):
    """Our end of the connection; relative numbers are seq - iss, so that the SYN is +0."""

    address: str
    port: int
    iss: int
    target_port: int
    irs: int | None


class CaseRecord(TypedDict):
    """One case of one run. `capture` is a path relative to the run's folder.

    Schema 2 has `series`, and `ran_again`: why a first run of the case, among others, gave no verdict.
    """

    schema: Literal[1, 2]
    id: str
    title: str
    description: str
    verdict: Verdict
    level: Level
    document: str
    section: str
    family: Literal[4, 6]
    requirements: list[str]
    cells: list[str]
    rows: NotRequired[list[Row]]
    claims: list[str]
    source: NotRequired[Source]
    sentences: list[Sentence]
    needs: list[str]
    target: TargetFacts
    run: RunFacts
    sent: NotRequired[Traffic]
    started_ns: int
    duration_s: float
    timings: list[Timing]
    series: NotRequired[list[Series]]
    ran_again: NotRequired[str]
    states: list[StateSeen]
    choices: list[Choice]
    deviation: Deviation | None
    steps: list[Step]
    tester: TesterEnd
    capture: str | None
    message: str
    failure: str


@dataclass(frozen=True, slots=True)
class Results:
    """All records that could be read, in the order of the file, and one line per problem met on the way."""

    records: list[dict[str, Any]]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the file: its 1-based number, its byte offset, and either a record or a problem."""

    number: int
    offset: int
    record: dict[str, Any] | None
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

    def append(self, record: CaseRecord | Mapping[str, Any]) -> None:
        """Append one record; RecordError when it breaks the schema or the disk takes no more.

        After an error the file is as it was before.
        """
        wrong = _wrong(record)
        if wrong:
            raise RecordError(f"can't record case {record.get('id')!r} in {self.path}: {wrong}")
        try:
            line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise RecordError(f"can't record case {record.get('id')!r} in {self.path}: {error}") from error
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
    """Read every record; where an id comes twice (a rerun) the last one counts.

    Lines that are no record become problems (`results.jsonl:7: ...`). RecordError when there is no such file.
    """
    records: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for line in scan_results(path):
        if line.record is None:
            problems.append(line.problem or "")
        else:
            records[line.record["id"]] = line.record
    return Results(list(records.values()), problems)


def scan_results(path: Path, *, check: bool = True) -> Iterator[Line]:
    """Go through the file line by line, holding one record at a time; RecordError when it can't be opened.

    Without `check`, a line only has to be a JSON object: for records that were checked as they were written.
    """
    offset = 0
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if raw.strip():
                    record, problem = _parse(raw, check=check)
                    where = f"{path.name}:{number}: {problem}" if problem else None
                    yield Line(number, offset, record, where)
                offset += len(raw)
    except OSError as error:
        raise RecordError(f"can't read {path}: {error.strerror or error}") from error


def read_records(path: Path, offsets: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Read again the records at byte offsets that `scan_results` gave; RecordError when one has gone."""
    try:
        with path.open("rb") as file:
            for offset in offsets:
                file.seek(offset)
                record, problem = _parse(file.readline(), check=False)
                if record is None:
                    raise RecordError(f"{path} changed while it was read: {problem}")
                yield record
    except OSError as error:
        raise RecordError(f"can't read {path}: {error.strerror or error}") from error


_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


def _parse(raw: bytes, *, check: bool = True) -> tuple[dict[str, Any] | None, str | None]:
    try:
        found = _DECODER.decode(raw.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        if not raw.endswith(b"\n"):
            return None, "the last line is cut off (the run was killed while it was written)"
        return None, f"not JSON: {error}"
    if not isinstance(found, dict):
        return None, f"not a case record but {_type_name(found)}"
    if check or found.get("schema") not in _schema()["properties"]["schema"]["enum"]:
        wrong = _wrong(found)
        if wrong:
            return None, f"not a case record: {wrong}"
    return found, None


@cache
def _schema() -> dict[str, Any]:
    text = resources.files("conformance.record").joinpath("results.schema.json").read_text("utf-8")
    schema: dict[str, Any] = _resolve(json.loads(text))
    return schema


def _resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """Put each definition where `$ref` names it: our schema has no recursive ones."""
    definitions = schema["$defs"]

    def expand(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return expand(definitions[node["$ref"].rpartition("/")[2]])
            return {key: expand(value) for key, value in node.items() if key != "$defs"}
        return [expand(value) for value in node] if isinstance(node, list) else node

    return expand(schema)  # type: ignore[no-any-return]


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


@dataclass(frozen=True, slots=True)
class _Shape:
    """A schema made ready for a quick yes: exact types, and what is inside of them."""

    kinds: frozenset[type]
    enum: Sequence[Any] | None
    low: float
    high: float
    required: frozenset[str]
    inside: dict[str, "_Shape"]
    items: "_Shape | None"


def _shaped(schema: dict[str, Any]) -> _Shape:
    types = schema.get("type", list(_TYPES))
    kinds = [one for name in ([types] if isinstance(types, str) else types) for one in _TYPES[name]]
    return _Shape(
        frozenset(kinds),
        schema.get("enum"),
        schema.get("minimum", -math.inf),
        schema.get("maximum", math.inf),
        frozenset(schema.get("required", ())),
        {key: _shaped(one) for key, one in schema.get("properties", {}).items()},
        _shaped(schema["items"]) if "items" in schema else None,
    )


@cache
def _shape() -> _Shape:
    return _shaped(_schema())


def _fits(value: Any, shape: _Shape) -> bool:
    """Whether the value keeps to the schema, where it is made of JSON's own types; `_differences` says what is wrong."""
    kind = type(value)
    if kind not in shape.kinds or (shape.enum is not None and value not in shape.enum):
        return False
    if kind is dict:
        inside = shape.inside
        return shape.required <= value.keys() and all(
            _fits(one, inside[key]) for key, one in value.items() if key in inside
        )
    if kind is list:
        items = shape.items
        return items is None or all(_fits(one, items) for one in value)
    return kind not in (int, float) or shape.low <= value <= shape.high


def _wrong(record: Any) -> str | None:
    """The first way in which a record breaks the schema, None where it does not."""
    return None if _fits(record, _shape()) else next(_differences(record, _schema(), ""), None)


def _differences(value: Any, schema: dict[str, Any], where: str) -> Iterator[str]:
    """One line for each way in which the value breaks the schema: the few keywords that our schema uses."""
    name = where or "the record"
    types = schema.get("type", ())
    allowed = (types,) if isinstance(types, str) else types
    if allowed and not any(_is(value, kind) for kind in allowed):
        yield f"{name} is {_type_name(value)}, not {' or '.join(allowed)}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{name} is {value!r}, not one of {schema['enum']}"
    if _is(value, "number") and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{name} is {value!r}, not from {schema.get('minimum')} to {schema.get('maximum')}"
    if isinstance(value, dict):
        missing = [key for key in schema.get("required", ()) if key not in value]
        if missing:
            yield f"{name} has no {', '.join(missing)}"
        for key, inside in schema.get("properties", {}).items():
            if key in value:
                yield from _differences(value[key], inside, f"{where}.{key}" if where else key)
    elif "items" in schema and isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _differences(item, schema["items"], f"{where}[{index}]")


def _is(value: Any, kind: str) -> bool:
    # In Python, True is an int; in JSON it is no number.
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _type_name(value: Any) -> str:
    return next((f"a JSON {kind}" for kind in _TYPES if _is(value, kind)), type(value).__name__)
