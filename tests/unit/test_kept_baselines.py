"""The baselines that come with the checkout: what each target does, to compare and to hold later runs against."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from conformance.report.baseline import Baseline
from conformance.report.baseline_files import load, written
from conformance.report.compare import Comparison, compare

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "reports" / "baselines"
NAMES = ("linux", "lwip", "gvisor", "smoltcp", "uml", "pytcp")


@cache
def stored(name: str) -> Baseline:
    return load(name, FOLDER)


@cache
def all_of_them() -> Comparison:
    return compare([stored(name) for name in NAMES])


@pytest.mark.parametrize("name", NAMES)
def test_baseline_says_what_was_tested_in_both_families(name: str) -> None:
    results = stored(name)
    assert (results.target, bool(results.version), bool(results.at)) == (name, True, True)
    for family in ("ipv4", "ipv6"):
        assert sum(f"[{family}" in case for case in results.cases) > 1_500
    assert not {one.verdict for one in results.cases.values()} & {"violates", "error"}
    assert (FOLDER / f"{name}.json").read_text() == written(results), "one case a line, sorted: fit for a diff"


@pytest.mark.parametrize("name", NAMES)
def test_deviations_are_explained(name: str) -> None:
    """Each has the sentence that it breaks, and the frames of a case that shows it."""
    results = stored(name)
    assert len(results.deviations) > 10
    for deviation in results.deviations:
        assert deviation.sentence and deviation.source and deviation.shows
        assert results.cases[deviation.case].verdict == "deviates"
    assert sum(bool(deviation.frames) for deviation in results.deviations) > 0.9 * len(results.deviations)


def test_comparison_tells_what_lwip_is_known_for() -> None:
    text = {one.case.rpartition("::")[2].partition("[")[0]: one for one in stored("lwip").deviations}
    numbers = [one for one in text.values() if "6510" in one.reason]
    intervals = [one for one in text.values() if "SYN" in one.reason and "3 s" in one.reason]
    assert numbers and intervals
    rows = {row.name: row.values for row in all_of_them().verdicts}
    which = "rfc6298/test_s5_retransmission_of_syn.py::test_interval_between_syns_doubles[ipv4]"
    assert rows[which] == ["deviates", "deviates", "conforms", "conforms", "conforms", "conforms"]
