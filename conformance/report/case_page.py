"""The page of one case, built as a string: there are thousands of them, and a template takes five times as long.

What a target, a case or a record says goes through `escape`; the rest is numbers and our own words.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from conformance.report.bar import draw_bar
from conformance.report.baseline import Baseline
from conformance.report.frames import Seen
from conformance.report.ladder import draw_ladder
from conformance.report.overview import Entry
from conformance.report.parts import OUTCOMES, TABLE_END, badge, jitter, settings, slug, table
from conformance.report.text import NOTHING, bounds, count, duration, escape, moment, seconds, step

Record = Mapping[str, Any]

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
_HISTORY = table(
    "Earlier verdicts",
    "What baselines and the run before say of this case, the newest first.",
    ("Run", "Began", "Target", "Verdict"),
    "narrow",
)


@dataclass(frozen=True, slots=True)
class Shell:
    """What is the same on every page: before the title, between it and the body, and behind that; and how a series is drawn."""

    head: str
    middle: str
    foot: str
    series: Callable[[Mapping[str, Any], str, str], str]


@dataclass(frozen=True, slots=True)
class Around:
    """What the page of a case knows of others: its neighbours in the list, and its verdict in earlier runs."""

    previous: Entry | None
    following: Entry | None
    history: Sequence[tuple[Baseline, str]]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The capture of a case: its path in the run's folder, what is wrong with it, and its frames."""

    capture: str | None
    problem: str | None
    frames: Sequence[Seen]


def draw_page(shell: Shell, record: Record, around: Around, evidence: Evidence) -> str:
    """The page."""
    numbers = {seen.number for seen in evidence.frames}
    broken = [one for one in record["steps"] if one.get("ok") is False]
    failed = {one.get("frame") for one in broken}
    frames = evidence.frames
    start_ns = record["started_ns"] or (frames[0].at_ns if frames else 0)
    nav = _neighbours(around)
    title = f"{record['verdict']}: {escape(record['title'] or record['id'])} (IPv{record['family']})"
    return "".join(
        (
            f"{shell.head}{title}{shell.middle}{nav}",
            _header(record),
            "<main>\n",
            _verdict(record),
            _standard(record),
            _deviation(record),
            _expected(broken, numbers),
            _ladder(draw_ladder(record, frames)),
            _frames(evidence, failed, start_ns),
            _steps(record["steps"], numbers, start_ns),
            _series(record, shell),
            _timings(record["timings"]),
            _states(record["states"], start_ns),
            _choices(record["choices"]),
            _history(around.history),
            _failure(record["failure"]),
            _facts(record),
            f"</main>\n{nav}{shell.foot}",
        )
    )


def _section(anchor: str, name: str, inside: str) -> str:
    return f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{name}</h2>\n{inside}</section>\n'


def _neighbours(around: Around) -> str:
    before, after = around.previous, around.following
    first = '<span class="muted">the first case</span>'
    last = '<span class="muted">the last case</span>'
    if before is not None:
        first = f'<a rel="prev" href="{before.page}.html">← {escape(before.name)}</a>'
    if after is not None:
        last = f'<a rel="next" href="{after.page}.html">{escape(after.name)} →</a>'
    return f'<nav aria-label="Cases">\n{first}\n<a href="../index.html">Overview</a>\n{last}\n</nav>\n\n'


def _header(record: Record) -> str:
    paragraphs = "".join(
        f'<p class="description">{escape(one)}</p>\n' for one in record["description"].split("\n\n") if one.strip()
    )
    where = f"{escape(record['document'])} section {escape(record['section'])}"
    return (
        f"<header>\n<h1>{escape(record['title'] or record['id'])}</h1>\n"
        f'<p class="line">{badge(record["verdict"])} <span>{record["level"]}</span> <span>{where}</span>'
        f" <span>IPv{record['family']}</span> <span>{seconds(record['duration_s'])}</span></p>\n"
        f'<p><code class="muted">{escape(record["id"])}</code></p>\n{paragraphs}</header>\n'
    )


def _verdict(record: Record) -> str:
    again, message = record.get("ran_again"), record["message"]
    found = ""
    if again:
        said = f"It ran again by itself, after the others. The first time gave no verdict: {escape(again)}"
        found = f'<p class="warning">{said}</p>\n'
    if message:
        found += f'<p class="banner v-{slug(record["verdict"])}">{escape(message)}</p>\n'
    return found


