"""The picture of the rooms in docs/architecture.md: drawn from the contract that import-linter checks.

`python -m tests.rooms` writes it into the page; a test fails when the two differ.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "architecture.md"
_BLOCK = re.compile(r"(?<=<!-- rooms: made by `python -m tests.rooms` -->\n).*?(?=<!-- end of rooms -->)", re.DOTALL)


def layers() -> list[list[str]]:
    """Return the names of the rooms from the top down; those of one layer know nothing of each other."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["type"] == "layers")
    return [re.split(r"\s*[|:]\s*", layer) for layer in contract["layers"]]


def purpose(room: str) -> str:
    """Return the first line of a room's docstring."""
    place = ROOT / "conformance" / room
    module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return (ast.get_docstring(ast.parse(module.read_text())) or "").partition("\n")[0]


def drawn() -> str:
    """Return the picture and the list below it, as Markdown."""
    names = layers()
    picture = ["```mermaid", "flowchart TD"]
    for number, layer in enumerate(names):
        picture += [f'    subgraph layer{number}[" "]', "    direction LR"]
        picture += [f'    {room}["{room}"]' for room in layer]
        picture += ["    end"]
    picture += [f"    layer{number} --> layer{number + 1}" for number in range(len(names) - 1)]
    rooms = [f"- `{room}`: {purpose(room)}" for layer in names for room in layer]
    return "\n".join([*picture, "```", "", *rooms, ""])


def updated(page: str) -> str:
    """Return the page with the picture as it is now."""
    return _BLOCK.sub(lambda _: drawn(), page)


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
