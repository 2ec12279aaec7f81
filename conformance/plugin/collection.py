"""Cases among what pytest collects: each described, marked by its level, and run over the address families."""

from __future__ import annotations

import gc
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from conformance.plugin.options import is_worker, number_of_worker

if TYPE_CHECKING:
    from conformance.case.info import CaseInfo
    from conformance.standard.profile import Profile

CASE: pytest.StashKey[CaseInfo] = pytest.StashKey()
"""In an item's stash: what the case says of itself. Items without it are no cases."""

PROFILE: pytest.StashKey[Profile] = pytest.StashKey()
"""In the settings, once cases are collected: the profile of the target, by which timers have their values."""

_MARKERS = (
    "verifies(*ids, cells, level, needs, lasts, quick, alone, sysctl): what a conformance case checks (set by @verifies)",
    "must: the strictest requirement that the case checks is a MUST (set from the catalogue, as the other three)",
    "should: ... is a SHOULD: not followed, the verdict is `breaks should`",
    "may: ... is a MAY: the choice is recorded, never judged",
    "text: ... is a sentence without a keyword, judged like a MUST",
)


class Collection:
    """Describes the cases, and sees that a run of everything leaves out no requirement."""

    def __init__(self, config: pytest.Config) -> None:
        for line in _MARKERS:
            config.addinivalue_line("markers", line)

    @pytest.fixture
    def family(self) -> int:
        """The address family (4 or 6) of the case; every case is parametrized by it."""
        raise pytest.UsageError("family is set for cases that take `tcp`")

    @pytest.fixture
    def tcp(self, family: int) -> Any:
        """The case's handle on tester and target (see conformance.case.case.Case).

        What an item gets here stands in for it: the real one is made when the case starts, on the engine's loop.
        """
        return None

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Collect no garbage meanwhile: all that comes of it stays, and looking through it is a tenth of the time."""
        gc.disable()
        try:
            return (yield)
        finally:
            gc.freeze()
            gc.enable()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run what takes `tcp` over each family that was asked for."""
        if "tcp" in metafunc.fixturenames:
            chosen = metafunc.config.getoption("--family")
            families = [4, 6] if chosen == "both" else [int(chosen)]
            metafunc.parametrize("family", families, ids=[f"ipv{family}" for family in families])

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Describe each case, before anything is deselected. Raises pytest.UsageError."""
        from conformance.plugin.items import describe, is_case, takes_nothing_else

        infos: list[CaseInfo] = []
        cases = list(filter(is_case, items))
        if cases:
            profile = config.stash[PROFILE] = profile_of(config)
        for item in cases:
            info = item.stash[CASE] = describe(item, profile)
            infos.append(info)
            item.add_marker(getattr(pytest.mark, info.level.lower()))
            if takes_nothing_else(item):
                item.setup = _set_up_nothing  # type: ignore[method-assign]
        # Lists, workers and broken modules are not everything.
        if infos and not (session.testsfailed or config.option.collectonly or is_worker(config)):
            from conformance.plugin.coverage import check, collects_everything

            if collects_everything(config):
                check(infos)


def profile_of(config: pytest.Config) -> Profile:
    """Return the profile of the target that was asked for. Raises pytest.UsageError."""
    from conformance.standard.profile import profile
    from conformance.target.load import TargetFileError, load_target

    try:
        return profile(load_target(config.getoption("--target"), number_of_worker(config)).profile)
    except TargetFileError as error:
        raise pytest.UsageError(str(error)) from None


def _set_up_nothing() -> None:
    """Stand in for an item's setup: a case's fixtures are stand-ins, and filling them in costs more than all else."""
