"""A pytest plugin that puts the mutant named by `MUTANT` between the suite and every embedded lab of the run."""

from __future__ import annotations

import os
from typing import Any

import pytest

from conformance.target.netns import NetnsTarget
from tests.mutants.rules import MutantError, mutants
from tests.mutants.wire import MutantApp, MutantLink


def pytest_configure() -> None:
    try:
        mutant = mutants()[os.environ["MUTANT"]]
    except (KeyError, MutantError) as error:
        raise pytest.UsageError(f"no such mutant: {error}") from None
    opened = NetnsTarget.open

    async def open_mutant(self: NetnsTarget) -> None:
        await opened(self)
        target: Any = self
        target.link, target.app = MutantLink(self.link, mutant), MutantApp(self.app, mutant)

    NetnsTarget.open = open_mutant  # type: ignore[method-assign]
