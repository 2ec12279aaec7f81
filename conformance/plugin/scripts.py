"""Collect packetdrill's scripts (`*.pkt`): each is a case for each address family, among all others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conformance.plugin.collection import CASE
from conformance.plugin.options import TIERS

if TYPE_CHECKING:
    from conformance.packetdrill.case import ScriptCase, ScriptInfo


class ScriptItem(pytest.Item):
    """One script over one family. The engine runs it, as it runs every case."""

    script: ScriptCase

    def runtest(self) -> None:
        """Do nothing: the verdict is there already, and `Running` gives it to pytest."""

    def describe(self) -> ScriptInfo:
        """Describe the case. Raises pytest.UsageError with one clear line."""
        from conformance.case.ids import case_id
        from conformance.case.info import InvalidCase

        file = self.location[0]
        name = case_id(self.path, self.name, self.nodeid)
        try:
            return self.script.describe(name, file="" if file.startswith(("..", "/")) else file)
        except InvalidCase as error:
            raise pytest.UsageError(f"{self.nodeid}: {error}") from None
        except OSError as error:
            raise pytest.UsageError(f"{self.nodeid}: can't read {error.filename}: {error.strerror}") from None

    def reportinfo(self) -> tuple[Path, int, str]:
        """Say where the script is."""
        return self.path, 0, self.name


class ScriptFile(pytest.File):
    """One script file."""

    def collect(self) -> Iterator[ScriptItem]:
        """Read the script for each family that was asked for. Raises CollectError for a text that is no script."""
        from conformance.packetdrill.case import ScriptError, Ways, read_case

        config = self.config
        tolerance_us = config.getoption("--pkt-tolerance")
        ways = Ways(
            portable=config.getoption("--pkt-portable"),
            shell=config.getoption("--pkt-shell"),
            tolerance_ns=tolerance_us * 1000,
        )
        chosen = config.getoption("--family")
        variants = {f"ipv{family}": (family, ways) for family in ((4, 6) if chosen == "both" else (int(chosen),))}
        if config.getoption("--pkt-mapped") and chosen != "6":
            variants["ipv4-mapped"] = 4, replace(ways, mapped=True)
        for variant, (family, looking) in variants.items():
            try:
                script = read_case(self.path, family, looking)
            except ScriptError as error:
                raise self.CollectError(str(error)) from None
            except OSError as error:
                raise self.CollectError(f"can't read {self.path}: {error.strerror}") from None
            if script.runs():
                item = ScriptItem.from_parent(self, name=f"{self.path.stem}[{variant}]")
                item.script = script
                yield item


class Scripts:
    """Collects script files beside Python's modules, and says why none ran."""

    def __init__(self) -> None:
        self._too_long: list[str] = []

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """Take a file whose name ends in .pkt."""
        return ScriptFile.from_parent(parent, path=file_path) if file_path.suffix == ".pkt" else None

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Note the scripts that wait longer than a case of the tier may."""
        for item in items:
            if isinstance(item, ScriptItem) and item.stash[CASE].lasts_s > TIERS[item.config.getoption("--tier")]:
                self._too_long.append(item.nodeid)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
    ) -> None:
        """Name what is too long for the tier, and a folder that has nothing to run."""
        if self._too_long:
            more = f" and {len(self._too_long) - 1} more" if self._too_long[1:] else ""
            tier = config.getoption("--tier")
            line = (
                f"{self._too_long[0]}{more}: longer than a script may last with --tier {tier}; --tier full has no bound"
            )
            terminalreporter.write_line(line, red=True)
        elif exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and not terminalreporter.stats.get("deselected"):
            terminalreporter.write_line(f"no case and no script (*.pkt) in {' '.join(config.args)}", red=True)
