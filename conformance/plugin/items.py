"""Turn pytest's items into the descriptions of cases."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pytest

from conformance.case import info
from conformance.case.ids import case_id
from conformance.case.info import CaseInfo, InvalidCase, Verified
from conformance.plugin.scripts import ScriptItem
from conformance.standard.profile import Profile


def is_case(item: pytest.Item) -> bool:
    """Return True for a coroutine that takes `tcp`, and for a script."""
    if isinstance(item, ScriptItem):
        return True
    function = getattr(item, "function", None)
    return inspect.iscoroutinefunction(function) and "tcp" in getattr(item, "fixturenames", ())


def takes_nothing_else(item: pytest.Item) -> bool:
    """Return True where a case has no fixture but our own: none that every test uses, or that a mark names."""
    if isinstance(item, ScriptItem):
        return True
    names = set(getattr(item, "fixturenames", ()))
    return names <= {"tcp", "family", *getattr(item, "callspec").params}  # noqa: B009


def describe(item: pytest.Item, profile: Profile) -> CaseInfo:
    """Describe the case that the item is on a target of this profile. Raises pytest.UsageError with one clear line."""
    if isinstance(item, ScriptItem):
        return item.describe()
    mark = item.get_closest_marker("verifies")
    if mark is None:
        raise pytest.UsageError(f"{item.nodeid}: a case needs @verifies(...) with what it verifies, as RFC9293:MUST-13")
    callspec = getattr(item, "callspec", None)
    params: Mapping[str, Any] = getattr(callspec, "params", {})
    file, line, _ = item.location
    try:
        return info.describe(
            getattr(item, "function"),  # noqa: B009 - Item has no such attribute for mypy
            Verified.of(mark.args, mark.kwargs),
            params,
            getattr(callspec, "id", ""),
            id=case_id(item.path, item.nodeid.partition("::")[2], item.nodeid),
            file="" if file.startswith(("..", "/")) else file,
            line=(line or 0) + 1,
            profile=profile,
        )
    except InvalidCase as error:
        raise pytest.UsageError(f"{item.nodeid}: {error}") from None
