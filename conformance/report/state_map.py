"""The documented machine as a map: its states by families of events, one tile per row of its table.

Several cases may check a row: two address families, and cases that pass through it on their way. A case that ran decides
over a case that did not, then a case that checks only this row over others, then the worse verdict over the better.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from markupsafe import Markup

from conformance.record.case import CaseRecord, CellFacts
from conformance.report.text import VERDICTS, clean, escape, wrap

STATES = (
    "CLOSED",
    "LISTEN",
    "SYN-SENT",
    "SYN-RECEIVED",
    "ESTABLISHED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "CLOSING",
    "LAST-ACK",
    "TIME-WAIT",
)
FAMILIES = (
    "RST",
    "SYN",
    "ACK",
    "data",
    "FIN",
    "URG",
    "no ACK",
    "outside the window",
    "security",
    "calls",
    "timeouts",
    "other",
)
STEP, TILE = 22, 19  # px from one tile to the next, and of a tile
CHARACTER = 7.4  # px, of the font at 12 px
STATE_WIDTH, GAP, LINE = 112, 16, 15
MOST_ACROSS = 10  # tiles beside each other in one field

_WORST = list(VERDICTS)


class CellCase(Protocol):
    """The facts about a case that the map needs."""

    @property
    def verdict(self) -> str: ...
    @property
    def family(self) -> int: ...
    @property
    def page(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def id(self) -> str: ...


C = TypeVar("C")


@dataclass(frozen=True, slots=True)
class Tile:
    """One row of the machine in this run. `case` is the case that decides, `families` the verdicts by family."""

    row: CellFacts
    case: CellCase
    families: str

    @property
    def verdict(self) -> str:
        """The verdict over the row."""
        return self.case.verdict

    @property
    def id(self) -> str:
        """The row's id, as `ESTABLISHED/rst-left-edge`."""
        return self.row.id

    @property
    def line(self) -> str:
        """The row in one line: state, event, allowed answers and next states, and the verdicts."""
        following = " or ".join(self.row.next)
        answers = " or ".join(self.row.responses)
        allowed = f"{answers}, then {following}" if answers else following
        return f"{self.id}: {self.row.event}. Allowed: {allowed}. {self.families}"


class Machine:
    """Every row that this run's cases name, with the cases."""

    def __init__(self) -> None:
        self._rows: dict[str, CellFacts] = {}
        self._cases: dict[str, list[tuple[bool, CellCase]]] = defaultdict(list)
        self.total = 0
        """The number of rows in the table according to the record; 0 if unknown."""

    def add(self, record: CaseRecord, case: CellCase) -> None:
        """Add the rows of a case's record."""
        rows = {row.id: row for row in record.rows}
        self.total = max(self.total, record.run.cells)
        for name, row in rows.items():
            self._rows.setdefault(name, row)
            self._cases[name].append((len(rows) == 1, case))

    def __len__(self) -> int:
        return len(self._rows)

    def tiles(self) -> list[Tile]:
        """Return a tile per row, by the running numbers of the table."""
        return [self._tile(row) for row in sorted(self._rows.values(), key=lambda row: (len(row.row), row.row))]

    def _tile(self, row: CellFacts) -> Tile:
        # Of equals, the first by id: which ended first is chance.
        cases = sorted(self._cases[row.id], key=lambda entry: entry[1].id)
        case = decides([(alone, one.verdict, one) for alone, one in cases])
        by_family = {
            family: decides([(alone, one.verdict, one.verdict) for alone, one in cases if one.family == family])
            for family in sorted({one.family for _, one in cases})
        }
        verdicts = ", ".join(f"IPv{family} {verdict}" for family, verdict in by_family.items())
        return Tile(row, case, verdicts)


def decides(cases: Sequence[tuple[bool, str, C]]) -> C:
    """Return the value of the case that decides over a row.

    Each case is a triple: True if it checks that row alone, its verdict, and its value.
    """
    return min(cases, key=lambda case: (case[1] == "not applicable", not case[0], _WORST.index(case[1])))[2]


def tally(cases: Iterable[tuple[Sequence[str], str]]) -> Counter[str]:
    """Return the number of rows by verdict, from each case's rows and its verdict."""
    rows: dict[str, list[tuple[bool, str, str]]] = defaultdict(list)
    for names, verdict in cases:
        for name in names:
            rows[name].append((len(names) == 1, verdict, verdict))
    return Counter(map(decides, rows.values()))


def coverage_line(counts: Counter[str], total: int) -> str:
    """Return a run's share of the table: `cells: 388 of 439 run, 51 not applicable`; empty if the run has no cell."""
    seen = counts.total()
    if not seen:
        return ""
    skipped = counts["not applicable"]
    run = f"cells: {seen - skipped} of {total or seen} run"
    return f"{run}, {skipped} not applicable" if skipped else run


