"""Gather a run's overview from its record, line by line: a few fields of every case."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from conformance.record.case import CaseRecord, RunFacts, TargetFacts, TrafficFacts
from conformance.record.names import case_name, without_family
from conformance.record.results import read_records, scan_results
from conformance.report import matrix, state_map, timing
from conformance.report.baseline import Baseline, Result, result_of, usual
from conformance.report.baseline_files import earlier
from conformance.report.changes import Changes, changes

LINKS = 8  # cases named beside a reason or a choice


@dataclass(frozen=True, slots=True)
class Entry:
    """A case in the overview; `broke` is the number of the first frame that broke an expectation.

    `name` is the text of links to the case: its title, its family and, in a run of several targets, the target.
    """

    page: str
    id: str
    stem: str
    name: str
    title: str
    verdict: str
    level: str
    document: str
    section: str
    family: int
    duration_s: float
    message: str
    target: str
    requirements: tuple[str, ...]
    cells: tuple[str, ...]
    states: tuple[str, ...]
    reason: str
    broke: int | None
    file: str
    line: int
    offset: int


@dataclass(slots=True)
class Group:
    """Cases that share something (a reason, a choice): how many, and the first of them."""

    cases: list[Entry] = field(default_factory=list)
    count: int = 0
    levels: set[str] = field(default_factory=set)

    def add(self, entry: Entry) -> None:
        """Count a case; store the first LINKS of them."""
        self.count += 1
        self.levels.add(entry.level)
        if len(self.cases) < LINKS:
            self.cases.append(entry)


@dataclass
class TrafficOfRuns:
    """The packets sent to the targets: by each run (keyed by its start) as its last record says, and by the busiest case."""

    runs: dict[int, TrafficFacts] = field(default_factory=dict)
    most: int = 0
    by: Entry | None = None

    def add(self, record: CaseRecord, entry: Entry) -> None:
        """Count a case in; older records say nothing."""
        run = record.run
        if run.sent is not None:
            before = self.runs.get(run.started_ns, run.sent)
            self.runs[run.started_ns] = max(before, run.sent, key=lambda sent: sent.packets)
        packets = record.sent.packets if record.sent is not None else 0
        if packets > self.most:
            self.most, self.by = packets, entry

    @property
    def packets(self) -> int:
        """Of all runs."""
        return sum(run.packets for run in self.runs.values())

    @property
    def peak_per_s(self) -> int:
        """In the busiest second of any run."""
        return max((run.peak_per_s for run in self.runs.values()), default=0)

    @property
    def to(self) -> list[str]:
        """The addresses."""
        return sorted({address for run in self.runs.values() for address in run.to})


@dataclass(slots=True)
class TargetSeen:
    """A target as the overview shows it: its facts, all its addresses, and how many cases ran with which settings (as JSON)."""

    name: str
    version: str
    profile: str
    addresses: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, target: TargetFacts) -> None:
        """Count a case's target in."""
        self.seen[json.dumps(target.settings)] += 1
        if target.address not in self.addresses:
            self.addresses.append(target.address)

    @property
    def settings(self) -> dict[str, str]:
        """The settings that most of its cases ran with."""
        return usual(self.seen)


@dataclass
class Overview:
    """All that the overview page shows.

    `changes` is what differs from a baseline, if there is one to hold the run against, and `history` what earlier runs
    say of the same cases, the newest first.
    """

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    targets: dict[tuple[str, ...], TargetSeen] = field(default_factory=dict)
    runs: dict[str, RunFacts] = field(default_factory=dict)
    sent: TrafficOfRuns = field(default_factory=TrafficOfRuns)
    deviations: dict[tuple[str, ...], Group] = field(default_factory=dict)
    skipped: dict[str, Group] = field(default_factory=dict)
    choices: dict[tuple[str, ...], Group] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    table: Counter[tuple[str, str]] = field(default_factory=Counter)
    machine: state_map.Machine = field(default_factory=state_map.Machine)
    requirements: matrix.Matrix = field(default_factory=matrix.Matrix)
    times: timing.Times = field(default_factory=timing.Times)
    changes: Changes | None = None
    history: Sequence[Baseline] = ()

    @property
    def several(self) -> bool:
        """True if the record is about more than one target, so that a case needs its target's name."""
        return len({entry.target for entry in self.entries.values()}) > 1

    @property
    def run(self) -> RunFacts | None:
        """The facts of the last run in the record; None without any."""
        return max(self.runs.values(), key=lambda run: run.started_ns, default=None)

    @cached_property
    def order(self) -> list[Entry]:
        """The cases by document, section and name; 3.10 comes after 3.9."""
        return sorted(self.entries.values(), key=_place)

    def now(self, name: str = "this run") -> Baseline:
        """Return the results as a baseline; if there are several targets, it has the first one's name."""
        target = next(iter(self.targets.values()), TargetSeen("", "", ""))
        at = self.run.id if self.run else ""
        return Baseline(name, target.name, target.version, self.results, self.problems, at, target.settings)

    def hold_against(
        self,
        baseline: Baseline,
        *,
        whole: bool,
        left_out: Collection[str] = (),
        most_inconclusive: int | None = None,
    ) -> None:
        """Find what has changed since; of a whole run, no selection, also what is gone and was not `left_out`."""
        self.changes = changes(
            baseline, self.now(), whole=whole, left_out=left_out, most_inconclusive=most_inconclusive
        )


