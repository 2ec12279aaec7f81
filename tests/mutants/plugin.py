"""pytest plugins: one puts a mutant between the suite and every embedded lab of the run, one leaves out what was run before."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from conformance.case.ids import cases_folder
from conformance.target.netns import NetnsTarget
from tests.mutants.rules import Mutant
from tests.mutants.wire import MutantApp, MutantLink


class Without:
    """Leaves out cases that were run before: `done` are their ids."""

    def __init__(self, done: Collection[str]) -> None:
        self._done = done

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """As soon as they are collected."""
        items[:] = [one for one in items if one.nodeid.removeprefix(f"{cases_folder().name}/") not in self._done]


class MutantPlugin:
    """One mutant for all of the process: a run has a process of its own."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def pytest_configure(self) -> None:
        """Before the lab is made."""
        opened, mutant = NetnsTarget.open, self._mutant

        async def open_mutant(self: NetnsTarget) -> None:
            await opened(self)
            target: Any = self
            target.link, target.app = MutantLink(self.link, mutant), MutantApp(self.app, mutant)

        NetnsTarget.open = open_mutant  # type: ignore[method-assign]
