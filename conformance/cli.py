"""tcp-conformance: run | list | doctor | stacks | report | baseline | compare."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
import itertools
import json
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from conformance.case.ids import cases_folder
from conformance.case.info import LEVELS, CaseInfo
from conformance.plugin.coverage import cases_by_requirement
from conformance.plugin.items import describe, is_case
from conformance.plugin.options import TIERS, whole_number
from conformance.report.baseline import Baseline, KnownDeviation
from conformance.report.compare import Comparison
from conformance.report.text import NOTHING, VERDICTS, bounds, clean, count, seconds
from conformance.standard.catalogue import Requirement, level_of, requirements
from conformance.standard.cells import Cell, cell, cells
from conformance.standard.states import State
from conformance.standard.tc8 import Family, families

_LISTED = 100  # rows of a table in the terminal
_NUMBERED = re.compile(r":(MUST|SHLD|MAY|REC)-\d+$")  # as RFC 9293 numbers its own requirements


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code: pytest's for `run` and `list`, else 0 or 1 (2 for a wrong call)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    rest: list[str] = []
    if "--" in given:
        at = given.index("--")
        given, rest = given[:at], given[at + 1 :]
    options = _parser().parse_args(given)
    if rest and options.command not in ("run", "list"):
        _parser().error(f"{options.command} hands nothing to pytest: leave out what follows --")
    try:
        return int(options.function(options, rest))
    except KeyboardInterrupt:
        return int(pytest.ExitCode.INTERRUPTED)


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="run the cases; what follows -- goes to pytest",
        description="Run the cases. What follows -- goes to pytest: its options, and paths (also relative to the folder of"
        " cases, as rfc9293/test_s3_6_closing.py) that run instead of all cases.",
    )
    run.add_argument("--target", default="linux", metavar="NAME|FILE.toml", help="default: linux, the embedded lab")
    run.add_argument("--family", choices=("4", "6", "both"), default="both")
    run.add_argument(
        "--tier", choices=tuple(TIERS), default="standard", help="how long a case may wait (default: standard)"
    )
    run.add_argument(
        "--requirement", action="append", default=[], metavar="ID", help="only what verifies it, as RFC9293:MUST-13"
    )
    run.add_argument(
        "--rfc", action="append", default=[], metavar="NUMBER", help="only what verifies a requirement of that RFC"
    )
    run.add_argument("--concurrency", type=whole_number, default=256, metavar="N", help="cases at once (default: 256)")
    run.add_argument("--strict", action="store_true", help="a SHOULD that is not followed fails too")
    run.add_argument("--output", default="reports/latest", metavar="DIR", help="default: reports/latest")
    run.add_argument("--baseline", metavar="NAME|FILE", help="what has changed since then; fail only on what got worse")
    run.add_argument(
        "--self-contained", action="store_true", help="also one file of the report, report.html, to hand on"
    )
    run.set_defaults(function=_run)


def _add_list(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    list_ = commands.add_parser("list", help="every case with its section, requirements and needs; runs none")
    what = list_.add_mutually_exclusive_group()
    what.add_argument("--cells", action="store_true", help="every row of the documented machine, with its case")
    what.add_argument(
        "--requirements", action="store_true", help="every requirement of the documents, with the cases that verify it"
    )
    what.add_argument(
        "--tc8",
        action="store_true",
        help="every TCP case of the OPEN Alliance's TC8, with the cases that check the same",
    )
    list_.add_argument("--state", metavar="STATE", help="only cells of that state, as CLOSING")
    list_.add_argument("--event", metavar="TEXT", help="only cells with that event, as rst or 'out of window'")
    list_.add_argument("--document", metavar="RFC", help="only requirements of that document, as RFC9293")
    list_.add_argument("--level", choices=LEVELS, help="only requirements of that level")
    list_.add_argument("--json", action="store_true", help="as JSON")
    list_.set_defaults(function=_list)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tcp-conformance",
        description="Write raw TCP segments at a host's real stack and check what it answers, and when.",
    )
    parser.add_argument("--version", action="version", version=f"tcp-conformance {metadata.version('tcp-conformance')}")
    names = "run | list | doctor | stacks | report | baseline | compare"
    commands = parser.add_subparsers(dest="command", required=True, metavar=names)

    _add_run(commands)
    _add_list(commands)

    doctor = commands.add_parser("doctor", help="what this machine can do, and what is missing")
    doctor.add_argument("--agent", metavar="COMMAND", help="check this agent against the protocol, call by call")
    doctor.add_argument(
        "--target",
        metavar="NAME|FILE.toml",
        help="look at this lab host: addresses, interface, ssh and agent, who answers",
    )
    doctor.set_defaults(function=_doctor)

    stacks = commands.add_parser(
        "stacks", help="stacks that come with the harness, as targets: which are built, what is missing"
    )
    stacks.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    stacks.add_argument("--build", action="store_true", help="build those whose toolchain is there")
    stacks.add_argument(
        "--install", action="store_true", help="as root: install the Debian packages that they need first"
    )
    stacks.set_defaults(function=_stacks)

    report = commands.add_parser(
        "report",
        help="make the pages of a run again from what it recorded, or those of several runs as one",
        description="Make the pages of a run again from what it recorded. Several runs become one in --output: workers, "
        "address families, machines or targets.",
    )
    report.add_argument("folders", type=Path, nargs="+", metavar="DIR", help="the folder of a run, as reports/latest")
    report.add_argument(
        "--output", type=Path, metavar="DIR", help="where several runs are put together (reports/merged)"
    )
    report.add_argument("--baseline", metavar="NAME|FILE", help="say what has changed since then")
    report.add_argument(
        "--self-contained", action="store_true", help="also one file of it all, report.html, to hand on"
    )
    report.set_defaults(function=_report)

    baseline = commands.add_parser("baseline", help="keep a run's results, to hold later runs against them")
    actions = baseline.add_subparsers(dest="action", required=True, metavar="save")
    save = actions.add_parser("save", help="keep a run in reports/baselines/NAME.json")
    save.add_argument("name", metavar="NAME")
    save.add_argument("--run", type=Path, default=Path("reports/latest"), metavar="DIR", help="default: reports/latest")
    save.set_defaults(function=_save_baseline)

    compare = commands.add_parser("compare", help="runs and baselines beside each other: what differs")
    compare.add_argument("first", metavar="A", help="a run's folder, a results.jsonl, or a baseline's name or file")
    compare.add_argument("others", nargs="+", metavar="B")
    compare.add_argument("--json", action="store_true", help="as JSON")
    compare.add_argument("--html", type=Path, metavar="FILE", help="as a page, too")
    compare.add_argument(
        "--all",
        action="store_true",
        help=f"every row (default: {_LISTED} of a table), and each deviation with its frames",
    )
    compare.set_defaults(function=_compare)
    return parser


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    output = Path(options.output)
    command = [
        *_pytest_basics(),
        *(f"--{name}={getattr(options, name)}" for name in ("target", "family", "tier", "concurrency", "output")),
        *(f"--{name}={one}" for name in ("requirement", "rfc") for one in getattr(options, name)),
        *(["--strict"] if options.strict else []),
        *([f"--baseline={options.baseline}"] if options.baseline is not None else []),
    ]
    for option, name in (("--html", "pytest.html"), ("--junitxml", "junit.xml")):
        if not any(one.startswith(option) for one in rest):
            command.append(f"{option}={output / name}")
    if not any(one.startswith("--css") or "self-contained" in one for one in rest):
        command.append("--self-contained-html")
    code = int(pytest.main([*command, *rest], plugins=[_Narrowed()]))
    ran = code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    if options.self_contained and ran:
        return _self_contained(output) or code
    return code


def _self_contained(output: Path) -> int:
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.report import make_single  # noqa: PLC0415

    try:
        print(f"report: {make_single(output)}")
    except (RecordError, OSError) as error:
        print(f"tcp-conformance run: {error}", file=sys.stderr)
        return 1
    return 0


class _Narrowed:
    """Has paths that follow -- run instead of all cases. Which of its arguments are paths, pytest knows best."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.args = [self._found(one) for one in config.args[1:]] or config.args

    @staticmethod
    def _found(argument: str) -> str:
        """A path below the folder of cases, where there is none from here."""
        path, *rest = argument.split("::", 1)
        inside = cases_folder() / path
        return "::".join([str(inside), *rest]) if not Path(path).exists() and inside.exists() else argument


