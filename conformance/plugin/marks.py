"""What a case says of itself, and what follows from that."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from conformance.standard import catalogue
from conformance.standard.cells import Cell
from conformance.standard.cells import cell as cell_named
from conformance.standard.states import State

LEVELS = ("must", "should", "may", "text")


def verifies(
    *ids: str,
    cells: Sequence[str] = (),
    level: str | None = None,
    needs: Sequence[str] = ("app",),
    lasts: float = 0.0,
    quick: bool = True,
    alone: bool = False,
    sysctl: Mapping[str, str] | None = None,
) -> pytest.MarkDecorator:
    """Say what a case checks: requirements (`RFC9293:MUST-13`) and claims (`claim:C-18`), and the table's cells.

    `level` (MUST, SHOULD, MAY, text) is the strictest of the requirements' unless given. `needs` are capabilities of the
    target. `lasts` is about how long the case waits, in seconds: the longest start first. One that is not
    `quick` repeats in another way, or with many segments, what others show: the quick tier leaves it out. A case that is
    `alone` gets a target of its own; those that change the same `sysctl` settings share one. Each setting is a capability
    that the case needs; it and its value may name the case's parameters, as `{retries}`.
    """
    return pytest.mark.verifies(
        *ids,
        cells=tuple(cells),
        level=level,
        needs=tuple(needs),
        lasts=lasts,
        quick=quick,
        alone=alone,
        sysctl=dict(sysctl or {}),
    )


@dataclass(frozen=True)
class CaseInfo:
    """All that is known of a case before it runs. `id` is the node id below the folder of cases.

    `cells` are the ids of the table's rows that it checks, `generated_from` the one that it was generated from, if any.
    `file` and `line` say where it is written, from pytest's root; empty where that is elsewhere.
    """

    id: str
    title: str
    description: str
    document: str
    section: str
    level: str
    requirements: tuple[str, ...]
    claims: tuple[str, ...]
    cells: tuple[str, ...]
    needs: tuple[str, ...]
    lasts_s: float
    quick: bool
    alone: bool
    sysctl: Mapping[str, str] = field(default_factory=dict)
    family: int = 4
    generated_from: str = ""
    file: str = ""
    line: int = 1

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the documented machine that the case checks, as the record keeps them."""
        return [
            {
                "id": one.id,
                "row": one.row,
                "kind": one.kind,
                "state": one.state.value,
                "origin": one.origin,
                "event": one.event,
                "responses": list(dict.fromkeys(outcome.response.slug for outcome in one.outcomes)),
                "next": list(dict.fromkeys(outcome.next.value for outcome in one.outcomes)),
            }
            for one in map(cell_named, self.cells)
        ]

    def sentences(self) -> list[dict[str, str]]:
        """The sentences of the standard that the case rests on, as the record keeps them."""
        found = []
        for name in self.requirements:
            one = catalogue.requirement(name)
            found.append(
                {
                    "id": one.id,
                    "level": "SHOULD" if one.level == "RECOMMENDED" else one.level,
                    "section": one.section,
                    "text": one.sentence or one.summary,
                    "url": one.url,
                    **({"partly": one.partly} if one.partly else {}),
                }
            )
        return found


def is_case(item: pytest.Item) -> bool:
    """Whether the item is a coroutine that takes `tcp`."""
    function = getattr(item, "function", None)
    return inspect.iscoroutinefunction(function) and "tcp" in getattr(item, "fixturenames", ())


@cache
def parameters_of(function: Any) -> tuple[str, ...]:
    """The names of a function's parameters."""
    return tuple(inspect.signature(function).parameters)


def takes_nothing_else(item: pytest.Item) -> bool:
    """Whether no fixture but our own is there for a case: none that is used by every test, or named by a mark."""
    names = set(getattr(item, "fixturenames", ()))
    return names <= {"tcp", "family", *getattr(item, "callspec").params}  # noqa: B009


