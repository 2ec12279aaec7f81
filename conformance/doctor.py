"""Examine this machine for the embedded lab, by trying each thing for real."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from conformance.case.case import Case
from conformance.case.connection import Connection
from conformance.judge import Violation
from conformance.run.engine import Engine
from conformance.run.executor import Executor
from conformance.run.lab_check import check_lab
from conformance.standard.profile import profile
from conformance.standard.states import State
from conformance.target import AppError, HarnessFault, Target
from conformance.target.host import LabHost
from conformance.target.load import load_target
from conformance.target.netns import NetnsTarget
from conformance.target.protocol import APPLICATION
from conformance.tester.clock import Clock
from conformance.tester.station import Station
from conformance.wire import ACK

_JITTER_S = 1.0
_MUCH_JITTER_US = 5_000
_FREE_MIB = 200
_MTU_FRAME = 1514
# Files by which kernels and distributions keep ordinary users from namespaces, and the value that allows them.
_USER_NAMESPACE_SWITCHES = {
    "kernel/unprivileged_userns_clone": "1",
    "kernel/apparmor_restrict_unprivileged_userns": "0",
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `state` is ok, warning or missing; `mend` is the one command or line that helps."""

    what: str
    state: str
    observed: str
    mend: str = ""


def examine() -> list[Finding]:
    """Look at everything; about two seconds."""
    findings = [Finding("Python", "ok", platform.python_version()), _privilege(), _disk()]
    engine = Engine()
    engine.start()
    try:
        findings += engine.submit(_lab()).result(60)
        time.sleep(_JITTER_S)
        findings.append(_jitter(engine.jitter.summary()))
    finally:
        engine.stop()
    return findings


def examine_target(text: str) -> list[Finding]:
    """Look at a target as `--target` names it, step by step up to the first that fails. Raises TargetFileError."""
    if text == "linux":
        return examine()
    target = load_target(text)
    if not isinstance(target, LabHost):
        return _examine_made(target)
    if refused := target.refusals:
        return [_forwarding(), *(Finding("addresses", "missing", one) for one in refused)]
    engine = Engine()
    engine.start()
    try:
        return [_forwarding(), *engine.submit(_host(target)).result(120)]
    finally:
        engine.stop()


def _examine_made(target: Target) -> list[Finding]:
    """Start a target that is made for the run, as its file says, and see that it answers."""
    engine = Engine()
    executor = Executor(target, Clock(jitter=engine.jitter), profile(target.profile))
    engine.start()
    try:
        try:
            engine.submit(executor.open(1)).result(120)
        except HarnessFault as fault:
            return [Finding(target.name, "missing", str(fault))]
        can = target.capabilities
        lacks = sorted(set(APPLICATION) - can)
        return [
            Finding(target.name, "ok", f"answers over {', '.join(name for name in ('ipv4', 'ipv6') if name in can)}"),
            Finding("version", "ok", target.version or "says none"),
            Finding("clock", "ok", "its own: cases take no time" if target.virtual else "this machine's"),
            Finding("calls", "warning", f"lacks {', '.join(lacks)}: cases that need it are not applicable")
            if lacks
            else Finding("calls", "ok", "all that an application makes"),
        ]
    finally:
        engine.submit(target.close()).result(30)
        engine.stop()
        executor.close()


async def _host(target: LabHost) -> list[Finding]:
    findings = []
    try:
        for what, step in target.steps():
            findings.append(Finding(what, "ok", await step()))
        what = "ports"
        looks = await check_lab(Station(target, Clock()), target)
        findings += [Finding(look.what, "ok", look.text) for look in looks]
    except HarnessFault as fault:
        findings.append(Finding(what, "missing", str(fault)))
    finally:
        await target.close()
    return findings


def _forwarding() -> Finding:
    """Return a warning if this machine forwards: then it sends ICMP, or the tester's frames, out again."""
    switches = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
    on = [name.replace("/", ".") for name in switches if _setting(name) not in ("", "0")]
    if on:
        return Finding(
            "forwarding",
            "warning",
            f"this machine forwards: {', '.join(on)}",
            f"sudo sysctl -w {' '.join(f'{one}=0' for one in on)}",
        )
    return Finding("forwarding", "ok", "this machine forwards nothing")


