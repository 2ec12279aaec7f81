"""The pages of all cases: each from its record and its capture, shared among the machine's processors."""

import gc
import os
import warnings
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from jinja2 import Environment
from markupsafe import Markup

from conformance.record.case import CaseRecord
from conformance.record.inside import open_inside
from conformance.record.pcapng import Capture, read_frames
from conformance.record.results import read_records
from conformance.report import text
from conformance.report.baseline import Baseline
from conformance.report.case_evidence import Evidence
from conformance.report.case_page import Around, Shell, draw_page
from conformance.report.files import put
from conformance.report.frames import relate
from conformance.report.overview import Entry, Overview

FRAMES = 2_000  # frames shown on a page: a flood's capture is for wireshark
SHARE = 400  # pages that are worth a process of their own


def write_case_pages(run_dir: Path, environment: Environment, overview: Overview) -> None:
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
    """Return the id of a forked process that does the work, then ends without this process's clean-up."""
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
    """Return the parts that all pages of cases share."""
    mark = "<mark>"
    head, middle, foot = environment.get_template("case.html").render(mark=Markup(mark)).split(mark)
    return Shell(head, middle, foot, environment.get_template("series.html").module.figure)  # type: ignore[attr-defined]


def _history(overview: Overview, entry: Entry) -> list[tuple[Baseline, str]]:
    """Return the earlier runs that had the case, each with its verdict there."""
    results = ((run, run.cases.get(entry.id)) for run in overview.history)
    return [(run, result.verdict) for run, result in results if result is not None]


def _evidence(run_dir: Path, record: CaseRecord) -> Evidence:
    """Return a case's capture as its page shows it, with the problem if it can't be read in full."""
    name = record.capture
    problem = None
    capture = Capture(())
    if name is not None:
        path = PurePosixPath(name)
        file = open_inside(run_dir, name)
        if file is not None:
            with file:
                capture = read_frames(file, path.name, limit=FRAMES + 1)
            problem = capture.problem
        else:
            outside = path.is_absolute() or ".." in path.parts
            problem = (
                "the record names a capture outside of the run's folder" if outside else f"{path.name}: no such file"
            )
            name = None
    if len(capture.frames) > FRAMES:
        problem = f"only the first {FRAMES:,} frames are shown: the capture has more"
    return Evidence(name, problem, relate(capture.frames[:FRAMES], record))
