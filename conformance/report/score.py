"""Score a run by document and section: how many requirements of each level have which verdict."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from markupsafe import Markup

from conformance.report.matrix import RequirementRow, natural
from conformance.report.parts import slug
from conformance.report.text import LEVELS, VERDICTS

_FIRST = "RFC9293"
_NOT_COUNTED = "not applicable"
WIDTH, HEIGHT = 100, 8


@dataclass(slots=True)
class Score:
    """The verdicts of the requirements of one document or section, by level."""

    name: str
    levels: dict[str, Counter[str]] = field(default_factory=dict)
    sections: dict[str, "Score"] = field(default_factory=dict)

    def add(self, level: str, verdict: str) -> None:
        """Count a requirement."""
        self.levels.setdefault(level, Counter())[verdict] += 1

    @property
    def all(self) -> Counter[str]:
        """The verdicts of all levels together."""
        return sum(self.levels.values(), Counter())


def scores(rows: Iterable[RequirementRow]) -> list[Score]:
    """Return the score of each document, RFC 9293 first; each has its sections."""
    documents: dict[str, Score] = {}
    for row in rows:
        document = documents.setdefault(row.document, Score(row.document))
        document.add(row.level, row.verdict)
        document.sections.setdefault(row.section, Score(row.section)).add(row.level, row.verdict)
    return sorted(documents.values(), key=lambda document: document_rank(document.name))


def document_rank(name: str) -> tuple[bool, bool, list[Any]]:
    """Return a key that sorts documents: RFC 9293 first, then RFCs by number, then what is no RFC."""
    return name != _FIRST, not name.startswith("RFC"), natural(name)


def levels_of(all_scores: Iterable[Score]) -> list[str]:
    """Return the levels that any score has, MUST first."""
    seen = {level for score in all_scores for level in score.levels}
    return [level for level in (*LEVELS, "") if level in seen]


def share(counts: Mapping[str, int]) -> Markup:
    """Return a bar and the words "34 of 36": what conforms among what was judged; empty where there is nothing."""
    judged = {verdict: counts.get(verdict, 0) for verdict in VERDICTS if verdict != _NOT_COUNTED}
    total = sum(judged.values())
    if not total:
        skipped = counts.get(_NOT_COUNTED, 0)
        return Markup(f'<span class="muted small">{skipped} not applicable</span>') if skipped else Markup("")
    words = ", ".join(f"{number} {verdict}" for verdict, number in judged.items() if number)
    return Markup(
        f'{_bar(tuple(judged.items()), words)}<span class="nowrap">{judged["conforms"]:,} of {total:,}</span>'
    )


def conforming(counts: Mapping[str, int]) -> tuple[int, int]:
    """Return how many conform, and how many were judged."""
    return counts.get("conforms", 0), sum(number for verdict, number in counts.items() if verdict != _NOT_COUNTED)


@lru_cache(1024)
def _bar(judged: tuple[tuple[str, int], ...], words: str) -> str:
    total, x, parts = sum(number for _, number in judged), 0.0, []
    # What conforms is on the left, what violates at the right end: the eye goes along one edge.
    for verdict, number in reversed(judged):
        if number:
            width = number / total * WIDTH
            parts.append(f'<rect class="v-{slug(verdict)}" x="{x:.2f}" width="{width:.2f}" height="{HEIGHT}"/>')
            x += width
    return (
        f'<svg class="share" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img">'
        f"<title>{words}</title>{''.join(parts)}</svg>"
    )
