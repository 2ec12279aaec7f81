"""Stacks whose agent fails: always an error of the run, never a violation, in one line, and noticed in real time.

A stack that crashes while its agent lives is another matter: that is the target's own doing.
"""

from __future__ import annotations

import shlex
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.agent_check import check_agent
from conformance.target.build import StackMissing, stacks
from tests.conftest import Ran, Suite

# lwIP's own agent behind a proxy that fails in one way as soon as a case accepts.
PROXY = """
import json, os, subprocess, sys, threading, time

mode, program = sys.argv[1:]
wire = int(os.environ["TCP_CONFORMANCE_LINK_FD"])
agent = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[wire])
clocks = set()


def say(line):
    try:
        os.write(1, line)
    except OSError:
        os._exit(0)


def answers():
    stood = 0
    for line in agent.stdout:
        if mode == "wrong-count" and b'"frames_out"' in line and failing:
            line = json.dumps({**(said := json.loads(line)), "ok": {**said["ok"], "frames_out": 4711}}).encode() + b"\\n"
        if mode == "names-no-send" and b'"hello"' in line:
            line = line.replace(b'"send",', b"")
        if mode == "past" and b'"frames_out"' in line and failing:
            said = json.loads(line)
            line = json.dumps({**said, "ok": {**said["ok"], "now_ns": said["ok"]["now_ns"] + 7200 * 10**9}}).encode() + b"\\n"
        if mode == "still" and b'"frames_out"' in line and failing:
            said = json.loads(line)
            stood = stood or said["ok"]["now_ns"]
            line = json.dumps({**said, "ok": {**said["ok"], "now_ns": stood}}).encode() + b"\\n"
        if mode == "backwards" and b'"frames_out"' in line and failing:
            line = json.dumps({**(said := json.loads(line)), "ok": {**said["ok"], "now_ns": 1}}).encode() + b"\\n"
        if mode == "crashes" and b'"capabilities"' in line and failing:
            said = json.loads(line)
            said["ok"]["crashed"] = ["timer: no time"]
            line = json.dumps(said).encode() + b"\\n"
        if mode == "says-closed" and b'"state":"ESTABLISHED"' in line:
            line = line.replace(b"ESTABLISHED", b"CLOSED")
        if mode == "says-close-wait" and b'"state":"ESTABLISHED"' in line:
            line = line.replace(b"ESTABLISHED", b"CLOSE-WAIT")
        if mode == "other-clock" and b'"at_ns"' in line:
            line = json.dumps({**(said := json.loads(line)), "at_ns": said["at_ns"] - 3_700_000_000}).encode() + b"\\n"
        say(line)


failing = False
threading.Thread(target=answers, daemon=True).start()
def requests():
    try:
        yield from sys.stdin.buffer
    except OSError:
        os._exit(0)


for line in requests():
    if b'"accept"' in line:
        failing = True
        number = json.loads(line)["id"]
        if mode == "dies":
            agent.kill()
            os._exit(1)
        if mode == "hangs":
            time.sleep(60)
        if mode == "garbage":
            say(b"Segmentation fault (core dumped)\\n")
        if mode == "no-reply":
            say(json.dumps({"id": number}).encode() + b"\\n")
        if mode == "lacks-accept":
            refusal = {"code": "unknown-op", "message": "no operation"}
            say(json.dumps({"id": number, "error": refusal}).encode() + b"\\n")
            continue
        if mode == "wrong-kind":
            say(json.dumps({"id": number, "ok": []}).encode() + b"\\n")
        if mode == "floods":
            while True:
                say(b'{"id": null, "ok": {}, "at_ns": 0}\\n' * 1000)
        if mode == "endless-line":
            while True:
                say(b"x" * 65536)
        if mode == "floods-the-wire":
            while True:
                try:
                    os.write(wire, bytes(60))
                except BlockingIOError:
                    continue
                except OSError:
                    os._exit(0)
        if mode == "late":
            time.sleep(1)
    if mode == "silent-clock" and b'"clock"' in line and failing:
        continue
    try:
        agent.stdin.write(line)
        agent.stdin.flush()
    except OSError:
        os._exit(0)
agent.kill()
os._exit(0)
"""
CASES = """
    @verifies("RFC9293:3.5-handshake")
    async def test_accepts(tcp):
        \"""It needs the application.\"""
        await tcp.drive_to(State.ESTABLISHED)

    @verifies("RFC9293:3.5-handshake", needs=())
    async def test_asks_nobody(tcp):
        \"""It needs the stack alone.\"""
        conn = tcp.connection(7)
        await conn.send(SYN)
        await conn.expect(RST | ACK, seq=Seq(0), ack=conn.snd_nxt)
"""


