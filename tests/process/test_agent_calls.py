"""Single calls of the agent: arguments as memory, results and errno, threads for what blocks, descriptors of its own."""

from __future__ import annotations

import base64
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conformance.target import AGENT, agent
from conformance.target.protocol import check_answer
from tests.process.test_agent import Running

pytestmark = pytest.mark.skipif(sys.platform != "linux" or sys.maxsize < 1 << 32, reason="needs a 64-bit Linux")
PARTS = [str(Path(agent.__file__).with_name(part)) for part in AGENT]
LOOPBACK = struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", 0, socket.inet_aton("127.0.0.1"))


@pytest.fixture
def calls() -> Iterator[Running]:
    process = Running(command=[sys.executable, "-I", "-S", *PARTS])
    yield process
    process.discard()


def octets(data: bytes) -> str:
    return base64.b64encode(data).decode()


def memory(data: bytes = b"", size: int = 0, **members: Any) -> dict[str, Any]:
    return {"bytes": octets(data), "size": size, **members}


def made(calls: Running, name: str, *arguments: Any) -> dict[str, Any]:
    return check_answer("call", calls.ask("call", name=name, arguments=list(arguments)))


def pair(calls: Running) -> tuple[int, int]:
    """A connection over loopback, made call by call."""
    listener = made(calls, "socket", socket.AF_INET, socket.SOCK_STREAM, 0)["result"]
    assert made(calls, "bind", listener, memory(LOOPBACK), 16)["result"] == 0
    assert made(calls, "listen", listener, 1)["result"] == 0
    reply = made(calls, "getsockname", listener, memory(size=16, back=16), memory(struct.pack("=I", 16), back=4))
    name, length = map(base64.b64decode, reply["memory"])
    assert struct.unpack("=I", length) == (16,)
    ours = made(calls, "socket", socket.AF_INET, socket.SOCK_STREAM, 0)["result"]
    assert made(calls, "connect", ours, memory(name), 16)["result"] == 0
    theirs = made(calls, "accept", listener, None, None)["result"]
    made(calls, "close", listener)
    return ours, theirs


def test_it_names_the_capability(calls: Running) -> None:
    assert "calls" in calls.hello["capabilities"]


def test_memory_goes_in_and_comes_back(calls: Running) -> None:
    ours, theirs = pair(calls)
    vector = {"size": 16, "bytes": octets(bytes(8) + struct.pack("=Q", 4)), "pointers": [[0, memory(b"data")]]}
    message = {"size": 56, "bytes": octets(bytes(24) + struct.pack("=Q", 1)), "pointers": [[16, vector]]}
    assert made(calls, "sendmsg", ours, message, 0)["result"] == 4
    reply = made(calls, "recv", theirs, memory(size=10, back=4), 10, 0)
    assert (reply["result"], base64.b64decode(reply["memory"][0])) == (4, b"data")


def test_a_call_that_fails_tells_its_errno(calls: Running) -> None:
    ours, _ = pair(calls)
    assert made(calls, "recv", ours, memory(size=1), 1, socket.MSG_DONTWAIT)["code"] == "EAGAIN"
    assert made(calls, "write", ours, None, 1)["code"] == "EFAULT"
    assert made(calls, "read", -1, None, 1)["code"] == "EBADF"


def test_a_call_that_blocks_holds_up_nothing_and_tells_both_times(calls: Running) -> None:
    ours, theirs = pair(calls)
    reading = calls.start("call", name="read", arguments=[theirs, memory(size=9, back=9), 9])
    time.sleep(0.1)
    assert calls.unanswered(reading)
    assert made(calls, "write", ours, memory(b"x"), 1)["result"] == 1
    reply = calls.reply(reading)
    assert reply["ok"]["result"] == 1
    assert 0.09e9 < reply["at_ns"] - reply["ok"]["entered_ns"] < 2e9


def test_descriptors_of_others_are_refused(calls: Running) -> None:
    for number in (0, 1, 2):
        assert calls.refused("call", name="close", arguments=[number]) == "no-such-socket"
    ours, _ = pair(calls)
    assert calls.ask("sockets")["count"] == 2
    made(calls, "close", ours)
    assert calls.refused("call", name="close", arguments=[ours]) == "no-such-socket"
    assert calls.ask("sockets")["count"] == 1


def test_files_are_opened_for_reading_only(calls: Running, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    name = memory(os.fsencode(path) + b"\0")
    assert calls.refused("call", name="open", arguments=[name, os.O_RDWR]) == "bad-request"
    opened = made(calls, "open", name, os.O_RDONLY)["result"]
    ours, theirs = pair(calls)
    assert made(calls, "sendfile", ours, opened, None, 5)["result"] == 5
    assert base64.b64decode(made(calls, "read", theirs, memory(size=9, back=5), 9)["memory"][0]) == b"12345"


@pytest.mark.parametrize(
    "arguments",
    [
        [1.5],
        ["text"],
        [{"size": -1}],
        [{"bits": 1}],
        [{"bytes": "%"}],
        [1 << 64],
        [{"size": 4, "pointers": [[0, {}]]}],
        [0] * 7,
    ],
)
def test_bad_arguments_are_refused(calls: Running, arguments: list[Any]) -> None:
    assert calls.refused("call", name="poll", arguments=arguments) == "bad-request"


def test_no_function_beyond_the_list_is_called(calls: Running) -> None:
    assert calls.refused("call", name="system", arguments=[memory(b"true\0")]) == "bad-request"
