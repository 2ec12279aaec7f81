"""Data crosses rooms as frozen dataclasses: no public function takes or returns a plain dict of anything."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "conformance"
PLAIN = re.compile(r"\b(dict|Mapping)\b(?!\[)|\b(dict|Mapping)\[(str|Any), (Any|object)\]|\bTypedDict\b")
OPEN = {
    # The JSON of a file that others read, on its way into that file.
    "report/compare.py:Comparison.as_json",
    "report/matrix.py:RequirementRow.exported",
    # The JSON object of a line, on its way out of the file.
    "record/lines.py:record_of",
    # The keyword arguments of a case's function or of its mark, as their author wrote them.
    "case/info.py:Verified.of",
    "case/info.py:describe",
    "case/titles.py:title_of",
    "run/attempts.py:Attempts.outcome_of",
    "run/executor.py:Executor.execute",
    "run/run.py:Run.submit",
    # A table of a TOML file, on its way out of the file.
    "standard/profile_rows.py:timer_of",
    "standard/profile_rows.py:setting_of",
    "standard/profile_rows.py:deviation_of",
    "standard/profile_differences.py:difference_of",
    # Fields of an IP header by scapy's names, as a case gave them.
    "wire/frames.py:Template.carry",
    "wire/described.py:packet",
    # A target's settings, as its file and the record have them.
    "report/parts.py:settings",
    # The arguments of an agent's call.
    "case/app.py:Application.call",
}
"""Functions at the edge of the program, where a dict is JSON or holds keyword arguments."""
ASIDE = ("target/", "agent_check.py", "testcases/")
"""The agent's protocol is JSON objects in the client, too: typed by its schema, not by its annotations."""


def functions_with_plain_dicts(path: Path) -> Iterator[str]:
    """Yield the public functions and methods of a file that have such an annotation, as FILE:NAME."""
    name = path.relative_to(PACKAGE).as_posix()
    tree = ast.parse(path.read_text("utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for prefix, body in [("", tree.body), *((f"{node.name}.", node.body) for node in classes)]:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                annotations = [argument.annotation for argument in arguments] + [node.returns]
                text = " ".join(ast.unparse(one) for one in annotations if one is not None)
                if PLAIN.search(text):
                    yield f"{name}:{prefix}{node.name}"


def files() -> list[Path]:
    """Return the files of the rooms; a module of a room's own (`_data.py`) crosses none."""
    names = {path: path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))}
    private = re.compile(r"(.*/)?_(?!_init_)[^/]*")
    return [path for path, name in names.items() if not name.startswith(ASIDE) and not private.fullmatch(name)]


def test_no_plain_dict_crosses_a_room() -> None:
    functions = {name for path in files() for name in functions_with_plain_dicts(path)}
    assert not functions - OPEN, "give it a frozen dataclass, or if it is JSON at the edge, add it to OPEN"
    assert not OPEN - functions, "these take or return none any more: remove them from OPEN"


def test_a_plain_dict_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "room.py").write_text(
        "def a(record: dict[str, Any]) -> None: ...\n"
        "def b() -> list[Mapping[str, Any]]: ...\n"
        "def _c(record: dict[str, Any]) -> None: ...\n"
        "class D:\n    async def e(self, *, one: dict[str, Any] | None = None) -> int: ...\n"
        "def f(names: dict[str, int]) -> None: ...\n"
        "def g() -> dict: ...\n"
    )
    assert list(functions_with_plain_dicts(tmp_path / "room.py")) == [
        "room.py:a",
        "room.py:b",
        "room.py:g",
        "room.py:D.e",
    ]


def test_names_of_classes_are_unique_in_a_room() -> None:
    """Two classes of one name in one package are a mistake waiting to happen."""
    for room in ("record", "report", "wire"):
        names = [
            node.name
            for path in (PACKAGE / room).glob("*.py")
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.ClassDef)
        ]
        assert sorted(names) == sorted(set(names)), room
