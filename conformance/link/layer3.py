"""Frames over an interface that carries IP packets alone, as a TUN does: their Ethernet headers exist on our side only."""

from __future__ import annotations

import socket

from conformance.link import FaultHandler, FrameHandler, LinkError
from conformance.link.af_packet import PacketLink

OUR_MAC, THEIR_MAC = "02:00:00:00:00:01", "02:00:00:00:00:77"
"""The Ethernet addresses of both ends: nobody else sees them."""
_HEADER = 14
_ETHERTYPES = {4: 0x0800, 6: 0x86DD}


class Layer3Link(PacketLink):
    """A link over such an interface. No address has to be asked for or answered: there are two ends, and nobody else."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        super().__init__(sock, OUR_MAC, name)
        macs = bytes.fromhex((OUR_MAC + THEIR_MAC).replace(":", ""))
        self._headers = {version: macs + number.to_bytes(2, "big") for version, number in _ETHERTYPES.items()}

    @property
    def sees_offload(self) -> bool:
        """Return True: what a program writes into a TUN goes up as it is, and nothing is left undone."""
        return True

    def open(self, on_frame: FrameHandler, on_fault: FaultHandler) -> None:
        """Start to deliver packets on the running loop, each behind an Ethernet header."""

        def on_packet(packet: bytes, at_ns: int, mark: str = "") -> None:
            header = self._headers.get(packet[0] >> 4) if packet else None
            if header is not None:
                on_frame(header + packet, at_ns, mark)

        super().open(on_packet, on_fault)

    def send(self, frame: bytes) -> int:
        """Send a frame's packet; a frame of another kind than IP, as a question of ARP, goes nowhere. Raises LinkError."""
        number = int.from_bytes(frame[_HEADER - 2 : _HEADER], "big")
        if number not in _ETHERTYPES.values():
            return self._sent
        try:
            self._sock.sendto(frame[_HEADER:], (self._name, number))
        except OSError as error:
            raise LinkError(f"{self._name}: a packet can't be sent: {error.strerror}") from None
        self._sent += 1
        return self._sent
