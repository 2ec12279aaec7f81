"""One event loop in a thread of its own: all cases run there while pytest goes from item to item."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import sys
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from conformance.tester.jitter import Jitter
from conformance.tester.steady import steady_ns

_T = TypeVar("_T")
_TICK_NS = 10_000_000
# pytest's thread must not keep the loop from its frames for longer than this.
_SWITCH_S = 0.0002
_LAST_S = 10.0


class Engine:
    """The loop, and how late it is: the run's own jitter."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.jitter = Jitter()
        self._thread = threading.Thread(target=self._run, name="tcp-conformance engine", daemon=True)
        self._switch_s = sys.getswitchinterval()

    def start(self) -> None:
        """Start the thread."""
        sys.setswitchinterval(_SWITCH_S)
        gc.collect()
        gc.freeze()  # the collector would else walk scapy's half a million objects in the middle of a case
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
        """Start a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def stop(self) -> None:
        """Cancel what still runs, wait until what was handed to threads is done, and end the loop's own."""
        if self._thread.is_alive():
            for last in (self._cancel_all(), self.loop.shutdown_default_executor()):
                with contextlib.suppress(concurrent.futures.TimeoutError):
                    self.submit(last).result(_LAST_S)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(10)
        self.loop.close()
        sys.setswitchinterval(self._switch_s)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.create_task(self._measure())
        self.loop.run_forever()

    async def _measure(self) -> None:
        while True:
            due_ns = time.perf_counter_ns() + _TICK_NS
            self.jitter.due_ns = steady_ns() + _TICK_NS
            await asyncio.sleep(_TICK_NS / 1e9)
            self.jitter.note("loop", steady_ns(), max(0, time.perf_counter_ns() - due_ns))

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
