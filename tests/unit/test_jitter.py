"""How late the tester was in a given time, and in all."""

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
