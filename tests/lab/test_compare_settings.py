"""Two runs against the kernel that differ by one setting: the comparison lists what that setting changes, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.conftest import Suite, clean_environment

ORPHAN = '''
    @verifies("RFC9293:3.3.2-fin-wait-2", lasts=7)
    async def test_orphan_ends_after_3_s(tcp):
        """The application has closed its socket, and our FIN never comes."""
        conn = await tcp.drive_to(State.FIN_WAIT_1, how="close")
        await conn.listener.close()
        acked = await conn.send(ACK)
        while await tcp.state_of(conn) is not State.CLOSED:
            await tcp.sleep(0.1)
        measured_s = (tcp.clock.now_ns() - acked.at_ns) / 1e9
        tcp.check_timing("from our ACK to the end", measured_s, Bound(2.9, 4.5, "the setting"), how="by the agent")

    @verifies("RFC9293:3.5-handshake")
    async def test_handshake(tcp):
        """Nothing of it depends on tcp_fin_timeout."""
        await tcp.drive_to(State.ESTABLISHED)
'''


STAMPS = '''
    async def opened(tcp):
        conn = await tcp.listen()
        conn.tsval = 1000
        await tcp.drive_to(State.ESTABLISHED, conn=conn)
        return conn

    @verifies("RFC9293:MUST-13")
    async def test_stamps_are_echoed(tcp):
        """The SYN offers timestamps."""
        assert (await opened(tcp)).has_timestamps, "no timestamps"

    @verifies("RFC9293:3.5-handshake")
    async def test_stamps_are_a_choice(tcp):
        """The SYN offers timestamps."""
        conn = await opened(tcp)
        tcp.choice("timestamps", "used" if conn.has_timestamps else "not used", ["used", "not used"])

    @verifies("RFC9293:3.5-handshake")
    async def test_handshake(tcp):
        """Nothing of it depends on timestamps."""
        await tcp.drive_to(State.ESTABLISHED)
'''


def target(made: Suite, name: str, setting: str, value: int) -> str:
    lines = ['name = "linux"', 'kind = "netns"', 'profile = "linux"', "[sysctl]", f'"net.ipv4.{setting}" = {value}']
    (made.folder / f"{name}.toml").write_text("\n".join(lines) + "\n")
    return f"--target={name}.toml"


def compared(made: Suite, *names: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "conformance.cli", "compare", *names, "--json"]
    done = subprocess.run(command, cwd=made.folder, env=clean_environment(), capture_output=True, text=True, check=True)
    comparison: dict[str, Any] = json.loads(done.stdout)
    return comparison


def test_without_timestamps_only_what_rests_on_them_differs(suite: Callable[[str], Suite]) -> None:
    made = suite(STAMPS)
    for name, value in (("with", 1), ("without", 0)):
        made.run("--family=4", target(made, name, "tcp_timestamps", value), f"--output={name}")
    comparison = compared(made, "with", "without")
    assert (comparison["common"], comparison["alone"], comparison["timings"]) == (3, 0, [])
    assert comparison["settings"] == [{"name": "net.ipv4.tcp_timestamps", "values": ["1", "0"]}]
    assert [(one["case"], one["values"]) for one in comparison["verdicts"]] == [
        ("test_cases.py::test_stamps_are_echoed[ipv4]", ["conforms", "violates"])
    ]
    assert [(one["name"], one["values"]) for one in comparison["choices"]] == [("timestamps", ["used", "not used"])]
    assert [(one["id"], one["values"]) for one in comparison["requirements"]] == [
        ("RFC9293:MUST-13", ["conforms", "violates"])
    ]


def test_another_fin_timeout_changes_the_orphan_and_its_time(suite: Callable[[str], Suite]) -> None:
    made = suite(ORPHAN)
    for name, value in (("short", 3), ("long", 6)):
        made.run("--family=4", target(made, name, "tcp_fin_timeout", value), f"--output={name}")
    comparison = compared(made, "short", "long")
    assert [(one["case"], one["values"]) for one in comparison["verdicts"]] == [
        ("test_cases.py::test_orphan_ends_after_3_s[ipv4]", ["conforms", "violates"])
    ]
    assert [(one["name"], len(one["measured_s"])) for one in comparison["timings"]] == [("from our ACK to the end", 2)]
    assert comparison["settings"] == [{"name": "net.ipv4.tcp_fin_timeout", "values": ["3", "6"]}]
    assert [one["id"] for one in comparison["requirements"]] == ["RFC9293:3.3.2-fin-wait-2"]
    assert (comparison["choices"], comparison["cells"]) == ([], [])
