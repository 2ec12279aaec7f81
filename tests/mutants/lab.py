"""`make mutants`: the suite against every mutant, and which case noticed it.

Each mutant is run with the cases that could notice: first the quick ones of the very rule, then all quick ones, then those that
wait, until one has noticed. A case notices where it conforms on the real target, and says of the mutant that it breaks a rule: an
error or an inconclusive case notices nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from conformance.case.ids import cases_folder
from conformance.record import RecordError
from conformance.report.files import put
from conformance.report.folder import require_target
from conformance.report.pages import make_report
from tests.mutants.plugin import MutantPlugin, Without
from tests.mutants.rules import Mutant, MutantError, mutants
from tests.mutants.sources import STACK, SourceMutant, Sources, lacking, sources

_BROKEN = ("violates", "breaks should")
_ROOT = Path(__file__).parent.parent.parent
_NAMED = 5
"""Killers that are named."""
_ENOUGH = 0.95
_WAITING = 8
"""Runs of cases that wait, for each that works."""
_LONGEST_S, _LOOK_S, _GRACE_S = 1200.0, 0.2, 2.0


# Each run is a fork of a process that has imported everything, which takes as long as a small run does.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["pytest", "conformance.api", "conformance.run.run", "conformance.report"])

Records = Mapping[str, Mapping[str, Any]]
"""The cases of a run by id: their verdict, message and requirements."""


def whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines up to the first whose end is not written yet: what follows it a moment later is no line of its own."""
    for line in file:
        if not line.endswith(b"\n"):
            return
        yield line


def _run(arguments: Sequence[str], plugins: Sequence[object], log: Path) -> None:
    """Run pytest in this process, which is for it alone; what it prints goes into a file."""
    os.chdir(_ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("wb") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.exit(int(pytest.main(list(arguments), plugins=list(plugins))))


class Running:
    """A run in a process of its own, and what it has recorded up to now; its folder is gone when it has ended."""

    def __init__(self, arguments: Sequence[str], output: Path, plugins: Sequence[object] = ()) -> None:
        self._output, self._said = output, output.with_name(f"{output.name}.txt")
        self._lock, self._offset, self._cases = threading.Lock(), 0, dict[str, Mapping[str, Any]]()
        self.ended = False
        words = ["-q", "-p", "no:cacheprovider", "-p", "tests.bench.no_report", f"--output={output}", *arguments]
        self._process = _PROCESSES.Process(target=_run, args=(words, plugins, self._said), daemon=True)

    def cases(self) -> Records:
        """Return the cases recorded by now."""
        path = self._output / "results.jsonl"
        with self._lock:
            if path.exists():
                with path.open("rb") as file:
                    file.seek(self._offset)
                    for line in whole_lines(file):
                        self._offset += len(line)
                        record = json.loads(line)
                        facts = {name: record[name] for name in ("verdict", "message", "requirements")}
                        self._cases[record["id"]] = facts
            return dict(self._cases)

    def wait(self, enough: Callable[[Records], bool] = lambda _: False) -> Records:
        """Return the cases recorded at the run's end. Raises MutantError without a run or an end.

        A little after the recorded cases are `enough`, the run is stopped as by Ctrl-C.
        """
        self._process.start()
        try:
            self._wait(enough)
            records = self.cases()
            if not self._offset and self._process.exitcode != pytest.ExitCode.NO_TESTS_COLLECTED:
                raise MutantError(f"{self._output.name}: no run: {self._last_words()}")
            return records
        finally:
            with self._lock:
                shutil.rmtree(self._output, ignore_errors=True)
                self.ended = True

    def _wait(self, enough: Callable[[Records], bool]) -> None:
        end, stop, stopped = time.monotonic() + _LONGEST_S, math.inf, False
        while self._process.is_alive():
            self._process.join(_LOOK_S)
            now = time.monotonic()
            if stop == math.inf and enough(self.cases()):
                stop = now + _GRACE_S
            if now > end:
                self._process.kill()
                self._process.join()
                raise MutantError(f"{self._output.name}: no end within {_LONGEST_S:g} s: {self._last_words()}")
            if now > stop and not stopped and self._process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGINT)
                stopped = True

    def _last_words(self) -> str:
        return self._said.read_text(errors="replace")[-2000:] if self._said.exists() else "it said nothing"