REFUSED = """
    @verifies("RFC9293:3.5-handshake")
    async def test_refused(tcp):
        \"""We refuse, and the application is told at once.\"""
        conn = await tcp.connect()
        await conn.expect(SYN)
        sent = await conn.send(RST | ACK)
        told_ns = await conn.app.ends("ECONNREFUSED", wait_s=2, op="connected")
        tcp.check_timing("told", 0.5 + (told_ns - sent.at_ns) / SECOND, Bound(0, 1, "the case"))
"""


@pytest.fixture
def proxy(tmp_path: Path) -> Callable[[str], list[str]]:
    """Return the command of lwIP's agent behind the proxy in a mode."""
    lwip = stacks()["lwip"]

    def command(mode: str) -> list[str]:
        try:
            lwip.make()
        except StackMissing as missing:
            pytest.skip(str(missing))
        (tmp_path / "proxy.py").write_text(textwrap.dedent(PROXY))
        return [sys.executable, "-S", str(tmp_path / "proxy.py"), mode, *lwip.program()]

    return command


@pytest.fixture
def faulty(suite: Callable[[str], Suite], proxy: Callable[[str], list[str]], tmp_path: Path) -> Callable[..., Ran]:
    """Run the cases on a stack that is `command`, or lwIP behind the proxy in that mode."""

    def run(mode: str = "", *, command: list[str] | None = None, clock: str = "virtual", cases: str = CASES) -> Ran:
        if command is None:
            command = proxy(mode)
        (tmp_path / "faulty.toml").write_text(f'kind = "stack"\ncommand = {command}\nclock = "{clock}"\n')
        return suite(cases).run("--target=faulty.toml", "--family=4")

    return run


@pytest.mark.parametrize("clock", ["virtual", "real"])
@pytest.mark.parametrize(
    ("mode", "message_part"),
    [
        ("dies", "the agent's process ended"),
        ("hangs", "did not answer"),
        ("garbage", "breaks the protocol (the line is no JSON): b'Segmentation fault"),
        ("no-reply", "breaks the protocol"),
        ("wrong-kind", "breaks the protocol"),
        ("floods", "did not answer"),
        ("endless-line", "a line of more than 16 MiB"),
    ],
)
def test_agent_that_fails_is_an_error(faulty: Callable[..., Ran], mode: str, message_part: str, clock: str) -> None:
    before = time.monotonic()
    ran = faulty(mode, clock=clock)
    assert ran.verdicts == {"test_accepts[ipv4]": "error", "test_asks_nobody[ipv4]": "conforms"}, ran.out
    message = ran.results["test_accepts[ipv4]"]["message"]
    assert message_part in message and "\n" not in message
    assert "Traceback" not in ran.out and "never awaited" not in ran.out
    assert time.monotonic() - before < 60


@pytest.mark.parametrize(
    ("mode", "message_part"),
    [
        ("wrong-count", "4711 frames were sent"),
        ("backwards", "the stack's clock went back"),
        ("past", "the stack's clock ran past `until_ns`"),
        ("floods-the-wire", "floods the wire"),
    ],
)
def test_stack_that_lies_about_clock_or_wire_is_an_error(
    faulty: Callable[..., Ran], mode: str, message_part: str
) -> None:
    ran = faulty(mode)
    assert ran.verdicts["test_accepts[ipv4]"] == "error", ran.out
    assert message_part in ran.results["test_accepts[ipv4]"]["message"]


WAITS = """
    @verifies("RFC9293:3.5-handshake")
    async def test_accepts(tcp):
        \"""Time has to pass after it.\"""
        conn = await tcp.drive_to(State.ESTABLISHED)
        await conn.silence(for_=5)

    @verifies("RFC9293:3.5-handshake")
    async def test_listens(tcp):
        \"""The next instance is as good as new.\"""
        await tcp.drive_to(State.LISTEN)
"""


def test_clock_that_stands_still_ends_its_case_alone(faulty: Callable[..., Ran]) -> None:
    before = time.monotonic()
    ran = faulty("still", cases=WAITS)
    assert ran.verdicts == {"test_accepts[ipv4]": "error", "test_listens[ipv4]": "conforms"}, ran.out
    assert "the stack's clock stands still" in ran.results["test_accepts[ipv4]"]["message"]
    assert time.monotonic() - before < 60


@pytest.mark.parametrize("mode", ["still", "silent-clock", "past"])
def test_doctor_names_a_clock_that_does_not_move_and_ends(proxy: Callable[[str], list[str]], mode: str) -> None:
    """It answers and stands still, answers no more, or moves as it likes."""
    before = time.monotonic()
    (wrong,) = [line.wrong for line in check_agent(shlex.join(proxy(mode))) if line.wrong]
    assert "clock" in wrong and "\n" not in wrong
    assert time.monotonic() - before < 60


