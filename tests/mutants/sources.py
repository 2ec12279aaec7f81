"""Defects in the source of a real stack: a text that stands there once is another, and the stack is built with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from conformance.standard.catalogue import UnknownRequirement, requirement
from conformance.target.build import stacks
from tests.mutants.rules import MutantError

FILE = Path(__file__).with_name("sources.toml")
STACK, _CRATE = "smoltcp", "smoltcp"
# Compiled without optimisation: with a clock of its own, a stack that is slow is no other than one that is quick.
_QUICKLY = {
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
    "CARGO_PROFILE_RELEASE_INCREMENTAL": "true",
    "CARGO_PROFILE_RELEASE_DEBUG": "false",
}


@dataclass(frozen=True)
class SourceMutant:
    """One documented rule broken: in `file` of the crate, `old` is `new`. `cases` are arguments of pytest: what could notice."""

    id: str
    breaks: str
    what: str
    cases: str
    file: str
    old: str
    new: str
    survives: str = ""
    stack: str = STACK

    def applied(self, text: str) -> str:
        """The file with the defect. Raises MutantError where the text is not there exactly once."""
        if (count := text.count(self.old)) != 1:
            raise MutantError(f"{FILE.name}: {self.id}: its old text stands {count} times in {self.file}, not once")
        return text.replace(self.old, self.new)


@cache
def sources() -> dict[str, SourceMutant]:
    """All of sources.toml, by id. Raises MutantError."""
    mutants_by_id: dict[str, SourceMutant] = {}
    for row in tomllib.loads(FILE.read_text(encoding="utf-8"))["mutant"]:
        try:
            mutant = SourceMutant(**row)
            requirement(mutant.breaks)
        except (TypeError, UnknownRequirement) as error:
            raise MutantError(f"{FILE.name}: {row.get('id', 'a mutant without id')}: {error}") from None
        if mutant.id in mutants_by_id:
            raise MutantError(f"{FILE.name}: two mutants are called {mutant.id}")
        mutants_by_id[mutant.id] = mutant
    return mutants_by_id


def lacking() -> str:
    """Return what the stack's build lacks on this machine; nothing where it can be built."""
    stack = stacks()[STACK]
    return stack.lacks() if stack.missing else ""


class Sources:
    """The stack's program with each defect, and without any, in a build folder that is kept: a crate is compiled for seconds."""

    def __init__(self) -> None:
        stack = stacks()[STACK]
        self._stack, self._folder = stack, stack.folder.parent.parent / "mutants" / STACK
        self._lock = threading.Lock()
        self._pristine: Path | None = None

    def target(self, name: str) -> Path:
        """A target file whose program has the defect of this mutant; without a name, none. Raises MutantError."""
        with self._lock:
            crate = self._folder / "crate"
            if self._pristine is None:
                self._pristine = self._copied(crate)
            if name:
                mutant = sources()[name]
                path, original = crate / mutant.file, (self._pristine / mutant.file).read_text(encoding="utf-8")
                path.write_text(mutant.applied(original), encoding="utf-8")
                try:
                    return self._built(name)
                finally:
                    path.write_text(original, encoding="utf-8")
            return self._built("clean")

    def _copied(self, crate: Path) -> Path:
        """Copy agent and crate to where they are built, and give the crate's folder as the registry has it."""
        if lack := lacking():
            raise MutantError(f"{STACK} can't be built: {lack}")
        agent = self._folder / "agent"
        manifest = self._stack.source / "Cargo.toml"
        metadata = self._cargo("metadata", "--locked", "--format-version=1", f"--manifest-path={manifest}")
        packages: list[Mapping[str, Any]] = json.loads(metadata)["packages"]
        pristine = Path(next(one["manifest_path"] for one in packages if one["name"] == _CRATE)).parent
        for source, copy in ((pristine, crate), (self._stack.source, agent)):
            shutil.rmtree(copy, ignore_errors=True)
            # Younger than what was built before: cargo would take the last mutant's build for that of an old file.
            shutil.copytree(source, copy, copy_function=shutil.copy)
        with (agent / "Cargo.toml").open("a", encoding="utf-8") as file:
            file.write(f'\n[patch.crates-io]\n{_CRATE} = {{ path = "{crate}" }}\n')
        return pristine

    def _built(self, name: str) -> Path:
        """The target file of what the folder holds now."""
        out = self._folder / "target"
        agent = self._folder / "agent" / "Cargo.toml"
        self._cargo("build", "--release", "--offline", f"--manifest-path={agent}", f"--target-dir={out}")
        program = self._folder / name
        shutil.copy(out / "release" / "smoltcp-agent", program)
        path = program.with_suffix(".toml")
        path.write_text(
            f'name = "{STACK}"\nkind = "stack"\nprofile = "{self._stack.profile}"\ncommand = ["{program}"]\n',
            encoding="utf-8",
        )
        return path

    def _cargo(self, *words: str) -> str:
        done = subprocess.run(
            ["cargo", *words], env={**os.environ, **_QUICKLY}, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise MutantError(f"cargo {words[0]} failed: {done.stderr[-2000:]}")
        return done.stdout
