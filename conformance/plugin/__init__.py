"""The pytest plugin: options, markers, and cases that run side by side while pytest goes from item to item.

It does nothing in a run without cases. Imports are late, so that it costs such a run nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import html
import os
import re
import shlex
import uuid
from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conformance.case.info import CaseInfo
    from conformance.plugin.progress import Progress
    from conformance.plugin.selection import Selection
    from conformance.plugin.workers import Controller
    from conformance.report import Overview
    from conformance.report.baseline import Baseline
    from conformance.run.outcome import Outcome
    from conformance.run.run import Run

_MARKERS = (
    "verifies(*ids, cells, level, needs, lasts, quick, alone, sysctl): what a conformance case checks (set by @verifies)",
    "must: the strictest requirement that the case checks is a MUST (set from the catalogue, as the other three)",
    "should: ... is a SHOULD: not followed, the verdict is `breaks should`",
    "may: ... is a MAY: the choice is recorded, never judged",
    "text: ... is a sentence without a keyword, judged like a MUST",
)
_WAIT_S = 0.1
# What JUnit XML can say of a case, and what it says unless it is told otherwise.
PROPERTIES = ("section", "requirement", "requirements", "level", "verdict", "states", "id", "title", "family", "target")
_DEFAULT = ("section", "requirements", "level", "verdict", "states")
# Columns of pytest-html's report.
COLUMNS = {
    "section": "Section",
    "requirement": "Requirement",
    "level": "Level",
    "verdict": "Verdict",
    "states": "State path",
}
_HEADS = [f'<th class="sortable" data-column-type="{name}">{what}</th>' for name, what in COLUMNS.items()]
# The longest that a case of the tier waits, in seconds.
TIERS = {"quick": 5.0, "standard": 90.0, "full": float("inf")}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--strict` is pytest's own option: it also makes a SHOULD that is not followed fail."""
    group = parser.getgroup("tcp-conformance", "TCP conformance")
    group.addoption(
        "--target",
        default="linux",
        metavar="NAME|FILE.toml",
        help="the host under test (default: linux, the embedded lab)",
    )
    group.addoption(
        "--family", choices=("4", "6", "both"), default="both", help="run the cases over IPv4, IPv6 or both"
    )
    group.addoption(
        "--tier",
        choices=tuple(TIERS),
        default="standard",
        help="quick: nothing that waits longer than 5 s; standard: a minute and a half (default); full: everything",
    )
    group.addoption(
        "--requirement",
        action="append",
        default=[],
        metavar="ID",
        help="only cases that verify this requirement (RFC9293:MUST-13), claim (C-18) or cell (TIME-WAIT/fin-duplicate);"
        " may be repeated",
    )
    group.addoption(
        "--rfc",
        action="append",
        default=[],
        metavar="NUMBER",
        help="only cases that verify a requirement of this RFC (5961); may be repeated, and narrows --requirement",
    )
    group.addoption(
        "--concurrency", type=whole_number, default=256, metavar="N", help="how many cases run at once (default: 256)"
    )
    group.addoption(
        "--output", default="reports/latest", metavar="DIR", help="where the run is recorded (default: reports/latest)"
    )
    group.addoption(
        "--baseline",
        metavar="NAME|FILE",
        help="say what has changed since then, and fail only where something got worse",
    )
    group.addoption(
        "--step-summary",
        action="store_true",
        help="append summary.md to the file that $GITHUB_STEP_SUMMARY names, too",
    )
    parser.addini(
        "conformance_properties",
        "what each case of JUnit XML says, as `our name = your name` a line (level = polarion-custom-level); ours: "
        + ", ".join(PROPERTIES),
        type="linelist",
        default=[],
    )


def whole_number(text: str) -> int:
    """An option's whole number above 0. Raises argparse.ArgumentTypeError."""
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def pytest_configure(config: pytest.Config) -> None:
    for line in _MARKERS:
        config.addinivalue_line("markers", line)
    if config.getoption("--step-summary") and not os.environ.get("GITHUB_STEP_SUMMARY"):
        raise pytest.UsageError("--step-summary: GITHUB_STEP_SUMMARY is not set, so there is no step to write to")
    baseline = _baseline(config)
    controller = None
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        from conformance.plugin.workers import Controller  # noqa: PLC0415

        controller = Controller()
        config.pluginmanager.register(controller, "conformance-workers")
    selection = None
    names, rfcs = config.getoption("--requirement"), config.getoption("--rfc")
    if names or rfcs:
        from conformance.plugin.selection import Selection  # noqa: PLC0415

        selection = Selection(names, rfcs)
    config.pluginmanager.register(ConformancePlugin(config, controller, selection, baseline), "conformance-run")


