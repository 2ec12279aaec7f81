"""The agent: a small program on the target that makes socket calls for a case.

Runs as ``python3 -I -S agent.py``: one file, standard library only, Python 3.8 or later, so that it can be piped to an
old host. Opens no control port: it reads requests on standard input and writes replies on standard output, one JSON
object to a line, and ends with status 0 when its input ends. ``TCP_CONFORMANCE_AGENT_FD=R,W`` names two other file
descriptors (they may be one socket).

request     ``{"id": 7, "op": "accept", "socket": 1, "timeout": 2.5}``: whole-number id, operation, its arguments
reply       ``{"id": 7, "ok": {...}, "at_ns": n}`` or ``{"id": 7, "error": {"code": ..., "message": ...}, "at_ns": n}``
            ``at_ns`` is CLOCK_REALTIME when the call returned. Replies come when they are due, in any order.
first line  ``{"hello": {"name", "version", "agent", "protocol", "capabilities"}}``, unasked
codes       errno names (``ECONNRESET``); ``unknown-op``, ``bad-request`` (names the argument), ``bad-json`` and lines
            too long (id null), ``no-such-socket``, ``timeout``, ``cancelled``, ``agent-fault`` (an error in this file)

Rules:
1. One loop, no call that blocks: what must wait is a Waiter in a queue of its socket and is answered later.
2. Requests of one socket that wait for the same thing are served in the order they came.
3. Bytes leave the kernel only when a receive asks for them: reading opens the window that a case looks at.
4. Bytes read are never lost: after a timeout, a cancel or an error the next receive has them.
5. Operations and arguments that are not in OPERATIONS are refused. Addresses are numeric: no name is looked up.
"""

from __future__ import annotations

import base64
import collections
import contextlib
import errno
import fcntl
import heapq
import itertools
import json
import math
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Options = Sequence[tuple[int, int, int | bytes]]  # as setsockopt takes them

AGENT = "1"
PROTOCOL = 1
LINE_LIMIT = 16 << 20  # bytes of one request
OUTBOX_LIMIT = 64 << 20  # bytes of replies that a slow reader may leave with us before we stop reading requests
CHUNK = 256 << 10
NAP_S = 3600.0  # the longest the loop sleeps: poll takes no number much larger
FAREWELL_S = 1.0  # how long the last replies may take to leave, once the input has ended

READ, URGENT, WRITE = select.POLLIN, select.POLLPRI, select.POLLOUT
DEAD = select.POLLERR | select.POLLHUP | select.POLLNVAL

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
ANY = {4: "0.0.0.0", 6: "::"}
HOW = {"send": socket.SHUT_WR, "receive": socket.SHUT_RD, "both": socket.SHUT_RDWR}

LEVELS = {
    "socket": (socket.SOL_SOCKET, "SO_"),
    "tcp": (socket.IPPROTO_TCP, "TCP_"),
    "ip": (socket.IPPROTO_IP, "IP_"),
    "ipv6": (socket.IPPROTO_IPV6, "IPV6_"),
}
# fmt: off
# Linux's numbers for names that the socket module of some Python lacks. Not TCP_REPAIR: it forges states.
LINUX_OPTIONS = {
    "SO_SNDBUFFORCE": 32, "SO_RCVBUFFORCE": 33, "SO_MAX_PACING_RATE": 47,
    "IP_MTU_DISCOVER": 10, "IP_RECVERR": 11, "IP_MTU": 14, "IP_FREEBIND": 15, "IP_MINTTL": 21,
    "IPV6_MTU_DISCOVER": 23, "IPV6_MTU": 24, "IPV6_RECVERR": 25, "IPV6_MINHOPCOUNT": 73,
    "TCP_NODELAY": 1, "TCP_MAXSEG": 2, "TCP_CORK": 3, "TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 6,
    "TCP_SYNCNT": 7, "TCP_LINGER2": 8, "TCP_DEFER_ACCEPT": 9, "TCP_WINDOW_CLAMP": 10, "TCP_INFO": 11,
    "TCP_QUICKACK": 12, "TCP_CONGESTION": 13, "TCP_MD5SIG": 14, "TCP_THIN_LINEAR_TIMEOUTS": 16,
    "TCP_THIN_DUPACK": 17, "TCP_USER_TIMEOUT": 18, "TCP_QUEUE_SEQ": 21, "TCP_FASTOPEN": 23, "TCP_TIMESTAMP": 24,
    "TCP_NOTSENT_LOWAT": 25, "TCP_SAVE_SYN": 27, "TCP_SAVED_SYN": 28, "TCP_FASTOPEN_CONNECT": 30,
    "TCP_FASTOPEN_NO_COOKIE": 34, "TCP_INQ": 36, "TCP_TX_DELAY": 37,
}
# The kernel's numbers of states (net/tcp_states.h), under the RFC's names. 12 is a SYN-RECEIVED of a listener's.
STATES = {
    1: "ESTABLISHED", 2: "SYN-SENT", 3: "SYN-RECEIVED", 4: "FIN-WAIT-1", 5: "FIN-WAIT-2", 6: "TIME-WAIT",
    7: "CLOSED", 8: "CLOSE-WAIT", 9: "LAST-ACK", 10: "LISTEN", 11: "CLOSING", 12: "SYN-RECEIVED",
}
TIMERS = {0: None, 1: "retransmission", 2: "keepalive", 3: "time-wait", 4: "probe"}
# fmt: on
LINGER = struct.Struct("=ii")  # struct linger: onoff, seconds
SIOCATMARK = 0x8905  # Linux's number: the fcntl module names none

