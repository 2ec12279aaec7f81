"""The pages that list what the overview counts: cases, findings, deviations, choices, changes, and the run's own facts."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment

from conformance.report import filters
from conformance.report.causes import causes
from conformance.report.files import put
from conformance.report.overview import Overview, sections
from conformance.report.text import VERDICTS

LOOKED_INTO = ("violates", "error", "breaks should", "inconclusive")
"""The verdicts whose cases are listed on the page of findings."""
NAMES = (
    "findings.html",
    "cases.html",
    "changes.html",
    "deviations.html",
    "skipped.html",
    "choices.html",
    "run.html",
)


def is_there(name: str, overview: Overview) -> bool:
    """Return True if the run has anything to show on the page."""
    if name == "findings.html":
        return any(overview.counts[verdict] for verdict in LOOKED_INTO)
    if name == "changes.html":
        return overview.changes is not None
    if name == "deviations.html":
        return bool(overview.deviations or overview.counts["deviates"])
    if name == "skipped.html":
        return bool(overview.skipped)
    if name == "choices.html":
        return bool(overview.choices)
    return bool(overview.entries)


def write_lists(
    run_dir: Path, environment: Environment, overview: Overview, chosen: Sequence[filters.Filter], besides: object
) -> None:
    """Write the pages, and remove those that this run has nothing for. `besides` names the files of the folder."""
    order = overview.order
    by_verdict = {verdict: [entry for entry in order if entry.verdict == verdict] for verdict in VERDICTS}
    deviations = sorted(overview.deviations.items(), key=lambda item: "MUST" not in item[1].levels)
    for name in NAMES:
        page = run_dir / name
        if not is_there(name, overview):
            page.unlink(missing_ok=True)
            continue
        put(
            page,
            environment.get_template(name).render(
                overview=overview,
                by_verdict=by_verdict,
                causes={verdict: causes(by_verdict[verdict]) for verdict in LOOKED_INTO},
                sections=sections(order) if name == "cases.html" else (),
                by_id={entry.id: entry for entry in order},
                filters=chosen,
                besides=besides,
                deviations=deviations,
            ),
        )
