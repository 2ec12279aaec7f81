"""User-mode Linux as a target: its kernel boots, the agent inside is reached, and nothing of it outlives its starter."""

from __future__ import annotations

import base64
import contextlib
import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.target.build import stacks
from conformance.wire import ACK, PSH, SYN, Segment, dissect
from conformance.wire.frames import neighbour_answer, neighbour_message
from tests.lab.stack_wire import OUR_MAC, OURS, PORT, STACK, Peer, Wire


@pytest.fixture
def wire() -> Iterator[Wire]:
    """The kernel, booted; skips where it is not installed."""
    stack = stacks()["uml"]
    if stack.missing:
        pytest.skip(f"needs {stack.lacks()}")
    if os.geteuid():
        pytest.skip("needs root, or the embedded lab's user namespace")
    wire = Wire(stack.program(), socket.SOCK_SEQPACKET, "real")
    yield wire
    wire.close()


def _next(wire: Wire, *, seconds: float = 5) -> Segment:
    """The next segment of TCP; questions of neighbours are answered."""
    end = time.monotonic() + seconds
    while select.select([wire.link], [], [], max(0, end - time.monotonic()))[0]:
        frame = wire.link.recv(65536)
        asked = neighbour_message(frame)
        if asked and asked.request:
            wire.send(neighbour_answer(asked, OUR_MAC))
        if segment := dissect(frame):
            return segment
    raise AssertionError("no segment came")


def _inside(namespace: str) -> set[int]:
    """The processes in a namespace of process ids."""
    pids = set()
    for link in Path("/proc").glob("[0-9]*/ns/pid"):
        with contextlib.suppress(OSError):
            if str(link.readlink()) == namespace:
                pids.add(int(link.parts[2]))
    return pids


@pytest.mark.parametrize("family", [4, 6])
def test_connection_carries_more_than_the_agents_line_takes_at_once(wire: Wire, family: int) -> None:
    assert wire.hello["name"] == "linux"
    assert wire.hello["version"].startswith("6.")
    assert {"listen", "state", "ipv4", "ipv6", "sysctl"} <= set(wire.hello["capabilities"])
    listener = wire.call("listen", family=family, address=STACK[family], port=PORT)["socket"]
    peer = Peer(wire, family)
    peer.send(SYN)
    answer = _next(wire)
    assert answer.flags == SYN | ACK
    peer.ack = answer.end
    peer.send(ACK)
    connection = wire.call("accept", socket=listener, timeout=5)["socket"]
    assert (wire.call("accept", socket=listener, timeout=0.01), peer.state()) == ("timeout", "ESTABLISHED")
    data = bytes(range(256)) * 400
    wire.ask(op="send", socket=connection, data=base64.b64encode(data).decode(), wait=True)
    got = b""
    while len(got) < len(data):
        segment = _next(wire)
        if segment.payload and segment.seq == peer.ack:
            got += segment.payload
            peer.ack = segment.end
            peer.send(ACK)
    assert wire.reply()["ok"] == {"sent": len(data)}
    assert got == data
    peer.send(ACK | PSH, b"and back")
    assert wire.call("receive", socket=connection, count=8)["data"] == base64.b64encode(b"and back").decode()
    assert OURS[family] == answer.dst


def test_settings_of_its_kernel_are_its_own(wire: Wire) -> None:
    name = "net.ipv4.tcp_syn_retries"
    outside = Path("/proc/sys", *name.split(".")).read_text()
    assert wire.call("sysctl_set", name=name, value="2") == {}
    assert wire.call("sysctl_get", name=name) == {"value": "2"}
    assert Path("/proc/sys", *name.split(".")).read_text() == outside


@pytest.mark.parametrize("way", ["its input ends", "it is killed"])
def test_nothing_is_left_behind(wire: Wire, way: str) -> None:
    starter = wire.process.pid
    kernel = Path(f"/proc/{starter}/task/{starter}/children").read_text().split()[0]
    namespace = str(Path(f"/proc/{kernel}/ns/pid").readlink())
    assert _inside(namespace)
    if way == "it is killed":
        wire.process.send_signal(signal.SIGKILL)
    wire.close()
    end = time.monotonic() + 10
    while _inside(namespace):
        assert time.monotonic() < end, "the kernel goes on"
        time.sleep(0.05)
