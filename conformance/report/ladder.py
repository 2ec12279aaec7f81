"""The ladder diagram of a case: two lifelines, an arrow per frame, and what the case asked in between.

Rows stand in the order of time and are as high as their text; the distance between them says nothing
about time, the gutter on the left does. A row is drawn from the top down: `Canvas.y` is where the next one
may start, and each side column remembers how far down its own text reaches.
"""

from collections.abc import Sequence

from markupsafe import Markup

from conformance.record.case import CaseRecord
from conformance.report.frames import Seen
from conformance.report.ladder_events import LadderEvent, ladder_events
from conformance.report.text import clean, count, duration, escape, wrap

WIDTH = 920
TESTER_X, TARGET_X = 280, 760
MIDDLE = (TESTER_X + TARGET_X) // 2
LINE = 16  # px from one baseline to the next
SLANT = 8  # px an arrow falls on its way
LONG_WAIT = 1_000_000_000  # ns without an event, from which on the wait is drawn as a break
MOST = 400  # events drawn; of more, the first and the last


class _Canvas:
    def __init__(self) -> None:
        self.y = 0
        self.row = 0  # where the current row's mark stands: states go beside it
        self.reach = {"tester": 0, "target": 0}
        self.parts: list[str] = []

    def write(self, x: int, y: int, line: str, kind: str, anchor: str = "middle") -> None:
        self.parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">{escape(line)}</text>')

    def lines(self, x: int, lines: Sequence[str], kind: str, anchor: str = "middle") -> None:
        for line in lines:
            self.y += LINE
            self.write(x, self.y, line, kind, anchor)

    def arrow(self, inbound: bool, kind: str) -> None:
        start, end = (TARGET_X, TESTER_X) if inbound else (TESTER_X, TARGET_X)
        back = 10 if inbound else -10
        top, tip = self.y + 7, self.y + 7 + SLANT
        self.parts.append(f'<path class="arrow {kind}" d="M{start} {top}L{end} {tip}"/>')
        self.parts.append(f'<path class="head {kind}" d="M{end} {tip}l{back} -5v10z"/>')
        self.row = top + 4
        self.y = tip + 6

    def state(self, side: str, lines: Sequence[str]) -> None:
        y = max(self.row, self.reach[side] + LINE)
        x, anchor = (TESTER_X - 12, "end") if side == "tester" else (TARGET_X + 12, "start")
        for index, line in enumerate(lines):
            self.write(x, y, line, "state" if index == 0 else "by", anchor)
            y += LINE
        self.reach[side] = y - LINE + 4
        self.y = max(self.y, self.reach[side])


def draw_ladder(record: CaseRecord, frames: Sequence[Seen]) -> Markup:
    """Return the diagram as inline SVG without styles; empty without any event.

    `record` is a case's record, `frames` what `relate` made of its capture (none: drawn from the steps).
    """
    events = sorted(ladder_events(record, frames), key=lambda event: event.at_ns)
    if not events:
        return Markup("")
    left_out = max(0, len(events) - MOST)
    if left_out:
        gap = LadderEvent(events[MOST // 2].at_ns, "note", [f"{count(left_out, 'event')} left out: see the tables"])
        events = [*events[: MOST // 2], gap, *events[-MOST // 2 :]]
    canvas = _Canvas()
    _heads(canvas, record)
    top = canvas.y
    last_event = events[0].at_ns
    last_frame: int | None = None
    for event in events:
        if event.at_ns - last_event >= LONG_WAIT:
            _break(canvas, event.at_ns - last_event)
        _draw(canvas, event, last_frame)
        last_event = event.at_ns
        if event.number is not None:
            last_frame = event.at_ns
    height = canvas.y + 16
    rails = "".join(f'<path class="rail" d="M{x} {top}V{height - 4}"/>' for x in (TESTER_X, TARGET_X))
    return Markup(  # all text went through escape()
        f'<svg class="ladder" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" aria-labelledby="ladder-title ladder-desc">'
        f'<title id="ladder-title">Ladder diagram</title><desc id="ladder-desc">{_described(events)}</desc>'
        f"{rails}{''.join(canvas.parts)}</svg>"
    )


def _described(events: Sequence[LadderEvent]) -> str:
    """Return the diagram in words, for screen readers."""
    frames = count(sum(event.kind == "frame" for event in events), "frame")
    broken = count(sum(event.kind != "frame" and event.failed for event in events), "expectation")
    return (
        f"{frames} between the tester on the left and the target on the right, from the top down; "
        f"{broken} not met. The tables below say the same."
    )


def _heads(canvas: _Canvas, record: CaseRecord) -> None:
    target, tester = record.target, record.tester
    left = ["tester", tester.address, f"port {tester.port}"]
    name = f"{target.name} {target.version}".strip()
    right = [*wrap(name or "target", 34)[:2], target.address, f"port {tester.target_port}"]
    deepest = 0
    for x, lines in (TESTER_X, left), (TARGET_X, right):
        canvas.y = 4
        canvas.lines(x, [clean(lines[0])], "who")
        canvas.lines(x, [wrap(line, 40)[0] for line in lines[1:]], "address")
        deepest = max(deepest, canvas.y)
    canvas.y = canvas.row = deepest + 8


def _break(canvas: _Canvas, waited: int) -> None:
    top = canvas.y + 6
    for x in TESTER_X, TARGET_X:
        canvas.parts.append(f'<path class="gap" d="M{x} {top}v20"/>')
        canvas.parts.append(f'<path class="zigzag" d="M{x} {top}l-7 4l14 4l-14 4l14 4l-7 4"/>')
    canvas.write(MIDDLE, top + 15, f"{duration(waited)} pass", "wait")
    canvas.y = canvas.row = top + 24


def _draw(canvas: _Canvas, event: LadderEvent, last_frame: int | None) -> None:
    failed = "failed" if event.failed else ""
    if event.kind == "state":
        canvas.state(event.side, [*event.text, *event.notes])
        return
    if event.kind in ("frame", "expected"):
        canvas.lines(MIDDLE, event.text, f"label {failed}")
        canvas.lines(MIDDLE, event.notes, "quiet")
        canvas.arrow(event.inbound, "dashed failed" if event.kind == "expected" else failed)
        if event.number is not None:
            canvas.write(8, canvas.row, f"#{event.number}", "number", "start")
            if last_frame is not None:
                canvas.write(132, canvas.row, f"+{duration(event.at_ns - last_frame)}", "delta", "end")
        return
    top = canvas.y + 6
    if event.kind == "app":
        canvas.y += 4
        canvas.lines(TARGET_X - 16, event.text, f"app {failed}", "end")
        canvas.parts.append(f'<path class="call {failed}" d="M{TARGET_X - 10} {top + 4}l10 5l-10 5z"/>')
    else:
        canvas.y += 6
        shape = f'<rect class="{event.kind} {failed}" x="{TESTER_X + 12}" y="{top}" width="{TARGET_X - TESTER_X - 24}"'
        canvas.parts.append(f'{shape} height="{len(event.text) * LINE + 6}" rx="4"/>')
        canvas.lines(MIDDLE, event.text, f"mark {failed}")
    canvas.row = top + LINE - 4
    canvas.y += 10
