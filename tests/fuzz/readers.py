"""Every place where octets from outside come in, as a function of octets; what it may raise is caught, anything else escapes.

What outside means: the wire, the agent, the record of another run, a capture, a lab file.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from netaddr import IPRange

from conformance.case.case import Case
from conformance.packetdrill import ScriptError
from conformance.packetdrill import read as read_script
from conformance.record import RecordError, read_results
from conformance.record.pcapng import read_pcapng
from conformance.report.baseline_files import load as load_baseline
from conformance.report.dissect import dissect as dissect_for_report
from conformance.report.merge import merge
from conformance.report.mutants import read as read_mutants
from conformance.report.pages import make_report
from conformance.standard import _data
from conformance.standard.profile import parse as parse_profile
from conformance.standard.profile import profile
from conformance.target import AgentFault, AppError, agent
from conformance.target.agent_client import AgentClient
from conformance.target.load import TargetFileError, load_target
from conformance.tester.clock import Clock
from conformance.tester.station import Station
from conformance.wire import ACK, SYN, Segment, Seq, dissect, options
from conformance.wire.frames import Template, neighbour_message, neighbour_question
from conformance.wire.segment import glance
from tests.fuzz import corpus
from tests.memory_link import Memory, target_on
from tests.unit.test_report import make_record

TARGET_MAC, OUR_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
ADDRESSES = {4: "10.77.0.1", 6: "fd77::1"}
POOLS = {4: IPRange("10.77.4.1", "10.77.4.3"), 6: IPRange("fd77::4:1", "fd77::4:3")}
OURS = {4: "10.77.4.1", 6: "fd77::4:1"}


def wire(data: bytes) -> None:
    """Dissectors alone: what they find goes through all that is asked of a segment."""
    glance(data)
    neighbour_message(data)
    dissect_for_report(data)
    segment = dissect(data)
    if segment is not None:
        str(segment)
        _ = segment.checksum_ok, segment.end, [str(one) for one in segment.option_list]
    options.parse(data[:40])


def station(data: bytes) -> None:
    """The tester's end: neighbour answerer, sorting to connections, and a case that looks at what came."""

    async def feed() -> None:
        link = Memory(OUR_MAC)
        target = target_on(link, TARGET_MAC, ADDRESSES, POOLS)
        clock = Clock()
        ours = Station(target, clock)
        cases = [
            Case(station=ours, target=target, profile=profile("linux"), clock=clock, family=family) for family in (4, 6)
        ]
        for case in cases:
            conn = case.connection(80, port=33000, iss=Seq(1000))
            await conn.send(SYN)
        for start in range(0, max(1, len(data)), 1600):
            link.deliver(data[start : start + 1600], 1)
        await asyncio.sleep(0)
        for case in cases:
            case.trace.listing()
        assert len(link.sent) <= 4, "one frame is answered at most once"

    asyncio.run(feed())


def agent_requests(data: bytes) -> None:
    """The agent's own end: lines that are no requests, or impossible ones; every answer is one JSON line."""
    ours, theirs = os.pipe()
    try:
        os.set_blocking(ours, False)
        os.set_blocking(theirs, False)
        with _no_sockets():
            served = agent.Agent(ours, theirs, data + b"\n")
            served.converse()
            served.expire()
            replies = bytes(served.outbox)
            with contextlib.suppress(BlockingIOError):
                replies += os.read(ours, 1 << 20)
            for line in replies.splitlines():
                if line.endswith(b"}"):
                    json.loads(line)
            served.bell.close()
            served.ringer.close()
            if served.netlink:
                served.netlink.close()
    finally:
        os.close(ours)
        os.close(theirs)


@contextlib.contextmanager
def _no_sockets() -> Iterator[None]:
    """A request that happens to be a good one opens nothing and sets nothing."""
    names: Mapping[str, Callable[..., Any]] = {"new_socket": _refuse, "sysctl_path": _refuse}
    before = {name: getattr(agent, name) for name in names}
    try:
        for name, instead in names.items():
            setattr(agent, name, instead)
        yield
    finally:
        for name, was in before.items():
            setattr(agent, name, was)


