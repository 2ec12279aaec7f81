"""The check of a lab host before the first case: ports, addresses and frames are as its lab file says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from conformance.case.case import Case
from conformance.judge import NotApplicable, Violation
from conformance.link.af_packet import OFFLOADS_OFF
from conformance.standard.profile import profile
from conformance.standard.states import State
from conformance.target import AppError, HarnessFault
from conformance.target.host import BlackBox, LabHost
from conformance.tester.clock import SECOND
from conformance.tester.station import Station
from conformance.tester.trace import Frame
from conformance.wire import RST, SYN, Segment, Seq, dissect
from conformance.wire.layout import layout
from conformance.wire.offload import COMPLETED, PART
from conformance.wire.segment import internet_checksum

_ANSWER_S, _TRIES = 1.0, 3
_TEXT = bytes(4000)
"""More than two segments: an interface that merges does so here."""


@dataclass(frozen=True)
class Look:
    """One thing that was looked at, and found well."""

    what: str
    text: str


async def check_lab(station: Station, host: LabHost) -> list[Look]:
    """Open each open port, have the closed one reset, and look at each frame. Raises HarnessFault, in one line."""
    looks, marks = [], set[str]()
    if not host.link.sees_offload and (merging := {"gro", "lro"} & set(host.offloads())):
        interface = host.segment.interface
        raise HarnessFault(
            host.segment.at(
                "interface",
                f"{interface} merges what arrives ({', '.join(sorted(merging))}), and this kernel does not say how: "
                f"{OFFLOADS_OFF.replace('IF', interface)}",
            )
        )
    for family, remote in host.segment.addresses.items():
        case = Case(
            station=station,
            target=host,
            profile=profile(host.profile),
            clock=station.clock,
            family=family,
            name="check",
        )
        try:
            await case.open()
            ports = await _Ports(case, host).check()
            if case.can("listen", "accept", "send"):
                await _send(case)
            _check_frames(host, case.trace.frames, remote)
        finally:
            await case.close()
        looks.append(Look(f"ports over IPv{family}", ports))
        marks |= {frame.mark for frame in case.trace.frames}
    return [*looks, Look("offloads", _offloads(host, marks))]


class _Ports:
    """The ports of a host over one family, each asked by a SYN."""

    def __init__(self, case: Case, host: LabHost) -> None:
        self._case, self._host, self._remote = case, host, case.remote

    async def check(self) -> str:
        """See that each port is what the lab file says. Raises HarnessFault."""
        host, closed = self._host, self._host.closed_port
        listener = await self._case.app.listen() if self._case.can("listen") else None
        open_ports = host.open_ports if isinstance(host, BlackBox) else {}
        if listener is not None:
            open_ports = {f"ipv{self._case.family}": listener.port}
        reset, *opened = await asyncio.gather(*map(self._answer, (closed, *open_ports.values())))
        if reset is None and not any(opened):
            raise self._wrong(
                "tester",
                f"{self._remote} answers no segment from {self._case.address}, at no port: take tester addresses of its "
                "own subnet, or name the router between as gateway; a firewall there looks the same",
            )
        for (key, port), answer in zip(open_ports.items(), opened, strict=True):
            if answer is None or answer.flags & RST:
                raise self._wrong(key, self._not_open(port, answer, of_agent=listener is not None))
        if reset is None:
            raise self._wrong(
                "closed", f"port {closed} of {self._remote} sends no reset: name one that no firewall hides"
            )
        if not reset.flags & RST:
            raise self._wrong("closed", f"port {closed} of {self._remote} is open: name one on which nothing listens")
        open_text = ", ".join(map(str, open_ports.values()))
        return f"{f'open: {open_text}; ' if open_text else ''}closed: {closed}"

    def _not_open(self, port: int, answer: Segment | None, *, of_agent: bool) -> str:
        does = "answers no SYN" if answer is None else "resets a SYN"
        if of_agent:
            return f"port {port} of {self._remote} {does}, and the agent listens there: is that address its host's?"
        mend = "name one that no firewall hides" if answer is None else "start the service, or take it out"
        return f"port {port} of {self._remote} {does}, nothing can be opened there: {mend}"

    def _wrong(self, key: str, what: str) -> HarnessFault:
        return HarnessFault(self._host.segment.at(key, f"{key}: {what}"))

    async def _answer(self, port: int) -> Segment | None:
        """Return the answer to a SYN, and take back what it opened; None without one."""
        case, station = self._case, self._case.station
        for _ in range(_TRIES):
            answers: list[Segment] = []
            answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            def take(
                _: bytes,
                segment: Segment,
                _frame: Frame,
                answers: list[Segment] = answers,
                answered: asyncio.Future[None] = answered,
            ) -> None:
                answers.append(segment)
                if not answered.done():
                    answered.set_result(None)

            own, iss = station.own_port(), Seq(case.random.getrandbits(32))
            four_tuple = case.address, own, self._remote, port
            syn = Segment(case.address, self._remote, own, port, iss, flags=SYN)
            station.sorter.receive(*four_tuple, take)
            try:
                station.transmit(syn, case.trace, "check of the lab: is the port as the file says?")
                if await case.clock.wait(answered, case.clock.now_ns() + round(_ANSWER_S * SECOND)):
                    break
            finally:
                station.sorter.receive_no_more(*four_tuple)
        else:
            return None
        if not answers[0].flags & RST:
            back = Segment(case.address, self._remote, own, port, iss + 1, flags=RST)
            station.transmit(back, case.trace, "check of the lab: taken back")
        return answers[0]


async def _send(case: Case) -> None:
    """Have the application send more than two segments; how they look is checked, and nothing else is."""
    try:
        conn = await case.drive_to(State.ESTABLISHED)
        await conn.app.send(_TEXT)
        await conn.burst(quiet=0.2)
    except (Violation, NotApplicable, AppError):
        return  # the cases judge that


def _check_frames(host: LabHost, frames: list[Frame], remote: str) -> None:
    """See who sent each frame, and that it is one that a wire carries. Raises HarnessFault."""
    for frame in frames:
        place, segment = layout(frame.data), dissect(frame.data)
        if not frame.inbound or place is None or segment is None:
            continue
        source, octets = frame.data[6:12].hex(":"), place.end - place.ip
        family = 6 if place.v6 else 4
        if not host.routed and source != host.mac:
            raise HarnessFault(
                host.segment.at(
                    f"ipv{family}",
                    f"{remote} answers from {source}, and says that it is at {host.mac}: do two hosts have that address?",
                )
            )
        header = b"" if place.v6 else frame.data[place.ip : place.payload]
        if not segment.checksum_ok or (header and internet_checksum(header)):
            raise HarnessFault(
                host.segment.at(
                    "interface", f"{remote} sends wrong checksums: on it, and on what is between, run `{OFFLOADS_OFF}`"
                )
            )
        if octets > host.mtu:
            raise HarnessFault(
                host.segment.at(
                    "interface",
                    f"{remote} sends packets of {octets} octets, {host.segment.interface} carries {host.mtu}: "
                    f"on both run `{OFFLOADS_OFF}`",
                )
            )


def _offloads(host: LabHost, marks: set[str]) -> str:
    """Return which ends offload, and what is done about it."""
    texts: Mapping[str, str] = {
        COMPLETED: "the target leaves checksums to its interface (completed here)",
        PART: "the target leaves the cutting of segments to its interface, or ours merges them (split here)",
    }
    seen = [text for mark, text in texts.items() if mark in marks]
    own = f"{host.segment.interface} has {', '.join(host.offloads()) or 'none'} on"
    if not seen:
        return f"{own}; frames are as the wire carries them"
    return f"{own}; {'; '.join(seen)}. Exact intervals need `{OFFLOADS_OFF}` at both ends"
