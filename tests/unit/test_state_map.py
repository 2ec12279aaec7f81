"""The map of the documented machine and Figure 5: every row in its place, drawn from the record alone."""

import copy
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from conformance.record import CellFacts, ResultsWriter, record_of
from conformance.report.figure5 import _BOXES, _WAYS, action, draw_figure
from conformance.report.pages import make_report
from conformance.report.state_map import (
    FAMILIES,
    STATES,
    TILE,
    Machine,
    Tile,
    coverage_line,
    draw_map,
    family_of,
    tally,
)
from conformance.report.text import NOTHING
from conformance.standard.cells import Cell, arcs, cells
from conformance.standard.states import State
from tests.unit.test_report import Page, assert_nothing_overlaps, assert_sound, boxes, make_record, make_row, texts

LONG = "an event whose name goes on and on and on and on"


@dataclass(frozen=True)
class Ended:
    """A case as the map sees it."""

    id: str
    verdict: str = "conforms"
    family: int = 4
    message: str = ""
    title: str = ""

    @property
    def page(self) -> str:
        """The name of its page."""
        return self.id


def as_row(cell: Cell, **changes: Any) -> dict[str, Any]:
    return make_row(
        cell.id,
        row=cell.row,
        kind=cell.kind,
        state=cell.state.value,
        event=cell.event,
        next=[outcome.next.value for outcome in cell.outcomes],
        responses=[outcome.response.slug for outcome in cell.outcomes],
        **changes,
    )


def as_cell(row: dict[str, Any]) -> CellFacts:
    """Return the row as a record holds it."""
    (cell,) = record_of(make_record(rows=[row])).rows
    return cell


def machine(*cases: tuple[list[dict[str, Any]], Ended]) -> dict[str, Tile]:
    """The tiles by id, of cases and the rows that each checks."""
    item = Machine()
    for rows, case in cases:
        record = make_record(rows=rows)
        record["run"]["cells"] = 439
        item.add(record_of(record), case)
    return {tile.id: tile for tile in item.tiles()}


def every_row(verdict: str = "conforms") -> list[Tile]:
    return list(machine(*(([as_row(cell)], Ended(f"c{cell.row}", verdict)) for cell in cells())).values())


def svg_of(drawn: str) -> ET.Element:
    return ET.fromstring(drawn)


def named(svg: ET.Element, kind: str) -> list[ET.Element]:
    return [element for element in svg.iter() if kind in element.get("class", "").split()]


# -- which case decides over a row --------------------------------------------------------------------------------

A, B = make_row("CLOSING/rst-left-edge"), make_row("CLOSING/ack", row="SA-400")


def test_the_worse_family_decides_and_is_linked() -> None:
    tile = machine(([A], Ended("four")), ([A], Ended("six", "violates", 6)))["CLOSING/rst-left-edge"]
    assert (tile.verdict, tile.case.page) == ("violates", "six")
    assert tile.families == "IPv4 conforms, IPv6 violates"
    assert tile.line.startswith("CLOSING/rst-left-edge: FIN,ACK. Allowed: silence, then CLOSING. IPv4 conforms")


def test_a_case_of_the_row_alone_decides_over_one_that_passes_through() -> None:
    result = machine(([A, B], Ended("scenario", "violates")), ([A], Ended("own")))
    assert result["CLOSING/rst-left-edge"].case.page == "own"
    assert result["CLOSING/ack"].case.page == "scenario"


def test_what_ran_decides_over_what_did_not() -> None:
    result = machine(([A], Ended("own", "not applicable")), ([A, B], Ended("scenario")), ([B], Ended("b", "deviates")))
    assert {tile.id: tile.verdict for tile in result.values()} == {
        "CLOSING/rst-left-edge": "conforms",
        "CLOSING/ack": "deviates",
    }


def test_of_equals_the_first_by_id_is_linked() -> None:
    result = machine(([A], Ended("test_x_wrap[ipv4]")), ([A], Ended("test_x[ipv6]", family=6)), ([A], Ended("test_y")))
    assert result["CLOSING/rst-left-edge"].case.id == "test_x[ipv6]"


