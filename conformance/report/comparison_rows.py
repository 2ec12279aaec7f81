"""The rows of a comparison: documents, their sections, their requirements, and the cases that differ."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from conformance.record.names import without_family
from conformance.report.baseline import Baseline, Result
from conformance.report.compare import Comparison
from conformance.report.matrix import WORST, natural
from conformance.report.score import document_rank

_SKIPPED = "not applicable"


class Statement(Protocol):
    """The facts of a requirement that a catalogue has."""

    @property
    def level(self) -> str: ...
    @property
    def section(self) -> str: ...
    @property
    def summary(self) -> str: ...


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A case of both families: in each run the id and the result of the worse."""

    stem: str
    results: Sequence[tuple[str, Result]]

    @property
    def verdicts(self) -> list[str]:
        """The verdict in each run."""
        return [result.verdict for _, result in self.results]


@dataclass
class ComparedRequirement:
    """A requirement with its cases; a run's verdict is the worst of them."""

    id: str
    level: str
    section: str
    summary: str
    cases: list[CaseRow] = field(default_factory=list)

    @cached_property
    def verdicts(self) -> list[str]:
        """The verdict in each run."""
        return [
            min(verdicts, key=WORST.index) for verdicts in zip(*(case.verdicts for case in self.cases), strict=True)
        ]

    @property
    def differing(self) -> list[CaseRow]:
        """The cases that have not the same verdict in all runs."""
        return [case for case in self.cases if len(set(case.verdicts)) > 1]

    @property
    def same(self) -> bool:
        """True if no case differs."""
        return not self.differing

    @property
    def alone(self) -> bool:
        """True if it applies to fewer than two runs."""
        return sum(verdict != _SKIPPED for verdict in self.verdicts) < 2

    @property
    def partly(self) -> bool:
        """True if it does not apply to all runs."""
        return _SKIPPED in self.verdicts


@dataclass
class SectionRows:
    """The requirements of a section."""

    name: str
    rows: list[ComparedRequirement] = field(default_factory=list)

    def scores(self) -> list[Counter[str]]:
        """Return the number of requirements by verdict, in each run."""
        return [Counter(verdicts) for verdicts in zip(*(row.verdicts for row in self.rows), strict=True)]

    @property
    def same(self) -> bool:
        """True if nothing differs between two runs that it applies to."""
        return all(row.same or row.alone for row in self.rows)

    @property
    def partly(self) -> bool:
        """True if no requirement applies to all runs."""
        return all(row.partly for row in self.rows)


@dataclass
class DocumentRows:
    """The sections of a document."""

    name: str
    sections: list[SectionRows] = field(default_factory=list)

    def scores(self) -> list[Counter[str]]:
        """Return the number of requirements by verdict, in each run."""
        return [sum(scores, Counter()) for scores in zip(*(one.scores() for one in self.sections), strict=True)]

    @property
    def same(self) -> bool:
        """True if nothing differs between two runs that it applies to."""
        return all(section.same for section in self.sections)

    @property
    def partly(self) -> bool:
        """True if no requirement applies to all runs."""
        return all(section.partly for section in self.sections)


def documents(comparison: Comparison, catalogue: Mapping[str, Statement]) -> list[DocumentRows]:
    """Return the requirements of the cases that all runs have, RFC 9293 first.

    The `catalogue` has level, section and summary of each; of a requirement that it lacks they are empty.
    """
    rows: dict[str, ComparedRequirement] = {}
    for case, names in _joined(comparison.runs):
        for name in names:
            if name not in rows:
                known = catalogue.get(name)
                rows[name] = (
                    ComparedRequirement(name, known.level, known.section, known.summary)
                    if known
                    else ComparedRequirement(name, "", "", "")
                )
            rows[name].cases.append(case)
    grouped: dict[str, dict[str, SectionRows]] = defaultdict(dict)
    for row in sorted(rows.values(), key=lambda row: (natural(row.section), natural(row.id))):
        sections = grouped[row.id.rpartition(":")[0]]
        sections.setdefault(row.section, SectionRows(row.section)).rows.append(row)
    return [DocumentRows(name, list(grouped[name].values())) for name in sorted(grouped, key=document_rank)]


def _joined(runs: Sequence[Baseline]) -> list[tuple[CaseRow, list[str]]]:
    """Return the cases that all runs have with the requirements they rest on; both families of a case are a row."""
    families: dict[str, list[str]] = defaultdict(list)
    for case in sorted(set.intersection(*(set(run.cases) for run in runs))):
        families[without_family(case)].append(case)
    joined = []
    for name, cases in families.items():
        results = [
            min(((case, run.cases[case]) for case in cases), key=lambda result: WORST.index(result[1].verdict))
            for run in runs
        ]
        names = dict.fromkeys(name for run in runs for case in cases for name in run.cases[case].requirements)
        joined.append((CaseRow(name, results), list(names)))
    return joined
