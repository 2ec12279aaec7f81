"""The pages: what a run's record says, put where people look for it.

Two passes over `results.jsonl`: the first keeps a few fields of each case for the overview and for the order
of the pages, the second reads one record and one capture at a time and writes its page.
"""

import contextlib
import gc
import os
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined, Template
from jinja2.bccache import Bucket
from markupsafe import Markup

from conformance.record.errors import RecordError
from conformance.record.pcapng import Capture, read_pcapng
from conformance.record.results import read_records
from conformance.report import (
    baseline,
    figure5,
    filters,
    matrix,
    mutants,
    parts,
    sarif,
    state_map,
    summary,
    text,
    timing,
)
from conformance.report.bar import draw_bar
from conformance.report.case_page import Around, Evidence, Shell, draw_page
from conformance.report.compare import Comparison
from conformance.report.frames import relate
from conformance.report.overview import LINKS, Entry, Overview, gather, sections
from conformance.report.text import LEVELS, VERDICTS

BESIDES = {
    "pytest.html": "pytest's own report",
    "junit.xml": "JUnit XML",
    "summary.md": "the summary as Markdown",
    "results.jsonl": "all results as JSON lines",
    "requirements.csv": "the requirement matrix",
    "requirements.json": "the same as JSON",
    "results.sarif": "what is not as it should be, as SARIF",
}
MAIN = ("index.html", "states.html", "requirements.html", "timing.html", "mutants.html")
PLACES = {
    "index.html": "Overview",
    "states.html": "State map",
    "requirements.html": "Requirements",
    "timing.html": "Timing",
    "mutants.html": "Mutants",
    "pytest.html": "pytest",
}
FRAMES = 2_000  # frames shown on a page: a flood's capture is for wireshark
SHARE = 400  # pages that are worth a process of their own
LISTED = 150  # rows of an overview's table
STATIC = ("style.css", "filter.js")
_METHODS = frozenset(dir(dict))


def make_report(run_dir: Path, since: baseline.Baseline | None = None, *, whole: bool = False) -> Path:
    """Gather what a run recorded, and write its pages; `since` is a baseline to hold it against.

    Of a `whole` run, no selection, the pages also say which cases of the baseline are gone. RecordError when there are no
    results, or when the pages can't be written.
    """
    overview = gather(run_dir)
    if since is not None:
        overview.hold_against(since, whole=whole)
    return write_report(run_dir, overview)


def write_report(run_dir: Path, overview: Overview, *, coming: Collection[str] = ()) -> Path:
    """Write `index.html`, `style.css` and `cases/*.html` into a run's folder, and give the path of the first.

    A run that checked cells of the documented machine gets `states.html` too, one whose cases name requirements
    `requirements.html`, `requirements.csv` and `requirements.json`, one that measured times `timing.html`, a folder with
    `mutants.json` `mutants.html`.
    `summary.md`, `results.sarif` and `verdicts.json` (the run as a baseline) are always there. The overview leads to pytest's
    own reports where they are in the folder, or are `coming`: names of files that are written into it afterwards.

    Reads the folder's `results.jsonl` and captures alone; may be called again at any time, also while the run
    goes on. Missing or damaged parts are said on the pages. RecordError when the pages can't be written.
    """
    try:
        return _write(run_dir, overview, coming)
    except OSError as error:
        raise RecordError(f"can't write the report in {run_dir}: {error.strerror or error}") from error


