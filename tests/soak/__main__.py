"""`python -m tests.soak`: run the cases many times, half of them with every core busy, over a wire that is sound, slow, loses
or reorders. Says for each kind what violates that does not in a calm run over a sound wire, and what was inconclusive.

Exits with 1 if anything violated falsely, with 2 if a run did not come to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.table import Table

_ROOT = Path(__file__).parents[2]
WIRES = {"sound": "", "20 ms": "delay = 0.02", "1 % lost": "loss = 0.01", "1 % reordered": "reorder = 0.01"}
FALSE = ("violates", "breaks should", "error")
_NUMBERS = re.compile(r"\d+(\.\d+)?")
# A busy core is busy as long as we live, however we end.
_BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]):\n    for _ in range(1000000): pass"


@dataclass
class Kind:
    """The results of the runs of one kind. `false` has a line for each false violation, `unsure` the reasons of no verdict."""

    runs: int = 0
    cases: int = 0
    false: list[str] = field(default_factory=list)
    unsure: Counter[str] = field(default_factory=Counter)

    def add(self, verdicts: dict[str, tuple[str, str]], calm: set[str]) -> bool:
        """Count a run in: verdict and message by case; `calm` is what violates in a calm run. Whether nothing was false."""
        self.runs += 1
        self.cases += len(verdicts)
        false = [
            f"{case}: {message}"
            for case, (verdict, message) in verdicts.items()
            if verdict in FALSE and case not in calm
        ]
        self.false += false
        self.unsure.update(
            f"{case.partition('[')[0]}: {_NUMBERS.sub('#', message)}"
            for case, (verdict, message) in verdicts.items()
            if verdict == "inconclusive"
        )
        return not false


@contextmanager
def busy_cores(busy: bool) -> Iterator[None]:
    """Every core has something else to do, where `busy`."""
    cores = os.cpu_count() or 1 if busy else 0
    working = [subprocess.Popen([sys.executable, "-c", _BUSY, str(os.getpid())]) for _ in range(cores)]
    try:
        yield
    finally:
        for process in working:
            process.kill()
            process.wait()


def verdicts_of(results: Path) -> dict[str, tuple[str, str]]:
    """Verdict and message by case."""
    records = [json.loads(line) for line in results.read_text().splitlines()]
    return {one["id"]: (one["verdict"], one["message"] or "") for one in records}


def run(folder: Path, wire: str, tier: str, options: Sequence[str]) -> dict[str, tuple[str, str]]:
    """One run into that folder; verdict and message by case. Raises OSError where it left no record."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    target = folder / "linux.toml"
    target.write_text(f"[wire]\n{WIRES[wire]}\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "testcases",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--output={folder / 'run'}",
    ]
    command += [f"--target={target if WIRES[wire] else 'linux'}", f"--tier={tier}", *options]
    ran = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    (folder / "run.log").write_text(ran.stdout)
    if ran.returncode not in (0, 1):
        raise OSError(
            f"a run ended with status {ran.returncode}: {ran.stdout.strip().splitlines()[-1:]}, {folder}/run.log"
        )
    return verdicts_of(folder / "run" / "results.jsonl")


def soak(output: Path, quick: int, standard: int, options: Sequence[str], console: Console) -> dict[str, Kind]:
    """So many runs of each tier, over one kind after the other; the first of a tier, calm and sound, is what others are held to.

    What was found false stays in `output`, a folder for each run; other runs are removed.
    """
    kinds: dict[str, Kind] = {}
    for tier, runs in (("quick", quick), ("standard", standard)):
        calm: set[str] | None = None
        for number, (wire, busy) in zip(range(runs + 1 if runs else 0), _round(), strict=False):
            name = f"{wire}, {'busy' if busy else 'calm'}"
            folder = output / f"{tier}-{number:02d}-{re.sub(r'[^a-z0-9]+', '-', name)}"
            with busy_cores(busy):
                verdicts = run(folder, wire, tier, options)
            if calm is None:
                calm = {case for case, (verdict, _) in verdicts.items() if verdict in FALSE}
                console.print(f"{tier}: {len(calm)} of {len(verdicts)} violate in a calm run over a sound wire")
                clean = not calm
            else:
                clean = kinds.setdefault(name, Kind()).add(verdicts, calm)
                console.print(
                    f"{tier} {number} of {runs}: {name}: {len(verdicts)} cases, {'clean' if clean else folder}"
                )
            if clean:
                shutil.rmtree(folder)
    return kinds


def _round() -> Iterator[tuple[str, bool]]:
    """Wire and busyness of the runs in their order; the first, to be held to, is calm and sound."""
    yield "sound", False
    for turn in count():
        yield from ((wire, (turn + place) % 2 == 0) for place, wire in enumerate(WIRES))


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--quick", type=int, default=50, metavar="N", help="quick runs (default: 50)")
    parser.add_argument("--standard", type=int, default=5, metavar="N", help="standard runs (default: 5)")
    parser.add_argument(
        "--output", type=Path, default=Path("reports/soak"), metavar="DIR", help="default: reports/soak"
    )
    parser.add_argument("options", nargs="*", help="for each run's pytest, behind --: as -- -k closing --family 4")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    try:
        kinds = soak(options.output.resolve(), options.quick, options.standard, options.options, console)
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    table = Table("kind", "runs", "case runs", "false violations", "inconclusive")
    for name, kind in kinds.items():
        numbers = kind.runs, kind.cases, len(kind.false), kind.unsure.total()
        table.add_row(name, *(f"{number:,}" for number in numbers))
    console.print(table)
    for name, kind in kinds.items():
        for line in kind.false:
            console.print(f"false, {name}: {line}", markup=False)
        for line, times in kind.unsure.most_common():
            console.print(f"inconclusive, {name}, {times} times: {line}", markup=False)
    return int(any(kind.false for kind in kinds.values()))


if __name__ == "__main__":
    raise SystemExit(main())
