"""The pages: what a run's record says, put where people look for it.

Two passes over `results.jsonl`: the first keeps a few fields of each case for the overview and for the order
of the pages, the second reads one record and one capture at a time and writes its page.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from conformance.record.errors import RecordError
from conformance.record.names import case_name
from conformance.record.pcapng import Capture, read_pcapng
from conformance.record.results import read_record, scan_results
from conformance.report import figure5, matrix, state_map, text, timing
from conformance.report.bar import draw_bar
from conformance.report.compare import Comparison
from conformance.report.frames import relate
from conformance.report.ladder import draw_ladder
from conformance.report.text import VERDICTS

LEVELS = ("MUST", "text", "SHOULD", "MAY")
BESIDES = {
    "pytest.html": "pytest's own report",
    "junit.xml": "JUnit XML",
    "results.jsonl": "all results as JSON lines",
    "requirements.csv": "the requirement matrix",
    "requirements.json": "the same as JSON",
}
FRAMES = 2_000  # frames shown on a page: a flood's capture is for wireshark
LISTED = 150  # rows of an overview's table
LINKS = 8  # cases named beside a reason, a choice, a timer


@dataclass(frozen=True, slots=True)
class Entry:
    """What the overview keeps of a case."""

    page: str
    id: str
    stem: str
    title: str
    verdict: str
    level: str
    document: str
    section: str
    family: int
    duration_s: float
    message: str
    offset: int


@dataclass(slots=True)
class Group:
    """Cases that share something (a reason, a choice, a timer): how many, and the first of them."""

    cases: list[Entry] = field(default_factory=list)
    count: int = 0
    measured: list[float] = field(default_factory=list)
    failed: int = 0

    def add(self, entry: Entry) -> None:
        """Count a case, and keep it while there is room."""
        self.count += 1
        if len(self.cases) < LINKS:
            self.cases.append(entry)


@dataclass
class Overview:
    """All that the overview page shows, gathered record by record."""

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    targets: dict[tuple[str, ...], dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    deviations: dict[tuple[str, ...], Group] = field(default_factory=dict)
    skipped: dict[str, Group] = field(default_factory=dict)
    choices: dict[tuple[str, ...], Group] = field(default_factory=dict)
    timings: dict[tuple[Any, ...], Group] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    table: Counter[tuple[str, str]] = field(default_factory=Counter)
    machine: state_map.Machine = field(default_factory=state_map.Machine)
    requirements: matrix.Matrix = field(default_factory=matrix.Matrix)
    times: timing.Times = field(default_factory=timing.Times)


def make_report(run_dir: Path) -> Path:
    """Write `index.html`, `style.css` and `cases/*.html` into a run's folder, and give the path of the first.

    A run that checked cells of the documented machine gets `states.html` too, one whose cases name requirements
    `requirements.html`, `requirements.csv` and `requirements.json`, one that measured times `timing.html`.

    Reads the folder's `results.jsonl` and captures alone; may be called again at any time, also while the run
    goes on. Missing or damaged parts are said on the pages. RecordError when there are no results, or when
    the pages can't be written.
    """
    results = run_dir / "results.jsonl"
    overview = _gather(results)
    order = sorted(overview.entries.values(), key=_place)
    try:
        return _write(run_dir, results, overview, order)
    except OSError as error:
        raise RecordError(f"can't write the report in {run_dir}: {error.strerror or error}") from error


def _gather(results: Path) -> Overview:
    overview = Overview()
    offsets: dict[str, int] = {}
    for line in scan_results(results):
        if line.record is None:
            overview.problems.append(line.problem or "")
        else:
            offsets[line.record["id"]] = line.offset  # of a case that ran again, the last run counts
    for offset in offsets.values():
        _add(overview, read_record(results, offset), offset)
    return overview


def _add(overview: Overview, record: dict[str, Any], offset: int) -> None:
    copied = ("id", "title", "verdict", "level", "document", "section", "family", "duration_s")
    entry = Entry(
        **{name: record[name] for name in copied},
        page=case_name(record["id"]),
        stem=re.sub(r"-?\bipv[46]\b-?(?=[^\[]*\]$)", "", record["id"]).removesuffix("[]"),
        message=record["message"],
        offset=offset,
    )
    overview.entries[entry.id] = entry
    overview.counts[entry.verdict] += 1
    overview.table[entry.level, entry.verdict] += 1
    overview.machine.add(record, entry)
    overview.requirements.add(record, entry)
    overview.times.add(record, entry)
    target, run = record["target"], record["run"]
    facts = overview.targets.setdefault(
        (target["name"], target["version"], target["profile"]), {**target, "addresses": []}
    )
    if target["address"] not in facts["addresses"]:
        facts["addresses"].append(target["address"])
    overview.runs[run["id"]] = run
    if deviation := record["deviation"]:
        overview.deviations.setdefault((deviation["reason"], deviation["source"]), Group()).add(entry)
    if entry.verdict == "not applicable":
        reason = entry.message or f"needs {', '.join(record['needs'])}"
        overview.skipped.setdefault(reason, Group()).add(entry)
    for choice in record["choices"]:
        key = (choice["name"], choice["taken"], ", ".join(choice["allowed"]))
        overview.choices.setdefault(key, Group()).add(entry)
    for one in record["timings"]:
        span = (one["name"], one["low_s"], one["high_s"], one["source"], one["how"])
        group = overview.timings.setdefault(span, Group())
        if one["measured_s"] is not None:
            group.measured.append(one["measured_s"])
        group.failed += one["ok"] is False
        group.add(entry)


def _place(entry: Entry) -> tuple[Any, ...]:
    return entry.document, _section_order(entry.section), entry.stem, entry.family, entry.id


def _section_order(section: str) -> list[tuple[int, int, str]]:
    """3.10 comes after 3.9, and letters after numbers."""
    parts = section.split(".")
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]


def _write(run_dir: Path, results: Path, overview: Overview, order: Sequence[Entry]) -> Path:
    environment = _environment()
    pages = run_dir / "cases"
    pages.mkdir(exist_ok=True)
    _put(run_dir / "style.css", _style())
    template = environment.get_template("case.html")
    for index, entry in enumerate(order):
        record = read_record(results, entry.offset)
        page = template.render(
            record=record,
            entry=entry,
            previous=order[index - 1] if index else None,
            following=order[index + 1] if index + 1 < len(order) else None,
            **_evidence(run_dir, record),
        )
        _put(pages / f"{entry.page}.html", page)
    written = {f"{entry.page}.html" for entry in order}
    for old in pages.glob("*.html"):  # cases of an earlier run in the same folder
        if old.name not in written:
            old.unlink()
    cells = _states(run_dir, environment, overview)
    table = _requirements(run_dir, environment, overview)
    _timing(run_dir, environment, overview)
    index_page = run_dir / "index.html"
    besides = {name: what for name, what in BESIDES.items() if (run_dir / name).is_file()}
    shown = environment.get_template("index.html").render(
        overview=overview,
        cells=cells,
        requirement_table=table,
        headline=_headline(overview.counts),
        by_verdict={verdict: [entry for entry in order if entry.verdict == verdict] for verdict in VERDICTS},
        sections=_sections(order),
        timings=sorted(overview.timings.items(), key=lambda item: (not item[1].failed, str(item[0][0]))),
        besides=besides,
    )
    _put(index_page, shown)
    return index_page


@dataclass(frozen=True)
class Cells:
    """The rows of the documented machine in this run, in numbers; `missing` is how many it does not touch."""

    counts: Counter[str]
    line: str
    missing: int


def _states(run_dir: Path, environment: Environment, overview: Overview) -> Cells | None:
    """Write the page of the documented machine, and give its numbers; without any cell there is no such page."""
    page = run_dir / "states.html"
    tiles = overview.machine.tiles()
    if not tiles:
        page.unlink(missing_ok=True)
        return None
    counts = Counter(tile.verdict for tile in tiles)
    total = overview.machine.total
    cells = Cells(counts, state_map.said(counts, total), max(0, total - len(tiles)))
    reasons: dict[str, list[state_map.Tile]] = {}
    for tile in tiles:
        if tile.verdict == "not applicable":
            reasons.setdefault(tile.case.message or "no reason was recorded", []).append(tile)
    by_state: dict[str, list[state_map.Tile]] = {state: [] for state in state_map.STATES}
    for tile in tiles:
        by_state.setdefault(tile.row["state"], []).append(tile)
    shown = environment.get_template("states.html").render(
        overview=overview,
        cells=cells,
        map=state_map.draw_map(tiles),
        figure=figure5.draw_figure(tiles),
        arcs=[(tile, figure5.action(tile)) for tile in figure5.arcs(tiles)],
        reasons=sorted(reasons.items(), key=lambda item: -len(item[1])),
        by_state=by_state,
    )
    _put(page, shown)
    return cells


def _requirements(run_dir: Path, environment: Environment, overview: Overview) -> Counter[tuple[str, str]]:
    """Write the requirement matrix as a page, CSV and JSON, and give its numbers; without any, there are no such files."""
    names = ("requirements.html", "requirements.csv", "requirements.json")
    page, table, data = (run_dir / name for name in names)
    rows = overview.requirements.rows()
    counts = matrix.counts(rows)
    if not rows:
        for path in (page, table, data):
            path.unlink(missing_ok=True)
        return counts
    template = environment.get_template("requirements.html")
    _put(page, template.render(overview=overview, rows=rows, requirement_table=counts, worst=matrix.WORST))
    _put(table, matrix.as_csv(rows))
    _put(data, matrix.as_json(rows))
    return counts


def _timing(run_dir: Path, environment: Environment, overview: Overview) -> None:
    """Write the page of series and timers; where nothing was measured there is no such page."""
    page = run_dir / "timing.html"
    series, singles = overview.times.ordered(), overview.times.rows()
    if not series and not singles:
        page.unlink(missing_ok=True)
        return
    shown = environment.get_template("timing.html").render(
        overview=overview, series=series, singles=singles, drawn=timing.DRAWN
    )
    _put(page, shown)


def make_comparison(page: Path, found: Comparison) -> None:
    """Write the page of a comparison, and `style.css` beside it; RecordError when that can't be."""
    style = page.with_name("style.css")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        # Where a user names the page, there may be a style sheet that is not ours.
        if style.exists() and style.read_bytes()[:60] != _style().encode()[:60]:
            raise RecordError(f"can't write {page}: {style} belongs to something else; name another folder")
        _put(page, _environment().get_template("compare.html").render(found=found, runs=found.runs))
        _put(style, _style())
    except OSError as error:
        raise RecordError(f"can't write {page}: {error.strerror or error}") from error


