"""A lab host whose application is an upper tester."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from conformance.target import AgentFault, HarnessFault
from conformance.target.host import LabHost, Segment, Step
from conformance.target.netns import CLOSED_PORT
from conformance.target.testability.client import UpperTester
from conformance.target.testability.transport import TcpTransport, Transport, UdpTransport

TRANSPORTS: Mapping[str, Callable[[str, int], Transport]] = {"udp": UdpTransport, "tcp": TcpTransport}
_BACK_S, _AGAIN_S = 180.0, 2.0


class TestabilityHost(LabHost):
    """A lab host with an upper tester at `control`, an address and a port that this machine's own stack reaches.

    `features` are capabilities of the host's stack that its maker documents, as `timestamps`. One case runs at a time: an
    event of RECEIVE_AND_FORWARD does not say which socket it is about.
    """

    def __init__(
        self,
        *,
        name: str,
        profile: str,
        segment: Segment,
        control: tuple[str, int],
        transport: str = "udp",
        service: int,
        features: Sequence[str] = (),
        tells_end: bool = False,
        closed_port: int = CLOSED_PORT,
    ) -> None:
        super().__init__(name=name, profile=profile, segment=segment, closed_port=closed_port)
        self.concurrency = 1
        self._where = f"{control[0]}, {transport.upper()} port {control[1]}"
        families = (f"ipv{family}" for family in segment.addresses)
        self.app: UpperTester = UpperTester(
            TRANSPORTS[transport](*control),
            name=name,
            features=(*families, *features),
            tells_end=tells_end,
            service=service,
        )

    def steps(self) -> Sequence[tuple[str, Step]]:
        """The upper tester comes first: where none answers, there is nothing to look for on the wire."""
        check, *others = super().steps()
        return [check, ("upper tester", self._start), *others]

    async def _start(self) -> str:
        try:
            await self.app.open()
        except AgentFault as fault:
            raise HarnessFault(self.segment.at("control", str(fault))) from None
        self.version = ""
        self.capabilities = self.app.capabilities | self._of_wire
        shuts = "with" if "shutdown" in self.capabilities else "without"
        return f"an upper tester at {self._where}, of release {self.app.version}, {shuts} SHUTDOWN"

    async def ready(self) -> None:
        """Begin a test for the case; wait for an upper tester that is being started anew. Raises HarnessFault."""
        for attempt in range(round(_BACK_S / _AGAIN_S)):
            try:
                await (self.app.open() if attempt else self.app.begin())
            except AgentFault as fault:
                gone = fault
                await asyncio.sleep(_AGAIN_S)
            else:
                return
        raise HarnessFault(f"{gone} ({_BACK_S:g} s after it was asked for the first time)")

    async def close(self) -> None:
        """End the test; the upper tester closes what is open."""
        await self.app.close()
        await super().close()