def _standard(record: Record) -> str:
    found = "".join(map(_sentence, record["sentences"]))
    return _section("standard", "What the standard says", found) if found else ""


def _sentence(one: Mapping[str, str]) -> str:
    url, section = one["url"], f"section {escape(one['section'])}"
    if url.startswith(("https://", "http://")):
        section = f'<a href="{escape(url)}">{section}</a>'
    return (
        f"<figure>\n<blockquote>{escape(one['text'])}</blockquote>\n"
        f"<figcaption>{escape(one['id'])}, {one['level']}, {section}</figcaption>\n</figure>\n"
    )


def _deviation(record: Record) -> str:
    found = record["deviation"]
    if not found:
        return ""
    seen = f", seen {escape(found['date'])}" if "date" in found else ""
    said = (
        f"<p>{escape(found['reason'])}</p>\n<p>{escape(found['sentence'])}</p>\n"
        f'<p class="muted">Source: {escape(found["source"])}{seen}</p>\n'
    )
    return _section("deviation", "Documented deviation", said)


def _expected(broken: Sequence[Record], numbers: Collection[int]) -> str:
    if not broken:
        return ""
    rows = []
    for one in broken:
        rows.append(
            f'<tr><td>{_frame_link(one.get("frame"), numbers)}</td><th scope="row">{one["kind"]}</th>'
            f'<td>{escape(one.get("expected") or NOTHING)}</td><td class="no">✗ {escape(step(one) or "nothing")}</td></tr>\n'
        )
        for field in one.get("differences", ()):
            rows.append(
                f'<tr><td></td><th scope="row">{escape(field["field"])}</th><td>{_value(field["expected"])}</td>'
                f'<td class="no">✗ {_value(field["actual"])}</td></tr>\n'
            )
    return _section("expected", "Expected, and what came", f"{_BROKEN}{''.join(rows)}{TABLE_END}")


def _value(found: object) -> str:
    return "nothing" if found is None else escape(str(found))


def _ladder(drawn: str) -> str:
    scroll = '<div class="scroll" role="region" aria-label="Ladder diagram" tabindex="0">'
    return _section("ladder", "Ladder", f"{scroll}{drawn}</div>\n") if drawn else ""


def _frames(evidence: Evidence, failed: Collection[int | None], start_ns: int) -> str:
    said, capture = "", evidence.capture
    if evidence.problem:
        said = f'<p class="warning">The capture is not whole: {escape(evidence.problem)}.</p>\n'
    elif capture is None:
        said = '<p class="muted">No capture was recorded for this case.</p>\n'
    if capture:
        said += f'<p>Capture: <a href="../{escape(href(capture))}">{escape(capture)}</a></p>\n'
    if evidence.frames:
        rows = "".join([_frame(seen, seen.number in failed, start_ns) for seen in evidence.frames])
        said += f"{_FRAMES}{rows}{TABLE_END}"
    return _section("frames", "Frames", said)


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
    """A frame's number, which leads to its row where the page has one."""
    if number is None:
        return ""
    return f'<a href="#frame-{number}">#{number}</a>' if number in numbers else f"#{number}"


def _steps(steps: Sequence[Record], numbers: Collection[int], start_ns: int) -> str:
    if not steps:
        return ""
    rows = "".join([_step(one, numbers, start_ns) for one in steps])
    return _section("steps", "Steps", f"{_STEPS}{rows}{TABLE_END}")


def _step(one: Record, numbers: Collection[int], start_ns: int) -> str:
    at_ns, ok, until_ns = one["at_ns"], one.get("ok"), one.get("until_ns")
    waited = "" if until_ns is None else f' <span class="muted">(for {duration(until_ns - at_ns)})</span>'
    failed = ' class="failed"' if ok is False else ""
    return (
        f'<tr{failed}><td class="number">{(at_ns - start_ns) / 1e9:.6f}</td><th scope="row">{one["kind"]}</th>'
        f"<td>{_frame_link(one.get('frame'), numbers)}</td><td>{escape(step(one))}{waited}</td>"
        f'<td>{escape(one.get("expected") or "")}</td><td class="nowrap">{OUTCOMES[ok]}</td></tr>\n'
    )