def _style() -> str:
    return resources.files("conformance.report").joinpath("templates/style.css").read_text("utf-8")


def _put(path: Path, content: str) -> None:
    # Written beside and moved: who looks at a page while it is made again sees a whole one.
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(content.encode("utf-8", "replace"))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("conformance.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: text.clean(value) if type(value) is str else value,
    )
    environment.filters.update(
        seconds=text.seconds,
        told=text.step,
        duration=text.duration,
        moment=text.moment,
        slug=_slug,
        count=text.count,
        href=_href,
    )
    environment.globals.update(
        verdicts=VERDICTS,
        levels=LEVELS,
        bar=draw_bar,
        bounds=text.bounds,
        LISTED=LISTED,
        LINKS=LINKS,
        since=_since,
        sign=state_map.draw_sign,
        draw_series=timing.draw_series,
        tell_series=timing.told,
    )
    return environment


def _href(path: str) -> str:
    return quote(path.encode("utf-8", "replace"))


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _since(at_ns: int, start_ns: int) -> str:
    """Seconds from the start with microseconds."""
    return f"{(at_ns - start_ns) / 1e9:.6f}"


def _evidence(run_dir: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The capture of a case as its page shows it, and what is wrong with it."""
    name = record["capture"]
    problem = None
    capture = Capture(())
    if name is not None:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            name, problem = None, "the record names a capture outside of the run's folder"
        else:
            capture = read_pcapng(run_dir / path, limit=FRAMES + 1)
            problem = capture.problem
            if not os.path.isfile(run_dir / path):  # noqa: PTH113 - unlike Path's, never raises on a foreign name
                name = None
    frames = relate(capture.frames[:FRAMES], record)
    if len(capture.frames) > FRAMES:
        problem = f"only the first {FRAMES:,} frames are shown: the capture has more"
    return {
        "capture": name,
        "capture_problem": problem,
        "frames": frames,
        "numbers": {seen.number for seen in frames},
        "start_ns": record["started_ns"] or (frames[0].at_ns if frames else 0),
        "failed_frames": {step.get("frame") for step in record["steps"] if step.get("ok") is False},
        "broken": [step for step in record["steps"] if step.get("ok") is False],
        "ladder": draw_ladder(record, frames),
    }


def _headline(counts: Counter[str]) -> tuple[str, str]:
    """The verdict over the whole run, as the class that colours it and the words."""
    violating = counts["violates"]
    if violating:
        return "violates", f"{text.count(violating, 'case')} {'violates' if violating == 1 else 'violate'}"
    unclear = counts["error"] + counts["inconclusive"]
    if unclear:
        return "inconclusive", f"Nothing violates, but {text.count(unclear, 'case')} gave no verdict"
    if not counts["conforms"] + counts["deviates"] + counts["breaks should"]:
        return "inconclusive", "No case was judged"
    return "conforms", "Conforms: nothing violates"


@dataclass
class Section:
    """One section of a document: rows of (one case, its entries of both families)."""

    document: str
    number: str
    anchor: str
    counts: Counter[str] = field(default_factory=Counter)
    rows: list[dict[int, Entry]] = field(default_factory=list)


def _sections(order: Iterable[Entry]) -> list[Section]:
    sections: dict[tuple[str, str], Section] = {}
    stem = None
    for entry in order:
        key = (entry.document, entry.section)
        if key not in sections:
            sections[key] = Section(*key, anchor=f"section-{len(sections) + 1}")
            stem = None
        section = sections[key]
        section.counts[entry.verdict] += 1
        if entry.stem == stem and entry.family not in section.rows[-1]:
            section.rows[-1][entry.family] = entry
        else:
            section.rows.append({entry.family: entry})
            stem = entry.stem
    return list(sections.values())
