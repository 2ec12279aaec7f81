"""Measure the cost of reports: 5,000 cases as pages, the overview in a browser, and the share of a suite's reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conformance.record import ResultsWriter, record_of
from conformance.target import HarnessFault
from tests.bench.numbers import Number, number
from tests.unit.test_report import make_record, save, simultaneous_close

CASES = 5_000
SHARES_CASES = 1_000
RUNS = 5
_ROOT = Path(__file__).parents[2]


def write_run(folder: Path, cases: int = CASES, *, captures: bool = True) -> None:
    """A run of so many cases, as long as the suite's own are in the mean, with a capture each if wanted."""
    for record in records(cases):
        if captures:
            _, frames = simultaneous_close(record["family"])
            save(folder, record, frames)
        else:
            with ResultsWriter(folder / "results.jsonl") as results:
                results.append(record_of({**record, "capture": None, "steps": [], "states": record["states"][:2]}))


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
        with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.DEVNULL) as process:
            # Not of all children so far: the suite was one of them.
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.monotonic() - started
        if process.returncode != 0:
            raise HarnessFault(f"the report was not made: status {process.returncode}")
        size_mb = (folder / "index.html").stat().st_size / 1e6
        opened = _open_s(folder / "index.html")
    return [
        number("report.wall", f"report of {CASES:,} cases", "s", [wall_s], how, aim=20),
        number("report.cpu", f"report of {CASES:,} cases, CPU", "s", [used.ru_utime + used.ru_stime], how),
        number(
            "report.memory", f"report of {CASES:,} cases", "MB", [used.ru_maxrss / 1024], f"{how}: its peak", aim=300
        ),
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
    result = []
    for _ in range(3):
        with open_browser() as browser:
            shown = browser.new_page()
            started = time.monotonic()
            shown.goto(page.as_uri())
            shown.evaluate("document.body.getBoundingClientRect().height")
            result.append(time.monotonic() - started)
    return result


def _shares() -> list[Number]:
    """Return the share of reports in the processor time of a run of the suite, in percent."""
    result: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        # One folder for all: ext4 takes long to make files where as many were removed a moment ago.
        runs = [_took(Path(name) / str(turn)) for turn in range(RUNS)]
    for took in runs:
        total = took.pop("total")
        shares = {part: 100 * seconds / total for part, seconds in took.items()}
        both = shares["pytest-html"] + shares["JUnit XML"]
        for part, share in {**shares, "total": total, "both": both, "all": both + shares["our pages"]}.items():
            result.setdefault(part, []).append(share)
    how = (
        f"user and system time of `pytest testcases --tier quick` on {SHARES_CASES:,} of its cases with all reports, "
        "noted within that run"
    )
    what = f"of the CPU time of {SHARES_CASES:,} cases"
    return [
        number("report.run", f"{SHARES_CASES:,} cases with all reports, CPU", "s", result["total"], how),
        *(
            number(f"report.share.{part}", f"{part} {what}", "%", result[part], how)
            for part in ("pytest-html", "JUnit XML")
        ),
        number("report.share.pytest", f"reports of pytest, both {what}", "%", result["both"], how),
        number("report.share.ours", f"our pages {what}", "%", result["our pages"], how),
        number("report.share.all", f"all reports {what}", "%", result["all"], how, aim=10),
    ]


def _took(output: Path) -> dict[str, float]:
    """Seconds of each report in one run, and `total`."""
    noted = output.with_suffix(".json")
    command = [sys.executable, "-m", "pytest", "-q", "testcases", "--tier=quick", "-p", "tests.bench.shares"]
    command += ["-p", "no:cacheprovider", f"--output={output}", f"--junitxml={output}/junit.xml"]
    command += [f"--html={output}/pytest.html", "--self-contained-html"]
    environment = {**os.environ, "SHARES_FILE": str(noted), "SHARES_CASES": str(SHARES_CASES)}
    # Where Python keeps no bytecode, each run would compile pytest and us again.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(command, cwd=_ROOT, stdout=subprocess.PIPE, env=environment, text=True, check=False)
    if done.returncode not in (0, 1):
        raise HarnessFault(f"the suite did not run: {done.stdout[-300:]}")
    took: dict[str, float] = json.loads(noted.read_text())
    return took


if __name__ == "__main__":
    print(json.dumps([one.as_json() for one in measure()], indent=1))