# Netlink (linux/netlink.h, sock_diag.h, inet_diag.h): nlmsghdr; inet_diag_req_v2, which holds an inet_diag_sockid
# (ports and addresses in network order, interface, cookie); inet_diag_msg: state, timer, retransmits, the sockid
# again, then expires (ms), receive queue, send queue, uid, inode.
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLMSG_ERROR, NLMSG_DONE, NLM_F_REQUEST, NLM_F_DUMP = 4, 20, 2, 3, 0x01, 0x300
NLMSGHDR = struct.Struct("=IHHII")
DIAG_REQUEST = struct.Struct("=BBBBI4s16s16sIII")
DIAG_MESSAGE = struct.Struct("=xBBB48xIIIII")
EVERY_STATE = NO_COOKIE = 0xFFFFFFFF

SEQUENCE = itertools.count(1)  # of netlink questions

SYSCTL = re.compile(r"net(\.[A-Za-z0-9_-]+)+")


class Refusal(Exception):
    """Why a request gets no ok: a code of the protocol and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def bad(argument: str, needed: object, value: Any) -> Refusal:
    return Refusal("bad-request", f"{argument}: {needed} is needed, not {json.dumps(value)[:80]}")


def raise_errno(number: int) -> None:
    raise OSError(number, os.strerror(number))


def errno_name(number: int | None) -> str:
    return errno.errorcode.get(number or 0, f"errno-{number}")


def outcome(call: Callable[..., Any], *arguments: Any, progress: dict[str, int] | None = None) -> dict[str, Any] | None:
    """Makes one call: the reply for it, still without id, or None where it has to wait."""
    try:
        ok = call(*arguments)
        return None if ok is None else {"ok": ok, "at_ns": time.time_ns()}
    except Refusal as refusal:
        return failed(refusal.code, str(refusal), progress)
    except OSError as error:
        return failed(errno_name(error.errno), error.strerror or str(error), progress)
    except Exception as error:  # one bad request must not end the other cases
        return failed("agent-fault", f"{type(error).__name__}: {error}", progress)


def failed(code: str, message: str, progress: dict[str, int] | None = None) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **(progress or {})}, "at_ns": time.time_ns()}


def as_text(value: object) -> str:
    """Return bytes as base64 text: JSON cannot hold them. Called after the clock was read."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"no JSON for {type(value).__name__}")


class Sock:
    """One socket: the requests that wait for it, what was read and not yet delivered, how its opening ended."""

    __slots__ = ("failure", "family", "listening", "number", "opened", "queues", "socket", "unread")

    def __init__(self, number: int, sock: socket.socket, family: int) -> None:
        self.number = number
        self.socket = sock
        self.family = family  # 4 or 6
        self.listening = False
        self.opened: bool | None = None  # None while a connect is under way
        self.failure = 0  # the errno that ended the connection: the kernel tells it once, we go on telling it
        self.unread = bytearray()
        # In the order they are served: a failed open is noted before a receive asks.
        self.queues: dict[int, collections.deque[Waiter]] = {m: collections.deque() for m in (WRITE, URGENT, READ)}


class Waiter(NamedTuple):
    """One pending request. `step(events)` tries again: its ok, None to go on waiting, or an exception."""

    request: int | None  # None: the agent's own, nobody is answered
    sock: Sock
    mask: int
    step: Callable[[int], Any]
    progress: dict[str, int]  # told along with an error: {"sent": n}

    def attempt(self, events: int = 0) -> dict[str, Any] | None:
        return outcome(self.step, events, progress=self.progress)


# Arguments: each kind is a function from the JSON value to ours; ValueError says what is needed.


def whole(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise ValueError(f"a whole number from {low} to {high}")

    return check


def choice(*allowed: Any) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) in (int, str) and value in allowed:
            return value
        raise ValueError("one of " + ", ".join(str(one) for one in allowed))

    return check


def flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("true or false")


def text(value: Any) -> str:
    if isinstance(value, str) and not re.search("[\0\ud800-\udfff]", value):
        return value
    raise ValueError("a text")


