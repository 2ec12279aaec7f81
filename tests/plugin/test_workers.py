"""Several workers: one that dies costs its cases and nothing else, and all collect what the controller collects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Suite
from tests.plugin.test_cli import CASES as OWN
from tests.plugin.test_cli import CLOSING, run

CASES = '''
    import os, signal
    from pathlib import Path

    @pytest.mark.parametrize("number", range(12))
    @verifies("RFC9293:3.5-handshake", lasts=1)
    async def test_waits(tcp, number):
        """It waits a second, and kills its worker once."""
        await tcp.drive_to(State.ESTABLISHED)
        await tcp.sleep(1)
        first = Path(f"ran-{number}")
        if number in KILLERS and not first.exists():
            first.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with Path("runs").open("a") as file:
            file.write(f"{number}\\n")
'''


@pytest.mark.parametrize("killers", [(5,), (4, 5), (11,)], ids=["one-worker", "both-workers", "last-case"])
def test_a_worker_that_dies_costs_its_cases_and_nothing_else(
    suite: Callable[[str], Suite], killers: tuple[int, ...]
) -> None:
    ran = suite(CASES.replace("KILLERS", str(killers))).run("--family=4", "-n2")
    assert "INTERNALERROR" not in ran.out
    assert ran.code == pytest.ExitCode.TESTS_FAILED, ran.out
    crashed = ran.out.count("crashed while running 'test_cases.py::test_waits[ipv4-")
    assert crashed >= len(killers), ran.out
    conform = {name for name, verdict in ran.verdicts.items() if verdict == "conforms"}
    assert len(conform) >= 12 - len(killers), ran.out
    assert (ran.output / "index.html").is_file()
    # None of what another worker did ran again: twice is what a dead worker left, once more.
    counts = Counter((ran.output.parent / "runs").read_text().split())
    assert max(counts.values()) <= 1 + len(killers)


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("path", "cases"),
    [
        ("test_own.py::test_here", {"test_here[ipv4]"}),
        ("test_own.py", {"test_elsewhere[ipv4]", "test_here[ipv4]"}),
        (
            f"{CLOSING}::test_simultaneous_close_passes_through_closing",
            {"test_simultaneous_close_passes_through_closing[ipv4]"},
        ),
    ],
    ids=["case", "file", "case-of-ours"],
)
def test_workers_run_the_path_that_was_named(tmp_path: Path, path: str, cases: set[str]) -> None:
    (tmp_path / "test_own.py").write_text(OWN)
    ran = run(tmp_path, "-n", "2", path)
    assert ran.code == pytest.ExitCode.OK, ran.out
    assert set(ran.results) == cases
