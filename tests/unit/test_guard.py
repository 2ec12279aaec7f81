"""A unit test that starts a process or opens a socket is refused."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (lambda: subprocess.run([sys.executable, "-c", ""], check=True), "starts a process"),
        (lambda: os.system("true"), "starts a process"),
        (os.fork, "starts a process"),
        (lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM), "opens a socket"),
        (lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW), "opens a socket"),
        (lambda: socket.create_connection(("127.0.0.1", 9)), "opens a socket"),
    ],
    ids=["run", "system", "fork", "inet", "packet", "connection"],
)
def test_a_process_or_a_socket_is_refused(attempt: Callable[[], object], reason: str) -> None:
    # The guard's exception is none that `except Exception` would hide.
    with pytest.raises(BaseException, match=reason) as refused:
        attempt()
    assert not isinstance(refused.value, Exception)


def test_an_event_loop_is_allowed() -> None:
    assert asyncio.run(asyncio.sleep(0, result="done")) == "done"
