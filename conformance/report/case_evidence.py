"""Render the evidence on a case's page: a section each for frames, steps, times, states and choices.

Text from a target, a case or a record goes through `escape`; the rest is numbers and our own words.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from conformance.record.case import ChoiceTaken, SeriesFacts, StateSeen, Step, TimingFacts
from conformance.report.bar import draw_bar
from conformance.report.frames import Seen
from conformance.report.parts import OUTCOMES, TABLE_END, table
from conformance.report.text import NOTHING, bounds, duration, escape, seconds

_BROKEN = table(
    "Expected, and what came",
    "Each expectation that was not met, field by field.",
    ("Frame", "Field", "Expected", "What came"),
    "",
)
_FRAMES = table(
    "Frames",
    "Sequence numbers count from each end's first one, so that its SYN is +0. Time in seconds since the case began.",
    ("No.", "#Time", "Direction", "Flags", "#seq", "#ack", "#Length", "#Window", "Options", "Comment"),
    "frames",
)
_STEPS = table(
    "Steps",
    "What the case did and asked, in the order of time.",
    ("#Time", "Step", "Frame", "What happened", "Expected", "As expected"),
    "",
)
_TIMINGS = table(
    "Timings",
    "The band is what is allowed, a diamond a time within it, a cross one outside.",
    ("Timer", "Measured", "Allowed", "Picture", "Within", "Bounds from", "How it was measured"),
    "",
)
_STATES = table("States", "States seen, and who says so.", ("#Time", "Side", "State", "By"), "narrow")
_CHOICES = table(
    "Choices",
    "What the target chose where the standard leaves it free. Recorded, never judged.",
    ("Question", "Taken", "Allowed"),
    "narrow",
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The capture of a case: its path in the run's folder, what is wrong with it, and its frames."""

    capture: str | None
    problem: str | None
    frames: Sequence[Seen]


def section(anchor: str, name: str, inside: str) -> str:
    """Return a section with its heading."""
    return f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{name}</h2>\n{inside}</section>\n'


def expected_section(broken: Sequence[Step], numbers: Collection[int]) -> str:
    """Return the expectations that were not met, field by field."""
    if not broken:
        return ""
    rows = []
    for step in broken:
        rows.append(
            f'<tr><td>{_frame_link(step.frame, numbers)}</td><th scope="row">{step.kind}</th>'
            f'<td>{escape(step.expected or NOTHING)}</td><td class="no">✗ {escape(str(step) or "nothing")}</td></tr>\n'
        )
        for field in step.differences:
            rows.append(
                f'<tr><td></td><th scope="row">{escape(field.field)}</th><td>{_value(field.expected)}</td>'
                f'<td class="no">✗ {_value(field.actual)}</td></tr>\n'
            )
    return section("expected", "Expected, and what came", f"{_BROKEN}{''.join(rows)}{TABLE_END}")


def _value(value: object) -> str:
    return "nothing" if value is None else escape(str(value))


def frames_section(evidence: Evidence, failed: Collection[int | None], start_ns: int) -> str:
    """Return the link to the capture and the table of its frames."""
    content, capture = "", evidence.capture
    if evidence.problem:
        content = f'<p class="warning">The capture is not whole: {escape(evidence.problem)}.</p>\n'
    elif capture is None:
        content = '<p class="muted">No capture was recorded for this case.</p>\n'
    if capture:
        content += f'<p>Capture: <a href="../{escape(href(capture))}">{escape(capture)}</a></p>\n'
    if evidence.frames:
        rows = "".join([_frame(seen, seen.number in failed, start_ns) for seen in evidence.frames])
        content += f"{_FRAMES}{rows}{TABLE_END}"
    return section("frames", "Frames", content)


def _frame(seen: Seen, failed: bool, start_ns: int) -> str:
    packet, number = seen.packet, seen.number
    tcp = packet.tcp
    if tcp:
        ports = f'<br><span class="muted">{seen.ports}</span>' if seen.ports else ""
        says = (
            f'<td>{tcp.flag_names}{ports}</td><td class="number">{seen.seq}</td><td class="number">{seen.ack}</td>'
            f'<td class="number">{tcp.length}</td><td class="number">{tcp.window}</td><td>{seen.options}</td>'
        )
    else:
        says = f'<td colspan="6">{packet.kind} {escape(packet.text)}</td>'
    problems = f'<span class="no">{escape("; ".join(packet.problems))}</span> ' if packet.problems else ""
    kind, sign = (' class="failed"', "✗ ") if failed else ("", "")
    return (
        f'<tr id="frame-{number}"{kind}><th scope="row">{sign}{number}</th>'
        f'<td class="number">{(seen.at_ns - start_ns) / 1e9:.6f}</td>'
        f'<td class="nowrap">{"← target" if seen.inbound else "tester →"}</td>'
        f"{says}<td>{problems}{escape(seen.comment)}</td></tr>\n"
    )


