"""`tcp-conformance report`: the pages of a run, or of several runs as one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from conformance.cli.output import complain, parser_of


def main(words: Sequence[str]) -> int:
    """Make the pages; return 1 where there is no run or they can't be written."""
    options = _parser().parse_args(words)
    from conformance.cli.tc8 import write_tc8  # noqa: PLC0415
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.report.baseline_files import load  # noqa: PLC0415
    from conformance.report.folder import refuse_no_run  # noqa: PLC0415
    from conformance.report.merge import merge  # noqa: PLC0415
    from conformance.report.pages import make_report  # noqa: PLC0415
    from conformance.report.single import make_single  # noqa: PLC0415

    problems: list[str] = []
    written: list[str] = []

    def pages(place: Path) -> None:
        """Make the pages in the folder, before it takes its place."""
        if options.tc8:
            write_tc8(place)
        written.append(make_report(place, since).name)
        if options.self_contained:
            written.append(make_single(place).name)

    try:
        folder = options.folders[0]
        since = None if options.baseline is None else load(options.baseline)
        if len(options.folders) > 1 or options.output is not None:
            folder = options.output or Path("reports/merged")
            problems = merge(options.folders, folder, pages)
        else:
            refuse_no_run(folder)
            pages(folder)
        for name in written:
            print(folder / name)
    except (RecordError, OSError) as error:
        complain("report", error)
        return 1
    for line in problems:
        complain("report", line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "report",
        "Make the pages of a run again from what it recorded. Several runs become one in --output: workers, "
        "address families, machines or targets.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="the folder of a run, as reports/latest")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where several runs are put together (reports/merged)"
    )
    parser.add_argument("--baseline", metavar="NAME|FILE", help="say what has changed since then")
    parser.add_argument(
        "--tc8",
        action="store_true",
        help="also a page and a table of TC8's TCP cases, each with what the run says of it",
    )
    parser.add_argument(
        "--self-contained", action="store_true", help="also one file of it all, report.html, to hand on"
    )
    return parser
