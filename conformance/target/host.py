"""Lab hosts: a target on a real interface, with an agent over ssh or with nothing but its open ports."""

from __future__ import annotations

import asyncio
import contextlib
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from netaddr import IPAddress, IPNetwork, IPRange

from conformance.link import LinkError, Wire
from conformance.link.af_packet import PacketLink, carries_packets, mtu, offloads, packet_socket
from conformance.link.layer3 import THEIR_MAC, Layer3Link
from conformance.link.socket_filter import program
from conformance.target import AGENT, TESTER_PORTS, AgentFault, App, HarnessFault, Machine, capabilities_of
from conformance.target.agent_client import AgentClient
from conformance.target.netns import CLOSED_PORT
from conformance.target.remembered import Remembered
from conformance.target.safety import network_of, refusal
from conformance.target.suppress import ResetSuppression
from conformance.wire.frames import neighbour_message, neighbour_probe, neighbour_question

SERVICES = ("discard", "echo", "http", "chargen")
_ANSWER_S, _TRIES, _CONFLICT_S = 1.0, 3, 1.0
_BACK_S, _AGAIN_S = 180.0, 2.0
_LOOKS = 10  # at its clock
# ssh's own standard input carries first the agent's parts, behind a line with the length of each, and then the requests.
_BOOT = (
    'import sys; __name__ = "agent"; s = sys.stdin.buffer; n = s.readline().split(); '
    '[exec(compile(s.read(int(one)), "agent.py", "exec"), globals()) for one in n]; main()'
)
_SSH_FAILED, _NOT_FOUND = 255, 127
# A host that loses its power closes nothing; what the user's own options say of this comes first.
_NOTICE_ITS_END = ("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3")
Step = Callable[[], Awaitable[str]]


@dataclass(frozen=True)
class Segment:
    """The place of a lab host, as its lab file says.

    `addresses` are the target's by family; `tester` ranges by family, on the target's segment and nobody else's, or with
    `own_address` this machine's own ones. `gateway` by family is the router to a target elsewhere. `allow` are addresses
    that are meant although they would be refused. `places` says where in the lab file a key stands, as `lab.toml:7`.
    """

    interface: str
    addresses: Mapping[int, str]
    tester: Mapping[int, tuple[IPRange, ...]]
    gateway: Mapping[int, str] = field(default_factory=dict)
    own_address: bool = False
    allow: tuple[str, ...] = ()
    wire: Wire = field(default_factory=Wire)
    places: Mapping[str, str] = field(default_factory=dict)

    def at(self, key: str, what: str) -> str:
        """Return the line for what is wrong at a key of the lab file."""
        place = self.places.get(key) or self.places.get("kind")
        return f"{place}: {what}" if place else what

    @property
    def pools(self) -> list[IPRange]:
        """The ranges of the tester's addresses, of both families."""
        return [pool for family in self.tester.values() for pool in family]

    def pool(self, family: int) -> Iterator[IPAddress]:
        """Return the tester's addresses of that family."""
        return chain.from_iterable(self.tester.get(family, ()))

    def refusals(self) -> Iterator[str]:
        """Yield one line for each thing by which something would be sent to where it must not go."""
        local = _local_networks()
        ends = [("tester", str(end)) for pool in self.pools for end in (pool[0], pool[-1])]
        hosts = [(f"ipv{family}", address) for family, address in self.addresses.items()]
        routers = [("gateway", address) for address in self.gateway.values()]
        for key, address in (*hosts, *routers, *ends):
            if why := refusal(address, self.allow, local.values()):
                yield self.at(key, f"nothing is sent: {why}")
        for key, address in hosts:
            if address in local:
                yield self.at(key, f"the target {address} is this machine itself: a tester can't test its own host")
        for pool in self.pools:
            for address in map(str, pool):
                if address in self.addresses.values():
                    yield self.at("tester", f"the tester address {address} is the target's own")
                elif (address in local) is not self.own_address:
                    yield self.at(
                        "tester",
                        f"the tester address {address} is this machine's own: choose free ones, or say own-address = true"
                        if address in local
                        else f"own-address is said, but {address} is no address of this machine",
                    )


