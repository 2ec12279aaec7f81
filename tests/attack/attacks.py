"""Attack runs for real, and show what was tried and what came of it.

Each attempt is a run of real cases in a process of its own, with a mark in its environment and a folder for temporary files, so
that whatever it leaves is found. It fails if a case violates that does not in a calm run, if pytest meets an internal error, if
something is left behind, or if a case that had ended can't be read.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from conformance.record import read_results
from conformance.target.build import StackMissing, stacks
from tests.conftest import clean_environment
from tests.lab.processes import alive, children, namespace, namespaces
from tests.lab.test_agent_faults import CASES as AGENT_CASES
from tests.lab.test_agent_faults import PROXY
from tests.lab.test_lab_hosts import SSH, Hosts, made_hosts

_ROOT = Path(__file__).parents[2]
_CASES = str(_ROOT / "testcases" / "rfc9293" / "test_s3_6_closing.py")
_BROKEN = ("violates", "breaks should")
_LONGEST_S, _LEFT_S = 180.0, 30.0
_SEED = 9293
KILLS = 60
_LIARS = ("dies", "hangs", "garbage", "no-reply", "floods", "endless-line", "still", "past", "backwards", "wrong-count",
          "floods-the-wire")  # fmt: skip


@dataclass
class Row:
    """One kind of attack: how often it was tried, what came, and what is wrong."""

    what: str
    tried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Place:
    """The place where runs of one target go on: options, the namespace to enter, and what a calm run of it says."""

    name: str
    options: Sequence[str]
    enter: Callable[[], None] | None = None
    host: int = 0
    calm: frozenset[str] = frozenset()
    lasts_s: float = 10.0


@dataclass
class Attempt:
    """A run under attack."""

    folder: Path
    place: Place
    words: Sequence[str]
    began_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        (self.folder / "tmp").mkdir(parents=True)
        self.mark = f"ATTACK={self.folder}"
        self.before = frozenset(_interfaces())
        self.own = namespace(os.getpid())
        self.spaces: set[str] = set()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE", *self.words, *self.place.options,
             f"--output={self.folder / 'out'}", f"--basetemp={self.folder / 'base'}"],
            cwd=_ROOT,
            env={**clean_environment(), "TMPDIR": str(self.folder / "tmp"), "ATTACK": str(self.folder)},
            stdout=(self.folder / "out.txt").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=self.place.enter,  # noqa: PLW1509 - no threads here
        )  # fmt: skip

    def processes(self) -> list[int]:
        """Return what belongs to the run, the far side of an ssh connection too."""
        marked = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/environ")
            if self.mark.encode() in _octets(path).split(b"\0") and alive(int(path.parent.name))
        ]
        far = [pid for pid in (children(self.place.host) if self.place.host else []) if b"agent.py" in _command(pid)]
        self.spaces |= {namespace(pid) for pid in marked} - {self.own, namespace(self.place.host), ""}
        return marked + far

    def wait(self) -> float:
        """Wait for the run's end; return the seconds since it began. Raises subprocess.TimeoutExpired."""
        self.process.wait(_LONGEST_S)
        return time.monotonic() - self.began_s

    def faults(self) -> Iterator[str]:
        """Yield what is wrong when it has ended, and a line for each verdict that is false."""
        out = (self.folder / "out.txt").read_text(errors="replace")
        if "INTERNALERROR" in out:
            lines = [line for line in out.splitlines() if line.startswith("INTERNALERROR")]
            yield " | ".join(line.removeprefix("INTERNALERROR> ")[:200] for line in lines[-3:])
        end_s = time.monotonic() + _LEFT_S
        while (left := self.processes()) or (self._spaces_left()):
            if time.monotonic() > end_s:
                yield f"left: {[(pid, _command(pid)[:60]) for pid in left]} {self._spaces_left()}"
                break
            time.sleep(0.05)
        if interfaces := frozenset(_interfaces()) - self.before:
            yield f"left: interfaces {sorted(interfaces)}"
        if files := [path.name for path in (self.folder / "tmp").iterdir()]:
            yield f"left: temporary {files}"
        if beside := [path.name for path in self.folder.glob(".out*")]:
            yield f"left: {beside}"
        if (self.folder / "out" / "results.jsonl").exists():
            results = read_results(self.folder / "out" / "results.jsonl")
            yield from (f"can't be read: {problem}" for problem in results.problems)
            for record in results.records:
                if record.verdict in _BROKEN and record.id not in self.place.calm:
                    yield f"false: {record.id}: {record.message}"

    def _spaces_left(self) -> set[str]:
        return namespaces() & self.spaces

    def last_words(self) -> str:
        """Return why no case was recorded."""
        lines = (self.folder / "out.txt").read_text(errors="replace").splitlines()
        errors = [line for line in lines if line.startswith(("ERROR", "INTERNALERROR"))]
        return f"no case: {(errors or lines or ['killed before it said anything'])[-1][:120]}"

    def verdicts(self) -> Counter[str]:
        """Count the verdicts that are recorded."""
        path = self.folder / "out" / "results.jsonl"
        return Counter(record.verdict for record in read_results(path).records) if path.exists() else Counter()


