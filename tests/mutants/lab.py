"""`make mutants`: the suite against every mutant, and which case noticed it.

Each mutant is run with the cases that could notice, first the quick ones. Then the survivors are named. A case notices where
it conforms on the real target, and says of the mutant that it breaks a rule: an error or an inconclusive case notices nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from conformance.plugin.marks import cases_folder
from conformance.report import make_report
from tests.mutants.plugin import MutantPlugin
from tests.mutants.rules import Mutant, MutantError, mutants
from tests.mutants.sources import SourceMutant, Sources, sources

_BROKEN = ("violates", "breaks should")
_ROOT = Path(__file__).parent.parent.parent
_NAMED = 5
"""Killers that are named."""
_ENOUGH = 0.95


# Each run is a fork of a process that has imported everything, which takes as long as a small run does.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pytest", "conformance.api", "conformance.plugin.run", "conformance.report"])


def _run(arguments: Sequence[str], mutant: Mutant | None, said: Path) -> None:
    """Run pytest in this process, which is for it alone; what it prints goes into a file."""
    os.chdir(_ROOT)
    with said.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.exit(int(pytest.main(list(arguments), plugins=[MutantPlugin(mutant)] if mutant else [])))


def verdicts(arguments: Sequence[str], output: Path, mutant: Mutant | None = None) -> dict[str, dict[str, Any]]:
    """The record of a run in a process of its own, by case id; the folder is gone then. Raises MutantError: no run."""
    words = ["-q", "-p", "no:cacheprovider", f"--output={output}", *arguments]
    said = output.with_name(f"{output.name}.txt")
    process = _PROCESSES.Process(target=_run, args=(words, mutant, said), daemon=True)
    process.start()
    process.join()
    if process.exitcode == pytest.ExitCode.NO_TESTS_COLLECTED:
        return {}
    path = output / "results.jsonl"
    if not path.exists():
        raise MutantError(f"{output.name}: no run: {said.read_text(errors='replace')[-2000:]}")
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    shutil.rmtree(output)
    return {record["id"]: record for record in records}


def killers(
    found: Mapping[str, Mapping[str, Any]], clean: Mapping[str, Mapping[str, Any]], breaks: str
) -> list[dict[str, Any]]:
    """The cases that notice; first those that verify the very requirement that is broken."""
    noticed = [
        {"case": name, "message": str(record["message"]), "verifies": breaks in record["requirements"]}
        for name, record in sorted(found.items())
        if record["verdict"] in _BROKEN and name in clean and clean[name]["verdict"] == "conforms"
    ]
    return sorted(noticed, key=lambda one: not one["verifies"])


def arguments(mutant: Mutant | SourceMutant) -> list[str]:
    """What pytest is given for the cases that could notice."""
    words = shlex.split(mutant.cases)
    return [str(cases_folder() / word) if (cases_folder() / word).exists() else word for word in words]


def files(chosen: Sequence[Mutant | SourceMutant]) -> list[str]:
    """Where all cases are that could notice one of these."""
    return sorted({word for one in chosen for word in arguments(one) if Path(word).exists()})


@dataclass
class Lab:
    """Where mutants are run: the folder for what runs leave, options for all runs, the real targets without any mutant."""

    folder: Path
    options: Sequence[str]
    tiers: Sequence[str]
    stacks: Sources = field(default_factory=Sources)
    clean: dict[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)

    def prepare(self, chosen: Sequence[Mutant | SourceMutant]) -> None:
        """Run what could notice on each target that is not changed. Raises MutantError."""
        for stack in sorted({_stack(one) for one in chosen}):
            target = [f"--target={self.stacks.target('')}"] if stack else []
            words = [*files([one for one in chosen if _stack(one) == stack]), *target, *self.options]
            self.clean[stack] = verdicts([*words, f"--tier={self.tiers[-1]}"], self.folder / f"clean-{stack}")

    def tried(self, mutant: Mutant | SourceMutant) -> dict[str, Any]:
        """One mutant: killed, by which cases, after how many. Raises MutantError."""
        started, found, ran = time.monotonic(), [], 0
        on_wire = mutant if isinstance(mutant, Mutant) else None
        target = [] if on_wire else [f"--target={self.stacks.target(mutant.id)}"]
        # First the quick cases of the very rule that is broken, then all quick ones, then those that wait.
        narrow = [f"--tier={self.tiers[0]}", f"--requirement={mutant.breaks}"]
        for number, choice in enumerate([narrow, *([f"--tier={tier}"] for tier in self.tiers)]):
            chosen = [*choice, *arguments(mutant), *target, *self.options]
            records = verdicts(chosen, self.folder / f"{mutant.id}-{number}", on_wire)
            ran += len(records)
            found = killers(records, self.clean[_stack(mutant)], mutant.breaks)
            if found:
                break
        if not ran:
            raise MutantError(f"{mutant.id}: there are no cases in {mutant.cases}")
        return {
            "id": mutant.id,
            "target": _stack(mutant) or "linux",
            "breaks": mutant.breaks,
            "what": mutant.what,
            "killed": bool(found),
            "killers": found[:_NAMED],
            "noticed_by": len(found),
            "cases_run": ran,
            "seconds": round(time.monotonic() - started, 1),
        }


def _stack(mutant: Mutant | SourceMutant) -> str:
    """The stack whose source is changed; none where the mutant is on the wire."""
    return mutant.stack if isinstance(mutant, SourceMutant) else ""


def told(one: Mapping[str, Any], reason: str) -> str:
    """A mutant's fate in one line; `reason` is why it survives, where that is known."""
    if not one["killed"]:
        return f"SURVIVED {one['id']} ({one['breaks']}): {one['what']}: {reason or 'no reason is known'}"
    first = one["killers"][0]
    more = f" and {one['noticed_by'] - 1} more" if one["noticed_by"] > 1 else ""
    return f"killed   {one['id']}: {one['what']}; by {first['case']}{more}"