def _local_networks() -> dict[str, IPNetwork]:
    """Return this machine's addresses, each with its network."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - slow to import, and a list of cases needs none

    networks = {}
    with IPRoute() as ip:
        for entry in ip.get_addr():
            address = str(entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS"))
            networks[address] = IPNetwork(f"{address}/{entry['prefixlen']}")
    return networks


# A device may have room for few connections, and its cases wait for a wire that is not ours.
_AT_ONCE = 64


class LabHost:
    """A lab host, without its application: the interface, the addresses, and the target's Ethernet address. See `Target`."""

    isolated = virtual = False
    machine: Machine | None = None

    def __init__(self, *, name: str, profile: str, segment: Segment, closed_port: int = CLOSED_PORT) -> None:
        self.name, self.profile, self.version = name, profile, ""
        self.settings: Mapping[str, str] = {}
        self.capabilities: frozenset[str] = frozenset()
        self.declared: Mapping[str, str] = {}
        self.groups: Mapping[int, tuple[str, str]] = {}
        # Connections that share an address also share what is kept of it: one case at a time.
        self.concurrency: int | None = 1 if segment.own_address else _AT_ONCE
        self.mac = ""
        self.routed = bool(segment.gateway)
        self.wire = segment.wire
        self.closed_port = closed_port
        self.link: PacketLink
        self._socket: socket.socket
        self.app: App
        self.segment = segment
        self._suppression: ResetSuppression | None = None
        self._remembered = Remembered(next(iter(segment.addresses.values()), name))

    def address(self, family: int) -> str:
        """The target's address of that family (4 or 6); nothing where it has none."""
        return self.segment.addresses.get(family, "")

    def pool(self, family: int) -> Iterable[IPAddress]:
        """The tester's addresses of that family, without those about which the host still keeps something."""
        spoiled = self._remembered.addresses()
        return (address for address in self.segment.pool(family) if str(address) not in spoiled)

    def spoil(self, addresses: Iterable[str]) -> None:
        """Take note, for this run and the next ones, that the host keeps something about these addresses."""
        self._remembered.add(addresses)

    @property
    def mtu(self) -> int:
        """Return how many octets a packet on the tester's interface may have."""
        return mtu(self._socket, self.segment.interface)

    def offloads(self) -> list[str]:
        """Return the names of the offloads that are on at the tester's interface."""
        return offloads(self._socket, self.segment.interface)

    async def open(self) -> None:
        """Find the target on its segment, and see that the tester's addresses are free. Raises HarnessFault."""
        for _, step in self.steps():
            await step()

    def steps(self) -> Sequence[tuple[str, Step]]:
        """Return the steps of opening it, in order: what each looks at, and the step, which returns what it saw."""
        steps = [("addresses", self._check), ("interface", self._attach), ("tester's addresses", self._see_free)]
        return [*steps, ("target", self._find)]

    @property
    def refusals(self) -> Sequence[str]:
        """All by which something would be sent to where it must not go, a line each."""
        return list(self.segment.refusals())

    async def _check(self) -> str:
        if refused := await asyncio.to_thread(lambda: next(self.segment.refusals(), None)):
            raise HarnessFault(refused)
        return f"nothing is sent but to {', '.join(self.segment.addresses.values())}"

    async def _attach(self) -> str:
        name = self.segment.interface
        try:
            self._socket = packet_socket(name)
        except LinkError as error:
            raise HarnessFault(self.segment.at("interface", str(error))) from None
        if carries_packets(self._socket):
            self.link, self.mac = Layer3Link(self._socket, name), THEIR_MAC
            self.routed = True  # nobody answers for an Ethernet address
            return f"{name} is there, carries IP packets alone, and raw sockets are allowed on it"
        mac = self._socket.getsockname()[4].hex(":")
        segment = self.segment
        senders = segment.addresses.values() if segment.own_address else ()
        self.link = PacketLink(self._socket, mac, name, offload=True, only=program(segment.tester, senders))
        return f"{name} is there, with {mac}, and raw sockets are allowed on it"

    async def _see_free(self) -> str:
        """See that nobody has the tester's addresses, or that the kernel resets nothing on those that are its own."""
        segment, mac = self.segment, self.link.mac
        pools = ", ".join(f"{pool[0]} to {pool[-1]}" for pool in segment.pools)
        if segment.own_address:
            own = [str(address) for pool in segment.pools for address in pool]
            self._suppression = await asyncio.to_thread(ResetSuppression, own, TESTER_PORTS)
            return f"{pools}: this machine's own, its resets are kept back"
        if isinstance(self.link, Layer3Link):
            return f"{pools}: nobody else is on {segment.interface}"

        def look() -> None:
            ours = {str(address) for pool in segment.pools for address in pool}
            probes = [neighbour_probe(mac, address) for address in ours]
            taken = _ask(self._socket, probes, ours, mac, _CONFLICT_S)
            if taken is not None:
                pool = next(pool for pool in segment.pools if IPAddress(taken[0]) in pool)
                used = f"tester address {taken[0]} is in use by {taken[1]}"
                raise HarnessFault(
                    segment.at("tester", f"{used}: give a range that nobody has instead of {network_of(pool)}")
                )

        await asyncio.to_thread(look)
        return f"nobody has {pools}"

    async def _find(self) -> str:
        if isinstance(self.link, Layer3Link):
            return f"{', '.join(self.segment.addresses.values())} behind {self.segment.interface}"
        return await asyncio.to_thread(self._ask_where_it_is)

    def _ask_where_it_is(self) -> str:
        segment, mac, sock = self.segment, self.link.mac, self._socket
        for family, target in segment.addresses.items():
            asked = segment.gateway.get(family, target)
            question = neighbour_question(mac, str(segment.tester[family][0][0]), asked)
            answers = (_ask(sock, [question], {asked}, "", _ANSWER_S) for _ in range(_TRIES))
            answer = next(filter(None, answers), None)
            if answer is None and _ask(sock, [neighbour_probe(mac, asked)], {asked}, "", _ANSWER_S) is not None:
                why = f"{asked} is there, but does not answer {segment.tester[family][0][0]}"
                mend = "take tester addresses of its own subnet, or name the router between as gateway"
                raise HarnessFault(segment.at("tester", f"tester: {why}: {mend}"))
            if answer is None:
                what = "ARP" if family == 4 else "neighbour discovery"
                key = "gateway" if family in segment.gateway else f"ipv{family}"
                raise HarnessFault(segment.at(key, f"{asked} does not answer {what} on {segment.interface}"))
            self.mac = answer[1]
        return f"{', '.join(segment.addresses.values())} at {self.mac}"

    @property
    def _of_wire(self) -> frozenset[str]:
        return frozenset({"prompt-wire"} if self.wire == Wire() else ())

    async def ready(self) -> None:
        """Nothing of ours is on it."""

    async def alone(self, sysctl: Mapping[str, str]) -> LabHost:
        """There is one lab host only: HarnessFault. Cases that need another say so (capability `instances`)."""
        raise HarnessFault(f"{self.name} is one host: it can't be had a second time")

    async def close(self) -> None:
        """Leave nothing behind."""
        if hasattr(self, "link"):
            self.link.close()
        if self._suppression is not None:
            await asyncio.to_thread(self._suppression.close)
            self._suppression = None


