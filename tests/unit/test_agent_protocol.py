"""The protocol's one schema: what the client takes, and that the document and the handle on the application follow it."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from conformance.case.app import Application, AppSocket
from conformance.judge import NotApplicable
from conformance.target import AgentFault, capabilities_of
from conformance.target.agent import APPLICATION as HOST_APPLICATION
from conformance.target.agent_client import AgentClient
from conformance.target.build import read_stack
from conformance.target.load import load_target
from conformance.target.protocol import APPLICATION, CALLS, HELLO, MEMBERS, check_answer, check_hello, check_reply

PAGE = (Path(__file__).parent.parent.parent / "docs" / "agent-protocol.md").read_text()
GOOD = {"name": "x", "version": "1", "agent": "1", "protocol": 1, "capabilities": ["listen"]}


def client() -> AgentClient:
    return AgentClient(socket.socketpair()[0], "x")


def rows(first: str) -> dict[str, list[str]]:
    """The rows of the document's table whose first column is headed `first`."""
    lines = PAGE.partition(f"| {first} |")[2].partition("\n\n")[0].splitlines()[2:]
    split = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
    return {re.findall(r"`([^`]+)`", row[0])[0]: row for row in split}


def test_document_has_every_call_as_the_schema_has_it() -> None:
    table = rows("operation")
    assert list(table) == list(CALLS)
    for op, call in CALLS.items():
        _, arguments, answer, capability, _ = table[op]
        assert re.findall(r"`([^`]+)`", arguments) == list(call.arguments)
        assert op == "hello" or re.findall(r"`([^`]+)`", answer) == list(call.answer)
        assert capability == (f"`{call.capability}`" if call.capability else "every agent")
        assert ("*waits*" in table[op][0]) is call.waits


def test_document_has_every_type_and_range() -> None:
    for first, kinds in (("member", MEMBERS), ("of `hello`", HELLO)):
        assert {name: row[1] for name, row in rows(first).items()} == {name: kind.words for name, kind in kinds.items()}


def test_lines_of_the_document_are_of_the_protocol() -> None:
    lines = PAGE.partition("\n## Lines\n")[2].partition("\n\n**Codes**")[0]
    hello, request, reply, refusal = (json.loads(line) for line in re.findall(r"`(\{.*?\})`[ :|]", lines))
    assert check_hello(hello["hello"])
    names = {form.partition("=")[0] for form in CALLS[request["op"]].arguments}
    assert {"id", "op"} < set(request) <= {"id", "op"} | names
    assert all(MEMBERS[name].fits(value) for name, value in request.items() if name in names)
    assert check_answer(request["op"], check_reply(reply)["ok"])
    assert check_reply(refusal)["error"]["code"] in PAGE.partition("**Codes**")[2]


def test_stack_file_of_the_document_is_understood(tmp_path: Path) -> None:
    """Its command lines hold no place that the build does not fill."""
    (snippet,) = (found for found in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "[[needs]]" in found)
    (tmp_path / "stack.toml").write_text(snippet)
    stack = read_stack(tmp_path / "stack.toml")
    assert stack.needs[0].tool == "cc"
    assert not [word for line in (stack.program(), *stack.build_lines()) for word in line if "{" in word]


def test_every_member_is_of_some_call() -> None:
    used = {form.partition("=")[0] for call in CALLS.values() for form in (*call.arguments, *call.answer)}
    assert used == set(MEMBERS)


def test_old_agents_app_stands_for_every_call() -> None:
    assert set(APPLICATION) <= capabilities_of({"capabilities": ["app"]})
    assert "app" not in capabilities_of({"capabilities": ["state"]})
    assert tuple(HOST_APPLICATION) == APPLICATION


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("capabilities", 5),
        ("capabilities", {"listen": 1}),
        ("capabilities", [1]),
        ("capabilities", ["x"] * 10_000),
        ("version", "x" * (8 << 20)),
        ("version", "\x1b[31m"),
        ("name", None),
        ("protocol", "1"),
    ],
)
def test_hello_out_of_range_is_a_fault_in_one_short_line(member: str, value: Any) -> None:
    with pytest.raises(AgentFault, match=f"hello: {member} must be") as caught:
        client().greet(json.dumps({"hello": {**GOOD, member: value}}).encode())
    assert len(str(caught.value)) < 300 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("op", "members", "wrong"),
    [
        ("listen", {"socket": 1, "address": "", "port": 70000}, "port must be"),
        ("listen", {"socket": 1, "address": ""}, "has no `port`"),
        ("listen", {"socket": "1", "address": "", "port": 7}, "socket must be"),
        ("listen", {"socket": True, "address": "", "port": 7}, "socket must be"),
        ("receive", {"data": "?", "eof": False}, "data must be"),
        ("receive", {"data": "", "eof": 0}, "eof must be"),
        ("state", {"state": "FIN_WAIT_1"}, "state must be"),
        ("state", {"state": "TIME-WAIT", "expires_s": -1}, "expires_s must be"),
        ("error", {"code": "\x07"}, "code must be"),
        ("option_get", {"value": 1 << 80}, "value must be"),
        ("send", {"sent": -1}, "sent must be"),
    ],
)
def test_answer_out_of_range_is_a_fault(op: str, members: dict[str, Any], wrong: str) -> None:
    assert wrong in fault_of(op, {"ok": members})


