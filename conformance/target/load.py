"""Targets by name or from a TOML file."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from netaddr import INET_PTON, AddrFormatError, IPAddress, IPRange

from conformance.bounded import read_octets
from conformance.link import Wire
from conformance.standard.profile import UnknownProfile, profile
from conformance.target import SETTING, HarnessFault, Target
from conformance.target.agent import SWITCHES
from conformance.target.build import Stack, stacks
from conformance.target.host import SERVICES, BlackBox, Segment, SshHost
from conformance.target.netns import CLOSED_PORT, NetnsTarget
from conformance.target.safety import addresses, refusal
from conformance.target.stack import StackTarget
from conformance.target.testability.host import TRANSPORTS, TestabilityHost
from conformance.target.testability.messages import SERVICE

_COMMON: Mapping[str, type] = {"name": str, "kind": str, "profile": str, "without": list}
_STACK: Mapping[str, type] = {
    **_COMMON,
    "command": list,
    "clock": str,
    "isolated": bool,
    "concurrency": int,
}
_SEGMENT: Mapping[str, type] = {
    **_COMMON,
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
    "netns": {**_COMMON, "sysctl": dict, "wire": dict},
    "stack": _STACK,
    "ssh": {**_SEGMENT, "host": str, "ssh": list, "python": str, "closed": int},
    "blackbox": {**_SEGMENT, "open": dict, "closed": int},
    "testability": {
        **_SEGMENT,
        "control": str,
        "transport": str,
        "service": int,
        "features": list,
        "tells-end": bool,
        "closed": int,
    },
}
_WORDS = {str: "a text", dict: "a table", list: "a list of texts", bool: "true or false", int: "a whole number"}
_PROFILES = {
    "netns": "linux",
    "stack": "undocumented",
    "ssh": "linux",
    "blackbox": "undocumented",
    "testability": "undocumented",
}
_NEEDED = {"ssh": "host", "blackbox": "closed", "testability": "control"}
"""Kinds of lab hosts, each with the key that it can't do without."""
_LARGEST = 1 << 20  # octets: a target takes a few hundred
_CLOCKS = ("virtual", "real")
_FAMILIES = {4: "ipv4", 6: "ipv6"}


class TargetFileError(Exception):
    """A target that can't be understood: one line with what is wrong, where, and what would be right."""


class _File:
    """A target file, or the part of one that is a `[[target]]`: for messages that name the line of a key."""

    def __init__(self, path: Path, content: str) -> None:
        self.path, self._lines = path, content.splitlines()

    def place(self, key: str) -> str:
        """Return the file and the number of the line on which a key stands; the first line where it can't be found."""
        name = re.escape(key)
        begins = re.compile(rf"""\s*\[*\s*(?:[\w-]+\.)*["']?{name}["']?\s*(?:[=.\]]|$)""")
        inside = re.compile(rf"""[{{,]\s*["']?{name}["']?\s*=""")
        for pattern in (begins.match, inside.search):
            for number, line in enumerate(self._lines, 1):
                if pattern(line):
                    return f"{self.path}:{number}"
        return f"{self.path}:1"

    def wrong(self, key: str, what: str) -> TargetFileError:
        """Return the error for what is wrong at a key."""
        return TargetFileError(f"{self.place(key)}: {what}")