def _ask(
    sock: socket.socket, questions: Sequence[bytes], asked: Collection[str], own: str, wait_s: float
) -> tuple[str, str] | None:
    """Send neighbour questions; the first answer about one of the addresses that is not our `own`, as address and MAC."""
    for question in questions:
        sock.send(question)
    until = time.monotonic() + wait_s
    while (left := until - time.monotonic()) > 0 and select.select([sock], [], [], left)[0]:
        with contextlib.suppress(BlockingIOError):
            message = neighbour_message(sock.recv(2048))
            if message is not None and not message.request and message.address in asked and message.sender_mac != own:
                return message.address, message.sender_mac
    return None


class SshHost(LabHost):
    """A lab host on which ssh starts the agent; its source goes through the same pipe, and nothing stays there.

    `host` is what ssh is told; `options` go to ssh before it. Keys, users and jump hosts come from the user's own
    configuration of ssh.
    """

    def __init__(
        self,
        *,
        name: str,
        profile: str,
        segment: Segment,
        host: str,
        options: Sequence[str] = (),
        python: str = "python3",
        closed_port: int = CLOSED_PORT,
    ) -> None:
        super().__init__(name=name, profile=profile, segment=segment, closed_port=closed_port)
        self._host, self._options, self._python = host, tuple(options), python
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = asyncio.Lock()
        self._lost = ""
        """Why the host is given up."""

    def steps(self) -> Sequence[tuple[str, Step]]:
        """The agent comes first: where ssh does not get, there is nothing to look for on the wire."""
        check, *others = super().steps()
        return [check, ("ssh and agent", self._start), *others]

    async def _start(self) -> str:
        ssh = shutil.which("ssh")
        if ssh is None:
            raise HarnessFault("no ssh on this machine: sudo apt-get install openssh-client")
        parts = [Path(__file__).with_name(part).read_bytes() for part in AGENT]
        source = b" ".join(b"%d" % len(part) for part in parts) + b"\n" + b"".join(parts)
        ours, theirs = socket.socketpair()
        remote = f"{self._python} -I -S -c '{_BOOT}'"
        command = [ssh, "-T", "-o", "BatchMode=yes", *self._options, *_NOTICE_ITS_END, self._host, remote]
        self._process = subprocess.Popen(  # noqa: ASYNC220 - returns at once
            command,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
            start_new_session=True,  # a signal to the run's group is the run's alone
        )
        theirs.close()
        with contextlib.suppress(OSError):  # ssh has ended already; it says why
            await asyncio.to_thread(ours.sendall, source)
        agent = self.app = AgentClient(ours, self.name)
        try:
            hello = await agent.open()
        except AgentFault as fault:
            await agent.close()
            raise HarnessFault(await asyncio.to_thread(self._why, str(fault))) from None
        await agent.synchronize(_LOOKS)
        self.version = str(hello.get("version", ""))
        self.capabilities = capabilities_of(hello) | self._of_wire
        return f"an agent on {self._host} ({self.version or 'of no version'})"

    def _why(self, fault: str) -> str:
        """Return what ssh, or the host's shell, says of an agent that does not speak."""
        assert self._process is not None
        try:
            _, stderr = self._process.communicate(timeout=2)
        except subprocess.TimeoutExpired:
            return fault
        lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
        last = lines[-1] if lines else "it said nothing"
        if self._process.returncode == _NOT_FOUND:
            return (
                f"{self.name}: no {self._python} on {self._host} ({last}): install it, or name another by python = ..."
            )
        if self._process.returncode == _SSH_FAILED:
            return f"{self.name}: ssh {self._host}: {last}"
        return f"{self.name}: the agent on {self._host} ended: {last}"

    async def ready(self) -> None:
        """Start another agent where the last one ended, as when the host was started anew. Raises HarnessFault."""
        assert isinstance(self.app, AgentClient)
        async with self._starting:
            until = time.monotonic() + _BACK_S
            while self.app.gone:
                if self._lost:
                    raise HarnessFault(self._lost)
                await self._end()
                try:
                    await self._start()
                except HarnessFault as fault:
                    if time.monotonic() > until:
                        self._lost = f"{fault} ({_BACK_S:g} s after its agent ended)"
                    await asyncio.sleep(_AGAIN_S)
        await self.app.synchronize()

    async def close(self) -> None:
        """Close the pipe: the agent closes its sockets and ends, and ssh with it."""
        await self._end()
        await super().close()

    async def _end(self) -> None:
        if hasattr(self, "app"):
            assert isinstance(self.app, AgentClient)
            await self.app.close()
        if self._process is not None:
            try:
                await asyncio.to_thread(self._process.wait, 5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stderr is not None:
                self._process.stderr.close()


class BlackBox(LabHost):
    """A host of which only ports are known: `open_ports` by service, and one that is closed."""

    def __init__(
        self, *, name: str, profile: str, segment: Segment, open_ports: Mapping[str, int], closed_port: int
    ) -> None:
        super().__init__(name=name, profile=profile, segment=segment, closed_port=closed_port)
        self.open_ports = open_ports
        self.app = _OpenPorts(name, open_ports)
        families = {f"ipv{family}" for family in segment.addresses}
        services = {
            name for name, there in (("open-port", open_ports), ("discard-port", "discard" in open_ports)) if there
        }
        self.capabilities = frozenset(families | services) | self._of_wire


class _OpenPorts:
    """An application of which nothing is known but where it listens. See `App`."""

    def __init__(self, name: str, ports: Mapping[str, int]) -> None:
        # What discards says nothing of its own: nothing has to be told apart from what the stack says.
        ranked = sorted(ports, key=SERVICES.index)
        self._name, self._port = name, ports[ranked[0]] if ranked else 0

    async def call(self, op: str, *, wait_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """`listen` is the port that is open; there is nothing to close."""
        if op in ("hello", "close", "abort"):
            return {"at_ns": 0}
        if op == "listen" and self._port:
            return {"at_ns": 0, "socket": 0, "port": self._port, "address": ""}
        raise HarnessFault(f"{self._name} is a black box: its application can't be asked to {op}")