def seconds(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9 and math.isfinite(value):
        return float(value)
    raise ValueError("a number of seconds or null")


def octets(value: Any) -> bytes:
    try:
        return base64.b64decode(text(value), validate=True)
    except ValueError:
        raise ValueError("base64 text") from None


def option_value(value: Any) -> int | bytes:
    """A C int, ``{"bytes": base64}``, or ``[onoff, seconds]`` (struct linger)."""
    number = whole(-(1 << 31), (1 << 31) - 1)
    if isinstance(value, dict) and list(value) == ["bytes"]:
        return octets(value["bytes"])
    if isinstance(value, list) and len(value) == 2:
        return LINGER.pack(number(value[0]), number(value[1]))
    try:
        return number(value)
    except ValueError:
        raise ValueError('a whole number, {"bytes": base64} or [onoff, seconds]') from None


def option_list(value: Any) -> Options:
    """``[[level, name, value], ...]``."""
    if not isinstance(value, list) or not all(isinstance(one, list) and len(one) == 3 for one in value):
        raise ValueError("a list of [level, name, value]")
    return [(*option_number(level, name), option_value(wanted)) for level, name, wanted in value]


def option_number(level: str, name: str) -> tuple[int, int]:
    """Return the numbers of a symbolic level and name."""
    number, prefix = LEVELS[choice(*LEVELS)(level)]
    if not re.fullmatch(prefix + "[A-Z0-9_]+", text(name)) or name.startswith("TCP_REPAIR"):
        raise bad("name", f"an option of level {level}", name)
    constant = getattr(socket, name, LINUX_OPTIONS.get(name) if sys.platform == "linux" else None)
    if constant is None:
        raise bad("name", "an option that is known here", name)
    return number, int(constant)


# What each argument may be, under its name, or under `operation.name` where that differs.
KINDS: dict[str, Callable[[Any], Any]] = {
    "address": text,
    "backlog": whole(0, 1 << 30),
    "count": whole(0, LINE_LIMIT),
    "data": octets,
    "family": choice(4, 6),
    "how": choice(*HOW),
    "level": choice(*LEVELS),
    "maximum": whole(1, LINE_LIMIT),
    "name": text,
    "options": option_list,
    "port": whole(0, 65535),
    "remote_address": text,
    "remote_port": whole(0, 65535),
    "request": whole(-(1 << 62), 1 << 62),
    "reuse": flag,
    "socket": whole(0, 1 << 62),
    "timeout": seconds,
    "urgent": flag,
    "value": option_value,
    "sysctl_set.value": text,
    "wait": flag,
}

# The calls that a target has or lacks; the others have capabilities of other names, or are in every agent.
APPLICATION = ("listen", "accept", "connect", "send", "receive", "shutdown", "close", "abort", "error")

FURTHER: list[str] = []  # the capabilities of further parts of this program

# By capability, the setting of net.ipv4 that switches it off when it is 0.
SWITCHES = {
    "timestamps": "tcp_timestamps",
    "sack": "tcp_sack",
    "wscale": "tcp_window_scaling",
    "ecn": "tcp_ecn",
    "fastopen": "tcp_fastopen",
    "rack": "tcp_recovery",
}

# Under its name, each operation: the method, the names of its arguments, the defaults of some.
OPERATIONS: dict[str, tuple[Callable[..., Any], set[str], dict[str, Any]]] = {}
Call = TypeVar("Call", bound="Callable[..., Any]")


def operation(call: Call) -> Call:
    """Enters a method in OPERATIONS. Its keywords are the request's arguments, `sock` is the one called `socket`.

    It gets the request's id and returns the ok, or None when `wait` has the request or answered it.
    """
    code = call.__code__
    names = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    OPERATIONS[call.__name__] = call, {"socket" if n == "sock" else n for n in names}, call.__kwdefaults__ or {}
    return call


def packed(family: int, address: str, argument: str) -> tuple[str, bytes, int]:
    """A numeric address ("" is any; IPv6 may end in ``%interface``): its text, its bytes, the interface's index."""
    host, _, interface = (address or ANY[family]).partition("%")
    try:
        octets = socket.inet_pton(FAMILIES[family], host)
    except (OSError, UnicodeError):
        raise bad(argument, f"an IPv{family} address", address) from None
    try:
        return host, octets, socket.if_nametoindex(interface) if interface else 0
    except OSError:  # which has no errno
        raise OSError(errno.ENODEV, f"{argument}: no interface {interface!r}") from None


def endpoint(family: int, address: str, port: int, argument: str = "address") -> tuple[Any, ...]:
    host, _, interface = packed(family, address, argument)
    return (host, port) if family == 4 else (host, port, 0, interface)


class Agent:
    """The loop, its sockets and the requests that wait."""

    def __init__(self, reader: int, writer: int, first: bytes = b"") -> None:
        """Two non-blocking descriptors, and what was already read from the first."""
        self.begin(reader, writer, first)
        self.poller = select.poll()  # not `selectors`: they cannot wait for urgent data, nor read from a file
        self.watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self.closed: collections.deque[tuple[int, dict[str, Any] | None]] = collections.deque()
        self.netlink = open_netlink()
        self.capabilities = capabilities(bool(self.netlink))
        self.bell, self.ringer = socket.socketpair()  # rung by the threads
        self.bell.setblocking(False)
        self.watch(self.bell.fileno(), READ, self.answer_closed)

    def begin(self, reader: int, writer: int, first: bytes = b"") -> None:
        """Sets what every agent keeps, one of another stack's sockets too."""
        self.reader, self.writer = reader, writer
        self.inbox, self.searched, self.skipping = bytearray(first), 0, False
        self.outbox = bytearray()
        self.running = True
        self.socks: dict[int, Sock] = {}
        self.numbers, self.turns = itertools.count(1), itertools.count()
        self.pending: dict[int, Waiter] = {}
        self.deadlines: list[tuple[float, int, Waiter]] = []  # a heap; a Waiter that is answered stays till its turn
        self.opened: set[int] = set()  # descriptors of single calls (agent_calls.py)

    # The loop

    def run(self) -> None:
        """Serves until the input ends or nobody reads the replies. Leaves no socket open."""
        self.write({"hello": self.hello()})
        while True:
            left = self.converse()
            self.expire()
            self.flush()
            if not self.running:
                break
            if left and len(self.outbox) <= OUTBOX_LIMIT:
                continue  # the replies have left meanwhile: nothing new on the pipe would wake us for the requests
            self.watch_control()
            # Handlers close nothing: a number in this list cannot have become another socket's meanwhile.
            for fd, events in self.poller.poll(self.patience()):
                self.watched[fd][1](events)
        for sock in list(self.socks.values()):
            self.drop(sock)
            if lingers(sock.socket):
                sock.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.pack(0, 0))
            sock.socket.close()
        self.say_farewell()

    def watch(self, fd: int, mask: int, handler: Callable[[int], None]) -> None:
        if not mask:
            if self.watched.pop(fd, None):
                self.poller.unregister(fd)
        elif self.watched.get(fd, (0,))[0] != mask:
            self.poller.register(fd, mask)
            self.watched[fd] = mask, handler

    def watch_control(self) -> None:
        """Reads while there is room for replies; waits to write while there are any. Both may be one descriptor."""
        masks = {self.reader: 0, self.writer: 0}
        masks[self.reader] |= READ if len(self.outbox) <= OUTBOX_LIMIT else 0
        masks[self.writer] |= WRITE if self.outbox else 0
        for fd, mask in masks.items():
            self.watch(fd, mask, self.read if fd == self.reader else self.written)

    def patience(self) -> float | None:
        """Milliseconds until the next deadline."""
        while self.deadlines and not self.waits(self.deadlines[0][2]):
            heapq.heappop(self.deadlines)
        if not self.deadlines:
            return None
        return min(max(self.deadlines[0][0] - time.monotonic(), 0.0), NAP_S) * 1000

    def expire(self) -> None:
        now = time.monotonic()
        while self.deadlines and self.deadlines[0][0] <= now:
            waiter = heapq.heappop(self.deadlines)[2]
            if self.waits(waiter):
                self.give_up(waiter, "timeout", "nothing came in time")

    def waits(self, waiter: Waiter) -> bool:
        return waiter.request is not None and self.pending.get(waiter.request) is waiter

    # Requests in, replies out

    def read(self, events: int) -> None:
        try:
            chunk = os.read(self.reader, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self.inbox += chunk
        self.running = bool(chunk)

    def written(self, events: int) -> None:
        """Room for replies: the loop flushes in every round."""

    def converse(self) -> bool:
        """Serves the requests that are here, as long as their replies find room; whether some may be left for want of it."""
        while len(self.outbox) <= OUTBOX_LIMIT:
            line = self.next_line()
            if line is None:
                return False
            if line.strip():
                self.serve_line(line)
            if len(self.outbox) > CHUNK:
                self.flush()
        return len(self.outbox) > OUTBOX_LIMIT

    def next_line(self) -> bytes | None:
        end = self.inbox.find(b"\n", self.searched)
        if end < 0:
            self.searched = len(self.inbox)
            if self.searched > LINE_LIMIT:
                self.inbox.clear()
                self.searched, self.skipping = 0, True
            return None
        line, too_long = bytes(self.inbox[:end]), self.skipping or end > LINE_LIMIT
        del self.inbox[: end + 1]
        self.searched, self.skipping = 0, False
        if too_long:
            self.reply(None, failed("bad-json", f"a request line is over {LINE_LIMIT} bytes"))
        return b"" if too_long else line

    def serve_line(self, line: bytes) -> None:
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            self.reply(None, failed("bad-json", str(error)))
            return
        if not isinstance(request, dict):
            self.reply(None, failed("bad-json", "a request is an object"))
            return
        number = request.pop("id", None)
        if isinstance(number, bool) or not isinstance(number, int):
            self.reply(None, failed("bad-request", "id: a whole number is needed"))
        elif number in self.pending:
            self.reply(number, failed("bad-request", "id: another request with this id is pending"))
        else:
            reply = outcome(self.perform, number, request)
            if reply:
                self.reply(number, reply)

    def perform(self, number: int, request: dict[str, Any]) -> Any:
        """Checks one request against its operation and makes the call: its ok, or None when it is answered later."""
        name = request.pop("op", None)
        if not isinstance(name, str) or name not in OPERATIONS:
            raise Refusal("unknown-op", f"no operation {json.dumps(name)[:80]}")
        call, names, defaults = OPERATIONS[name]
        arguments: dict[str, Any] = {}
        for key, value in request.items():
            if key not in names:
                raise Refusal("bad-request", f"{key[:80]}: {name} takes no such argument")
            try:
                arguments[key] = KINDS.get(f"{name}.{key}", KINDS[key])(value)
            except ValueError as error:
                raise bad(key, error, value) from None
        missing = names - set(arguments) - set(defaults)
        if missing:
            raise Refusal("bad-request", f"{min(missing)}: {name} needs this argument")
        if "socket" in arguments:
            arguments["sock"] = self.find(arguments.pop("socket"))
        return call(self, number, **arguments)

    def reply(self, number: int | None, reply: dict[str, Any]) -> None:
        self.write({"id": number, **reply})

    def write(self, message: dict[str, Any]) -> None:
        self.outbox += json.dumps(message, default=as_text, separators=(",", ":")).encode("ascii") + b"\n"

    def flush(self) -> None:
        try:
            while self.outbox:
                del self.outbox[: os.write(self.writer, self.outbox[:CHUNK])]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads any more
            self.outbox.clear()
            self.running = False

    def say_farewell(self) -> None:
        """The input has ended: lets the last replies leave, but for no reader's sake stays."""
        end = time.monotonic() + FAREWELL_S
        poller = select.poll()
        poller.register(self.writer, WRITE)
        self.flush()
        while self.outbox and time.monotonic() < end:
            poller.poll(FAREWELL_S * 1000)
            self.flush()

    # Sockets and the requests that wait for them

    def find(self, number: int) -> Sock:
        if number not in self.socks:
            raise Refusal("no-such-socket", f"no socket {number}")
        return self.socks[number]

    def add(self, sock: socket.socket, family: int) -> Sock:
        added = Sock(next(self.numbers), sock, family)
        self.socks[added.number] = added
        return added

    def wait(
        self,
        request: int | None,
        sock: Sock,
        mask: int,
        step: Callable[[int], Any],
        *,
        timeout: float | None = None,
        progress: dict[str, int] | None = None,
    ) -> None:
        """Answers now where `step` can and nobody is before it in the queue; else when it can."""
        waiter = Waiter(request, sock, mask, step, progress if progress is not None else {})
        queue = sock.queues[mask]
        queue.append(waiter)
        if request is not None:
            self.pending[request] = waiter
        if len(queue) == 1:
            self.serve(sock, mask, 0)
        self.rewatch(sock)
        if timeout is not None and self.waits(waiter):
            if len(self.deadlines) > 2 * len(self.pending) + 64:
                self.deadlines = [entry for entry in self.deadlines if self.waits(entry[2])]
                heapq.heapify(self.deadlines)
            heapq.heappush(self.deadlines, (time.monotonic() + timeout, next(self.turns), waiter))

    def wake(self, sock: Sock, events: int) -> None:
        """Something happened to a socket."""
        for mask in sock.queues:
            if events & (mask | DEAD):
                self.serve(sock, mask, events)
        self.rewatch(sock)

    def serve(self, sock: Sock, mask: int, events: int) -> None:
        """Answers those that waited, in order, up to the first that has to go on waiting."""
        queue = sock.queues[mask]
        while queue:
            reply = queue[0].attempt(events)
            if reply is None:
                break
            self.finish(queue.popleft(), reply)

    def rewatch(self, sock: Sock) -> None:
        mask = sum(mask for mask, queue in sock.queues.items() if queue)
        self.watch(sock.socket.fileno(), mask, lambda events: self.wake(sock, events))

    def finish(self, waiter: Waiter, reply: dict[str, Any]) -> None:
        if waiter.request is not None:
            self.pending.pop(waiter.request, None)
            self.reply(waiter.request, reply)

    def give_up(self, waiter: Waiter, code: str, message: str) -> None:
        sock = waiter.sock
        sock.queues[waiter.mask].remove(waiter)
        self.finish(waiter, failed(code, message, waiter.progress))
        self.serve(sock, waiter.mask, 0)  # the next one may be content with less
        self.rewatch(sock)

    def drop(self, sock: Sock) -> None:
        """Takes a socket out of every table; whoever waited for it is told."""
        waiters = [waiter for queue in sock.queues.values() for waiter in queue]
        for queue in sock.queues.values():
            queue.clear()
        self.rewatch(sock)
        del self.socks[sock.number]
        for waiter in waiters:
            self.finish(waiter, failed("cancelled", f"socket {sock.number} was closed", waiter.progress))

    def answer_closed(self, events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self.bell.recv(CHUNK)
        while self.closed:
            number, reply = self.closed.popleft()
            self.reply(number, reply or {})

    # Operations

    @operation
    def hello(self, number: int = 0) -> dict[str, Any]:
        system = os.uname()
        return {
            "name": system.sysname.lower(),
            "version": system.release,
            "agent": AGENT,
            "protocol": PROTOCOL,
            "capabilities": self.capabilities,
        }

    @operation
    def listen(
        self, number: int, *, family: int, address: str, port: int, backlog: int = 16, options: Options = ()
    ) -> dict[str, Any]:
        local = endpoint(family, address, port)
        sock = new_socket(family, options, reuse=True)
        with closed_on_error(sock):
            sock.bind(local)
            sock.listen(backlog)
            added = self.add(sock, family)
        added.listening = True
        return named(added, sock.getsockname())

    @operation
    def accept(self, number: int, *, sock: Sock, timeout: float | None = None) -> None:
        """The ok's address and port are the remote ones, as accept(2) gives them."""

        def step(events: int) -> dict[str, Any] | None:
            try:
                connection, remote = sock.socket.accept()
            except BlockingIOError:
                return None
            connection.setblocking(False)
            added = self.add(connection, sock.family)
            added.opened = True
            return named(added, remote)

        self.wait(number, sock, READ, step, timeout=timeout)

    @operation
    def connect(
        self,
        number: int,
        *,
        family: int,
        remote_address: str,
        remote_port: int,
        address: str = "",
        port: int = 0,
        reuse: bool = False,
        options: Options = (),
    ) -> dict[str, Any]:
        local, remote = endpoint(family, address, port), endpoint(family, remote_address, remote_port, "remote_address")
        sock = new_socket(family, options, reuse)
        with closed_on_error(sock):
            if address or port:
                sock.bind(local)
            code = sock.connect_ex(remote)
            if code not in (0, errno.EINPROGRESS):
                raise_errno(code)
            added = self.add(sock, family)
        if code == 0:
            added.opened = True
        else:  # watched from now on: asked later, a connection that was reset looks like one that was refused
            self.wait(None, added, WRITE, lambda events: note_opened(added) if events else None)
        return named(added, sock.getsockname())

    @operation
    def connected(self, number: int, *, sock: Sock, timeout: float | None = None) -> None:
        def step(events: int) -> dict[str, Any] | None:
            if sock.listening:
                raise_errno(errno.ENOTCONN)
            if sock.opened is False:
                raise_errno(sock.failure)
            return {} if sock.opened else None

        self.wait(number, sock, WRITE, step, timeout=timeout)

    @operation
    def send(
        self, number: int, *, sock: Sock, data: bytes, urgent: bool = False, wait: bool = True
    ) -> dict[str, Any] | None:
        """Answered when the socket's buffer has taken all; `wait` false: at once, with what it took."""
        progress, flags = {"sent": 0}, socket.MSG_OOB if urgent else 0

        def step(events: int) -> dict[str, Any] | None:
            if sock.opened is False:
                raise_errno(sock.failure)
            try:
                while progress["sent"] < len(data):
                    progress["sent"] += sock.socket.send(memoryview(data)[progress["sent"] :], flags)
            except BlockingIOError:
                return None
            except OSError as error:
                note_end(sock, error.errno)
                raise
            return dict(progress)

        if wait:
            self.wait(number, sock, WRITE, step, progress=progress)
            return None
        if not sock.queues[WRITE]:  # what waits goes first
            step(0)
        return progress

    @operation
    def receive(
        self,
        number: int,
        *,
        sock: Sock,
        count: int = 1,
        maximum: int = 65536,
        timeout: float | None = None,
        urgent: bool = False,
    ) -> dict[str, Any] | None:
        """Answered when `count` bytes are there, at most `maximum`, or the end of file; count 0: at once.

        Bytes that came before an error are delivered first; the next receive gets the error.
        """
        if maximum < count:
            raise bad("maximum", f"at least count ({count})", maximum)

        def step(events: int) -> dict[str, Any] | None:
            return take_urgent(sock, count, maximum, events) if urgent else take(sock, count, maximum)

        if count == 0:
            return step(0)
        self.wait(number, sock, URGENT if urgent else READ, step, timeout=timeout)
        return None

    @operation
    def at_mark(self, number: int, *, sock: Sock) -> dict[str, Any]:
        """Return whether the next byte to read is the one that urgent data ends with (SIOCATMARK)."""
        mark = fcntl.ioctl(sock.socket, SIOCATMARK, bytes(4))
        return {"at_mark": struct.unpack("=i", mark) != (0,)}

    @operation
    def shutdown(self, number: int, *, sock: Sock, how: str) -> dict[str, Any]:
        sock.socket.shutdown(HOW[how])
        return {}

    @operation
    def close(self, number: int, *, sock: Sock) -> dict[str, Any] | None:
        self.drop(sock)
        if not lingers(sock.socket):
            return close_now(sock.socket)
        threading.Thread(target=self.close_slowly, args=(number, sock.socket), daemon=True).start()
        return None

    def close_slowly(self, number: int, sock: socket.socket) -> None:
        """In a thread: closing with SO_LINGER blocks, whatever O_NONBLOCK says."""
        self.closed.append((number, outcome(close_now, sock)))
        self.ringer.send(b"!")

    @operation
    def abort(self, number: int, *, sock: Sock) -> dict[str, Any]:
        sock.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.pack(1, 0))
        self.drop(sock)
        return close_now(sock.socket)

    @operation
    def option_set(self, number: int, *, sock: Sock, level: str, name: str, value: int | bytes) -> dict[str, Any]:
        sock.socket.setsockopt(*option_number(level, name), value)
        return {}

    @operation
    def option_get(self, number: int, *, sock: Sock, level: str, name: str) -> dict[str, Any]:
        """Return ``value``: an int, [onoff, seconds] for SO_LINGER, or {"bytes": base64} for TCP_INFO."""
        numbers = option_number(level, name)
        if name == "TCP_INFO":
            return {"value": {"bytes": sock.socket.getsockopt(*numbers, 512)}}
        if name == "SO_LINGER":
            return {"value": LINGER.unpack(sock.socket.getsockopt(*numbers, LINGER.size))}
        return {"value": pending_error(sock) if name == "SO_ERROR" else sock.socket.getsockopt(*numbers)}

    @operation
    def error(self, number: int, *, sock: Sock) -> dict[str, Any]:
        """Return what ended the connection (remembered), or an error that it survived (reported once)."""
        code = pending_error(sock) or sock.failure
        return {"code": errno_name(code) if code else None}

    @operation
    def state(
        self, number: int, *, family: int, address: str, port: int, remote_address: str = "", remote_port: int = 0
    ) -> dict[str, Any]:
        """The kernel's own word about a four-tuple, whoever has it. Remote port 0 asks for the listener.

        ``expires_s`` is when ``timer`` runs out. Of a LISTEN the queues are connections not yet accepted, and the
        backlog. LISTEN for a whole four-tuple: it has no connection, a segment for it would go to the listener.
        """
        _, local, interface = packed(family, address, "address")
        _, remote, scope = packed(family, remote_address, "remote_address")
        wanted = FourTuple(family, local, port, remote, remote_port, interface or scope)
        if self.netlink:
            with contextlib.suppress(OSError):  # refused, or its buffer is full: /proc knows as well
                return ask_netlink(self.netlink, wanted)
        return ask_proc(wanted)

    @operation
    def sysctl_get(self, number: int, *, name: str) -> dict[str, Any]:
        return {"value": read_whole(sysctl_path(name)).strip()}

    @operation
    def sysctl_set(self, number: int, *, name: str, value: str) -> dict[str, Any]:
        fd = os.open(sysctl_path(name), os.O_WRONLY)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
        return {}

    @operation
    def sockets(self, number: int) -> dict[str, Any]:
        return {"count": len(self.socks) + len(self.opened), "pending": len(self.pending)}

    @operation
    def cancel(self, number: int, *, request: int) -> dict[str, Any]:
        """False: it was answered before, or never asked."""
        waiter = self.pending.get(request)
        if waiter:
            self.give_up(waiter, "cancelled", "cancelled by request")
        return {"cancelled": bool(waiter)}


def new_socket(family: int, options: Options, reuse: bool) -> socket.socket:
    sock = socket.socket(FAMILIES[family], socket.SOCK_STREAM)
    with closed_on_error(sock):
        sock.setblocking(False)
        if family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # both families may have one port
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for option in options:
            sock.setsockopt(*option)
    return sock


@contextlib.contextmanager
def closed_on_error(sock: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        sock.close()
        raise


def close_now(sock: socket.socket) -> dict[str, Any]:
    sock.close()
    return {}


def named(sock: Sock, name: tuple[Any, ...]) -> dict[str, Any]:
    return {"socket": sock.number, "address": name[0], "port": name[1]}


def lingers(sock: socket.socket) -> bool:
    """Return True if close would wait for the peer."""
    onoff, wait = LINGER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.size))
    return bool(onoff and wait)


