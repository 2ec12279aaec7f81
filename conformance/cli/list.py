"""`tcp-conformance list`: cases, cells, requirements and TC8's cases; runs none."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import itertools
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from rich.markup import escape

from conformance.case.info import LEVELS, CaseInfo
from conformance.cli.output import complain, parser_of, plain_console
from conformance.cli.with_pytest import call_pytest, split_words
from conformance.plugin.collection import CASE
from conformance.plugin.coverage import cases_by_requirement
from conformance.plugin.options import OPTIONS
from conformance.report.text import count
from conformance.standard.catalogue import Requirement, level_of, requirements
from conformance.standard.cells import Cell, cell, cells
from conformance.standard.states import State
from conformance.standard.tc8 import Family, families

_NUMBERED = re.compile(r":(MUST|SHLD|MAY|REC)-\d+$")  # as RFC 9293 numbers its own requirements


class _Collector:
    """Keeps the cases of a collection."""

    def __init__(self) -> None:
        self.cases: list[CaseInfo] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.cases = [item.stash[CASE] for item in session.items if CASE in item.stash]


def main(words: Sequence[str]) -> int:
    """List; return 1 where nothing matches, 2 for a wrong call."""
    options, rest = _parser().parse_known_args(split_words(words))
    try:
        state = None if options.state is None else State.parse(options.state)
        rows = _requirements(options)
    except ValueError as error:
        complain("list", error)
        return 2

    def wanted(row: Cell) -> bool:
        text = (options.event or "").lower()
        return state in (None, row.state) and (text in row.stimulus.slug or text in row.event.lower())

    chosen = [f"--{name}={value}" for name in ("requirement", "rfc") for value in getattr(options, name)]
    collector, written = _Collector(), io.StringIO()
    with contextlib.redirect_stdout(written):
        code = call_pytest(
            "list",
            ["--collect-only", "-q", "--family=4", f"--tier={options.tier}", *chosen, *rest],
            plugins=[collector],
        )
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        print(written.getvalue(), file=sys.stderr, end="")
        return code
    cases = collector.cases
    if options.requirements:
        matched: Sequence[object] = rows
        _list_requirements(rows, cases, as_json=options.json)
    elif options.tc8:
        matched = cases
        _list_tc8(cases, as_json=options.json)
    elif options.cells:
        matched = shown = [row for row in cells() if wanted(row)]
        _list_cells(shown, cases, as_json=options.json)
    else:
        every = options.state is None and options.event is None
        matched = cases = [case for case in cases if every or any(wanted(cell(name)) for name in case.cells)]
        _list_cases(cases, as_json=options.json)
    if not matched:
        complain("list", f"nothing matches {shlex.join(words)}")
    return int(not matched)


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(
        "list",
        "List every case with its section, requirements and needs; run none. Takes pytest's options that select (-k, -m),"
        " and paths, too.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--cells", action="store_true", help="every row of the documented machine, with its case")
    what.add_argument(
        "--requirements", action="store_true", help="every requirement of the documents, with the cases that verify it"
    )
    what.add_argument(
        "--tc8",
        action="store_true",
        help="every TCP case of the OPEN Alliance's TC8, with the cases that check the same",
    )
    parser.add_argument("--state", metavar="STATE", help="only cells of that state, as CLOSING")
    parser.add_argument("--event", metavar="TEXT", help="only cells with that event, as rst or 'out of window'")
    parser.add_argument("--document", metavar="RFC", help="only requirements of that document, as RFC9293")
    parser.add_argument("--level", choices=LEVELS, help="only requirements of that level")
    for name in ("--requirement", "--rfc"):
        parser.add_argument(name, **OPTIONS[name])
    parser.add_argument("--tier", **{**OPTIONS["--tier"], "default": "full", "help": "only cases of that tier"})
    parser.add_argument("--json", action="store_true", help="as JSON")
    return parser


def _requirements(options: argparse.Namespace) -> list[Requirement]:
    """Return the catalogues' rows that were asked for. Raises ValueError."""
    if not options.requirements:
        if options.document is not None or options.level is not None:
            raise ValueError("--document and --level choose among requirements: add --requirements")
        return []
    if options.state is not None or options.event is not None:
        raise ValueError("--state and --event choose among cells and cases: leave them out with --requirements")
    documents = dict.fromkeys(row.document for row in requirements().values())
    document: str | None = options.document and options.document.upper()
    if document is not None and document not in documents:
        near = difflib.get_close_matches(document, documents, n=1, cutoff=0.0)[0]
        raise ValueError(f"no document is called {options.document!r}; the nearest is {near}")
    return [
        row
        for row in requirements().values()
        if document in (None, row.document) and options.level in (None, level_of([row.id]).lower())
    ]