def _frame_link(number: int | None, numbers: Collection[int]) -> str:
    """Return a frame's number, as a link if the page has a row for the frame."""
    if number is None:
        return ""
    return f'<a href="#frame-{number}">#{number}</a>' if number in numbers else f"#{number}"


def steps_section(steps: Sequence[Step], numbers: Collection[int], start_ns: int) -> str:
    """Return the table of steps."""
    if not steps:
        return ""
    rows = "".join([_step(step, numbers, start_ns) for step in steps])
    return section("steps", "Steps", f"{_STEPS}{rows}{TABLE_END}")


def _step(step: Step, numbers: Collection[int], start_ns: int) -> str:
    at_ns, ok, until_ns = step.at_ns, step.ok, step.until_ns
    waited = "" if until_ns is None else f' <span class="muted">(for {duration(until_ns - at_ns)})</span>'
    failed = ' class="failed"' if ok is False else ""
    return (
        f'<tr{failed}><td class="number">{(at_ns - start_ns) / 1e9:.6f}</td><th scope="row">{step.kind}</th>'
        f"<td>{_frame_link(step.frame, numbers)}</td><td>{escape(str(step))}{waited}</td>"
        f'<td>{escape(step.expected or "")}</td><td class="nowrap">{OUTCOMES[ok]}</td></tr>\n'
    )


def series_section(series: Sequence[SeriesFacts], draw: Callable[[SeriesFacts, str, str], str]) -> str:
    """Return the pictures of the series."""
    if not series:
        return ""
    drawn = "\n".join(draw(one, f"series-{at}", "") for at, one in enumerate(series, 1))
    what = "The band is what is allowed, a diamond a time within it, a cross one outside."
    return section(
        "series",
        "Series",
        f'<p class="muted">{what} All of the run: <a href="../timing.html">timing</a></p>\n{drawn}\n',
    )


def timings_section(timings: Sequence[TimingFacts]) -> str:
    """Return the table of single times."""
    if not timings:
        return ""
    rows = "".join(map(_timing, timings))
    every = '<p class="muted">All of the run: <a href="../timing.html">timing</a></p>\n'
    return section("timings", "Timings", f"{every}{_TIMINGS}{rows}{TABLE_END}")


def _timing(timing: TimingFacts) -> str:
    shortened = timing.shortened
    name = escape(timing.name)
    if shortened:
        name += f'<br><span class="muted">shortened: {escape(shortened)}</span>'
    low, high, measured = timing.low_s, timing.high_s, timing.measured_s
    return (
        f'<tr><th scope="row">{name}</th><td class="nowrap">{seconds(measured)}</td>'
        f'<td class="nowrap">{bounds(low, high)}</td><td>{draw_bar(low, high, [] if measured is None else [measured])}</td>'
        f'<td class="nowrap">{OUTCOMES[timing.ok]}</td><td>{escape(timing.source)}</td><td>{escape(timing.how)}</td></tr>\n'
    )


def states_section(states: Sequence[StateSeen], start_ns: int) -> str:
    """Return the table of states."""
    if not states:
        return ""
    rows = "".join(
        [
            f'<tr><td class="number">{(one.at_ns - start_ns) / 1e9:.6f}</td><td>{one.side}</td>'
            f'<th scope="row">{escape(one.state)}</th><td>{escape(one.by)}</td></tr>\n'
            for one in states
        ]
    )
    return section("states", "States", f"{_STATES}{rows}{TABLE_END}")


def choices_section(choices: Sequence[ChoiceTaken]) -> str:
    """Return the table of choices."""
    if not choices:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(one.name)}</th><td><b>{escape(one.taken)}</b></td>'
        f"<td>{listed(one.allowed)}</td></tr>\n"
        for one in choices
    )
    return section("choices", "Choices", f"{_CHOICES}{rows}{TABLE_END}")


def listed(names: Iterable[str]) -> str:
    """Return names in one line."""
    return escape(", ".join(names))


def href(path: str) -> str:
    """Return a path, quoted for a link."""
    return quote(path.encode("utf-8", "replace"))
