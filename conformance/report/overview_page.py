"""The overview: three screens that say what the run came to, why, and what changed."""

from pathlib import Path

from jinja2 import Environment

from conformance.report import score, summary
from conformance.report.causes import causes
from conformance.report.files import put
from conformance.report.overview import Overview
from conformance.report.table_pages import Cells

CAUSES = 8  # causes of one verdict that the overview names
DOCUMENTS = 32


def write_overview(run_dir: Path, environment: Environment, overview: Overview, cells: Cells | None) -> Path:
    """Write `index.html`, and return its path."""
    page = run_dir / "index.html"
    rows = overview.requirements.rows()
    scores = score.scores(rows)
    order = overview.order
    shown = environment.get_template("index.html").render(
        overview=overview,
        cells=cells,
        headline=summary.headline(overview),
        causes={
            verdict: causes(entry for entry in order if entry.verdict == verdict) for verdict in ("violates", "error")
        },
        scores=scores,
        score_levels=score.levels_of(scores),
        requirement_count=len(rows),
        shown_causes=CAUSES,
        shown_documents=DOCUMENTS,
    )
    put(page, shown)
    return page
