"""Targets by name or from a TOML file."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from netaddr import AddrFormatError, IPAddress

from conformance.link import Wire
from conformance.standard.profile import UnknownProfile, profile
from conformance.target import HarnessFault, Target
from conformance.target.build import Stack, stacks
from conformance.target.host import SERVICES, BlackBox, Segment, SshHost
from conformance.target.netns import NetnsTarget
from conformance.target.safety import addresses
from conformance.target.stack import StackTarget

_STACK: Mapping[str, type] = {
    "name": str,
    "kind": str,
    "profile": str,
    "command": list,
    "clock": str,
    "isolated": bool,
    "concurrency": int,
}
_SEGMENT: Mapping[str, type] = {
    "name": str,
    "kind": str,
    "profile": str,
    "interface": str,
    "ipv4": str,
    "ipv6": str,
    "tester": list,
    "own-address": bool,
    "gateway": list,
    "allow": list,
    "wire": dict,
}
_KEYS: Mapping[str, Mapping[str, type]] = {
    "netns": {"name": str, "kind": str, "profile": str, "sysctl": dict, "wire": dict},
    "stack": _STACK,
    "ssh": {**_SEGMENT, "host": str, "ssh": list, "python": str},
    "blackbox": {**_SEGMENT, "open": dict, "closed": int},
}
_WORDS = {str: "a text", dict: "a table", list: "a list of texts", bool: "true or false", int: "a whole number"}
_PROFILES = {"netns": "linux", "stack": "undocumented", "ssh": "linux", "blackbox": "undocumented"}
_CLOCKS = ("virtual", "real")
_FAMILIES = {4: "ipv4", 6: "ipv6"}


class TargetFileError(Exception):
    """A target that can't be understood: one line with what is wrong, where, and what would be right."""


_Wrong = Callable[[str, str], TargetFileError]
"""What is wrong at a key of the file."""