def _list_requirements(rows: Sequence[Requirement], cases: Sequence[CaseInfo], *, as_json: bool) -> None:
    by_id = {
        name: [_without_family(case.id) for case in verifying]
        for name, verifying in cases_by_requirement(cases).items()
    }
    if as_json:
        print(json.dumps([_requirement_as_json(row, by_id.get(row.id, [])) for row in rows], indent=2))
        return
    console = plain_console()
    sums = []
    for document, members in itertools.groupby(rows, key=lambda row: row.document):
        console.print(f"\n[bold]{document}[/]")
        counts: Counter[tuple[str, bool]] = Counter()
        for row in members:
            number = len(by_id.get(row.id, []))
            has = (
                f"{number} case{'s' * (number > 1)}{f', partly: unseen is {row.partly}' if row.partly else ''}"
                if number
                else f"no case: {row.reason}"
                if row.reason
                else "no case yet"
            )
            shown = escape(f"{row.id}  {level_of([row.id])}  {row.section}  {row.summary}")
            console.print(f"  {shown}  [dim]{escape(has)}[/]")
            counts["numbered" if _NUMBERED.search(row.id) else "without a number", number > 0] += 1
        parts = [
            f"{counts[kind, True] + counts[kind, False]} {kind}, {counts[kind, True]} with a case"
            for kind in ("numbered", "without a number")
            if counts[kind, True] + counts[kind, False]
        ]
        sums.append(f"{document}: {'; '.join(parts)}")
    print("\n".join(["", *sums]) if sums else "no requirement is like that")


def _list_tc8(cases: Sequence[CaseInfo], *, as_json: bool) -> None:
    # The case of a row that nobody can see only says so.
    run = [one for one in cases if not one.generated_from or cell(one.generated_from).runs]
    rows = [_tc8_as_json(family, member, run) for family in families() for member in family.members]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    console = plain_console()
    for family in families():
        console.print(f"\n[bold]{family.whole.id}[/]  {family.section}  {escape(family.whole.says)}")
        for row in (one for one in rows if one["family"] == family.whole.id):
            says = row["says"] if row["own"] else "as its family"
            shown = dict.fromkeys(_function_or_row(name) for name in row["cases"])
            some = [*list(shown)[:3], *([f"{len(shown) - 3} more"] if len(shown) > 3 else [])]
            console.print(f"  {row['id']}  {escape(says)}  [dim]{escape(', '.join(some))}[/]")
    own = sum(row["own"] for row in rows)
    print(f"{len(rows)} TC8 cases of {len(families())} families; {own} by themselves, the others as their family")


def _tc8_as_json(family: Family, member: str, cases: Sequence[CaseInfo]) -> dict[str, Any]:
    check = family.check_of(member)
    return {
        "id": member,
        "family": family.whole.id,
        "section": family.section,
        "says": check.says,
        "own": check is not family.whole,
        "cases": [_without_family(one.id) for one in cases if check.covered_by(*_names(one))],
    }