def test_records_without_rows_have_no_tiles() -> None:
    item = Machine()
    item.add(record_of({key: value for key, value in make_record().items() if key != "rows"}), Ended("old"))
    assert item.tiles() == []
    assert item.total == 0
    assert draw_map([]) == draw_figure([]) == ""


@pytest.mark.parametrize(
    ("cases", "line"),
    [
        ([], ""),
        ([((), "conforms")], ""),
        ([(("a",), "conforms"), (("a",), "violates"), (("b", "c"), "error")], "cells: 3 of 439 run"),
        ([(("a",), "conforms"), (("b",), "not applicable")], "cells: 1 of 439 run, 1 not applicable"),
        ([(("b",), "not applicable"), (("b",), "conforms")], "cells: 1 of 439 run"),
    ],
)
def test_the_line_for_people(cases: list[tuple[tuple[str, ...], str]], line: str) -> None:
    assert coverage_line(tally(cases), 439) == line


def test_terminal_and_pages_count_alike() -> None:
    cases = [([A, B], Ended("s", "violates")), ([A], Ended("o")), ([B], Ended("n", "not applicable"))]
    by_ids = tally(([row["id"] for row in rows], case.verdict) for rows, case in cases)
    assert by_ids == Counter(tile.verdict for tile in machine(*cases).values())


# -- the map --------------------------------------------------------------------------------------------------------


def test_the_report_has_the_words_of_the_standard() -> None:
    assert [state.value for state in State] == list(STATES)
    families = Counter(family_of(as_cell(as_row(cell))) for cell in cells() if cell.kind != "arc")
    assert set(families) == set(FAMILIES) - {"other"}


@pytest.mark.parametrize(
    ("cell_id", "family"),
    [
        ("TIME-WAIT/rst-outside-left", "RST"),
        ("TIME-WAIT/rst-left-edge-1337", "RST"),
        ("LISTEN/syn-ack", "SYN"),
        ("LISTEN/data-no-ack", "no ACK"),
        ("SYN-RECEIVED(active)/data-outside-left", "outside the window"),
        ("ESTABLISHED/zero-window-ack", "outside the window"),
        ("LAST-ACK/ack-security", "security"),
        ("FIN-WAIT-1/fin-covers-fin", "FIN"),
        ("CLOSING/teapot", "other"),
    ],
)
def test_families_are_told_by_the_stimulus(cell_id: str, family: str) -> None:
    assert family_of(as_cell(make_row(cell_id))) == family
    assert family_of(as_cell(make_row(cell_id, kind="call"))) == "calls"
    assert family_of(as_cell(make_row(cell_id, kind="timeout"))) == "timeouts"


def test_every_row_but_the_arcs_has_a_tile_of_its_own_that_leads_to_its_case() -> None:
    svg = svg_of(draw_map(every_row()))
    wanted = {f"cases/c{cell.row}.html" for cell in cells() if cell.kind != "arc"}
    links = [element for element in svg.iter() if element.tag.endswith("}a")]
    assert sorted(element.get("href", "") for element in links) == sorted(wanted)
    for link in links:
        title = link.find("{*}title")
        assert title is not None
        assert (title.text or "").endswith("IPv4 conforms")
    placed = [(float(one.get("x", "")), float(one.get("y", ""))) for one in named(svg, "tile")]
    _, _, width, height = map(float, svg.get("viewBox", "").split())
    for index, (x, y) in enumerate(placed):
        assert 0 <= x <= width - TILE
        assert 0 <= y <= height - TILE
        assert all(abs(x - left) > TILE or abs(y - top) > TILE for left, top in placed[:index])
    assert width < 1200, "it fits a page"
    assert_nothing_overlaps(svg)
    for left, right, top, bottom, text in boxes(svg):
        if len(text) > 1:
            assert not [1 for x, y in placed if left < x + TILE and x < right and top < y + TILE and y < bottom], text


