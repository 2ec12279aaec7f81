"""The frames of a case as its page shows them: dissected, with numbers relative to both ends' first one."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from conformance.record.case import CaseRecord
from conformance.record.pcapng import CapturedFrame
from conformance.report.dissect import dissect
from conformance.report.packet import Packet, Tcp
from conformance.wire.names import FLAG_BITS, SACK, option_name, relative, sack_text

_SYN, _RST, _ACK, _URG = (FLAG_BITS[name] for name in ("SYN", "RST", "ACK", "URG"))


class Seen(NamedTuple):
    """One frame: `seq` and `ack` are relative (`+1`) where the first number is known, else absolute."""

    number: int
    at_ns: int
    inbound: bool
    packet: Packet
    comment: str
    ports: str = ""
    seq: str = ""
    ack: str = ""
    options: str = ""

    @property
    def label(self) -> str:
        """The text on the ladder's arrow: `FIN+ACK seq=+1 ack=+1 len=0`."""
        tcp = self.packet.tcp
        if tcp is None:
            return f"{self.packet.kind} {self.packet.text}".strip()
        words = [self.ports] if self.ports else []
        words += (tcp.flag_names, f"seq={self.seq}")
        if self.ack:
            words.append(f"ack={self.ack}")
        words.append(f"len={tcp.length}")
        if tcp.window == 0 and not tcp.flags & _RST:
            words.append("win=0")
        if tcp.flags & _URG:
            words.append(f"urg={tcp.urgent}")
        return " ".join(words)


def relate(frames: Iterable[CapturedFrame], record: CaseRecord) -> list[Seen]:
    """Dissect a case's frames and count their numbers from the record's iss and irs.

    Connections that the record does not name count from the SYNs in the capture.
    """
    tester = record.tester
    ours = _canonical(tester.address)
    ports = (tester.port, tester.target_port)
    # First sequence numbers: (tester's address, tester's port, target's port, is it the target's number?)
    first: dict[tuple[str, int, int, bool], int] = {(ours, *ports, False): tester.iss}
    if tester.irs is not None:
        first[ours, *ports, True] = tester.irs
    return [_see(frame, ours, ports, first) for frame in frames]


def _see(frame: CapturedFrame, ours: str, ports: tuple[int, int], first: dict[tuple[str, int, int, bool], int]) -> Seen:
    packet = dissect(frame.data)
    inbound = packet.src != ours if frame.inbound is None else frame.inbound
    tcp = packet.tcp
    if tcp is None:
        return Seen(frame.number, frame.at_ns, inbound, packet, frame.comment)
    end = (packet.dst, tcp.dport, tcp.sport) if inbound else (packet.src, tcp.sport, tcp.dport)
    if tcp.flags & _SYN:
        first.setdefault((*end, inbound), tcp.seq)
    own, peer = first.get((*end, inbound)), first.get((*end, not inbound))
    acknowledges, reset = bool(tcp.flags & _ACK), bool(tcp.flags & _RST)
    return Seen(
        frame.number,
        frame.at_ns,
        inbound,
        packet,
        frame.comment,
        ports="" if end[1:] == ports else f"{tcp.sport}→{tcp.dport}",
        seq=relative(tcp.seq, own, reset=reset),
        ack=relative(tcp.ack, peer, reset=reset) if acknowledges else "" if tcp.ack == 0 else f"{tcp.ack} (no ACK)",
        options=_options(tcp, peer),
    )


def _options(tcp: Tcp, base: int | None) -> str:
    shown = [option for option in tcp.options if option not in ("NOP", "EOL")]
    if tcp.sack:
        shown.append(f"{option_name(SACK)}={sack_text(tcp.sack, base)}")
    return ", ".join(shown)


@lru_cache(4096)
def _canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