def killers(records: Records, clean: Records, breaks: str) -> list[dict[str, Any]]:
    """The cases that notice; first those that verify the very requirement that is broken."""
    noticed = [
        {"case": name, "message": str(record["message"]), "verifies": breaks in record["requirements"]}
        for name, record in sorted(records.items())
        if record["verdict"] in _BROKEN and name in clean and clean[name]["verdict"] == "conforms"
    ]
    return sorted(noticed, key=lambda killer: not killer["verifies"])


def arguments(mutant: Mutant | SourceMutant) -> list[str]:
    """Return pytest's arguments for the cases that could notice."""
    words = shlex.split(mutant.cases)
    return [str(cases_folder() / word) if (cases_folder() / word).exists() else word for word in words]


def files(chosen: Sequence[Mutant | SourceMutant]) -> list[str]:
    """Return the files of all cases that could notice one of these."""
    return sorted({word for one in chosen for word in arguments(one) if Path(word).exists()})


class Lab:
    """The place where mutants run: the runs' folder, options for all runs, and runs of the targets without a mutant.

    At most `jobs` runs work at once, and many more that mostly wait.
    """

    def __init__(self, folder: Path, options: Sequence[str], tiers: Sequence[str], jobs: int) -> None:
        self._folder, self._options, self._tiers = folder, options, tiers
        self.done = threading.Event()
        """Nothing more is to be tried."""
        self._stacks, self._clean = Sources(), dict[str, Running]()
        self._working, self._waiting = threading.Semaphore(jobs), threading.Semaphore(_WAITING * jobs)

    def prepare(self, chosen: Sequence[Mutant | SourceMutant], pool: ThreadPoolExecutor) -> list[Future[Records]]:
        """Begin to run what could notice on each target that is not changed, until all is done. Raises MutantError."""
        for stack in sorted({_stack(one) for one in chosen}):
            target = [f"--target={self._stacks.target('')}"] if stack else []
            words = [*files([one for one in chosen if _stack(one) == stack]), *target, *self._options]
            self._clean[stack] = Running([*words, f"--tier={self._tiers[-1]}"], self._folder / f"clean-{stack}")
        return [pool.submit(one.wait, lambda _: self.done.is_set()) for one in self._clean.values()]

    def _clean_cases(self, stack: str, names: Collection[str]) -> Records:
        """Return the cases of the unchanged target as soon as these are among them."""
        while True:
            ended = self._clean[stack].ended
            known = self._clean[stack].cases()
            if ended or known.keys() >= set(names):
                return known
            time.sleep(_LOOK_S)

    def tried(self, mutant: Mutant | SourceMutant) -> dict[str, Any]:
        """One mutant: killed, by which cases, after how many. Raises MutantError."""
        plugins, target = [], []
        if isinstance(mutant, Mutant):
            plugins.append(MutantPlugin(mutant))
        else:
            target.append(f"--target={self._stacks.target(mutant.id)}")
        seconds, ran, noticed = 0.0, set[str](), list[dict[str, Any]]()
        stack = _stack(mutant)
        # First the quick cases of the very rule that is broken, then all quick ones, then those that wait.
        narrow = [f"--tier={self._tiers[0]}", f"--requirement={mutant.breaks}"]
        for number, choice in enumerate([narrow, *([f"--tier={tier}"] for tier in self._tiers)]):
            if self.done.is_set():
                raise MutantError(f"{mutant.id}: stopped")
            words = [*choice, *arguments(mutant), *target, *self._options]
            run = Running(words, self._folder / f"{mutant.id}-{number}", [*plugins, Without(frozenset(ran))])
            with self._waiting if number == 2 and not stack else self._working:
                began = time.monotonic()
                records = run.wait(lambda seen: bool(killers(seen, self._clean[stack].cases(), mutant.breaks)))
                seconds += time.monotonic() - began
            ran |= records.keys()
            broken = {name for name, record in records.items() if record["verdict"] in _BROKEN}
            noticed = killers(records, self._clean_cases(stack, broken), mutant.breaks)
            if noticed:
                break
        if not ran:
            raise MutantError(f"{mutant.id}: there are no cases in {mutant.cases}")
        return {
            "id": mutant.id,
            "target": stack or "linux",
            "breaks": mutant.breaks,
            "what": mutant.what,
            "killed": bool(noticed),
            "killers": noticed[:_NAMED],
            "noticed_by": len(noticed),
            "cases_run": len(ran),
            "seconds": round(seconds, 1),
        }


def _stack(mutant: Mutant | SourceMutant) -> str:
    """The stack whose source is changed; none where the mutant is on the wire."""
    return mutant.stack if isinstance(mutant, SourceMutant) else ""