def _names(case: CaseInfo) -> tuple[str, ...]:
    """Return a case's names in a map: its function, with and without parameters, and the row that generated it."""
    name = _without_family(case.id).rpartition("::")[2]
    return name, name.partition("[")[0], case.generated_from


def _function_or_row(case_id: str) -> str:
    """In short: the row of the documented machine that a case is generated from, or its function."""
    name, _, parameters = case_id.rpartition("::")[2].partition("[")
    return parameters.rstrip("]") if "/" in parameters else name


def _requirement_as_json(row: Requirement, cases: list[str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "level": level_of([row.id]),
        "document": row.document,
        "section": row.section,
        "summary": row.summary,
        "cases": cases,
        "reason": "" if cases else row.reason,
        "partly": row.partly if cases else "",
    }


def _list_cells(rows: Sequence[Cell], cases: Sequence[CaseInfo], *, as_json: bool) -> None:
    # The case that was generated from the row; without one, a written case that checks it, best alone.
    by_row: dict[str, str] = {}
    for case in sorted(cases, key=lambda case: (not case.generated_from, len(case.cells))):
        for name in case.cells:
            by_row.setdefault(name, _without_family(case.id))
    shown = [_cell_as_json(row, by_row.get(row.id)) for row in rows]
    if as_json:
        print(json.dumps(shown, indent=2))
        return
    console = plain_console()
    for state in State:
        members = [row for row in shown if row["state"] == state.value]
        if members:
            console.print(f"\n[bold]{state}[/]")
        for row in members:
            rest = f"{row['row']}, {row.get('case') or 'not run: ' + row['reason']}"
            console.print(f"  {escape(row['id'])}  {escape(row['event'])}  [dim]{escape(rest)}[/]")
    run = sum("case" in row for row in shown)
    print(f"{len(shown)} cells, {run} with a case, {len(shown) - run} not run")


def _cell_as_json(row: Cell, case: str | None) -> dict[str, str]:
    shown = {"id": row.id, "row": row.row, "kind": row.kind, "state": row.state.value, "event": row.event}
    if row.unseen or case is None:
        return {**shown, "reason": row.unseen or "no case checks it"}
    return {**shown, "case": case}


def _list_cases(chosen: Sequence[CaseInfo], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([_as_json(case) for case in chosen], indent=2))
        return
    console = plain_console()
    for module, cases in itertools.groupby(chosen, key=lambda case: case.id.partition("::")[0]):
        lines = [f"\n[bold]{module}[/]"]
        for case in cases:
            name = _without_family(case.id).partition("::")[2]
            marks = [case.level, f"{case.document} {case.section}", *case.requirements[:3], *case.claims]
            marks += [f"needs {' '.join(case.needs)}"] if case.needs else []
            marks += ["alone"] if case.alone else []
            marks += [f"lasts {case.lasts_s:g} s"] if case.lasts_s else []
            lines.append(f"  {escape(name)}  [dim]{escape(', '.join(marks))}[/]")
        console.print("\n".join(lines))
    print(f"{count(len(chosen), 'case')}, each for IPv4 and IPv6")


def _as_json(case: CaseInfo) -> dict[str, Any]:
    return {
        "id": _without_family(case.id),
        "title": case.title,
        "document": case.document,
        "section": case.section,
        "level": case.level,
        "requirements": list(case.requirements),
        "claims": list(case.claims),
        "cells": list(case.cells),
        "needs": list(case.needs),
        "alone": case.alone,
        "sysctl": dict(case.sysctl),
        "lasts_s": case.lasts_s,
    }


def _without_family(case_id: str) -> str:
    """Return the id without the family among its parameters: `test_x[ipv4-FIN-WAIT-1]` is `test_x[FIN-WAIT-1]`."""
    name, bracket, parameters = case_id.partition("[")
    rest = "-".join(part for part in parameters.rstrip("]").split("-") if part != "ipv4")
    return f"{name}{bracket}{rest}]" if rest else name
