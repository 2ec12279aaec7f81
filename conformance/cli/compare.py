"""`tcp-conformance compare`: runs and baselines beside each other, in the terminal, as JSON or as a page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from conformance.cli import COMMANDS
from conformance.cli.output import complain, complain_of_lines, parser_of
from conformance.report.baseline import Baseline, KnownDeviation
from conformance.report.compare import Comparison
from conformance.report.text import NOTHING, VERDICTS, bounds, clean, count, seconds

_LISTED = 100  # rows of a table in the terminal
_MOST_LISTED = 3  # runs whose values fit side by side on 80 columns
_COLUMN = 11  # characters of a run in the matrix


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("compare", COMMANDS["compare"])
    parser.add_argument("first", metavar="A", help="a run's folder, a results.jsonl, or a baseline's name or file")
    parser.add_argument("others", nargs="+", metavar="B")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="as a page, too")
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"every row (default: {_LISTED} of a table, and of more than {_MOST_LISTED} runs the matrix alone), and each"
        " deviation with its frames",
    )
    return parser


def main(words: Sequence[str]) -> int:
    """Compare; return 2 where something can't be read or compared."""
    options = _parser().parse_args(words)
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.report.baseline_files import load  # noqa: PLC0415
    from conformance.report.compare import compare  # noqa: PLC0415
    from conformance.report.comparison_page import make_comparison  # noqa: PLC0415
    from conformance.standard.catalogue import requirements  # noqa: PLC0415

    runs, wrong = [], []
    for where in (options.first, *options.others):
        try:
            runs.append(load(where))
        except RecordError as error:
            wrong.append(str(error))
    comparison = compare(runs) if len(runs) > 1 else None
    try:
        if options.html is not None and comparison is not None:
            make_comparison(options.html, comparison, requirements())
    except RecordError as error:
        wrong.append(str(error))
    for line in [*wrong, *([comparison.problem] if comparison is not None and comparison.problem else [])]:
        complain("compare", line)
    for run in runs:
        complain_of_lines("compare", run)
    if comparison is not None and options.json:
        print(json.dumps(comparison.as_json(), indent=2))
    elif comparison is not None:
        _show_comparison(comparison, whole=options.all)
    return 2 if wrong or comparison is None or comparison.problem else 0


def _show_comparison(comparison: Comparison, *, whole: bool) -> None:
    """Print a matrix by document, then what differs: of more than MOST_LISTED runs only how much, unless `whole`."""
    console = Console(highlight=False)
    for run in comparison.runs:
        began = f", {run.at}" if run.at else ""
        console.print(escape(clean(f"{run.name}: {run.target} {run.version}{began}")), soft_wrap=True)
    _show_matrix(console, comparison)
    tables = _tables(comparison)
    if whole or len(comparison.runs) <= _MOST_LISTED:
        for title, names, rows in tables:
            if rows:
                console.print(f"\n[bold]{title}[/] ({len(rows):,})")
                shown = rows if whole else rows[:_LISTED]
                _show_rows(console, names, shown)
                if left := len(rows) - len(shown):
                    console.print(f"[dim]and {left:,} more: --all, or --html FILE for a page[/]")
        everywhere = set.intersection(*({known.key for known in run.deviations} for run in comparison.runs))
        for run in comparison.runs:
            known = [known for known in run.deviations if known.key not in everywhere]
            _show_deviations(console, run, known, whole=whole)
    else:
        differs = ", ".join(f"{len(rows):,} {title.lower()}" for title, _, rows in tables if rows)
        console.print(f"\nWhat differs: {differs}. [dim]Each: --all, or --html FILE for a page[/]")
    summary = f"{count(comparison.common, 'case')} in all of them, {comparison.alone:,} in one only"
    console.print(f"\n{summary}{': no case differs' if comparison.same and not comparison.problem else ''}")


