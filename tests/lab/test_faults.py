"""Whatever ends a run or breaks under it: one clear line, nothing recorded is lost, nothing is left behind."""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from conformance.record import read_results
from tests.conftest import Ran, Suite, clean_environment
from tests.lab.processes import alive, children, namespace, namespaces, ticks, wait

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


def _interfaces() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


@contextlib.contextmanager
def _running(made: Suite, *options: str) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """The suite under way: its quick cases are recorded, the others wait. Yields the process and its descendants."""
    process = made.start(*options)
    try:
        results, quick = made.folder / "out" / "results.jsonl", 1 if "ipv4" in options else len(QUICK)
        wait(lambda: results.exists() and len(results.read_text().splitlines()) >= quick)
        yield process, children(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _agent(processes: Iterable[int]) -> int:
    return next(one for one in processes if b"agent.py" in Path(f"/proc/{one}/cmdline").read_bytes())


def _end(process: subprocess.Popen[str], made: Suite) -> Ran:
    out, _ = process.communicate(timeout=60)
    return Ran(process.returncode, out, made.folder / "out")


def test_sigkill_of_the_run_leaves_nothing_and_loses_nothing(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    before, others = _interfaces(), namespaces()
    with _running(made) as (process, children):
        assert len(children) >= 2, "the lab and its agent"
        spaces = set(map(namespace, children)) - others - {""}
        assert spaces
        killed = ticks()
        os.kill(process.pid, signal.SIGKILL)
        wait(lambda: not any(alive(child) for child in children))
    wait(lambda: not namespaces(began_by=killed) & spaces)
    assert _interfaces() == before
    results = read_results(made.folder / "out" / "results.jsonl")
    assert results.problems == []
    assert {record.id.rpartition("::")[2] for record in results.records} == QUICK
    done = subprocess.run(
        [sys.executable, "-m", "conformance.cli", "report", "out"],
        cwd=made.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (made.folder / "out" / "index.html").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_signal_ends_a_run_at_once_and_makes_nothing_up(suite: Callable[[str], Suite], number: signal.Signals) -> None:
    """Finished cases are recorded, and have their pages; a case that ran has no verdict."""
    made = suite(CASES)
    with _running(made) as (process, children):
        time.sleep(1)  # the other cases are under way
        os.killpg(process.pid, number)  # as a terminal does, and `timeout`
        ran = _end(process, made)
        wait(lambda: not any(alive(child) for child in children))
    assert ran.code == pytest.ExitCode.INTERRUPTED
    assert ran.verdicts == dict.fromkeys(QUICK, "conforms")
    assert read_results(ran.output / "results.jsonl").problems == []
    assert (ran.output / "index.html").exists()
    assert "Traceback" not in ran.out


def test_signal_while_an_agent_hangs_ends_the_run(suite: Callable[[str], Suite]) -> None:
    """Nobody can close what the cases have opened there; their target vanishes with all of it."""
    made = suite(CASES)
    with _running(made) as (process, children):
        time.sleep(1)
        os.kill(_agent(children), signal.SIGSTOP)
        os.kill(process.pid, signal.SIGINT)
        ran = _end(process, made)
        wait(lambda: not any(alive(child) for child in children))
    assert ran.verdicts == dict.fromkeys(QUICK, "conforms")


def test_an_agent_that_dies_is_an_error_not_a_violation(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    with _running(made) as (process, children):
        agent = _agent(children)
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
        agent = _agent(children)
        _in_namespace(agent, "with IPRoute() as ip: ip.link('del', index=ip.link_lookup(ifname='target0')[0])")
        ran = _end(process, made)
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    errors = {record["message"] for name, record in ran.results.items() if name not in QUICK}
    assert {ran.verdicts[name] for name in ran.verdicts if name not in QUICK} == {"error"}
    assert any("tester0" in message for message in errors), errors


def test_an_interface_that_goes_down_is_an_error_not_a_violation(suite: Callable[[str], Suite]) -> None:
    if os.geteuid():
        pytest.skip("needs root to enter the target's namespace")
    made = suite(CASES)
    with _running(made) as (process, children):
        down = "with IPRoute() as ip: ip.link('set', index=ip.link_lookup(ifname='target0')[0], state='down')"
        _in_namespace(_agent(children), down)
        ran = _end(process, made)
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    assert {ran.verdicts[name] for name in ran.verdicts if name not in QUICK} == {"error"}
    assert {ran.verdicts[name] for name in QUICK} == {"conforms"}


# Another host says that it has every address of ours that the target knows: so often, a quarter of a second apart.
CLAIMS = """
import socket, time
mac = bytes.fromhex('020000000099')
with IPRoute() as ip, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind(('target0', 0))
    for _ in range(TIMES):
        for address in [one.get_attr('NDA_DST') for one in ip.get_neighbours(family=socket.AF_INET)]:
            ours = socket.inet_aton(address)
            raw.send(b'\\xff' * 6 + mac + bytes.fromhex('0806000108000604') + b'\\0\\2' + mac + ours + b'\\xff' * 6 + ours)
        time.sleep(0.25)
"""


def test_burst_of_claims_to_our_addresses_costs_nothing_but_time(suite: Callable[[str], Suite]) -> None:
    if os.geteuid():
        pytest.skip("needs root to enter the target's namespace")
    made = suite(CASES)
    with _running(made) as (process, children):
        time.sleep(1)
        _in_namespace(_agent(children), CLAIMS.replace("TIMES", "1"))
        ran = _end(process, made)
    assert set(ran.verdicts.values()) == {"conforms"}, ran.out
    again = [record["ran_again"] for record in ran.results.values() if record["ran_again"]]
    assert len(again) >= 8, "those over IPv4 that were under way"
    assert all(one.startswith("address conflict: 10.77.") for one in again), again
    assert all(one.endswith("is the tester's, and 02:00:00:00:00:99 says it has it too") for one in again), again


def test_host_that_insists_on_our_addresses_is_an_error_not_a_violation(suite: Callable[[str], Suite]) -> None:
    if os.geteuid():
        pytest.skip("needs root to enter the target's namespace")
    made = suite(CASES)
    with _running(made, "-k", "ipv4") as (process, children):
        insists = _begin_in_namespace(_agent(children), CLAIMS.replace("TIMES", "400"))
        try:
            ran = _end(process, made)
        finally:
            insists.kill()
            insists.wait()
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    errors = {record["message"] for name, record in ran.results.items() if name not in QUICK}
    assert {ran.verdicts[name] for name in ran.verdicts if name not in QUICK} == {"error"}
    assert all(one.startswith("address conflict: 10.77.") for one in errors), errors


def _in_namespace(pid: int, code: str) -> None:
    assert _begin_in_namespace(pid, code).wait() == 0


def _begin_in_namespace(pid: int, code: str) -> subprocess.Popen[bytes]:
    script = (
        "import ctypes, os\n"
        f"assert ctypes.CDLL(None).setns(os.open('/proc/{pid}/ns/net', os.O_RDONLY), 0x40000000) == 0\n"
        f"from pyroute2 import IPRoute\n{code}\n"
    )
    return subprocess.Popen([sys.executable, "-c", script])


def test_a_file_that_may_not_grow_is_said_and_earlier_lines_stay(suite: Callable[[str], Suite]) -> None:
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


def test_a_full_disk_is_said_and_earlier_lines_stay(suite: Callable[[str], Suite]) -> None:
    """A file system of 96 KiB, in a mount namespace of its own; what is on it is copied before that vanishes."""
    if os.geteuid() or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare to mount a small file system")
    made = suite(CASES)
    (made.folder / "out").mkdir()
    script = f"mount -t tmpfs -o size=96k none out && {{ {shlex.join(made.command())}; code=$?; cp -r out kept; exit $code; }}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        cwd=made.folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "No space left on device" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    results = read_results(made.folder / "kept" / "results.jsonl")
    assert results.problems == []
    assert results.records
    assert {record.verdict for record in results.records} == {"conforms"}


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_an_unreachable_target_stops_the_run_with_one_line(
    suite: Callable[[str], Suite], workers: tuple[str, ...]
) -> None:
    made = suite(CASES)
    (made.folder / "deaf.toml").write_text('[sysctl]\n"net.ipv4.conf.target0.arp_ignore" = 8\n')
    ran = made.run("--target=deaf.toml", "-k", "quick", *workers)
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


HELD = '''
    from pathlib import Path

    @verifies("RFC9293:3.5-handshake")
    async def test_quick(tcp):
        """The handshake."""
        await tcp.drive_to(State.ESTABLISHED)

    @verifies("RFC9293:3.5-handshake")
    async def test_waits(tcp):
        """It goes on until it is told."""
        while not Path("go").exists():
            await tcp.sleep(0.1)
        await tcp.drive_to(State.ESTABLISHED)
'''


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_folder_that_a_run_is_recorded_in_is_refused_to_another(
    suite: Callable[[str], Suite], workers: tuple[str, ...]
) -> None:
    made = suite(HELD)
    with _running(made, *workers) as (process, _):
        others = [made.run("-k", "quick", *options) for options in ((), ("-n2",))]
        (made.folder / "go").touch()
        ran = _end(process, made)
    assert ran.code == 0, ran.out
    assert ran.verdicts == dict.fromkeys([*QUICK, "test_waits[ipv4]", "test_waits[ipv6]"], "conforms")
    for another in others:
        assert "another run is at out; choose another --output" in another.out
        assert "Traceback" not in another.out
        assert another.code == pytest.ExitCode.USAGE_ERROR
    assert made.run("-k", "quick").code == 0, "the folder is free again"


@pytest.mark.parametrize("limit", [24, 48])
def test_few_descriptors_are_enough_or_said_in_one_line(suite: Callable[[str], Suite], limit: int) -> None:
    made = suite(CASES)
    ran = made.run("-k", "quick", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
    assert "Traceback" not in ran.out
    if ran.code != 0:
        assert "Too many open files" in ran.out or "descriptors" in ran.out, ran.out
        assert "violates" not in ran.verdicts.values()


TARGET = {4: "10.77.0.1", 6: "fd77::1"}
SENDS = """
    @verifies("RFC9293:3.5-handshake")
    async def test_flood(tcp):
        '''It never ends.'''
        conn = await tcp.drive_to(State.ESTABLISHED)
        while True:
            tcp.station.transmit(conn.segment(ACK), tcp.trace)

    @verifies("RFC9293:3.5-handshake")
    async def test_prepared_flood(tcp):
        '''It prepares answers without end.'''
        conn = await tcp.drive_to(State.ESTABLISHED)
        while True:
            conn.prepare(when=ACK, reply=ACK)

    @verifies("RFC9293:3.5-handshake")
    async def test_elsewhere(tcp):
        '''It writes to another host.'''
        conn = await tcp.drive_to(State.ESTABLISHED)
        await conn.send(ACK, ip={"dst": "10.77.0.2" if tcp.family == 4 else "fd77::2"})
"""


def test_what_a_case_sends_has_bounds(suite: Callable[[str], Suite]) -> None:
    ran = suite(SENDS).run()
    assert set(ran.verdicts.values()) == {"error"}
    for family, another in ((4, "10.77.0.2"), (6, "fd77::2")):
        for name in ("test_flood", "test_prepared_flood"):
            flood = ran.results[f"{name}[ipv{family}]"]["message"]
            assert flood == "flood: the case has sent 2,000 segments within a second, more are not sent"
        sent = ran.results[f"test_flood[ipv{family}]"]["sent"]
        assert sent["packets"] in range(2_000, 2_020)
        assert sent["peak_per_s"] in range(1_000, 2_020), "they may lie in two seconds of the clock"
        assert sent["to"] == [TARGET[family]]
        text = ran.results[f"test_elsewhere[ipv{family}]"]["message"]
        assert text.startswith(f"nothing is sent to {another}: the target's addresses are 10.77.0.1")
    whole = max((one["run"]["sent"] for one in ran.results.values()), key=lambda sent: sent["packets"])
    assert whole["packets"] == sum(one["sent"]["packets"] for one in ran.results.values())
    assert whole["to"] == sorted(TARGET.values())


SETS_THE_CLOCK = """
    import time
    from conformance.link import af_packet

    ONCE = []

    def set_clock(by_s):
        '''What settimeofday would do: it is not ours to set, so that what reads the clock reads another one.'''
        by_ns, time_ns, stamp_of = by_s * 10**9, time.time_ns, af_packet.stamp_of
        time.time_ns = lambda: time_ns() + by_ns
        af_packet.stamp_of = lambda said: (at_ns := stamp_of(said)) and at_ns + by_ns

    @pytest.mark.parametrize("by_s", [3600, -3600])
    @verifies("RFC9293:3.5-handshake")
    async def test_waits(tcp, by_s):
        '''The clock is set while it waits, which takes neither longer nor shorter, nor do intervals.'''
        conn = await tcp.drive_to(State.ESTABLISHED)
        began = time.monotonic()
        asyncio.get_running_loop().call_later(0.3, set_clock, by_s)
        await conn.silence(for_=1.0)
        assert 1.0 <= time.monotonic() - began < 20
        sent = await conn.send(ACK, payload=b"x")
        came = await conn.expect(ACK, ack=conn.snd_nxt)
        tcp.check_timing("acknowledgment", (came.at_ns - sent.at_ns) / 1e9, Bound(0, 1, "RFC 1122, 4.2.3.2"))

    @pytest.mark.parametrize("always", [True, False])
    @verifies("RFC9293:3.5-handshake")
    async def test_violates(tcp, always):
        '''The clock is set meanwhile: the first time, or whenever it runs.'''
        conn = await tcp.drive_to(State.ESTABLISHED)
        if always or not ONCE:
            set_clock(100)
        if not always:
            ONCE.append(True)
        await conn.expect(ACK, within=0.1)
"""


def test_a_clock_that_is_set_blames_nobody(suite: Callable[[str], Suite]) -> None:
    ran = suite(SETS_THE_CLOCK).run("--family=4", "--concurrency=1")
    again = ran.results["test_violates[ipv4-False]"]
    assert again["verdict"] == "violates" or " s late: " in again["message"], ran.out
    assert {name: verdict for name, verdict in ran.verdicts.items() if name != "test_violates[ipv4-False]"} == {
        "test_waits[ipv4-3600]": "conforms",
        "test_waits[ipv4--3600]": "conforms",
        "test_violates[ipv4-True]": "inconclusive",
    }, ran.out
    text = ran.results["test_violates[ipv4-True]"]["message"]
    assert text.startswith("this machine's clock was set by +100.000 s meanwhile: ")
    assert again["ran_again"].startswith("this machine's clock was set by ")


SMALL = """
    @pytest.mark.parametrize("number", range(12))
    @verifies("RFC9293:3.5-handshake")
    async def test_small(tcp, number):
        '''Some are quick, some are not.'''
        await tcp.drive_to(State.ESTABLISHED)
        await tcp.sleep(number / 12)
"""
SEED = 9293


@pytest.mark.parametrize("victim", ["run", "worker", "agent", "lab"])
def test_sigkill_at_any_moment_leaves_nothing_and_loses_nothing(
    suite: Callable[[str], Suite], victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five moments each, three of them while there is a lab.

    A run's processes have a mark in their environment, and a folder for temporary files.
    """
    made, moments = suite(SMALL), random.Random(f"{SEED} {victim}")
    print(f"seed {SEED} {victim}")
    options = ("-v", "--basetemp=base", *(("-n2",) if victim == "worker" else ()))
    temporary = made.folder / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    longest, spaces_seen = 0.0, 0
    interfaces, own = _interfaces(), str(Path("/proc/self/ns/net").readlink())
    for at in range(6):
        mark = f"MARK={made.folder.name}-{victim}-{at}"
        monkeypatch.setenv(*mark.split("="))
        began = time.monotonic()
        process = made.start(*options)
        # The first is let run to its end: how long that takes is within what the others are killed.
        if longest:
            if at % 2:
                wait(lambda mark=mark, process=process: process.poll() is not None or bool(_labs(mark) - {own}))  # type: ignore[misc]
                time.sleep(moments.uniform(0, 1))  # as long as its cases last
            else:
                time.sleep(moments.uniform(0.1, 1.0) * longest)
            spaces, processes = _labs(mark) - {own}, _marked(mark)
            spaces_seen += len(spaces)
            _kill(victim, process, processes)
        else:
            spaces = set()
        out, _ = process.communicate(timeout=60)
        longest = longest or time.monotonic() - began
        _wait_until_nothing_is_left(mark, spaces)
        assert _interfaces() == interfaces
        assert list(temporary.iterdir()) == []
        _is_whole(made, out)
        shutil.rmtree(made.folder / "out", ignore_errors=True)
    assert spaces_seen, "nothing was killed while there was a lab"


def _wait_until_nothing_is_left(mark: str, spaces: set[str]) -> None:
    """Wait for the end of all processes with that mark and of these network namespaces; name what stays."""
    now, end = ticks(), time.monotonic() + 60
    while (pids := _marked(mark)) or namespaces(began_by=now) & spaces:
        lines = []
        for pid in pids:
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")[:200]
                status = Path(f"/proc/{pid}/status").read_text().partition("PPid:")
                lines.append(f"{pid} {command!r}, parent {status[2].split()[0]}, waits in {_waits_in(pid)}")
        assert time.monotonic() < end, f"left: {lines}, namespaces {namespaces(began_by=now) & spaces}"
        time.sleep(0.02)


def _waits_in(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/wchan").read_text() or "nothing"
    return "?"


def _is_whole(made: Suite, out: str) -> None:
    """See that all cases of which the terminal says that they ended are in the record.

    Of a case that a worker was killed in, pytest-xdist says that it failed: that one never ended.
    """
    ended = set(re.findall(r"(test_small\S+) (?:PASSED|ERROR)|(?:PASSED|ERROR)\S* test_cases.py::(\S+)", out))
    path = made.folder / "out" / "results.jsonl"
    if not path.exists():
        assert not ended
        return
    results = read_results(path)
    assert results.problems == []
    names = {record.id.rpartition("::")[2] for record in results.records}
    assert {one or other for one, other in ended} <= names
    assert {record.verdict for record in results.records} <= {"conforms", "error"}


def _kill(victim: str, process: subprocess.Popen[str], processes: Sequence[int]) -> None:
    """Kill it if it is there already, or still."""
    signs = {"agent": b"agent.py", "worker": b"sys.stdin.readline()", "lab": b"lab_child"}
    chosen = process.pid
    if victim != "run":
        lines = {}
        for pid in processes:
            with contextlib.suppress(OSError):
                lines[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
        chosen = next((one for one, line in lines.items() if signs[victim] in line), 0)
    if chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chosen, signal.SIGKILL)


def _labs(mark: str) -> set[str]:
    """The network namespaces of what has that in its environment."""
    return set(map(namespace, _marked(mark))) - {""}


def _marked(mark: str) -> list[int]:
    """The processes with that in their environment."""
    result = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0") and alive(int(path.parent.name)):
                result.append(int(path.parent.name))
    return result