def note_opened(sock: Sock) -> dict[str, Any]:
    """A connect is over: how it ended. Its error may have been told to another call before."""
    sock.opened = not (pending_error(sock) or sock.failure)
    return {}


def pending_error(sock: Sock) -> int:
    """SO_ERROR, which the kernel clears as it tells it: noted, where it ended the connection."""
    code = sock.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code and not sock.failure and ended(sock.socket):
        sock.failure = code
    return code


def note_end(sock: Sock, code: int | None) -> None:
    """Remembers the errno that ended a connection. As a call's, ENOTCONN and EPIPE say that it has ended, not why."""
    if code and code not in (errno.ENOTCONN, errno.EPIPE) and not sock.failure and ended(sock.socket):
        sock.failure = code


def ended(sock: socket.socket) -> bool:
    """Return True if the socket is in CLOSED or SYN-SENT: it has no peer."""
    try:
        sock.getpeername()
    except OSError:
        return True
    return False


def take(sock: Sock, count: int, maximum: int) -> dict[str, Any] | None:
    """Read up to `maximum` bytes: return the ok of a receive, or None while there are fewer than `count`."""
    eof, failure = False, 0
    while len(sock.unread) < maximum:
        chunk, eof, failure = pull(sock, maximum - len(sock.unread))
        sock.unread += chunk
        if not chunk:
            break
    held = min(len(sock.unread), maximum)
    if held < count and not eof and not failure:
        return None
    if failure and not held:
        raise_errno(failure)
    ok: dict[str, Any] = {"data": bytes(sock.unread[:maximum]), "eof": eof}
    del sock.unread[:maximum]
    return ok


