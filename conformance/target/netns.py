"""The embedded lab: this machine's own kernel in network namespaces that vanish with the run."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from netaddr import IPRange

from conformance.link import Link, Wire
from conformance.link.af_packet import PacketLink
from conformance.link.impaired import ImpairedLink
from conformance.link.socket_filter import program
from conformance.target import AGENT, HarnessFault, Machine, SettingRefused, capabilities_of
from conformance.target.agent_client import AgentClient

_HERE = Path(__file__).parent
_READY_S = 20.0
ADDRESSES = {4: "10.77.0.1/16", 6: "fd77::1/64"}
# What the kernel remembers of a peer would carry over from one case to the next; and what a machine's owner has chosen
# for the control of congestion, as one that paces, would make the same kernel another target. Where a setting can't be
# written (each kernel has reno, a sandbox may forbid) the lab is as it is.
_SETTINGS = {"net.ipv4.tcp_no_metrics_save": "1", "net.ipv4.tcp_congestion_control": "reno"}
# Every host is in these; nobody else is on the lab's wire.
GROUPS: Mapping[int, tuple[str, str]] = {4: ("224.0.0.1", "01:00:5e:00:00:01"), 6: ("ff02::1", "33:33:00:00:00:01")}
CLOSED_PORT = 9
MTU = "link.mtu"
"""The setting that is the link's: how many octets an IP packet on it may have."""
POOLS = {4: IPRange("10.77.4.1", "10.77.7.254"), 6: IPRange("fd77::4:1", "fd77::4:3ff")}


class LabServer:
    """The process that makes labs on request (see lab_child.py). It dies with the thread that started it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = asyncio.Lock()
        self._number = 0

    async def make(self, **request: Any) -> tuple[dict[str, Any], list[socket.socket]]:
        """One lab: what it says of itself, and its sockets (agent's channel, our ends of the wire). Raises HarnessFault."""
        async with self._lock:
            if self._process is None:
                await self._start()
            self._number += 1
            request = {**request, "number": self._number, "agent": [str(_HERE / part) for part in AGENT]}
            try:
                self._channel.send(json.dumps(request).encode())
            except OSError:
                raise HarnessFault("the embedded lab's process ended") from None
            return await self._answer()

    async def _start(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", str(_HERE / "lab_child.py"), str(theirs.fileno()), str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: ASYNC220 - takes a millisecond, once
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # a signal to the run's group is the run's alone: it ends the lab when it is done
        )
        theirs.close()
        self._channel.setblocking(False)
        await self._answer()

    async def _answer(self) -> tuple[dict[str, Any], list[socket.socket]]:
        loop = asyncio.get_running_loop()
        readable: asyncio.Future[None] = loop.create_future()
        loop.add_reader(self._channel, lambda: None if readable.done() else readable.set_result(None))
        try:
            await asyncio.wait_for(readable, _READY_S)
            message, descriptors, _, _ = socket.recv_fds(self._channel, 1 << 16, 16)
        except (TimeoutError, OSError):
            raise HarnessFault(f"the embedded lab was not ready within {_READY_S:g} s") from None
        finally:
            loop.remove_reader(self._channel)
        if not message:
            raise HarnessFault("the embedded lab's process ended before the lab was ready")
        answer = json.loads(message)
        if "setting" in answer:
            raise SettingRefused(answer["setting"], answer["value"], answer["why"])
        if "error" in answer:
            raise HarnessFault(
                f"can't make the embedded lab: {answer['error']}; `tcp-conformance doctor` says what is missing"
            )
        return answer, [socket.socket(fileno=descriptor) for descriptor in descriptors]

    def close(self) -> None:
        """End the process; the labs' agents end with their channels."""
        if self._process is not None:
            self._channel.close()
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class NetnsTarget:
    """The kernel's own stack in a namespace, reached over a veth pair. See `Target`."""

    isolated = virtual = False
    concurrency: int | None = None
    machine: Machine | None = None

    def __init__(
        self,
        *,
        name: str = "linux",
        profile: str = "linux",
        sysctl: Mapping[str, str] | None = None,
        server: LabServer | None = None,
        capture: bool = False,
        wire: Wire | None = None,
        places: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.profile = name, profile
        self.version = platform.release()
        self.settings: Mapping[str, str] = sysctl or {}
        self.capabilities: frozenset[str] = frozenset()
        self.declared: Mapping[str, str] = {}
        self.groups = GROUPS
        self.routed, self.closed_port = False, CLOSED_PORT
        self.wire = wire or Wire()
        self._own_server = server is None
        self._server = server or LabServer()
        self._capture = capture
        self._places = places or {}
        self.pid = 0
        self.capture_socket: socket.socket | None = None

    def address(self, family: int) -> str:
        """The target's address of that family (4 or 6)."""
        return ADDRESSES[family].split("/")[0]

    def pool(self, family: int) -> IPRange:
        """The tester's addresses of that family."""
        return POOLS[family]

    def spoil(self, addresses: Iterable[str]) -> None:
        """Nothing to note: what it keeps ends with it."""

    async def open(self) -> None:
        """Make the namespaces, the veth pair and the agent. Raises HarnessFault, SettingRefused.

        `places` says where in a target file each setting stands.
        """
        try:
            sysctl = {name: value for name, value in self.settings.items() if name != MTU}
            answer, sockets = await self._server.make(
                addresses=[ADDRESSES[family] for family in self.families()],
                sysctl=sysctl,
                **({"mtu": int(self.settings[MTU])} if MTU in self.settings else {}),
                wishes={name: value for name, value in _SETTINGS.items() if name not in self.settings},
                sockets=2 if self._capture else 1,
            )
        except SettingRefused as refused:
            if refused.name not in self._places:
                raise
            raise HarnessFault(f"{self._places[refused.name]}: {refused}") from None
        channel, packet, *capture = sockets
        self.mac, self.pid = answer["target_mac"], answer["pid"]
        self.settings = {**answer["granted"], **self.settings}
        self.capture_socket = capture[0] if capture else None
        link: Link = PacketLink(
            packet, answer["tester_mac"], "tester0", only=program({family: [pool] for family, pool in POOLS.items()})
        )
        self.link = ImpairedLink(link, self.wire) if self.wire != Wire() else link
        self.app = AgentClient(channel, self.name)
        hello = await self.app.open()
        self.version = str(hello.get("version", self.version))
        self.capabilities = capabilities_of(hello) | {
            "settings",
            "instances",
            *(("prompt-wire",) if self.wire == Wire() else ()),
            "group-address",
            *(("link-mtu", "receive-offload") if self.wire == Wire() else ()),
        }

    @staticmethod
    def families() -> tuple[int, ...]:
        """The address families that this machine's kernel has."""
        return (4, 6) if Path("/proc/net/if_inet6").exists() else (4,)

    async def ready(self) -> None:
        """It vanishes with its agent."""

    async def alone(self, sysctl: Mapping[str, str]) -> NetnsTarget:
        """Return a namespace of its own, with these settings on top. Raises HarnessFault, SettingRefused."""
        target = NetnsTarget(
            name=self.name,
            profile=self.profile,
            sysctl={**self.settings, **sysctl},
            server=self._server,
            wire=self.wire,
        )
        await target.open()
        return target

    async def close(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "app"):
            await self.app.close()
        if hasattr(self, "link"):
            self.link.close()
        if self.capture_socket is not None:
            self.capture_socket.close()
        if self._own_server:
            self._server.close()
