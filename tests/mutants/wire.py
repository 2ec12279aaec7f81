"""A link and an application that stand between the suite and the real target, and break one documented rule."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from conformance.link import FaultHandler, FrameHandler, Heard, Link
from conformance.target import App, AppError
from conformance.wire import ACK, FIN, RST, SYN, Segment, Seq, dissect
from conformance.wire.segment import internet_checksum
from tests.mutants.followed import Followed
from tests.mutants.rules import CHANGES, SECOND, Mutant, Rule, Scene, flags_of

Going = list[tuple[float, Segment]]
"""Segments on their way, each with a delay in seconds."""


class MutantLink:
    """A link that carries what the mutant makes of the real target's segments, and of ours. See `Link`."""

    def __init__(self, link: Link, mutant: Mutant) -> None:
        self._link = link
        self._rules = {way: [rule for rule in mutant.rules if rule.way == way] for way in ("from", "to")}
        self._connections: dict[tuple[str, int, int], Followed] = {}
        self.mac = link.mac

    def open(self, on_frame: FrameHandler, on_fault: FaultHandler) -> None:
        """As the real link's."""
        self._deliver = on_frame
        self._link.open(self._from_target, on_fault)

    async def sent_at(self, number: int) -> int:
        """As the real link's; the time of the call where the frame was held back."""
        return await self._link.sent_at(number) if number >= 0 else time.time_ns()

    def heard(self) -> Heard:
        """As the real link's."""
        return self._link.heard()

    def close(self) -> None:
        """As the real link's."""
        self._link.close()

    def send(self, frame: bytes) -> int:
        """As the real link's, of what the mutant makes of it."""
        segment = dissect(frame)
        if segment is None:
            return self._link.send(frame)
        conn, now_ns, number = self._connection(segment.src, segment.sport, segment.dport), time.time_ns(), -1
        scene = Scene(segment, conn, now_ns, 0, conn.state)
        for delay_s, applied in self._applied("to", scene, frame):
            conn.received(applied, now_ns)
            data = frame if applied is segment else _rebuilt(frame, applied)
            if delay_s:
                asyncio.get_running_loop().call_later(delay_s, self._link.send, data)
            else:
                number = self._link.send(data)
        return number

    def _from_target(self, frame: bytes, at_ns: int, mark: str = "") -> None:
        segment = dissect(frame)
        if segment is None:
            self._deliver(frame, at_ns, mark)
            return
        conn = self._connection(segment.dst, segment.dport, segment.sport)
        before = conn.state
        conn.sent(segment, at_ns)
        same = (int(segment.seq), segment.length, int(segment.flags & (SYN | FIN)))
        first_ns = conn.first_sent.get(same, 0)
        if segment.length:
            conn.first_sent.setdefault(same, at_ns)
        for delay_s, applied in self._applied("from", Scene(segment, conn, at_ns, first_ns, before), frame):
            self._later(delay_s, frame if applied is segment else _rebuilt(frame, applied), at_ns)

    def _connection(self, address: str, port: int, target_port: int) -> Followed:
        return self._connections.setdefault((address, port, target_port), Followed())

    def _later(self, delay_s: float, data: bytes, at_ns: int) -> None:
        if delay_s:
            due_ns = at_ns + round(delay_s * SECOND)
            asyncio.get_running_loop().call_later(delay_s, self._deliver, data, due_ns)
        else:
            self._deliver(data, at_ns)

    def _applied(self, way: str, scene: Scene, frame: bytes) -> Going:
        going: Going = [(0.0, scene.segment)]
        for rule in self._rules[way]:
            if rule.matches(scene):
                going = [changed for delay_s, one in going for changed in self._done(rule, scene, one, delay_s, frame)]
        return going

    def _done(
        self, rule: Rule, scene: Scene, segment: Segment, delay_s: float, frame: bytes
    ) -> Iterator[tuple[float, Segment]]:
        if segment.checksum_ok:  # as dissected it is the old one's; a wrong one that is meant stays wrong
            segment = replace(segment, checksum=None)
        rest = rule.rest
        match rule.word:
            case "drop":
                return
            case "delay":
                yield delay_s + float(rest[0]), segment
            case "stretch":  # repetitions come when the interval since the first is that many times as long
                yield (
                    delay_s + (scene.now_ns - (scene.first_ns or scene.now_ns)) / SECOND * (float(rest[0]) - 1),
                    segment,
                )
            case "twice":
                yield delay_s, segment
                yield delay_s + (float(rest[0]) if rest else 0.0), segment
            case "repeat-every":
                for turn in range(int(rest[1])):
                    yield delay_s + float(rest[0]) * turn, segment
            case "answer":
                self._answer(rest, scene, frame)
                if "instead" not in rest:
                    yield delay_s, segment
            case "forget":
                self._forget(scene, frame)
            case _:
                yield delay_s, CHANGES[rule.word](segment, rest, scene.conn)

    def _answer(self, rest: Sequence[str], scene: Scene, frame: bytes) -> None:
        """Answer in the target's name: flags, `at` so many seconds, `before` SND.NXT."""
        segment, conn, flags = scene.segment, scene.conn, flags_of(rest)
        if flags & RST:
            answer = reset_for(segment)
        else:
            seq = conn.snd_max if conn.snd_max is not None else segment.ack
            ack = conn.rcv_nxt if conn.rcv_nxt is not None else segment.end
            seq = seq - 1 if "before" in rest else seq
            answer = Segment(segment.dst, segment.src, segment.dport, segment.sport, seq, ack, flags, 65535)
        self._say(answer, scene, frame, float(rest[rest.index("at") + 1]) if "at" in rest else 0.0)

    def _forget(self, scene: Scene, frame: bytes) -> None:
        """Answer as CLOSED does: cases that hold TIME-WAIT to its length close the listener before."""
        if not scene.segment.flags & RST:
            self._say(reset_for(scene.segment), scene, frame, 0.0)

    def _say(self, answer: Segment, scene: Scene, frame: bytes, delay_s: float) -> None:
        """Deliver a segment in the target's name; `frame` is the one that it answers."""
        turned = frame[6:12] + frame[:6] + frame[12:14] + _turned_ip(frame)
        due_ns = scene.now_ns + round(delay_s * SECOND)
        asyncio.get_running_loop().call_later(delay_s, self._deliver, _rebuilt(turned, answer), due_ns)


