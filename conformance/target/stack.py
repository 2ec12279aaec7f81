"""Stacks that run as a process of their own: agent and stack are one program, behind a wire that the run made."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from netaddr import IPRange

from conformance.link import Link, Wire
from conformance.link.wire import WireLink
from conformance.target import AppError, HarnessFault, Machine, SettingRefused, capabilities_of
from conformance.target.agent_client import AgentClient
from conformance.target.netns import ADDRESSES, CLOSED_PORT, GROUPS, POOLS, LabServer
from conformance.target.virtual import VirtualMachine

MAC, _TESTER_MAC = "02:00:00:00:00:77", "02:00:00:00:00:01"
_MTU = 1500
_LOOKS = 10  # at a clock that is not ours, when it starts
_STARTS = 2
"""The number of instances with the real clock that may start at the same time: each may be a kernel that boots."""


def environment(*, virtual: bool) -> dict[str, str]:
    """Return the environment that describes its wire to a stack, without the descriptor."""
    return {
        "TCP_CONFORMANCE_MAC": MAC,
        "TCP_CONFORMANCE_IPV4": ADDRESSES[4],
        "TCP_CONFORMANCE_IPV6": ADDRESSES[6],
        "TCP_CONFORMANCE_MTU": str(_MTU),
        "TCP_CONFORMANCE_CLOCK": "virtual" if virtual else "real",
    }


class StackTarget:
    """A stack's program, started for the run or, with a clock of its own, anew for each case. See `Target`.

    `command` is the program with its arguments; `ready` makes it where it has to be built first. `clock` is `virtual`
    where the program may have a clock of its own, `real` where it must not, even if it could.
    """

    def __init__(
        self,
        *,
        name: str,
        profile: str,
        command: Sequence[str],
        clock: str = "virtual",
        isolated: bool = True,
        concurrency: int | None = None,
        ready: Callable[[], None] | None = None,
        server: LabServer | None = None,
        epoch_ns: int | None = None,
    ) -> None:
        self.name, self.profile, self.version = name, profile, ""
        self.isolated, self.concurrency = isolated, concurrency
        self.settings: Mapping[str, str] = {}
        self.capabilities: frozenset[str] = frozenset()
        self.declared: Mapping[str, str] = {}
        self.groups = GROUPS
        self.routed, self.closed_port = False, CLOSED_PORT
        self.wire = Wire()
        self.mac = MAC
        self.machine: Machine | None = None
        self.link: Link
        self.app: AgentClient
        self._command, self._ready = tuple(command), ready
        self.virtual = clock == "virtual"
        self._epoch_ns = time.time_ns() if epoch_ns is None else epoch_ns
        self._starting = asyncio.Semaphore(_STARTS)
        self._own_server = server is None
        self._server = server or LabServer()

    def address(self, family: int) -> str:
        """Return the target's address of that family (4 or 6)."""
        return ADDRESSES[family].split("/")[0]

    def pool(self, family: int) -> IPRange:
        """Return the tester's addresses of that family."""
        return POOLS[family]

    def spoil(self, addresses: Iterable[str]) -> None:
        """Nothing to note: what it keeps ends with it."""

    async def open(self) -> None:
        """Start the program and read its hello. Raises HarnessFault."""
        if self._ready is not None:
            await asyncio.to_thread(self._ready)
        if shutil.which(self._command[0]) is None:
            raise HarnessFault(f"{self.name}: no program {self._command[0]}: it has to be there and executable")
        await self._start()
        if self.virtual:
            assert self.machine is not None
            machine = self.machine
            hello = await asyncio.to_thread(machine.run, self._hello)
            if "virtual-time" not in hello.get("capabilities", ()):
                self.virtual = False
                await self._start()
        if not self.virtual:
            hello = await self.app.open()
            await self.app.synchronize(_LOOKS)
        self.version = str(hello.get("version", ""))
        self.capabilities = capabilities_of(hello) | {"instances", "group-address", "prompt-wire"}
        if "sysctl" in self.capabilities and not self.virtual:
            self.capabilities |= {"settings"}

    async def ready(self) -> None:
        """Compare its clock with ours again. Raises HarnessFault."""
        if not self.virtual:
            await self.app.synchronize()

    async def alone(self, sysctl: Mapping[str, str]) -> StackTarget:
        """Return another instance, with these settings. Raises HarnessFault."""
        instance = StackTarget(
            name=self.name,
            profile=self.profile,
            command=self._command,
            clock="virtual" if self.virtual else "real",
            server=self._server,
            epoch_ns=self._epoch_ns,
        )
        instance.version, instance.capabilities, instance.settings = self.version, self.capabilities, dict(sysctl)
        if self.virtual:
            await instance._start()
            return instance
        async with self._starting:
            try:
                await instance._start()
                await instance.app.open()
                await instance.app.synchronize(_LOOKS)
                for name, value in sysctl.items():
                    await instance.app.call("sysctl_set", name=name, value=value)
            except AppError as error:
                await instance.close()
                raise SettingRefused(name, value, str(error)) from None
            except HarnessFault:
                await instance.close()
                raise
        return instance

    async def close(self) -> None:
        """Leave nothing behind."""
        if self.machine is not None:
            self.machine.stop()
        elif hasattr(self, "app"):
            await self.app.close()
            self.link.close()
        if self._own_server:
            self._server.close()

    async def _start(self) -> None:
        _, (channel, wire) = await self._server.make(
            command=self._command, environment=environment(virtual=self.virtual)
        )
        if self.virtual:
            machine = VirtualMachine(channel, wire, name=self.name, mac=_TESTER_MAC, epoch_ns=self._epoch_ns)
            self.machine, self.link, self.app = machine, machine.link, machine.app
        else:
            self.machine = None
            self.link, self.app = WireLink(wire, _TESTER_MAC), AgentClient(channel, self.name)

    async def _hello(self) -> dict[str, Any]:
        return self.app.hello
