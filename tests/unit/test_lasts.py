"""The time that a case waits, and what it sets, by the profile of the target."""

from __future__ import annotations

import pytest

from conformance.case.info import UnknownSetting, settings_by
from conformance.case.lasts import UnknownTimer, after, seconds
from conformance.standard import _data
from conformance.standard.profile import parse, profile

LINUX, LWIP, SMOLTCP = profile("linux"), profile("lwip"), profile("smoltcp")


def test_a_name_stands_for_the_timer_of_the_targets_profile() -> None:
    assert [seconds("time-wait", one) for one in (LINUX, LWIP, SMOLTCP)] == [60, 120, 10]
    assert seconds(after("time-wait", 4), SMOLTCP) == 14
    assert seconds(2.5, SMOLTCP) == 2.5


def test_intervals_of_a_schedule_run_out_one_after_the_other() -> None:
    assert seconds(after("syn-ack-rto", 1, intervals=3), LINUX) == 1 + 2 + 4 + 1
    assert seconds(after("syn-ack-rto", intervals=5), LINUX) == 31
    assert seconds(after("syn-ack-rto", intervals=6), LINUX) == 63, "the last wait doubles the last interval"
    assert seconds(after("syn-ack-rto", intervals=3), LWIP) == 3 + 6 + 12


def test_what_a_profile_does_not_document_is_not_waited_for() -> None:
    assert "fin-wait-2-orphan" not in SMOLTCP.timers
    assert seconds(after("fin-wait-2-orphan", 10), SMOLTCP) == 10


def test_a_timer_that_no_profile_has_is_refused() -> None:
    with pytest.raises(UnknownTimer, match=r"^lasts: no profile has a timer 'time-wiat'; the nearest is time-wait$"):
        seconds("time-wiat", LINUX)


def test_a_setting_stands_for_what_the_profile_sets_by_it() -> None:
    assert settings_by(LINUX, {"syn-retries": "1", "net.ipv4.tcp_sack": "0"}) == (
        {"net.ipv4.tcp_syn_retries": "1", "net.ipv4.tcp_syn_linear_timeouts": "0", "net.ipv4.tcp_sack": "0"},
        (),
    )
    assert settings_by(SMOLTCP, {"syn-retries": "1"}) == ({}, ("syn-retries",))
    with pytest.raises(UnknownSetting, match=r"^no profile has a setting 'syn-retry': there is data-retries, "):
        settings_by(LINUX, {"syn-retry": "1"})


@pytest.mark.parametrize(
    "row", ['sysctl = {}\nsource = "a"', 'sysctl = "a"\nsource = "a"', 'sysctl = {a = "{}"}\nsource = ""']
)
def test_a_setting_of_a_profile_has_names_and_a_source(row: str) -> None:
    with pytest.raises(_data.DataError, match=r"^own\.toml:\d, setting x: sysctl (must be a table|and source)"):
        parse(f'title = "own"\n[setting.x]\n{row}', "own.toml", "own")
