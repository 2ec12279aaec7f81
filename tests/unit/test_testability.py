"""The testability protocol without a host: messages, and what a client makes of an upper tester's ways."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.target import AgentFault, AppError
from conformance.target.testability import client, messages
from conformance.target.testability.client import UpperTester
from conformance.target.testability.messages import Garbled, Group, Kind, Message, Parameters, Tcp, decode

Reply = Callable[[Message], list[Message]]


@given(
    group=st.integers(0, 127),
    primitive=st.integers(0, 255),
    kind=st.sampled_from(Kind),
    data=st.binary(max_size=300),
    result=st.integers(0, 255),
    session=st.integers(0, 2**32 - 1),
)
def test_message_comes_back_as_it_was(**members: Any) -> None:
    message = Message(**members)
    assert decode(message.encode()) == message


@given(st.binary(max_size=64))
def test_any_octets_are_a_message_or_garbled(octets: bytes) -> None:
    try:
        message = decode(octets)
    except Garbled:
        return
    given = Parameters(message.data)
    try:
        given.number()
        given.text()
        given.address()
    except Garbled:
        pass


def test_octets_are_those_of_the_specification() -> None:
    """SEND_DATA of "hi" on socket 3: service 0x0105, group 2, primitive 2, and 8 octets of header behind the length."""
    data = messages.number(3) + messages.number(2) + messages.number(0, 1) + messages.text(b"hi")
    sent = Message(Group.TCP, Tcp.SEND_DATA, Kind.REQUEST, data)
    assert sent.encode() == bytes.fromhex("01050202 00000011 00000000 01010000 00030002 00000268 69")
    event = Message(Group.TCP, Tcp.LISTEN_AND_ACCEPT, Kind.EVENT)
    assert event.encode()[2:4] == b"\x82\x04"


class Scripted:
    """An upper tester that answers as a function says; `lost` is how many of its first answers get lost."""

    longest = 1400

    def __init__(self, reply: Reply, *, lost: int = 0, loses: bool = True) -> None:
        self._reply, self._lost, self.loses = reply, lost, loses
        self.asked: list[Message] = []

    async def open(self, take: Callable[[bytes], None], fail: Callable[[str], None]) -> None:
        self._take, self.fail = take, fail

    def send(self, message: bytes) -> None:
        request = decode(message)
        self.asked.append(request)
        if self._lost:
            self._lost -= 1
            return
        for answer in self._reply(request):
            asyncio.get_running_loop().call_soon(self._take, answer.encode())

    def close(self) -> None:
        """Nothing to let go of."""


def answer(request: Message, data: bytes = b"", result: int = 0, *, session: bool = True) -> Message:
    number = request.session if session else 0
    return Message(request.group, request.primitive, Kind.RESPONSE, data, result, number)


def usual(request: Message, *, session: bool = True) -> list[Message]:
    data = {
        (0, 1): bytes.fromhex("0001 0002 0000"),
        (2, Tcp.CREATE_AND_BIND): messages.number(5),
        (2, Tcp.RECEIVE_AND_FORWARD): messages.number(0),
    }.get((request.group, request.primitive), b"")
    return [answer(request, data, session=session)]


def run(transport: Scripted, work: Callable[[UpperTester], Awaitable[Any]], **options: Any) -> Any:
    async def main() -> Any:
        tester = UpperTester(transport, name="ecu", **options)
        await tester.open()
        try:
            return await work(tester)
        finally:
            await tester.close()

    return asyncio.run(main())


async def listen(tester: UpperTester) -> int:
    given: dict[str, Any] = {"family": 4, "address": "10.0.0.1", "port": 80, "backlog": 1, "options": []}
    return int((await tester.call("listen", **given))["socket"])


def test_version_and_capabilities_follow_from_its_answers() -> None:
    async def seen(tester: UpperTester) -> tuple[str, frozenset[str]]:
        return tester.version, tester.capabilities

    version, capabilities = run(Scripted(usual), seen, features=("ipv4", "sack"))
    assert version == "1.2.0"
    assert {"listen", "accept", "shutdown", "half-close", "open-port", "ipv4", "sack", "app"} <= capabilities
    assert not {"state", "error", "accept-queue", "urgent"} & capabilities


def test_without_the_extension_there_is_no_shutdown() -> None:
    def reply(request: Message) -> list[Message]:
        without = (request.group, request.primitive) == (Group.TCP, Tcp.SHUTDOWN)
        return [answer(request, result=messages.NOT_FOUND)] if without else usual(request)

    async def seen(tester: UpperTester) -> frozenset[str]:
        return tester.capabilities

    assert not {"shutdown", "half-close"} & run(Scripted(reply), seen)


@pytest.mark.parametrize("session", [True, False])
def test_lost_answer_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, session: bool) -> None:
    monkeypatch.setattr(client, "_AGAIN_S", 0.01)
    transport = Scripted(lambda request: usual(request, session=session), lost=1)
    assert run(transport, listen) == 5
    assert [one.primitive for one in transport.asked[:2]] == [1, 1]
    assert transport.asked[0] == transport.asked[1]


def test_text_is_never_sent_twice_to_a_tester_that_does_not_tell_repetitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_AGAIN_S", 0.01)
    monkeypatch.setattr(client, "ANSWER_S", 0.1)

    def reply(request: Message) -> list[Message]:
        return [] if request.primitive == Tcp.SEND_DATA and request.group == 2 else usual(request, session=False)

    transport = Scripted(reply)
    with pytest.raises(AgentFault, match=r"^ecu: the upper tester did not answer SEND_DATA within "):
        run(transport, lambda tester: tester.call("send", socket=5, data="aGk=", urgent=False, wait=True))
    assert sum((one.group, one.primitive) == (2, Tcp.SEND_DATA) for one in transport.asked) == 1


def test_connections_and_text_wait_until_the_case_asks() -> None:
    def reply(request: Message) -> list[Message]:
        answers = usual(request)
        if (request.group, request.primitive) == (2, Tcp.LISTEN_AND_ACCEPT):
            where = messages.number(33000) + messages.address("10.0.0.2")
            accepted = messages.number(5) + messages.number(6) + where
            answers.append(Message(2, Tcp.LISTEN_AND_ACCEPT, Kind.EVENT, accepted))
        if (request.group, request.primitive) == (2, Tcp.RECEIVE_AND_FORWARD):
            most = Parameters(request.data[4:]).number()
            for text in (b"text"[:most], b"")[: 1 if most < 5 else 2]:
                data = messages.number(len(text)) + messages.text(text)
                answers.append(Message(2, Tcp.RECEIVE_AND_FORWARD, Kind.EVENT, data))
        return answers

    async def work(tester: UpperTester) -> tuple[dict[str, Any], bytes, bytes, bool]:
        accepted = await tester.call("accept", wait_s=1, socket=await listen(tester))
        four = await tester.call("receive", wait_s=1, socket=6, count=4)
        more = await tester.call("receive", wait_s=1, socket=6, count=9)
        return accepted, base64.b64decode(four["data"]), base64.b64decode(more["data"]), more["eof"]

    accepted, four, more, ended = run(Scripted(reply), work, tells_end=True)
    assert (accepted["socket"], accepted["port"], accepted["address"]) == (6, 33000, "10.0.0.2")
    assert (four, more, ended) == (b"text", b"text", True)


@pytest.mark.parametrize(("tells_end", "code"), [(True, "timeout"), (False, "unknown-op")])
def test_end_that_is_not_told_is_a_call_that_is_lacking(tells_end: bool, code: str) -> None:
    async def work(tester: UpperTester) -> None:
        await tester.call("receive", wait_s=0.05, socket=await listen(tester), count=1)

    with pytest.raises(AppError) as raised:
        run(Scripted(usual), work, tells_end=tells_end)
    assert raised.value.code == code


def test_connect_that_blocks_is_begun_and_its_outcome_waited_for() -> None:
    def reply(request: Message) -> list[Message]:
        blocks = (request.group, request.primitive) == (2, Tcp.CONNECT)
        return [] if blocks else usual(request)

    async def work(tester: UpperTester) -> str:
        given: dict[str, Any] = {"family": 4, "address": "10.0.0.1", "remote_address": "10.0.0.2", "remote_port": 9}
        number = (await tester.call("connect", **given))["socket"]
        request = next(one for one in transport.asked if (one.group, one.primitive) == (2, Tcp.CONNECT))
        transport._take(answer(request, result=0xE2).encode())
        try:
            await tester.call("connected", wait_s=1, socket=number)
        except AppError as error:
            return error.code
        return ""

    transport = Scripted(reply)
    assert run(transport, work) == "ECONNREFUSED"


@pytest.mark.parametrize(
    ("octets", "line"),
    [
        (b"\1\5", "a message has 16 octets at least, this one 2"),
        (Message(2, 1, Kind.RESPONSE).encode()[:-1], "a message has 16 octets at least, this one 15"),
        (Message(2, 1, Kind.RESPONSE).encode() + b"?", "LEN is 8, and 9 octets follow it"),
        (
            Message(2, Tcp.LISTEN_AND_ACCEPT, Kind.EVENT, b"\0").encode(),
            "2 octets of parameters are due, 1 are there",
        ),
    ],
)
def test_what_is_no_message_is_the_upper_testers_fault(octets: bytes, line: str) -> None:
    async def work(tester: UpperTester) -> None:
        transport._take(octets)
        await tester.call("hello")

    transport = Scripted(usual)
    with pytest.raises(AgentFault, match=f"^ecu: the upper tester breaks the protocol: {line}$"):
        run(transport, work)


@pytest.mark.parametrize(
    ("data", "text"),
    [(bytes(5000), b"\0"), (b"abc" * 1000 + b"ab", b"abc"), (bytes(range(256)) * 8, bytes(range(256)))],
)
def test_long_text_that_repeats_itself_is_sent_once(data: bytes, text: bytes) -> None:
    transport = Scripted(usual)
    run(transport, lambda tester: tester.call("send", socket=5, data=base64.b64encode(data).decode()))
    [sent] = [one for one in transport.asked if (one.group, one.primitive) == (2, Tcp.SEND_DATA)]
    given = Parameters(sent.data)
    assert (given.number(), given.number(), given.number(1), given.text()) == (5, len(data), 0, text)


def test_long_text_that_does_not_fit_is_not_cut() -> None:
    """Its parts would be as many SEND calls, which the stack may send apart."""
    data = base64.b64encode(b"".join(number.to_bytes(2, "big") for number in range(1000))).decode()
    with pytest.raises(AppError) as raised:
        run(Scripted(usual), lambda tester: tester.call("send", socket=5, data=data))
    assert raised.value.code == "unknown-op"
