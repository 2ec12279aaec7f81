"""Draw Figure 5 of RFC 9293 for a run: the states where the RFC draws them, each arc with its verdict.

Boxes, bends and labels have their places below; the names of the arcs are the record's. CLOSED is drawn twice, as in
the RFC. An arc that the RFC does not draw is only in the table beside the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from conformance.report.state_map import Tile
from conformance.report.text import VERDICTS, clean, escape, wrap

WIDTH, HEIGHT = 960, 872
LABEL = 19  # characters in a line of a label
LINE = 16
SEEN = ("conforms", "deviates", "breaks should", "violates")  # the others are drawn like arcs that were not run

# State: x and y of the middle, half of the height; a box is 132 px wide.
_HALF = 66
_BOXES = (
    ("CLOSED", 480, 70, 20),
    ("LISTEN", 480, 180, 20),
    ("SYN-RECEIVED", 110, 310, 60),
    ("SYN-SENT", 850, 310, 60),
    ("ESTABLISHED", 480, 430, 20),
    ("FIN-WAIT-1", 110, 556, 30),
    ("CLOSE-WAIT", 850, 540, 20),
    ("FIN-WAIT-2", 110, 700, 20),
    ("CLOSING", 480, 700, 20),
    ("LAST-ACK", 850, 700, 20),
    ("TIME-WAIT", 480, 820, 20),
    ("CLOSED", 850, 820, 20),
)


@dataclass(frozen=True, slots=True)
class _Way:
    """The path of an arc and the place of its label (the first line's baseline). The last leg gives the tip's direction."""

    path: str
    tip: tuple[int, int]
    points: str  # up, down, left, right
    label: tuple[int, int]
    anchor: str = "middle"
    room: int = 1  # lines for the event


_WAYS = {
    ("CLOSED", "LISTEN"): _Way("M460 90V160", (460, 160), "down", (452, 118), "end"),
    ("CLOSED", "SYN-SENT"): _Way("M546 62H880V250", (880, 250), "down", (715, 38)),
    ("LISTEN", "CLOSED"): _Way("M500 160V90", (500, 90), "up", (508, 118), "start"),
    ("LISTEN", "SYN-SENT"): _Way("M510 200V270H784", (784, 270), "right", (650, 244)),
    ("LISTEN", "SYN-RECEIVED"): _Way("M450 200V270H176", (176, 270), "left", (310, 244)),
    ("SYN-SENT", "CLOSED"): _Way("M820 250V78H546", (546, 78), "left", (735, 96)),
    ("SYN-SENT", "SYN-RECEIVED"): _Way("M784 322H176", (176, 322), "left", (480, 298)),
    ("SYN-SENT", "ESTABLISHED"): _Way("M784 350H510V410", (510, 410), "down", (650, 368)),
    ("SYN-RECEIVED", "LISTEN"): _Way("M110 250V180H414", (414, 180), "right", (262, 156)),
    ("SYN-RECEIVED", "ESTABLISHED"): _Way("M176 350H450V410", (450, 410), "down", (310, 368)),
    ("SYN-RECEIVED", "FIN-WAIT-1"): _Way("M90 370V526", (90, 526), "down", (98, 444), "start"),
    ("ESTABLISHED", "FIN-WAIT-1"): _Way("M450 450V540H176", (176, 540), "left", (310, 514)),
    ("ESTABLISHED", "CLOSE-WAIT"): _Way("M510 450V540H784", (784, 540), "right", (650, 514)),
    ("FIN-WAIT-1", "FIN-WAIT-2"): _Way("M90 586V680", (90, 680), "down", (98, 630), "start"),
    ("FIN-WAIT-1", "CLOSING"): _Way("M176 558H480V680", (480, 680), "down", (380, 578)),
    ("FIN-WAIT-1", "TIME-WAIT"): _Way("M176 576H260V812H414", (414, 812), "right", (268, 676), "start", 2),
    ("FIN-WAIT-2", "TIME-WAIT"): _Way("M110 720V828H414", (414, 828), "right", (118, 764), "start"),
    ("CLOSE-WAIT", "LAST-ACK"): _Way("M850 560V680", (850, 680), "down", (842, 612), "end"),
    ("CLOSING", "TIME-WAIT"): _Way("M480 720V800", (480, 800), "down", (488, 756), "start"),
    ("LAST-ACK", "CLOSED"): _Way("M850 720V800", (850, 800), "down", (842, 756), "end"),
    ("TIME-WAIT", "CLOSED"): _Way("M546 820H784", (784, 820), "right", (665, 838)),
}
_TIPS = {"up": "l-5 10h10z", "down": "l-5 -10h10z", "left": "l10 -5v10z", "right": "l-10 -5v10z"}
_ACTIONS = {
    "syn": "snd SYN",
    "syn-ack": "snd SYN,ACK",
    "ack-syn": "snd ACK",
    "ack-new": "snd ACK",
    "fin": "snd FIN",
    "silence": "x",
    "optional-ack": "x",
}


def arcs(tiles: Sequence[Tile]) -> list[Tile]:
    """Return the tiles that are arcs."""
    return [tile for tile in tiles if tile.row.kind == "arc"]


def action(tile: Tile) -> str:
    """Return the target's action on an arc, in the figure's words."""
    row = tile.row
    if row.responses == ("silence",) and "CLOSED" in (row.state, *row.next):
        return "create TCB" if row.state == "CLOSED" else "delete TCB"
    return " or ".join(_ACTIONS.get(response, response) for response in row.responses)


def draw_figure(tiles: Sequence[Tile]) -> Markup:
    """Return the figure as inline SVG without styles; empty when the run has no arc."""
    by_ends = {(tile.row.state, state): tile for tile in arcs(tiles) for state in tile.row.next}
    drawn = {ends: by_ends[ends] for ends in _WAYS if ends in by_ends}
    if not drawn:
        return Markup("")
    # Arcs that were not run are drawn first and violations last, so that crossings show the worse arc.
    order = sorted(_WAYS, key=lambda ends: -_rank(drawn.get(ends)))
    parts = [_arc(_WAYS[ends], drawn.get(ends)) for ends in order]
    for state, x, y, half in _BOXES:
        parts.append(
            f'<rect class="box" x="{x - _HALF}" y="{y - half}" width="{2 * _HALF}" height="{2 * half}" rx="4"/>'
        )
        parts.append(_text(x, y + 5, state, "where"))
    seen = sum(tile.verdict in SEEN for tile in drawn.values())
    return Markup(  # all text went through escape()
        f'<svg class="figure5" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
        f' height="{HEIGHT}" role="img" aria-labelledby="figure5-title figure5-desc">'
        '<title id="figure5-title">Figure 5 of RFC 9293</title>'
        f'<desc id="figure5-desc">The eleven states and the arcs between them: {seen} of {len(_WAYS)} seen in this run.'
        f" The table below says the same.</desc>{''.join(parts)}</svg>"
    )


def _rank(tile: Tile | None) -> int:
    """Return a number that is smaller for a worse verdict."""
    return len(VERDICTS) if tile is None else list(VERDICTS).index(tile.verdict)


def _arc(way: _Way, tile: Tile | None) -> str:
    x, y = way.tip
    seen = "seen" if tile is not None and tile.verdict in SEEN else "unseen"
    shape = (
        f'<path class="arc {seen}" fill="none" d="{way.path}"/>'
        f'<path class="point {seen}" d="M{x} {y}{_TIPS[way.points]}"/>'
    )
    if tile is None:
        return f"<g>{shape}</g>"
    event = _fit(f"{VERDICTS[tile.verdict]} {tile.row.event}", way.room)
    lines = [(line, "event") for line in event] + [(line, "action") for line in _fit(action(tile), 1) if line]
    x, y = way.label
    label = "".join(_text(x, y + at * LINE, line, kind, way.anchor) for at, (line, kind) in enumerate(lines))
    kind = tile.verdict.replace(" ", "-")
    return f'<g class="v-{kind}"><title>{escape(clean(tile.line))}</title>{shape}{label}</g>'


def _fit(words: str, room: int) -> list[str]:
    """Return the words in at most `room` lines of a label."""
    lines = wrap(words, LABEL)
    return lines if len(lines) <= room else [*lines[: room - 1], f"{lines[room - 1][: LABEL - 1]}…"]


def _text(x: int, y: int, line: str, kind: str, anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">{escape(line)}</text>'