def test_every_verdict_has_a_sign_and_what_was_not_run_is_hatched() -> None:
    verdicts = ("violates", "breaks should", "deviates", "error", "inconclusive", "not applicable", "conforms")
    for verdict in verdicts:
        svg = svg_of(draw_map(every_row(verdict)))
        signs = {element.text for element in named(svg, "sign")}
        hatched = named(svg, "hatch")
        assert bool(hatched) is (verdict == "not applicable")
        assert len(signs) == (0 if hatched else 1)
        assert named(svg, f"v-{verdict.replace(' ', '-')}")


def test_states_and_events_that_nobody_knows_are_drawn_too() -> None:
    rows = [make_row(f"{LONG} {number}/teapot", state=LONG, event=LONG) for number in range(50)]
    svg = svg_of(draw_map(list(machine(*(([row], Ended(f"c{at}")) for at, row in enumerate(rows))).values())))
    assert len(named(svg, "tile")) == 50
    assert_nothing_overlaps(svg)


# -- Figure 5 ---------------------------------------------------------------------------------------------------------


def segments(path: str) -> list[tuple[float, float, float, float]]:
    """The legs of a way, as left, right, top, bottom."""
    result = []
    x = y = 0.0
    for letter, numbers in re.findall(r"([MHV])([\d. ]+)", path):
        values = [float(number) for number in numbers.split()]
        before = x, y
        if letter == "M":
            x, y = values
            continue
        x, y = (values[0], y) if letter == "H" else (x, values[0])
        result.append((min(before[0], x), max(before[0], x), min(before[1], y), max(before[1], y)))
    return result


@pytest.mark.parametrize("event", ["", LONG], ids=["as-it-is", "long"])
def test_figure_5_has_every_arc_and_nothing_overlaps(event: str) -> None:
    rows = [as_row(cell) | ({"event": event} if event else {}) for cell in arcs()]
    svg = svg_of(draw_figure(list(machine(*(([row], Ended(row["row"], "violates")) for row in rows)).values())))
    assert {(cell.state.value, cell.outcomes[0].next.value) for cell in arcs()} == set(_WAYS)
    assert len(named(svg, "seen")) == 2 * len(_WAYS)
    assert not named(svg, "unseen")
    assert_nothing_overlaps(svg)
    states = [(float(b.get("x", "")), float(b.get("y", "")), b) for b in named(svg, "box")]
    legs = [leg for way in _WAYS.values() for leg in segments(way.path)]
    for left, right, top, bottom, text in boxes(svg):
        assert not [1 for leg in legs if leg[0] < right and left < leg[1] and leg[2] < bottom and top < leg[3]], text
        if text not in STATES:
            for x, y, box in states:
                inside = left < x + float(box.get("width", "")) and right > x
                assert not (inside and top < y + float(box.get("height", "")) and bottom > y), text


def test_each_way_begins_and_ends_at_its_boxes() -> None:
    for (start, end), way in _WAYS.items():
        (first, *_), numbers = segments(way.path), list(map(float, re.findall(r"[\d.]+", way.path)))
        assert first
        for state, (x, y) in ((start, (numbers[0], numbers[1])), (end, way.tip)):
            touches = [
                x in (middle - 66, middle + 66) or y in (centre - half, centre + half)
                for name, middle, centre, half in _BOXES
                if name == state and abs(x - middle) <= 66 and abs(y - centre) <= half
            ]
            assert any(touches), (start, end, state)