def load_target(text: str, worker: int = 0) -> Target:
    """Return the target of `--target`: `linux`, a stack's name, or the path of a TOML file. Raises TargetFileError.

    A file may list several of them as `[[target]]`, alike and one for each of pytest-xdist's workers: `worker` is which.
    docs/profiles.md says what `profile` and `without` (the capabilities that the target lacks) may be.
    docs/lab-hosts.md has the keys of a lab host; a file of kind `netns` has a table `sysctl` with the settings of the
    namespace, one of kind `stack` (a program, see docs/agent-protocol.md) `command` and, where they are not the default,
    `clock` (`real`: not the stack's own), `isolated` (false: one instance for all cases) and `concurrency`.
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
        content = read_octets(path, _LARGEST).decode("utf-8")
        table = tomllib.loads(content)
    except (OSError, UnicodeDecodeError) as error:
        raise TargetFileError(f"can't read target file {path}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise TargetFileError(f"{path}: not TOML: {error}") from None
    except RecursionError:
        raise TargetFileError(f"{path}: its values are nested too deep") from None
    several = table.pop("target", None)
    if several is None:
        return _target(_File(path, content), table)
    if table or type(several) is not list or not all(type(entry) is dict for entry in several):
        raise TargetFileError(f"{path}: a file of several targets has [[target]] and nothing else beside them")
    if worker >= len(several):
        raise TargetFileError(
            f"{path}: it lists {len(several)} targets, one for each worker: say -n {len(several)} at most"
        )
    lines = content.splitlines()
    begins = [number for number, line in enumerate(lines) if line.strip() == "[[target]]"]
    first = begins[worker] if worker < len(begins) else 0
    end = begins[worker + 1] if worker + 1 < len(begins) else len(lines)
    return _target(_File(path, "\n" * first + "\n".join(lines[first:end])), several[worker])


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


def _target(file: _File, table: Mapping[str, Any]) -> Target:
    kind = table.get("kind", "netns")
    if type(kind) is not str or kind not in _KEYS:
        raise file.wrong("kind", f"kind {kind!r} is not known; there is {', '.join(_KEYS)}")
    keys = _KEYS[kind]
    for key, value in table.items():
        if key not in keys:
            raise file.wrong(key, f"unknown key {key!r}; {_nearest(key, keys)}")
        if type(value) is not keys[key]:
            raise file.wrong(key, f"{key} must be {_WORDS[keys[key]]}, it is {value!r}")
        for line in value if type(value) is list else [value]:
            if type(line) is str and not line.isprintable():
                raise file.wrong(key, f"{key} must be one line without control characters, it is {line!r}")
    table = {"name": file.path.stem, "profile": _PROFILES[kind], **table}
    if table["profile"].endswith(".toml"):
        table["profile"] = str(file.path.parent / table["profile"])
    try:
        profile(table["profile"])
    except UnknownProfile as error:
        raise file.wrong("profile", str(error)) from None
    target = _of_kind(file, kind, table)
    target.declared = _declared(file, table)
    return target


def _declared(file: _File, table: Mapping[str, Any]) -> dict[str, str]:
    """Return, by capability, the setting of the file that says that the target lacks it. Raises TargetFileError."""
    absent = table.get("without", [])
    for capability in absent:
        if type(capability) is not str or not re.fullmatch(r"[\w.:-]+", capability, re.ASCII):
            raise file.wrong("without", f"without must be a list of capabilities, as timestamps; it has {capability!r}")
    settings = _settings(file, table.get("sysctl", {}))
    off = {name: f"net.ipv4.{setting}" for name, setting in SWITCHES.items()}
    return {
        **{name: f"{setting} = 0" for name, setting in off.items() if settings.get(setting, "").strip() == "0"},
        **{name: f"without {name}" for name in absent},
    }


def _of_kind(file: _File, kind: str, table: Mapping[str, Any]) -> Target:
    if kind in _NEEDED:
        return _host(file, kind, table)
    if kind == "stack":
        return _stack(file, table)
    settings = _settings(file, table.get("sysctl", {}))
    return NetnsTarget(
        name=table["name"],
        profile=table["profile"],
        sysctl=settings,
        wire=_wire(file, table.get("wire", {})),
        places={name: file.place(name) for name in settings},
    )


def _nearest(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"


def _settings(file: _File, table: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Return a table of settings by their whole names, as the kernel takes them. Raises TargetFileError."""
    settings: dict[str, str] = {}
    for key, value in table.items():
        name = f"{before}{key}"
        values = _settings(file, value, f"{name}.") if type(value) is dict else {name: value}
        for setting, given in values.items():
            if not SETTING.fullmatch(setting):
                raise file.wrong(key, f"sysctl {setting!r} is not a setting of the network, as net.ipv4.tcp_sack")
            if type(given) not in (int, str) or not str(given).isprintable():
                raise file.wrong(key, f"sysctl {setting} must be a whole number or a text of one line, it is {given!r}")
            if setting in settings:
                raise file.wrong(key, f"sysctl {setting} stands there twice")
            settings[setting] = str(given)
    return settings


def _stack(file: _File, table: Mapping[str, Any]) -> StackTarget:
    command, clock = table.get("command", []), table.get("clock", "virtual")
    if not command or not all(type(word) is str for word in command):
        raise file.wrong("command", "command must be a list of texts: the program and its arguments")
    if clock not in _CLOCKS:
        raise file.wrong("clock", f"clock must be virtual or real, it is {clock!r}")
    concurrency = table.get("concurrency")
    if concurrency is not None and concurrency < 1:
        raise file.wrong("concurrency", "concurrency must be above 0")
    program = command[0]
    if "/" in program:  # Path would lose the "./"
        program = str((file.path.parent / program).absolute())  # as the file has it, wherever pytest was started
    return StackTarget(
        name=table["name"],
        profile=table["profile"],
        command=[program, *command[1:]],
        clock=clock,
        isolated=table.get("isolated", True),
        concurrency=concurrency,
    )


def _host(file: _File, kind: str, table: Mapping[str, Any]) -> Target:
    for key in ("interface", "tester", _NEEDED[kind]):
        if key not in table:
            raise file.wrong("kind", f"{key} is missing: a target of kind {kind} needs it")
    for key in ("tester", "gateway", "allow", "ssh", "features"):
        if not all(type(text) is str for text in table.get(key, [])):
            raise file.wrong(key, f"{key} must be a list of texts")
    open_ports = _ports(file, table.get("open", {}), SERVICES)
    closed = _ports(file, {"closed": table.get("closed", CLOSED_PORT)}, ("closed",))["closed"]
    for service, port in open_ports.items():
        if port == closed:
            raise file.wrong("closed", f"port {port} is said to be both closed and open ({service})")
    known = {"name": table["name"], "profile": table["profile"], "segment": _segment(file, table)}
    known |= {"closed_port": closed}
    if kind == "blackbox":
        return BlackBox(**known, open_ports=open_ports)
    if kind == "testability":
        return _testability(file, table, known)
    return SshHost(**known, host=table["host"], options=table.get("ssh", ()), python=table.get("python", "python3"))