def test_stack_of_which_a_part_crashes_violates(faulty: Callable[..., Ran]) -> None:
    """Also where all that the case looks at is right."""
    ran = faulty("crashes")
    assert ran.verdicts == {"test_accepts[ipv4]": "violates", "test_asks_nobody[ipv4]": "conforms"}, ran.out
    assert ran.results["test_accepts[ipv4]"]["message"] == "the stack crashed: timer: no time"


def test_call_that_an_application_lacks_is_not_applicable(faulty: Callable[..., Ran]) -> None:
    ran = faulty("lacks-accept")
    assert ran.verdicts == {"test_accepts[ipv4]": "not applicable", "test_asks_nobody[ipv4]": "conforms"}, ran.out


IN_A_TASK = """
    @verifies("RFC9293:3.5-handshake")
    async def test_sends_in_a_task(tcp):
        \"""The application sends while the case already waits for the segment.\"""
        conn = await tcp.drive_to(State.ESTABLISHED)
        sending = asyncio.ensure_future(conn.app.send(b"data"))
        await conn.expect(ACK, payload=b"data")
        await sending
"""


def test_call_that_is_lacking_judges_nothing_that_waits_for_it(faulty: Callable[..., Ran]) -> None:
    """Its hello names no `send`: the segment can't come, and is not owed."""
    ran = faulty("names-no-send", cases=IN_A_TASK)
    assert ran.verdicts == {"test_sends_in_a_task[ipv4]": "not applicable"}, ran.out
    assert "needs send" in ran.results["test_sends_in_a_task[ipv4]"]["message"]


CONFIRMS = """
    @verifies("RFC9293:3.5-handshake")
    async def test_confirms(tcp):
        \"""It is ESTABLISHED, by the wire and by the agent's word.\"""
        conn = await tcp.drive_to(State.ESTABLISHED)
        await conn.confirm(State.ESTABLISHED)
"""


def test_agent_that_contradicts_what_the_wire_proves_is_an_error(faulty: Callable[..., Ran]) -> None:
    ran = faulty("says-closed", cases=CONFIRMS)
    assert ran.verdicts == {"test_confirms[ipv4]": "error"}, ran.out
    message = ran.results["test_confirms[ipv4]"]["message"]
    assert message == ("the agent says CLOSED, and the wire proves a connection, with its numbers: the agent is wrong")


def test_word_of_the_agent_counts_where_the_wire_proves_nothing(faulty: Callable[..., Ran]) -> None:
    """The answer to a probe is the same in CLOSE-WAIT."""
    ran = faulty("says-close-wait", cases=CONFIRMS)
    assert ran.verdicts == {"test_confirms[ipv4]": "violates"}, ran.out
    assert ran.results["test_confirms[ipv4]"]["message"] == "the target is in CLOSE-WAIT, it had to be in ESTABLISHED"


def test_clock_of_the_agent_may_be_another_one(faulty: Callable[..., Ran]) -> None:
    """It is 3.7 s behind: what it stamps counts by our clock."""
    ran = faulty("other-clock", clock="real", cases=REFUSED)
    assert ran.verdicts == {"test_refused[ipv4]": "conforms"}, ran.out


def test_late_answer_takes_no_time_of_the_stack(faulty: Callable[..., Ran]) -> None:
    ran = faulty("late")
    assert set(ran.verdicts.values()) == {"conforms"}, ran.out
    assert ran.results["test_accepts[ipv4]"]["duration_s"] < 0.1


@pytest.mark.parametrize(
    ("command", "message_part"),
    [
        (["./no-such-program"], "no program "),
        (["/bin/true"], "the agent's process ended"),
        (["/bin/echo", "hello"], "did not say hello (it said b'hello"),
        (["/bin/echo", '{"hello": {"protocol": 2}}'], "speaks protocol 2, this harness speaks 1"),
        (["/bin/sleep", "60"], "did not say hello within 10 s"),
    ],
    ids=["missing", "ends", "says-something-else", "other-protocol", "says-nothing"],
)
def test_program_that_is_no_agent_ends_the_run_in_one_line(
    faulty: Callable[..., Ran], command: list[str], message_part: str
) -> None:
    ran = faulty(command=command)
    assert ran.code == pytest.ExitCode.USAGE_ERROR, ran.out
    (line,) = [one for one in ran.out.splitlines() if one.startswith("ERROR")]
    assert message_part in line
    assert "Traceback" not in ran.out
    assert not ran.verdicts