def describe(item: pytest.Item) -> CaseInfo:
    """What an item says of itself. Raises pytest.UsageError with one clear line."""
    mark = item.get_closest_marker("verifies")
    where = item.nodeid
    if mark is None:
        raise pytest.UsageError(f"{where}: a case needs @verifies(...) with what it verifies, as RFC9293:MUST-13")
    known = {"cells", "level", "needs", "lasts", "quick", "alone", "sysctl"}
    if unknown := set(mark.kwargs) - known:
        raise pytest.UsageError(
            f"{where}: @verifies has no {', '.join(sorted(unknown))}; it takes {', '.join(sorted(known))}"
        )
    params: Mapping[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    ids = [str(one) for one in mark.args]
    requirements = tuple(one for one in ids if not one.startswith("claim:"))
    claims = tuple(one.removeprefix("claim:") for one in ids if one.startswith("claim:"))
    try:
        rows = [catalogue.requirement(one) for one in requirements]
        rests_on = [name for one in claims for name in catalogue.claim(one).rests_on]
        level = mark.kwargs.get("level") or catalogue.level_of(requirements)
        # Where several states share one script, each has its own rows, in a parameter called `cells`.
        named = (*mark.kwargs.get("cells", ()), *params.get("cells", ()))
        cells = tuple(dict.fromkeys(cell_named(str(one)).id for one in named))
    except catalogue.UnknownRequirement as error:
        raise pytest.UsageError(f"{where}: {error}") from None
    if level not in ("MUST", "SHOULD", "MAY", "text"):
        raise pytest.UsageError(f"{where}: level {level!r} is not MUST, SHOULD, MAY or text")
    if not rows:
        rows = [catalogue.requirement(name) for name in rests_on]
    if not rows:
        raise pytest.UsageError(f"{where}: @verifies names no requirement")
    doc = inspect.cleandoc(getattr(item, "function").__doc__ or "")  # noqa: B009 - Item has no such attribute for mypy
    title, _, description = doc.partition("\n")
    taken = parameters_of(getattr(item, "function"))  # noqa: B009
    if fixtures := [name for name in taken if name not in params and name != "tcp"]:
        raise pytest.UsageError(f"{where}: a case takes tcp and its own parameters, not the fixture {fixtures[0]}")
    alone = ("instances",) if mark.kwargs.get("alone", False) else ()
    cell = params.get("cell")
    family = params.get("family", 4)
    which = "-".join(part for part in getattr(item, "callspec").id.split("-") if part != f"ipv{family}")  # noqa: B009
    if title and which:
        title = f"{title.rstrip('.')} ({which})."
    if isinstance(cell, Cell):
        title, description = _title_of(cell), f"{doc}\n\n{cell.note}".strip()
    try:
        settings = mark.kwargs.get("sysctl", {}).items()
        sysctl = {name.format_map(params): value.format_map(params) for name, value in settings}
    except KeyError as error:
        raise pytest.UsageError(f"{where}: a sysctl names {error}, which is no parameter of the case") from None
    if not title:
        raise pytest.UsageError(f"{where}: a case's docstring says what is seen on the wire")
    return CaseInfo(
        id=case_id(item),
        title=title.strip(),
        description=description.strip(),
        document=rows[0].document,
        section=rows[0].section,
        level=str(level),
        requirements=requirements or tuple(dict.fromkeys(rests_on)),
        claims=claims,
        cells=cells,
        needs=tuple(dict.fromkeys((*mark.kwargs.get("needs", ("app",)), *_needed_for(sysctl), *alone))),
        lasts_s=float(mark.kwargs.get("lasts", 0.0)),
        quick=bool(mark.kwargs.get("quick", True)),
        alone=bool(alone),
        sysctl=sysctl,
        family=int(family),
        generated_from=cell.id if isinstance(cell, Cell) else "",
        file="" if item.location[0].startswith(("..", "/")) else item.location[0],
        line=(item.location[1] or 0) + 1,
    )


def _needed_for(sysctl: Mapping[str, str]) -> tuple[str, ...]:
    """The capabilities of a target that can be made with these settings."""
    return ("settings", *(f"sysctl:{name}" for name in sysctl)) if sysctl else ()


def verifies_cell(cell: Cell, *ids: str, needs: Sequence[str] = (), **keywords: Any) -> Any:
    """One row of the documented machine as a parameter called `cell` of a generated case, which may verify more `ids`."""
    mark = verifies(*cell.requirements, *ids, cells=[cell.id, cell.row], level=cell.strength, needs=needs, **keywords)
    return pytest.param(cell, id=cell.id, marks=mark)


def _title_of(cell: Cell) -> str:
    """One sentence for a row: what happens in which state, and what is allowed."""
    allowed = " or ".join(f"{one.response.meaning}, then {one.next}" for one in cell.outcomes)
    origin = f" ({cell.origin} open)" if cell.origin != "either" and cell.state is State.SYN_RECEIVED else ""
    return f"In {cell.state}{origin}: {cell.event}. Allowed: {allowed}."


@cache
def cases_folder() -> Path:
    """Where the cases are: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent.parent
    inside = package / "testcases"
    return inside if inside.is_dir() else package.parent / "testcases"


def case_id(item: pytest.Item) -> str:
    """The item's node id relative to the folder of cases, or as pytest has it for cases from elsewhere."""
    node = item.nodeid.partition("::")[2]
    module = _module(item.path)
    return f"{module}::{node}" if module else item.nodeid


@cache
def _module(path: Path) -> str:
    """A module relative to the folder of cases; empty where it is elsewhere."""
    try:
        return path.relative_to(cases_folder()).as_posix()
    except ValueError:
        return ""
