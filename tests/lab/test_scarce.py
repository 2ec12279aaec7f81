"""Several runs on one machine, and runs with little: each works, or says in one line what is missing."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran, Suite, clean_environment

CASES = '''
    @pytest.mark.parametrize("number", range(20))
    @verifies("RFC9293:3.5-handshake")
    async def test_handshake(tcp, number):
        """The handshake."""
        await tcp.drive_to(State.ESTABLISHED)
        await tcp.sleep(0.5)
'''
TARGET = 'kind = "netns"\n[sysctl]\n"net.ipv4.tcp_sack" = 0\n'


@pytest.fixture
def made(suite: Callable[[str], Suite]) -> Suite:
    """Make the suite, and a target file that all runs share."""
    made = suite(CASES)
    (made.folder / "shared.toml").write_text(TARGET)
    return made


def run(made: Suite, *options: str, files: int = 0, **environment: str | None) -> Ran:
    """Run it with so many descriptors, and with variables set or, at None, unset."""

    def limit() -> None:
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    changed = {**clean_environment(), **environment}
    done = subprocess.run(
        made.command("--family=4", *options),
        cwd=made.folder,
        env={name: value for name, value in changed.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )
    return Ran(done.returncode, done.stdout, made.folder / "out")


def test_runs_at_once_with_the_same_target_file_leave_each_other_alone(made: Suite) -> None:
    processes = [made.start("--family=4", "--target=shared.toml", f"--output=out{number}") for number in range(3)]
    texts = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], texts
    for number, text in enumerate(texts):
        verdicts = Ran(0, text, made.folder / f"out{number}").verdicts
        assert list(verdicts.values()) == ["conforms"] * 20, text


def test_of_runs_at_once_into_one_folder_one_runs(made: Suite) -> None:
    processes = [made.start("--family=4") for _ in range(3)]
    texts = [process.communicate(timeout=120)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert codes.count(0) >= 1, texts
    for code, text in zip(codes, texts, strict=True):
        assert code == 0 or "another run is at out; choose another --output" in text, text
    assert list(Ran(0, "", made.folder / "out").verdicts.values()) == ["conforms"] * 20
    assert not list(made.folder.glob(".out*"))


@pytest.mark.parametrize("files", [64])
def test_with_few_descriptors_it_works_or_says_so(made: Suite, files: int) -> None:
    ran = run(made, files=files)
    assert "INTERNALERROR" not in ran.out and "Traceback" not in ran.out, ran.out
    assert ran.code == 0 or "Too many open files" in ran.out, ran.out
    assert "violates" not in ran.verdicts.values()


def test_without_home_and_with_no_place_for_temporary_files(made: Suite) -> None:
    ran = run(made, HOME=None, TMPDIR="/nonexistent")
    assert ran.code == 0, ran.out


RUNS_IN_A_ROW = """
import gc, os, resource, sys, tracemalloc
from pathlib import Path
import conformance.api as api
import cases
from tests.lab.processes import children

def seen():
    gc.collect()
    return len(os.listdir("/proc/self/fd")), int(Path("/proc/self/statm").read_text().split()[1]) * 4

api.run([cases], output="out", family=4)
first = seen()
for _ in range(9):
    assert not api.run([cases], output="out", family=4).failed
last = seen()
print(first, last, len(list(Path("/proc/self/task").iterdir())))
assert children(os.getpid()) == []
assert last[0] <= first[0], (first, last)
assert last[1] <= first[1] + 20_000, (first, last)
"""


def test_ten_runs_in_a_row_leave_no_descriptor_no_memory_and_no_process(made: Suite) -> None:
    (made.folder / "test_cases.py").rename(made.folder / "cases.py")
    (made.folder / "row.py").write_text(RUNS_IN_A_ROW)
    done = subprocess.run(
        [sys.executable, "row.py"],
        cwd=made.folder,
        env={**clean_environment(), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