def _octets(path: Path) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def _command(pid: int) -> bytes:
    return _octets(Path(f"/proc/{pid}/cmdline"))


def _interfaces() -> list[str]:
    return [path.name for path in Path("/sys/class/net").iterdir()]


class Attacks:
    """All attacks, one after the other, until the time is over."""

    def __init__(self, folder: Path, minutes: float, only: str, seed: int) -> None:
        self._folder, self._end_s, self._only = folder, time.monotonic() + 60 * minutes, only
        self._random = random.Random(seed)
        self._number = 0
        self._last: Attempt | None = None
        self.rows: list[Row] = []

    def run(self, places: Sequence[Place]) -> None:
        """Run calmly first, to know what violates and how long it takes, then attack."""
        for place in places:
            attempt = self._attempt(place, [_CASES, "--tier=quick", "--family=4"])
            place.lasts_s = attempt.wait()
            path = attempt.folder / "out" / "results.jsonl"
            place.calm = frozenset(
                record.id
                for record in (read_results(path).records if path.exists() else ())
                if record.verdict in _BROKEN
            )
            self._note(Row(f"calm, {place.name}"), attempt, place.lasts_s, records=True)
        self._flood([place for place in places if place.name != "smoltcp"])
        self._lie()
        self._signal(places)
        self._kill(places)

    def _attempt(self, place: Place, words: Sequence[str]) -> Attempt:
        self._number += 1
        self._last = Attempt(self._folder / str(self._number), place, words)
        return self._last

    def stop(self) -> None:
        """End the attempt that is under way."""
        if self._last is not None and self._last.process.poll() is None:
            os.killpg(self._last.process.pid, signal.SIGKILL)
            self._last.process.wait()

    def _wanted(self, what: str) -> Row | None:
        """Return a new row, where there is time for it and it is asked for."""
        if self._only not in what:
            return None
        return next((row for row in self.rows if row.what == what), None) or Row(what)

    def _note(self, row: Row, attempt: Attempt, took_s: float, *, records: bool = False) -> None:
        """Keep what came of an attempt; one that `records` and has not recorded a case is wrong."""
        row.tried += 1
        row.longest_s = max(row.longest_s, took_s)
        row.outcomes += attempt.verdicts() or Counter([attempt.last_words()])
        row.wrong += attempt.faults()
        if records and not attempt.verdicts():
            row.wrong.append(attempt.last_words())
        if row not in self.rows:
            self.rows.append(row)
        print(
            f"{row.what}: {took_s:.1f} s, {dict(attempt.verdicts()) or attempt.last_words()} {row.wrong[-1:] or ''}",
            flush=True,
        )
        shutil.rmtree(attempt.folder, ignore_errors=True)

    def _time_left(self) -> bool:
        return time.monotonic() < self._end_s

    def _flood(self, places: Sequence[Place]) -> None:
        for place in places:
            for kind in ("arp", "foreign", "long"):
                row = self._wanted(f"flood of {kind} frames, {place.name}")
                if row is None or not self._time_left():
                    continue
                attempt = self._attempt(place, [_CASES, "--tier=quick", "--family=4"])
                agent = self._await(attempt, "agent")
                flood = None
                if agent:
                    words = [str(agent), kind, str(place.lasts_s)]
                    flood = subprocess.Popen([sys.executable, "-m", "tests.attack.flood", *words], cwd=_ROOT)
                took_s = attempt.wait()
                if flood is not None:
                    flood.terminate()
                    flood.wait()
                else:
                    row.wrong.append("no agent to flood beside")
                self._note(row, attempt, took_s, records=True)

    def _lie(self) -> None:
        try:
            stacks()["lwip"].make()
        except StackMissing as missing:
            print(f"no liars: {missing}")
            return
        program = stacks()["lwip"].program()[0]
        (self._folder / "proxy.py").write_text(PROXY)
        imports = "from conformance.api import *\nimport asyncio, pytest\n\n"
        (self._folder / "test_cases.py").write_text(
            imports + "".join(line[4:] or "\n" for line in AGENT_CASES.splitlines(True))
        )
        for mode in _LIARS:
            row = self._wanted(f"agent that {mode}")
            if row is None or not self._time_left():
                continue
            target = self._folder / "liar.toml"
            command = [sys.executable, str(self._folder / "proxy.py"), mode, program]
            target.write_text(f'kind = "stack"\ncommand = {command}\n')
            place = Place("lwip", [f"--target={target}"])
            attempt = self._attempt(place, [str(self._folder / "test_cases.py"), "--family=4"])
            self._note(row, attempt, attempt.wait())

    def _signal(self, places: Sequence[Place]) -> None:
        for place in places:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                row = self._wanted(f"{number.name}, {place.name}")
                if row is None or not self._time_left():
                    continue
                attempt = self._attempt(place, [_CASES, "--tier=quick", "--family=4"])
                self._await(attempt, "agent")
                time.sleep(self._random.uniform(0.2, 1.5))
                sent_s = time.monotonic()
                with contextlib.suppress(ProcessLookupError):
                    attempt.process.send_signal(number)
                attempt.wait()
                self._note(row, attempt, time.monotonic() - sent_s)

    def _kill(self, places: Sequence[Place]) -> None:
        victims = [(place, victim) for place in places for victim in ("run", "worker", "lab", "agent")
                   if (place.name, victim) not in (("smoltcp", "lab"), ("ssh", "lab"))]  # fmt: skip
        not_begun = 0
        for number in range(KILLS):
            place, victim = victims[number % len(victims)]
            row = self._wanted(f"SIGKILL of {victim}, {place.name}")
            at_s = self._random.uniform(0, 2.5) if number % 2 else self._random.uniform(0.3, 0.9) * place.lasts_s
            if row is None:
                continue
            if not self._time_left():
                not_begun += 1
                continue
            workers = ["-n2"] if victim == "worker" else []
            attempt = self._attempt(place, [_CASES, "--tier=quick", "--family=4", *workers])
            if number % 2:
                self._await(attempt, victim)
            time.sleep(at_s)
            chosen = self._pid(attempt, victim)
            if chosen:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chosen, signal.SIGKILL)
            else:
                row.outcomes["nothing to kill"] += 1
            try:
                took_s = attempt.wait()
            except subprocess.TimeoutExpired:
                row.wrong.append(f"did not end within {_LONGEST_S:g} s")
                os.killpg(attempt.process.pid, signal.SIGKILL)
                took_s = _LONGEST_S
            self._note(row, attempt, took_s)
        if not_begun:
            print(f"{not_begun} of {KILLS} kills were not begun: the time was over (--minutes)")

    def _await(self, attempt: Attempt, victim: str) -> int:
        """Wait until there is such a process, or the run has ended; return its number."""
        end_s = time.monotonic() + 60
        while time.monotonic() < end_s and attempt.process.poll() is None:
            if pid := self._pid(attempt, victim):
                return pid
            time.sleep(0.02)
        return 0

    @staticmethod
    def _pid(attempt: Attempt, victim: str) -> int:
        """Return a process of that kind; 0 where there is none."""
        if victim == "run":
            return attempt.process.pid
        agent = b"smoltcp" if attempt.place.name == "smoltcp" else b"agent.py"
        sign = {"agent": agent, "worker": b"sys.stdin.readline()", "lab": b"lab_child"}[victim]
        skip = b"pytest"
        near = [pid for pid in attempt.processes() if sign in _command(pid) and skip not in _command(pid)]
        local = [pid for pid in near if not attempt.place.host or b"ssh" not in _command(pid).split(b"\0")[0]]
        return next(iter(local), 0)