def pull(sock: Sock, size: int) -> tuple[bytes, bool, int]:
    """One read: the bytes, whether this is the end of file, the errno of a failure."""
    try:
        chunk = sock.socket.recv(min(size, CHUNK))
    except BlockingIOError:
        return b"", False, 0
    except OSError as error:
        note_end(sock, error.errno)
        return b"", False, sock.failure or error.errno or errno.EIO
    if chunk:
        return chunk, False, 0
    return b"", not sock.failure, sock.failure  # once its error was told, a reset connection reads as ended


def take_urgent(sock: Sock, count: int, maximum: int, events: int) -> dict[str, Any] | None:
    """Reads out of band: as `take`."""
    if sock.socket.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE):
        raise_errno(errno.EINVAL)  # urgent data comes with the rest: waiting for it would never end
    try:
        chunk = sock.socket.recv(min(maximum, CHUNK), socket.MSG_OOB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EINVAL):  # not there yet; none announced
            note_end(sock, error.errno)
            raise
        if events & DEAD:  # none will come
            code = pending_error(sock) or sock.failure
            if code:
                raise_errno(code)
            return {"data": b"", "eof": True}
        return {"data": b"", "eof": False} if count == 0 else None
    return {"data": chunk, "eof": not chunk}


def open_netlink() -> socket.socket | None:
    """A socket that the kernel answers about TCP sockets, or None. Asked about no state, it must just say done."""
    try:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
    except (OSError, AttributeError):
        return None
    try:
        netlink.setblocking(False)
        body = DIAG_REQUEST.pack(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, 0, b"", b"", b"", 0, 0, 0)
        if exchange(netlink, NLM_F_DUMP, body)[0] == NLMSG_DONE:
            return netlink
    except OSError:
        pass
    netlink.close()
    return None


