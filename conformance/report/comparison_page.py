"""The page of a comparison: a matrix of documents, sections and requirements by run, and what else differs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from conformance.bounded import open_regular
from conformance.record.errors import RecordError
from conformance.record.names import case_name
from conformance.report.baseline import Baseline, Result
from conformance.report.compare import Comparison, Differing, DifferingTime
from conformance.report.comparison_rows import Statement, documents
from conformance.report.files import put, static
from conformance.report.templating import make_environment

_IN_OUR_PAGES = '<meta name="color-scheme" content="light dark">'
"""Stands in the head of each page of ours, and of those of version 0.1."""


def make_comparison(page: Path, comparison: Comparison, catalogue: Mapping[str, Statement]) -> None:
    """Write the page of a comparison, and `style.css` beside it; RecordError when that can't be.

    The `catalogue` has the sections and sentences of requirements by their ids.
    """
    style = page.with_name("style.css")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        # Where a user names the page, there may be files that are not ours.
        for path, ours in (page, _IN_OUR_PAGES), (style, static("style.css")[:60]):
            if os.path.lexists(path) and ours not in _beginning(path):
                raise RecordError(f"can't write {page}: {path} belongs to something else; name another folder")
        put(style, static("style.css"))
        put(page, _drawn(comparison, catalogue, page.parent))
    except OSError as error:
        raise RecordError(f"can't write {page}: {error.strerror or error}") from error


def _drawn(comparison: Comparison, catalogue: Mapping[str, Statement], folder: Path) -> str:
    runs = comparison.runs
    to_pages = [_way_to_pages(run, folder) for run in runs]

    def link(at: int, case: str, result: Result) -> str:
        """Return where a run's verdict on a case is explained: the case's page, or its deviation on this page."""
        if to_pages[at]:
            return f"{to_pages[at]}/{case_name(case)}.html"
        return f"#{at + 1}-{result.deviation}" if result.deviation else ""

    return (
        make_environment()
        .get_template("compare.html")
        .render(comparison=comparison, runs=runs, matrix=documents(comparison, catalogue), link=link, joined=_joined)
    )


def _joined(rows: Sequence[Differing | DifferingTime]) -> list[Differing | DifferingTime]:
    """Return a row for both families of a case: choices that differ between them stay apart, times are those of the first."""
    apart: dict[tuple[object, ...], Differing | DifferingTime] = {}
    for row in rows:
        values = tuple(row.values) if isinstance(row, Differing) else ()
        apart.setdefault((row.stem, row.what, values), row)
    return list(apart.values())


def _way_to_pages(run: Baseline, folder: Path) -> str:
    """Return the way from `folder` to the pages of a run's cases; empty for a baseline and for a run without pages."""
    pages = Path(run.name) / "cases"
    return Path(os.path.relpath(pages, folder)).as_posix() if pages.is_dir() else ""


def _beginning(path: Path) -> str:
    """Return the first KiB of a regular file as text."""
    with open_regular(path) as file:
        return file.read(1024).decode("utf-8", "replace")
