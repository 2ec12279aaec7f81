"""Import what a case needs, in one line at the top of its module, and `run`, which starts a run from Python."""

from conformance.case.case import Case
from conformance.case.connection import Connection
from conformance.case.info import CaseInfo, InvalidCase
from conformance.case.kinds import KINDS, Kind
from conformance.case.lasts import after
from conformance.case.path import Path, size_of
from conformance.case.receiver import Receiver, sends_a_flight
from conformance.case.steps import app_accepts, app_closes, app_reads, app_sends
from conformance.judge import Bound, Expectation, Growth, Inconclusive, NotApplicable, Verdict, Violation
from conformance.plugin.marks import in_state, verifies, verifies_cell
from conformance.run.from_python import RunResult, run
from conformance.run.outcome import Outcome
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
    "CaseInfo",
    "Cell",
    "Connection",
    "Expectation",
    "Flags",
    "Growth",
    "Inconclusive",
    "InvalidCase",
    "Kind",
    "NotApplicable",
    "Offer",
    "Outcome",
    "Path",
    "Received",
    "Receiver",
    "RunResult",
    "Segment",
    "Sent",
    "Seq",
    "State",
    "Verdict",
    "Violation",
    "after",
    "app_accepts",
    "app_closes",
    "app_reads",
    "app_sends",
    "cells",
    "icmp",
    "in_state",
    "opt",
    "resets",
    "run",
    "sends_a_flight",
    "size_of",
    "verifies",
    "verifies_cell",
]
