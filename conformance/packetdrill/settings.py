"""Read a script's shell commands as settings of the target. Nothing is ever run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from conformance.bounded import read_octets
from conformance.packetdrill.syntax import Command

_DEEPEST = 3  # files that name files
_LARGEST_FILE = 1 << 16
# A namespace vanishes with its settings and counters, and begins without metrics and without a queue.
_OF_NO_EFFECT = re.compile(r"sysctl_restore_|^nstat -n|^[#]|^set -e$|^true$")
_AS_IT_BEGINS = re.compile(r"ip tcp_metrics flush|tc qdisc add dev tun0 root pfifo$")
# Linux took it out in 4.15; packetdrill's own defaults still write it, and go on where that fails.
_GONE = frozenset({"net.ipv4.tcp_fack"})
_PRODUCT = re.compile(r"\$\(\(([0-9* ]+)\)\)")


class Settings(NamedTuple):
    """The settings that commands make, in order, and the lines that need a shell.

    `decides` is true where the last line does: it alone decides whether the whole command failed.
    """

    values: dict[str, str]
    rest: tuple[str, ...]
    decides: bool = False

    @property
    def for_shell(self) -> str:
        """Return what a shell has to run."""
        return "\n".join(self.rest if self.decides or not self.rest else (*self.rest, "true"))


def settings_of(command: Command | None, folder: Path, *, first: bool = True) -> Settings:
    """Return the settings of a command; a file `defaults.sh` that it names is read below `folder`. Raises OSError.

    `first` is for the command before all events: some have no effect on a network that is new.
    """
    values: dict[str, str] = {}
    rest: list[str] = []
    decides = False
    for line in _lines(command.text if command else "", folder, 0):
        if first and _AS_IT_BEGINS.search(line):
            continue
        assigned = _assigned(line)
        decides = assigned is None
        if assigned is None:
            rest.append(line)
        else:
            values |= assigned
    return Settings({name: value for name, value in values.items() if name not in _GONE}, tuple(rest), decides)


def _lines(text: str, folder: Path, depth: int) -> Iterator[str]:
    """Return what has an effect, one command a line, files that are sourced included."""
    for raw in re.split(r"\n|;|&&", re.sub(r"\\+\n", " ", text)):
        line = re.sub(r"(^|\s)#.*", "", raw).strip()
        file = folder / line.split()[-1] if line.endswith("defaults.sh") else None
        if file is not None and file.is_file() and depth < _DEEPEST:
            sourced = read_octets(file, _LARGEST_FILE).decode(errors="replace")
            yield from _lines(sourced, file.parent, depth + 1)
        elif line and not _OF_NO_EFFECT.search(line):
            yield line


def _assigned(line: str) -> dict[str, str] | None:
    """Return what a line assigns; None where it does anything else."""
    line = _PRODUCT.sub(lambda match: str(_product(match[1])), re.sub(r"\s*2?>\s*(&1|/dev/null)", "", line))
    try:
        first, *words = shlex.split(line)
    except ValueError:
        return None
    if first != "sysctl" and not first.endswith("set_sysctls.py"):
        return None
    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if equals:
            name = name.removeprefix("/proc/sys/").replace("/", ".")
            values[name] = str(int(value, 16)) if re.fullmatch(r"0x[0-9a-fA-F]{1,16}", value) else value
        elif not name.startswith("-"):
            return None
    return values


def _product(text: str) -> int:
    product = 1
    for factor in text.split("*"):
        product *= int(factor.strip() or "0")
    return product
