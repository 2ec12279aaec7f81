"""Read `tc8.json`: the TCP cases of TC8, each with the cases of this run that check the same.

`tcp-conformance report --tc8` writes it beside a run's record: a list of objects as `Tc8Row`, `cases` by their ids in the run.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.bounded import read_octets
from conformance.record.errors import RecordError
from conformance.report.matrix import WORST
from conformance.report.overview import Entry

FILE, TABLE = "tc8.json", "tc8.csv"
_LARGEST = 16 << 20
_TEXTS = ("id", "family", "section", "says")


@dataclass(frozen=True, slots=True)
class Tc8Row:
    """One case of TC8: what it checks in our words; `own` is False where only its family is described."""

    id: str
    family: str
    section: str
    says: str
    own: bool
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """A row with the entries of its cases, the worst verdict of them first, and why those deviate that do."""

    row: Tc8Row
    entries: tuple[Entry, ...]
    reasons: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The worst verdict of its cases; nothing where none of them ran."""
        return self.entries[0].verdict if self.entries else ""


def read(run_dir: Path) -> Sequence[Tc8Row]:
    """Return the rows; none without the file. Raises RecordError if the file can't be read."""
    path = run_dir / FILE
    if not path.is_file():
        return ()
    try:
        return [_row(row) for row in json.loads(read_octets(path, _LARGEST))]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(f"{path}: not what `report --tc8` writes: {error}") from error


def _row(row: Mapping[str, object]) -> Tc8Row:
    cases = row["cases"]
    if type(cases) is not list or type(row["own"]) is not bool:
        raise TypeError(f"{row['id']}: cases must be a list, own true or false")
    name, family, section, says = (str(row[one]) for one in _TEXTS)
    return Tc8Row(name, family, section, says, row["own"], tuple(map(str, cases)))


def judged(rows: Sequence[Tc8Row], entries: Mapping[str, Entry]) -> list[Judged]:
    """Return the rows with what this run says of them."""
    results = []
    for row in rows:
        ran = [entries[case] for case in row.cases if case in entries]
        reasons = dict.fromkeys(entry.reason or entry.message for entry in ran if entry.verdict == "deviates")
        worst_first = sorted(ran, key=lambda entry: WORST.index(entry.verdict))
        results.append(Judged(row, tuple(worst_first), tuple(reasons)))
    return results


def as_csv(rows: Sequence[Judged]) -> str:
    """Return the rows as a table for other tools: a line each, the numbers of cases by verdict, captures and reasons."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["id", "section", "checks", "verdict", *WORST, "captures", "reasons"])
    for judgement in rows:
        counts = Counter(entry.verdict for entry in judgement.entries)
        ran = [entry for entry in judgement.entries if entry.verdict != "not applicable"]
        captures = " ".join(f"captures/{entry.page}.pcapng" for entry in ran)
        row, verdict = judgement.row, judgement.verdict or "no case ran"
        numbers = [counts[name] for name in WORST]
        writer.writerow([row.id, row.section, row.says, verdict, *numbers, captures, "; ".join(judgement.reasons)])
    return out.getvalue()
