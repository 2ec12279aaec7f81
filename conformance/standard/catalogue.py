"""Read the documents' requirements, by number, each with its sentence.

`requirements/*.toml` holds one catalogue per document, `claims.toml` the common claims about TCP that the suite
checks. Everything is checked when it is loaded.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from conformance.standard import _data

LEVELS: Final = ("MUST", "SHOULD", "MAY", "RECOMMENDED", "text")
"""`text`: a sentence without a keyword of RFC 2119 that nevertheless says what happens."""

POLARITIES: Final = ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "RECOMMENDED", "text")
OBSERVABLE: Final = ("yes", "partly", "no")

# RECOMMENDED is SHOULD in RFC 2119.
_STRENGTH: Final = {"MUST": 0, "SHOULD": 1, "RECOMMENDED": 1, "MAY": 2, "text": 3}
_NAMES: Final = ("MUST", "SHOULD", "MAY", "text")
_FIELDS: Final = ("id", "level", "polarity", "section", "summary", "sentence", "observable", "group")


class UnknownRequirement(KeyError):
    """No catalogue has that id. The message gives the nearest one that exists."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Requirement:
    """One statement of a standard.

    `id` is complete (`RFC9293:MUST-13`), `sentence` the document's own words or empty where they could not be
    compared, `summary` ours. `reason` says why there need be no case, `partly` what remains unseen where cases see a part.
    `page` is where the document can be read, for one that is no RFC.
    """

    document: str
    id: str
    level: str
    polarity: str
    section: str
    summary: str
    sentence: str
    observable: str
    group: str
    reason: str = ""
    partly: str = ""
    page: str = ""

    @property
    def url(self) -> str:
        """The address of the section's text."""
        return self.page or f"https://www.rfc-editor.org/rfc/{self.document.lower()}.html#section-{self.section}"


@dataclass(frozen=True, slots=True)
class Claim:
    """A saying about TCP, how it is checked on the wire, and the requirements it rests on (complete ids)."""

    id: str
    topic: str
    says: str
    checked: str
    note: str
    rests_on: tuple[str, ...]


def parse_requirements(content: str, where: str) -> tuple[Requirement, ...]:
    """Return the rows of one catalogue; `where` names the file in errors.

    Raises:
        DataError: a row is incomplete, doubled, or has a word outside its vocabulary.
    """
    document = _data.toml(content, where)
    _data.only(document, where, ("document", "title", "requirement"), ("url", "unfinished"))
    rows: dict[str, Requirement] = {}
    for number, row in enumerate(document["requirement"], start=1):
        here = f"{where}, requirement {number} ({row.get('id', 'no id')})"
        parsed = _requirement(document["document"], document.get("url", ""), row, here)
        if parsed.id in rows:
            raise _data.DataError(f"{here}: the id is there twice; an id stands for one sentence")
        rows[parsed.id] = parsed
    return tuple(rows.values())


def _requirement(document: str, page: str, row: Mapping[str, Any], here: str) -> Requirement:
    _data.only(row, here, _FIELDS, ("reason", "partly"))
    _data.one_of(row["level"], LEVELS, here, "level")
    _data.one_of(row["polarity"], POLARITIES, here, "polarity")
    _data.one_of(row["observable"], OBSERVABLE, here, "observable")
    if not row["summary"] or not row["section"]:
        raise _data.DataError(f"{here}: summary or section is empty; both are needed to name it in a report")
    explained = [name for name in ("reason", "partly") if row.get(name)]
    if explained not in {"yes": ([],), "partly": (["reason"], ["partly"]), "no": (["reason"],)}[row["observable"]]:
        raise _data.DataError(
            f"{here}: a reason goes with observable = no or partly, partly (what remains unseen) with partly alone"
        )
    return Requirement(**{**row, "document": document, "id": f"{document}:{row['id']}", "page": page})


