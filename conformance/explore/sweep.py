"""Sweep a state: set the target up, inject a segment, compare with the machine, see that the connection is where it says."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from conformance.case.case import Case
from conformance.case.connection import Connection
from conformance.explore.oracle import (
    SeenSegment,
    after_segment,
    due,
    matching,
    probe_of,
    same_state,
    unmoved,
    with_readings,
    words_of,
)
from conformance.explore.segments import SweepSegment, Way
from conformance.standard.machine import Endpoint, Seg, less, readings
from conformance.standard.profile_differences import KnownDifference
from conformance.standard.states import State
from conformance.target import AppError
from conformance.tester.clock import SECOND
from conformance.tester.stamped import Received
from conformance.wire import ACK, CWR, ECE, FIN, NO_FLAGS, PSH, RST, SYN, URG, Flags

LIFTED = {"net.ipv4.tcp_invalid_ratelimit": "0", "net.ipv4.tcp_challenge_ack_limit": "2147483647"}
"""Settings of a Linux target that lift its limits to challenge ACKs: then a connection can be asked many times."""
_QUIET_S, _QUIET_VIRTUAL_S, _QUIET_DOUBT_S = 0.05, 0.02, 0.3
"""Seconds without a segment that count as silence: what is owed at once comes within a millisecond. In doubt it is longer."""
_MOST_AGE_S = 5.0
"""A connection is asked again while it is so young: no timer of its state has run out by then."""
_SOME_ISS = 0x05060708
_BITS = {"SYN": SYN, "FIN": FIN, "RST": RST, "ACK": ACK, "PSH": PSH, "URG": URG}
_NAMES = {bit: name for name, bit in _BITS.items()}
_BESIDE = {"ECE": ECE, "CWR": CWR}
_RESERVED = {"AE": 1, "reserved": 8}
_IN_FLIGHT = b"sent and not acknowledged"
_OLD_OCTET = b"\0"


@dataclass(frozen=True)
class Difference:
    """A segment to which the target did what the machine does not allow; `sentences` are requirements that say what was due."""

    way: str
    segment: SweepSegment
    answer: str
    due: str
    sentences: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.way}: {self.segment}: came {self.answer}; due {self.due}"


def known_as(difference: Difference, rows: Iterable[KnownDifference]) -> KnownDifference | None:
    """Return the profile's row for that difference, or None."""
    segment = difference.segment
    fields = {"way": difference.way, "seq": segment.seq, "ack": segment.ack, "answer": difference.answer}
    text = "some" if segment.text else "none"
    return next((row for row in rows if row.covers(flags=segment.flags, text=text, **fields)), None)


@dataclass
class Swept:
    """The outcome of a sweep of some segments: how many were asked, and the differences."""

    segments: int = 0
    again: int = 0
    """Segments that were in doubt and asked once more."""
    differences: list[Difference] = field(default_factory=list)

    def add(self, more: Swept) -> None:
        """Count in what another part brought."""
        self.segments += more.segments
        self.again += more.again
        self.differences += more.differences


@dataclass(frozen=True)
class _Answer:
    difference: Difference | None
    reusable: bool


async def sweep(case: Case, way: Way, segments: Iterable[SweepSegment]) -> Swept:
    """Ask the target about each segment, on a connection that went that way. Raises Violation where it can't go there.

    A connection is asked again while nothing has moved. What differs is asked once more, on a fresh one and with more time:
    it counts if it differs twice.
    """
    swept, place = Swept(), None
    for segment in segments:
        if place is None:
            place = await _Place.reach(case, way)
        answer = await place.ask(segment)
        if answer.difference is not None:
            # A fresh connection in virtual time would answer the same, and what is known is in no doubt.
            sure = case.target.virtual and place.asked == 1
            if not sure and known_as(answer.difference, case.profile.differences) is None:
                swept.again += 1
                await place.leave()
                place = await _Place.reach(case, way)
                place.quiet_s = _QUIET_DOUBT_S
                answer = await place.ask(segment)
            if answer.difference is not None:
                swept.differences.append(answer.difference)
            await place.leave()
            place = None
        elif not answer.reusable:
            await place.leave()
            place = None
        swept.segments += 1
    if place is not None:
        await place.leave()
    return swept


