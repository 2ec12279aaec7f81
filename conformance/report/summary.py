"""A run in a few lines: its headline, and a summary in Markdown for a merge request."""

import re
from collections import Counter
from collections.abc import Sequence

from conformance.report.changes import Change, Changes
from conformance.report.overview import Entry, Overview
from conformance.report.text import LEVELS, NOTHING, VERDICTS, clean, count

LISTED = 20  # cases named under a heading
_SPECIAL = re.compile(r"([\\`*_\[\]#|~$@])")


def headline(counts: Counter[str], since: Changes | None = None) -> tuple[str, str]:
    """Return the verdict over the whole run, as the verdict that colours it and the words.

    Verdicts that are lost since a baseline are part of it, with those that the target's file accounts for.
    """
    verdict, words = _of_counts(counts)
    if since is None or not since.lost:
        return verdict, words
    lost = since.unjudged or since.too_many_inconclusive
    return "inconclusive" if lost and verdict == "conforms" else verdict, "; ".join((words, *since.lost))


def _of_counts(counts: Counter[str]) -> tuple[str, str]:
    violating = counts["violates"]
    if violating:
        return "violates", f"{count(violating, 'case')} {'violates' if violating == 1 else 'violate'}"
    unclear = counts["error"] + counts["inconclusive"]
    if unclear:
        return "inconclusive", f"Nothing violates, but {count(unclear, 'case')} gave no verdict"
    if not counts["conforms"] + counts["deviates"] + counts["breaks should"]:
        return "inconclusive", "No case was judged"
    return "conforms", "Conforms: nothing violates"


def as_markdown(overview: Overview) -> str:
    """Return the run for GitHub and GitLab: headline, counts, violations, and changes since the baseline."""
    verdict, words = headline(overview.counts, overview.changes)
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
    for entry in entries[:LISTED]:
        where = f"{entry.document} {entry.section}, IPv{entry.family}"
        lines.append(f"- {_escaped(entry.title or entry.id)} ({_escaped(where)}): {_escaped(entry.message or NOTHING)}")
    return [*lines, *_more(entries), ""]


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
