"""Name cases alike in a checkout and installed: an id is the node id below the folder of cases."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def cases_folder() -> Path:
    """Return the folder of cases: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).parent.parent
    inside = package / "testcases"
    return inside if inside.is_dir() else package.parent / "testcases"


def case_id(path: Path, function: str, elsewhere: str) -> str:
    """Return the id of a case: `function`, parameters included, in the module `path`; `elsewhere` outside the folder of cases."""
    module = _module(path)
    return f"{module}::{function}" if module else elsewhere


@cache
def _module(path: Path) -> str:
    """Return a module relative to the folder of cases; empty where it is elsewhere."""
    try:
        return path.relative_to(cases_folder()).as_posix()
    except ValueError:
        return ""