def family_of(row: CellFacts) -> str:
    """Return the family of events of a row, from the stimulus in its id."""
    stimulus = row.id.partition("/")[2]
    if row.kind in ("call", "timeout"):
        return f"{row.kind}s"
    if "security" in stimulus:
        return "security"
    if stimulus.startswith(("no-", "data-no-ack", "fin-no-ack")):
        return "no ACK"
    head = stimulus.partition("-")[0]
    if head in ("rst", "syn"):
        return str(head.upper())
    if "outside" in stimulus or head == "zero" or stimulus.startswith("fin-duplicate"):
        return "outside the window"
    return {"ack": "ACK", "data": "data", "fin": "FIN", "urg": "URG"}.get(head, "other")


def draw_map(tiles: Sequence[Tile]) -> Markup:
    """Return the map as inline SVG without styles, each tile linked to its case's page; empty without tiles.

    Arcs of Figure 5 have a picture of their own.
    """
    fields: dict[tuple[str, str], list[Tile]] = defaultdict(list)
    for tile in tiles:
        if tile.row.kind != "arc":
            fields[tile.row.state, family_of(tile.row)].append(tile)
    if not fields:
        return Markup("")
    states = [*STATES, *sorted({state for state, _ in fields} - set(STATES))]
    columns = [family for family in FAMILIES if any(family == filled for _, filled in fields)]
    across = {
        family: min(MOST_ACROSS, -(-max(len(fields[state, family]) for state in states) // 2)) for family in columns
    }
    heads = {family: wrap(family, max(8, int(across[family] * STEP / CHARACTER))) for family in columns}
    left = float(STATE_WIDTH)
    places = {}
    parts = []
    deepest = max(map(len, heads.values())) * LINE
    for family in columns:
        places[family] = left
        for index, line in enumerate(heads[family], 1 - len(heads[family])):
            parts.append(_text(left, deepest + index * LINE, line, "family"))
        left += max(across[family] * STEP, max(map(len, heads[family])) * CHARACTER) + GAP
    width, y = round(left - GAP + 6), deepest + 10
    for state in states:
        deep = max(1, *(-(-len(fields[state, family]) // across[family]) for family in columns))
        parts.append(f'<path class="line" fill="none" d="M0 {y}H{width}"/>')
        parts.append(_text(0, y + 19, wrap(state, 14)[0], "where"))
        for family in columns:
            for index, tile in enumerate(fields[state, family]):
                down, right = divmod(index, across[family])
                parts.append(_tile(tile, places[family] + right * STEP, y + 5 + down * STEP))
        y += deep * STEP + 9
    return Markup(  # all text went through escape()
        f'<svg class="map" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y}" width="{width}" height="{y}"'
        ' role="group" aria-labelledby="map-title map-desc"><title id="map-title">State map</title>'
        '<desc id="map-desc">A line for each state, a column for each family of events, a tile for each row of the'
        " table. Every tile leads to its case. The tables below say the same.</desc>"
        f"{''.join(parts)}</svg>"
    )


def draw_sign(verdict: str) -> Markup:
    """Return a single tile of the map, for the legend."""
    return Markup(
        f'<svg class="map" viewBox="0 0 {TILE + 2} {TILE + 2}" width="{TILE + 2}" height="{TILE + 2}"'
        f' aria-hidden="true"><g class="{_class(verdict)}">{_square(verdict, 1, 1)}</g></svg>'
    )


def _tile(tile: Tile, x: float, y: float) -> str:
    return (
        f'<a class="{_class(tile.verdict)}" href="cases/{escape(tile.case.page)}.html">'
        f"<title>{escape(clean(tile.line))}</title>{_square(tile.verdict, x, y)}</a>"
    )


def _square(verdict: str, x: float, y: float) -> str:
    square = f'<rect class="tile" x="{x:g}" y="{y:g}" width="{TILE}" height="{TILE}" rx="3"/>'
    if verdict == "not applicable":
        lines = f"M{x + 1:g} {y + 9:g}l8 -8M{x + 1:g} {y + 18:g}l17 -17M{x + 10:g} {y + 18:g}l8 -8"
        return f'{square}<path class="hatch" fill="none" d="{lines}"/>'
    return square + _text(x + TILE / 2, y + 14, VERDICTS[verdict], "sign", "middle")


def _text(x: float, y: float, line: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{escape(line)}</text>'


def _class(verdict: str) -> str:
    return f"v-{verdict.replace(' ', '-')}"
