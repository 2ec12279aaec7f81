"""What reports cost: 5,000 cases made into pages, the overview in a browser, and a suite's reports beside the suite."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from conformance.record import ResultsWriter
from conformance.target import HarnessFault
from tests.bench.numbers import Number, number
from tests.unit.test_report import make_record, save, simultaneous_close

CASES = 5_000
_ROOT = Path(__file__).parents[2]
_HTML, _JUNIT = ("--html={}/pytest.html", "--self-contained-html"), ("--junitxml={}/junit.xml",)
_REPORTS: dict[str, Sequence[str]] = {
    "our pages": (),
    "our pages and pytest-html": _HTML,
    "our pages and JUnit XML": _JUNIT,
    "all reports": (*_HTML, *_JUNIT),
}
_SUITE = '''
    import pytest
    from conformance.api import State, verifies

    @pytest.mark.parametrize("number", range({}))
    @verifies("RFC9293:3.5-handshake")
    async def test_opens_and_closes(tcp, number):
        """A connection is opened, and closed by the target."""
        await tcp.drive_to(State.TIME_WAIT)
'''


def write_run(folder: Path, cases: int = CASES, *, captures: bool = True) -> None:
    """A run of so many cases, as long as the suite's own are in the mean, with a capture each if wanted."""
    for record in records(cases):
        if captures:
            _, frames = simultaneous_close(record["family"])
            save(folder, record, frames)
        else:
            with ResultsWriter(folder / "results.jsonl") as results:
                results.append({**record, "capture": None, "steps": [], "states": record["states"][:2]})


def records(cases: int) -> Iterator[dict[str, Any]]:
    """Records of cases with names as long as real ones, in fifty sections; one in a hundred violates."""
    for at in range(cases):
        family = (4, 6)[at % 2]
        record, _ = simultaneous_close(family)
        name = f"test_s3_10_7_segment_arrives.py::test_segment_arrives_while_closing[number-{at // 2}-outside-right]"
        case = make_record(f"rfc9293/{name}", family)
        yield case | {
            "id": f"rfc9293/{name.removesuffix(']')}-ipv{family}]",
            "capture": f"captures/case-{at}.pcapng",
            "title": f"A segment comes in a state, and what is allowed then is written in row {at // 2} of the table.",
            "verdict": "violates" if at % 100 == 7 else "conforms",
            "message": "expected ACK seq=+1 ack=+5 within 1 s, came ACK seq=+1 ack=+4" if at % 100 == 7 else "",
            "section": f"3.{at // 100}",
            "steps": record["steps"],
            "states": record["states"],
        }


def measure() -> list[Number]:
    """Seconds, MB and percent. Raises HarnessFault where a part of it does not run."""
    how = f"`tcp-conformance report` on {CASES:,} synthetic cases of ten frames each, in a process of its own"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_run(folder)
        started = time.monotonic()
        command = [sys.executable, "-m", "conformance.cli", "report", name]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.DEVNULL, check=False)
        wall_s = time.monotonic() - started
        if done.returncode != 0:
            raise HarnessFault(f"the report was not made: status {done.returncode}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        peak_mb = max(before.ru_maxrss, after.ru_maxrss) / 1024
        size_mb = (folder / "index.html").stat().st_size / 1e6
        opened = _open_s(folder / "index.html")
    return [
        number("report.wall", f"report of {CASES:,} cases", "s", [wall_s], how, aim=20),
        number("report.cpu", f"report of {CASES:,} cases, CPU", "s", [cpu_s], how),
        number("report.memory", f"report of {CASES:,} cases", "MB", [peak_mb], f"{how}: its peak", aim=300),
        number("report.index", f"index.html of {CASES:,} cases", "MB", [size_mb], how, aim=3),
        *(
            [number("report.open", "overview opened in chromium", "s", opened, "navigation to `load`, cold", aim=2)]
            if opened
            else []
        ),
        *_shares(),
    ]


def _open_s(page: Path) -> list[float]:
    """Seconds until the page is loaded and laid out; empty without a browser."""
    try:
        from tests.browser.chromium import open_browser, path  # noqa: PLC0415
    except ImportError:
        return []
    if path() is None:
        return []
    found = []
    for _ in range(3):
        with open_browser() as browser:
            shown = browser.new_page()
            started = time.monotonic()
            shown.goto(page.as_uri())
            shown.evaluate("document.body.getBoundingClientRect().height")
            found.append(time.monotonic() - started)
    return found


def _shares() -> list[Number]:
    """What reports add to a run, in percent of the CPU time of that run without any."""
    kinds: dict[str, Sequence[str]] = {"bare": ("-p", "tests.bench.no_report"), **_REPORTS}
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(5):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "test_many.py").write_text(textwrap.dedent(_SUITE.format(500)))
            (folder / "pytest.ini").write_text("[pytest]\n")
            for kind, options in kinds.items():
                found[kind].append(_cpu_s(folder, *options))
    how = "user and system time of `pytest` on 1,000 cases, each opens and closes one connection"
    numbers = [number("report.bare", "1,000 cases without reports", "s", found["bare"], how)]
    for kind in _REPORTS:
        extra = [(full - bare) / bare * 100 for full, bare in zip(found[kind], found["bare"], strict=True)]
        what = f"{kind} beside 1,000 cases"
        said = f"{how}: what it takes more with {kind}, in percent of what it takes without, run in turn"
        numbers.append(
            number(f"report.share.{kind}", what, "%", extra, said, aim=10 if kind == "all reports" else None)
        )
    return [*numbers, _share_of_suite()]


def _share_of_suite() -> Number:
    """The same of the suite's own cases: those of the quick tier, once each."""
    with tempfile.TemporaryDirectory() as name:
        options = [str(_ROOT / "testcases"), "--tier=quick", f"--rootdir={_ROOT}", f"-c{_ROOT / 'pyproject.toml'}"]
        bare = _cpu_s(Path(name), *options, "-p", "tests.bench.no_report")
        full = _cpu_s(Path(name), *options, *_REPORTS["all reports"])
    how = "user and system time of `pytest testcases --tier quick` with all reports, more than without, in percent of that"
    return number(
        "report.share.quick", "all reports beside the quick tier", "%", [(full - bare) / bare * 100], how, aim=10
    )


def _cpu_s(folder: Path, *options: str) -> float:
    # A folder of its own: ext4 takes long to make files where as many were removed a moment ago.
    output = tempfile.mkdtemp(dir=folder)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--output={output}"]
    command += [option.format(output) for option in options]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    # Where Python keeps no bytecode, each run would compile pytest and us again.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, env=environment, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1):
        raise HarnessFault(f"the suite did not run: {done.stdout[-300:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    print(json.dumps([one.as_json() for one in measure()], indent=1))