def _refuse(*_: Any, **__: Any) -> Any:
    raise PermissionError(1, "not while fuzzing")


def agent_replies(data: bytes) -> None:
    """Our end of the agent protocol: whatever comes is an answer, a failure of the call, or one line about the agent."""

    async def ask() -> None:
        ours, theirs = socket.socketpair()
        theirs.sendall(
            b'{"hello": {"name": "x", "version": "1", "protocol": 1, "capabilities": []}}\n' + data[: 1 << 16] + b"\n"
        )
        theirs.shutdown(socket.SHUT_WR)
        client = AgentClient(ours, "fuzz")
        try:
            await client.open()
            for _ in range(3):
                with contextlib.suppress(AppError):
                    await client.call("state")
        except AgentFault:
            pass
        finally:
            await client.close()
            theirs.close()

    asyncio.run(ask())


def agent_hello(data: bytes) -> None:
    """An agent whose first line is something else."""

    async def ask() -> None:
        ours, theirs = socket.socketpair()
        theirs.sendall(data[: 1 << 16] + b"\n")
        theirs.close()
        client = AgentClient(ours, "fuzz")
        with contextlib.suppress(AgentFault):
            await client.open()
        await client.close()

    asyncio.run(ask())


def record(data: bytes) -> None:
    """A results.jsonl that something else has written, and the report made of it."""
    with _file("results.jsonl", data) as path:
        results = read_results(path)
        assert all(isinstance(line, str) for line in results.problems)
        if results.records:
            with contextlib.suppress(RecordError):
                make_report(path.parent)


def capture(data: bytes) -> None:
    """A capture of any octets."""
    with _file("case.pcapng", data) as path:
        for frame in read_pcapng(path).frames:
            dissect_for_report(frame.data)


def lab_file(data: bytes) -> None:
    """A target's TOML file."""
    with _file("lab.toml", data) as path, contextlib.suppress(TargetFileError):
        load_target(str(path))


