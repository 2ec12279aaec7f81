"""Who the tester is on the wire: addresses of its own, answered for by us, and frames sorted to connections by raw bytes."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable

from conformance.link import LinkError
from conformance.target import TESTER_PORTS, HarnessFault, Target, TargetGone
from conformance.tester.clock import SECOND, Clock
from conformance.tester.trace import Frame, Trace
from conformance.wire import ACK, RST, SYN, Segment, Seq, dissect, icmp
from conformance.wire.frames import (
    Neighbour,
    Template,
    neighbour_answer,
    neighbour_message,
    neighbour_question,
)
from conformance.wire.ip import fragments
from conformance.wire.layout import ends, layout
from conformance.wire.segment import glance, packed

_TCP = 6
_PROBE_S = 1.0
_PROBE_TRIES = 3

Receiver = Callable[[bytes, Segment, Frame], None]
IcmpReceiver = Callable[[icmp.IcmpMessage, Frame], None]
Answerer = Callable[[int, int], bool]
"""Called with a segment's flags and end before anything else is done with it; returns whether it has more answers."""


class Station:
    """The tester's addresses on one link to one target."""

    def __init__(self, target: Target, clock: Clock, *, seed: int = 0) -> None:
        self.target, self.clock = target, clock
        self._link, self._random = target.link, random.Random(seed)
        self._receivers: dict[bytes, Receiver] = {}
        self._openers: dict[bytes, Receiver] = {}
        self._icmp_receivers: dict[bytes, IcmpReceiver] = {}
        self._answerers: dict[bytes, Answerer] = {}
        self._came: list[tuple[bytes, int]] = []
        self._traces: dict[bytes, Trace] = {}
        self._introduced: dict[str, asyncio.Future[None]] = {}
        self._fresh = {family: iter(target.pool(family)) for family in (4, 6)}
        self._free: dict[int, deque[str]] = {4: deque(), 6: deque()}
        self._spoiled: set[bytes] = set()
        self._released = asyncio.Event()
        self._target_ports = itertools.cycle(range(10_000, 32_000))
        self._own_ports = itertools.cycle(TESTER_PORTS)
        self.fault: str | None = None
        self._allowed = {address for family in (4, 6) if (address := target.address(family))}
        self._macs = dict.fromkeys(self._allowed, target.mac) | dict(target.groups.values())
        self._link.open(self._on_frame, self._on_fault)

    # Addresses

    def lease(self, family: int, trace: Trace) -> str:
        """A tester address of that family; what comes for it is kept in `trace`. Raises HarnessFault when all are taken.

        Addresses are used again, the one that rested longest first: a host's table of neighbours is small, and on Linux
        it is one for all network namespaces.
        """
        if not self._has_free(family):
            raise HarnessFault(
                f"all tester addresses of {self.target.pool(family)} are in use: lower --concurrency or give a larger pool"
            )
        address = self._free[family].popleft()
        self._traces[packed(address)] = trace
        return address

    def _has_free(self, family: int) -> bool:
        free = self._free[family]
        if not free:
            fresh = (str(one) for one in self._fresh[family] if str(one) not in self._allowed)
            free.extend(itertools.islice(fresh, 1))
        return bool(free)

    async def room(self, family: int) -> None:
        """Wait until there is an address of that family, or nobody has one that might be given back."""
        while not self._has_free(family) and any((len(one) > 4) is (family == 6) for one in self._traces):
            self._released.clear()
            await self._released.wait()

    def spoil(self, trace: Trace) -> None:
        """Keep the addresses of a case from being used again: the target keeps something about them, as a path MTU."""
        self._spoiled |= {address for address, owner in self._traces.items() if owner is trace}

    def release(self, address: str) -> None:
        """Give the address back: we no longer answer for it, and unless it was spoiled, it is used again."""
        key = packed(address)
        self._traces.pop(key, None)
        self._introduced.pop(address, None)
        tables: tuple[dict[bytes, Receiver] | dict[bytes, IcmpReceiver] | dict[bytes, Answerer], ...]
        tables = self._receivers, self._openers, self._icmp_receivers, self._answerers
        for table in tables:
            for one in [one for one in table if key in one]:
                del table[one]
        if key not in self._spoiled:
            self._free[6 if ":" in address else 4].append(address)
        self._released.set()

    def port(self) -> int:
        """A port of the target that no other case uses (below the range from which its kernel picks)."""
        return next(self._target_ports)

    def own_port(self) -> int:
        """A port of ours that no other connection used for long: addresses are used again."""
        return next(self._own_ports)

    async def introduce(self, address: str) -> None:
        """Make our address known to the target, and see that it answers. Raises HarnessFault."""
        if self.target.routed:
            await self.prove_alive(address, Trace())
        elif not await self._is_neighbour(address):
            asked = self.target.address(6 if ":" in address else 4)
            raise TargetGone(
                self.fault
                or f"target {asked} does not answer {'neighbour discovery' if ':' in asked else 'ARP'} from {address}"
            )

    async def _is_neighbour(self, address: str) -> bool:
        """Whether the target answers when `address` asks where it is."""
        known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._introduced[address] = known
        for _ in range(_PROBE_TRIES):
            self.transmit_raw(
                neighbour_question(self._link.mac, address, self.target.address(6 if ":" in address else 4))
            )
            if await self.clock.wait(known, self.clock.now_ns() + round(_PROBE_S * SECOND)):
                return True
        return False

    async def check_reachable(self) -> None:
        """See that the target answers in every family that it has, before any case asks it. Raises TargetGone."""
        for family in (4, 6):
            if f"ipv{family}" in self.target.capabilities:
                address = self.lease(family, Trace())
                try:
                    await self.introduce(address)
                finally:
                    self.release(address)

    # Frames out

    def _template(self, src: str, dst: str) -> Template:
        if dst not in self._macs:
            raise HarnessFault(
                f"nothing is sent to {dst}: the target's addresses are {', '.join(sorted(self._allowed))}"
            )
        return Template(self._link.mac, self._macs[dst], src, dst)

    def transmit(
        self, segment: Segment, trace: Trace, comment: str = "", *, fragment: int | None = None
    ) -> tuple[int, Frame]:
        """Send a segment now, in IP fragments of `fragment` octets where that is given.

        Returns the link's number for the stamp of the last frame, and that frame as kept (stamped with the call).
        """
        data = self.render(segment)
        pieces = [data] if fragment is None else fragments(data, fragment, self._random.getrandbits(32))
        for piece in pieces[:-1]:
            trace.frame(self.clock.now_ns(), piece, inbound=False, comment=f"{comment} (a fragment)".strip())
            self.transmit_raw(piece, trace)
        return self._send(pieces[-1], trace, comment)

    def transmit_icmp(self, src: str, dst: str, message: bytes, trace: Trace, comment: str) -> tuple[int, Frame]:
        """Send an ICMP message to the target now; returns what `transmit` does."""
        carried = self._template(src, dst).carry(icmp.PROTOCOL[6 if ":" in src else 4], message)
        return self._send(carried, trace, comment)

    def _send(self, data: bytes, trace: Trace, comment: str) -> tuple[int, Frame]:
        called = self.clock.now_ns()
        number = self.transmit_raw(data, trace)
        return number, trace.frame(called, data, inbound=False, comment=comment)

    def render(self, segment: Segment) -> bytes:
        """The frame that carries `segment` to the target. Raises HarnessFault for any other destination."""
        return self._template(segment.src, str(segment.ip.get("dst", segment.dst))).frame(segment)

    async def stamp(self, number: int, frame: Frame) -> int:
        """Give a sent frame the kernel's transmit stamp."""
        called_ns, frame.at_ns = frame.at_ns, self.clock.of_stamp(await self._link.sent_at(number))
        self.clock.jitter.note("sent", frame.at_ns, frame.at_ns - called_ns)
        return frame.at_ns

    def transmit_raw(self, data: bytes, trace: Trace | None = None) -> int:
        """Send a rendered frame now, of that case; returns the link's number for its stamp. Raises HarnessFault."""
        if self.fault:
            raise HarnessFault(self.fault)
        if trace is not None:
            trace.sends(hasty=self.target.virtual)
        try:
            return self._link.send(data)
        except LinkError as error:
            raise HarnessFault(str(error)) from None

    # Frames in

    def receive(self, local: str, port: int, remote: str, remote_port: int, receiver: Receiver) -> None:
        """From now on give what comes on that four-tuple to `receiver`."""
        key = _key(remote, local, remote_port, port)
        self._receivers[key] = receiver
        self._answerers.pop(key, None)

    def receive_icmp(self, local: str, port: int, remote: str, remote_port: int, receiver: IcmpReceiver) -> None:
        """Give ICMP errors about what we sent on that four-tuple to `receiver`."""
        self._icmp_receivers[_key(remote, local, remote_port, port)] = receiver

    def receive_open(self, local: str, port: int, receiver: Receiver) -> None:
        """Give what comes for that address and port, from any port of the target, to `receiver`."""
        self._openers[packed(local) + port.to_bytes(2, "big")] = receiver

    def prepare(self, local: str, port: int, remote: str, remote_port: int, answerer: Answerer) -> None:
        """Have `answerer` answer what comes on that four-tuple, until it has no more answers."""
        self._answerers[_key(remote, local, remote_port, port)] = answerer

    def _on_frame(self, data: bytes, at_ns: int) -> None:
        """Where answers are prepared, all else waits until every frame that came together with this one has had its answer."""
        at_ns = self.clock.of_stamp(at_ns)
        if not self._answerers and not self._came:
            self._sort(data, at_ns)
            return
        key = ends(data)
        answerer = self._answerers.get(key)
        seen = glance(data) if answerer is not None else None
        if answerer is not None and seen is not None and not answerer(*seen):
            del self._answerers[key]
        self._came.append((data, at_ns))
        if len(self._came) == 1:
            asyncio.get_running_loop().call_soon(self._sort_all)

    def _sort_all(self) -> None:
        came, self._came = self._came, []
        for data, at_ns in came:
            self._sort(data, at_ns)

    def _sort(self, data: bytes, at_ns: int) -> None:
        place = layout(data)
        local = data[place.dst] if place is not None else b""
        trace = self._traces.get(local)
        if place is None or place.protocol != _TCP:
            message = icmp.icmp_message(data) if trace is not None else None
            if message is not None and trace is not None:
                self._on_icmp(message, trace.frame(at_ns, data, inbound=True))
            else:
                self._on_neighbour(data, at_ns, trace)
            return
        if trace is None:
            return
        now_ns = self.clock.now_ns()
        self.clock.jitter.note("read", now_ns, now_ns - at_ns)
        frame = trace.frame(at_ns, data, inbound=True)
        segment = dissect(data)
        if segment is None:
            frame.comment = "not a whole TCP segment"
            return
        receiver = self._receivers.get(ends(data)) or self._openers.get(
            local + data[place.payload + 2 : place.payload + 4]
        )
        if receiver is None:
            frame.comment = "on no connection of this case"
        else:
            receiver(data, segment, frame)

    def _on_icmp(self, message: icmp.IcmpMessage, frame: Frame) -> None:
        receiver = self._icmp_receivers.get(icmp.quoted_ends(message) or b"")
        if receiver is None:
            frame.comment = "about no connection of this case"
        else:
            receiver(message, frame)

    def _on_neighbour(self, data: bytes, at_ns: int, trace: Trace | None) -> None:
        message = neighbour_message(data)
        if message is None:
            if trace is not None:
                trace.frame(at_ns, data, inbound=True)
            return
        claimed = message.sender if message.request else message.address
        if packed(claimed) in self._traces and message.sender_mac != self._link.mac:
            self._on_fault(f"address conflict: {claimed} is the tester's, and {message.sender_mac} says it has it too")
        elif message.request:
            self._answer_neighbour(message, data, at_ns)
        elif message.address in self._allowed:
            # The answer is for one of our addresses: whichever is waiting, the target lives.
            for address, known in self._introduced.items():
                if (":" in address) == (":" in message.address) and not known.done():
                    known.set_result(None)

    def _answer_neighbour(self, message: Neighbour, data: bytes, at_ns: int) -> None:
        trace = self._traces.get(packed(message.address))
        if trace is None:
            return
        answer = neighbour_answer(message, self._link.mac)
        trace.frame(at_ns, data, inbound=True, comment="the target asks where we are")
        trace.frame(self.clock.now_ns(), answer, inbound=False)
        self.transmit_raw(answer)

    def _on_fault(self, why: str) -> None:
        self.fault = why

    # Signs of life

    async def prove_alive(self, address: str, trace: Trace) -> None:
        """See that the target still answers a SYN to a closed port with a reset, or at least where it is. Raises TargetGone.

        A target that resets nothing is a living one that violates what it is asked about, not one that is gone.
        """
        remote, closed = self.target.address(6 if ":" in address else 4), self.target.closed_port
        for _ in range(_PROBE_TRIES):
            port, iss = self._random.randrange(50_000, 60_000), Seq(self._random.getrandbits(32))
            answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def on_answer(
                _: bytes, segment: Segment, frame: Frame, iss: Seq = iss, answered: asyncio.Future[None] = answered
            ) -> None:
                frame.comment = "the target is alive"
                if segment.flags & RST and segment.flags & ACK and segment.ack == iss + 1 and not answered.done():
                    answered.set_result(None)

            key = _key(remote, address, closed, port)
            self._receivers[key] = on_answer
            try:
                self.transmit(
                    Segment(address, remote, port, closed, iss, flags=SYN), trace, "probe: is the target alive?"
                )
                if await self.clock.wait(answered, self.clock.now_ns() + round(_PROBE_S * SECOND)):
                    return
            finally:
                self._receivers.pop(key, None)
        if self.fault or self.target.routed or not await self._is_neighbour(address):
            raise TargetGone(
                self.fault or f"target {remote} no longer answers: a SYN to its closed port {closed} got no reset"
            )


def _key(remote: str, local: str, remote_port: int, port: int) -> bytes:
    """Return addresses and ports in the order in which a frame from the target carries them, as `ends` reads them."""
    return packed(remote) + packed(local) + remote_port.to_bytes(2, "big") + port.to_bytes(2, "big")
