"""The parts of a script's run that need no target: settings, code, notes."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from pathlib import Path

import pytest

from conformance.packetdrill.code import CodeError, Evaluator
from conformance.packetdrill.information import members
from conformance.packetdrill.lexer import ScriptError
from conformance.packetdrill.notes import notes_of
from conformance.packetdrill.runner import end
from conformance.packetdrill.settings import settings_of
from conformance.packetdrill.syntax import Command


def test_commands_are_read_as_settings(tmp_path: Path) -> None:
    (tmp_path / "defaults.sh").write_text('# comment\nsysctl -q net.ipv4.tcp_rmem="4096 $((2*1024)) 9"\n')
    lines = (
        "./defaults.sh",
        "sysctl -q net.ipv4.tcp_sack=0 net.ipv4.tcp_fack=0 > /dev/null 2>&1",
        "/x/set_sysctls.py /proc/sys/net/ipv4/tcp_ecn=0x2",
    )
    settings = settings_of(Command("\n".join(lines)), tmp_path)
    assert settings.values == {
        "net.ipv4.tcp_rmem": "4096 2048 9",
        "net.ipv4.tcp_sack": "0",
        "net.ipv4.tcp_ecn": "2",
    }
    assert settings.rest == ()


@pytest.mark.parametrize("line", ["ip route add x", "sysctl net.ipv4.tcp_sack", "sysctl 'unclosed", "rm -rf /"])
def test_a_command_that_is_no_setting_is_left_over(tmp_path: Path, line: str) -> None:
    assert settings_of(Command(line), tmp_path).rest == (line,)


def test_information_has_the_kernels_places() -> None:
    values = members(bytes((1, 0, 0, 0, 0, 3, 0x87, 1)) + struct.pack("=II", 201000, 40000))
    assert values["tcpi_state"] == 1
    assert (values["tcpi_snd_wscale"], values["tcpi_rcv_wscale"]) == (7, 8)
    assert values["tcpi_rto"] == 201000
    assert "tcpi_snd_cwnd" not in values


def test_an_assertion_holds_or_names_the_member() -> None:
    evaluator = Evaluator()
    known = {"tcpi_snd_cwnd": 10}
    assert evaluator.check("saved = tcpi_snd_cwnd\nassert tcpi_snd_cwnd == 10 and 9 < saved <= 10", known) == ""
    assert "tcpi_snd_cwnd = 11" in evaluator.check("assert tcpi_snd_cwnd == saved", {"tcpi_snd_cwnd": 11})


@pytest.mark.parametrize(
    "code",
    [
        "import os",
        "assert __import__('os')",
        "assert (1).__class__",
        "assert [x for x in (1,)]",
        "assert 2 ** 9",
        "x = 1 << 300",
        "assert tcpi_none",
        "assert 'a' * 9",
        "assert 1 / 0",
        "assert (",
    ],
)
def test_code_reaches_nothing_else(code: str) -> None:
    with pytest.raises(CodeError):
        Evaluator().check(code, {})


def test_notes_are_comments() -> None:
    notes = notes_of("// A title.\n//: verifies RFC9293:MUST-13\n//: needs urgent, half-close\n//: nothing more\n", "x")
    assert notes.title == "A title."
    assert notes.verifies == ("RFC9293:MUST-13",)
    assert notes.needs == ("urgent", "half-close")
    assert notes.nothing_more


def test_an_unknown_note_is_named_with_its_line() -> None:
    with pytest.raises(ScriptError, match=r"x\.pkt:2:4: no note is 'sometimes'"):
        notes_of("\n//: sometimes\n", "x.pkt")


def test_a_call_that_returns_while_it_is_cancelled_is_over_before_its_sockets_are_closed() -> None:
    """A reply that is there already goes before the cancellation: what it opened must be known by then."""
    opened = []

    async def call() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        opened.append(4)

    async def close() -> list[int]:
        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        await end(task)
        return list(opened)

    assert asyncio.run(close()) == [4]