@pytest.mark.parametrize(
    ("reply", "wrong"),
    [
        ({"ok": {}, "at_ns": 10**30}, "at_ns must be"),
        ({"ok": {}, "at_ns": -1}, "at_ns must be"),
        ({"ok": []}, "an object `ok` or `error`"),
        ({"error": "E"}, "error must be"),
        ({"error": {"code": "E" * 100, "message": ""}}, "code must be"),
    ],
)
def test_reply_out_of_range_is_a_fault(reply: dict[str, Any], wrong: str) -> None:
    assert wrong in fault_of("close", reply)


def fault_of(op: str, reply: dict[str, Any]) -> str:
    """The fault that a call raises where the agent answers so."""

    async def ask() -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(json.dumps({"hello": GOOD}).encode() + b"\n")
            app = AgentClient(ours, "x")
            await app.open()
            theirs.sendall(json.dumps({"id": 1, **reply}).encode() + b"\n")
            try:
                await app.call(op)
            finally:
                await app.close()

    with pytest.raises(AgentFault) as caught:
        asyncio.run(ask())
    return str(caught.value)


class Lacking:
    """A case on a target that lacks one capability; its agent must not be asked."""

    family, remote, address = 4, "10.77.0.1", "10.77.0.2"
    agent = None

    class station:  # noqa: N801 - an attribute of the case
        port = staticmethod(lambda: 7000)

    def __init__(self, capability: str) -> None:
        self._capability = capability

    def can(self, *capabilities: str) -> bool:
        return not {self._capability, "open-port"} & set(capabilities)

    def needs(self, *capabilities: str) -> None:
        for capability in capabilities:
            if not self.can(capability):
                raise NotApplicable(f"needs {capability}")


@pytest.mark.parametrize(
    "op", [op for op, call in CALLS.items() if call.capability and call.capability != "options:NAME"]
)
def test_call_that_the_target_lacks_is_not_applicable_and_not_made(op: str) -> None:
    """The agent of this case would raise another error if it were asked."""
    capability = CALLS[op].capability
    case: Any = Lacking(capability)
    app = Application(case)
    with pytest.raises(NotApplicable, match=f"needs {capability}"):
        asyncio.run(app.call(op))
    assert str(app.lacking) == f"needs {capability}"


def test_every_method_of_the_handle_goes_through_the_check() -> None:
    """No method but `call` and `close`, which asks for what is there, makes a call of its own."""
    for owner in (Application, AppSocket):
        for name, method in inspect.getmembers(owner, inspect.isfunction):
            asks = ".agent.call(" in inspect.getsource(method)
            assert not asks or (owner is Application and name in ("_call", "close", "state")), (
                f"{owner.__name__}.{name}"
            )


@pytest.mark.parametrize("word", ["./mystack", "mystack/agent", "/bin/mystack"])
def test_program_is_found_beside_the_target_file(tmp_path: Path, word: str) -> None:
    (tmp_path / "mine.toml").write_text(f'kind = "stack"\ncommand = ["{word}"]\n')
    target: Any = load_target(str(tmp_path / "mine.toml"))
    assert target._command[0] == str(tmp_path / word)


def test_program_without_a_slash_is_one_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('kind = "stack"\ncommand = ["true"]\n')
    target: Any = load_target(str(tmp_path / "mine.toml"))
    assert target._command[0] == "true"


@pytest.mark.parametrize("page", ["README.md", "docs/agent-protocol.md"])
def test_target_files_on_the_pages_are_as_they_have_to_be(tmp_path: Path, page: str) -> None:
    """Each TOML snippet with `kind = "stack"` is loaded as it stands; its program is found beside it."""
    text = (Path(__file__).parent.parent.parent / page).read_text()
    snippets = [found for found in re.findall(r"```toml\n(.*?)```", text, re.DOTALL) if 'kind = "stack"' in found]
    assert snippets
    for snippet in snippets:
        (tmp_path / "mine.toml").write_text(snippet)
        target: Any = load_target(str(tmp_path / "mine.toml"))
        assert Path(target._command[0]).parent == tmp_path