def fate(row: Mapping[str, Any], reason: str) -> str:
    """A mutant's fate in one line; `reason` is why it survives, where that is known."""
    if not row["killed"]:
        return f"SURVIVED {row['id']} ({row['breaks']}): {row['what']}: {reason or 'no reason is known'}"
    first = row["killers"][0]
    more = f" and {row['noticed_by'] - 1} more" if row["noticed_by"] > 1 else ""
    return f"killed   {row['id']}: {row['what']}; by {first['case']}{more}"


def run(
    chosen: Sequence[Mutant | SourceMutant],
    *,
    jobs: int = 2,
    family: str = "4",
    tiers: Sequence[str] = ("quick", "standard"),
) -> dict[str, Any]:
    """Run these mutants, say the fate of each as it is known, and give what mutants.json holds.

    What survives for no known reason is tried once more by itself: on a busy machine a case may have had no verdict. Raises
    MutantError where a mutant could not be tried, when all others were.
    """
    results = _fates(chosen, jobs, family, tiers)
    if again := [one for one in chosen if not results[one.id]["killed"] and not one.survives]:
        print(f"again: {', '.join(one.id for one in again)}", flush=True)
        results |= _fates(again, 1, family, tiers)
    ordered = [results[one.id] for one in chosen]
    survivors = [{"id": one.id, "reason": one.survives} for one in chosen if not results[one.id]["killed"]]
    killed = len(ordered) - len(survivors)
    return {"schema": 2, "total": len(ordered), "killed": killed, "survivors": survivors, "mutants": ordered}


def _fates(
    chosen: Sequence[Mutant | SourceMutant], jobs: int, family: str, tiers: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the fate of each mutant by id, and print it once it is known. Raises MutantError."""
    threads = ThreadPoolExecutor(len(chosen) + 2)  # most of them wait for their turn
    with tempfile.TemporaryDirectory(prefix="tcp-conformance-mutants-") as name, threads as pool:
        lab = Lab(Path(name), [f"--family={family}"], tiers, jobs)
        clean = lab.prepare(chosen, pool)
        results, errors, reasons = {}, [], {one.id: one.survives for one in chosen}
        try:
            for future in as_completed([pool.submit(lab.tried, one) for one in chosen]):
                try:
                    row = future.result()
                except MutantError as error:
                    print(f"ERROR    {error}", flush=True)
                    errors.append(str(error))
                else:
                    results[row["id"]] = row
                    print(fate(row, reasons[row["id"]]), flush=True)
        finally:
            lab.done.set()
        for run_ in clean:
            run_.result()
    if errors:
        raise MutantError(f"{len(errors)} of {len(chosen)} mutants could not be tried; the first: {errors[0]}")
    return results


def main() -> int:
    """Run the mutants that are named, or all; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("ids", nargs="*", help="mutants by name (default: all)")
    parser.add_argument("--output", type=Path, default=_ROOT / "reports" / "latest", help="where mutants.json goes")
    parser.add_argument("--jobs", type=int, default=2, help="how many runs work at once (default: 2)")
    parser.add_argument("--family", default="4", choices=("4", "6", "both"))
    options = parser.parse_args()
    try:
        require_target(options.output, "linux")  # now, and not when half an hour is over
        known: dict[str, Mutant | SourceMutant] = {**mutants(), **sources()}
        if unknown := [name for name in options.ids if name not in known]:
            sys.exit(f"no mutant is called {unknown[0]}")
        names = options.ids or (mutants() if lacking() else known)
        if not options.ids and (lack := lacking()):
            print(f"not run: {len(sources())} mutants of {STACK}, which can't be built: {lack}")
        result = run([known[name] for name in names], jobs=options.jobs, family=options.family)
        require_target(options.output, "linux")
    except (MutantError, RecordError, OSError) as error:
        sys.exit(str(error))
    path = options.output / "mutants.json"
    put(path, json.dumps(result, indent=1) + "\n")
    if (options.output / "results.jsonl").exists():
        make_report(options.output)
    share = result["killed"] / result["total"]
    print(f"{result['killed']} of {result['total']} mutants killed ({share:.1%}); {path}")
    rows = {one["id"]: one for one in result["mutants"]}
    for survivor in result["survivors"]:
        print(fate(rows[survivor["id"]], survivor["reason"]))
    return 1 if share < _ENOUGH or not all(one["reason"] for one in result["survivors"]) else 0
