"""A pytest plugin that takes one capability away from every agent of the run, named by an environment variable."""

from __future__ import annotations

import os
from typing import Any

import pytest

from conformance.target import AgentFault
from conformance.target.agent_client import AgentClient
from conformance.target.protocol import APPLICATION, CALLS

VARIABLE = "FEWER_CALLS_WITHOUT"


def pytest_configure(config: pytest.Config) -> None:
    """Take the capability out of every hello, and fail the run's case where the harness makes the call all the same."""
    without = os.environ[VARIABLE]
    greet, call = AgentClient.greet, AgentClient.call

    def greet_without(self: AgentClient, line: bytes) -> None:
        greet(self, line)
        named = self.hello["capabilities"]
        named = [*named, *APPLICATION] if "app" in named else named
        self.hello["capabilities"] = [name for name in named if name not in ("app", without)]

    async def call_without(self: AgentClient, op: str, *, wait_s: float | None = None, **arguments: Any) -> Any:
        if CALLS[op].capability == without:
            raise AgentFault(f"the harness calls {op}, and the target has no {without}")
        return await call(self, op, wait_s=wait_s, **arguments)

    AgentClient.greet, AgentClient.call = greet_without, call_without  # type: ignore[method-assign]