def test_arcs_are_solid_where_the_run_saw_them_and_dashed_where_it_did_not() -> None:
    verdicts = ["conforms", "violates", "not applicable", "inconclusive"]
    result = machine(
        *(([as_row(cell)], Ended(cell.row, verdict)) for cell, verdict in zip(arcs(), verdicts, strict=False))
    )
    svg = svg_of(draw_figure(list(result.values())))
    seen = [one for one in named(svg, "arc") if "seen" in one.get("class", "").split()]
    assert (len(seen), len(named(svg, "arc"))) == (2, len(_WAYS))
    shown = [element.text for element in texts(svg)]
    for label in (
        "✓ passive OPEN",
        "create TCB",
        "✗ active OPEN",
        "snd SYN",
        f"{NOTHING} CLOSE",
        "delete TCB",
        "? SEND",
    ):
        assert label in shown
    assert Counter(shown)["CLOSED"] == 2
    assert set(STATES) <= set(shown)
    assert svg.get("role") == "img"
    descriptions = [element.text or "" for element in svg if element.tag.endswith("}desc")]
    assert "2 of 21 seen" in descriptions[0]


def test_actions_are_the_figures_words() -> None:
    actions = {tile.id: action(tile) for tile in every_row() if tile.row.kind == "arc"}
    assert actions["arc/LISTEN-rcv-syn"] == "snd SYN,ACK"
    assert actions["arc/SYN-RECEIVED-rcv-ack-of-syn"] == "x"
    assert actions["arc/FIN-WAIT-1-rcv-ack-of-fin"] == "x"
    assert actions["arc/LAST-ACK-rcv-ack-of-fin"] == "delete TCB"
    assert not [one for one in actions.values() if not re.fullmatch(r"x|snd [A-Z,]+|(create|delete) TCB", one)]


# -- the pages --------------------------------------------------------------------------------------------------------


def save(run: Path, *cases: dict[str, Any]) -> Path:
    with ResultsWriter(run / "results.jsonl") as results:
        for case in cases:
            results.append(record_of(case))
    return make_report(run)


def a_case(cell: Cell, family: int = 4, **changes: Any) -> dict[str, Any]:
    verdict = "not applicable" if cell.unseen else "conforms"
    record = make_record(f"t.py::test_cell[{cell.id}]", family, verdict=verdict, message=cell.unseen, capture=None)
    record |= {"id": f"t.py::test_cell[ipv{family}-{cell.id}]", "cells": [cell.id], "rows": [as_row(cell)]}
    record["run"]["cells"] = len(cells())
    return record | changes


def test_a_part_of_the_machine_says_how_much_is_missing(tmp_path: Path) -> None:
    shown = [cell for cell in cells() if cell.id.startswith("CLOSING/rst")]
    missing = len(cells()) - len(shown)
    index = save(tmp_path, *(a_case(cell) for cell in shown))
    assert f"{missing} cells of the table are not in this run" in (tmp_path / "states.html").read_text("utf-8")
    assert f"{missing} not in this run" in index.read_text("utf-8")
    assert 'class="figure5"' not in (tmp_path / "states.html").read_text("utf-8")
    assert_sound(tmp_path)


def test_a_run_without_cells_has_no_such_page(tmp_path: Path) -> None:
    save(tmp_path, a_case(cells()[0]))
    assert (tmp_path / "states.html").is_file()
    (tmp_path / "results.jsonl").unlink()
    old = {key: value for key, value in a_case(cells()[0]).items() if key != "rows"}
    index = save(tmp_path, old)
    assert not (tmp_path / "states.html").exists()
    assert "states.html" not in index.read_text("utf-8")
    assert_sound(tmp_path)


@pytest.mark.parametrize("evil", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "\x00\u202e\ud800"])
def test_whatever_a_row_says_stays_text(tmp_path: Path, evil: str) -> None:
    cases = []
    for number, cell in enumerate((cells()[0], *arcs())):
        record = copy.deepcopy(a_case(cell, id=f"t.py::test_{number}"))
        for key in ("id", "row", "event"):
            record["rows"][0][key] += evil
        record["rows"][0]["responses"].append(evil)
        cases.append(record)
    save(tmp_path, *cases)
    text = (tmp_path / "states.html").read_text("utf-8")
    assert not {"script", "img"} & set(Page(text).tags)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
    assert 'class="figure5"' in text
