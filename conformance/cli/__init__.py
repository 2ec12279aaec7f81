"""tcp-conformance: one module a command, imported when it is called, so that the others and `--help` stay quick."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from importlib import import_module

COMMANDS = {
    "run": "run the cases; takes every option of pytest, and paths",
    "list": "every case with its section, requirements and needs; runs none",
    "sweep": "every segment in every state, held against the documented machine",
    "doctor": "what this machine can do, and what is missing",
    "stacks": "stacks that come with the harness, as targets: which are built, what is missing",
    "report": "make the pages of a run again from what it recorded, or those of several runs as one",
    "baseline": "keep a run's results, to hold later runs against them",
    "compare": "runs and baselines beside each other: what differs",
    "packetdrill": "a run's scripts again, by a packetdrill that you have built: where the verdicts differ",
}
_INTERRUPTED = 2  # as pytest has it


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: pytest's for `run`, else 0 or 1 (2 for a wrong call)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] not in COMMANDS:
        _parser().parse_args(words)
    try:
        return int(import_module(f"conformance.cli.{words[0]}").main(words[1:]))
    except KeyboardInterrupt:
        return _INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    """Return what helps, says the version, and refuses a word that is no command."""
    parser = argparse.ArgumentParser(
        prog="tcp-conformance",
        description="Write raw TCP segments at a host's real stack and check what it answers, and when.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version, and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    commands.type = _command
    return parser


def _command(word: str) -> str:
    if word not in COMMANDS:
        near = difflib.get_close_matches(word, COMMANDS, n=1, cutoff=0.0)[0]
        raise argparse.ArgumentTypeError(f"no command is called {word!r}; the nearest is {near}")
    return word


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata  # noqa: PLC0415

        print(f"tcp-conformance {metadata.version('tcp-conformance')}")
        parser.exit()
