"""Stacks that come with the harness (stacks/NAME/stack.toml): what they need, and how their programs are built."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.target import HarnessFault

_STACKS = Path(__file__).parent / "stacks"
_KIT = _STACKS / "kit"
_STAMP = "built-from"


class StackMissing(HarnessFault):
    """A stack's program is not there and can't be built: one line with what to install, or what the build said."""


@dataclass(frozen=True)
class Need:
    """A requirement of a build: a `tool` on PATH or a `file`, and the Debian `package` or the `source` that brings it."""

    package: str
    tool: str = ""
    file: str = ""
    source: str = ""

    @property
    def there(self) -> bool:
        """Return True if the machine has it."""
        return bool(shutil.which(self.tool)) if self.tool else Path(self.file).exists()

    def __str__(self) -> str:
        return self.tool or self.file


@dataclass(frozen=True)
class Stack:
    """One stack. `build` are command lines, run in the build folder; {source}, {build} and {kit} stand for folders in
    them, {python} for the Python that runs this.
    """

    name: str
    title: str
    profile: str
    command: tuple[str, ...]
    build: tuple[tuple[str, ...], ...]
    needs: tuple[Need, ...]
    note: str = ""
    clock: str = "virtual"
    isolated: bool = True
    concurrency: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def source(self) -> Path:
        """Return the folder with its sources."""
        return _STACKS / self.name

    @functools.cached_property
    def folder(self) -> Path:
        """Return the folder that it is built in: build/stacks/NAME of a checkout, else the user's cache.

        A checkout that another user owns serves too, once it is built there.
        """
        root = _STACKS.parent.parent.parent
        shared = root / "build" / "stacks" / self.name
        if (root / "pyproject.toml").is_file() and (os.access(root, os.W_OK) or self._is_built_in(shared)):
            return shared
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(cache) / "tcp-conformance" / "stacks" / self.name

    @property
    def missing(self) -> tuple[Need, ...]:
        """Return what the build needs and the machine lacks."""
        return tuple(need for need in self.needs if not need.there)

    def is_built(self) -> bool:
        """Return True if its program was built from the sources as they are, and may be run."""
        return self._is_built_in(self.folder)

    def _is_built_in(self, folder: Path) -> bool:
        stamp = folder / _STAMP
        fresh = stamp.is_file() and stamp.read_text() == self._digest()
        return fresh and os.access(self._filled(self.command, folder)[0], os.X_OK)

    def program(self) -> tuple[str, ...]:
        """Return the program with its arguments."""
        return self._filled(self.command)

    def make(self) -> None:
        """Build its program where it is not built, or its sources have changed. Raises StackMissing."""
        if self.is_built():
            return
        if self.missing:
            raise StackMissing(f"{self.name}: can't be built: {self.lacks()}")
        self.folder.mkdir(parents=True, exist_ok=True)
        for line in self.build_lines():
            self._run(line)
        (self.folder / _STAMP).write_text(self._digest())

    def build_lines(self) -> tuple[tuple[str, ...], ...]:
        """Return the command lines that build it, with every place filled in."""
        return tuple(map(self._filled, self.build))

    def lacks(self) -> str:
        """Return what is missing and how to install it, in one line."""
        packages = sorted({need.package for need in self.missing if need.package})
        others = [f"{need}: {need.source}" for need in self.missing if not need.package]
        words = ", ".join(map(str, self.missing))
        mend = [f"sudo apt-get install {' '.join(packages)}"] if packages else []
        return f"no {words} ({'; '.join([*mend, *others])})"

    def _run(self, line: Sequence[str]) -> None:
        try:
            done = subprocess.run(
                line,
                cwd=self.folder,
                env={**os.environ, **{name: self._filled([text])[0] for name, text in self.environment.items()}},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        except OSError as error:
            raise StackMissing(f"{self.name}: can't run {line[0]}: {error.strerror}") from None
        if done.returncode:
            log, output = self.folder / "build.log", f"{done.stdout}{done.stderr}"
            log.write_text(output)
            lines = output.splitlines() or ["nothing was printed"]
            first = next((text for text in lines if "error" in text.lower()), lines[-1])
            raise StackMissing(f"{self.name}: {line[0]} failed: {first.strip()[:200]} (all of it: {log})")

    def _filled(self, line: Sequence[str], folder: Path | None = None) -> tuple[str, ...]:
        places = {
            "{source}": str(self.source),
            "{build}": str(folder or self.folder),
            "{kit}": str(_KIT),
            "{python}": sys.executable,
        }
        return tuple(functools.reduce(lambda word, pair: word.replace(*pair), places.items(), word) for word in line)

    def _digest(self) -> str:
        digest = hashlib.sha256()
        folders = [self.source]
        if any("{kit}" in word for line in self.build for word in line):
            folders.append(_KIT)
        for folder in folders:
            for path in sorted(file for file in folder.rglob("*") if file.is_file()):
                digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
        return digest.hexdigest()


@functools.cache
def stacks() -> Mapping[str, Stack]:
    """Return all of them, by name."""
    return {path.parent.name: read_stack(path) for path in sorted(_STACKS.glob("*/stack.toml"))}


def read_stack(path: Path) -> Stack:
    """Return the stack that a stack.toml describes; its folder names it."""
    table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    needs = tuple(Need(**{"package": "", **need}) for need in table.pop("needs", ()))
    build = tuple(map(tuple, table.pop("build", ())))
    return Stack(name=path.parent.name, needs=needs, build=build, command=tuple(table.pop("command")), **table)


def install(chosen: Sequence[Stack]) -> None:
    """As root on Debian, install the packages that these stacks lack; what can't be installed stays missing."""
    packages = sorted({need.package for stack in chosen for need in stack.missing if need.package})
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        quiet = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
        for line in ([*quiet, "update"], [*quiet, "install", "--yes", "--no-install-recommends", *packages]):
            subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