@contextlib.contextmanager
def _file(name: str, data: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield path


def baseline(data: bytes) -> None:
    """Read a baseline that something else has written."""
    with _file("base.json", data) as path, contextlib.suppress(RecordError):
        load_baseline(str(path))


def mutants(data: bytes) -> None:
    """Read a mutants.json that something else has written."""
    with _file("mutants.json", data) as path, contextlib.suppress(RecordError):
        read_mutants(path.parent)


def profile_file(data: bytes) -> None:
    """Read a target's profile."""
    with contextlib.suppress(_data.DataError):
        parse_profile(data.decode("utf-8", "replace"), "profiles/fuzz.toml", "fuzz")


def packetdrill_script(data: bytes) -> None:
    """Read a packetdrill script."""
    with _file("fuzz.pkt", data) as path, contextlib.suppress(ScriptError):
        read_script(path)


def merged(data: bytes) -> None:
    """Merge a run that something else has recorded."""
    with _file("results.jsonl", data) as path, contextlib.suppress(RecordError):
        merge([path.parent], path.parent / "all", make_report)


READERS: Mapping[str, Callable[[bytes], None]] = {
    reader.__name__: reader
    for reader in (
        wire,
        station,
        agent_requests,
        agent_replies,
        agent_hello,
        record,
        merged,
        capture,
        lab_file,
        baseline,
        mutants,
        profile_file,
        packetdrill_script,
    )
}


def _frames() -> list[bytes]:
    frames = []
    for family in (4, 6):
        template = Template(TARGET_MAC, OUR_MAC, ADDRESSES[family], OURS[family])
        mss = bytes.fromhex("020405b4010303070402080a0000000100000000")
        syn_ack = Segment(ADDRESSES[family], OURS[family], 80, 33000, Seq(77), Seq(1001), SYN | ACK, options=mss)
        frames.append(template.frame(syn_ack))
        frames.append(
            template.frame(Segment(ADDRESSES[family], OURS[family], 80, 33000, Seq(78), Seq(1001), ACK, payload=b"abc"))
        )
        frames.append(neighbour_question(TARGET_MAC, ADDRESSES[family], OURS[family]))
    # An ARP request about no protocol's addresses, that have the length of IPv4's: found by fuzzing.
    asks = frames[2]
    return [*frames, asks[:16] + b"\x06\x04" + asks[18:]]


_REQUESTS = (
    b'{"id": 1, "op": "hello"}',
    b'{"id": 2, "op": "listen", "family": 4, "address": "127.0.0.1", "port": 0, "options": [["tcp", "TCP_NODELAY", 1]]}',
    b'{"id": 3, "op": "receive", "socket": 1, "count": 2, "timeout": 0.5}\n{"id": 4, "op": "cancel", "request": 3}',
    b'{"id": 5, "op": "state", "family": 6, "address": "::1", "port": 80, "remote_address": "::1", "remote_port": 1}',
)
_REPLIES = (
    b'{"id": 1, "ok": {"state": "LISTEN"}, "at_ns": 5}\n{"id": 2, "error": {"code": "EPERM", "message": "no"}}',
    b'{"id": 1, "ok": null}\n{"id": null, "error": "x"}\n[]\n{"id": 3, "error": null}',
    b'{"id": 1, "ok": {"at_ns": "x"}, "at_ns": []}',
)
_RECORD = json.dumps(make_record()).encode() + b"\n"
_BY_HAND: Mapping[str, tuple[bytes, ...]] = {
    "wire": tuple(_frames()),
    "station": tuple(_frames()),
    "agent_requests": _REQUESTS,
    "agent_replies": _REPLIES,
    "agent_hello": (
        b'{"hello": {"protocol": 1, "name": "x", "version": "1", "capabilities": ["app"]}}',
        b'{"hello": []}',
        b"[1]",
    ),
    "merged": (_RECORD,),
    "record": (_RECORD, b'{"schema": 1, "id": "a::b", "verdict": "conforms"}', b"{}\n[]\n\xff\n"),
    "capture": (bytes.fromhex("0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000"),),
    "lab_file": (b'kind = "netns"\nprofile = "linux"\n[sysctl]\n"net.ipv4.tcp_sack" = 0\n', b"name = 3\n"),
    "baseline": (
        b'{"schema": 1, "target": {"name": "x", "version": "1"}, "deviations": [], "cases": {"a::b": {"verdict": "conforms"}}}',
        b'{"schema": 1, "target": {"name": "x", "version": "1"}, "cases": {"a::b": {"verdict": "conforms", "timings":'
        b' {"t": [1.5, 1, null]}, "choices": {"c": "d"}}}}',
    ),
    "mutants": (
        b'{"survivors": [{"id": "a", "reason": ""}], "mutants": [{"id": "a", "target": "linux", "breaks": "b",'
        b' "what": "c", "killed": false, "noticed_by": 0, "killers": []}]}',
    ),
    "packetdrill_script": (
        b"--mtu=1500\n`sysctl -q net.ipv4.tcp_sack=0`\n0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n+0~+.1 < [ce] S 0:0(0) win"
        b' 9 <mss 1460,TS val 1 ecr 0,FO 0a1b>\n...1.5 poll([{fd=3, events=A|B}], 1, -1) = -1 EAGAIN ("x")\n',
        b"+0 > .5 1:1(0) ack 1 <ECN e1b 1,sack 1:2 3:4>\n* < icmp unreachable frag_needed mtu 9 [1:2(1)]\n%{ x }%\n",
    ),
    "profile_file": (_data.text("profiles/linux.toml")[:3000].encode(), b"[timers.x]\nlow_s = 1\n"),
}
SEEDS = {name: (*_BY_HAND[name], *corpus.seeds(name)) for name in READERS}
"""Octets that are nearly right, by reader: what is changed a little gets further than what is random."""
