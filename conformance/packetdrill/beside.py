"""Run a script on a packetdrill that the user has built, as its own runner does: one script, one network namespace."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.packetdrill.case import DEFINES
from conformance.packetdrill.fastopen import defines
from conformance.target import HarnessFault

_IPV4 = "--local_ip=192.168.0.1 --gateway_ip=192.168.0.1 --netmask_ip=255.255.0.0 --remote_ip=192.0.2.1"
_IPV6 = "--mtu=1520 --local_ip=fd3d:0a0b:17d6::1 --gateway_ip=fd3d:0a0b:17d6:8888::1 --remote_ip=fd3d:fa7b:d17d::1"
_MAPPED_WORDS = {word: value for word, value in DEFINES[6].items() if word != "CODE"}
_VARIANTS: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "ipv4": ("ipv4", _IPV4, {**DEFINES[4], **defines(4)}),
    "ipv6": ("ipv6", _IPV6, {**DEFINES[6], **defines(6)}),
    "ipv4-mapped": ("ipv4-mapped-ipv6", _IPV4, {**DEFINES[4], **_MAPPED_WORDS, **defines(4)}),
}
VARIANTS = tuple(_VARIANTS)
"""The words in the brackets of a script's case."""
_LONGEST_S = 180
"""Packetdrill's own runner waits that long for a script."""


@dataclass(frozen=True)
class Outcome:
    """The verdict of packetdrill on a script, and the last line of what it wrote."""

    passed: bool
    message: str


def command(binary: Path, variant: str, script: Path) -> Sequence[str]:
    """Return the words that run a script in its own folder."""
    version, addresses, words = _VARIANTS[variant]
    defined = [word for name, value in words.items() for word in ("-D", f"{name}={value}")]
    begin = ("unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", str(binary), "--send_omit_free")
    return (*begin, f"--ip_version={version}", *addresses.split(), *defined, script.name)


def run(binary: Path, variant: str, script: Path, longest_s: float = _LONGEST_S) -> Outcome:
    """Run a script with packetdrill; as root, for it makes a network namespace. Raises HarnessFault if it can't run."""
    try:
        process = subprocess.Popen(
            command(binary, variant, script),
            cwd=script.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # with what the script's own commands started, it ends as a group
        )
    except OSError as error:
        raise HarnessFault(f"can't run unshare in {script.parent}: {error.strerror}") from None
    try:
        written, _ = process.communicate(timeout=longest_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Outcome(passed=False, message=f"still running after {longest_s:g} s")
    lines = written.decode(errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    if process.returncode and last.startswith("unshare:"):
        raise HarnessFault(f"can't make a network namespace, which needs root: {last}")
    return Outcome(process.returncode == 0, last)