def clear(run_dir: Path) -> None:
    """Make room for another run in a folder: take away what an earlier one wrote, and nothing else.

    Its verdicts stay, for the history on the pages. Raises OSError.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in ("captures", "cases"):
        if (run_dir / name).is_dir():
            shutil.rmtree(run_dir / name)
    if (run_dir / baseline.LAST).is_file():
        (run_dir / baseline.LAST).replace(run_dir / baseline.BEFORE)
    for name in {*BESIDES, *PLACES, "report.html"}:
        (run_dir / name).unlink(missing_ok=True)


def _write(run_dir: Path, overview: Overview, coming: Collection[str]) -> Path:
    environment, order = _environment(), overview.order
    pages = run_dir / "cases"
    pages.mkdir(exist_ok=True)
    for name in STATIC:
        put(run_dir / name, static(name))
    _cases(run_dir, environment, overview)
    written = {f"{entry.page}.html" for entry in order}
    for old in pages.glob("*.html"):  # cases of an earlier run in the same folder
        if old.name not in written:
            old.unlink()
    (run_dir / "report.html").unlink(missing_ok=True)  # joined from pages that are no more
    rows = overview.requirements.rows()
    found = _mutants_of(run_dir, overview)
    places = [name for name in PLACES if name in coming or _is_there(run_dir, name, overview, found)]
    environment.globals["places"] = {name: PLACES[name] for name in places}
    cells = _states(run_dir, environment, overview)
    table = _requirements(run_dir, environment, overview, rows)
    _timing(run_dir, environment, overview)
    _mutants(run_dir, environment, overview, found)
    put(run_dir / "summary.md", summary.as_markdown(overview))
    put(run_dir / "results.sarif", sarif.as_sarif(overview, rows))
    put(run_dir / baseline.LAST, baseline.written(overview.now()))
    chosen = filters.of_cases(order, several=overview.several)
    put(run_dir / "filter.css", filters.rules([*chosen, *filters.of_requirements(rows)]))
    index_page = run_dir / "index.html"
    besides = {name: what for name, what in BESIDES.items() if name in coming or (run_dir / name).is_file()}
    shown = environment.get_template("index.html").render(
        overview=overview,
        cells=cells,
        requirement_table=table,
        headline=summary.headline(overview.counts),
        by_verdict={verdict: [entry for entry in order if entry.verdict == verdict] for verdict in VERDICTS},
        sections=sections(order),
        by_id={entry.id: entry for entry in order},
        filters=chosen,
        timings=sorted(overview.timings.items(), key=lambda item: (not item[1].failed, str(item[0][0]))),
        besides=besides,
    )
    put(index_page, shown)
    return index_page


def _cases(run_dir: Path, environment: Environment, overview: Overview) -> None:
    """Write the page of each case: of many, a share in a process of its own for each further processor."""
    shell, order = _shell(environment), overview.order
    processors = min(len(os.sched_getaffinity(0)), len(order) // SHARE + 1)

    def write(share: int) -> None:
        mine = range(share, len(order), processors)
        records = read_records(run_dir / "results.jsonl", [order[at].offset for at in mine])
        for at, record in zip(mine, records, strict=True):
            before, after = order[at - 1] if at else None, order[at + 1] if at + 1 < len(order) else None
            around = Around(before, after, _history(overview, order[at]))
            page = draw_page(shell, record, around, _evidence(run_dir, record))
            put(pages / f"{order[at].page}.html", text.clean(page))

    pages = run_dir / "cases"
    others = {_forked(write, share): share for share in range(1, processors)}
    try:
        write(0)
    finally:
        ended = {share: os.waitpid(child, 0)[1] for child, share in others.items()}
    for share in (share for share, status in ended.items() if status):
        write(share)  # says here what is wrong, if it still is


def _forked(work: Callable[[int], None], share: int) -> int:
    """The id of a process that does the work, and nothing else of what this one would do at its end."""
    with warnings.catch_warnings():
        # Python warns of other threads, whose locks nobody would open again: the work takes none of theirs.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        gc.disable()  # it writes to every object it looks at, and the kernel would copy all that memory
        status = 1
        try:
            work(share)
            status = 0
        finally:
            os._exit(status)
    return child


def _shell(environment: Environment) -> Shell:
    """What all pages of cases have in common."""
    mark = "<mark>"
    head, middle, foot = environment.get_template("case.html").render(mark=Markup(mark)).split(mark)
    return Shell(head, middle, foot, environment.get_template("series.html").module.figure)  # type: ignore[attr-defined]


def _mutants_of(run_dir: Path, overview: Overview) -> Sequence[mutants.Mutant]:
    """What `make mutants` left beside the record; a file that can't be read becomes a problem of the run."""
    try:
        return mutants.read(run_dir)
    except RecordError as error:
        overview.problems.append(str(error))
        return ()


def _is_there(run_dir: Path, name: str, overview: Overview, found: Sequence[mutants.Mutant]) -> bool:
    """Whether a page of the report is, or will be, in the folder."""
    if name == "states.html":
        return bool(overview.machine.tiles())
    if name == "requirements.html":
        return bool(overview.requirements.rows())
    if name == "timing.html":
        return bool(overview.times.series or overview.times.singles)
    if name == "mutants.html":
        return bool(found)
    return name == "index.html" or (run_dir / name).is_file()


def _history(overview: Overview, entry: Entry) -> list[tuple[baseline.Baseline, str]]:
    """What earlier runs say of the case: the run and its verdict there."""
    found = ((run, run.cases.get(entry.id)) for run in overview.history)
    return [(run, one.verdict) for run, one in found if one is not None]


@dataclass(frozen=True)
class Cells:
    """The rows of the documented machine in this run, in numbers; `missing` is how many it does not touch."""

    counts: Counter[str]
    line: str
    missing: int
    map: Markup


def _states(run_dir: Path, environment: Environment, overview: Overview) -> Cells | None:
    """Write the page of the documented machine, and give its numbers; without any cell there is no such page."""
    page = run_dir / "states.html"
    tiles = overview.machine.tiles()
    if not tiles:
        page.unlink(missing_ok=True)
        return None
    counts = Counter(tile.verdict for tile in tiles)
    total = overview.machine.total
    drawn = state_map.draw_map(tiles)
    cells = Cells(counts, state_map.said(counts, total), max(0, total - len(tiles)), drawn)
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
        map=drawn,
        figure=figure5.draw_figure(tiles),
        arcs=[(tile, figure5.action(tile)) for tile in figure5.arcs(tiles)],
        reasons=sorted(reasons.items(), key=lambda item: -len(item[1])),
        by_state=by_state,
    )
    put(page, shown)
    return cells