def exchange(netlink: socket.socket, flags: int, body: bytes) -> tuple[int, bytes]:
    """Asks one question: type and payload of the first message of the answer, which is there when sendto returns."""
    sequence = next(SEQUENCE)
    header = NLMSGHDR.pack(NLMSGHDR.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | flags, sequence, 0)
    netlink.sendto(header + body, (0, 0))
    while True:
        answer = netlink.recv(8192)
        _, kind, _, answered, _ = NLMSGHDR.unpack_from(answer)
        if answered == sequence:
            return kind, answer[NLMSGHDR.size :]


class FourTuple(NamedTuple):
    family: int
    local: bytes
    port: int
    remote: bytes
    remote_port: int
    interface: int


def ask_netlink(netlink: socket.socket, wanted: FourTuple) -> dict[str, Any]:
    """One exact lookup, no dump. OSError where the kernel refuses."""
    ports, cookie = struct.pack(">HH", wanted.port, wanted.remote_port), (NO_COOKIE, NO_COOKIE)
    sockid = ports, wanted.local, wanted.remote, wanted.interface, *cookie
    question = DIAG_REQUEST.pack(FAMILIES[wanted.family], socket.IPPROTO_TCP, 0, 0, EVERY_STATE, *sockid)
    kind, body = exchange(netlink, 0, question)
    if kind == NLMSG_ERROR:
        code = -struct.unpack_from("=i", body)[0]
        if code != errno.ENOENT:
            raise_errno(code)
        return dict(NOBODY)
    state, timer, retransmits, expires_ms, receive, send, _, inode = DIAG_MESSAGE.unpack_from(body)
    return about(state, (timer, expires_ms / 1000), retransmits, (receive, send), inode)


