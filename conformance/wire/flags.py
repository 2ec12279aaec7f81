"""The control bits of the TCP header (RFC 9293 section 3.1)."""

from __future__ import annotations

import enum

from conformance.wire.names import flags_text


class Flags(enum.IntFlag):
    """Control bits, by their place in the header; printed as the field writes them: `FIN+ACK`."""

    NONE = 0
    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    PSH = 0x08
    ACK = 0x10
    URG = 0x20
    ECE = 0x40
    CWR = 0x80

    def __str__(self) -> str:
        return flags_text(int(self) & 0xFF)


FIN, SYN, RST, PSH = Flags.FIN, Flags.SYN, Flags.RST, Flags.PSH
ACK, URG, ECE, CWR = Flags.ACK, Flags.URG, Flags.ECE, Flags.CWR
NO_FLAGS = Flags.NONE