def _testability(file: _File, table: Mapping[str, Any], known: Mapping[str, Any]) -> TestabilityHost:
    """Return a host with an upper tester. Raises TargetFileError."""
    transport, service = table.get("transport", "udp"), table.get("service", SERVICE)
    if transport not in TRANSPORTS:
        raise file.wrong("transport", f"transport must be {' or '.join(TRANSPORTS)}, it is {transport!r}")
    if not 0 <= service < 1 << 16:
        raise file.wrong("service", f"service is a number of 16 bits, not {service}")
    host, _, port = table["control"].rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise file.wrong(
            "control", f"control must be an address and a port, as 10.0.0.7:10000, not {table['control']!r}"
        )
    _version(file, "control", host)
    if why := refusal(host, table.get("allow", ())):
        raise file.wrong("control", f"nothing is sent: {why}")
    return TestabilityHost(
        **known,
        control=(host, int(port)),
        transport=transport,
        service=service,
        features=table.get("features", ()),
        tells_end=table.get("tells-end", False),
    )


def _segment(file: _File, table: Mapping[str, Any]) -> Segment:
    """Return where a lab host is. Raises TargetFileError."""
    targets = {family: table[key] for family, key in _FAMILIES.items() if key in table}
    if not targets:
        raise file.wrong("kind", "the target's address is missing: ipv4 or ipv6, or both")
    for family, address in targets.items():
        if _version(file, _FAMILIES[family], address) != family:
            raise file.wrong(_FAMILIES[family], f"{address} is an address of the other family")
    for address in table.get("allow", ()):
        _version(file, "allow", address)
    tester = _tester(file, table["tester"])
    gateway: dict[int, str] = {}
    for address in table.get("gateway", ()):
        family = _version(file, "gateway", address)
        if family in gateway:
            raise file.wrong("gateway", f"gateway has two of IPv{family}, {gateway[family]} and {address}: name one")
        gateway[family] = address
    for key, families in (("tester", tester), ("gateway", gateway)):
        for family, address in targets.items():
            if family not in families and (key == "tester" or gateway):
                raise file.wrong(key, f"{key} has nothing of the family of {address}")
        for family in families:
            if family not in targets:
                raise file.wrong(
                    key, f"{key} has addresses of IPv{family}, of which the target has none: take them out"
                )
    return Segment(
        interface=table["interface"],
        addresses=targets,
        tester=tester,
        gateway=gateway,
        own_address=table.get("own-address", False),
        allow=tuple(table.get("allow", ())),
        wire=_wire(file, table.get("wire", {})),
        places={key: file.place(key) for key in ("kind", *table, *table.get("open", {}))},
    )


def _tester(file: _File, ranges: Collection[str]) -> dict[int, tuple[IPRange, ...]]:
    """Return the ranges of the tester's addresses by family, in their order. Raises TargetFileError."""
    pools: dict[int, tuple[IPRange, ...]] = {}
    for text in ranges:
        try:
            pool = addresses(text)
        except HarnessFault as fault:
            raise file.wrong("tester", f"tester: {fault}") from None
        before = pools.get(int(pool.version), ())
        if any(pool.first <= known.last and known.first <= pool.last for known in before):
            raise file.wrong("tester", f"tester: {text!r} has addresses that another range has, too")
        pools[int(pool.version)] = (*before, pool)
    return pools


def _wire(file: _File, table: Mapping[str, Any]) -> Wire:
    """Return what the wire does to frames. Raises TargetFileError."""
    known = ("loss", "reorder", "delay")
    for key, value in table.items():
        if key not in known:
            raise file.wrong(key, f"wire: unknown key {key!r}; known are {', '.join(known)}")
        if type(value) not in (int, float) or not 0 <= value < 1:
            raise file.wrong(key, f"wire: {key} must be a number from 0 to below 1 (delay: seconds), it is {value!r}")
    loss, reorder, delay = (float(table.get(key, 0.0)) for key in known)
    return Wire(loss, reorder, delay)


def _version(file: _File, key: str, address: str) -> int:
    try:
        return int(IPAddress(address, flags=INET_PTON).version)
    except (AddrFormatError, ValueError):
        raise file.wrong(key, f"{key}: {address!r} is no address") from None


def _ports(file: _File, ports: Mapping[str, Any], known: Collection[str]) -> dict[str, int]:
    for service, port in ports.items():
        if service not in known:
            raise file.wrong(service, f"open: no service is called {service!r}; known are {', '.join(known)}")
        if type(port) is not int or not 0 < port < 1 << 16:
            raise file.wrong(service, f"{service}: a port is a number from 1 to 65535, not {port!r}")
        if list(ports.values()).count(port) > 1:
            raise file.wrong(service, f"{service}: port {port} is named for two services: one port has one")
    return dict(ports)
