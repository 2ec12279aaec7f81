"""A pytest plugin that notes in `SHARES_FILE` what each report took of a run's processor time, in seconds.

`SHARES_CASES` is how many of the cases run, taken evenly from all that were collected.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from _pytest.junitxml import LogXML
from pytest_html.basereport import BaseReport

import conformance.report.overview
import conformance.report.pages

_PARTS = {
    "pytest-html": ((BaseReport, "pytest_runtest_logreport"), (BaseReport, "_generate_report")),
    "JUnit XML": ((LogXML, "pytest_runtest_logreport"), (LogXML, "pytest_sessionfinish")),
    "our pages": ((conformance.report.overview, "gather"), (conformance.report.pages, "write_report")),
}
_TOOK = dict.fromkeys(_PARTS, 0.0)


def _seconds(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _now_s() -> float:
    """Return the time that this thread and our ended processes used: both write pages."""
    return time.thread_time() + _seconds(resource.RUSAGE_CHILDREN)


def _noted(owner: Any, name: str, part: str) -> None:
    wanted = getattr(owner, name)

    @functools.wraps(wanted)
    def timed(*arguments: Any, **keywords: Any) -> Any:
        began_s = _now_s()
        try:
            return wanted(*arguments, **keywords)
        finally:
            _TOOK[part] += _now_s() - began_s

    setattr(owner, name, timed)


for _part, _places in _PARTS.items():
    for _owner, _name in _places:
        _noted(_owner, _name, _part)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take every so many-th case."""
    wanted = int(os.environ["SHARES_CASES"])
    items[:] = [items[at * len(items) // wanted] for at in range(min(wanted, len(items)))]


def _write(process: int) -> None:
    if os.getpid() == process:
        total_s = _seconds(resource.RUSAGE_SELF) + _seconds(resource.RUSAGE_CHILDREN)
        Path(os.environ["SHARES_FILE"]).write_text(json.dumps({**_TOOK, "total": total_s}))


atexit.register(_write, os.getpid())
