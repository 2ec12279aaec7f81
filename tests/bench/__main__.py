"""`python -m tests.bench`: measure, print a table, and write the numbers as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table

from conformance.run.engine import Engine
from conformance.target import HarnessFault
from tests.bench import intervals, load, mishaps, reaction, report, scripts, segments, suite
from tests.bench.lab import open_lab
from tests.bench.numbers import Number

# Dividend, divisor, what their quotient says. What others document about themselves is in us.
_RATIOS = (
    ("build.scapy", "build.ours", "scapy's cost to build a segment over ours"),
    ("dissect.scapy", "dissect.ours", "scapy's cost to dissect a segment over ours"),
    ("reaction.expect", "reaction.prepared", "expect, then send over a prepared answer"),
    ("scripts.packetdrill.one_by_one", "scripts.ours.one_by_one", "ten scripts one by one, packetdrill over us"),
    ("scripts.packetdrill", "scripts.ours", "ten scripts side by side, packetdrill over us"),
    ("suite.one_by_one", "suite.wall", "the suite one case at a time over the suite"),
)
_DOCUMENTED_US = {"packetdrill": 300.0, "packetimpact": 3000.0}


def main() -> int:
    """Measure on the embedded lab; 2 where it can't be made. No number makes it fail."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer samples and no suite: under 15 s")
    parser.add_argument("--full", action="store_true", help="also the suite one case at a time, which takes long")
    parser.add_argument("--json", type=Path, default=Path("reports/bench.json"), metavar="PATH", help="where to write")
    options = parser.parse_args()
    engine = Engine()
    engine.start()
    try:
        numbers = engine.submit(_on_the_lab(quick=options.quick)).result()
        jitter = engine.jitter.summary()
        numbers += segments.measure(100 if options.quick else 1000)
        if not options.quick:
            numbers += scripts.measure(os.environ.get("PACKETDRILL"), 3)
            numbers += suite.measure(one_by_one=options.full)
            numbers += report.measure()
            numbers += mishaps.measure()
    except HarnessFault as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        engine.stop()
    ratios = _ratios(numbers)
    facts = {
        "schema": 1,
        "at_ns": time.time_ns(),
        "machine": {"kernel": platform.release(), "processors": os.cpu_count(), "python": platform.python_version()},
        "load": os.getloadavg()[0],
        "jitter": jitter,
        "quick": options.quick,
        "numbers": [one.as_json() for one in numbers],
        "ratios": ratios,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(facts, indent=1) + "\n")
    _show(numbers, ratios)
    print(f"\nwritten to {options.json}")
    return 0


async def _on_the_lab(*, quick: bool) -> list[Number]:
    async with open_lab() as lab:
        return [
            *await load.measure_memory(lab, 100 if quick else 250),
            *await reaction.measure(lab, 60 if quick else 500),
            *await intervals.measure(lab, 100 if quick else 400),
            *await load.measure_rate(lab, 5 if quick else 20),
        ]


def _ratios(numbers: list[Number]) -> dict[str, float]:
    """Quotients of medians of this run."""
    medians = {one.key: one.median for one in numbers}
    ratios = {
        what: round(medians[one] / medians[other], 2)
        for one, other, what in _RATIOS
        if one in medians and other in medians
    }
    for name, documented_us in _DOCUMENTED_US.items():
        ratios[f"{name}'s documented reaction over a prepared answer"] = round(
            documented_us / medians["reaction.prepared"], 2
        )
    return ratios


def _show(numbers: list[Number], ratios: dict[str, float]) -> None:
    console = Console(highlight=False)
    table = Table("what")
    for name in ("median", "p99", "unit", "samples", "aim"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("median", "p99", "samples") else "left")
    for number in numbers:
        aim = "" if number.aim is None else f"<= {number.aim:g} {'holds' if number.holds else 'MISSED'}"
        table.add_row(number.what, _text(number.median), _text(number.p99), number.unit, str(number.samples), aim)
    console.print(table)
    for what, ratio in ratios.items():
        console.print(f"{ratio:9.2f}  {what}")
    console.print("\nHow it was measured")
    for how, those in groupby(numbers, key=lambda number: number.how):
        console.print(f"[bold]{'; '.join(one.what for one in those)}[/bold]: {how}")


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
