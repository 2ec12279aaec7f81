"""Filters that need no script: a list of choices, and a style sheet that hides the rows that were not chosen.

A row has words in `data-is`: `violates`, `level-must`, `in-closing`, `s-rfc9293-3-6`. An option's value is such a word.
Document and section are the same for all rows of a part of the page, so the part has them, in `data-part`: a browser
needed longer than for all else to match thousands of rows against a hundred sections. The rules below are all that CSS
needs; `filter.js` does the same where script is allowed, and searches text.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from conformance.report.matrix import RequirementRow
from conformance.report.overview import Entry
from conformance.report.state_map import STATES
from conformance.report.text import LEVELS, VERDICTS


@dataclass(frozen=True, slots=True)
class Filter:
    """One list of choices: its name, and each choice's word with what people read; whether it chooses whole parts."""

    name: str
    choices: Sequence[tuple[str, str]]
    of_parts: bool = False


def tokens(row: Mapping[int, Entry]) -> str:
    """Return the words of a case's row: of both families."""
    words: dict[str, None] = {}
    for entry in row.values():
        words |= dict.fromkeys((_word(entry.verdict), _word("level", entry.level), _word("on", entry.target)))
        words |= dict.fromkeys((_word("d", entry.document), _word("s", entry.document, entry.section)))
        words |= dict.fromkeys(_word("in", state) for state in entry.states)
    return " ".join(words)


def part_tokens(document: str, sections: Iterable[str]) -> str:
    """Return the words of a part of the page: its document, and its sections if it is a list of cases."""
    return " ".join((_word("d", document), *(_word("s", document, section) for section in sections)))


def requirement_tokens(row: RequirementRow) -> str:
    """Return the words of a requirement's row."""
    return " ".join((_word(row.verdict), _word("level", row.level), _word("d", row.document)))


def of_cases(order: Iterable[Entry], *, several: bool) -> list[Filter]:
    """Return the filters of a list of cases, without filters that have a single choice."""
    entries = list(order)
    seen = {state for entry in entries for state in entry.states}
    sections: dict[str, str] = {}
    for entry in entries:
        sections[_word("d", entry.document)] = f"{entry.document or 'no document'}, all sections"
        sections[_word("s", entry.document, entry.section)] = f"{entry.document} section {entry.section}"
    states = [*STATES, *sorted(seen - set(STATES))]
    filters = [
        *_common({entry.verdict for entry in entries}, {entry.level for entry in entries}),
        Filter("Section", list(sections.items()), of_parts=True),
        Filter("State", [(_word("in", state), state) for state in states if state in seen]),
    ]
    if several:
        filters.append(
            Filter("Target", [(_word("on", one), one) for one in sorted({entry.target for entry in entries})])
        )
    return [each for each in filters if len(each.choices) > 1]


def of_requirements(rows: Iterable[RequirementRow]) -> list[Filter]:
    """Return the filters of the requirement matrix."""
    all_rows = list(rows)
    documents = dict.fromkeys(row.document for row in all_rows)
    every = [
        *_common({row.verdict for row in all_rows}, {row.level for row in all_rows}),
        Filter("Document", [(_word("d", one), one or "no document") for one in documents], of_parts=True),
    ]
    return [one for one in every if len(one.choices) > 1]


def _common(verdicts: set[str], levels: set[str]) -> list[Filter]:
    return [
        Filter("Verdict", [(_word(one), one) for one in VERDICTS if one in verdicts]),
        Filter("Level", [(_word("level", one), one) for one in LEVELS if one in levels]),
    ]


def rules(filters: Iterable[Filter]) -> str:
    """Return the style sheet: a chosen word hides the rows and parts that don't have it."""
    words = {word: one.of_parts for one in filters for word, _ in one.choices}
    hidden = []
    for word, of_parts in words.items():
        chosen = f'main:has(.filter option[value="{word}"]:checked)'
        if of_parts:
            hidden.append(f'{chosen} .part:not([data-part~="{word}"])')
        else:
            hidden.append(f'{chosen} [data-is]:not([data-is~="{word}"])')
            hidden.append(f'{chosen} .part:not(:has([data-is~="{word}"]))')
    head = "/* Made with the pages: which rows a choice hides. */\n"
    return head + (",\n".join(hidden) + " { display: none; }\n" if hidden else "")


@cache
def _word(*parts: str) -> str:
    """Return a word for a class of rows: letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-") or "none"