class _Place:
    """A connection in a state, and the machine's end of it."""

    def __init__(self, case: Case, way: Way, conn: Connection) -> None:
        self._case, self._way, self._conn = case, way, conn
        self._end = with_readings(_endpoint(way, conn), readings())
        self._began_ns = case.clock.now_ns()
        self.asked = 0
        self.quiet_s = _QUIET_VIRTUAL_S if case.target.virtual else _QUIET_S
        limit = case.profile.timers.get("challenge-ack-interval")
        self._limit_s = 0.0 if limit is None else limit.high_s
        lifted = case.target.settings.items() >= LIFTED.items()
        self._limited = bool(self._limit_s) or not (lifted or case.target.virtual)

    @classmethod
    async def reach(cls, case: Case, way: Way) -> _Place:
        """Put a connection into the state. Raises Violation."""
        established = _send_text if way.in_flight else None
        conn = await case.drive_to(way.state, by=way.by, via=way.via, established=established)
        await case.arrived()
        return cls(case, way, conn)

    async def leave(self) -> None:
        """Have the target forget the connection."""
        conn = self._conn
        with contextlib.suppress(AppError):
            if conn.has_app and not conn.app.closed:
                await (conn.app.abort() if self._case.can("abort") else conn.app.close())
        with contextlib.suppress(AppError):
            if conn.has_listener and not conn.listener.closed:
                await conn.listener.close()

    async def ask(self, segment: SweepSegment) -> _Answer:
        """Inject the segment, and hold what follows against the machine."""
        before, case = self._end, self._case
        self.asked += 1
        placed = segment.place(before, self._conn.window)
        runs = after_segment(before, placed)
        replies = await self._exchange(segment, placed, before, most=max(len(run.sent) for run in runs))
        worlds = matching(runs, before, replies)
        acked = any("RST" not in reply.flags for reply in replies)
        if acked and self._limit_s:
            await case.clock.sleep(self._limit_s)
        # RCV.NXT only grows: what is old in the world where it is lowest is old in all.
        probe = probe_of(functools.reduce(_lower, worlds) if worlds else before)
        probed = await self._exchange(SweepSegment(probe.flags), probe, before, most=1)
        word = await case.state_of(self._conn)
        standing = [world for world in worlds if self._stands(world, probe, probed, word)]
        if standing:
            young = case.clock.now_ns() - self._began_ns < _MOST_AGE_S * SECOND
            reusable = young and all(unmoved(end, before) for end in standing) and not (acked and self._limited)
            return _Answer(None, reusable)
        answer_text = f"{words_of(replies, before, placed)}, then {self._whereabouts(word, probed, before, placed)}"
        sentences = tuple(dict.fromkeys(name for run in runs for name in run.by))
        return _Answer(
            Difference(self._way.name, segment, answer_text, due(runs, before, placed), sentences), reusable=False
        )

    def _stands(self, world: Endpoint, probe: Seg, probed: Sequence[SeenSegment], word: State | None) -> bool:
        """Tell whether the connection is where that outcome has it, by the answer to the probe and by the agent's word."""
        runs = after_segment(world, probe)
        stands = matching(runs, world, probed)
        if not stands and (owed := [reply for reply in world.sent if reply.later]):  # it may come only now
            for run in runs:
                run.sent = [*owed, *run.sent]
            stands = matching(runs, world, probed)
        return bool(stands) and (word is None or same_state(word, world.state))

    @staticmethod
    def _whereabouts(word: State | None, probed: Sequence[SeenSegment], before: Endpoint, placed: Seg) -> str:
        last = next((reply for reply in reversed(probed) if not reply.repeats(before)), None)
        if word is not None:
            where = "no connection" if word in (State.CLOSED, State.LISTEN) else str(word)
        elif last is None:
            where = "silence"
        else:
            where = "no connection" if "RST" in last.flags else "a connection"
        if last is not None and "RST" not in last.flags and last.ack not in (before.rcv_nxt, None):
            where += " with more taken in"
        elif last is None and where != "silence":
            where += " and no answer to an old octet"
        elif last is not None and "RST" in last.flags and where != "no connection":
            where += " that resets an old octet"
        return where

    async def _exchange(self, segment: SweepSegment, placed: Seg, before: Endpoint, *, most: int) -> list[SeenSegment]:
        """Send a segment; return what comes, without what a timer sends again, until `most` came or all is quiet."""
        conn = self._conn
        flags = functools.reduce(Flags.__or__, (_BITS[name] for name in segment.flags), NO_FLAGS)
        await conn.inject(
            flags | _BESIDE.get(segment.beside, NO_FLAGS),
            seq=placed.seq,
            ack=placed.ack or 0,
            payload=_OLD_OCTET * placed.data,
            urgent=placed.up,
            reserved=_RESERVED.get(segment.beside, 0),
            text=str(segment),
        )
        seen: list[SeenSegment] = []
        while (received := await conn.next_segment(within=self.quiet_s)) is not None:
            reply = seen_of(received)
            if not reply.repeats(before) or "SYN" in reply.flags:
                seen.append(reply)
            if len(seen) >= most > 0:
                break
        return seen


def _lower(a: Endpoint, b: Endpoint) -> Endpoint:
    return b if less(b.rcv_nxt, a.rcv_nxt) else a


async def _send_text(conn: Connection) -> None:
    await conn.app.send(_IN_FLIGHT)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=_IN_FLIGHT)


def seen_of(received: Received) -> SeenSegment:
    """Return what the machine's replies are compared with."""
    segment = received.segment
    flags = frozenset(name for bit, name in _NAMES.items() if segment.flags & bit and name not in ("PSH", "URG"))
    return SeenSegment(flags, int(segment.seq), int(segment.ack) if segment.flags & ACK else None, len(segment.payload))


def _endpoint(way: Way, conn: Connection) -> Endpoint:
    """Return the machine's end with the numbers that the wire has told."""
    if way.state in (State.CLOSED, State.LISTEN):
        return Endpoint(
            way.state,
            iss=_SOME_ISS,
            snd_una=_SOME_ISS,
            snd_nxt=_SOME_ISS,
            rcv_nxt=int(conn.snd_nxt),
            rcv_wnd=65535,
            max_snd_wnd=conn.window,
        )
    irs = int(conn.irs)
    una = int(conn.acked) if conn.has_acked else irs
    edge = conn.snd_una + conn.remote_window
    window = conn.remote_window if way.state is State.SYN_SENT else max(0, edge - conn.snd_nxt)
    return Endpoint(
        way.state,
        passive=way.by == "passive",
        iss=irs,
        snd_una=una,
        snd_nxt=int(conn.rcv_nxt),
        snd_wnd=conn.window,
        snd_wl1=int(conn.snd_nxt),
        snd_wl2=una,
        max_snd_wnd=conn.window,
        irs=int(conn.iss),
        rcv_nxt=int(conn.snd_nxt),
        rcv_wnd=window,
    )
