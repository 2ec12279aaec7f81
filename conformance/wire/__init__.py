"""Segments as values, and the octets that carry them. scapy lives here and nowhere else."""

from conformance.wire.flags import ACK, CWR, ECE, FIN, NO_FLAGS, PSH, RST, SYN, URG, Flags
from conformance.wire.segment import Segment, dissect
from conformance.wire.seq import Seq

__all__ = ["ACK", "CWR", "ECE", "FIN", "NO_FLAGS", "PSH", "RST", "SYN", "URG", "Flags", "Segment", "Seq", "dissect"]