def _show(rows: Sequence[Row]) -> None:
    console = Console(highlight=False, width=150)
    table = Table("what was tried", "times", "longest s", "what came", "wrong")
    for row in rows:
        outcomes = ", ".join(f"{count:,} {what}" for what, count in sorted(row.outcomes.items()))
        table.add_row(row.what, str(row.tried), f"{row.longest_s:.1f}", outcomes, "\n".join(row.wrong[:3]) or "nothing")
    console.print(table)


def main() -> int:
    """Attack; return 1 where something is wrong."""
    parser = argparse.ArgumentParser(prog="make attack", description=__doc__)
    parser.add_argument("--minutes", type=float, default=13, help="begin nothing new after this time (default: 13)")
    parser.add_argument("--only", default="", metavar="WORD", help="only attacks with this in their name")
    parser.add_argument("--seed", type=int, default=_SEED, help=f"of the random moments (default: {_SEED})")
    options = parser.parse_args()
    with contextlib.ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="tcp-conformance-attack-")))
        places = [Place("linux", ["--target=linux"])]
        try:
            stacks()["smoltcp"].make()
            places.append(Place("smoltcp", ["--target=smoltcp"]))
        except StackMissing as missing:
            print(f"no smoltcp: {missing}")
        try:
            (folder / "hosts").mkdir()
            hosts: Hosts = opened.enter_context(made_hosts(folder / "hosts"))
            (folder / "ssh.toml").write_text(SSH.replace('"ssh_config"', f'"{folder}/hosts/ssh_config"'))
            places.append(Place("ssh", [f"--target={folder / 'ssh.toml'}"], hosts._enter, hosts.process.pid))
        except pytest.skip.Exception as missing:
            print(f"no ssh host: {missing}")
        attacks = Attacks(folder, options.minutes, options.only, options.seed)
        try:
            attacks.run(places)
        finally:
            attacks.stop()
            _show(attacks.rows)
    wrong = sum(len(row.wrong) for row in attacks.rows)
    print(f"{sum(row.tried for row in attacks.rows)} attempts, {wrong} with something wrong, seed {options.seed}")
    return int(wrong > 0)
