"""The tester's addresses, which no kernel has: leased to one case each, and used again."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
from collections import deque

from conformance.target import HarnessFault, Target
from conformance.tester.trace import Trace
from conformance.wire.segment import packed


class Addresses:
    """The pools of both families, and the trace of the case that holds each address."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._fresh = {family: iter(target.pool(family)) for family in (4, 6)}
        self._free: dict[int, deque[str]] = {4: deque(), 6: deque()}
        self._not_ours = {address for family in (4, 6) if (address := target.address(family))}
        self._spoiled: set[bytes] = set()
        self._released = asyncio.Event()
        self.traces: dict[bytes, Trace] = {}
        """By leased address in network order."""

    def lease(self, family: int, trace: Trace) -> str:
        """Return a free address of that family; what comes for it is kept in `trace`. Raises HarnessFault when all are taken.

        Addresses are used again, the one that rested longest first: a host's table of neighbours is small, and on Linux
        it is one for all network namespaces.
        """
        if not self._has_free(family):
            raise HarnessFault(
                f"all tester addresses of IPv{family} are in use, or the target keeps a path MTU about them for ten minutes: "
                "lower --concurrency or give a larger pool"
            )
        address = self._free[family].popleft()
        self.traces[packed(address)] = trace
        return address

    def _has_free(self, family: int) -> bool:
        free = self._free[family]
        if not free:
            fresh = (str(one) for one in self._fresh[family] if str(one) not in self._not_ours)
            free.extend(itertools.islice(fresh, 1))
        return bool(free)

    async def room(self, family: int) -> None:
        """Wait until there is an address of that family, or nobody has one that might be given back."""
        while not self._has_free(family) and any((len(one) > 4) is (family == 6) for one in self.traces):
            self._released.clear()
            await self._released.wait()

    def spoil(self, trace: Trace) -> None:
        """Keep the addresses of a case from being used again: the target keeps something about them, as a path MTU."""
        spoiled = {address for address, owner in self.traces.items() if owner is trace}
        self._target.spoil([str(ipaddress.ip_address(address)) for address in spoiled - self._spoiled])
        self._spoiled |= spoiled

    def release(self, address: str) -> None:
        """Take the address back; unless it was spoiled, it is used again."""
        self.traces.pop(packed(address), None)
        if packed(address) not in self._spoiled:
            self._free[6 if ":" in address else 4].append(address)
        self._released.set()
