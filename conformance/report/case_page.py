"""The page of one case, built as a string: there are thousands of them, and a template takes five times as long.

Text from a target, a case or a record goes through `escape`; the rest is numbers and our own words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conformance.record.case import (
    CaseRecord,
    Sentence,
    SeriesFacts,
)
from conformance.report.baseline import Baseline
from conformance.report.case_evidence import (
    Evidence,
    choices_section,
    expected_section,
    frames_section,
    listed,
    section,
    series_section,
    states_section,
    steps_section,
    timings_section,
)
from conformance.report.ladder import draw_ladder
from conformance.report.overview import Entry
from conformance.report.parts import TABLE_END, badge, jitter, settings, slug, table
from conformance.report.text import NOTHING, count, escape, moment, seconds

_HISTORY = table(
    "Earlier verdicts",
    "What baselines and the run before say of this case, the newest first.",
    ("Run", "Began", "Target", "Verdict"),
    "narrow",
)


@dataclass(frozen=True, slots=True)
class Shell:
    """The parts that all pages share: before the title, between it and the body, after the body; and a series' renderer."""

    head: str
    middle: str
    foot: str
    series: Callable[[SeriesFacts, str, str], str]


@dataclass(frozen=True, slots=True)
class Around:
    """The case's neighbours in the list of cases, and its verdicts in earlier runs."""

    previous: Entry | None
    following: Entry | None
    history: Sequence[tuple[Baseline, str]]


def draw_page(shell: Shell, record: CaseRecord, around: Around, evidence: Evidence) -> str:
    """Return the page as HTML."""
    numbers = {seen.number for seen in evidence.frames}
    broken = [one for one in record.steps if one.ok is False]
    failed = {one.frame for one in broken}
    frames = evidence.frames
    start_ns = record.started_ns or (frames[0].at_ns if frames else 0)
    nav = _neighbours(around)
    title = f"{record.verdict}: {escape(record.title or record.id)} (IPv{record.family})"
    return "".join(
        (
            f"{shell.head}{title}{shell.middle}{nav}",
            _header(record),
            '<main id="main">\n',
            _verdict(record),
            _standard(record),
            _deviation(record),
            expected_section(broken, numbers),
            _ladder(draw_ladder(record, frames)),
            frames_section(evidence, failed, start_ns),
            steps_section(record.steps, numbers, start_ns),
            series_section(record.series, shell.series),
            timings_section(record.timings),
            states_section(record.states, start_ns),
            choices_section(record.choices),
            _history(around.history),
            _failure(record.failure),
            _facts(record),
            f"</main>\n{nav}{shell.foot}",
        )
    )


def _neighbours(around: Around) -> str:
    before, after = around.previous, around.following
    first = '<span class="muted">the first case</span>'
    last = '<span class="muted">the last case</span>'
    if before is not None:
        first = f'<a rel="prev" href="{before.page}.html">← {escape(before.name)}</a>'
    if after is not None:
        last = f'<a rel="next" href="{after.page}.html">{escape(after.name)} →</a>'
    return f'<nav aria-label="Cases">\n{first}\n<a href="../cases.html">All cases</a>\n{last}\n</nav>\n\n'


def _header(record: CaseRecord) -> str:
    paragraphs = "".join(
        f'<p class="description">{escape(one)}</p>\n' for one in record.description.split("\n\n") if one.strip()
    )
    where = f"{escape(record.document)} section {escape(record.section)}"
    return (
        f"<header>\n<h1>{escape(record.title or record.id)}</h1>\n"
        f'<p class="line">{badge(record.verdict)} <span>{record.level}</span> <span>{where}</span>'
        f" <span>IPv{record.family}</span> <span>{seconds(record.duration_s)}</span></p>\n"
        f'<p><code class="muted">{escape(record.id)}</code></p>\n{paragraphs}</header>\n'
    )


def _verdict(record: CaseRecord) -> str:
    again, message = record.ran_again, record.message
    banners = ""
    if again:
        warning = f"It ran again by itself, after the others. The first time gave no verdict: {escape(again)}"
        banners = f'<p class="warning">{warning}</p>\n'
    if message:
        banners += f'<p class="banner v-{slug(record.verdict)}">{escape(message)}</p>\n'
    return banners


def _standard(record: CaseRecord) -> str:
    quotations = "".join(map(_sentence, record.sentences))
    return section("standard", "What the standard says", quotations) if quotations else ""


def _sentence(sentence: Sentence) -> str:
    url, section = sentence.url, f"section {escape(sentence.section)}"
    if url.startswith(("https://", "http://")):
        section = f'<a href="{escape(url)}">{section}</a>'
    return (
        f"<figure>\n<blockquote>{escape(sentence.text)}</blockquote>\n"
        f"<figcaption>{escape(sentence.id)}, {sentence.level}, {section}</figcaption>\n</figure>\n"
    )


def _deviation(record: CaseRecord) -> str:
    deviation = record.deviation
    if not deviation:
        return ""
    seen = f", seen {escape(deviation.date)}" if deviation.date else ""
    paragraphs = (
        f"<p>{escape(deviation.reason)}</p>\n<p>{escape(deviation.sentence)}</p>\n"
        f'<p class="muted">Source: {escape(deviation.source)}{seen}</p>\n'
    )
    return section("deviation", "Documented deviation", paragraphs)


def _ladder(drawn: str) -> str:
    scroll = '<div class="scroll" role="region" aria-label="Ladder diagram" tabindex="0">'
    return section("ladder", "Ladder", f"{scroll}{drawn}</div>\n") if drawn else ""


def _history(history: Sequence[tuple[Baseline, str]]) -> str:
    if not history:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(run.name)}</th><td>{escape(run.at or NOTHING)}</td>'
        f"<td>{escape(run.target)} {escape(run.version)}</td><td>{badge(verdict)}</td></tr>\n"
        for run, verdict in history
    )
    return section("history", "Earlier verdicts", f"{_HISTORY}{rows}{TABLE_END}")


def _failure(failure: str) -> str:
    return section("failure", "Failure in full", f'<pre tabindex="0">{escape(failure)}</pre>\n') if failure else ""


def _facts(record: CaseRecord) -> str:
    target, tester, run = record.target, record.tester, record.run
    irs = "unknown" if tester.irs is None else tester.irs
    named = (
        ("Requirements", record.requirements),
        ("Cells", record.cells),
        ("Claims", record.claims),
        ("Needs", record.needs),
    )
    facts = [
        ("Target", escape(f"{target.name} {target.version}, {target.address} port {tester.target_port}")),
        ("Profile", escape(target.profile or "none")),
        ("Settings", settings(target.settings)),
        ("Tester", f"{escape(tester.address)} port {tester.port}"),
        ("First numbers", f"tester {tester.iss}, target {irs}"),
        *((name, listed(ids)) for name, ids in named if ids),
        ("Began", moment(record.started_ns)),
        ("Run", escape(f"{run.id}, harness {run.harness}, Python {run.python}")),
        ("Harness's jitter", escape(jitter(run.jitter))),
    ]
    if sent := record.sent:
        facts.append(("Sent", f"{count(sent.packets, 'packet')}, at most {sent.peak_per_s:,} in a second"))
    rows = "".join([f"<div><dt>{name}</dt><dd>{fact}</dd></div>\n" for name, fact in facts])
    command = f'<div class="wide"><dt>Command</dt><dd><code>{escape(run.command)}</code></dd></div>\n'
    return section("facts", "About this case", f'<dl class="facts">\n{rows}{command}</dl>\n')
