"""Run two cases of your own against the embedded Linux lab, from Python, and print what they came to.

    python examples/run_from_python.py [FOLDER]

SPDX-License-Identifier: MIT-0
"""

from __future__ import annotations

import sys

import pytest

from conformance.api import ACK, FIN, Case, State, run, verifies


@verifies("RFC9293:3.5-handshake")
async def test_handshake_opens(tcp: Case) -> None:
    """The target completes a handshake that we begin."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC9293:3.10.7.4-fin")
@pytest.mark.parametrize("by", ["passive", "active"])
async def test_fin_is_acknowledged(tcp: Case, by: str) -> None:
    """A FIN is acknowledged, and takes the target to CLOSE-WAIT."""
    conn = await tcp.drive_to(State.ESTABLISHED, by=by)
    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.CLOSE_WAIT)


def main() -> int:
    """Run both cases over IPv4; fail where the target violates."""
    folder = sys.argv[1] if len(sys.argv) > 1 else "reports/from-python"
    result = run([test_handshake_opens, test_fin_is_acknowledged], target="linux", family=4, output=folder)
    for outcome in result.outcomes:
        print(f"{outcome.verdict.value:12} {outcome.info.title} {outcome.message}".rstrip())
    print(f"report: {result.page}")
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
