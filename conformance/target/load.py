"""Targets by name or from a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from conformance.standard.profile import UnknownProfile, profile
from conformance.target import Target
from conformance.target.netns import NetnsTarget

_KEYS: Mapping[str, type] = {"name": str, "kind": str, "profile": str, "sysctl": dict}
_KINDS = ("netns",)


class TargetFileError(Exception):
    """A target that can't be understood: one line with what is wrong, where, and what would be right."""


def load_target(text: str) -> Target:
    """The target of `--target`: `linux`, or the path of a TOML file. Raises TargetFileError.

    The file's keys: `name`, `kind` (netns: a namespace of this machine's kernel), `profile`, and a table `sysctl` with
    settings that the namespace gets.
    """
    if text == "linux":
        return NetnsTarget()
    if not text.endswith(".toml"):
        raise TargetFileError(f"no target is called {text!r}: there is linux, or give the path of a .toml file")
    path = Path(text)
    try:
        content = path.read_text(encoding="utf-8")
        table = tomllib.loads(content)
    except (OSError, UnicodeDecodeError) as error:
        raise TargetFileError(f"can't read target file {path}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise TargetFileError(f"{path}: not TOML: {error}") from None
    return _target(path, content, table)


def _target(path: Path, content: str, table: Mapping[str, Any]) -> Target:
    for key, value in table.items():
        where = f"{path}:{_line(content, key)}"
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_KEYS)}"
            raise TargetFileError(f"{where}: unknown key {key!r}; {hint}")
        if not isinstance(value, _KEYS[key]):
            kind = "a table" if _KEYS[key] is dict else "a text"
            raise TargetFileError(f"{where}: {key} must be {kind}, it is {value!r}")
    kind = table.get("kind", "netns")
    if kind not in _KINDS:
        raise TargetFileError(
            f"{path}:{_line(content, 'kind')}: kind {kind!r} is not known; there is {', '.join(_KINDS)}"
        )
    try:
        profile(table.get("profile", "linux"))
    except UnknownProfile as error:
        raise TargetFileError(f"{path}:{_line(content, 'profile')}: {error}") from None
    settings = {str(name): str(value) for name, value in table.get("sysctl", {}).items()}
    for name in settings:
        if not name.startswith("net."):
            raise TargetFileError(
                f"{path}:{_line(content, name)}: sysctl {name!r} is not a setting of the network (net.*)"
            )
    return NetnsTarget(name=table.get("name", path.stem), profile=table.get("profile", "linux"), sysctl=settings)


def _line(content: str, key: str) -> int:
    """The number of the line on which a key stands; 1 where it can't be found."""
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip().strip("[").lstrip('"').startswith(key):
            return number
    return 1
