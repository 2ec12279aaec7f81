"""What a case imports: one line at the top of its module."""

from conformance.case.case import Case
from conformance.case.connection import Connection
from conformance.case.kinds import KINDS, Kind
from conformance.case.path import Path, size_of
from conformance.judge import Bound, Expectation, Growth, Inconclusive, NotApplicable, Violation
from conformance.plugin.marks import verifies, verifies_cell
from conformance.standard.cells import Cell, cells
from conformance.standard.states import SYNCHRONIZED, State
from conformance.target import AppError
from conformance.tester.clock import SECOND
from conformance.tester.connection import resets
from conformance.tester.stamped import Received, Sent
from conformance.tester.variables import Offer
from conformance.wire import ACK, CWR, ECE, FIN, NO_FLAGS, PSH, RST, SYN, URG, Flags, Segment, Seq, icmp
from conformance.wire import options as opt

__all__ = [
    "ACK",
    "CWR",
    "ECE",
    "FIN",
    "KINDS",
    "NO_FLAGS",
    "PSH",
    "RST",
    "SECOND",
    "SYN",
    "SYNCHRONIZED",
    "URG",
    "AppError",
    "Bound",
    "Case",
    "Cell",
    "Connection",
    "Expectation",
    "Flags",
    "Growth",
    "Inconclusive",
    "Kind",
    "NotApplicable",
    "Offer",
    "Path",
    "Received",
    "Segment",
    "Sent",
    "Seq",
    "State",
    "Violation",
    "cells",
    "icmp",
    "opt",
    "resets",
    "size_of",
    "verifies",
    "verifies_cell",
]
