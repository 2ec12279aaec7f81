"""Targets by name or from a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conformance.standard.profile import UnknownProfile, profile
from conformance.target import Target
from conformance.target.build import Stack, stacks
from conformance.target.netns import NetnsTarget
from conformance.target.stack import StackTarget

_KEYS: Mapping[str, Mapping[str, type]] = {
    "netns": {"name": str, "kind": str, "profile": str, "sysctl": dict},
    "stack": {
        "name": str,
        "kind": str,
        "profile": str,
        "command": list,
        "clock": str,
        "isolated": bool,
        "concurrency": int,
    },
}
_WORDS = {str: "a text", dict: "a table", list: "a list of texts", bool: "true or false", int: "a whole number"}
_PROFILES = {"netns": "linux", "stack": "undocumented"}
_CLOCKS = ("virtual", "real")


class TargetFileError(Exception):
    """A target that can't be understood: one line with what is wrong, where, and what would be right."""


def load_target(text: str) -> Target:
    """The target of `--target`: `linux`, a stack's name, or the path of a TOML file. Raises TargetFileError.

    The file's keys: `name`, `kind`, `profile`; of kind `netns` (a namespace of this machine's kernel) a table `sysctl` with
    settings that the namespace gets; of kind `stack` (a program, see docs/agent-protocol.md) `command` and, where they are
    not the default, `clock` (`real`: not the stack's own), `isolated` (false: one instance for all cases) and `concurrency`.
    """
    if text == "linux":
        return NetnsTarget()
    if text in stacks():
        return _of(stacks()[text])
    if not text.endswith(".toml"):
        names = ", ".join(("linux", *stacks()))
        raise TargetFileError(f"no target is called {text!r}: there is {names}, or give the path of a .toml file")
    path = Path(text)
    try:
        content = path.read_text(encoding="utf-8")
        table = tomllib.loads(content)
    except (OSError, UnicodeDecodeError) as error:
        raise TargetFileError(f"can't read target file {path}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise TargetFileError(f"{path}: not TOML: {error}") from None
    return _target(path, content, table)


def _of(stack: Stack) -> StackTarget:
    return StackTarget(
        name=stack.name,
        profile=stack.profile,
        command=stack.program(),
        clock=stack.clock,
        isolated=stack.isolated,
        concurrency=stack.concurrency,
        ready=stack.make,
    )


def _target(path: Path, content: str, table: Mapping[str, Any]) -> Target:
    kind = table.get("kind", "netns")
    if kind not in _KEYS:
        raise TargetFileError(
            f"{path}:{_line(content, 'kind')}: kind {kind!r} is not known; there is {', '.join(_KEYS)}"
        )
    keys = _KEYS[kind]
    for key, value in table.items():
        where = f"{path}:{_line(content, key)}"
        if key not in keys:
            near = difflib.get_close_matches(key, keys, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(keys)}"
            raise TargetFileError(f"{where}: unknown key {key!r}; {hint}")
        if type(value) is not keys[key]:
            raise TargetFileError(f"{where}: {key} must be {_WORDS[keys[key]]}, it is {value!r}")
    name, profile_name = table.get("name", path.stem), table.get("profile", _PROFILES[kind])
    try:
        profile(profile_name)
    except UnknownProfile as error:
        raise TargetFileError(f"{path}:{_line(content, 'profile')}: {error}") from None
    if kind == "stack":
        return _stack(path, content, {**table, "name": name, "profile": profile_name})
    settings = {str(name): str(value) for name, value in table.get("sysctl", {}).items()}
    for setting in settings:
        if not setting.startswith("net."):
            raise TargetFileError(
                f"{path}:{_line(content, setting)}: sysctl {setting!r} is not a setting of the network (net.*)"
            )
    return NetnsTarget(name=name, profile=profile_name, sysctl=settings)


def _stack(path: Path, content: str, table: Mapping[str, Any]) -> StackTarget:
    command, clock = table.get("command", []), table.get("clock", "virtual")
    if not command or not all(type(word) is str for word in command):
        raise TargetFileError(
            f"{path}:{_line(content, 'command')}: command must be a list of texts: the program and its arguments"
        )
    if clock not in _CLOCKS:
        raise TargetFileError(f"{path}:{_line(content, 'clock')}: clock must be virtual or real, it is {clock!r}")
    concurrency = table.get("concurrency")
    if concurrency is not None and concurrency < 1:
        raise TargetFileError(f"{path}:{_line(content, 'concurrency')}: concurrency must be above 0")
    program = Path(command[0])
    if len(program.parts) > 1 and not program.is_absolute():
        program = (path.parent / program).resolve()  # as the file has it, wherever pytest was started
    return StackTarget(
        name=table["name"],
        profile=table["profile"],
        command=[str(program), *command[1:]],
        clock=clock,
        isolated=table.get("isolated", True),
        concurrency=concurrency,
    )


def _line(content: str, key: str) -> int:
    """The number of the line on which a key stands; 1 where it can't be found."""
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip().strip("[").lstrip('"').startswith(key):
            return number
    return 1
