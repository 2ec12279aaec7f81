"""The command that compares the kept baselines, run as a user runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import clean_environment
from tests.unit.test_kept_baselines import NAMES, ROOT, all_of_them, stored


def test_comparison_of_all_is_made_from_the_checkout_alone(tmp_path: Path) -> None:
    page = tmp_path / "compare.html"
    done = subprocess.run(
        [sys.executable, "-m", "conformance.cli", "compare", *NAMES, "--html", page],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert re.search(r"^RFC9293( +[0-9]+/[0-9]+){6}$", done.stdout, re.MULTILINE), "the matrix by document"
    content = page.read_text()
    assert len(content.encode()) < 2_000_000
    for name in NAMES:
        assert f"Known deviations of {name} {stored(name).version} in {name}" in content
    made = json.loads(json.dumps(all_of_them().as_json()))
    assert made["common"] > 3_000
    assert [run["name"] for run in made["runs"]] == list(NAMES)
