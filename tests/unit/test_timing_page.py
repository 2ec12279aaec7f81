"""The timing page: series and single timers, as pictures and as numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from conformance.record import SeriesFacts, record_of
from conformance.report.pages import make_report
from conformance.report.timing import described, draw_series
from tests.unit.test_report import assert_sound, make_record, save


def interval(measured: float, low: float | None = 0.9, high: float | None = 9.0, **changes: Any) -> dict[str, Any]:
    """One interval as a record keeps it."""
    values = {
        "measured_s": measured,
        "low_s": low,
        "high_s": high,
        "ratio": None,
        "source": "RFC 6298, 5.5",
        "ok": True,
    }
    return values | changes


def series(*intervals: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """One series as a record keeps it."""
    values = {
        "name": "R2 of <data>",
        "intervals": list(intervals),
        "growth": 2.0,
        "cap_s": 120.0,
        "count": len(intervals),
        "count_low": 2,
        "count_high": 3,
        "end": "",
        "source": "RFC 6298, 5.5",
        "how": "from each to the next",
        "ok": True,
        "faults": [],
        "shortened": "",
        "jitter_s": 0.002,
    }
    return values | changes


def as_facts(series: dict[str, Any]) -> SeriesFacts:
    """Return the series as a record holds it."""
    (facts,) = record_of(make_record(series=[series])).series
    return facts


BROKEN = series(
    interval(1.0),
    interval(1.1, 1.7, 2.3, ok=False, ratio=1.1),
    ok=False,
    faults=["R2 of data, interval 2 took 1.1 s, allowed is 1.7 s to 2.3 s (RFC 6298, 5.5)"],
)


def test_a_series_says_in_words_what_its_picture_shows() -> None:
    whole = series(interval(1.0), interval(2.0, ratio=2.0), end="RST", count=1)
    assert described(as_facts(whole)) == (
        "2 intervals, the first 1 s, the last 2 s; each 2 times the one before up to 120 s;"
        " 1 repetition (2 to 3 allowed); ended by RST; all as allowed"
    )
    assert described(as_facts(BROKEN)).endswith("interval 2 took 1.1 s, allowed is 1.7 s to 2.3 s (RFC 6298, 5.5)")


@pytest.mark.parametrize(
    "drawn",
    [
        series(interval(1.0)),
        series(interval(0.0, 0.0, 0.0)),
        series(interval(1e-9, None, None), interval(7200.0, 7199.0, None)),
        series(*[interval(1.0)] * 500),
        BROKEN,
    ],
)
def test_a_picture_is_whole_and_says_itself_to_a_screen_reader(drawn: dict[str, Any]) -> None:
    picture = ET.fromstring(str(draw_series(as_facts(drawn), "series-1")))
    names = {one.get("id"): (one.text or "") for one in picture if one.get("id")}
    assert picture.get("role") == "img"
    assert (picture.get("aria-labelledby") or "").split() == list(names) == ["series-1-title", "series-1-desc"]
    assert names["series-1-title"] == "R2 of <data>"
    crosses = [one for one in picture if one.get("class") == "point failed"]
    assert len(crosses) == sum(not one["ok"] for one in drawn["intervals"])
    bands = [one for one in picture if one.tag == "rect"]
    assert len(bands) == len(drawn["intervals"])
    for band in bands:
        assert 0 <= float(band.get("x", "")) <= float(band.get("x", "")) + float(band.get("width", "")) <= 640


def test_page_has_each_series_and_each_timer_what_failed_first(tmp_path: Path) -> None:
    timing = {"name": "RTO", "measured_s": 1.0, "low_s": 0.9, "high_s": 1.2, "source": "RFC", "how": "h", "ok": True}
    shorter = {**timing, "name": "keep-alive", "shortened": "TCP_KEEPIDLE = 2 s", "measured_s": 1.3, "ok": False}
    good = series(interval(1.0), name="a good one", shortened="tcp_retries2 = 4")
    save(tmp_path, make_record("a.py::test_a", timings=[timing, shorter], series=[good]), [])
    save(tmp_path, make_record("a.py::test_b", timings=[timing], series=[BROKEN], schema=2), [])
    index = make_report(tmp_path)
    assert_sound(tmp_path)
    text = (tmp_path / "timing.html").read_text("utf-8")
    assert 'href="timing.html"' in index.read_text("utf-8")
    assert text.index("R2 of &lt;data&gt;") < text.index("a good one") < text.index("keep-alive") < text.index(">RTO<")
    assert "Shortened: tcp_retries2 = 4" in text
    assert "shortened: TCP_KEEPIDLE = 2 s" in text
    assert "and 1 more" in text  # both cases measured the same timer
    for page in (tmp_path / "cases").glob("*.html"):
        assert 'href="../timing.html"' in page.read_text("utf-8")


def test_case_page_says_that_it_ran_again(tmp_path: Path) -> None:
    save(tmp_path, make_record("a.py::test_a", ran_again="RTO took 1.3 s", schema=2), [])
    make_report(tmp_path)
    page = next((tmp_path / "cases").glob("*.html")).read_text("utf-8")
    assert "It ran again by itself" in page
    assert "RTO took 1.3 s" in page
    assert not (tmp_path / "timing.html").exists()
