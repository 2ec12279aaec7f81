"""Check the tester's measured lateness, in a span of time and in all."""

from __future__ import annotations

import time

import pytest

from conformance.tester.jitter import Jitter

MS = 1_000_000


@pytest.mark.parametrize(
    ("since", "until", "worst"),
    [(0, 2000, 0.3), (0, 400, 0.0), (750, 760, 0.3), (1001, 2000, 0.05), (2001, 9000, 0.0), (600, 650, 0.0)],
)
def test_lateness_counts_in_the_time_it_reaches_into(since: int, until: int, worst: float) -> None:
    jitter = Jitter()
    jitter.note("loop", 1000 * MS, 300 * MS)  # due at 700
    jitter.note("read", 1500 * MS, 50 * MS)
    jitter.note("read", 1600 * MS, 0)
    assert jitter.worst_s(since * MS, until * MS) == worst


def test_a_loop_that_has_not_woken_yet_is_late_already() -> None:
    jitter = Jitter()
    jitter.due_ns = time.time_ns() - 200 * MS
    assert 0.2 <= jitter.worst_s(time.time_ns() - 100 * MS, time.time_ns()) < 1
    assert jitter.worst_s(0, jitter.due_ns - 1) == 0


def test_summary_is_by_kind_in_microseconds() -> None:
    jitter = Jitter()
    assert jitter.summary() == {}
    jitter = Jitter()
    for late_us in range(100):
        jitter.note("sent", 0, late_us * 1000)
    assert jitter.summary() == {"sent_p50_us": 50.0, "sent_p99_us": 99.0, "sent_max_us": 99.0}


def test_a_flood_of_late_frames_does_not_push_out_what_was_late_before() -> None:
    jitter = Jitter()
    jitter.note("loop", 1000 * MS, 300 * MS)
    for frame in range(100_000):
        jitter.note("read", 60_000 * MS + frame * MS // 20, 5 * MS)
    assert jitter.worst_s(900 * MS, 1100 * MS) == 0.3
    assert jitter.worst_s(64_900 * MS, 70_000 * MS) == 0.005


def test_a_call_is_late_by_what_it_takes_beyond_the_quickest() -> None:
    jitter = Jitter()
    for took_ms in (40, 30, 31, 90):  # over a long way that takes 30
        jitter.note_call(1000 * MS, took_ms * MS)
    assert jitter.worst_s(0, 2000 * MS) == 0.06


@pytest.mark.parametrize(
    ("since", "until", "lost"), [(0, 99, 0), (0, 100, 3), (150, 160, 3), (200, 300, 7), (301, 400, 0)]
)
def test_what_was_lost_between_two_looks_counts_in_all_that_time(since: int, until: int, lost: int) -> None:
    jitter = Jitter()
    jitter.note_heard(0, 100, lost=0, foreign=1024)
    jitter.note_heard(100, 200, lost=3, foreign=0)
    jitter.note_heard(200, 300, lost=4, foreign=1024)
    assert jitter.lost_between(since, until) == lost
    assert (jitter.lost, jitter.foreign) == (7, 2048)