@functools.cache
def requirements() -> Mapping[str, Requirement]:
    """Return every requirement of every catalogue by its complete id, in the catalogues' order.

    Raises:
        DataError: a catalogue is wrong.
    """
    by_id: dict[str, Requirement] = {}
    for name in _data.names("requirements", ".toml"):
        where = f"requirements/{name}.toml"
        for row in parse_requirements(_data.text(where), where):
            by_id[row.id] = row
    return types.MappingProxyType(by_id)


def requirement(name: str) -> Requirement:
    """Return the requirement with a complete id such as `RFC9293:MUST-13`.

    Raises:
        UnknownRequirement: there is none; the message gives the nearest id.
    """
    row = requirements().get(name)
    if row is None:
        raise UnknownRequirement(f"no requirement is called {name!r}{_data.nearest(name, requirements())}")
    return row


@functools.cache
def unfinished() -> frozenset[str]:
    """Return the documents whose catalogue is marked unfinished: some rows have no case yet."""
    tables = (
        _data.toml(_data.text(f"requirements/{name}.toml"), name) for name in _data.names("requirements", ".toml")
    )
    return frozenset(table["document"] for table in tables if table.get("unfinished"))


def place(row: Requirement) -> str:
    """Return a requirement's place as `file:line`, the line of its id.

    Raises:
        UnknownRequirement: no catalogue has it.
    """
    head, key = f'document = "{row.document}"', f'id = "{row.id.removeprefix(row.document)[1:]}"'
    for name in _data.names("requirements", ".toml"):
        where = f"requirements/{name}.toml"
        lines = _data.text(where).splitlines()
        if head in lines and key in lines:
            return f"{_data.path(where)}:{lines.index(key) + 1}"
    raise UnknownRequirement(f"no catalogue has {row.id}")


def parse_claims(content: str, where: str) -> tuple[Claim, ...]:
    """Return the rows of `claims.toml`.

    Raises:
        DataError: a row is incomplete or doubled, or rests on a requirement that does not exist.
    """
    document = _data.toml(content, where)
    _data.only(document, where, ("claim",))
    rows: dict[str, Claim] = {}
    for number, row in enumerate(document["claim"], start=1):
        here = f"{where}, claim {number} ({row.get('id', 'no id')})"
        _data.only(row, here, ("id", "topic", "says", "checked", "rests_on"), ("note",))
        for name in row["rests_on"]:
            if name not in requirements():
                raise _data.DataError(f"{here}: rests on {name!r}{_data.nearest(name, requirements())}")
        if row["id"] in rows:
            raise _data.DataError(f"{here}: the id is there twice")
        rows[row["id"]] = Claim(**{"note": "", **row, "rests_on": tuple(row["rests_on"])})
    return tuple(rows.values())


@functools.cache
def claims() -> Mapping[str, Claim]:
    """Return every claim by its id (`C-18`).

    Raises:
        DataError: the file is wrong.
    """
    rows = parse_claims(_data.text("claims.toml"), "claims.toml")
    return types.MappingProxyType({row.id: row for row in rows})


def claim(name: str) -> Claim:
    """Return the claim called `C-18`, or `claim:C-18` in a case's spelling.

    Raises:
        UnknownRequirement: there is none; the message gives the nearest id.
    """
    row = claims().get(name.removeprefix("claim:"))
    if row is None:
        raise UnknownRequirement(f"no claim is called {name!r}{_data.nearest(name.removeprefix('claim:'), claims())}")
    return row


def level_of(ids: Iterable[str]) -> str:
    """Return the strictest level among the requirements: `MUST`, `SHOULD`, `MAY` or `text`.

    A claim (`claim:C-18`) counts as `text`, as does an empty list.

    Raises:
        UnknownRequirement: an id names nothing.
    """
    strictest = _STRENGTH["text"]
    for name in ids:
        if name.startswith("claim:"):
            claim(name)
        else:
            strictest = min(strictest, _STRENGTH[requirement(name).level])
    return _NAMES[strictest]
