"""A stack that is a process of its own, spoken to directly: a socket pair is the wire, and we are its only neighbour."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from conformance.wire import ACK, SYN, Flags, Segment, Seq, dissect
from conformance.wire.frames import Template, neighbour_answer, neighbour_message

MAC, OUR_MAC = "02:00:00:00:00:77", "02:00:00:00:00:01"
STACK = {4: "10.77.0.1", 6: "fd77::1"}
OURS = {4: "10.77.1.2", 6: "fd77::1:2"}
ISS, PORT, OUR_PORT = 1_000_000, 7000, 40000
S = 1_000_000_000


class Wire:
    """The program and its two ends: `call` for the agent, `send` and `frames` for the stack."""

    def __init__(self, program: Sequence[str | Path], kind: socket.SocketKind, clock: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        environment = {
            "TCP_CONFORMANCE_LINK_FD": str(theirs.fileno()),
            "TCP_CONFORMANCE_MAC": MAC,
            "TCP_CONFORMANCE_IPV4": "10.77.0.1/16",
            "TCP_CONFORMANCE_IPV6": "fd77::1/64",
            "TCP_CONFORMANCE_MTU": "1500",
            "TCP_CONFORMANCE_CLOCK": clock,
        }
        self.process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[theirs.fileno()], env=environment
        )
        theirs.close()
        self.link, self.virtual = ours, clock == "virtual"
        self.link.settimeout(5)
        self.frames_in = self.frames_out = 0
        self.now_ns = 0
        self.number = 0
        self.late: list[dict[str, Any]] = []
        """Replies to requests that waited, as they came while the clock was moved."""
        self.hello = self.reply()["hello"]
        if self.virtual:
            self.step(0)

    def close(self) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        code = self.process.wait(5)
        self.process.stdout.close()
        self.link.close()
        return code

    def ask(self, line: str | None = None, **request: Any) -> int:
        assert self.process.stdin is not None
        self.number += 1
        line = json.dumps({"id": self.number, **request}) if line is None else line
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self.number

    def reply(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line: dict[str, Any] = json.loads(self.process.stdout.readline())
        return line

    def call(self, op: str, **arguments: Any) -> Any:
        number = self.ask(op=op, **arguments)
        reply = self.reply()
        assert reply["id"] == number
        return reply["ok"] if "ok" in reply else reply["error"]["code"]

    def send(self, frame: bytes) -> None:
        self.link.send(frame)
        self.frames_in += 1

    def step(self, until_ns: int) -> list[Segment]:
        """Move the clock; what the stack has sent since the last step, our neighbours' messages answered."""
        number = self.ask(op="clock", until_ns=until_ns, frames_in=self.frames_in)
        while (answer := self.reply())["id"] != number:
            self.late.append(answer)
        reply = answer["ok"]
        self.now_ns = reply["now_ns"]
        frames = [self.link.recv(65536) for _ in range(reply["frames_out"] - self.frames_out)]
        self.frames_out = reply["frames_out"]
        return [segment for frame in frames if (segment := self._segment(frame))]

    def _segment(self, frame: bytes) -> Segment | None:
        asked = neighbour_message(frame)
        if asked and asked.request:
            self.send(neighbour_answer(asked, OUR_MAC))
        return dissect(frame)

    def for_(self, seconds: float) -> list[tuple[float, Segment]]:
        """Let virtual time pass: segments with the seconds since it began."""
        start_ns, seen = self.now_ns, []
        until_ns, before = round(start_ns + seconds * S), (-1, -1)
        while self.now_ns < until_ns or before != (self.frames_in, self.frames_out):
            before = self.frames_in, self.frames_out
            arrived = self.step(until_ns)
            seen += [((self.now_ns - start_ns) / S, one) for one in arrived]
        return seen


class Peer:
    """Our end of one four-tuple."""

    def __init__(self, wire: Wire, family: int, port: int = OUR_PORT, remote_port: int = PORT) -> None:
        self.wire, self.family, self.port, self.remote_port = wire, family, port, remote_port
        self.template = Template(OUR_MAC, MAC, OURS[family], STACK[family])
        self.seq, self.ack = Seq(ISS), Seq(0)

    def send(self, flags: Flags, payload: bytes = b"", options: bytes = b"") -> None:
        segment = Segment(
            OURS[self.family],
            STACK[self.family],
            self.port,
            self.remote_port,
            self.seq,
            self.ack if flags & ACK else Seq(0),
            flags,
            options=options,
            payload=payload,
        )
        self.wire.send(self.template.frame(segment))
        self.seq = segment.end

    def take(self) -> Segment:
        """The one segment that came at once."""
        (segment,) = (one for _, one in self.wire.for_(0))
        self.ack = segment.end
        return segment

    def state(self) -> str:
        reply = self.wire.call(
            "state",
            family=self.family,
            address=STACK[self.family],
            port=self.remote_port,
            remote_address=OURS[self.family],
            remote_port=self.port,
        )
        return str(reply["state"])

    def established(self) -> int:
        """A connection that we opened: the number of its socket."""
        listener = self.wire.call("listen", family=self.family, address=STACK[self.family], port=self.remote_port)
        self.send(SYN)
        answer = self.take()
        assert (answer.flags, answer.ack) == (SYN | ACK, ISS + 1)
        self.send(ACK)
        accepted = self.wire.call("accept", socket=listener["socket"], timeout=1)
        assert (ip_address(accepted["address"]), accepted["port"]) == (ip_address(OURS[self.family]), self.port)
        return int(accepted["socket"])


# What every agent refuses, by the line that it is sent, and with which code (docs/agent-protocol.md).
REFUSED = {
    '{"id": 1, "op": "fly"}': "unknown-op",
    '{"id": 1, "op": "sysctl_get", "name": "net.x"}': "unknown-op",
    '{"id": 1, "op": "accept"}': "bad-request",
    '{"id": 1, "op": "accept", "socket": "1"}': "bad-request",
    '{"id": 1, "op": "accept", "socket": null}': "bad-request",
    '{"id": 1, "op": "accept", "socket": 1, "speed": 2}': "bad-request",
    '{"id": 1, "op": "accept", "socket": 1, "timeout": -1}': "bad-request",
    '{"id": 1, "op": "accept", "socket": 1}': "no-such-socket",
    '{"id": 1, "op": "listen", "family": 5, "address": "", "port": 1}': "bad-request",
    '{"id": 1, "op": "listen", "family": 4, "address": "::1", "port": 1}': "bad-request",
    '{"id": 1, "op": "listen", "family": 4, "address": "10.77.0.9", "port": 1}': "EADDRNOTAVAIL",
    '{"id": 1, "op": "listen", "family": 4, "address": "", "port": 70000}': "bad-request",
    '{"id": 1, "op": "listen", "family": 4, "address": "", "port": 1, "options": [["tcp", "TCP_REPAIR", 1]]}': (
        "ENOPROTOOPT"
    ),
    '{"id": "x", "op": "hello"}': "bad-request",
    '{"op": "hello"}': "bad-request",
    "[]": "bad-json",
    "null": "bad-json",
    '{"id": 1': "bad-json",
}
