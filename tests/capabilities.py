"""The capabilities that docs/agent-protocol.md names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_PAGE = Path(__file__).parent.parent / "docs" / "agent-protocol.md"


@cache
def _names() -> re.Pattern[str]:
    """Return a pattern for the documented names; NAME in a name stands for any word."""
    section = _PAGE.read_text().partition("\n## Capabilities\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    names = [re.escape(name).replace("NAME", r"[\w.]+") for row in rows for name in re.findall(r"`([^`]+)`", row)]
    return re.compile("|".join(names))


def undocumented(capabilities: Iterable[str]) -> list[str]:
    """Return the capabilities that the page does not name."""
    return sorted(one for one in capabilities if not _names().fullmatch(one))
