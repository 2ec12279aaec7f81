"""Bounds of the tester's end: what is kept of a flood, and how often it says where its addresses are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from conformance.target import HarnessFault
from conformance.tester.clock import Clock
from conformance.tester.station import Station
from conformance.tester.steady import steady_ns
from conformance.tester.trace import Room, Trace
from conformance.wire import ACK, Segment, Seq
from conformance.wire.frames import Template, neighbour_question
from tests.memory_link import Memory, target_on

US, THEM, ANOTHER = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:99"
TARGET, OURS, OTHERS = "10.77.0.1", "10.77.4.1", "10.77.4.2"


def _with_station(work: Callable[[Station, Memory], None], room: Room | None = None) -> None:
    async def main() -> None:
        link = Memory(US)
        target = target_on(link, THEM, {4: TARGET, 6: ""}, {4: [OURS, OTHERS], 6: []})
        work(Station(target, Clock(), room=room), link)

    asyncio.run(main())


def _segment(octets: int) -> bytes:
    segment = Segment(TARGET, OURS, 80, 33000, Seq(1), Seq(2), ACK, payload=bytes(octets))
    return Template(THEM, US, TARGET, OURS).frame(segment)


def test_flood_of_large_frames_is_kept_up_to_so_many_octets_and_then_a_fault_of_the_case() -> None:
    def work(station: Station, link: Memory) -> None:
        trace = Trace(room=station.room_for_frames)
        station.lease(4, trace)
        frame = _segment(60_000)
        for _ in range(1000):
            link.deliver(frame, steady_ns())
        assert 15 << 20 < sum(len(one.data) for one in trace.frames) <= 16 << 20
        assert trace.fault == "flood: 16 MiB came for the case, more are not kept"
        with pytest.raises(HarnessFault, match="flood: 16 MiB"):
            station.transmit(Segment(OURS, TARGET, 33000, 80, Seq(1)), trace)

    _with_station(work)


def test_flood_of_small_frames_is_kept_up_to_a_number() -> None:
    def work(station: Station, link: Memory) -> None:
        trace = Trace(room=station.room_for_frames)
        station.lease(4, trace)
        frame = _segment(0)
        for _ in range(20_100):
            link.deliver(frame, steady_ns())
        assert len(trace.frames) == 20_000
        assert trace.fault == "flood: 20,000 frames came for the case, more are not kept"

    _with_station(work)


def test_cases_of_a_run_share_room_and_give_it_back() -> None:
    room = Room(100_000)

    def work(station: Station, link: Memory) -> None:
        first = Trace(room=station.room_for_frames)
        station.lease(4, first)
        frame = _segment(60_000)
        link.deliver(frame, steady_ns())
        assert not first.fault
        link.deliver(frame, steady_ns())
        assert first.fault.startswith("flood: the cases that run keep ")
        assert len(first.frames) == 1
        station.release(OURS)
        first.let_go()
        assert room.left == 100_000

    _with_station(work, room)


def test_questions_where_we_are_are_answered_so_often_a_second() -> None:
    def work(station: Station, link: Memory) -> None:
        trace = Trace()
        station.lease(4, trace)
        station.lease(4, Trace())
        now_ns = steady_ns() // 10**9 * 10**9
        for number in range(500):
            link.deliver(neighbour_question(THEM, f"10.77.9.{number % 250}", OURS), now_ns + number)
        assert len(link.sent) == 10
        assert len(trace.frames) == 20, "each question that is answered, and its answer"
        link.deliver(neighbour_question(THEM, TARGET, OTHERS), now_ns + 1000)
        assert len(link.sent) == 11, "the limit is for each address"
        link.deliver(neighbour_question(THEM, TARGET, OURS), now_ns + 2 * 10**9)
        assert len(link.sent) == 12

    _with_station(work)


def test_conflict_is_a_fault_of_the_case_that_has_the_address() -> None:
    def work(station: Station, link: Memory) -> None:
        mine, beside = Trace(), Trace()
        station.lease(4, mine)
        station.lease(4, beside)
        link.deliver(neighbour_question(ANOTHER, OURS, TARGET), steady_ns())
        assert mine.fault == f"address conflict: {OURS} is the tester's, and {ANOTHER} says it has it too"
        assert not beside.fault and station.fault is None

    _with_station(work)


def test_frames_that_were_lost_are_known_once_a_case_gives_its_address_back() -> None:
    def work(station: Station, link: Memory) -> None:
        began_ns = steady_ns()
        station.lease(4, Trace())
        link.lost = 3
        station.release(OURS)
        jitter = station.clock.jitter
        assert jitter.lost_between(began_ns, steady_ns()) == 3
        assert jitter.lost_between(steady_ns() + 10**9, steady_ns() + 2 * 10**9) == 0
        assert (jitter.lost, jitter.foreign) == (3, 3 * 1024)

    _with_station(work)
