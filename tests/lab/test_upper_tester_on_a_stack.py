"""The quick tier on smoltcp through the testability protocol: what is judged is judged alike."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import clean_environment

ROOT = Path(__file__).parents[2]
JUDGED = {"conforms", "deviates", "violates", "breaks should"}


def verdicts(output: Path, *options: str) -> dict[str, str]:
    command = [sys.executable, "-m", "pytest", "testcases", "-q", "-p", "no:cacheprovider", "--target=smoltcp"]
    command += ["--tier=quick", "--family=4", f"--output={output}", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=900, check=False
    )
    assert (output / "results.jsonl").is_file(), done.stdout + done.stderr
    records = map(json.loads, (output / "results.jsonl").read_text().splitlines())
    return {one["id"]: one["verdict"] for one in records if "id" in one}


@pytest.mark.parametrize(
    "cases",
    [["-k", "half_closed or test_arc or time_wait"], pytest.param([], marks=pytest.mark.long)],
    ids=["some", "all"],
)
def test_upper_tester_loses_a_tenth_of_the_cases_at_most_and_judges_none_otherwise(
    tmp_path: Path, cases: list[str]
) -> None:
    plain = verdicts(tmp_path / "plain", *cases)
    driven = verdicts(tmp_path / "driven", "-p", "tests.lab.upper_tester_on_agent", *cases)
    judged = {name for name, verdict in plain.items() if verdict in JUDGED}
    alike = {name for name in judged if driven[name] in JUDGED}
    assert not {name: (plain[name], driven[name]) for name in alike if plain[name] != driven[name]}
    assert len(alike) >= 0.9 * len(judged) > 20
