"""`tcp-conformance baseline`: keeps a run's results, to hold later runs against them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conformance.cli import COMMANDS
from conformance.cli.output import complain, complain_of_lines, parser_of
from conformance.report.text import count


def main(words: Sequence[str]) -> int:
    """Keep a run; return 2 where there is nothing to keep, or no place."""
    parser = parser_of("baseline", COMMANDS["baseline"])
    actions = parser.add_subparsers(dest="action", required=True, metavar="save")
    save_parser = actions.add_parser("save", help="keep a run in reports/baselines/NAME.json")
    save_parser.add_argument("name", metavar="NAME")
    save_parser.add_argument(
        "--run", type=Path, default=Path("reports/latest"), metavar="DIR", help="default: reports/latest"
    )
    options = parser.parse_args(words)
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.report.baseline_files import save  # noqa: PLC0415

    try:
        path, baseline = save(options.name, options.run)
    except RecordError as error:
        complain("baseline", error)
        return 2
    complain_of_lines("baseline", baseline)
    print(f"{path}: {count(len(baseline.cases), 'case')}")
    return 0
