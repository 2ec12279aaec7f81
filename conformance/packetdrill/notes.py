"""Comments that say more than the language can: `//:` lines, which packetdrill skips."""

from __future__ import annotations

import re
from dataclasses import dataclass

from conformance.packetdrill.lexer import ScriptError

_NOTE = re.compile(r"^[ \t]*//:(.*)$", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*//(?!:)[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_LONGEST_TITLE = 100


@dataclass(frozen=True)
class Notes:
    """The notes of a script, and its title: the first comment."""

    title: str = ""
    verifies: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    nothing_more: bool = False


def notes_of(text: str, name: str) -> Notes:
    """Return a script's notes. Raises ScriptError for a note that is none."""
    titles = [line for line in _COMMENT.findall(text) if not line.startswith("SPDX")]
    verifies: list[str] = []
    needs: list[str] = []
    nothing_more = False
    for match in _NOTE.finditer(text):
        words = match[1].replace(",", " ").split()
        if words[:1] == ["verifies"] and len(words) > 1:
            verifies += words[1:]
        elif words[:1] == ["needs"] and len(words) > 1:
            needs += words[1:]
        elif words == ["nothing", "more"]:
            nothing_more = True
        else:
            reason = f"no note is {' '.join(words)!r}: there is `verifies ID`, `needs NAME` and `nothing more`"
            raise ScriptError(name, text, match.start(1), reason)
    title = titles[0][:_LONGEST_TITLE] if titles else ""
    return Notes(title, tuple(verifies), tuple(needs), nothing_more)
