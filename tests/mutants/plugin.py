"""A pytest plugin that puts a mutant between the suite and every embedded lab of the run."""

from __future__ import annotations

from typing import Any

from conformance.target.netns import NetnsTarget
from tests.mutants.rules import Mutant
from tests.mutants.wire import MutantApp, MutantLink


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
