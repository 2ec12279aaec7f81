"""A script as a case: its description, and the function that runs it."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.bounded import read_octets
from conformance.case.case import Case
from conformance.case.info import CaseFunction, CaseInfo, InvalidCase
from conformance.packetdrill.fastopen import defines
from conformance.packetdrill.lexer import ScriptError
from conformance.packetdrill.notes import Notes, notes_of
from conformance.packetdrill.runner import CONGESTION_CONTROL, Runner, Ways
from conformance.packetdrill.script import LARGEST_FILE, read
from conformance.packetdrill.settings import settings_of
from conformance.packetdrill.syntax import Command, Number, Octets, Packet, Script
from conformance.record.case import Sentence
from conformance.standard import catalogue
from conformance.target.netns import MTU

_OF_IPV6_SOCKETS = {"CMSG_LEVEL_IP": "SOL_IPV6", "CMSG_TYPE_RECVERR": "IPV6_RECVERR"}
DEFINES: Mapping[int, Mapping[str, str]] = {
    4: {"CODE": "host_unreachable", "CMSG_LEVEL_IP": "SOL_IP", "CMSG_TYPE_RECVERR": "IP_RECVERR"},
    6: {"CODE": "addr_unreachable", **_OF_IPV6_SOCKETS},
}
"""The words that packetdrill's own runner defines for a family."""
_MSS, _HEADERS_V6 = 1460, 60
_DOCUMENT = "packetdrill"


@dataclass(frozen=True)
class ScriptInfo(CaseInfo):
    """A script's description. It is held against itself where it names no requirement."""

    def sentences(self) -> tuple[Sentence, ...]:
        """Return the sentences of the requirements that the script's notes name."""
        return super().sentences() if self.requirements else ()


@dataclass(frozen=True)
class ScriptCase:
    """A script that was read, for one family."""

    path: Path
    script: Script
    notes: Notes
    family: int
    ways: Ways

    def runs(self) -> bool:
        """Return True unless the script is for another family, by its flag or, as packetdrill's own runner has it, its name."""
        only = self.script.flag("ip_version")
        if only is None:
            only = next((f"ipv{end}" for end in "46" if self.path.stem.endswith(f"v{end}")), None)
        if only is not None and only.startswith("ipv4-mapped"):
            return self.ways.mapped
        return only is None or only == f"ipv{self.family}"

    def describe(self, case_id: str, *, file: str) -> ScriptInfo:
        """Return the description by which the script runs. Raises InvalidCase, OSError."""
        try:
            level = catalogue.level_of(self.notes.verifies)
        except catalogue.UnknownRequirement as error:
            raise InvalidCase(str(error)) from None
        settings = {} if self.ways.portable else settings_of(self.script.before, self.path.parent).values
        if not self.ways.portable and (mtu := self._mtu()):
            settings[MTU] = mtu
        settings.pop(CONGESTION_CONTROL, None)  # an option of each socket: a namespace may not set its default
        needs = ["app", *self.notes.needs]
        alone = not self.ways.portable and _changes_the_host(self.script, self.path.parent)
        needs += ["link-mtu"] if MTU in settings else []
        needs += [*(["settings"] if settings else ()), *(["instances"] if alone else ())]
        if self.ways.portable and not self.notes.verifies:
            level = "SHOULD"  # a script that was written for one stack is no rule for others: it differs
        return ScriptInfo(
            id=case_id,
            title=f"{self.path.stem}: {self.notes.title}" if self.notes.title else self.path.stem,
            description="",
            document=_DOCUMENT,
            section=self.path.parent.resolve().name,
            level=level,
            requirements=self.notes.verifies,
            claims=(),
            cells=(),
            needs=tuple(dict.fromkeys(needs)),
            lasts_s=_lasts_s(self.script),
            quick=True,
            alone=alone,
            sysctl=settings,
            family=self.family,
            file=file,
        )

    def _mtu(self) -> str | None:
        """Return the MTU of the script's link: packetdrill's own runner takes 1520 over IPv6, for the same MSS as over IPv4."""
        if (named := self.script.flag("mtu")) is not None:
            return named
        outbound = [
            event.action
            for event in self.script.events
            if isinstance(event.action, Packet) and not event.action.inbound
        ]
        expects = any(Number("mss", _MSS) in (packet.options or ()) for packet in outbound)
        return str(_MSS + _HEADERS_V6) if self.family == 6 and expects else None

    def function(self) -> CaseFunction:
        """Return what the engine calls with `tcp`."""

        def run(tcp: Case) -> Coroutine[Any, Any, None]:
            return Runner(self.script, self.notes, self.path, tcp, self.ways).run()

        run.__code__ = run.__code__.replace(
            co_filename=str(self.path)
        )  # where a failure points: there is no Python file
        return run


def read_case(path: Path, family: int, ways: Ways) -> ScriptCase:
    """Read a script for one family. Raises ScriptError, OSError."""
    words = {**DEFINES[family], **(_OF_IPV6_SOCKETS if ways.mapped else {}), **defines(family)}
    script = read(path, words)
    text = read_octets(path, LARGEST_FILE).decode()
    return ScriptCase(path, script, notes_of(text, str(path)), family, ways)


def _changes_the_host(script: Script, folder: Path) -> bool:
    """Return True for commands that are no settings to begin with, and for Fast Open, which a host drops for all if it fails."""
    if settings_of(script.before, folder).rest:
        return True
    actions = [event.action for event in script.events]
    options = [option for action in actions if isinstance(action, Packet) for option in action.options or ()]
    return any(isinstance(action, Command) for action in actions) or any(
        isinstance(option, Octets) and option.name != "md5" for option in options
    )


def _lasts_s(script: Script) -> float:
    """Return about how long a script takes, in seconds."""
    total = 0
    for event in script.events:
        total = event.when.low if event.when.kind in ("at", "between") else total + event.when.low
        if not isinstance(event.action, Command) and (ends := getattr(event.action, "ends", None)) is not None:
            total = max(total, ends)
    return total / 1e9


__all__ = ["ScriptCase", "ScriptError", "ScriptInfo", "Ways", "read_case"]
