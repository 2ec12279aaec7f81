"""Every claim has a case, and what stands in TC8's map is there: by the list that the command line prints."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from typing import Any

from conformance.standard import _data, catalogue, tc8
from tests.capabilities import undocumented
from tests.conftest import clean_environment


@functools.cache
def listed(*options: str) -> list[dict[str, Any]]:
    """Return the rows that `tcp-conformance list --json` prints."""
    command = [sys.executable, "-m", "conformance.cli", "list", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=clean_environment())
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_every_claim_has_a_case() -> None:
    claimed = {name for row in listed() for name in row["claims"]}
    assert set(catalogue.claims()) == claimed
    assert len(claimed) == 61


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


def test_every_capability_that_a_case_needs_is_in_the_agents_protocol() -> None:
    assert not undocumented({name for row in listed() for name in row["needs"]})
