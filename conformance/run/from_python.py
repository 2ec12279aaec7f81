"""Start a run from Python: cases in, typed outcomes out, and the same folder and pages that a run by pytest leaves."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from conformance.case.info import CaseFunction, CaseInfo, InvalidCase
from conformance.case.parameters import ParametrizedCase, expand, is_case_function
from conformance.judge import Verdict
from conformance.run.outcome import Outcome
from conformance.standard.profile import Profile, profile
from conformance.target import HarnessFault, Target

if TYPE_CHECKING:
    from conformance.run.run import Run

_FAILED = (Verdict.VIOLATES, Verdict.ERROR)


@dataclass(frozen=True)
class RunResult:
    """The outcomes of a run, in the order of its cases; `page` is the overview in the run's folder `output`."""

    outcomes: tuple[Outcome, ...]
    output: Path
    page: Path
    problems: tuple[str, ...] = ()
    """Faults of the record itself, one line each."""

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The cases that violate, and those that ended with an error."""
        return tuple(outcome for outcome in self.outcomes if outcome.verdict in _FAILED)


def run(
    cases: Iterable[CaseFunction | ModuleType],
    *,
    output: Path | str,
    target: str | Target = "linux",
    family: Literal[4, 6, "both"] = "both",
    only: Callable[[CaseInfo], bool] | None = None,
    concurrency: int = 256,
    strict: bool = False,
) -> RunResult:
    """Run cases against a target, record them in the folder `output`, and return their outcomes.

    `cases` are test functions with @verifies, or modules, which stand for all such functions in them. A function with
    `pytest.mark.parametrize` gives one case for each set of parameters. `only` chooses among the cases by what is known of
    them: `only=lambda case: "RFC9293:MUST-13" in case.requirements`.

    `target` is a name or a file as `tcp-conformance run --target` takes it. `strict` makes a SHOULD that is not followed a
    violation. `concurrency` is how many cases run at once.

    The call blocks until all cases have ended. On Ctrl-C and on any exception it cancels what runs and closes the target.

    Raises:
        InvalidCase: a function can't be a case, or there is no case at all.
        TargetFileError: no target is called so, or its file is wrong.
        HarnessFault: the target can't be made ready, or another run is at `output`.
        RecordError: the record or the pages can't be written.
    """
    # Late, so that a module of cases, which imports conformance.api, does not wait for what runs and reports them.
    from conformance.report.overview import gather  # noqa: PLC0415
    from conformance.report.pages import write_report  # noqa: PLC0415
    from conformance.run.folder import RunFolder  # noqa: PLC0415
    from conformance.run.run import Run  # noqa: PLC0415
    from conformance.target.load import load_target  # noqa: PLC0415

    output = Path(output)
    made = load_target(target) if isinstance(target, str) else target
    chosen = _chosen(cases, [4, 6] if family == "both" else [family], only, profile(made.profile))
    try:
        folder = RunFolder(output, uuid.uuid4().hex)
    except BlockingIOError:
        raise HarnessFault(f"another run is at {output}; choose another output") from None
    try:
        joined = Run(made, output=output, concurrency=concurrency, strict=strict, command="conformance.api.run")
        try:
            joined.start()
            folder.begin(made.name)
            joined.open_record()
            outcomes = _outcomes(joined, chosen)
        finally:
            joined.stop()
        page = write_report(output, gather(output, check=False))
    finally:
        folder.leave()
    return RunResult(outcomes, output, page, tuple(joined.problems))


def _outcomes(joined: Run, cases: Sequence[ParametrizedCase]) -> tuple[Outcome, ...]:
    """Submit the cases, the longest first, and return their outcomes in the order of `cases`."""
    by_length = sorted(cases, key=lambda case: case.info.lasts_s, reverse=True)
    futures = {case.info.id: joined.submit(case.info, case.function, case.arguments) for case in by_length}
    return tuple(futures[case.info.id].result() for case in cases)


def _chosen(
    cases: Iterable[CaseFunction | ModuleType],
    families: list[int],
    only: Callable[[CaseInfo], bool] | None,
    target: Profile,
) -> list[ParametrizedCase]:
    """Return the cases that are to run. Raises InvalidCase where there is none, or one twice."""
    chosen: dict[str, ParametrizedCase] = {}
    for given in cases:
        functions = filter(is_case_function, _values(given)) if isinstance(given, ModuleType) else [given]
        for case in (case for function in functions for case in expand(function, families, target)):
            if only is None or only(case.info):
                if case.info.id in chosen:
                    raise InvalidCase(f"{case.info.id}: the case is given twice, or two functions have one name")
                chosen[case.info.id] = case
    if not chosen:
        raise InvalidCase("there is no case to run: name functions with @verifies that take `tcp`, and check `only`")
    return list(chosen.values())


def _values(module: ModuleType) -> list[object]:
    """Return what a module has, each once: it may know a function by two names."""
    return list({id(value): value for value in vars(module).values()}.values())
