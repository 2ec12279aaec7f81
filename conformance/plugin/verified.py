"""Resolve the names of `--requirement` and `--rfc` to the requirements and documents that cases verify."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from conformance.standard.catalogue import claims, requirements
from conformance.standard.cells import cell, cells

if TYPE_CHECKING:
    from conformance.case.info import CaseInfo


class Verified:
    """Cases that verify one of the named requirements, claims and cells, and rest on one of the RFCs.

    Raises pytest.UsageError where a name or a number is unknown.
    """

    def __init__(self, names: Sequence[str], rfcs: Sequence[str]) -> None:
        self._names = {_known(name) for name in names}
        self._documents = {_document(rfc) for rfc in rfcs}

    def by(self, info: CaseInfo) -> bool:
        """Return True where the case verifies what was named."""
        documents = {name.rpartition(":")[0] for name in info.requirements}
        return not (
            (self._names and self._names.isdisjoint((*info.requirements, *info.claims, *info.cells)))
            or (self._documents and self._documents.isdisjoint(documents))
        )


def _known(name: str) -> str:
    """Return the id in the form of cases: a claim without `claim:`, a cell's text instead of its running number."""
    ids, rows = {row.id for row in cells()}, {row.row for row in cells()}
    short = name.removeprefix("claim:")
    if short in claims():
        return short
    if name in requirements():
        return name
    if name in ids | rows:
        return cell(name).id
    near = _nearest(short, (*requirements(), *claims(), *sorted(ids | rows)))
    raise pytest.UsageError(f"no requirement, claim or cell is called {name!r}; the nearest is {near}")


def _document(rfc: str) -> str:
    known = dict.fromkeys(row.document for row in requirements().values())
    name = "RFC" + rfc.upper().removeprefix("RFC").strip()
    if name in known:
        return name
    raise pytest.UsageError(
        f"no requirements of {name} are known; the nearest is {_nearest(name, tuple(known))}"
        f" (there are those of {', '.join(known)})"
    )


def _nearest(name: str, among: Sequence[str]) -> str:
    """Return the most similar name; a name that lacks only its document is the nearest."""
    wanted = name.upper()
    tail = [one for one in among if one.upper().endswith(f":{wanted}")]

    def likeness(name: str) -> tuple[float, bool]:
        upper = name.upper()
        return difflib.SequenceMatcher(None, upper, wanted).ratio(), wanted.startswith(upper)

    return max(tail or among, key=likeness)
