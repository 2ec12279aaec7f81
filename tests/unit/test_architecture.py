"""The architecture page shows the rooms as they are, and names files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import rooms

ROOMS = rooms.ROOT / "conformance"
PAGES = [
    "CONTRIBUTING.md",
    "docs/architecture.md",
    *sorted(str(path.relative_to(rooms.ROOT)) for path in (rooms.ROOT / "docs" / "decisions").glob("*.md")),
]


def test_the_picture_is_drawn_from_the_contract() -> None:
    page = rooms.PAGE.read_text()
    assert rooms.updated(page) == page, "run `python -m tests.rooms`"
    assert page.count("subgraph") == len(rooms.layers())


def test_every_room_is_in_the_picture_and_says_its_purpose() -> None:
    drawn = {room for layer in rooms.layers() for room in layer}
    there = {path.name for path in ROOMS.iterdir() if (path / "__init__.py").is_file()}
    assert there <= drawn
    assert all(rooms.purpose(room) for room in drawn)


def missing(page: str, text: str) -> list[str]:
    """Return the paths in code font and the links that lead nowhere."""
    bases = (rooms.ROOT, ROOMS, rooms.ROOT / "tests", (rooms.ROOT / page).parent)
    named = [name for name in re.findall(r"`([\w.-]+/[\w./-]*)`", text) if "NAME" not in name and "NNNN" not in name]
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    made = ("reports/latest", "captures/")
    return [
        name
        for name in (*named, *links)
        if not name.startswith(made) and not any((base / name).exists() for base in bases)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_exist(page: str) -> None:
    assert not missing(page, (rooms.ROOT / page).read_text())


def test_a_file_that_does_not_exist_is_noticed() -> None:
    text = "see `run/nowhere.py`, `run/` and [this](nothing.md), `reports/latest/`, `stacks/NAME/stack.toml`"
    assert missing("docs/architecture.md", text) == ["run/nowhere.py", "nothing.md"]


def test_a_page_outside_of_the_list_of_decisions_is_noticed() -> None:
    folder: Path = rooms.ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text()
    assert [path.name for path in folder.glob("0*.md") if f"({path.name})" not in index] == []
