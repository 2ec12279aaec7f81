"""Write to the terminal, in the ways that several commands share."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console

from conformance.report.text import count, one_line

if TYPE_CHECKING:
    from conformance.report.baseline import Baseline


def parser_of(command: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of a command, without abbreviations: what is unknown may be pytest's."""
    return _Parser(prog=f"tcp-conformance {command}", description=description, allow_abbrev=False)


class _Parser(argparse.ArgumentParser):
    """Complains in one line: `--help` has the rest."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def complain(command: str, message: object) -> None:
    """Write one line about what is wrong."""
    print(one_line(f"tcp-conformance {command}: {message}"), file=sys.stderr)


def complain_of_lines(command: str, run: Baseline) -> None:
    """Say how many lines of a run's record were left out, and why the first was."""
    if run.problems:
        complain(command, f"{run.name}: {count(len(run.problems), 'line')} left out: {run.problems[0]}")


def plain_console() -> Console:
    """Return a console that leaves numbers and long lines alone."""
    return Console(highlight=False, soft_wrap=True)
