"""Whatever ends a run or breaks under it: one clear line, nothing recorded is lost, nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conformance.record import read_results
from tests.conftest import Ran, Suite

CASES = '''
    @verifies("RFC9293:3.5-handshake")
    async def test_quick(tcp):
        """The handshake."""
        await tcp.drive_to(State.ESTABLISHED)

    @pytest.mark.parametrize("number", range(8))
    @verifies("RFC9293:3.5-handshake", lasts=6)
    async def test_waits(tcp, number):
        """It is in the middle of something for six seconds, then needs target and agent."""
        conn = await tcp.drive_to(State.ESTABLISHED)
        await tcp.sleep(6)
        await conn.send(ACK, payload=b"x")
        await conn.expect(ACK, ack=conn.snd_nxt)
        await conn.confirm(State.ESTABLISHED)
'''
QUICK = {"test_quick[ipv4]", "test_quick[ipv6]"}


def _wait(until: Callable[[], bool], *, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def _children(pid: int) -> list[int]:
    """All descendants of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *_children(child)]
    return found


def _alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    return False


def _namespaces() -> set[str]:
    found = set()
    for process in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            found.add(str(process.readlink()))
    return found


def _interfaces() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


@contextlib.contextmanager
def _running(made: Suite) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """The suite under way: its quick cases are recorded, the others wait. Yields the process and its descendants."""
    process = made.start()
    try:
        results = made.folder / "out" / "results.jsonl"
        _wait(lambda: results.exists() and len(results.read_text().splitlines()) >= len(QUICK))
        yield process, _children(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _end(process: subprocess.Popen[str], made: Suite) -> Ran:
    out, _ = process.communicate(timeout=60)
    return Ran(process.returncode, out, made.folder / "out")


def test_sigkill_of_the_run_leaves_nothing_and_loses_nothing(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    before = _namespaces(), _interfaces()
    with _running(made) as (process, children):
        assert len(children) >= 2, "the lab and its agent"
        os.kill(process.pid, signal.SIGKILL)
        _wait(lambda: not any(_alive(child) for child in children))
    _wait(lambda: _namespaces() <= before[0])
    assert _interfaces() == before[1]
    results = read_results(made.folder / "out" / "results.jsonl")
    assert results.problems == []
    assert {record["id"].rpartition("::")[2] for record in results.records} == QUICK
    done = subprocess.run(
        [sys.executable, "-m", "conformance.cli", "report", "out"],
        cwd=made.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (made.folder / "out" / "index.html").exists()


def test_ctrl_c_keeps_what_was_recorded_and_makes_the_pages(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    with _running(made) as (process, children):
        os.kill(process.pid, signal.SIGINT)
        ran = _end(process, made)
        _wait(lambda: not any(_alive(child) for child in children))
    assert ran.code == pytest.ExitCode.INTERRUPTED
    assert set(ran.verdicts) == QUICK
    assert (ran.output / "index.html").exists()


def test_an_agent_that_dies_is_an_error_not_a_violation(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    with _running(made) as (process, children):
        agent = next(one for one in children if b"agent.py" in Path(f"/proc/{one}/cmdline").read_bytes())
        os.kill(agent, signal.SIGKILL)
        ran = _end(process, made)
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    assert {name for name, verdict in ran.verdicts.items() if verdict == "conforms"} == QUICK
    assert {verdict for name, verdict in ran.verdicts.items() if name not in QUICK} == {"error"}
    assert len(ran.verdicts) == 18
    # With its last process, the target's namespace went too: whichever was noticed first is said.
    messages = {record["message"] for name, record in ran.results.items() if name not in QUICK}
    assert messages <= {
        "linux: the agent's process ended",
        "interface tester0 went down or vanished",
        "tester0: a frame can't be sent: Network is down",
        "tester0: a frame can't be sent: No such device or address",
    }


def test_an_interface_that_vanishes_is_an_error_not_a_violation(suite: Callable[[str], Suite]) -> None:
    if os.geteuid():
        pytest.skip("needs root to enter the target's namespace")
    made = suite(CASES)
    with _running(made) as (process, children):
        agent = next(one for one in children if b"agent.py" in Path(f"/proc/{one}/cmdline").read_bytes())
        _in_namespace(agent, "with IPRoute() as ip: ip.link('del', index=ip.link_lookup(ifname='target0')[0])")
        ran = _end(process, made)
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    errors = {record["message"] for name, record in ran.results.items() if name not in QUICK}
    assert {ran.verdicts[name] for name in ran.verdicts if name not in QUICK} == {"error"}
    assert any("tester0" in message for message in errors), errors


def _in_namespace(pid: int, code: str) -> None:
    script = (
        "import ctypes, os\n"
        f"assert ctypes.CDLL(None).setns(os.open('/proc/{pid}/ns/net', os.O_RDONLY), 0x40000000) == 0\n"
        f"from pyroute2 import IPRoute\n{code}\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_full_disk_is_said_and_earlier_lines_stay(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    limit = 12_000

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    ran = made.run("-k", "quick or waits", preexec_fn=small_files)
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    assert "the record is incomplete: can't write" in ran.out
    assert "File too large" in ran.out
    results = read_results(ran.output / "results.jsonl")
    assert results.problems == []
    assert results.records


def test_an_unreachable_target_stops_the_run_with_one_line(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    (made.folder / "deaf.toml").write_text('[sysctl]\n"net.ipv4.conf.target0.arp_ignore" = 8\n')
    ran = made.run("--target=deaf.toml", "-k", "quick")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "target 10.77.0.1 does not answer ARP from 10.77." in ran.out
    assert "Traceback" not in ran.out


def test_no_right_to_make_namespaces_is_one_line(suite: Callable[[str], Suite]) -> None:
    setpriv = shutil.which("setpriv")
    if os.geteuid() or setpriv is None:
        pytest.skip("needs root and setpriv to give all rights up")
    made = suite(CASES)
    done = subprocess.run(
        [setpriv, "--bounding-set=-all", "--inh-caps=-all", *made.command("-k", "quick")],
        cwd=made.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 0:
        pytest.skip("needs a kernel that refuses namespaces to root without capabilities")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "can't make the embedded lab: no user namespace: " in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_two_runs_at_once_do_not_meet(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    first = subprocess.Popen(made.command("-k", "quick", "--output=one"), cwd=made.folder, stdout=subprocess.DEVNULL)
    second = made.run("-k", "quick", "--output=two")
    assert first.wait(60) == 0
    assert second.code == 0
