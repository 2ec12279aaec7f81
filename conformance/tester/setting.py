"""The part of a case that its connections are given."""

from __future__ import annotations

import random
from dataclasses import dataclass

from conformance.tester.clock import Clock
from conformance.tester.station import Station
from conformance.tester.trace import Trace

LINK_MSS = {4: 1460, 6: 1440}
"""Octets that fit into Ethernet's 1500 behind the headers of IP and TCP, by family."""


@dataclass(frozen=True)
class Setting:
    """The station, the record, the two addresses, and the facts about time that a connection waits by.

    `wire_round_trip_s` is what the wire itself adds to a round trip; `crossing_ns` how long a segment and what it changes at
    the other end are on their way, there and back. `challenge_ack_s` is the interval to which the target limits its answers
    to out-of-window segments (RFC 5961 section 7), None where its profile documents none.
    """

    station: Station
    trace: Trace
    clock: Clock
    random: random.Random
    family: int
    address: str
    remote: str
    wire_round_trip_s: float = 0.0
    crossing_ns: int = 0
    challenge_ack_s: float | None = None
