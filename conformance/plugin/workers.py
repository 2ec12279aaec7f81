"""pytest-xdist: each worker has a lab of its own and starts all of its share at once; the controller makes the pages.

xdist hands out items little by little, but a worker has to know its cases beforehand to run them side by side. So the share is
fixed: every n-th item.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler.load import LoadScheduling


def share(config: pytest.Config, items: list[pytest.Item]) -> list[pytest.Item]:
    """The items that this process will be asked for: all of them outside a worker."""
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    if given is None:
        return items
    return items[_number(given["workerid"]) :: given["workercount"]]


def _number(worker: str) -> int:
    return int(worker.removeprefix("gw"))


class Shares(LoadScheduling):  # type: ignore[misc]
    """Gives every worker its whole share at once."""

    collection: list[str] | None

    def schedule(self) -> None:
        """Hand out everything; called again when a worker is replaced, then what is left goes where there is room."""
        if self.collection is not None or not self._check_nodes_have_same_collection():
            super().schedule()
            return
        collected: list[str] = next(iter(self.node2collection.values()))
        self.collection = collected
        for node in self.nodes:
            mine = list(range(len(collected)))[_number(node.gateway.id) :: len(self.nodes)]
            self.node2pending[node].extend(mine)
            node.send_runtest_some(mine)
        for node in self.nodes:
            node.shutdown()


class Controller:
    """Keeps what the workers say of their runs at their end."""

    def __init__(self) -> None:
        self.outputs: set[Path] = set()
        self.problems: list[str] = []

    @pytest.hookimpl
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> LoadScheduling | None:
        """Fixed shares, unless another way was asked for."""
        return Shares(config, log) if config.getoption("dist") == "load" else None

    @pytest.hookimpl
    def pytest_testnodedown(self, node: Any) -> None:
        """What a worker's `workeroutput` says of its run. Raises pytest.UsageError where there can be none."""
        said = getattr(node, "workeroutput", {}).get("tcp_conformance")
        if said and "refused" in said:
            raise pytest.UsageError(said["refused"])
        if said:
            self.outputs.add(Path(said["output"]))
            self.problems += [line for line in said["problems"] if line not in self.problems]