def _pytest_basics() -> list[str]:
    """What pytest needs to find the cases from any folder, which comes first, and to leave nothing beside them."""
    return [str(cases_folder()), "--import-mode=importlib", "-p", "no:cacheprovider", "-rfE"]


class _Collector:
    """Keeps the cases of a collection."""

    def __init__(self) -> None:
        self.found: list[CaseInfo] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.found = [describe(item) for item in session.items if is_case(item)]


def _list(options: argparse.Namespace, rest: list[str]) -> int:
    try:
        state = None if options.state is None else State.parse(options.state)
        rows = _requirements(options)
    except ValueError as error:
        print(f"tcp-conformance list: {error}", file=sys.stderr)
        return 2

    def wanted(row: Cell) -> bool:
        text = (options.event or "").lower()
        return state in (None, row.state) and (text in row.stimulus.slug or text in row.event.lower())

    collector = _Collector()
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = pytest.main(
            [*_pytest_basics(), "--collect-only", "-q", "--family=4", "--tier=full", *rest],
            plugins=[_Narrowed(), collector],
        )
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        print(said.getvalue(), file=sys.stderr)
        return int(code)
    if options.requirements:
        _list_requirements(rows, collector.found, as_json=options.json)
    elif options.tc8:
        _list_tc8(collector.found, as_json=options.json)
    elif options.cells:
        _list_cells([row for row in cells() if wanted(row)], collector.found, as_json=options.json)
    else:
        every = options.state is None and options.event is None
        found = [one for one in collector.found if every or any(wanted(cell(name)) for name in one.cells)]
        _list_cases(found, as_json=options.json)
    return 0


