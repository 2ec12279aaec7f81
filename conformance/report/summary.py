"""A run in a few lines: its headline, and a summary in Markdown for a merge request."""

import re
from collections.abc import Iterator, Sequence

from conformance.report.causes import causes
from conformance.report.changes import Change
from conformance.report.overview import Entry, Overview
from conformance.report.text import LEVELS, NOTHING, VERDICTS, clean, count

LISTED = 20  # cases named under a heading
_SPECIAL = re.compile(r"([\\`*_\[\]#|~$@])")


def headline(overview: Overview) -> tuple[str, str]:
    """Return the verdict over the whole run, as the verdict that colours it and the words.

    Known deviations are part of it, and what was lost since a baseline.
    """
    verdict, words = _judged(overview)
    since = overview.changes
    if since is None:
        return verdict, words
    if verdict == "conforms" and not (since.worse or since.lost):
        words += f"; nothing got worse since {since.since.name}"
    lost = since.unjudged or since.too_many_inconclusive
    return "inconclusive" if lost and verdict == "conforms" else verdict, "; ".join((words, *since.lost))


def _judged(overview: Overview) -> tuple[str, str]:
    counts = overview.counts
    violating = counts["violates"]
    if violating:
        return "violates", f"{count(violating, 'case')} {'violates' if violating == 1 else 'violate'}"
    unclear = counts["error"] + counts["inconclusive"]
    if unclear:
        return "inconclusive", f"Nothing violates, but {count(unclear, 'case')} gave no verdict"
    if not counts["conforms"] + counts["deviates"] + counts["breaks should"]:
        return "inconclusive", "No case was judged"
    return "conforms", "; ".join(_otherwise(overview)) or "Conforms: nothing violates"


def _otherwise(overview: Overview) -> Iterator[str]:
    """Yield how a run in which nothing violates differs from the standards."""
    known, should = overview.deviations.values(), overview.counts["breaks should"]
    if known:
        of_must = sum("MUST" in group.levels for group in known)
        most = f", {of_must:,} of them of a MUST" if of_must else ", none of them of a MUST"
        yield f"Nothing new: {count(len(known), 'known deviation')}{most}"
    if should:
        words = f"{count(should, 'case')} {'breaks' if should == 1 else 'break'} a SHOULD"
        yield words if known else f"Nothing violates, but {words}"


def as_markdown(overview: Overview) -> str:
    """Return the run for GitHub and GitLab: headline, counts, violations, and changes since the baseline."""
    verdict, words = headline(overview)
    targets = ", ".join(f"{one.name} {one.version}" for one in overview.targets.values())
    lines = [f"## {VERDICTS[verdict]} TCP conformance: {words}", ""]
    if overview.run:
        run = overview.run
        lines += [f"{_escaped(targets)}, {_escaped(run.id)}, harness {_escaped(run.harness)}", ""]
    if overview.problems:
        lines += [f"{count(len(overview.problems), 'line')} of the record can't be read.", ""]
    shown = [one for one in VERDICTS if overview.counts[one]]
    if shown:
        lines += [f"| level | {' | '.join(shown)} |", f"| --- |{' ---: |' * len(shown)}"]
        for level in LEVELS:
            lines.append(f"| {level} | {' | '.join(f'{overview.table[level, one]:,}' for one in shown)} |")
        lines += [f"| all | {' | '.join(f'{overview.counts[one]:,}' for one in shown)} |", ""]
    order = overview.order
    for title in ("violates", "error"):
        lines += _cases(title, [entry for entry in order if entry.verdict == title])
    return "\n".join((*lines, *_changes(overview))).rstrip() + "\n"


def _cases(title: str, entries: Sequence[Entry]) -> list[str]:
    if not entries:
        return []
    lines = [f"### {title} ({len(entries):,})", ""]
    groups = causes(entries)
    for group in groups[:LISTED]:
        entry, more = group.example, len(group.cases) - 1
        where = f"{entry.document} {entry.section}, IPv{entry.family}"
        alike = f"; {count(more, 'more case')} of {_escaped(group.requirement)} alike" if more else ""
        title, message = _escaped(entry.title or entry.id), _escaped(entry.message or NOTHING)
        lines.append(f"- {title} ({_escaped(where)}): {message}{alike}")
    return [*lines, *_more(groups), ""]


def _changes(overview: Overview) -> list[str]:
    changes = overview.changes
    if changes is None:
        return []
    since = f"{changes.since.name} ({changes.since.target} {changes.since.version})"
    lines = [f"### since {_escaped(since)}: {'worse' if changes.worse else 'nothing got worse'}", ""]
    lines += [f"- {_escaped(line)}" for line in changes.lost] + ([""] if changes.lost else [])
    for title, group in changes.groups():
        lines += [f"{title} ({len(group):,}):", ""] if group else []
        lines += [f"- {_escaped(_line(one))}" for one in group[:LISTED]]
        lines += [*_more(group), ""] if group else []
    return lines


def _line(entry: Change | str) -> str:
    return entry if isinstance(entry, str) else entry.line


def _more(group: Sequence[object]) -> list[str]:
    return [f"- and {len(group) - LISTED:,} more"] if len(group) > LISTED else []


def _escaped(words: str) -> str:
    """Escape what Markdown would take as markup: a target may send any text."""
    plain = " ".join(clean(words).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", plain)