def ask_proc(wanted: FourTuple) -> dict[str, Any]:
    """Reads the same from /proc/net/tcp or tcp6; a listener answers where the four-tuple is not there."""
    here, there = hexadecimal(wanted.local, wanted.port), hexadecimal(wanted.remote, wanted.remote_port)
    listeners = here, hexadecimal(bytes(len(wanted.local)), wanted.port)
    answer = dict(NOBODY)
    for line in read_whole("/proc/net/tcp" if wanted.family == 4 else "/proc/net/tcp6").splitlines()[1:]:
        _, local, remote, state, queues, timers, retransmits, _, _, inode, *_ = line.split()
        exact = (local, remote) == (here, there)
        if exact or (int(state, 16) == 10 and local in listeners):
            send, receive = (int(size, 16) for size in queues.split(":"))
            timer, ticks = (int(part, 16) for part in timers.split(":"))
            expiry = timer, ticks / os.sysconf("SC_CLK_TCK")
            answer = about(int(state, 16), expiry, int(retransmits, 16), (receive, send), int(inode))
        if exact:
            break
    return answer


def hexadecimal(address: bytes, port: int) -> str:
    """An endpoint as /proc/net/tcp prints it: words of the address as this machine's numbers."""
    words = struct.unpack(f"={len(address) // 4}I", address)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"


