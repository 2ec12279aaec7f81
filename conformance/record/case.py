"""The record of one case as values: what `results.jsonl` holds of it, typed.

`lines.py` turns them into a line and back; `results.schema.json` says the same to readers in other languages. A field with a
default may be missing in a line: older versions did not write it, or there is nothing to say. Sequences are tuples. The schema
also says which words a level, a kind or an origin may be, and checks them whenever a line is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["conforms", "violates", "breaks should", "deviates", "not applicable", "inconclusive", "error"]
Side = Literal["target", "tester"]
StepKind = Literal["send", "receive", "missing", "silence", "app", "state", "note"]


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a standard that the case rests on; `partly` says which part of it no case sees."""

    id: str
    level: str
    section: str
    text: str
    url: str
    partly: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """The place of the case's code: its file, relative to the root of its suite, and the 1-based line."""

    file: str
    line: int


@dataclass(frozen=True, slots=True)
class CellFacts:
    """One row of the transition table that the case checks; `next` are the states that it allows."""

    id: str
    row: str
    kind: str
    state: str
    origin: str
    event: str
    next: tuple[str, ...]
    responses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """The target; `settings` are its own (sysctls and the like)."""

    name: str
    version: str
    profile: str
    address: str
    settings: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class TrafficFacts:
    """IP packets sent to the target, neighbour discovery aside: their number, that of the busiest second, their addresses."""

    packets: int
    peak_per_s: int
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HeardFacts:
    """The tester's hearing of its wire: frames for it that were lost at its end, and about how many were for others."""

    lost: int
    foreign_per_s: int


@dataclass(frozen=True, slots=True)
class RunFacts:
    """The run that the case belongs to.

    `jitter` is the harness's own, in microseconds. `machine` is where the harness ran, `seed` that of the tester's random
    numbers, `cells` the number of rows in the transition table, `sent` the traffic of all cases that had ended by then.
    `heard` is None on a wire in virtual time, where nothing is lost and nobody else is.
    """

    id: str
    started_ns: int
    harness: str
    python: str
    command: str
    jitter: Mapping[str, float]
    machine: str = ""
    seed: int | None = None
    cells: int = 0
    sent: TrafficFacts | None = None
    heard: HeardFacts | None = None


@dataclass(frozen=True, slots=True)
class TimingFacts:
    """A measured time in seconds and its bounds; None: no such bound, or nothing measured.

    `shortened` names the setting that gave the target a shorter time than its own. `jitter_s` is the tester's lateness
    meanwhile; `ok` is None where that alone may be the reason for a time outside the bounds.
    """

    name: str
    measured_s: float | None
    low_s: float | None
    high_s: float | None
    source: str
    how: str
    ok: bool | None
    shortened: str = ""
    jitter_s: float | None = None


@dataclass(frozen=True, slots=True)
class IntervalFacts:
    """One interval of a series in seconds; `ratio` is its length divided by that of the interval before."""

    measured_s: float
    low_s: float | None
    high_s: float | None
    ratio: float | None
    source: str
    ok: bool | None


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """Repetitions judged as one; `growth` is the factor from each interval to the next, None where none is asked for.

    `count` is the number of repetitions seen, `end` names the event that ends the last interval if it is no repetition.
    """

    name: str
    intervals: tuple[IntervalFacts, ...]
    growth: float | None
    cap_s: float | None
    count: int
    count_low: int | None
    count_high: int | None
    end: str
    source: str
    how: str
    ok: bool | None
    faults: tuple[str, ...]
    shortened: str
    jitter_s: float


@dataclass(frozen=True, slots=True)
class StateSeen:
    """A state that one side was in from `at_ns` on, and the witness: `agent`, `probe` or `wire`."""

    at_ns: int
    side: Side
    state: str
    by: str


@dataclass(frozen=True, slots=True)
class ChoiceTaken:
    """The target's choice where the standard leaves it free."""

    name: str
    taken: str
    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeviationFacts:
    """A documented deviation of the target's profile; `date` is the day on which it was seen: `2026-11-21`."""

    reason: str
    source: str
    sentence: str
    date: str = ""


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field of a frame that is not as expected."""

    field: str
    expected: str | float | None
    actual: str | float | None


@dataclass(frozen=True, slots=True)
class Step:
    """One event of the case at `at_ns`; `frame` is the frame's 1-based number in the capture.

    Of a sent segment, `text` is the intention, or empty, and `line` the segment. `ok` is None where nothing was expected.
    """

    kind: StepKind
    at_ns: int
    text: str
    line: str = ""
    ok: bool | None = None
    frame: int | None = None
    expected: str | None = None
    differences: tuple[FieldDifference, ...] = ()
    until_ns: int | None = None
    side: Side | None = None
    state: str = ""

    def __str__(self) -> str:
        """Return the step in one line: its purpose, and of a sent segment, the segment."""
        return f"{self.text}: {self.line}" if self.text and self.line else self.text or self.line


@dataclass(frozen=True, slots=True)
class TesterEnd:
    """The tester's end of the connection; relative sequence numbers are seq - iss, so that the SYN is +0."""

    address: str
    port: int
    iss: int
    target_port: int
    irs: int | None


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One case of one run. `capture` is a path relative to the run's folder.

    Schema 2 added `series` and `ran_again`: the reason why an earlier attempt in the same run gave no verdict. `declared` is
    the setting in the target's file by which the case is not applicable.
    """

    schema: int
    id: str
    title: str
    description: str
    verdict: Verdict
    level: str
    document: str
    section: str
    family: int
    requirements: tuple[str, ...]
    cells: tuple[str, ...]
    claims: tuple[str, ...]
    sentences: tuple[Sentence, ...]
    needs: tuple[str, ...]
    target: TargetFacts
    run: RunFacts
    started_ns: int
    duration_s: float
    timings: tuple[TimingFacts, ...]
    states: tuple[StateSeen, ...]
    choices: tuple[ChoiceTaken, ...]
    deviation: DeviationFacts | None
    steps: tuple[Step, ...]
    tester: TesterEnd
    capture: str | None
    message: str
    failure: str
    rows: tuple[CellFacts, ...] = ()
    source: Source | None = None
    sent: TrafficFacts | None = None
    series: tuple[SeriesFacts, ...] = ()
    ran_again: str = ""
    declared: str = ""
