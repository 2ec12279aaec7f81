"""A wire that others fill: no verdict against the target comes of it, what can be judged is, and the record says how it was."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.conftest import Ran, Suite
from tests.lab.processes import children, wait

CASES = '''
    @pytest.mark.parametrize("number", range(12))
    @verifies("RFC9293:3.5-handshake")
    async def test_talks(tcp, number):
        """Text goes both ways, and then nothing is due, for four seconds."""
        Path("waits").touch()
        while not Path("go").exists():
            await tcp.sleep(0.05)
        conn = await tcp.drive_to(State.ESTABLISHED)
        Path("talks").touch()
        for _ in range(10):
            await conn.send(ACK, payload=b"x")
            await conn.expect_ack()
            await conn.silence(for_=0.3)
        await conn.confirm(State.ESTABLISHED)
'''
# At most so long and so many; `sendmmsg` would be quicker, but this fills a wire, too.
FLOOD = """
import os, socket, sys, time
from conformance.wire import ACK, Segment, Seq
from conformance.wire.frames import Template, neighbour_question

kind, rate, seconds = sys.argv[1], int(sys.argv[2]), 8
them, us = "02:00:00:00:00:99", TESTER_MAC
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
    raw.bind(("target0", 0))
    raw.setsockopt(263, 20, 1)  # PACKET_QDISC_BYPASS
    if kind == "arp":
        frames = [neighbour_question(them, "10.77.0.9", f"10.77.{n % 12}.{n % 250 + 1}") for n in range(3000)]
    elif kind == "foreign":
        segment = Segment("10.78.0.1", "10.78.0.2", 1, 2, Seq(1), flags=ACK, payload=b"x")
        frames = [Template(them, us, segment.src, segment.dst).frame(segment)] * 1000
    else:
        seconds = 2  # the tester is held meanwhile: see `beside`
        ours = [f"10.77.4.{n}" for n in range(1, 40)]
        segments = [Segment("10.77.0.1", one, 1, 2, Seq(1), flags=ACK, payload=bytes(1400)) for one in ours]
        frames = [Template(them, us, one.src, one.dst).frame(one) for one in segments] * 25
    print("floods", flush=True)
    sent, began = 0, time.monotonic()
    while (passed := time.monotonic() - began) < seconds and sent < 2_400_000:
        if sent > rate * passed:
            time.sleep(0.001)
            continue
        for frame in frames[:200]:
            raw.send(frame)
        frames = frames[200:] + frames[:200]
        sent += 200
    print("sent", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def beside(suite: Callable[[str], Suite]) -> Callable[[str, int], Ran]:
    """Run the cases beside a flood of that kind and of so many frames a second, sent from the target's namespace.

    A flood of frames for us comes while the tester is held in the middle of its cases: it can't read them all on any
    machine, be it quick or slow.
    """
    if os.geteuid():
        pytest.skip("needs root to enter the target's namespace")

    def run(kind: str, rate: int) -> Ran:
        made = suite("    from pathlib import Path\n" + CASES)
        process = made.start("--family=4")
        try:
            wait(lambda: any(b"agent.py" in _command(one) for one in children(process.pid)))
            agent = next(one for one in children(process.pid) if b"agent.py" in _command(one))
            wait((made.folder / "waits").exists)
            if kind == "ours":
                (made.folder / "go").touch()
                wait((made.folder / "talks").exists)
                process.send_signal(signal.SIGSTOP)
            with _flooding(agent, kind, rate) as flood:
                (made.folder / "go").touch()
                if kind == "ours":
                    assert flood.readline() == b"sent\n"
                    process.send_signal(signal.SIGCONT)
                out, _ = process.communicate(timeout=240)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        return Ran(process.returncode, out, made.folder / "out")

    return run


def _command(process: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


@contextlib.contextmanager
def _flooding(agent: int, kind: str, rate: int) -> Iterator[IO[bytes]]:
    enter = (
        "import ctypes, os\n"
        f"assert ctypes.CDLL(None).setns(os.open('/proc/{agent}/ns/net', os.O_RDONLY), 0x40000000) == 0\n"
    )
    code = enter + FLOOD.replace("TESTER_MAC", '"02:00:00:00:00:02"')
    flood = subprocess.Popen([sys.executable, "-c", code, kind, str(rate)], stdout=subprocess.PIPE)
    assert flood.stdout is not None
    try:
        assert flood.stdout.readline() == b"floods\n"
        yield flood.stdout
    finally:
        flood.kill()
        flood.wait()
        flood.stdout.close()


@pytest.mark.parametrize(("kind", "rate"), [("arp", 20_000), ("foreign", 300_000)])
def test_frames_for_others_are_not_the_target_s_doing(beside: Callable[[str, int], Ran], kind: str, rate: int) -> None:
    ran = beside(kind, rate)
    assert set(ran.verdicts.values()) <= {"conforms", "inconclusive"}, ran.out
    assert list(ran.verdicts.values()).count("conforms") >= 10, ran.out
    heard = max(record["run"]["heard"]["foreign_per_s"] for record in ran.results.values())
    assert heard > 1000, "the record says how the wire was"


def test_flood_of_frames_for_us_judges_nothing(beside: Callable[[str, int], Ran]) -> None:
    """They are on no connection of a case. What of them is kept has an end, and so has what can be read."""
    ran = beside("ours", 300_000)
    assert set(ran.verdicts.values()) <= {"conforms", "inconclusive", "error"}, ran.out
    reasons = {record["ran_again"] for record in ran.results.values() if record["ran_again"]}
    assert any(one.startswith("flood: ") or "were lost at the tester's end" in one for one in reasons), reasons
    assert max(record["run"]["heard"]["lost"] for record in ran.results.values()) > 0
