"""Neighbour discovery, and ARP: the target is told where our addresses are, and asked where it is."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from conformance.target import Target
from conformance.tester.addresses import Addresses
from conformance.tester.clock import SECOND, Clock
from conformance.tester.trace import Trace
from conformance.wire.frames import Neighbour, neighbour_answer, neighbour_message, neighbour_question
from conformance.wire.segment import packed

_ANSWER_S, _TRIES = 1.0, 3
# How often we say in a second where an address is, and where any are: a host asks once a second for each (RFC 1122,
# 2.3.2.1; RFC 4861, 7.2.2), and a flood of questions is not answered by a flood.
_MOST_FOR_ONE, _MOST_ANSWERS = 10, 1000


class Neighbours:
    """Answers for the leased addresses; `send` puts a frame on the wire.

    Another host that has an address of ours is a fault of the case that holds the address then.
    """

    def __init__(self, target: Target, addresses: Addresses, clock: Clock, *, send: Callable[[bytes], int]) -> None:
        self._target, self._addresses, self._clock = target, addresses, clock
        self._send, self._mac = send, target.link.mac
        self._asking: dict[str, asyncio.Future[None]] = {}
        self._second, self._answers = 0, Counter[str]()
        """The answers of this second, by address."""

    async def target_answers(self, address: str) -> bool:
        """Return True once the target answers `address`, which asks where it is; that also makes us known there."""
        known: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._asking[address] = known
        question = neighbour_question(self._mac, address, self._target.address(6 if ":" in address else 4))
        for _ in range(_TRIES):
            self._send(question)
            if await self._clock.wait(known, self._clock.now_ns() + round(_ANSWER_S * SECOND)):
                return True
        return False

    def forget(self, address: str) -> None:
        """Wait for no answer to that address any more."""
        self._asking.pop(address, None)

    def on_frame(self, data: bytes, at_ns: int, trace: Trace | None) -> None:
        """Take a frame that is neither TCP nor an ICMP error; `trace` is that of its destination, if it is leased."""
        message = neighbour_message(data)
        if message is None:
            if trace is not None:
                trace.frame(at_ns, data, inbound=True)
            return
        claimed = message.sender if message.request else message.address
        holder = self._addresses.traces.get(packed(claimed))
        if holder is not None and message.sender_mac != self._mac:
            conflict = f"address conflict: {claimed} is the tester's, and {message.sender_mac} says it has it too"
            holder.fault = holder.fault or conflict
        elif message.request:
            self._answer(message, data, at_ns)
        elif message.address in (self._target.address(4), self._target.address(6)):
            # The answer is for one of our addresses: whichever is waiting, the target lives.
            for address, known in self._asking.items():
                if (":" in address) == (":" in message.address) and not known.done():
                    known.set_result(None)

    def _answer(self, question: Neighbour, data: bytes, at_ns: int) -> None:
        trace = self._addresses.traces.get(packed(question.address))
        if trace is None or not self._may_answer(question.address, at_ns) or not trace.has_room(len(data)):
            return
        answer = neighbour_answer(question, self._mac)
        trace.frame(at_ns, data, inbound=True, comment="the target asks where we are")
        trace.frame(self._clock.now_ns(), answer, inbound=False)
        self._send(answer)

    def _may_answer(self, address: str, at_ns: int) -> bool:
        """Count an answer about that address; return False where there were too many in this second."""
        second = at_ns // SECOND
        if second != self._second:
            self._second = second
            self._answers.clear()
        if self._answers[address] >= _MOST_FOR_ONE or self._answers.total() >= _MOST_ANSWERS:
            return False
        self._answers[address] += 1
        return True
