"""Answers that are rendered beforehand, so that they leave from the read callback itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from conformance.tester.setting import Setting
from conformance.tester.variables import Variables
from conformance.wire import PSH, Flags, Segment, Seq
from conformance.wire.frames import PreparedFrame

_NOT_PSH = 0xFF & ~int(PSH)


class _Prepared(NamedTuple):
    """An answer that only lacks seq and ack."""

    when: int
    reply: Segment
    frame: PreparedFrame
    text: str


class Answered(NamedTuple):
    """A prepared answer that left and is not recorded yet; `number` is the link's, for its stamp."""

    prepared: _Prepared
    seq: Seq
    ack: int
    data: bytes
    number: int
    at_ns: int

    @property
    def text(self) -> str:
        """The remark for the record."""
        return self.prepared.text

    def segment(self) -> Segment:
        """Return the segment as it left."""
        return replace(self.prepared.reply, seq=self.seq, ack=Seq(self.ack))


class PreparedAnswers:
    """The answers of one connection, in the order in which they were prepared."""

    def __init__(self, setting: Setting, variables: Variables) -> None:
        self._setting, self._variables = setting, variables
        self._prepared: list[_Prepared] = []
        self._answered: deque[Answered] = deque()

    def add(self, when: Flags, reply: Segment, text: str) -> None:
        """Render `reply` for a segment with exactly the flags `when`, PSH aside. Raises HarnessFault where too much is sent."""
        setting, station = self._setting, self._setting.station
        # A refusal must come here: the read callback is no place for it.
        setting.trace.sends(hasty=station.target.virtual)
        self._prepared.append(_Prepared(when & _NOT_PSH, reply, PreparedFrame(station.render(reply)), text))
        station.sorter.prepare(reply.src, reply.sport, reply.dst, reply.dport, self._answer)

    def _answer(self, flags: int, ack: int) -> bool:
        """Send the first answer that is prepared for a segment with those flags; return whether there are more."""
        for prepared in self._prepared:
            if flags & _NOT_PSH == prepared.when:
                seq, at_ns = self._variables.snd_nxt, self._setting.clock.now_ns()
                data = prepared.frame.patched(seq, ack)
                number = self._setting.station.transmit_raw(data)
                self._variables.snd_nxt += prepared.reply.length
                self._prepared.remove(prepared)
                self._answered.append(Answered(prepared, seq, ack, data, number, at_ns))
                break
        return bool(self._prepared)

    def drain(self) -> Iterator[Answered]:
        """Yield the answers that left since the last call, once each, for the record."""
        while self._answered:
            yield self._answered.popleft()