def reset_for(segment: Segment) -> Segment:
    """Return the reset that CLOSED sends for a segment (RFC 9293 3.10.7.1).

    Of any other form, it would be noticed for its form, and not for the rule that the mutant breaks.
    """
    ends = segment.dst, segment.src, segment.dport, segment.sport
    if segment.flags & ACK:
        return Segment(*ends, segment.ack, Seq(0), RST, 0)
    return Segment(*ends, Seq(0), segment.end, RST | ACK, 0)


def _turned_ip(frame: bytes) -> bytes:
    """The IP packet with its addresses exchanged."""
    if frame[12:14] == b"\x86\xdd":
        return frame[14:22] + frame[38:54] + frame[22:38] + frame[54:]
    return frame[14:26] + frame[30:34] + frame[26:30] + frame[34:]


def _rebuilt(frame: bytes, segment: Segment) -> bytes:
    """The frame with another segment in it; addresses and the rest of the IP header stay."""
    raw = segment.header()
    if frame[12:14] == b"\x86\xdd":
        return frame[:18] + len(raw).to_bytes(2, "big") + frame[20:54] + raw
    size = (frame[14] & 0xF) * 4
    ip = frame[14:16] + (size + len(raw)).to_bytes(2, "big") + frame[18:24] + b"\0\0" + frame[26 : 14 + size]
    ip = ip[:10] + internet_checksum(ip).to_bytes(2, "big") + ip[12:]
    return frame[:14] + ip + raw


class MutantApp:
    """An application whose calls do, or come to, something else than the suite asked for. See `App`."""

    def __init__(self, app: App, mutant: Mutant) -> None:
        self._app = app
        self._rules = [rule for rule in mutant.rules if rule.way == "app"]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    async def call(self, op: str, *, wait_s: float | None = None, **arguments: Any) -> dict[str, Any]:
        """As the real application's."""
        rules = [rule for rule in self._rules if rule.flags == op]
        for rule in rules:
            match rule.word:
                case "skip":
                    return {"at_ns": 0}
                case "instead":
                    op = rule.rest[0]
                case "without":
                    arguments["options"] = [one for one in arguments.get("options", ()) if one[1] != rule.rest[0]]
                case "nodelay":
                    option: dict[str, Any] = {"level": "tcp", "name": "TCP_NODELAY", "value": 1}
                    await self._app.call("option_set", socket=arguments["socket"], **option)
        try:
            reply = await self._app.call(op, wait_s=wait_s, **arguments)
        except AppError as error:
            return _instead(error, rules)
        for rule in rules:
            if rule.word in _REPLIES:
                reply = {**reply, **_REPLIES[rule.word](reply)}
        return reply


def _instead(error: AppError, rules: Sequence[Rule]) -> dict[str, Any]:
    """Return what a failed call answers after the rules. Raises AppError."""
    for rule in rules:
        if rule.word == "error" and rule.rest[0] == error.code:
            raise AppError(rule.rest[1], str(error)) from None
        if rule.word == "forgive" and rule.rest[0] == error.code:
            return {"at_ns": 0, "data": "", "eof": True, "code": None, "sent": 0}
    raise error


def _data(change: Callable[[bytes], bytes]) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    return lambda reply: {"data": base64.b64encode(change(base64.b64decode(reply["data"]))).decode()}


_REPLIES: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "double": _data(lambda data: data + data),
    "reverse": _data(lambda data: data[::-1]),
    "lose-last": _data(lambda data: data[:-1]),
    "no-eof": lambda _: {"eof": False},
    "early-eof": lambda _: {"eof": True},
    "no-error": lambda _: {"code": None},
}