def _setting(name: str) -> str:
    path = Path("/proc/sys", name)
    return path.read_text().strip() if path.exists() else ""


def _privilege() -> Finding:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError:
        return Finding("raw sockets", "ok", "none on this host's interfaces; the lab makes a user namespace for them")
    return Finding("raw sockets", "ok", "allowed on this host's interfaces")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free >> 20
    if free < _FREE_MIB:
        return Finding("disk", "warning", f"{free} MiB free here", "free some space, or choose another --output")
    return Finding("disk", "ok", f"{free} MiB free here")


async def _lab() -> list[Finding]:
    target = NetnsTarget()
    try:
        await target.open()
    except HarnessFault as error:
        return [Finding("embedded lab", "missing", str(error), _mend_namespaces())]
    try:
        kernel = f"Linux {target.version}, families {', '.join(f'IPv{one}' for one in target.families())}"
        findings = [Finding("embedded lab", "ok", kernel)]
        absent = {"app", "state", "sysctl", "ipv4", "ipv6"} - target.capabilities
        findings.append(
            Finding("agent", "warning", f"lacks {', '.join(sorted(absent))}: cases that need it are not applicable")
            if absent
            else Finding("agent", "ok", "sockets, the kernel's own word, settings")
        )
        return findings + await _wire(target)
    finally:
        await target.close()


async def _wire(target: NetnsTarget) -> list[Finding]:
    """Frames and stamps on the lab's wire, by a connection that carries data."""
    clock = Clock()
    case = Case(station=Station(target, clock), target=target, profile=profile(target.profile), clock=clock, family=4)
    try:
        await case.open()
        conn = await case.drive_to(State.ESTABLISHED)
        late = []
        for _ in range(100):
            called = clock.now_ns()
            late.append((await conn.inject(ACK, text="stamp")).at_ns - called)
        stamps = Finding(
            "kernel stamps", "ok", f"transmit stamp {statistics.median(late) / 1000:.0f} us after the call"
        )
        if all(one == 0 for one in late):
            stamps = Finding("kernel stamps", "warning", "no transmit stamps: intervals are less exact")
        return [stamps, await _offloads(conn)]
    except (Violation, HarnessFault, AppError) as error:
        return [
            Finding("the lab's wire", "missing", str(error), "this machine's namespaces carry no TCP; please report it")
        ]
    finally:
        await case.close()


async def _offloads(conn: Connection) -> Finding:
    """With offloads on, the target would put frames above the MTU, or without a checksum, on the wire."""
    await conn.app.send(bytes(4000))
    for _ in range(3):
        received = await conn.expect(within=1.0)
        if len(received.frame.data) > _MTU_FRAME:
            return Finding(
                "offloads",
                "missing",
                f"a frame of {len(received.frame.data)} octets",
                "segmentation offload can't be switched off here",
            )
    return Finding("offloads", "ok", "off: checksums are right, no frame is above the MTU")


def _jitter(jitter: dict[str, float]) -> Finding:
    late = jitter.get("loop_p99_us", 0.0)
    lateness = f"the engine's loop wakes {jitter.get('loop_p50_us', 0):.0f} us late (median), {late:.0f} us (p99)"
    if late > _MUCH_JITTER_US:
        return Finding("jitter", "warning", lateness, "the machine is busy: timings are checked less sharply")
    return Finding("jitter", "ok", lateness)


def _mend_namespaces() -> str:
    if os.geteuid() == 0:
        return "run it where network namespaces are allowed (in a container: with CAP_SYS_ADMIN and CAP_NET_ADMIN)"
    for name, value in _USER_NAMESPACE_SWITCHES.items():
        path = Path("/proc/sys", name)
        if path.exists() and path.read_text().strip() != value:
            return f"sudo sysctl -w {name.replace('/', '.')}={value}    (or run as root)"
    return "run as root: this kernel gives ordinary users no user namespaces"