def load_target(text: str, worker: int = 0) -> Target:
    """The target of `--target`: `linux`, a stack's name, or the path of a TOML file. Raises TargetFileError.

    A file may list several of them as `[[target]]`, alike and one for each of pytest-xdist's workers: `worker` is which.

    The file's keys: `name`, `kind`, `profile`; of kind `netns` (a namespace of this machine's kernel) a table `sysctl` with
    settings that the namespace gets; of kind `stack` (a program, see docs/agent-protocol.md) `command` and, where they are
    not the default, `clock` (`real`: not the stack's own), `isolated` (false: one instance for all cases) and `concurrency`.

    A lab host says `interface`, its addresses `ipv4` and `ipv6`, the ranges of addresses for the `tester` on the same segment
    (or `own-address` for those of this machine), `gateway` where routers are between, and `allow` for addresses that would
    be refused. Of kind `ssh` it has a `host` (as ssh knows it), options for `ssh` and a `python` there; of kind `blackbox` ports
    that are `open` by service, and one that is `closed`.

    A table `wire` says which part of the frames is lost (`loss`) or comes out of order (`reorder`), and how long each takes
    (`delay`, seconds): a lab host's wire is like that, the embedded lab's is made so.
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
    several = table.pop("target", None)
    if several is None:
        return _target(path, content, table)
    if table or not isinstance(several, list):
        raise TargetFileError(f"{path}: a file of several targets has [[target]] and nothing else beside them")
    if worker >= len(several):
        raise TargetFileError(
            f"{path}: it lists {len(several)} targets, one for each worker: say -n {len(several)} at most"
        )
    lines = content.splitlines()
    begins = [number for number, line in enumerate(lines) if line.strip() == "[[target]]"]
    before = begins[worker] if worker < len(begins) else 0
    return _target(path, "\n" * before + "\n".join(lines[before:]), several[worker])


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
    if kind in ("ssh", "blackbox"):
        return _host(path, content, {**table, "name": name, "profile": profile_name, "kind": kind})
    if kind == "stack":
        return _stack(path, content, {**table, "name": name, "profile": profile_name})
    wrong = _wrong_in(path, content)
    settings = {str(name): str(value) for name, value in table.get("sysctl", {}).items()}
    for setting in settings:
        if not setting.startswith("net."):
            raise TargetFileError(
                f"{path}:{_line(content, setting)}: sysctl {setting!r} is not a setting of the network (net.*)"
            )
    return NetnsTarget(name=name, profile=profile_name, sysctl=settings, wire=_wire(table.get("wire", {}), wrong))


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
    program = command[0]
    if "/" in program:  # Path would lose the "./"
        program = str((path.parent / program).absolute())  # as the file has it, wherever pytest was started
    return StackTarget(
        name=table["name"],
        profile=table["profile"],
        command=[program, *command[1:]],
        clock=clock,
        isolated=table.get("isolated", True),
        concurrency=concurrency,
    )


def _wrong_in(path: Path, content: str) -> _Wrong:
    return lambda key, what: TargetFileError(f"{path}:{_line(content, key)}: {what}")


def _host(path: Path, content: str, table: Mapping[str, Any]) -> Target:
    wrong = _wrong_in(path, content)
    kind, name, profile_name = table["kind"], table["name"], table["profile"]
    for key in ("interface", "tester", "host" if kind == "ssh" else "closed"):
        if key not in table:
            raise wrong("kind", f"{key} is missing: a target of kind {kind} needs it")
    for key in ("tester", "gateway", "allow", "ssh"):
        if not all(type(one) is str for one in table.get(key, [])):
            raise wrong(key, f"{key} must be a list of texts")
    segment = _segment(table, wrong)
    if kind == "blackbox":
        return BlackBox(
            name=name,
            profile=profile_name,
            segment=segment,
            open_ports=_ports(table.get("open", {}), SERVICES, wrong),
            closed_port=_ports({"closed": table["closed"]}, ("closed",), wrong)["closed"],
        )
    python, options = table.get("python", "python3"), table.get("ssh", ())
    return SshHost(name=name, profile=profile_name, segment=segment, host=table["host"], options=options, python=python)


def _segment(table: Mapping[str, Any], wrong: _Wrong) -> Segment:
    """Where a lab host is. Raises TargetFileError."""
    targets = {family: table[key] for family, key in _FAMILIES.items() if key in table}
    if not targets:
        raise wrong("kind", "the target's address is missing: ipv4 or ipv6, or both")
    for family, address in targets.items():
        if _version(_FAMILIES[family], address, wrong) != family:
            raise wrong(_FAMILIES[family], f"{address} is an address of the other family")
    for address in table.get("allow", ()):
        _version("allow", address, wrong)
    try:
        tester = {int(found.version): found for found in map(addresses, table["tester"])}
    except HarnessFault as fault:
        raise wrong("tester", f"tester: {fault}") from None
    gateway = {_version("gateway", address, wrong): address for address in table.get("gateway", ())}
    for key, there in (("tester", tester), ("gateway", gateway)):
        for family, address in targets.items():
            if family not in there and (key == "tester" or gateway):
                raise wrong(key, f"{key} has nothing of the family of {address}")
    return Segment(
        interface=table["interface"],
        addresses=targets,
        tester={family: tester[family] for family in targets},
        gateway={family: gateway[family] for family in targets if gateway},
        own_address=table.get("own-address", False),
        allow=tuple(table.get("allow", ())),
        wire=_wire(table.get("wire", {}), wrong),
    )


def _wire(table: Mapping[str, Any], wrong: _Wrong) -> Wire:
    """What the wire does to frames. Raises TargetFileError."""
    known = ("loss", "reorder", "delay")
    for key, value in table.items():
        if key not in known:
            raise wrong(key, f"wire: unknown key {key!r}; known are {', '.join(known)}")
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise wrong(key, f"wire: {key} must be a number from 0 to below 1 (delay: seconds), it is {value!r}")
    found = {key: float(table.get(key, 0.0)) for key in known}
    return Wire(found["loss"], found["reorder"], found["delay"])


def _version(key: str, address: str, wrong: _Wrong) -> int:
    try:
        return int(IPAddress(address).version)
    except (AddrFormatError, ValueError):
        raise wrong(key, f"{key}: {address!r} is no address") from None


def _ports(ports: Mapping[str, Any], known: Collection[str], wrong: _Wrong) -> dict[str, int]:
    for service, port in ports.items():
        if service not in known:
            raise wrong(service, f"open: no service is called {service!r}; known are {', '.join(known)}")
        if type(port) is not int or not 0 < port < 1 << 16:
            raise wrong(service, f"{service}: a port is a number from 1 to 65535, not {port!r}")
    return dict(ports)


def _line(content: str, key: str) -> int:
    """The number of the line on which a key stands; 1 where it can't be found."""
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip().strip("[").lstrip('"').startswith(key):
            return number
    return 1