def run(
    chosen: Sequence[Mutant | SourceMutant],
    *,
    jobs: int = 2,
    family: str = "4",
    tiers: Sequence[str] = ("quick", "standard"),
) -> dict[str, Any]:
    """Run these mutants, say the fate of each as it is known, and give what mutants.json holds. Raises MutantError."""
    with tempfile.TemporaryDirectory(prefix="tcp-conformance-mutants-") as name, ThreadPoolExecutor(jobs) as pool:
        lab = Lab(Path(name), [f"--family={family}"], tiers)
        lab.prepare(chosen)
        results, reasons = {}, {one.id: one.survives for one in chosen}
        try:
            for future in as_completed([pool.submit(lab.tried, one) for one in chosen]):
                one = future.result()
                results[one["id"]] = one
                print(told(one, reasons[one["id"]]), flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
    ordered = [results[one.id] for one in chosen]
    survivors = [{"id": one["id"], "reason": reasons[one["id"]]} for one in ordered if not one["killed"]]
    killed = len(ordered) - len(survivors)
    return {"schema": 2, "total": len(ordered), "killed": killed, "survivors": survivors, "mutants": ordered}


def main() -> int:
    """Run the mutants that are named, or all; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("ids", nargs="*", help="mutants by name (default: all)")
    parser.add_argument("--output", type=Path, default=_ROOT / "reports" / "latest", help="where mutants.json goes")
    parser.add_argument("--jobs", type=int, default=2, help="how many are run at once")
    parser.add_argument("--family", default="4", choices=("4", "6", "both"))
    options = parser.parse_args()
    try:
        known: dict[str, Mutant | SourceMutant] = {**mutants(), **sources()}
        if unknown := [name for name in options.ids if name not in known]:
            sys.exit(f"no mutant is called {unknown[0]}")
        found = run([known[name] for name in options.ids or known], jobs=options.jobs, family=options.family)
    except MutantError as error:
        sys.exit(str(error))
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "mutants.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if (options.output / "results.jsonl").exists():
        make_report(options.output)
    share = found["killed"] / found["total"]
    print(f"{found['killed']} of {found['total']} mutants killed ({share:.1%}); {path}")
    rows = {one["id"]: one for one in found["mutants"]}
    for one in found["survivors"]:
        print(told(rows[one["id"]], one["reason"]))
    return 1 if share < _ENOUGH or not all(one["reason"] for one in found["survivors"]) else 0
