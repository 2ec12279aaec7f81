"""The run of this process: cases run side by side while pytest goes from item to item and takes their outcomes."""

from __future__ import annotations

import concurrent.futures
import shlex
import signal
import threading
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conformance.plugin.collection import CASE
from conformance.plugin.hooks import Stopped
from conformance.plugin.options import is_strict, is_worker, number_of_worker, output_of
from conformance.plugin.scripts import ScriptItem
from conformance.plugin.terminal import usage_error

if TYPE_CHECKING:
    from conformance.plugin.progress import Progress
    from conformance.run.folder import RunFolder
    from conformance.run.outcome import Outcome
    from conformance.run.run import Run

OUTCOME: pytest.StashKey[Outcome] = pytest.StashKey()
"""In an item's stash, once its case has ended."""
TARGET: pytest.StashKey[str] = pytest.StashKey()
"""In the configuration's stash, while there is a run: the name of its target."""
_FUTURE: pytest.StashKey[concurrent.futures.Future[Outcome]] = pytest.StashKey()
_WAIT_S = 0.1


class Running:
    """Holds the run. It starts all cases at once, and has pytest wait for each in turn."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._run: Run | None = None
        self._folder: RunFolder | None = None
        self._progress: Progress | None = None
        self._handlers: dict[int, Any] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """Have SIGTERM and SIGHUP end the run as Ctrl-C does, unless who started us had them ignored."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._handlers[number] = signal.signal(number, signal.default_int_handler)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Start the run and all cases of this process. Raises pytest.UsageError where there can be none."""
        items = session.items
        if is_worker(self._config):
            from conformance.plugin.workers import share

            items = share(self._config, items)
        items = [item for item in items if CASE in item.stash]
        if self._config.option.collectonly or session.testsfailed or not items:
            return
        self._run = run = self._start()
        # Those that wait longest start first, so that the run is as long as the longest of them.
        for item in sorted(items, key=lambda item: -item.stash[CASE].lasts_s):
            _submit(run, item)
        if not is_worker(self._config):
            from conformance.plugin.progress import Progress

            self._progress = Progress(self._config, run, [item.stash[CASE] for item in items])

    def _start(self) -> Run:
        """Make the target ready, and only then the folder: a target that refuses leaves the last run's as it was."""
        from conformance.record import RecordError
        from conformance.run.folder import RunFolder
        from conformance.run.run import Run
        from conformance.target import HarnessFault
        from conformance.target.load import TargetFileError, load_target

        config, output = self._config, output_of(self._config)
        try:
            target = load_target(config.getoption("--target"), number_of_worker(config))
        except TargetFileError as error:
            raise usage_error(error) from None
        here = f"{Path.cwd()}/"  # paths below it read better without
        words = (str(argument).replace(here, "") for argument in config.invocation_params.args)
        own = getattr(config, "workerinput", None)
        try:
            self._folder = folder = RunFolder(output, own["testrunuid"] if own else uuid.uuid4().hex)
            run = Run(
                target,
                output=output,
                concurrency=config.getoption("--concurrency"),
                strict=is_strict(config),
                command=shlex.join(["pytest", *words]),
            )
            try:
                run.start()
                folder.begin(target.name)
                run.open_record()
            except BaseException:
                run.stop()
                raise
        except BlockingIOError:
            raise usage_error(f"another run is at {output}; choose another --output") from None
        except OSError as error:
            where = error.filename or output
            raise usage_error(f"can't write {where}: {error.strerror}; choose another --output") from None
        except (HarnessFault, RecordError) as error:
            raise usage_error(error) from None
        config.stash[TARGET] = target.name
        return run

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Wait for the case. A fault of harness, agent or lab ends the item here, so that pytest counts it as an error."""
        if self._run is None or CASE not in item.stash:
            return
        from conformance.judge import Verdict

        # Another worker's case is not submitted yet: it arrives here when that worker died.
        future = item.stash.get(_FUTURE, None) or _submit(self._run, item)
        outcome = item.stash[OUTCOME] = self._await(future)
        if outcome.verdict is Verdict.ERROR:
            raise _bare(pytest.fail, outcome.failure)

    def _await(self, future: concurrent.futures.Future[Outcome]) -> Outcome:
        try:
            while True:
                try:
                    return future.result(_WAIT_S)
                except concurrent.futures.TimeoutError:
                    if self._progress is not None:
                        self._progress.show()
        finally:
            if self._progress is not None:
                self._progress.clear()

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Give pytest the verdict, in place of a call of the case's function."""
        return self._give_verdict(pyfuncitem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        """Give pytest the verdict on a script, which has no function."""
        if isinstance(item, ScriptItem):
            self._give_verdict(item)

    def _give_verdict(self, item: pytest.Item) -> bool | None:
        outcome = item.stash.get(OUTCOME, None)
        if outcome is None:
            return None
        from conformance.judge import Verdict
        from conformance.report.text import one_line

        if outcome.stopped_deviating and is_strict(self._config):
            raise _bare(pytest.fail, outcome.message)
        match outcome.verdict:
            case Verdict.VIOLATES:
                raise _bare(pytest.fail, outcome.failure)
            case Verdict.DEVIATES:
                assert outcome.deviation is not None
                raise _bare(pytest.xfail, f"deviates: {outcome.deviation.reason}")
            case Verdict.NOT_APPLICABLE:
                pytest.skip(one_line(f"not applicable: {outcome.message}"))
            case Verdict.INCONCLUSIVE:
                pytest.skip(one_line(f"inconclusive: {outcome.message}"))
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give the report how long the case took, and mark a failure that is a verdict: a baseline may excuse it."""
        report = yield
        outcome = item.stash.get(OUTCOME, None)
        if outcome is not None and (report.failed or report.when == "call"):
            if report.failed:
                report.judged = True  # type: ignore[attr-defined] # goes from a worker to its controller
            if report.when == ("setup" if report.failed else "call"):
                report.duration = outcome.duration_s
        return report

    def pytest_conformance_stop(self) -> Stopped | None:
        """End the run of this process."""
        if self._run is None:
            return None
        self._run.stop()
        return Stopped(self._run.output, self._run.problems)

    def pytest_unconfigure(self) -> None:
        """Let other runs have the folder, and the signals be as they were."""
        if self._folder is not None:
            self._folder.leave()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


def _submit(run: Run, item: pytest.Item) -> concurrent.futures.Future[Outcome]:
    from conformance.case.info import parameters_of

    if isinstance(item, ScriptItem):
        future = item.stash[_FUTURE] = run.submit(item.stash[CASE], item.script.function(), {})
        return future
    function: Any = getattr(item, "function")  # noqa: B009 - a pytest.Item has none for mypy
    parameters = getattr(item, "callspec").params  # noqa: B009
    chosen = {name: parameters[name] for name in parameters_of(function) if name != "tcp"}
    future = item.stash[_FUTURE] = run.submit(item.stash[CASE], function, chosen)
    return future


def _bare(outcome: Any, text: str) -> Exception:
    """Return pytest's own exception with nothing but the text.

    A traceback through the plugin helps nobody, and making one compiles its source while the engine's thread runs.
    """
    from conformance.report.text import clean

    exception: Exception = outcome.Exception(clean(text), pytrace=False)
    return exception