def _series(record: Record, shell: Shell) -> str:
    found = record.get("series")
    if not found:
        return ""
    drawn = "\n".join(shell.series(one, f"series-{at}", "") for at, one in enumerate(found, 1))
    what = "The band is what is allowed, a diamond a time within it, a cross one outside."
    return _section(
        "series",
        "Series",
        f'<p class="muted">{what} All of the run: <a href="../timing.html">timing</a></p>\n{drawn}\n',
    )


def _timings(timings: Sequence[Record]) -> str:
    if not timings:
        return ""
    rows = "".join(map(_timing, timings))
    every = '<p class="muted">All of the run: <a href="../timing.html">timing</a></p>\n'
    return _section("timings", "Timings", f"{every}{_TIMINGS}{rows}{TABLE_END}")


def _timing(one: Record) -> str:
    shortened = one.get("shortened")
    name = escape(one["name"])
    if shortened:
        name += f'<br><span class="muted">shortened: {escape(shortened)}</span>'
    low, high, measured = one["low_s"], one["high_s"], one["measured_s"]
    return (
        f'<tr><th scope="row">{name}</th><td class="nowrap">{seconds(measured)}</td>'
        f'<td class="nowrap">{bounds(low, high)}</td><td>{draw_bar(low, high, [] if measured is None else [measured])}</td>'
        f'<td class="nowrap">{OUTCOMES[one["ok"]]}</td><td>{escape(one["source"])}</td><td>{escape(one["how"])}</td></tr>\n'
    )


def _states(states: Sequence[Record], start_ns: int) -> str:
    if not states:
        return ""
    rows = "".join(
        [
            f'<tr><td class="number">{(one["at_ns"] - start_ns) / 1e9:.6f}</td><td>{one["side"]}</td>'
            f'<th scope="row">{escape(one["state"])}</th><td>{escape(one["by"])}</td></tr>\n'
            for one in states
        ]
    )
    return _section("states", "States", f"{_STATES}{rows}{TABLE_END}")


def _choices(choices: Sequence[Record]) -> str:
    if not choices:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(one["name"])}</th><td><b>{escape(one["taken"])}</b></td>'
        f"<td>{_listed(one['allowed'])}</td></tr>\n"
        for one in choices
    )
    return _section("choices", "Choices", f"{_CHOICES}{rows}{TABLE_END}")


def _history(history: Sequence[tuple[Baseline, str]]) -> str:
    if not history:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(run.name)}</th><td>{escape(run.at or NOTHING)}</td>'
        f"<td>{escape(run.target)} {escape(run.version)}</td><td>{badge(verdict)}</td></tr>\n"
        for run, verdict in history
    )
    return _section("history", "Earlier verdicts", f"{_HISTORY}{rows}{TABLE_END}")


def _failure(failure: str) -> str:
    return _section("failure", "Failure in full", f'<pre tabindex="0">{escape(failure)}</pre>\n') if failure else ""


def _facts(record: Record) -> str:
    target, tester, run = record["target"], record["tester"], record["run"]
    irs = "unknown" if tester["irs"] is None else tester["irs"]
    named = (
        ("Requirements", record["requirements"]),
        ("Cells", record["cells"]),
        ("Claims", record["claims"]),
        ("Needs", record["needs"]),
    )
    facts = [
        ("Target", escape(f"{target['name']} {target['version']}, {target['address']} port {tester['target_port']}")),
        ("Profile", escape(target["profile"] or "none")),
        ("Settings", settings(target["settings"])),
        ("Tester", f"{escape(tester['address'])} port {tester['port']}"),
        ("First numbers", f"tester {tester['iss']}, target {irs}"),
        *((name, _listed(found)) for name, found in named if found),
        ("Began", moment(record["started_ns"])),
        ("Run", escape(f"{run['id']}, harness {run['harness']}, Python {run['python']}")),
        ("Harness's jitter", escape(jitter(run["jitter"]))),
    ]
    if sent := record.get("sent"):
        facts.append(("Sent", f"{count(sent['packets'], 'packet')}, at most {sent['peak_per_s']:,} in a second"))
    rows = "".join([f"<div><dt>{name}</dt><dd>{found}</dd></div>\n" for name, found in facts])
    command = f'<div class="wide"><dt>Command</dt><dd><code>{escape(run["command"])}</code></dd></div>\n'
    return _section("facts", "About this case", f'<dl class="facts">\n{rows}{command}</dl>\n')


def _listed(names: Iterable[str]) -> str:
    return escape(", ".join(names))


def href(path: str) -> str:
    """A path as a link has it."""
    return quote(path.encode("utf-8", "replace"))
