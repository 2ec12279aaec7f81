"""Build the requirement matrix: every numbered sentence that a run's cases rest on, with its verdict.

If several cases rest on a sentence, their worst verdict is the sentence's. A sentence that no case of the run names is
not in the record, so it is not in the matrix.
"""

import csv
import io
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

from conformance.record.case import CaseRecord
from conformance.report.text import clean

WORST = ("violates", "error", "breaks should", "deviates", "inconclusive", "conforms", "not applicable")


class RequirementCase(Protocol):
    """The facts about a case that the matrix needs."""

    @property
    def id(self) -> str: ...
    @property
    def verdict(self) -> str: ...


@dataclass(slots=True)
class RequirementRow:
    """One requirement in this run; `level` and what follows is empty where a record names it without its sentence.

    `partly` names the part that no case observes; empty if the cases observe all of it.
    """

    id: str
    level: str = ""
    section: str = ""
    text: str = ""
    url: str = ""
    partly: str = ""
    cases: list[RequirementCase] = field(default_factory=list)

    @property
    def document(self) -> str:
        """The document, as in the id."""
        return self.id.rpartition(":")[0]

    @property
    def worst_first(self) -> list[RequirementCase]:
        """The cases, the one that decides first; of equals, by id."""
        return sorted(self.cases, key=lambda case: (WORST.index(case.verdict), case.id))

    @property
    def verdict(self) -> str:
        """The worst verdict of the cases."""
        return min((case.verdict for case in self.cases), key=WORST.index)

    def exported(self) -> dict[str, Any]:
        """Return the row as `requirements.csv` and `requirements.json` have it."""
        return {
            "id": self.id,
            "level": self.level,
            "document": self.document,
            "section": self.section,
            "verdict": self.verdict,
            "partly": self.partly,
            "cases": sorted(case.id for case in self.cases),
        }


class Matrix:
    """Every requirement that the records name, with the cases."""

    def __init__(self) -> None:
        self._rows: dict[str, RequirementRow] = {}

    def add(self, record: CaseRecord, case: RequirementCase) -> None:
        """Add the requirements of a case's record."""
        sentences = {one.id: one for one in record.sentences}
        for name in dict.fromkeys((*record.requirements, *sentences)):
            row = self._rows.setdefault(name, RequirementRow(name))
            if name in sentences and not row.level:
                sentence = sentences[name]
                row.level, row.section, row.text = sentence.level, sentence.section, sentence.text
                row.url, row.partly = sentence.url, sentence.partly
            row.cases.append(case)

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> list[RequirementRow]:
        """Return all rows by document, section and id; 3.10 follows 3.9."""
        return sorted(self._rows.values(), key=lambda row: tuple(map(natural, (row.document, row.section, row.id))))


def counts(rows: list[RequirementRow]) -> Counter[tuple[str, str]]:
    """Return the number of requirements by level and verdict."""
    return Counter((row.level, row.verdict) for row in rows)


def as_csv(rows: list[RequirementRow]) -> str:
    """Return the table for a spreadsheet; the cases of a requirement stand in one field, with `; ` between them."""
    file = io.StringIO()
    writer = csv.DictWriter(
        file,
        ("id", "level", "document", "section", "verdict", "partly", "cases"),
        lineterminator="\n",
        quoting=csv.QUOTE_MINIMAL,
    )
    writer.writeheader()
    for row in rows:
        fields = row.exported()
        fields["cases"] = "; ".join(fields["cases"])
        writer.writerow({name: _cell(value) for name, value in fields.items()})
    return file.getvalue()


def as_json(rows: list[RequirementRow]) -> str:
    """Return the table as a JSON list."""
    return json.dumps([row.exported() for row in rows], indent=1) + "\n"


def _cell(value: str) -> str:
    # A spreadsheet takes what begins like this for a formula.
    value = clean(value)
    return f"'{value}" if value.startswith(("=", "+", "-", "@")) else value


def natural(text: str) -> list[Any]:
    """Return a key that sorts numbers within a text as numbers."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]{1,9})", text))]