def _show_matrix(console: Console, comparison: Comparison) -> None:
    """Print how many requirements conform of those that were judged, by document and run, and the cases by verdict."""
    from conformance.report.comparison_rows import documents  # noqa: PLC0415
    from conformance.report.score import conforming  # noqa: PLC0415

    rows = [(document.name or NOTHING, document.scores()) for document in documents(comparison, {})]
    first = max(14, *(len(name) for name, _ in rows), 0) if rows else 14
    beside = max(1, (console.width - first) // _COLUMN)
    for start in range(0, len(comparison.runs), beside):
        runs = range(start, min(start + beside, len(comparison.runs)))

        def line(head: str, values: Sequence[str], runs: range = runs) -> str:
            return f"{head:<{first}}" + "".join(f"{values[run][: _COLUMN - 1]:>{_COLUMN}}" for run in runs)

        heads = [clean(run.name) for run in comparison.runs]
        if rows:
            console.print(f"\n[bold]{escape(line('conform of', heads))}[/]")
        for name, scores in rows:
            console.print(escape(line(clean(name), [_share(*conforming(score)) for score in scores])))
        console.print(f"\n[bold]{escape(line('cases', heads))}[/]")
        for verdict, numbers in comparison.counts.items():
            console.print(escape(line(verdict, [f"{number:,}" for number in numbers])))
        console.print(escape(line("all", [f"{len(run.cases):,}" for run in comparison.runs])))


def _share(conforms: int, judged: int) -> str:
    return f"{conforms}/{judged}" if judged else NOTHING


def _tables(comparison: Comparison) -> list[tuple[str, list[str], list[tuple[str, Sequence[str | None]]]]]:
    """Return the lists of what differs: title, columns, rows."""
    heads = [clean(run.name) for run in comparison.runs]
    return [
        ("Settings", heads, [(row.name, row.values) for row in comparison.settings]),
        (
            "Cells by state",
            heads,
            [
                (state, [_tally(tally) for tally in counts])
                for state, counts in comparison.states.items()
                if any(tally != counts[0] for tally in counts)
            ],
        ),
        ("Other verdicts", heads, [(row.name, row.values) for row in comparison.verdicts]),
        ("Other choices", heads, [(f"{row.name}: {row.what}", row.values) for row in comparison.choices]),
        (
            "Timers",
            [*heads, "allowed"],
            [
                (
                    f"{row.case}: {row.what}",
                    [
                        *(seconds(time.measured_s if time else None) for time in row.values),
                        bounds(row.bounds.low_s, row.bounds.high_s),
                    ],
                )
                for row in comparison.times
            ],
        ),
        ("Requirements", heads, [(row.name, row.values) for row in comparison.requirements]),
        ("Other cells", heads, [(row.name, row.values) for row in comparison.cells]),
    ]


def _tally(counts: Mapping[str, int]) -> str:
    """`1 violates, 2 conforms`."""
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts.get(verdict))


def _show_deviations(console: Console, run: Baseline, deviations: Sequence[KnownDeviation], *, whole: bool) -> None:
    """Print deviations that not all runs share; if `whole`, with the broken sentence and the case that shows it best."""
    if deviations:
        title = escape(clean(f"What {run.target} {run.version} does otherwise in {run.name}"))
        console.print(f"\n[bold]{title}[/] ({len(deviations):,})")
    for deviation in deviations:
        line = f"{deviation.reason} ({count(len(run.showing(deviation)), 'case')}; {deviation.source})"
        console.print(escape(clean(line)), soft_wrap=True)
        if whole:
            lines = [f"  the standard: {deviation.sentence}"] if deviation.sentence else []
            lines += [f"  {deviation.case}: {deviation.shows}", *(f"    {frame}" for frame in deviation.frames)]
            console.print(escape(clean("\n".join(lines))), soft_wrap=True, style="dim")


def _show_rows(console: Console, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str | None]]]) -> None:
    """Print the values side by side, below a line with the case: ids are long."""
    shown = [(clean(case), [clean(one or NOTHING) for one in values]) for case, values in rows]
    widths = [max(map(len, column)) for column in zip(heads, *(values for _, values in shown), strict=True)]

    def line(values: Sequence[str]) -> str:
        return "  ".join(f"{one:<{width}}" for one, width in zip(values, widths, strict=True)).rstrip()

    console.print(f"[dim]  {escape(line(heads))}[/]", soft_wrap=True)
    for case, values in shown:
        console.print(f"{escape(case)}\n  {escape(line(values))}", soft_wrap=True)
