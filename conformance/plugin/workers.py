"""pytest-xdist: each worker has a lab of its own and starts all of its share at once; the controller makes the pages.

xdist hands out items little by little, but a worker has to know its cases beforehand to run them side by side. So the share is
fixed: every n-th item, or what a worker that died has left.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler.load import LoadScheduling

from conformance.plugin.hooks import Stopped

_KEY = "tcp_conformance"


def share(config: pytest.Config, items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the items that this worker will be asked for."""
    given: dict[str, Any] = config.workerinput  # type: ignore[attr-defined]
    left: list[int] | None = given[_KEY]["left"]
    if left is not None:
        return [items[index] for index in left]
    return items[given[_KEY]["place"] :: given["workercount"]]


class Worker:
    """Collects what the controller collects, and tells it at the end about its run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._output: dict[str, Any] = config.workeroutput  # type: ignore[attr-defined]
        config.args = config.workerinput[_KEY]["args"]  # type: ignore[attr-defined]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection(self) -> Generator[None, object, object]:
        """Tell the controller why there are no cases."""
        return (yield from self._hand_on_refusal())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Tell the controller why there can be no run."""
        return (yield from self._hand_on_refusal())

    def _hand_on_refusal(self) -> Generator[None, object, object]:
        try:
            return (yield)
        except pytest.UsageError as error:
            self._output[_KEY] = {"refused": str(error)}
            raise

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Tell the controller where the run is recorded, what its record lacks, and which cases were deselected."""
        if _KEY in self._output:
            return
        hook = self._config.hook
        stopped = hook.pytest_conformance_stop()
        self._output[_KEY] = {
            "output": str(stopped.output.absolute()) if stopped else None,
            "problems": stopped.problems if stopped else [],
            "left_out": sorted(frozenset().union(*hook.pytest_conformance_left_out())),
        }


class Shares(LoadScheduling):  # type: ignore[misc]
    """Gives every worker its whole share at once."""

    collection: list[str] | None
    pending: list[int]

    def __init__(self, config: pytest.Config, log: Any, places: dict[str, int]) -> None:
        super().__init__(config, log)
        self._places = places
        self._left: dict[str, list[int]] = {}

    def leave_to(self, worker: str) -> list[int]:
        """Keep for a new worker what those before it left undone, and return it."""
        self._left[worker], self.pending = self.pending, []
        return self._left[worker]

    @property
    def tests_finished(self) -> bool:
        """Return False while a new worker has its share still to come."""
        return not any(self._left.values()) and bool(super().tests_finished)

    @property
    def has_pending(self) -> bool:
        """Return True while a new worker has its share still to come."""
        return any(self._left.values()) or bool(super().has_pending)

    def schedule(self) -> None:
        """Hand out everything; called again when a worker is replaced."""
        if self.collection is not None:
            for node in self.nodes:
                if (left := self._left.pop(node.gateway.id, None)) is not None:
                    self._hand_out(node, left)
            return
        if not self._check_nodes_have_same_collection():
            super().schedule()
            return
        collected: list[str] = next(iter(self.node2collection.values()))
        self.collection = collected
        for node in self.nodes:
            self._hand_out(node, list(range(len(collected)))[self._places[node.gateway.id] :: self.numnodes])

    def _hand_out(self, node: Any, indices: list[int]) -> None:
        if indices:
            self.node2pending[node].extend(indices)
            node.send_runtest_some(indices)
        node.shutdown()


class Controller:
    """Gives each worker its share, and keeps what the workers tell about their runs at their end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._places: dict[str, int] = {}
        self._scheduler: Shares | None = None
        self._output: Path | None = None
        self._problems: list[str] = []
        self._left_out: set[str] = set()

    @pytest.hookimpl
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> LoadScheduling | None:
        """Use fixed shares, unless another way was asked for."""
        if config.getoption("dist") == "load":
            self._scheduler = Shares(config, log, self._places)
        return self._scheduler

    @pytest.hookimpl
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker what to collect and which share of that is its own: its place among all, or what was left undone."""
        taken, left = set(self._places.values()), None
        self._places[node.gateway.id] = next(place for place in range(len(taken) + 1) if place not in taken)
        if self._scheduler is not None and self._scheduler.collection is not None:
            left = self._scheduler.leave_to(node.gateway.id)
        node.workerinput[_KEY] = {"args": self._config.args, "place": self._places[node.gateway.id], "left": left}

    @pytest.hookimpl
    def pytest_testnodedown(self, node: Any) -> None:
        """Keep what a worker tells about its run. Raises pytest.UsageError where there can be none."""
        self._places.pop(node.gateway.id, None)
        facts = getattr(node, "workeroutput", {}).get(_KEY)
        if not facts:
            return
        if "refused" in facts:
            raise pytest.UsageError(facts["refused"])
        if facts["output"] is not None:
            self._output = Path(facts["output"])
        self._problems += [line for line in facts["problems"] if line not in self._problems]
        self._left_out.update(facts["left_out"])

    def pytest_conformance_stop(self) -> Stopped | None:
        """Return where the workers, which have ended, recorded the run."""
        return Stopped(self._output, self._problems) if self._output is not None else None

    def pytest_conformance_left_out(self) -> frozenset[str]:
        """Return the ids of all cases that were deselected in a worker."""
        return frozenset(self._left_out)
