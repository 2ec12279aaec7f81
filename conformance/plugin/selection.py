"""Select the cases to run by `--tier`, `--requirement` and `--rfc`, and tell what narrowed a run."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conformance.plugin.collection import CASE, PROFILE
from conformance.plugin.options import BEYOND_TIME_WAIT_S, OPTIONS, TIERS, is_worker, output_of

if TYPE_CHECKING:
    from conformance.case.info import CaseInfo

_FAILED = "conformance_failed"
_NOT_WELL = ("violates", "breaks should", "error", "inconclusive")
# pytest's own options that leave out what was collected, or keep it from being collected, by their names in its settings.
_PYTESTS = {
    "keyword": "-k",
    "markexpr": "-m",
    "deselect": "--deselect",
    "lf": "--lf",
    "stepwise": "--sw",
    "ignore": "--ignore",
    "ignore_glob": "--ignore-glob",
}


def narrowed_by(config: pytest.Config) -> list[str]:
    """Return the options and paths by which a run leaves out cases, as its user writes them; none for a whole run."""
    chosen = {name: config.getoption(dest, None) for dest, name in _PYTESTS.items()}
    chosen |= {name: config.getoption(name) for name in ("--requirement", "--rfc", "--failed")}
    narrowing = [_as_written(name, value) for name, value in chosen.items() if value]
    narrowing += [
        f"{name} {config.getoption(name)}"
        for name in ("--family", "--tier")
        if config.getoption(name) not in (OPTIONS[name]["default"], "full")
    ]
    if config.args_source is pytest.Config.ArgsSource.ARGS and not names_all_cases(config):
        narrowing += config.args
    return narrowing


def _as_written(name: str, value: object) -> str:
    values = value if isinstance(value, list) else [] if value is True else [value]
    return shlex.join([name, *map(str, values)])


def names_all_cases(config: pytest.Config) -> bool:
    """Return True where the folder of all cases is below what pytest was given to collect."""
    from conformance.case.ids import cases_folder

    folder, here = cases_folder().resolve(), config.invocation_params.dir
    paths = [Path(here, argument).resolve() for argument in config.args if "::" not in argument]
    return any(folder == path or path in folder.parents for path in paths)


def _failed_before(config: pytest.Config) -> list[str]:
    """Return the ids of the cases that did not end well in the run before. Raises pytest.UsageError where there are none."""
    if is_worker(config):
        return list(config.workerinput[_FAILED])  # type: ignore[attr-defined]
    from conformance.record import RecordError, read_results

    output = output_of(config)
    try:
        records = read_results(output / "results.jsonl").records
    except RecordError as error:
        raise pytest.UsageError(f"--failed: there is no run before: {error}") from None
    failed = [record.id for record in records if record.verdict in _NOT_WELL]
    if not failed:
        raise pytest.UsageError(f"--failed: no case of the run in {output} failed")
    return failed


class Deselection:
    """Leaves out cases that were not asked for, and keeps the ids of all that anybody left out."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._tier: str = config.getoption("--tier")
        self._left_out: set[str] = set()
        self._verified = None
        names, rfcs = config.getoption("--requirement"), config.getoption("--rfc")
        if names or rfcs:
            from conformance.plugin.verified import Verified

            self._verified = Verified(names, rfcs)
        self._failed = _failed_before(config) if config.getoption("--failed") else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist which cases failed: by then the record of the run before may be gone."""
        node.workerinput[_FAILED] = self._failed

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Deselect by tier and by what the cases verify."""
        wanted = [self._wants(item.stash.get(CASE, None)) for item in items]
        if not all(wanted):
            config.hook.pytest_deselected(items=[item for item, wants in zip(items, wanted, strict=True) if not wants])
            items[:] = [item for item, wants in zip(items, wanted, strict=True) if wants]

    def _wants(self, info: CaseInfo | None) -> bool:
        """Return True for what was asked for; an item that is no case verifies nothing, and waits for nothing."""
        if info is None:
            return self._verified is None and self._failed is None
        if self._failed is not None and info.id not in self._failed:
            return False
        if info.lasts_s > self._most_s() or (self._tier == "quick" and not info.quick):
            return False
        return self._verified is None or self._verified.by(info)

    def _most_s(self) -> float:
        """Return the longest that a case of the tier waits, in seconds; TIME-WAIT is the longest of the usual timers."""
        time_wait = self._config.stash[PROFILE].timers.get("time-wait") if self._tier == "standard" else None
        return max(TIERS[self._tier], 0.0 if time_wait is None else time_wait.value_s + BEYOND_TIME_WAIT_S)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Keep the ids, whoever deselected them."""
        self._left_out.update(item.stash[CASE].id for item in items if CASE in item.stash)

    def pytest_conformance_left_out(self) -> frozenset[str]:
        """Return the ids of all cases that were deselected in this process."""
        return frozenset(self._left_out)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        """Say by what nothing was left."""
        left_out: frozenset[str] = frozenset().union(*self._config.hook.pytest_conformance_left_out())
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and left_out:
            terminalreporter.write_line(f"nothing matched {' '.join(narrowed_by(self._config))}: no case ran", red=True)