def _requirements(
    run_dir: Path, environment: Environment, overview: Overview, rows: list[matrix.Row]
) -> Counter[tuple[str, str]]:
    """Write the requirement matrix as a page, CSV and JSON, and give its numbers; without any, there are no such files."""
    names = ("requirements.html", "requirements.csv", "requirements.json")
    page, table, data = (run_dir / name for name in names)
    counts = matrix.counts(rows)
    if not rows:
        for path in (page, table, data):
            path.unlink(missing_ok=True)
        return counts
    template = environment.get_template("requirements.html")
    shown = template.render(
        overview=overview,
        rows=rows,
        requirement_table=counts,
        worst=matrix.WORST,
        filters=filters.of_requirements(rows),
    )
    put(page, shown)
    put(table, matrix.as_csv(rows))
    put(data, matrix.as_json(rows))
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
    put(page, shown)


def _mutants(run_dir: Path, environment: Environment, overview: Overview, found: Sequence[mutants.Mutant]) -> None:
    """Write the page of the mutants; without any there is no such page."""
    page = run_dir / "mutants.html"
    if not found:
        page.unlink(missing_ok=True)
        return
    shown = environment.get_template("mutants.html").render(
        mutants=found,
        killed=sum(one.killed for one in found),
        by_id={entry.id: entry for entry in overview.order},
    )
    put(page, shown)


def make_comparison(page: Path, found: Comparison) -> None:
    """Write the page of a comparison, and `style.css` beside it; RecordError when that can't be."""
    style = page.with_name("style.css")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        # Where a user names the page, there may be a style sheet that is not ours.
        if style.exists() and style.read_bytes()[:60] != static("style.css").encode()[:60]:
            raise RecordError(f"can't write {page}: {style} belongs to something else; name another folder")
        put(page, _environment().get_template("compare.html").render(found=found, runs=found.runs))
        put(style, static("style.css"))
    except OSError as error:
        raise RecordError(f"can't write {page}: {error.strerror or error}") from error


def static(name: str) -> str:
    """A file that is the same for every run."""
    return resources.files("conformance.report").joinpath("templates", name).read_text("utf-8")


def put(path: Path, content: str) -> None:
    """Write a page. Raises OSError."""
    raw = content.encode("utf-8", "replace")
    try:
        with path.open("xb") as file:
            file.write(raw)
    except FileExistsError:
        _replace(path, raw)


def _replace(path: Path, raw: bytes) -> None:
    """Write beside and move: who looks at a page while it is made again sees a whole one."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(raw)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


class _Template(Template):
    """One that puts nothing on a page but what has a place there."""

    def render(self, *args: Any, **kwargs: Any) -> str:
        """The page."""
        return text.clean(super().render(*args, **kwargs))


class _Environment(Environment):
    """One that looks into a record's dicts for a key first: most of what the pages say is there."""

    template_class = _Template

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute` in a template."""
        if type(obj) is dict and attribute in obj and attribute not in _METHODS:
            return obj[attribute]
        return super().getattr(obj, attribute)


class _CompiledTemplates(FileSystemBytecodeCache):
    """Templates as bytecode, where Python keeps ours: to compile them takes longer than to write the main pages."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep one, where that is wanted and may be done."""
        if not sys.dont_write_bytecode:
            with contextlib.suppress(OSError):
                Path(self.directory).mkdir(exist_ok=True)
                super().dump_bytecode(bucket)


def _environment() -> Environment:
    environment = _Environment(
        loader=PackageLoader("conformance.report"),
        bytecode_cache=_CompiledTemplates(str(Path(__file__).parent / "templates" / "__pycache__")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        seconds=text.seconds,
        moment=text.moment,
        slug=parts.slug,
        count=text.count,
    )
    environment.globals.update(
        verdicts=VERDICTS,
        levels=LEVELS,
        bar=draw_bar,
        bounds=text.bounds,
        LISTED=LISTED,
        LINKS=LINKS,
        sign=state_map.draw_sign,
        draw_series=timing.draw_series,
        tell_series=timing.told,
        tokens=filters.tokens,
        part_tokens=filters.part_tokens,
        requirement_tokens=filters.requirement_tokens,
        places={},
        outcomes=parts.OUTCOMES,
        TABLE_END=parts.TABLE_END,
        badge=parts.badge,
        jitter=parts.jitter,
        settings=parts.settings,
        table_start=parts.table,
    )
    return environment


def _evidence(run_dir: Path, record: dict[str, Any]) -> Evidence:
    """The capture of a case as its page shows it, and what is wrong with it."""
    name = record["capture"]
    problem = None
    capture = Capture(())
    if name is not None:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            name, problem = None, "the record names a capture outside of the run's folder"
        else:
            file = run_dir / path
            capture = read_pcapng(file, limit=FRAMES + 1)
            problem = capture.problem
            if problem and not os.path.isfile(file):  # noqa: PTH113 - unlike Path's, never raises on a foreign name
                name = None
    if len(capture.frames) > FRAMES:
        problem = f"only the first {FRAMES:,} frames are shown: the capture has more"
    return Evidence(name, problem, relate(capture.frames[:FRAMES], record))
