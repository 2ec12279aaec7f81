"""`tcp-conformance sweep`: every segment in every state, held against the documented machine."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from conformance.cli import COMMANDS
from conformance.cli.output import complain, parser_of, plain_console
from conformance.report.text import clean, count

if TYPE_CHECKING:
    from conformance.explore.sweep import Difference
    from conformance.run.sweeps import SweepRun
    from conformance.standard.profile import Profile


_WORDS = 100
"""Differences of a cause that sweep.json names, at most."""


def main(words: Sequence[str]) -> int:
    """Sweep; return 1 for what the profile does not know, or knows and was not seen, 2 where there was no sweep."""
    options = _parser().parse_args(words)
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.run.sweeps import parts_of, run_sweep  # noqa: PLC0415
    from conformance.standard.profile import profile  # noqa: PLC0415
    from conformance.target import HarnessFault  # noqa: PLC0415
    from conformance.target.load import TargetFileError, load_target  # noqa: PLC0415

    console = plain_console()
    try:
        target = load_target(options.target)
        parts = [
            part
            for family in ([4, 6] if options.family == "both" else [int(options.family)])
            for part in parts_of(family, full=not options.subset)
            if options.way in (None, part.way.name)
        ]
        if not parts:
            complain("sweep", _no_way(options.way))
            return 2
        known = profile(target.profile)
        with _Progress(sum(len(part.segments) for part in parts)) as progress:
            result = asyncio.run(run_sweep(target, known, parts, done=progress.add))
        outcome = Judged(known, result, whole=not options.subset and options.way is None)
        path = options.output / "sweep.json"
        options.output.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(outcome.as_json(target.name, target.version), indent=1) + "\n", encoding="utf-8")
    except (TargetFileError, HarnessFault, RecordError, ValueError) as error:
        complain("sweep", clean(str(error)))
        return 2
    except OSError as error:
        complain("sweep", f"can't write {error.filename}: {error.strerror}")
        return 2
    outcome.show(console)
    console.print(f"differences: {path}")
    return outcome.code


def _parser() -> argparse.ArgumentParser:
    parser = parser_of("sweep", COMMANDS["sweep"])
    parser.add_argument("--target", default="linux", metavar="NAME|FILE.toml", help="default: linux, the embedded lab")
    parser.add_argument("--family", choices=("4", "6", "both"), default="both", help="IPv4, IPv6 or both")
    parser.add_argument(
        "--way", metavar="NAME", help="only that way into a state, as FIN-WAIT-1 or SYN-RECEIVED-active"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--subset", action="store_true", help="only segments that cover every pair of values")
    size.add_argument("--full", action="store_true", help="every segment (default)")
    parser.add_argument(
        "--output", type=Path, default=Path("reports/latest"), metavar="DIR", help="where sweep.json goes"
    )
    return parser


def _no_way(name: str) -> str:
    from conformance.explore.segments import WAYS  # noqa: PLC0415

    return f"no way into a state is called {name!r}: there is {', '.join(way.name for way in WAYS)}"


class _Progress:
    """A line on a terminal that says how much was asked."""

    def __init__(self, total: int) -> None:
        self._total, self._asked = total, 0
        self._status = Console(stderr=True).status(self._line())

    def __enter__(self) -> _Progress:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def add(self, segments: int) -> None:
        """Count segments that were asked."""
        self._asked += segments
        self._status.update(self._line())

    def _line(self) -> str:
        return f"{self._asked:,} of {self._total:,} segments"


class Judged:
    """The differences of a sweep, held against the profile."""

    def __init__(self, known: Profile, result: SweepRun, *, whole: bool) -> None:
        from conformance.explore.signatures import signatures  # noqa: PLC0415
        from conformance.explore.sweep import known_as  # noqa: PLC0415

        self._result = result
        self.known: dict[str, list[Difference]] = {}
        unknown = []
        for swept in result.swept.values():
            for difference in swept.differences:
                row = known_as(difference, known.differences)
                if row is None:
                    unknown.append(difference)
                else:
                    self.known.setdefault(row.name, []).append(difference)
        self._rows = {row.name: row for row in known.differences}
        self.unknown = signatures(unknown)
        whole = whole and not result.unreached and not result.interrupted
        self.gone = [name for name in self._rows if name not in self.known] if whole else []

    @property
    def code(self) -> int:
        """1 where something violates, is gone, or was not swept."""
        return int(bool(self.unknown or self.gone or self._result.unreached or self._result.interrupted))

    def show(self, console: Console) -> None:
        """Print a line for each cause."""
        result = self._result
        segments = sum(swept.segments for swept in result.swept.values())
        rate = segments / result.seconds if result.seconds else 0
        again = sum(swept.again for swept in result.swept.values())
        stopped = ", interrupted" if result.interrupted else ""
        console.print(
            f"{count(segments, 'segment')} in {result.seconds:.0f} s ({rate:,.0f}/s), {again:,} asked again{stopped}"
        )
        for signature in self.unknown:
            console.print(f"[red]violates[/] {signature.count:6,} x {escape(clean(str(signature)))}")
        for name, differences in self.known.items():
            ways = ", ".join(Counter(difference.way for difference in differences))
            console.print(f"[yellow]deviates[/] {len(differences):6,} x {escape(clean(f'{name} ({ways})'))}")
        for name in self.gone:
            console.print(f"[red]gone[/]     {escape(clean(name))}: known deviation is gone; update the profile")
        reasons = Counter(result.unreached.values())
        for reason, parts in reasons.items():
            example = next(name for name, text in result.unreached.items() if text == reason)
            console.print(f"[red]not swept[/] {count(parts, 'part')}, as {escape(clean(f'{example}: {reason}'))}")

    def as_json(self, target: str, version: str) -> object:
        """Return what sweep.json holds."""
        result = self._result
        known = [
            {
                "signature": name,
                "verdict": "deviates",
                "count": len(differences),
                "word": str(differences[0]),
                "words": [str(difference) for difference in differences[:_WORDS]],
                "requirement": self._rows[name].requirement,
                "sentence": self._rows[name].sentence,
                "reason": self._rows[name].reason,
                "source": self._rows[name].source,
            }
            for name, differences in self.known.items()
        ]
        unknown = [
            {
                "signature": str(signature),
                "verdict": "violates",
                "count": signature.count,
                "word": str(signature.example),
                "words": [str(segment) for segment in signature.segments[:_WORDS]],
                "requirement": signature.example.sentences[-1] if signature.example.sentences else "",
                "sentence": _sentence(signature.example.sentences),
                "reason": "",
                "source": "",
            }
            for signature in self.unknown
        ]
        return {
            "schema": 1,
            "target": target,
            "version": version,
            "segments": {f"ipv{family}": swept.segments for family, swept in result.swept.items()},
            "asked_again": {f"ipv{family}": swept.again for family, swept in result.swept.items()},
            "seconds": round(result.seconds, 1),
            "interrupted": result.interrupted,
            "not_swept": result.unreached,
            "gone": self.gone,
            "differences": unknown + known,
        }


def _sentence(ids: Sequence[str]) -> str:
    from conformance.standard.catalogue import requirement  # noqa: PLC0415

    return requirement(ids[-1]).sentence if ids else ""
