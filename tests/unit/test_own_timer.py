"""Tell an answer from what a timer of the target would send again."""

import pytest

from conformance.cells.own_timer import beyond_timeout_s, only_an_answer_s
from conformance.judge import Inconclusive
from conformance.standard.profile import profile, profiles


@pytest.mark.parametrize(
    ("earliest_s", "elapsed_s", "seconds"),
    [
        pytest.param(0.99, 0.0001, 0.98, id="a timer as long as the reaction"),
        pytest.param(3.0, 0.1, 1.0, id="a longer timer"),
        pytest.param(0.99, 0.695, 0.29, id="late, and still told apart"),
    ],
)
def test_an_answer_comes_before_the_timer_can_run_out(earliest_s: float, elapsed_s: float, seconds: float) -> None:
    assert only_an_answer_s(earliest_s, elapsed_s, 1.0) == seconds
    assert elapsed_s + seconds < earliest_s


@pytest.mark.parametrize("elapsed_s", [0.8, 0.99, 7.0])
def test_too_late_to_tell_is_inconclusive_and_says_so(elapsed_s: float) -> None:
    with pytest.raises(Inconclusive, match=r"own timer may send the same .* an answer can't be told from that"):
        only_an_answer_s(0.99, elapsed_s, 1.0)


@pytest.mark.parametrize("name", profiles())
def test_what_would_be_sent_again_is_watched_for_beyond_the_timeout(name: str) -> None:
    target = profile(name)
    latest_s = target.timers["rto-min"].high_s if "rto-min" in target.timers else 3.0
    assert beyond_timeout_s(target) >= latest_s + 0.2
