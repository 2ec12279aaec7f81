"""Map requirements to the cases that verify them, and find requirements with neither a case nor a reason for none."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from conformance.case.info import CaseInfo
from conformance.plugin.selection import names_all_cases, narrowed_by
from conformance.standard.catalogue import place, requirements, unfinished
from conformance.standard.cells import cell


def cases_by_requirement(infos: Iterable[CaseInfo]) -> dict[str, list[CaseInfo]]:
    """Return the cases of each requirement by its complete id, without cases whose row nobody can observe."""
    by_id: dict[str, list[CaseInfo]] = {}
    for info in infos:
        if not info.generated_from or cell(info.generated_from).runs:
            for name in info.requirements:
                by_id.setdefault(name, []).append(info)
    return by_id


def collects_everything(config: pytest.Config) -> bool:
    """Return True where the whole folder of cases is collected; a tier or a family deselects only afterwards."""
    collected = [name for name in narrowed_by(config) if not name.startswith(("--tier", "--family"))]
    return not collected and names_all_cases(config)


def check(infos: Iterable[CaseInfo]) -> None:
    """See that every requirement of a finished catalogue has a case or a reason. Raises pytest.UsageError with the list."""
    verified = cases_by_requirement(infos)
    missing = [
        row
        for row in requirements().values()
        if row.id not in verified and not row.reason and row.document not in unfinished()
    ]
    if missing:
        lines = [f"{place(row)}: {row.id} has neither a case nor a reason: {row.summary}" for row in missing]
        todo = (
            "name it in the @verifies of a case that checks it, or say in the catalogue why there can be none: reason"
        )
        raise pytest.UsageError("\n".join([*lines, todo]))
