"""Every claim has a case, and what stands in TC8's map is there."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import Any

import pytest

from conformance.standard import _data, catalogue, tc8
from tests.capabilities import undocumented
from tests.conftest import clean_environment


@functools.cache
def listed(*options: str) -> list[dict[str, Any]]:
    """What `tcp-conformance list --json` prints."""
    command = [sys.executable, "-m", "conformance.cli", "list", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment())
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_every_claim_has_a_case() -> None:
    claimed = {name for row in listed() for name in row["claims"]}
    assert set(catalogue.claims()) == claimed
    assert len(claimed) == 52


def test_every_claim_rests_on_a_requirement() -> None:
    assert not [name for name, row in catalogue.claims().items() if not row.rests_on]


def test_every_name_of_the_tc8_map_is_a_case() -> None:
    names = set()
    for row in listed():
        name = row["id"].rpartition("::")[2]
        names |= {name, name.partition("[")[0], name.partition("[")[2].rstrip("]")}
    patterns = {one for family in tc8.families() for check in (family.whole, *family.checks) for one in check.cases}
    assert not sorted(one for one in patterns if not any(map(_data.glob(one).fullmatch, names)))


def test_every_tc8_case_is_covered() -> None:
    rows = listed("--tc8")
    assert [row["id"] for row in rows] == [member for family in tc8.families() for member in family.members]
    assert len(rows) == 119
    assert not [row["id"] for row in rows if not row["cases"]]
    closed = next(row for row in rows if row["id"] == "TCP_BASICS_05")
    assert closed["own"] and closed["says"] == "SYN,ACK and ACK to a closed port are answered by a reset"
    assert "rfc9293/test_s3_10_7_segment_arrives.py::test_segment_arrives[CLOSED/syn-ack]" in closed["cases"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('says = "b"', 'says = ""'), "tc8.toml, family 1 (A): A_01 says nothing or names no case; both are needed"),
        (('id = "A_01"', 'id = "A_02"'), "tc8.toml, family 1 (A): case is 'A_02'; it should be one of A_01"),
        (('section = "1"', 'chapter = "1"'), "tc8.toml, family 1 (A): section missing; a row has"),
    ],
)
def test_a_mistake_in_the_tc8_map_is_said_in_one_line(change: tuple[str, str], line: str) -> None:
    right = (
        'title = "t"\n[[family]]\nid = "A"\nsection = "1"\nsays = "a"\nmembers = ["01"]\ncases = ["test_x"]\n'
        '[[family.case]]\nid = "A_01"\nsays = "b"\ncases = ["test_y"]\n'
    )
    assert tc8.parse(right, "tc8.toml")[0].check_of("A_01").covered_by("test_y")
    with pytest.raises(_data.DataError) as raised:
        tc8.parse(right.replace(*change), "tc8.toml")
    assert str(raised.value).startswith(line)


def test_every_capability_that_a_case_needs_is_in_the_agents_protocol() -> None:
    assert not undocumented({name for row in listed() for name in row["needs"]})
