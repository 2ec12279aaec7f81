"""Run a script's shell command in the embedded lab's own network, as `--pkt-shell` allows."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import signal
from collections.abc import Container
from pathlib import Path

from conformance.judge import NotApplicable, Violation
from conformance.target import Target
from conformance.target.netns import NetnsTarget

_LONGEST_S = 30.0
_INTERFACE = "target0"
"""The lab's interface, which packetdrill calls tun0."""


async def run(command: str, folder: Path, target: Target, ours: Container[str]) -> None:
    """Run a command where the target's network is, in the script's folder.

    Raises NotApplicable outside of the embedded lab and for addresses that are not `ours`.
    Raises Violation where the command fails or takes longer than 30 s.
    """
    if not isinstance(target, NetnsTarget):
        raise NotApplicable(f"a shell on the target, which only the embedded lab has: {command[:60]}")
    if foreign := next((word for word in command.split() if _is_address(word) and word not in ours), None):
        raise NotApplicable(f"a command that names {foreign}, which is no address of the lab's: {command[:60]}")
    text = re.sub(r"\btun0\b", _INTERFACE, command)
    users = ["-U", "--preserve-credentials"] if _has_own_users(target.pid) else []
    process = await asyncio.create_subprocess_exec(
        *("nsenter", "-t", str(target.pid), *users, "-n", "--", "sh", "-c", text),
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, complaint = await asyncio.wait_for(process.communicate(), _LONGEST_S)
    except TimeoutError:
        raise Violation(f"a command is not done after {_LONGEST_S:g} s: {command[:60]}") from None
    finally:
        with contextlib.suppress(ProcessLookupError):  # what it left behind in the background
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        first = complaint.decode(errors="replace").partition("\n")[0][:120]
        shown = "".join(letter if letter.isprintable() else " " for letter in first)
        raise Violation(f"a command ended with {process.returncode}: {command[:60]}{f' ({shown})' if shown else ''}")


def _is_address(word: str) -> bool:
    """Return True for an address or a network, but for those of the loopback."""
    try:
        return not ipaddress.ip_interface(word).ip.is_loopback
    except ValueError:
        return False


def _has_own_users(pid: int) -> bool:
    """Return True where the lab was made by an ordinary user."""
    return Path("/proc/self/ns/user").readlink() != Path(f"/proc/{pid}/ns/user").readlink()