def about(
    state: int, timer: tuple[int, float], retransmits: int, queues: tuple[int, int], inode: int
) -> dict[str, Any]:
    return {
        "state": STATES.get(state, f"kernel-state-{state}"),
        "retransmits": retransmits,
        "timer": TIMERS.get(timer[0], f"kernel-timer-{timer[0]}"),
        "expires_s": timer[1] if timer[0] else None,
        "recv_queue": queues[0],
        "send_queue": queues[1],
        "inode": inode,
    }


NOBODY = about(7, (0, 0.0), 0, (0, 0), 0)  # CLOSED: the kernel knows no such four-tuple


def sysctl_path(name: str) -> str:
    if not SYSCTL.fullmatch(name):
        raise bad("name", "a setting below net.", name)
    return "/proc/sys/" + name.replace(".", "/")


def read_whole(path: str) -> str:
    fd = os.open(path, os.O_RDONLY)
    try:
        chunks = list(iter(lambda: os.read(fd, CHUNK), b""))
    finally:
        os.close(fd)
    return b"".join(chunks).decode("utf-8", "replace")


def capabilities(netlink: bool) -> list[str]:
    """Try what this host can do, and return its capabilities."""
    settings = writable_settings()
    present = {
        **dict.fromkeys(APPLICATION, True),
        "state": netlink or os.access("/proc/net/tcp", os.R_OK),
        "ipv4": takes(4),
        "ipv6": takes(6),
        "sysctl": any(name.startswith("net.ipv4.tcp_") for name in settings),
        "options:SO_LINGER": takes(4, "socket", "SO_LINGER", LINGER.pack(1, 0)),
        "keepalive": takes(4, "socket", "SO_KEEPALIVE", 1) and takes(4, "tcp", "TCP_KEEPIDLE", 60),
        "options:TCP_USER_TIMEOUT": takes(4, "tcp", "TCP_USER_TIMEOUT", 1000),
        "half-close": hasattr(socket, "SHUT_WR"),
        "urgent": hasattr(socket, "MSG_OOB"),
        "urgent-mark": hasattr(socket, "MSG_OOB") and sys.platform == "linux",
        "options:TCP_NODELAY": takes(4, "tcp", "TCP_NODELAY", 1),
        "options:TCP_MAXSEG": takes(4, "tcp", "TCP_MAXSEG", 536),
        "options:SO_RCVBUF": takes(4, "socket", "SO_RCVBUF", 4096),
        "options:IP_TOS": takes(4, "ip", "IP_TOS", 0),
        "options:IP_TTL": takes(4, "ip", "IP_TTL", 64),
        "options:IP_OPTIONS": takes(4, "ip", "IP_OPTIONS", b"\1\1\1\0"),
        "options:IP_RECVERR": takes(4, "ip", "IP_RECVERR", 1),
        **{name: is_on(setting) for name, setting in SWITCHES.items()},
    }
    return [name for name, there in present.items() if there] + FURTHER + [f"sysctl:{name}" for name in settings]


def writable_settings() -> list[str]:
    """The settings of the host that can be written, by name: a kernel has not all, a namespace not all of its kernel's."""
    names = []
    for group in ("core", "ipv4", "ipv4.conf.all", "ipv4.route", "ipv6", "ipv6.conf.all", "ipv6.route"):
        with contextlib.suppress(OSError), os.scandir("/proc/sys/net/" + group.replace(".", "/")) as entries:
            names += [f"net.{group}.{one.name}" for one in entries if one.is_file() and os.access(one.path, os.W_OK)]
    return sorted(names)


def is_on(setting: str) -> bool:
    """Return True if Linux has the setting, and not at 0."""
    try:
        return read_whole(sysctl_path(f"net.ipv4.{setting}")).strip() != "0"
    except OSError:
        return False


def takes(family: int, level: str = "", name: str = "", value: int | bytes = 0) -> bool:
    try:
        new_socket(family, [(*option_number(level, name), value)] if name else [], reuse=False).close()
    except (OSError, Refusal):
        return False
    return True


def descriptors() -> tuple[int, int]:
    """Return the descriptors that requests come from and replies go to."""
    wanted = os.environ.get("TCP_CONFORMANCE_AGENT_FD")
    if wanted is None:
        return 0, 1
    numbers = re.fullmatch(r"(\d+),(\d+)", wanted)
    if not numbers:
        sys.exit(f"TCP_CONFORMANCE_AGENT_FD: R,W is needed (two file descriptors), not {wanted!r}")
    return int(numbers[1]), int(numbers[2])


def main() -> None:
    """Serves one run, and leaves the descriptors as they were: a terminal may be one of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the run's: it closes our input when it is done
    with contextlib.suppress(OSError, ValueError):
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    for part in sys.argv[1:]:  # further operations, each a file that runs in the names of this one
        exec(compile(read_whole(part), part, "exec"), globals())
    reader, writer = descriptors()
    blocking = {fd: os.get_blocking(fd) for fd in (reader, writer)}
    for fd in blocking:
        os.set_blocking(fd, False)
    # Whoever read this program from standard input may have read on into the first requests.
    already = getattr(sys.stdin, "buffer", None) if reader == 0 else None
    first = already.peek() if already else b""
    try:
        Agent(reader, writer, first).run()
    finally:
        for fd, was in blocking.items():
            os.set_blocking(fd, was)


if __name__ == "__main__":
    main()
