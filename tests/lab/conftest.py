"""Fixtures of the tests of stacks: `stack` is the name of one, from a parameter or a module's own fixture."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from conformance.target.build import StackMissing, stacks
from tests.lab.stack_wire import Wire

# What Go, Cargo and pip say of modules that they can't fetch.
_NO_NETWORK = ("dial tcp", "index.crates.io", "static.crates.io", "NewConnectionError")


@cache
def _built(name: str) -> tuple[tuple[str, ...], str]:
    """The stack's program with its arguments, or why there is none."""
    stack = stacks()[name]
    if stack.missing:
        return (), f"needs {stack.lacks()}"
    try:
        stack.make()
    except StackMissing as missing:
        log = stack.folder / "build.log"
        if log.is_file() and any(word in log.read_text() for word in _NO_NETWORK):
            return (), f"needs the network: {missing}"
        raise
    return stack.program(), ""


@pytest.fixture
def program(stack: str) -> tuple[str, ...]:
    """The stack's program with its arguments; skips where it can't be built, naming what is missing."""
    command, missing = _built(stack)
    if missing:
        pytest.skip(f"{stack}: {missing}")
    return command


@pytest.fixture
def start(program: tuple[str, ...]) -> Iterator[Callable[..., Wire]]:
    """Start the program behind a wire; in the end each has to end with status 0."""
    wires: list[Wire] = []

    def start(kind: socket.SocketKind = socket.SOCK_SEQPACKET, clock: str = "virtual") -> Wire:
        wires.append(Wire(program, kind, clock))
        return wires[-1]

    yield start
    assert [wire.close() for wire in wires] == [0] * len(wires)
