"""Text of a target, an agent or a lab file reaches the terminal without control characters."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import Suite, clean_environment

EVIL = r"\x1b]0;owned\x07\x1b[2J\x00\u202e\r"
CASES = f'''
    EVIL = "{EVIL}\\nFAKED line"

    @verifies("RFC9293:3.5-handshake")
    async def test_violates(tcp):
        """It says what the target said."""
        conn = await tcp.drive_to(State.ESTABLISHED)
        raise Violation(EVIL)

    @verifies("RFC9293:3.5-handshake")
    async def test_inconclusive(tcp):
        """It says what the target said."""
        raise Inconclusive(EVIL)

    @verifies("RFC9293:3.5-handshake")
    async def test_not_applicable(tcp):
        """It says what the target said."""
        raise NotApplicable(EVIL)

    @verifies("RFC9293:3.5-handshake")
    async def test_error(tcp):
        """It says what the agent said."""
        raise HarnessFault(EVIL)
'''
# An agent whose first line says what a terminal would obey.
AGENT = r"""
import json, sys
evil = "\x1b]0;owned\x07\x1b[2J\x00\u202e\r\nFAKED line"
hello = {"name": evil, "version": evil, "protocol": 1, "capabilities": ["listen", evil]}
print(json.dumps({"hello": hello}), flush=True)
for line in sys.stdin:
    print(json.dumps({"id": json.loads(line).get("id"), "error": {"code": "EPERM", "message": evil}}), flush=True)
"""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


def assert_plain(text: str) -> None:
    """See that a terminal obeys nothing in the text, and that no line is faked."""
    assert "owned" in text
    assert not CONTROL.search(text), repr(text)


def test_what_a_case_repeats_is_plain(suite: Callable[[str], Suite]) -> None:
    ran = suite(CASES).run("--family=4", "-rA")
    assert sorted(ran.verdicts.values()) == ["error", "inconclusive", "not applicable", "violates"], ran.out
    assert_plain(ran.out)
    summary = ran.out[ran.out.index("short test summary") :]
    assert "\nFAKED line" not in summary


@pytest.mark.parametrize("words", [["run", "--target=evil.toml"], ["doctor", "--target=evil.toml"]])
def test_what_an_agent_says_of_itself_is_plain(suite: Callable[[str], Suite], words: list[str]) -> None:
    made = suite(CASES)
    (made.folder / "agent.py").write_text(AGENT)
    (made.folder / "evil.toml").write_text(f'kind = "stack"\ncommand = ["{sys.executable}", "agent.py"]\n')
    more = ["--output=out", "--family=4", "test_cases.py"] if words[0] == "run" else []
    done = subprocess.run(
        [sys.executable, "-m", "conformance.cli", *words, *more],
        cwd=made.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=clean_environment(),
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert not CONTROL.search(done.stdout + done.stderr), repr(done.stdout + done.stderr)


def test_what_a_lab_file_says_is_plain(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    (made.folder / "evil.toml").write_text('kind = "\\u001b]0;owned\\u0007\\nFAKED line"\n')
    ran = made.run("--target=evil.toml")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert_plain(ran.out)
    assert "\nFAKED line" not in ran.out
