"""A pytest plugin that notes every time that is checked, and in a second run moves some of them beyond their bounds.

`SHIFT_FILE` names a JSON file. Without `SHIFT` it is written: case id -> its timings and series in their order, each its name and
whether it has a lower bound. With `SHIFT` (`late` or `early`) it is read: case id -> the number of the one to move, to 10 %
beyond its bound. The last interval of a series is moved. The tester's own jitter excuses nothing here.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from conformance.case.case import Case
from conformance.judge import Bound, Series
from tests.mutants.anew import begin_anew

_FILE = Path(os.environ["SHIFT_FILE"])
_SHIFT = os.environ.get("SHIFT", "")
_MOVED: dict[str, int] = json.loads(_FILE.read_text()) if _SHIFT else {}
_SEEN: dict[str, list[tuple[str, bool]]] = defaultdict(list)
_BEYOND = 0.1


def _is_moved(case: Case, name: str, bound: Bound) -> bool:
    checks = _SEEN[case.name]
    checks.append((name, bound.low_s > 0))
    return _MOVED.get(case.name) == len(checks) - 1


def _beyond(bound: Bound) -> float:
    return bound.high_s * (1 + _BEYOND) if _SHIFT == "late" else bound.low_s * (1 - _BEYOND)


def _patch() -> None:
    check_timing, check_series = Case.check_timing, Case.check_series

    def timed(self: Case, name: str, measured_s: float, bound: Bound, **keywords: Any) -> None:
        moved = _is_moved(self, name, bound)
        check_timing(self, name, _beyond(bound) if moved else measured_s, bound, **keywords)

    def in_a_row(self: Case, name: str, stamps_ns: Any, bounds: Any, **keywords: Any) -> None:
        growth, cap = keywords.get("growth"), keywords.get("cap")
        allowed = Series(name, tuple(stamps_ns), tuple(bounds), "", growth, cap).steps()[-1].allowed
        if _is_moved(self, name, allowed):
            stamps_ns = [*stamps_ns[:-1], stamps_ns[-2] + round(_beyond(allowed) * 1e9)]
        check_series(self, name, stamps_ns, bounds, **keywords)

    Case.check_timing, Case.check_series = timed, in_a_row  # type: ignore[method-assign, assignment]


begin_anew(_SEEN)
_patch()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not _SHIFT:
        _FILE.write_text(json.dumps(_SEEN))
