"""Properties of each case in JUnit XML, under the names that a tool reads."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from conformance.plugin.collection import CASE
from conformance.plugin.running import OUTCOME, TARGET

PROPERTIES = ("section", "requirement", "requirements", "level", "verdict", "states", "id", "title", "family", "target")
_DEFAULT = ("section", "requirements", "level", "verdict", "states")
_SETTING = "conformance_properties"


class JunitProperties:
    """Adds the properties before pytest makes its report of the setup: those of the teardown have them, too."""

    def __init__(self, config: pytest.Config) -> None:
        self._names = _names(config)

    @staticmethod
    def add_setting(parser: pytest.Parser) -> None:
        """Add the setting that chooses and renames them."""
        parser.addini(
            _SETTING,
            "what each case of JUnit XML says, as `our name = your name` a line (level = polarion-custom-level); ours: "
            + ", ".join(PROPERTIES),
            type="linelist",
            default=[],
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add them to the item, once."""
        if call.when == "setup" and CASE in item.stash:
            info, outcome = item.stash[CASE], item.stash.get(OUTCOME, None)
            values = {
                "section": f"{info.document} {info.section}",
                "requirement": next(iter(info.requirements), info.document),
                "requirements": ",".join(info.requirements),
                "level": info.level,
                "id": info.id,
                "title": info.title,
                "family": f"IPv{info.family}",
            }
            if outcome is not None:
                values |= {
                    "verdict": outcome.verdict.value,
                    "states": " ".join(outcome.states),
                    "target": item.config.stash[TARGET],
                }
            item.user_properties += [(theirs, values[ours]) for ours, theirs in self._names if ours in values]
        return (yield)


def _names(config: pytest.Config) -> list[tuple[str, str]]:
    """Return our names of properties with those that JUnit XML gets. Raises pytest.UsageError."""
    lines = config.getini(_SETTING)
    if not lines:
        return [(name, name) for name in _DEFAULT]
    names = []
    for line in lines:
        ours, equals, theirs = (part.strip() for part in line.partition("="))
        if ours not in PROPERTIES or (equals and not theirs):
            raise pytest.UsageError(
                f"{_SETTING}: {line!r} is not `our name = your name`; ours are {', '.join(PROPERTIES)}"
            )
        names.append((ours, theirs or ours))
    return names
