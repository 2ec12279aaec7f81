"""The pages: what a run's record says, put where people look for it.

Two passes over `results.jsonl`: the first keeps a few fields of each case for the overview and for the order
of the pages, the second reads one record and one capture at a time and writes its page.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from conformance.record.errors import RecordError
from conformance.report import baseline_files, filters, mutants, sarif, summary, tc8
from conformance.report.baseline import Baseline
from conformance.report.case_pages import write_case_pages
from conformance.report.files import BESIDES, STATIC, put, static
from conformance.report.list_pages import write_lists
from conformance.report.overview import Overview, gather
from conformance.report.overview_page import write_overview
from conformance.report.places import places
from conformance.report.table_pages import write_mutants, write_requirements, write_states, write_tc8, write_timing
from conformance.report.templating import make_environment

_Row = TypeVar("_Row")


def make_report(run_dir: Path, since: Baseline | None = None, *, whole: bool = False) -> Path:
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

    The other pages are those of `files.PLACES`: each is written where the run has something for it. One navigation, on all
    pages, names them.
    `summary.md`, `results.sarif` and `verdicts.json` (the run as a baseline) are always there. The overview leads to pytest's
    own reports where they are in the folder, or are `coming`: names of files that are written into it afterwards.

    Reads the folder's `results.jsonl` and captures alone; may be called again at any time, also while the run
    goes on. Missing or damaged parts are said on the pages. RecordError when the pages can't be written.
    """
    try:
        return _write(run_dir, overview, coming)
    except OSError as error:
        raise RecordError(f"can't write the report in {run_dir}: {error.strerror or error}") from error


def _write(run_dir: Path, overview: Overview, coming: Collection[str]) -> Path:
    environment, order = make_environment(), overview.order
    pages = run_dir / "cases"
    pages.mkdir(exist_ok=True)
    for name in STATIC:
        put(run_dir / name, static(name))
    rows = overview.requirements.rows()
    mutants_read = _beside(mutants.read, run_dir, overview)
    tc8_read = _beside(tc8.read, run_dir, overview)
    environment.globals["places"] = places(run_dir, overview, coming, mutants_read, tc8_read)
    write_case_pages(run_dir, environment, overview)
    written = {f"{entry.page}.html" for entry in order}
    for old in pages.glob("*.html"):  # cases of an earlier run in the same folder
        if old.name not in written:
            old.unlink()
    (run_dir / "report.html").unlink(missing_ok=True)  # joined from pages that are no more
    cells = write_states(run_dir, environment, overview)
    write_requirements(run_dir, environment, overview, rows)
    write_timing(run_dir, environment, overview)
    write_mutants(run_dir, environment, overview, mutants_read)
    write_tc8(run_dir, environment, overview, tc8_read)
    put(run_dir / "summary.md", summary.as_markdown(overview))
    put(run_dir / "results.sarif", sarif.as_sarif(overview, rows))
    put(run_dir / baseline_files.LAST, baseline_files.written(overview.now()))
    chosen = filters.of_cases(order, several=overview.several)
    put(run_dir / "filter.css", filters.rules([*chosen, *filters.of_requirements(rows)]))
    besides = {name: what for name, what in BESIDES.items() if name in coming or (run_dir / name).is_file()}
    write_lists(run_dir, environment, overview, chosen, besides)
    return write_overview(run_dir, environment, overview, cells)


def _beside(read: Callable[[Path], Sequence[_Row]], run_dir: Path, overview: Overview) -> Sequence[_Row]:
    """Return what another command left beside the record; an unreadable file becomes a problem of the run."""
    try:
        return read(run_dir)
    except RecordError as error:
        overview.problems.append(str(error))
        return ()
