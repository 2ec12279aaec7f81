"""The TCP cases of TC8 with the cases of a run that check the same, for a page of its report."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from conformance.record import CaseRecord, read_results
from conformance.report.tc8 import FILE
from conformance.standard.tc8 import families


def write_tc8(folder: Path) -> None:
    """Write `tc8.json` into a run's folder. Raises RecordError and OSError."""
    records = read_results(folder / "results.jsonl").records
    (folder / FILE).write_text(json.dumps(list(_rows(records)), indent=1) + "\n", "utf-8")


def _rows(records: Iterable[CaseRecord]) -> Iterable[dict[str, object]]:
    named = [(record.id, names_of(record.id)) for record in records]
    for family in families():
        for member in family.members:
            check = family.check_of(member)
            yield {
                "id": member,
                "family": family.whole.id,
                "section": family.section,
                "says": check.says,
                "own": check is not family.whole,
                "cases": [case for case, names in named if check.covered_by(*names)],
            }


def names_of(case: str) -> tuple[str, ...]:
    """Return the names by which the map knows a case: its function, that with parameters, and the row that generated it."""
    function, bracket, parameters = case.rpartition("::")[2].partition("[")
    family, _, others = parameters.rstrip("]").partition("-")
    given = others if family in ("ipv4", "ipv6") else parameters.rstrip("]")
    whole = f"{function}[{given}]" if bracket and given else function
    return (whole, function, given) if "/" in given else (whole, function)
