"""Compares runs without one call each with the run that has all: what is lost, and that nothing is judged otherwise."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from conformance.case.ids import cases_folder
from conformance.target.protocol import APPLICATION
from tests.fewer_calls.plugin import VARIABLE

CAPABILITIES = (*APPLICATION, "state")
NOTHING = "nothing"
_BROKEN = ("violates", "breaks should", "error", "missing")
_FOLLOW = {"listen": ("open-port", "discard-port"), "accept": ("accept-queue",)}
"""Capabilities that follow from others."""
_UNDECIDED = ("not applicable", "inconclusive")


@dataclass(frozen=True)
class Compared:
    """One run beside the full one: cases that it judges otherwise, and the cases lost with another reason than the call."""

    without: str
    lost: int
    otherwise: tuple[str, ...]
    unexplained: tuple[str, ...]


def compare(without: str, full: dict[str, dict[str, str]], fewer: dict[str, dict[str, str]]) -> Compared:
    """Compare the records of two runs, by case id."""
    otherwise, unexplained, lost = [], [], 0
    for case, record in full.items():
        before, after = record["verdict"], fewer.get(case, {"verdict": "missing", "message": ""})
        same = after["verdict"] == before or (before in _UNDECIDED and after["verdict"] not in _BROKEN)
        if not same and after["verdict"] not in _UNDECIDED:
            otherwise.append(f"{case}: {before}, without {without}: {after['verdict']}: {after['message']}")
        elif after["verdict"] in _UNDECIDED and before not in _UNDECIDED:
            lost += 1
            if not after["message"].startswith(
                tuple(f"needs {name}," for name in (without, *_FOLLOW.get(without, ())))
            ):
                unexplained.append(f"{case}: {before}, without {without}: {after['verdict']}: {after['message']}")
    return Compared(without, lost, tuple(otherwise), tuple(unexplained))


def run(without: str, target: str, output: Path, *more: str) -> dict[str, dict[str, str]]:
    """Run the quick tier on the target without that capability; returns its records by case id."""
    command = [sys.executable, "-m", "pytest", str(cases_folder()), "-q", "-p", "no:cacheprovider"]
    command += ["-p", "tests.fewer_calls.plugin", "--tier=quick", "--family=4", f"--target={target}"]
    root = Path(__file__).parent.parent.parent
    environment = {**os.environ, VARIABLE: without, "PYTHONPATH": str(root)}
    with (output.parent / f"{output.name}.log").open("w") as log:
        command += [f"--output={output}", *more]
        subprocess.run(command, cwd=root, env=environment, stdout=log, stderr=log, check=False)
    lines = (output / "results.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    return {
        one["id"]: {"verdict": one["verdict"], "message": one.get("message") or ""} for one in records if "id" in one
    }


def main() -> int:
    """Run and report; the exit code is 1 where a case is judged otherwise, or lost for another reason than the call."""
    parser = argparse.ArgumentParser(prog="make fewer-calls", description=__doc__)
    parser.add_argument("--target", default="smoltcp")
    parser.add_argument("--output", type=Path, default=Path("reports/fewer-calls"))
    parser.add_argument("capability", nargs="*", default=CAPABILITIES)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    full = run(NOTHING, options.target, options.output / NOTHING)
    judged = sum(record["verdict"] not in _UNDECIDED for record in full.values())
    print(f"{options.target} with every call: {judged} of {len(full)} cases judged", flush=True)
    good = True
    for capability in options.capability:
        compared = compare(capability, full, run(capability, options.target, options.output / capability))
        print(
            f"without {capability}: {compared.lost} cases no longer judged,"
            f" {len(compared.unexplained)} of them for another reason, {len(compared.otherwise)} judged otherwise",
            flush=True,
        )
        for line in (*compared.otherwise, *compared.unexplained):
            print(f"  {line}", flush=True)
        good = good and not compared.otherwise and not compared.unexplained
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
