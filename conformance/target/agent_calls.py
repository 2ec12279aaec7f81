"""The agent's capability `calls`: single calls of the C library, each in a thread of its own, stamped at entry and return.

A second part of agent.py, run in that program's own names: the embedded lab names it on the command line, ssh carries both
through its pipe. A whole number is passed as it is, memory as a pointer; docs/agent-protocol.md has the form.
"""

from __future__ import annotations

import base64
import importlib
import importlib.machinery
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # at run time they are there already
    import ctypes

    from conformance.target.agent import (
        FURTHER,
        KINDS,
        LINE_LIMIT,
        Agent,
        Refusal,
        errno_name,
        failed,
        octets,
        operation,
        whole,
    )

# By function, the places of the arguments that are descriptors: only what was opened here may be used.
FUNCTIONS = {
    **dict.fromkeys(("socket", "open", "pipe", "poll", "epoll_create", "epoll_create1"), ()),
    **dict.fromkeys(("bind", "listen", "accept", "accept4", "connect", "shutdown", "close", "fcntl", "ioctl"), (0,)),
    **dict.fromkeys(("read", "readv", "recv", "recvfrom", "recvmsg", "getsockopt", "getsockname", "getpeername"), (0,)),
    **dict.fromkeys(("write", "writev", "send", "sendto", "sendmsg", "setsockopt", "epoll_wait"), (0,)),
    **dict.fromkeys(("sendfile", "splice"), (0, 1)),
    "splice": (0, 2),
    "epoll_ctl": (0, 2),
}
OPENERS = ("socket", "open", "accept", "accept4", "epoll_create", "epoll_create1")
MOST_ARGUMENTS = 6
DEEPEST = 4  # pointers in memory that a pointer leads to: a message has its vector, which has its buffers
NUMBER = whole(-(1 << 63), (1 << 64) - 1)
SIZE = whole(0, LINE_LIMIT)


class Memory(NamedTuple):
    """Memory that an argument points to, with memory that it points to itself; `back` octets of it are answered."""

    buffer: ctypes.Array[ctypes.c_char]
    back: int
    inner: list[Memory]


def c_types() -> Any:
    """Load it at the first call: it takes as long as the rest of an agent's start, and few need it."""
    return importlib.import_module("ctypes")


def memory(described: Any, depth: int = 0) -> Memory | None:
    """Make ``{"size", "bytes", "pointers": [[place, memory]], "back"}``, of which each may be left out; null is no memory."""
    ctypes = c_types()
    if described is None:
        return None
    if not isinstance(described, dict) or set(described) - {"size", "bytes", "pointers", "back"} or depth > DEEPEST:
        raise ValueError('a whole number, null or {"size", "bytes", "pointers", "back"}')
    content = octets(described.get("bytes", ""))
    size = max(SIZE(described.get("size", 0)), len(content))
    room = Memory(ctypes.create_string_buffer(content, size + 1), min(SIZE(described.get("back", 0)), size), [])
    for place, pointed in described.get("pointers", ()):
        inner = memory(pointed, depth + 1)
        if inner is not None:
            address = ctypes.addressof(inner.buffer)
            ctypes.c_uint64.from_buffer(room.buffer, whole(0, size - 8)(place)).value = address
            room.inner.append(inner)
    return room


def call_arguments(value: Any) -> list[int | Memory | None]:
    if not isinstance(value, list) or len(value) > MOST_ARGUMENTS:
        raise ValueError(f"a list of at most {MOST_ARGUMENTS}")
    return [NUMBER(one) if isinstance(one, int) else memory(one) for one in value]


@operation
def call(self: Agent, number: int, *, name: str, arguments: list[int | Memory | None]) -> None:
    """Answered when the call has returned; the agent's loop never waits for it."""
    places = FUNCTIONS.get(name)
    if places is None:
        raise Refusal("bad-request", f"name: no function {name[:80]} is called here")
    descriptors = [arguments[place] for place in places if place < len(arguments)]
    foreign = [one for one in descriptors if not isinstance(one, int) or (one >= 0 and one not in self.opened)]
    if foreign:
        raise Refusal("no-such-socket", f"{name}: a descriptor that no call opened")
    if name == "open" and arguments[1:] != [os.O_RDONLY]:
        raise Refusal("bad-request", "open: files are opened for reading only")
    if name == "close":
        self.opened.discard(descriptors[0])
    threading.Thread(target=make_call, args=(self, number, name, arguments), daemon=True).start()


def make_call(agent: Agent, number: int, name: str, arguments: list[int | Memory | None]) -> None:
    ctypes = c_types()
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype = ctypes.c_ssize_t if name in WIDE else ctypes.c_int
    passed = [ctypes.byref(one.buffer) if isinstance(one, Memory) else as_register(one) for one in arguments]
    ctypes.set_errno(0)
    entered_ns = time.time_ns()
    result = function(*passed)
    at_ns, code = time.time_ns(), ctypes.get_errno()
    try:
        rooms = [one for argument in arguments if isinstance(argument, Memory) for one in with_inner(argument)]
        back = [base64.b64encode(one.buffer.raw[: one.back]).decode() for one in rooms if one.back]
        if name in OPENERS and result >= 0:
            agent.opened.add(result)
        if name == "pipe" and result == 0:
            pair = rooms[0].buffer.raw
            agent.opened |= {int.from_bytes(pair[place : place + 4], sys.byteorder) for place in (0, 4)}
        ok = {"result": result, "code": errno_name(code) if result == -1 else None, "entered_ns": entered_ns}
        reply = {"ok": {**ok, "memory": back}, "at_ns": at_ns}
    except Exception as error:  # the request must be answered
        reply = failed("agent-fault", f"{type(error).__name__}: {error}")
    agent.closed.append((number, reply))
    agent.ringer.send(b"!")


def as_register(value: int | None) -> Any:
    ctypes = c_types()
    return ctypes.c_void_p(None) if value is None else ctypes.c_uint64(value & (1 << 64) - 1)


def with_inner(room: Memory) -> list[Memory]:
    return [room, *(one for inner in room.inner for one in with_inner(inner))]


WIDE = (
    "read",
    "readv",
    "recv",
    "recvfrom",
    "recvmsg",
    "write",
    "writev",
    "send",
    "sendto",
    "sendmsg",
    "sendfile",
    "splice",
)
KINDS["arguments"] = call_arguments

if (  # layouts are those of 64 bits, the low octet first
    sys.platform == "linux"
    and sys.maxsize > 1 << 32
    and sys.byteorder == "little"
    and ("_ctypes" in sys.builtin_module_names or importlib.machinery.PathFinder.find_spec("_ctypes"))
):
    FURTHER.append("calls")
