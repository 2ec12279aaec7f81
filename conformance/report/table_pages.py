"""The pages that show a whole run in tables: state map, requirements, timing, mutants, TC8."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from conformance.report import figure5, filters, matrix, mutants, state_map, tc8, timing
from conformance.report.files import put
from conformance.report.overview import Overview


@dataclass(frozen=True)
class Cells:
    """The rows of the documented machine in this run, in numbers; `missing` is how many it does not touch."""

    counts: Counter[str]
    line: str
    missing: int
    map: Markup


def write_states(run_dir: Path, environment: Environment, overview: Overview) -> Cells | None:
    """Write the page of the documented machine, and give its numbers; without any cell there is no such page."""
    page = run_dir / "states.html"
    tiles = overview.machine.tiles()
    if not tiles:
        page.unlink(missing_ok=True)
        return None
    counts = Counter(tile.verdict for tile in tiles)
    total = overview.machine.total
    drawn = state_map.draw_map(tiles)
    cells = Cells(counts, state_map.coverage_line(counts, total), max(0, total - len(tiles)), drawn)
    reasons: dict[str, list[state_map.Tile]] = {}
    for tile in tiles:
        if tile.verdict == "not applicable":
            reasons.setdefault(tile.case.message or "no reason was recorded", []).append(tile)
    by_state: dict[str, list[state_map.Tile]] = {state: [] for state in state_map.STATES}
    for tile in tiles:
        by_state.setdefault(tile.row.state, []).append(tile)
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


def write_requirements(
    run_dir: Path, environment: Environment, overview: Overview, rows: list[matrix.RequirementRow]
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


def write_timing(run_dir: Path, environment: Environment, overview: Overview) -> None:
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


def write_mutants(run_dir: Path, environment: Environment, overview: Overview, rows: Sequence[mutants.Mutant]) -> None:
    """Write the page of the mutants; without any there is no such page."""
    page = run_dir / "mutants.html"
    if not rows:
        page.unlink(missing_ok=True)
        return
    shown = environment.get_template("mutants.html").render(
        mutants=rows,
        killed=sum(one.killed for one in rows),
        by_id={entry.id: entry for entry in overview.order},
    )
    put(page, shown)


def write_tc8(run_dir: Path, environment: Environment, overview: Overview, rows: Sequence[tc8.Tc8Row]) -> None:
    """Write the page and the table of TC8's cases; without any row there are none."""
    if not rows:
        for name in ("tc8.html", tc8.TABLE):
            (run_dir / name).unlink(missing_ok=True)
        return
    judged = tc8.judged(rows, {entry.id: entry for entry in overview.order})
    put(run_dir / "tc8.html", environment.get_template("tc8.html").render(rows=judged))
    put(run_dir / tc8.TABLE, tc8.as_csv(judged))
