"""`make mutants`: the suite against every mutant, and which case noticed it.

Each mutant is run with the cases that could notice, and one that survives them with all. Then the survivors are named.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from conformance.plugin.marks import cases_folder
from tests.mutants.rules import Mutant, MutantError, mutants

_BROKEN = ("violates", "breaks should")
_ROOT = Path(__file__).parent.parent.parent


def verdicts(arguments: Sequence[str], output: Path, mutant: str = "") -> dict[str, dict[str, Any]]:
    """The record of a run in a process of its own, by case id. Raises SystemExit when there was no run."""
    plugin = ["-p", "tests.mutants.plugin"] if mutant else []
    command = [
        sys.executable,
        "-m",
        "pytest",
        *plugin,
        "-q",
        "-p",
        "no:cacheprovider",
        f"--output={output}",
        *arguments,
    ]
    environment = {**os.environ, "MUTANT": mutant, "PYTHONPATH": str(_ROOT)}
    ended = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    path = output / "results.jsonl"
    if not path.exists():
        raise SystemExit(f"mutant {mutant or '(none)'}: no run: {(ended.stdout + ended.stderr)[-2000:]}")
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {record["id"]: record for record in records}


def killers(found: Mapping[str, Mapping[str, Any]], clean: Mapping[str, str]) -> list[dict[str, str]]:
    """The cases that notice: what they say is broken is not broken in the real target."""
    return [
        {"case": name, "message": str(record["message"])}
        for name, record in sorted(found.items())
        if record["verdict"] in _BROKEN and clean.get(name) not in _BROKEN
    ]


def arguments(mutant: Mutant, options: Sequence[str]) -> list[str]:
    """What pytest is given for the cases that could notice; all cases where the mutant names none."""
    said = shlex.split(mutant.cases)
    files = [str(cases_folder() / one) if (cases_folder() / one).exists() else one for one in said]
    return [*(files or [str(cases_folder())]), *options]


def tried(mutant: Mutant, clean: Mapping[str, str], options: Sequence[str], folder: Path) -> dict[str, Any]:
    """One mutant: killed, by which cases, after how many."""
    started, found, ran = time.monotonic(), [], 0
    for number, chosen in enumerate((arguments(mutant, options), [str(cases_folder()), *options])):
        if number and not mutant.cases:
            break
        output = folder / f"{mutant.id}-{number}"
        records = verdicts(chosen, output, mutant.id)
        shutil.rmtree(output, ignore_errors=True)
        ran += len(records)
        found = killers(records, clean)
        if found:
            break
    return {
        "id": mutant.id,
        "breaks": mutant.breaks,
        "what": mutant.what,
        "killed": bool(found),
        "killers": found[:5],
        "noticed_by": len(found),
        "cases_run": ran,
        "survives": mutant.survives,
        "seconds": round(time.monotonic() - started, 1),
    }


def main() -> int:
    """Run the mutants that are named, or all; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("ids", nargs="*", help="mutants by name (default: all)")
    parser.add_argument("--output", type=Path, default=_ROOT / "reports" / "latest", help="where mutants.json goes")
    parser.add_argument("--jobs", type=int, default=6, help="how many are run at once")
    parser.add_argument("--family", default="4", choices=("4", "6", "both"))
    options = parser.parse_args()
    try:
        known = mutants()
    except MutantError as error:
        sys.exit(str(error))
    if unknown := [name for name in options.ids if name not in known]:
        sys.exit(f"no mutant is called {unknown[0]}")
    chosen = [known[name] for name in options.ids or known]
    more = [f"--family={options.family}"]
    with (
        tempfile.TemporaryDirectory(prefix="tcp-conformance-mutants-") as name,
        ThreadPoolExecutor(options.jobs) as pool,
    ):
        folder = Path(name)
        records = verdicts([str(cases_folder()), *more], folder / "clean")
        clean = {case: str(record["verdict"]) for case, record in records.items()}
        results = {}
        futures = [pool.submit(tried, one, clean, more, folder) for one in chosen]
        for future in as_completed(futures):
            one = results[future.result()["id"]] = future.result()
            sign = "killed  " if one["killed"] else "SURVIVED"
            by = (
                f"by {one['killers'][0]['case']} and {one['noticed_by'] - 1} more" if one["killed"] else one["survives"]
            )
            print(f"{sign} {one['id']}: {one['what']}; {by}", flush=True)
    ordered = [results[one.id] for one in chosen]
    survivors = [one for one in ordered if not one["killed"]]
    killed = len(ordered) - len(survivors)
    summary = {"schema": 1, "total": len(ordered), "killed": killed, "survivors": survivors, "mutants": ordered}
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "mutants.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"{killed} of {len(ordered)} mutants killed ({killed / len(ordered):.0%}); {options.output / 'mutants.json'}")
    for one in survivors:
        print(f"survived: {one['id']} ({one['breaks']}): {one['what']}: {one['survives'] or 'no reason is known'}")
    unexplained = [one for one in survivors if not one["survives"]]
    return 1 if unexplained or killed < 0.95 * len(ordered) else 0


if __name__ == "__main__":
    sys.exit(main())