def _requirements(options: argparse.Namespace) -> list[Requirement]:
    """The catalogues' rows that were asked for. Raises ValueError."""
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
    by_id = {name: [_without_family(one.id) for one in found] for name, found in cases_by_requirement(cases).items()}
    if as_json:
        print(json.dumps([_requirement_as_json(row, by_id.get(row.id, [])) for row in rows], indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    sums = []
    for document, members in itertools.groupby(rows, key=lambda row: row.document):
        console.print(f"\n[bold]{document}[/]")
        counts: Counter[tuple[str, bool]] = Counter()
        for row in members:
            found = len(by_id.get(row.id, []))
            has = (
                f"{found} case{'s' * (found > 1)}{f', partly: unseen is {row.partly}' if row.partly else ''}"
                if found
                else f"no case: {row.reason}"
                if row.reason
                else "no case yet"
            )
            shown = escape(f"{row.id}  {level_of([row.id])}  {row.section}  {row.summary}")
            console.print(f"  {shown}  [dim]{escape(has)}[/]")
            counts["numbered" if _NUMBERED.search(row.id) else "without a number", found > 0] += 1
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
    console = Console(highlight=False, soft_wrap=True)
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
    """What a map may call a case: its function, that with parameters, and the row that it was generated from."""
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
    for one in sorted(cases, key=lambda one: (not one.generated_from, len(one.cells))):
        for name in one.cells:
            by_row.setdefault(name, _without_family(one.id))
    found = [_cell_as_json(row, by_row.get(row.id)) for row in rows]
    if as_json:
        print(json.dumps(found, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    for state in State:
        members = [row for row in found if row["state"] == state.value]
        if members:
            console.print(f"\n[bold]{state}[/]")
        for row in members:
            rest = f"{row['row']}, {row.get('case') or 'not run: ' + row['reason']}"
            console.print(f"  {escape(row['id'])}  {escape(row['event'])}  [dim]{escape(rest)}[/]")
    run = sum("case" in row for row in found)
    print(f"{len(found)} cells, {run} with a case, {len(found) - run} not run")


def _cell_as_json(row: Cell, case: str | None) -> dict[str, str]:
    shown = {"id": row.id, "row": row.row, "kind": row.kind, "state": row.state.value, "event": row.event}
    if row.unseen or case is None:
        return {**shown, "reason": row.unseen or "no case checks it"}
    return {**shown, "case": case}


def _list_cases(found: Sequence[CaseInfo], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([_as_json(one) for one in found], indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    for module, cases in itertools.groupby(found, key=lambda one: one.id.partition("::")[0]):
        console.print(f"\n[bold]{module}[/]")
        for one in cases:
            name = _without_family(one.id).partition("::")[2]
            marks = [one.level, f"{one.document} {one.section}", *one.requirements[:3], *one.claims]
            marks += [f"needs {' '.join(one.needs)}"] if one.needs else []
            marks += ["alone"] if one.alone else []
            marks += [f"lasts {one.lasts_s:g} s"] if one.lasts_s else []
            console.print(f"  {escape(name)}  [dim]{escape(', '.join(marks))}[/]")
    print(f"{count(len(found), 'case')}, each for IPv4 and IPv6")


def _as_json(one: CaseInfo) -> dict[str, Any]:
    return {
        "id": _without_family(one.id),
        "title": one.title,
        "document": one.document,
        "section": one.section,
        "level": one.level,
        "requirements": list(one.requirements),
        "claims": list(one.claims),
        "cells": list(one.cells),
        "needs": list(one.needs),
        "alone": one.alone,
        "sysctl": dict(one.sysctl),
        "lasts_s": one.lasts_s,
    }


def _without_family(case_id: str) -> str:
    """The id without the family among its parameters: `test_x[ipv4-FIN-WAIT-1]` is `test_x[FIN-WAIT-1]`."""
    name, bracket, parameters = case_id.partition("[")
    kept = "-".join(part for part in parameters.rstrip("]").split("-") if part != "ipv4")
    return f"{name}{bracket}{kept}]" if kept else name


def _doctor(options: argparse.Namespace, rest: list[str]) -> int:
    if options.agent is not None:
        return _check_agent(options.agent)
    from conformance.doctor import examine, examine_target  # noqa: PLC0415
    from conformance.target.load import TargetFileError  # noqa: PLC0415

    try:
        findings = examine() if options.target is None else examine_target(options.target)
    except TargetFileError as error:
        print(f"tcp-conformance doctor: {error}", file=sys.stderr)
        return 2
    table = Table(box=None, show_header=False, pad_edge=False)
    for one in findings:
        sign = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "missing": "[red]missing[/]"}[one.state]
        table.add_row(sign, one.what, escape(one.found))
    console = Console()
    console.print(table)
    for one in findings:
        if one.mend:
            console.print(escape(f"\n{one.what}: {one.mend}"), highlight=False)
    return int(any(one.state == "missing" for one in findings))


def _check_agent(command: str) -> int:
    from conformance.agent_check import check_agent  # noqa: PLC0415

    console, failed = Console(highlight=False, soft_wrap=True), False
    for one in check_agent(command):
        failed = failed or bool(one.wrong)
        said = f": {clean(one.wrong)}" if one.wrong else ""
        console.print(f"{'[red]wrong[/]' if one.wrong else '[green]ok[/]   '} {escape(one.what + said)}")
    return int(failed)


def _stacks(options: argparse.Namespace, rest: list[str]) -> int:
    from conformance.target.build import StackMissing, install, stacks  # noqa: PLC0415

    if unknown := [name for name in options.names if name not in stacks()]:
        print(
            f"tcp-conformance stacks: no stack is called {unknown[0]!r}: there is {', '.join(stacks())}",
            file=sys.stderr,
        )
        return 2
    chosen = [stacks()[name] for name in options.names or stacks()]
    if options.install:
        install(chosen)
    failed = False
    for stack in chosen:
        try:
            if options.build:
                stack.make()
            if stack.is_built():
                said = f"ready: --target {stack.name}"
            else:
                said = f"can't be built here: {stack.lacks()}" if stack.missing else "not built: make stacks"
        except StackMissing as error:
            failed = failed or not stack.missing
            said = str(error).removeprefix(f"{stack.name}: ")
        print(f"{stack.name:<10} {stack.title}: {said}")
    return int(failed)


def _report(options: argparse.Namespace, rest: list[str]) -> int:
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.report import make_report, make_single, merge  # noqa: PLC0415
    from conformance.report.baseline_files import load  # noqa: PLC0415

    problems = []
    try:
        folder = options.folders[0]
        since = None if options.baseline is None else load(options.baseline)
        if len(options.folders) > 1 or options.output is not None:
            folder = options.output or Path("reports/merged")
            problems = merge(options.folders, folder)
        print(make_report(folder, since))
        if options.self_contained:
            print(make_single(folder))
    except (RecordError, OSError) as error:
        print(f"tcp-conformance report: {error}", file=sys.stderr)
        return 1
    for line in problems:
        print(f"tcp-conformance report: {line}", file=sys.stderr)
    return 0


def _save_baseline(options: argparse.Namespace, rest: list[str]) -> int:
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.report.baseline_files import save  # noqa: PLC0415

    try:
        path, kept = save(options.name, options.run)
    except RecordError as error:
        print(f"tcp-conformance baseline: {error}", file=sys.stderr)
        return 2
    _say_problems("baseline", kept)
    print(f"{path}: {count(len(kept.cases), 'case')}")
    return 0


def _compare(options: argparse.Namespace, rest: list[str]) -> int:
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.report import make_comparison  # noqa: PLC0415
    from conformance.report.baseline_files import load  # noqa: PLC0415
    from conformance.report.compare import compare  # noqa: PLC0415

    runs, wrong = [], []
    for where in (options.first, *options.others):
        try:
            runs.append(load(where))
        except RecordError as error:
            wrong.append(str(error))
    found = compare(runs) if len(runs) > 1 else None
    try:
        if options.html is not None and found is not None:
            make_comparison(options.html, found)
    except RecordError as error:
        wrong.append(str(error))
    for line in [*wrong, *([found.problem] if found is not None and found.problem else [])]:
        print(f"tcp-conformance compare: {line}", file=sys.stderr)
    for run in runs:
        _say_problems("compare", run)
    if found is not None and options.json:
        print(json.dumps(found.as_json(), indent=2))
    elif found is not None:
        _show_comparison(found, whole=options.all)
    return 2 if wrong or found is None or found.problem else 0


def _say_problems(command: str, run: Baseline) -> None:
    if run.problems:
        many = count(len(run.problems), "line")
        print(f"tcp-conformance {command}: {run.name}: {many} left out: {run.problems[0]}", file=sys.stderr)


def _show_comparison(found: Comparison, *, whole: bool) -> None:
    console = Console(highlight=False)
    heads = [clean(one.name) for one in found.runs]
    targets = [clean(f"{one.name}\n{one.target} {one.version}") for one in found.runs]
    counts = Table("verdict", *map(escape, targets), box=None, pad_edge=False)
    for verdict, numbers in found.counts.items():
        counts.add_row(verdict, *(f"{number:,}" for number in numbers))
    counts.add_row("all", *(f"{len(one.cases):,}" for one in found.runs))
    console.print(counts)
    tables = (
        ("Settings", heads, [(row.name, row.values) for row in found.settings]),
        (
            "Cells by state",
            heads,
            [
                (state, [_tally(one) for one in counts])
                for state, counts in found.states.items()
                if any(one != counts[0] for one in counts)
            ],
        ),
        ("Other verdicts", heads, [(row.name, row.values) for row in found.verdicts]),
        ("Other choices", heads, [(f"{row.name}: {row.what}", row.values) for row in found.choices]),
        (
            "Timers",
            [*heads, "allowed"],
            [
                (
                    f"{row.case}: {row.what}",
                    [
                        *(seconds(one.measured_s if one else None) for one in row.values),
                        bounds(row.bounds.low_s, row.bounds.high_s),
                    ],
                )
                for row in found.times
            ],
        ),
        ("Requirements", heads, [(row.name, row.values) for row in found.requirements]),
        ("Other cells", heads, [(row.name, row.values) for row in found.cells]),
    )
    for title, names, rows in tables:
        if rows:
            console.print(f"\n[bold]{title}[/] ({len(rows):,})")
            shown = rows if whole else rows[:_LISTED]
            _show_rows(console, names, shown)
            if left := len(rows) - len(shown):
                console.print(f"[dim]and {left:,} more: --all, or --html FILE for a page[/]")
    everywhere = set.intersection(*({one.key for one in run.deviations} for run in found.runs))
    for run in found.runs:
        _show_deviations(console, run, [one for one in run.deviations if one.key not in everywhere], whole=whole)
    said = f"{count(found.common, 'case')} in all of them, {found.alone:,} in one only"
    console.print(f"\n{said}{': no case differs' if found.same and not found.problem else ''}")


def _tally(counts: Mapping[str, int]) -> str:
    """`1 violates, 2 conforms`."""
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts.get(verdict))


def _show_deviations(console: Console, run: Baseline, deviations: Sequence[KnownDeviation], *, whole: bool) -> None:
    """What that target alone does otherwise; if `whole`, with the sentence that it breaks and the case that shows it best."""
    if deviations:
        title = escape(clean(f"What {run.target} {run.version} does otherwise in {run.name}"))
        console.print(f"\n[bold]{title}[/] ({len(deviations):,})")
    for one in deviations:
        said = f"{one.reason} ({count(len(run.showing(one)), 'case')}; {one.source})"
        console.print(escape(clean(said)), soft_wrap=True)
        if whole:
            lines = [f"  the standard: {one.sentence}"] if one.sentence else []
            lines += [f"  {one.case}: {one.shows}", *(f"    {frame}" for frame in one.frames)]
            console.print(escape(clean("\n".join(lines))), soft_wrap=True, style="dim")


def _show_rows(console: Console, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str | None]]]) -> None:
    """The values side by side, each case on a line of its own above them: ids are long."""
    shown = [(clean(case), [clean(one or NOTHING) for one in values]) for case, values in rows]
    widths = [max(map(len, column)) for column in zip(heads, *(values for _, values in shown), strict=True)]

    def line(values: Sequence[str]) -> str:
        return "  ".join(f"{one:<{width}}" for one, width in zip(values, widths, strict=True)).rstrip()

    console.print(f"[dim]  {escape(line(heads))}[/]", soft_wrap=True)
    for case, values in shown:
        console.print(f"{escape(case)}\n  {escape(line(values))}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
