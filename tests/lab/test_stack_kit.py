"""The C kit of agents: every argument is checked as the protocol says, and the example is built and used as its page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.target.protocol import (
    CALLS,
    MEMBERS,
    Base64,
    Choice,
    Flag,
    Options,
    OptionValue,
    Seconds,
    Text,
    Whole,
)
from tests.conftest import clean_environment
from tests.lab.stack_wire import Wire

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = Path("examples/stack-agent")
KIT = Path("conformance/target/stacks/kit")
FITTING: dict[str, Any] = {
    "address": "10.77.0.1",
    "data": "",
    "family": 4,
    "how": "send",
    "level": "tcp",
    "name": "TCP_NODELAY",
    "options": [],
    "remote_address": "10.77.1.2",
    "value": 1,
}
LACKING = {"at_mark", "call", "sysctl_get", "sysctl_set"}
"""Calls that lwIP has not: they are refused as unknown."""


@pytest.fixture
def stack() -> str:
    return "lwip"


def wrong_values(kind: Any) -> Iterator[Any]:
    """Yield values of another type than this kind, and values out of its range."""
    assert isinstance(kind, (Base64, Choice, Flag, Options, OptionValue, Seconds, Text, Whole)), kind
    if isinstance(kind, OptionValue):
        return  # an option that takes no such value refuses it by its own code
    yield {}
    if isinstance(kind, Whole):
        yield from (kind.least - 1, kind.most + 1, "1", 1.5, True, None)
    elif isinstance(kind, Seconds):
        yield from (-1, kind.most * 2, "1", True)
    elif isinstance(kind, Flag):
        yield from (1, "true", None)
    elif isinstance(kind, Text):
        yield from (1, None, "x" * (kind.most + 1))
    elif isinstance(kind, Choice):
        yield from ("", "sideways", "send receive", 5, None)
    elif isinstance(kind, Base64):
        yield from (1, None, "AAA", "A===", "AA=A", "AA==AAAA", "----")
    else:
        yield from (1, None, [1], [["tcp", "TCP_NODELAY"]], [["tcp", "TCP_NODELAY", 1, 1]], [["udp", "TCP_NODELAY", 1]])
        yield [["tcp", "TCP_NODELAY", 1]] * 33


def fitting(op: str) -> dict[str, Any]:
    """Return arguments that a call takes, those included that may be left out."""
    names = [form.partition("=")[0] for form in CALLS[op].arguments]
    return {name: FITTING.get(name, True if isinstance(MEMBERS[name], Flag) else 1) for name in names}


@pytest.mark.parametrize("op", [op for op in CALLS if op not in LACKING])
def test_arguments_of_the_wrong_type_or_out_of_range_are_refused_by_name(start: Callable[..., Wire], op: str) -> None:
    wire = start()
    right = fitting(op)
    if "socket" in right:
        right["socket"] = wire.call("connect", family=4, remote_address="10.77.1.2", remote_port=7)["socket"]
    for name in right:
        for value in wrong_values(MEMBERS[name]):
            number = wire.ask(op=op, **{**right, name: value})
            reply = wire.reply()
            assert reply["id"] == number
            assert reply.get("error", {}).get("code") == "bad-request", (name, value, reply)
            assert name in reply["error"]["message"], (name, value, reply)
        if name in CALLS[op].arguments:  # without `=`: it may not be left out
            wire.ask(op=op, **{other: value for other, value in right.items() if other != name})
            assert wire.reply()["error"]["code"] == "bad-request", name
    wire.ask(op=op, **right, speed=1)
    assert wire.reply()["error"]["code"] == "bad-request"
    line = json.dumps({"id": 9999, "op": op, **right})
    for name, value in right.items():
        wire.ask(f"{line[:-1]}, {json.dumps(name)}: {json.dumps(value)}}}")
        assert wire.reply()["error"]["code"] == "bad-request", f"{name} twice"


def test_escapes_in_a_text_are_read(start: Callable[..., Wire]) -> None:
    """A message shows each octet that is no printable ASCII as a question mark: these have 4, 2 and 3."""
    wire = start()
    wire.ask('{"id": 5, "op": "\\ud83d\\ude00-\\u00e9-\\u20ac"}')
    assert wire.reply()["error"]["message"] == "no operation ????-??-???"


def shell(page: str) -> str:
    return "\n".join(re.findall(r"```sh\n(.*?)```", page, re.DOTALL))


@pytest.mark.parametrize(
    ("page", "least"), [(f"{EXAMPLE}/README.md", 10), ("docs/agent-protocol.md", 1)], ids=["readme", "protocol"]
)
def test_example_is_built_checked_and_run_as_the_pages_say(
    lab: None, program: tuple[str, ...], tmp_path: Path, page: str, least: int
) -> None:
    """Every command of a page, in a folder with nothing but the example and the kit."""
    for folder in (EXAMPLE, KIT):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("agent"))
    script = shell((ROOT / page).read_text())
    environment = clean_environment()
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["/bin/sh", "-e", "-c", script],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "warning" not in done.stdout
    assert done.stdout.count("\nok ") > 15, done.stdout
    records = map(json.loads, (tmp_path / "reports" / "latest" / "results.jsonl").read_text().splitlines())
    verdicts = [record["verdict"] for record in records if "verdict" in record]
    assert verdicts.count("conforms") >= least and set(verdicts) <= {"conforms", "not applicable"}, verdicts


def test_example_is_built_where_it_is(program: tuple[str, ...], tmp_path: Path) -> None:
    for folder in (EXAMPLE, KIT):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("agent"))
    made = subprocess.run(["make", "-C", tmp_path / EXAMPLE], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


def test_example_is_as_short_as_its_page_says() -> None:
    assert len((ROOT / EXAMPLE / "agent.c").read_text().splitlines()) <= 200