def _baseline(config: pytest.Config) -> Baseline | None:
    """What `--baseline` names; read before anything runs, for the run may write over it. Workers leave it to their controller."""
    where = config.getoption("--baseline")
    if where is None or hasattr(config, "workerinput"):
        return None
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.report.baseline import load  # noqa: PLC0415

    try:
        return load(where)
    except RecordError as error:
        raise pytest.UsageError(str(error)) from None


@pytest.fixture
def family() -> int:
    """The address family (4 or 6) of the case; every case is parametrized by it."""
    raise pytest.UsageError("family is set for cases that take `tcp`")


@pytest.fixture
def tcp(family: int) -> Any:
    """The case's handle on tester and target (see conformance.case.case.Case).

    What an item gets here stands in for it: the real one is made when the case starts, on the engine's loop.
    """
    return None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "tcp" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--family")
        families = [4, 6] if chosen == "both" else [int(chosen)]
        metafunc.parametrize("family", families, ids=[f"ipv{one}" for one in families])


class ConformancePlugin:
    """The one object that holds a run; what pytest asks for is answered from the outcomes of cases."""

    def __init__(
        self,
        config: pytest.Config,
        workers: Controller | None,
        selection: Selection | None,
        baseline: Baseline | None,
    ) -> None:
        self._config, self._workers, self._selection, self._baseline = config, workers, selection, baseline
        self._properties = _properties(config)
        self._columns = True
        self._run: Run | None = None
        self._progress: Progress | None = None
        self._infos: dict[str, CaseInfo] = {}
        self._futures: dict[str, concurrent.futures.Future[Outcome]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._overview: Overview | None = None
        self._problems: list[str] = []
        self._page: Path | None = None
        self._other_failures = False
        self._folder: int | None = None

    # Collection

    def pytest_collection_modifyitems(
        self, session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        kept: list[pytest.Item] = []
        left_out: list[pytest.Item] = []
        for item in items:
            info = self._describe(item)
            if info is not None:
                item.add_marker(getattr(pytest.mark, info.level.lower()))
                item.user_properties += self._named(
                    section=f"{info.document} {info.section}",
                    requirement=info.requirements[0],
                    requirements=",".join(info.requirements),
                    level=info.level,
                    id=info.id,
                    title=info.title,
                    family=f"IPv{info.family}",
                )
            (kept if self._wants(info) else left_out).append(item)
        self._check_coverage(session)
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = kept

    def _check_coverage(self, session: pytest.Session) -> None:
        """See that a run of everything leaves out no requirement. Lists, workers and broken modules are not everything."""
        config = session.config
        if not self._infos or session.testsfailed or config.option.collectonly or hasattr(config, "workerinput"):
            return
        from conformance.plugin.coverage import check, collects_everything  # noqa: PLC0415

        if collects_everything(config):
            check(self._infos.values())

    def _named(self, **values: str) -> list[tuple[str, object]]:
        """The properties that JUnit XML is to have, by the names that it is to give them."""
        return [(theirs, values[ours]) for ours, theirs in self._properties if ours in values]

    def _wants(self, info: CaseInfo | None) -> bool:
        """Whether an item was asked for; one that is no case verifies nothing, and waits for nothing."""
        if info is None:
            return self._selection is None
        tier = self._config.getoption("--tier")
        if info.lasts_s > TIERS[tier] or (tier == "quick" and not info.quick):
            return False
        return self._selection is None or self._selection.wants(info)

    def _describe(self, item: pytest.Item) -> CaseInfo | None:
        from conformance.plugin.items import describe, is_case, takes_nothing_else  # noqa: PLC0415

        if item.nodeid not in self._infos and is_case(item):
            self._infos[item.nodeid] = describe(item)
            if takes_nothing_else(item):
                item.setup = _nothing  # type: ignore[method-assign]
        return self._infos.get(item.nodeid)

    # The run

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        cases = [item for item in session.items if item.nodeid in self._infos]
        if session.config.option.collectonly or session.testsfailed or not cases:
            return
        try:
            self._run = run = self._start()
        except pytest.UsageError as error:
            if hasattr(session.config, "workerinput"):
                session.config.workeroutput["tcp_conformance"] = {"refused": str(error)}  # type: ignore[attr-defined]
            raise
        if hasattr(session.config, "workerinput"):
            from conformance.plugin.workers import share  # noqa: PLC0415

            mine = {item.nodeid for item in share(session.config, session.items)}
            cases = [item for item in cases if item.nodeid in mine]
        # Those that wait longest start first, so that the run is as long as the longest of them.
        for item in sorted(cases, key=lambda item: -self._infos[item.nodeid].lasts_s):
            self._submit(item)
        from conformance.plugin.progress import Progress  # noqa: PLC0415

        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        self._progress = Progress(reporter, run, len(cases))

    def _submit(self, item: pytest.Item) -> concurrent.futures.Future[Outcome]:
        assert self._run is not None
        from conformance.case.info import parameters_of  # noqa: PLC0415

        function: Any = getattr(item, "function")  # noqa: B009 - a pytest.Item has none for mypy
        parameters = getattr(item, "callspec").params  # noqa: B009
        chosen = {name: parameters[name] for name in parameters_of(function) if name != "tcp"}
        future = self._futures[item.nodeid] = self._run.submit(self._infos[item.nodeid], function, chosen)
        return future

    def _start(self) -> Run:
        from conformance.record import RecordError  # noqa: PLC0415
        from conformance.report import clear  # noqa: PLC0415
        from conformance.run.folder import claim  # noqa: PLC0415
        from conformance.run.run import Run  # noqa: PLC0415
        from conformance.target import HarnessFault  # noqa: PLC0415
        from conformance.target.load import TargetFileError, load_target  # noqa: PLC0415

        option = self._config.getoption
        output = Path(option("--output"))
        try:
            target = load_target(option("--target"), _worker(self._config))
        except TargetFileError as error:
            raise pytest.UsageError(str(error)) from None
        here = f"{Path.cwd()}/"  # how it was called there reads better without
        command = shlex.join(["pytest", *(str(one).replace(here, "") for one in self._config.invocation_params.args)])
        try:
            given = getattr(self._config, "workerinput", None)
            self._folder = claim(output, given["testrunuid"] if given else uuid.uuid4().hex, clear)
        except BlockingIOError:
            raise pytest.UsageError(f"another run is at {output}; choose another --output") from None
        except OSError as error:
            raise pytest.UsageError(
                f"can't write {error.filename}: {error.strerror}; choose another --output"
            ) from None
        run = Run(
            target, output=output, concurrency=option("--concurrency"), strict=_strict(self._config), command=command
        )
        try:
            run.start()
        except (HarnessFault, RecordError) as error:
            run.stop()
            raise pytest.UsageError(str(error)) from None
        return run

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Wait for the case. A fault of harness, agent or lab ends the item here, so that pytest counts it as an error."""
        from conformance.judge import Verdict  # noqa: PLC0415

        if self._run is None or item.nodeid not in self._infos:
            return
        # Another worker's case comes here when that worker died.
        future = self._futures.get(item.nodeid) or self._submit(item)
        while True:
            try:
                outcome = future.result(_WAIT_S)
                break
            except concurrent.futures.TimeoutError:
                if self._progress is not None:
                    self._progress.show()
        self._outcomes[item.nodeid] = outcome
        item.user_properties += self._named(
            verdict=outcome.verdict.value, states=" ".join(outcome.states), target=self._run.target.name
        )
        if outcome.verdict is Verdict.ERROR:
            raise _said(pytest.fail, outcome.failure)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        from conformance.judge import Verdict  # noqa: PLC0415

        outcome = self._outcomes.get(pyfuncitem.nodeid)
        if outcome is None:
            return None
        if outcome.stopped_deviating and _strict(self._config):
            raise _said(pytest.fail, outcome.message)
        match outcome.verdict:
            case Verdict.VIOLATES:
                raise _said(pytest.fail, outcome.failure)
            case Verdict.DEVIATES:
                assert outcome.deviation is not None
                raise _said(pytest.xfail, f"deviates: {outcome.deviation.reason}")
            case Verdict.NOT_APPLICABLE:
                pytest.skip(f"not applicable: {outcome.message}")
            case Verdict.INCONCLUSIVE:
                pytest.skip(f"inconclusive: {outcome.message}")
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        outcome = self._outcomes.get(item.nodeid)
        if outcome is None:
            return report
        if report.when != "call" and report.passed:
            return report
        if report.failed:
            report.judged = True  # type: ignore[attr-defined] # goes from a worker to its controller, as the next one
        info = outcome.info
        report.conformance = {  # type: ignore[attr-defined]
            "id": item.nodeid if report.when == "call" else f"{item.nodeid}::{report.when}",
            "section": f"{info.document} {info.section}",
            "requirement": info.requirements[0],
            "level": info.level,
            "verdict": outcome.verdict.value,
            "states": " ".join(outcome.states),
        }
        if report.when == ("setup" if report.failed else "call"):
            report.duration = outcome.duration_s
        self._link(report, outcome)
        return report

    def _link(self, report: pytest.TestReport, outcome: Outcome) -> None:
        """Links to the case's page and capture in pytest-html's report, by relative path."""
        if self._to_output is None:
            return
        from pytest_html import extras  # noqa: PLC0415

        from conformance.record import case_name  # noqa: PLC0415

        links = [extras.url(f"{self._to_output}/cases/{case_name(outcome.info.id)}.html", name="case")]
        if outcome.capture:
            links.append(extras.url(f"{self._to_output}/{outcome.capture}", name="capture"))
        report.extras = [*getattr(report, "extras", []), *links]  # type: ignore[attr-defined]

    @cached_property
    def _to_output(self) -> str | None:
        """The way from pytest-html's report to the run's folder; None where there is no such report."""
        report = self._report_of_pytest("htmlpath")
        if self._config.pluginmanager.get_plugin("html") is None or report is None or self._run is None:
            return None
        return os.path.relpath(self._run.output, report.parent)

    def _report_of_pytest(self, option: str) -> Path | None:
        """Where pytest writes a report of its own: its plugins look for variables and `~` in what the option says."""
        said = self._config.getoption(option, None)
        return Path(os.path.expandvars(said)).expanduser() if said else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_header(self, cells: list[str]) -> None:
        """Columns of our own in pytest-html's report, after its own result and test."""
        cells[2:2] = _HEADS

    @pytest.hookimpl
    def pytest_collection_finish(self) -> None:
        """Take the columns out of the report of a run without cases: pytest-html asks before anything is collected."""
        reports = [getattr(plugin, "_report", None) for plugin in self._config.pluginmanager.get_plugins()]
        for report in reports:
            head = getattr(report, "table_header", None)
            if not self._infos and isinstance(head, list) and set(_HEADS) <= set(head):
                report.table_header = [one for one in head if one not in _HEADS]  # type: ignore[union-attr]
                self._columns = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_html_results_table_row(self, report: pytest.TestReport, cells: list[str]) -> None:
        """What stands in them; cells are raw HTML, and what a target or a parameter says is text.

        pytest-html makes a row for each phase, and throws away those of setup and teardown that passed: here they get none.
        """
        if report.when in ("setup", "teardown") and report.passed and not report.sections:
            cells.clear()
        elif self._columns:
            said: dict[str, str] = getattr(report, "conformance", {})
            if said:  # pytest-html takes the parameters in an id for markup
                cells[1] = f'<td class="col-testId">{html.escape(said["id"])}</td>'
            cells[2:2] = [f'<td class="col-{name}">{html.escape(said.get(name, ""))}</td>' for name in COLUMNS]

    # The end

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notice failures that are no verdict: a baseline does not excuse them."""
        self._other_failures |= report.failed and not getattr(report, "judged", False)

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._other_failures |= report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        problems, output = self._stop()
        if hasattr(session.config, "workerinput"):
            if output is not None:
                said = {"output": str(output.absolute()), "problems": problems}
                session.config.workeroutput["tcp_conformance"] = said  # type: ignore[attr-defined]
            return
        if output is None:
            return
        from conformance.record import RecordError  # noqa: PLC0415
        from conformance.report import gather, write_report  # noqa: PLC0415

        # With -x and Ctrl-C, more cases may have ended than pytest came to.
        try:
            self._overview = overview = gather(output, check=False)
            self._hold_against_baseline(session, overview)
            self._page = write_report(output, overview, coming=self._coming(output))
            self._tell_the_step(overview)
        except RecordError as error:
            problems.append(str(error))
        self._problems = problems
        if problems and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _coming(self, output: Path) -> set[str]:
        """The names of pytest's own reports that go into the run's folder: they are written last of all."""
        reports = filter(None, map(self._report_of_pytest, ("htmlpath", "xmlpath")))
        return {report.name for report in reports if report.parent.resolve() == output.resolve()}

    def _hold_against_baseline(self, session: pytest.Session, overview: Overview) -> None:
        """Decide a finished run's exit code by what got worse; a run that was stopped early can only get worse by it."""
        if self._baseline is None or not overview.entries:
            return
        stopped = bool(session.shouldfail or session.shouldstop)
        ended = session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        overview.hold_against(self._baseline, whole=ended and not stopped and not _selects(self._config))
        if not ended or overview.changes is None:
            return
        if overview.changes.worse:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        elif not stopped and not self._other_failures:
            session.exitstatus = pytest.ExitCode.OK

    def _tell_the_step(self, overview: Overview) -> None:
        """Append the summary to the page of a GitHub step, where that was asked for. Raises RecordError."""
        if not self._config.getoption("--step-summary"):
            return
        from conformance.record import RecordError  # noqa: PLC0415
        from conformance.report.summary import as_markdown  # noqa: PLC0415

        where = os.environ["GITHUB_STEP_SUMMARY"]
        try:
            with Path(where).open("a", encoding="utf-8") as file:
                file.write(as_markdown(overview))
        except OSError as error:
            raise RecordError(f"can't write the step's summary {where}: {error.strerror or error}") from error

    def _stop(self) -> tuple[list[str], Path | None]:
        """End the run, here or in the workers; what its record lacks, and where it is (None: there was no run)."""
        if self._run is not None:
            self._run.stop()
            return self._run.problems, self._run.output
        if self._workers is not None and self._workers.outputs:
            return self._workers.problems, next(iter(self._workers.outputs))
        return [], None

    def pytest_unconfigure(self) -> None:
        """Let other runs have the folder."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._overview is None and not self._problems:
            return
        from conformance.plugin.progress import summary  # noqa: PLC0415

        summary(terminalreporter, self._overview, self._problems)
        if self._overview is not None and self._overview.changes is not None:
            from conformance.report.baseline import told  # noqa: PLC0415

            terminalreporter.section("baseline", "=")
            for line in told(self._overview.changes):
                terminalreporter.write_line(line)
        if self._page is not None:
            terminalreporter.write_line("")
            terminalreporter.write_line(f"report: {self._page}")


def _properties(config: pytest.Config) -> list[tuple[str, str]]:
    """Our names of properties with those that JUnit XML gets. Raises pytest.UsageError."""
    lines = config.getini("conformance_properties")
    if not lines:
        return [(name, name) for name in _DEFAULT]
    found = []
    for line in lines:
        ours, equals, theirs = (part.strip() for part in line.partition("="))
        if ours not in PROPERTIES or (equals and not theirs):
            raise pytest.UsageError(
                f"conformance_properties: {line!r} is not `our name = your name`; ours are {', '.join(PROPERTIES)}"
            )
        found.append((ours, theirs or ours))
    return found


def _nothing() -> None:
    """What there is to set up for a case: its fixtures are stand-ins, and filling them in costs more than all else."""


def _said(how: Any, text: str) -> Exception:
    """pytest's own exception with nothing but the text.

    A traceback through the plugin tells nobody anything, and making one compiles its source while the engine's thread runs.
    """
    raised: Exception = how.Exception(text, pytrace=False)
    return raised


def _strict(config: pytest.Config) -> bool:
    """Whether `--strict` was said: pytest 8 has it as an option, pytest 9 as an override of its own setting."""
    return bool(getattr(config.option, "strict", False)) or "strict=true" in (config.option.override_ini or ())


def _selects(config: pytest.Config) -> bool:
    """Whether only some of the cases in the named files were asked for."""
    chosen = ("keyword", "markexpr", "deselect", "lf")
    return (
        any(config.getoption(name, None) for name in chosen)
        or config.getoption("--family") != "both"
        or any("::" in argument for argument in config.args)
    )


def _worker(config: pytest.Config) -> int:
    """The number of this process among pytest-xdist's workers; 0 where there are none."""
    return int(getattr(config, "workerinput", {"workerid": "gw0"})["workerid"].removeprefix("gw"))
