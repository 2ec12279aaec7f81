"""Options of a run, declared once: pytest takes them, and so does `tcp-conformance run`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

TIERS = {"quick": 5.0, "standard": 90.0, "full": float("inf")}
"""The longest that a case of the tier waits, in seconds; of the standard tier also 30 s longer than the target's TIME-WAIT."""
BEYOND_TIME_WAIT_S = 30.0


def whole_number(text: str) -> int:
    """Return an option's whole number above 0. Raises argparse.ArgumentTypeError."""
    if not re.fullmatch(r"[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


MOST_INCONCLUSIVE = 10
"""The number of cases of a baseline that may lose their verdict before the run fails.

A busy machine leaves a handful after their repeats; a state or a feature that can't be judged any more costs more than that.
"""


def _count(text: str) -> int:
    """Return an option's whole number from 0 on. Raises argparse.ArgumentTypeError."""
    return 0 if text == "0" else whole_number(text)


OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "--target": {
        "default": "linux",
        "metavar": "NAME|FILE.toml",
        "help": "the host under test (default: linux, the embedded lab)",
    },
    "--family": {
        "choices": ("4", "6", "both"),
        "default": "both",
        "help": "run the cases over IPv4, IPv6 or both",
    },
    "--tier": {
        "choices": tuple(TIERS),
        "default": "standard",
        "help": "quick: nothing that waits longer than 5 s; standard: a minute and a half, or the target's TIME-WAIT (default);"
        " full: everything",
    },
    "--requirement": {
        "action": "append",
        "default": [],
        "metavar": "ID",
        "help": "only cases that verify this requirement (RFC9293:MUST-13), claim (C-18) or cell"
        " (TIME-WAIT/fin-duplicate); may be repeated",
    },
    "--rfc": {
        "action": "append",
        "default": [],
        "metavar": "NUMBER",
        "help": "only cases that verify a requirement of this RFC (5961); may be repeated, and narrows --requirement",
    },
    "--failed": {
        "action": "store_true",
        "help": "only cases that the run before left without a good verdict: the record in --output says which",
    },
    "--concurrency": {
        "type": whole_number,
        "default": 256,
        "metavar": "N",
        "help": "how many cases run at once (default: 256)",
    },
    "--output": {
        "default": "reports/latest",
        "metavar": "DIR",
        "help": "where the run is recorded (default: reports/latest)",
    },
    "--baseline": {
        "metavar": "NAME|FILE",
        "help": "say what has changed since then, and fail only where something got worse or is no longer judged",
    },
    "--most-inconclusive": {
        "type": _count,
        "default": MOST_INCONCLUSIVE,
        "metavar": "N",
        "help": "with --baseline: fail where more than N cases that were judged then are inconclusive after their repeats"
        f" (default: {MOST_INCONCLUSIVE}, which a busy machine may leave; with --strict always 0)",
    },
    "--pkt-portable": {
        "action": "store_true",
        "help": "packetdrill's scripts: leave settings, PSH, windows and the options of SYNs to the target",
    },
    "--pkt-mapped": {
        "action": "store_true",
        "help": "packetdrill's scripts: run each over IPv4-mapped addresses, too, in IPv6 sockets",
    },
    "--pkt-shell": {
        "action": "store_true",
        "help": "packetdrill's scripts: run their shell commands, in the embedded lab's own network and nowhere else",
    },
    "--pkt-tolerance": {
        "type": whole_number,
        "default": 4000,
        "metavar": "US",
        "help": "packetdrill's scripts: how early or late an event may be, in microseconds (default: 4000, as packetdrill)",
    },
    "--step-summary": {
        "action": "store_true",
        "help": "append summary.md to the file that $GITHUB_STEP_SUMMARY names, too",
    },
}
"""The arguments of each option for argparse."""


def add_options(parser: pytest.Parser) -> None:
    """Add the options to pytest's. `--strict` is pytest's own: it also makes a SHOULD that is not followed fail."""
    group = parser.getgroup("tcp-conformance", "TCP conformance")
    for name, keywords in OPTIONS.items():
        group.addoption(name, **keywords)


def is_strict(config: pytest.Config) -> bool:
    """Return True for `--strict`: pytest 8 has it as an option, pytest 9 as an override of its own setting."""
    return bool(getattr(config.option, "strict", False)) or "strict=true" in (config.option.override_ini or ())


def is_worker(config: pytest.Config) -> bool:
    """Return True in a worker of pytest-xdist."""
    return hasattr(config, "workerinput")


def output_of(config: pytest.Config) -> Path:
    """Return the folder that the run is recorded in."""
    return Path(config.getoption("--output"))


def number_of_worker(config: pytest.Config) -> int:
    """Return the number of this process among pytest-xdist's workers; 0 where there are none."""
    return int(getattr(config, "workerinput", {"workerid": "gw0"})["workerid"].removeprefix("gw"))
