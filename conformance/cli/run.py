"""`tcp-conformance run`: pytest over all cases, with both of pytest's reports in the run's folder."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from conformance.cli.output import complain, parser_of
from conformance.cli.with_pytest import call_pytest, split_words
from conformance.plugin.options import OPTIONS

_RAN = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)


def main(words: Sequence[str]) -> int:
    """Run the cases; return pytest's exit code, 1 where the report can't be made one file."""
    words = split_words(words)
    options, _ = _parser().parse_known_args(words)
    output = Path(options.output)
    if options.watch is not None:
        return _watched(options.watch, words)
    words = [word for word in words if word != "--self-contained"]
    if options.html is None:
        words.append(f"--html={output / 'pytest.html'}")
    if options.junitxml is None:
        words.append(f"--junitxml={output / 'junit.xml'}")
    if options.css is None and "--self-contained-html" not in words:
        words.append("--self-contained-html")
    code = call_pytest("run", words)
    if options.self_contained and code in _RAN:
        return _make_single(output) or code
    return code


def _parser() -> argparse.ArgumentParser:
    """Return what reads our own options and helps; all words go to pytest, which knows its own."""
    parser = parser_of(
        "run",
        "Run the cases. Takes every option of pytest, too (-k, -x, -n, ...: see pytest --help), and paths, also relative to"
        " the folder of cases, as rfc9293/test_s3_6_closing.py, that run instead of all cases.",
    )
    for name, keywords in OPTIONS.items():
        parser.add_argument(name, **keywords)
    parser.add_argument("--strict", action="store_true", help="a SHOULD that is not followed fails, too")
    parser.add_argument(
        "--self-contained", action="store_true", help="also one file of the report, report.html, to hand on"
    )
    parser.add_argument(
        "--watch",
        type=Path,
        metavar="PATH",
        help="run again whenever this program, or a file of this folder, changes: what failed first, then everything",
    )
    for names in (("--html",), ("--junitxml", "--junit-xml"), ("--css",)):
        parser.add_argument(*names, help=argparse.SUPPRESS)
    return parser


def _watched(path: Path, words: Sequence[str]) -> int:
    from conformance.cli.watch import watch  # noqa: PLC0415

    if not path.exists():
        complain("run", f"--watch: there is no {path}")
        return int(pytest.ExitCode.USAGE_ERROR)
    passed_on = [
        word for at, word in enumerate(words) if not word.startswith("--watch") and words[at - 1 : at] != ["--watch"]
    ]
    command = [sys.executable, "-m", "conformance.cli", "run", *passed_on]
    return watch(path, lambda more: subprocess.run([*command, *more], check=False).returncode)


def _make_single(output: Path) -> int:
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.report.single import make_single  # noqa: PLC0415

    try:
        print(f"report: {make_single(output)}")
    except (RecordError, OSError) as error:
        complain("run", error)
        return 1
    return 0
