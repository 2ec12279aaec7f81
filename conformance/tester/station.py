"""The tester on the wire: it leases addresses, sends frames, and asks whether the target lives."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator

from conformance.link import LinkError
from conformance.target import TESTER_PORTS, HarnessFault, Target, TargetGone
from conformance.tester.addresses import Addresses
from conformance.tester.clock import SECOND, Clock
from conformance.tester.neighbours import Neighbours
from conformance.tester.sorting import Sorter
from conformance.tester.trace import Frame, Room, Trace
from conformance.wire import ACK, RST, SYN, Segment, Seq, icmp
from conformance.wire.frames import Template
from conformance.wire.ip import fragments

_PROBE_S = 1.0
_PROBE_TRIES = 3


def _from_anywhere(ports: range, start: int | None) -> Iterator[int]:
    """Yield the ports again and again, from that place on; from a random one where none is given."""
    start = random.randrange(len(ports)) if start is None else start
    return itertools.cycle((*ports[start:], *ports[:start]))


class Station:
    """The tester on one link to one target."""

    def __init__(self, target: Target, clock: Clock, *, seed: int = 0, room: Room | None = None) -> None:
        self.target, self.clock = target, clock
        self._link, self._random = target.link, random.Random(seed)
        self._addresses = Addresses(target)
        self._neighbours = Neighbours(target, self._addresses, clock, send=self.transmit_raw)
        self.room_for_frames = room or Room()
        """Room for the frames of all cases of the run."""
        self.sorter = Sorter(self._addresses, self._neighbours, clock)
        # A host that outlives the run may still have connections of the last one: begin elsewhere each time.
        self._target_ports = _from_anywhere(range(10_000, 32_000), 0 if target.virtual else None)
        self._own_ports = _from_anywhere(TESTER_PORTS, 0 if target.virtual else None)
        self.fault: str | None = None
        self._allowed = {address for family in (4, 6) if (address := target.address(family))}
        self._macs = dict.fromkeys(self._allowed, target.mac) | dict(target.groups.values())
        self._listened_ns = clock.now_ns()
        """When we last looked how well the link was heard."""
        self._link.open(self.sorter.on_frame, self._on_fault)

    def _on_fault(self, why: str) -> None:
        self.fault = why

    def lease(self, family: int, trace: Trace) -> str:
        """Return a tester address of that family; what comes for it is kept in `trace`. Raises HarnessFault when none is free."""
        return self._addresses.lease(family, trace)

    async def room(self, family: int) -> None:
        """Wait until there is an address of that family, or nobody has one that might be given back."""
        await self._addresses.room(family)

    def spoil(self, trace: Trace) -> None:
        """Keep the addresses of a case from being used again: the target keeps something about them, as a path MTU."""
        self._addresses.spoil(trace)

    def release(self, address: str) -> None:
        """Give the address back: we no longer answer for it, and how well it was heard is known."""
        self._note_heard()
        self._neighbours.forget(address)
        self.sorter.forget(address)
        self._addresses.release(address)

    def _note_heard(self) -> None:
        heard, since_ns = self._link.heard(), self._listened_ns
        self._listened_ns = now_ns = self.clock.now_ns()
        self.clock.jitter.note_heard(since_ns, now_ns, lost=heard.lost, foreign=heard.foreign)

    def port(self) -> int:
        """Return a port of the target that no other case uses (below the range from which its kernel picks)."""
        return next(self._target_ports)

    def own_port(self) -> int:
        """Return a port of ours that no connection has used for a long time: addresses are used again."""
        return next(self._own_ports)

    async def introduce(self, address: str) -> None:
        """Make our address known to the target, and see that it answers. Raises HarnessFault."""
        if self.target.routed:
            await self.prove_alive(address, Trace())
        elif not await self._neighbours.target_answers(address):
            asked = self.target.address(6 if ":" in address else 4)
            raise TargetGone(
                self.fault
                or f"target {asked} does not answer {'neighbour discovery' if ':' in asked else 'ARP'} from {address}"
            )

    async def check_reachable(self) -> None:
        """See that the target answers in every family that it has, before any case asks it. Raises TargetGone."""
        for family in (4, 6):
            if f"ipv{family}" in self.target.capabilities:
                address = self.lease(family, Trace())
                try:
                    await self.introduce(address)
                finally:
                    self.release(address)

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
        """Return the frame that carries `segment` to the target. Raises HarnessFault for any other destination."""
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
            if trace.fault:
                raise HarnessFault(trace.fault)
            trace.sends(hasty=self.target.virtual)
        try:
            return self._link.send(data)
        except LinkError as error:
            raise HarnessFault(str(error)) from None

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

            four_tuple = address, port, remote, closed
            self.sorter.receive(*four_tuple, on_answer)
            try:
                self.transmit(
                    Segment(address, remote, port, closed, iss, flags=SYN), trace, "probe: is the target alive?"
                )
                if await self.clock.wait(answered, self.clock.now_ns() + round(_PROBE_S * SECOND)):
                    return
            finally:
                self.sorter.receive_no_more(*four_tuple)
        if self.fault or self.target.routed or not await self._neighbours.target_answers(address):
            raise TargetGone(
                self.fault or f"target {remote} no longer answers: a SYN to its closed port {closed} got no reset"
            )
