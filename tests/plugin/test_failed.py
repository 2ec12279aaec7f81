"""`--failed`: the cases that the run before left without a good verdict."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import Suite

CASES = '''
    @verifies("RFC9293:3.5-handshake")
    async def test_well(tcp):
        """It conforms."""
        await tcp.drive_to(State.ESTABLISHED)

    @verifies("RFC9293:MUST-13")
    async def test_broken(tcp):
        """It violates, until somebody mends it."""
        assert False, "broken"
'''


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["one-process", "workers"])
def test_what_failed_runs_alone_until_nothing_does(suite: Callable[[str], Suite], workers: tuple[str, ...]) -> None:
    made = suite(CASES)
    first = made.run("--family=4", "--failed", *workers)
    assert first.code == pytest.ExitCode.USAGE_ERROR
    assert "--failed: there is no run before: " in first.out
    assert set(made.run("--family=4", *workers).verdicts.values()) == {"conforms", "violates"}
    for _ in range(2):
        again = made.run("--family=4", "--failed", *workers)
        assert (again.code, again.verdicts) == (pytest.ExitCode.TESTS_FAILED, {"test_broken[ipv4]": "violates"}), (
            again.out
        )
    made.write(CASES.replace('assert False, "broken"', "await tcp.drive_to(State.ESTABLISHED)"))
    assert made.run("--family=4", "--failed", *workers).verdicts == {"test_broken[ipv4]": "conforms"}
    last = made.run("--family=4", "--failed", *workers)
    assert last.code == pytest.ExitCode.USAGE_ERROR
    assert "--failed: no case of the run in out failed" in last.out
    assert "INTERNALERROR" not in last.out
