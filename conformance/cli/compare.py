"""`tcp-conformance compare`: runs and baselines beside each other, in the terminal, as JSON or as a page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from conformance.cli import COMMANDS
from conformance.cli.output import complain, complain_of_lines, parser_of
from conformance.report.baseline import Baseline, KnownDeviation
from conformance.report.compare import Comparison
from conformance.report.text import NOTHING, VERDICTS, bounds, clean, count, seconds

_LISTED = 100  # rows of a table in the terminal


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("compare", COMMANDS["compare"])
    parser.add_argument("first", metavar="A", help="a run's folder, a results.jsonl, or a baseline's name or file")
    parser.add_argument("others", nargs="+", metavar="B")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--html", type=Path, metavar="FILE", help="as a page, too")
    parser.add_argument(
        "--all",
        action="store_true",
        help=f"every row (default: {_LISTED} of a table), and each deviation with its frames",
    )
    return parser


def main(words: Sequence[str]) -> int:
    """Compare; return 2 where something can't be read or compared."""
    options = _parser().parse_args(words)
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.report.baseline_files import load  # noqa: PLC0415
    from conformance.report.compare import compare  # noqa: PLC0415
    from conformance.report.pages import make_comparison  # noqa: PLC0415

    runs, wrong = [], []
    for where in (options.first, *options.others):
        try:
            runs.append(load(where))
        except RecordError as error:
            wrong.append(str(error))
    comparison = compare(runs) if len(runs) > 1 else None
    try:
        if options.html is not None and comparison is not None:
            make_comparison(options.html, comparison)
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
    console = Console(highlight=False)
    heads = [clean(one.name) for one in comparison.runs]
    targets = [clean(f"{one.name}\n{one.target} {one.version}") for one in comparison.runs]
    counts = Table("verdict", *map(escape, targets), box=None, pad_edge=False)
    for verdict, numbers in comparison.counts.items():
        counts.add_row(verdict, *(f"{number:,}" for number in numbers))
    counts.add_row("all", *(f"{len(one.cases):,}" for one in comparison.runs))
    console.print(counts)
    tables = (
        ("Settings", heads, [(row.name, row.values) for row in comparison.settings]),
        (
            "Cells by state",
            heads,
            [
                (state, [_tally(one) for one in counts])
                for state, counts in comparison.states.items()
                if any(one != counts[0] for one in counts)
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
                        *(seconds(one.measured_s if one else None) for one in row.values),
                        bounds(row.bounds.low_s, row.bounds.high_s),
                    ],
                )
                for row in comparison.times
            ],
        ),
        ("Requirements", heads, [(row.name, row.values) for row in comparison.requirements]),
        ("Other cells", heads, [(row.name, row.values) for row in comparison.cells]),
    )
    for title, names, rows in tables:
        if rows:
            console.print(f"\n[bold]{title}[/] ({len(rows):,})")
            shown = rows if whole else rows[:_LISTED]
            _show_rows(console, names, shown)
            if left := len(rows) - len(shown):
                console.print(f"[dim]and {left:,} more: --all, or --html FILE for a page[/]")
    everywhere = set.intersection(*({one.key for one in run.deviations} for run in comparison.runs))
    for run in comparison.runs:
        _show_deviations(console, run, [one for one in run.deviations if one.key not in everywhere], whole=whole)
    summary = f"{count(comparison.common, 'case')} in all of them, {comparison.alone:,} in one only"
    console.print(f"\n{summary}{': no case differs' if comparison.same and not comparison.problem else ''}")


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