def gather(run_dir: Path, *, check: bool = True) -> Overview:
    """Go through a run's `results.jsonl`; RecordError when there is none. Who wrote it just now need not `check` its shape.

    Lines that are no record become problems. Of a case that ran again, the last run counts.
    """
    results = run_dir / "results.jsonl"
    overview = Overview()
    offsets: dict[tuple[str, str], int] = {}
    plain = True  # one target, each case once: what reading once is enough for
    for line in scan_results(results, check=check):
        if line.record is None:
            overview.problems.append(line.problem or "")
            continue
        key = line.record.target.name, line.record.id
        plain = plain and key not in offsets and (not offsets or key[0] == next(iter(offsets))[0])
        offsets[key] = line.offset
        if plain:
            _add(overview, line.record, line.offset, prefix="")
    if not plain:
        overview = Overview(problems=overview.problems)
        several = len({target for target, _ in offsets}) > 1
        for (target, _), record in zip(offsets, read_records(results, offsets.values()), strict=True):
            _add(overview, record, offsets[target, record.id], prefix=f"{target}:" if several else "")
    overview.history = earlier(run_dir, {entry.id for entry in overview.entries.values()})
    return overview


def _add(overview: Overview, record: CaseRecord, offset: int, *, prefix: str) -> None:
    target, run, deviation = record.target, record.run, record.deviation
    entry = _entry(record, offset, prefix)
    overview.entries[entry.target, entry.id] = entry
    overview.results[prefix + entry.id] = result_of(record)
    overview.counts[entry.verdict] += 1
    overview.table[entry.level, entry.verdict] += 1
    overview.machine.add(record, entry)
    overview.requirements.add(record, entry)
    overview.times.add(record, entry)
    key = (target.name, target.version, target.profile)
    overview.targets.setdefault(key, TargetSeen(*key)).add(target)
    overview.runs[run.id] = run
    overview.sent.add(record, entry)
    if deviation:
        known = (deviation.reason, deviation.source, deviation.date)
        overview.deviations.setdefault(known, Group()).add(entry)
    if entry.verdict == "not applicable":
        reason = entry.message or f"needs {', '.join(record.needs)}"
        overview.skipped.setdefault(reason, Group()).add(entry)
    for choice in record.choices:
        taken = (choice.name, choice.taken, ", ".join(choice.allowed))
        overview.choices.setdefault(taken, Group()).add(entry)


def _entry(record: CaseRecord, offset: int, prefix: str) -> Entry:
    broken = (step.frame for step in record.steps if step.ok is False)
    seen = [state.state for state in record.states if state.side == "target"]
    beside = f", {record.target.name}" if prefix else ""
    return Entry(
        page=case_name(prefix + record.id),
        id=record.id,
        stem=prefix + without_family(record.id),
        name=f"{record.title or record.id} (IPv{record.family}{beside})",
        title=record.title,
        verdict=record.verdict,
        level=record.level,
        document=record.document,
        section=record.section,
        family=record.family,
        duration_s=record.duration_s,
        message=record.message,
        target=record.target.name,
        requirements=record.requirements,
        cells=record.cells,
        states=tuple(dict.fromkeys((*seen, *(row.state for row in record.rows)))),
        reason=record.deviation.reason if record.deviation else "",
        broke=next((number for number in broken if number is not None), None),
        file=record.source.file if record.source else "",
        line=record.source.line if record.source else 1,
        offset=offset,
    )


def _place(entry: Entry) -> tuple[str, list[tuple[int, int, str]], str, int, str]:
    return entry.document, _section_order(entry.section), entry.stem, entry.family, entry.id


def _section_order(section: str) -> list[tuple[int, int, str]]:
    """3.10 comes after 3.9, and letters after numbers."""
    parts = section.split(".")
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


@dataclass
class Section:
    """One section of a document: rows of (one case, its entries of both families)."""

    document: str
    number: str
    anchor: str
    counts: Counter[str] = field(default_factory=Counter)
    rows: list[dict[int, Entry]] = field(default_factory=list)


def sections(order: Iterable[Entry]) -> list[Section]:
    """Return the cases by section; both families of a case share a row."""
    by_number: dict[tuple[str, str], Section] = {}
    stem = None
    for entry in order:
        key = (entry.document, entry.section)
        if key not in by_number:
            by_number[key] = Section(*key, anchor=f"section-{len(by_number) + 1}")
            stem = None
        section = by_number[key]
        section.counts[entry.verdict] += 1
        if entry.stem == stem and entry.family not in section.rows[-1]:
            section.rows[-1][entry.family] = entry
        else:
            section.rows.append({entry.family: entry})
            stem = entry.stem
    return list(by_number.values())
