"""Describe a case before it runs: the value that selection, run, record and lists share."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from conformance.case.lasts import Lasts, UnknownTimer, seconds
from conformance.case.titles import title_of
from conformance.record.case import CellFacts, Sentence
from conformance.standard import catalogue
from conformance.standard.cells import Cell
from conformance.standard.cells import cell as cell_named
from conformance.standard.profile import Profile, setting_names
from conformance.standard.profile import profile as profile_named

LEVELS = ("must", "should", "may", "text")
CaseFunction = Callable[..., Coroutine[Any, Any, None]]


class UnknownSetting(ValueError):
    """No profile has a setting of that name."""


class InvalidCase(ValueError):
    """A test function can't be a case: one line that says why, without the function's name."""


@dataclass(frozen=True)
class Verified:
    """The arguments of a case's @verifies, see `conformance.api.verifies`."""

    ids: tuple[str, ...]
    cells: tuple[str, ...] = ()
    level: str | None = None
    needs: tuple[str, ...] = ("app",)
    lasts: Lasts = 0.0
    quick: bool = True
    alone: bool = False
    sysctl: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, ids: tuple[Any, ...], keywords: Mapping[str, Any]) -> Verified:
        """Take the arguments of a mark. Raises InvalidCase where one has no such meaning."""
        known = {one.name for one in fields(cls)} - {"ids"}
        if unknown := set(keywords) - known:
            raise InvalidCase(f"@verifies has no {', '.join(sorted(unknown))}; it takes {', '.join(sorted(known))}")
        return cls(tuple(map(str, ids)), **keywords)


@dataclass(frozen=True)
class CaseInfo:
    """All that is known of a case before it runs. `id` is the node id below the folder of cases.

    `cells` are the ids of the table's rows that it checks, `generated_from` the one that it was generated from, if any.
    `file` and `line` say where it is written, from pytest's root; empty where that is elsewhere.
    """

    id: str
    title: str
    description: str
    document: str
    section: str
    level: str
    requirements: tuple[str, ...]
    claims: tuple[str, ...]
    cells: tuple[str, ...]
    needs: tuple[str, ...]
    lasts_s: float
    quick: bool
    alone: bool
    sysctl: Mapping[str, str] = field(default_factory=dict)
    family: int = 4
    generated_from: str = ""
    file: str = ""
    line: int = 1

    def rows(self) -> tuple[CellFacts, ...]:
        """Return the rows of the transition table that the case checks."""
        return tuple(
            CellFacts(
                id=cell.id,
                row=cell.row,
                kind=cell.kind,
                state=cell.state.value,
                origin=cell.origin,
                event=cell.event,
                next=tuple(dict.fromkeys(outcome.next.value for outcome in cell.outcomes)),
                responses=tuple(dict.fromkeys(outcome.response.slug for outcome in cell.outcomes)),
            )
            for cell in map(cell_named, self.cells)
        )

    def sentences(self) -> tuple[Sentence, ...]:
        """Return the sentences of the standard that the case rests on."""
        return tuple(map(_sentence, self.requirements))


def _sentence(requirement_id: str) -> Sentence:
    requirement = catalogue.requirement(requirement_id)
    return Sentence(
        id=requirement.id,
        level="SHOULD" if requirement.level == "RECOMMENDED" else requirement.level,
        section=requirement.section,
        text=requirement.sentence or requirement.summary,
        url=requirement.url,
        partly=requirement.partly or "",
    )


@cache
def parameters_of(function: CaseFunction) -> tuple[str, ...]:
    """Return the names of a function's parameters."""
    return tuple(inspect.signature(function).parameters)


def describe(
    function: CaseFunction,
    verified: Verified,
    params: Mapping[str, Any],
    params_id: str,
    *,
    id: str,  # noqa: A002 - CaseInfo's own name
    file: str = "",
    line: int = 1,
    profile: Profile | None = None,
) -> CaseInfo:
    """Describe the case that `function` is with these `params`, the family among them. Raises InvalidCase.

    `params_id` is pytest's name for the parameters: the part of the node id in brackets. `profile` is that of the target,
    by which timers and settings have their values; that of the default target where it is not given.
    """
    profile = profile or profile_named("linux")
    requirements = tuple(one for one in verified.ids if not one.startswith("claim:"))
    claims = tuple(one.removeprefix("claim:") for one in verified.ids if one.startswith("claim:"))
    try:
        rows = [catalogue.requirement(one) for one in requirements]
        rests_on = [name for one in claims for name in catalogue.claim(one).rests_on]
        level = verified.level or catalogue.level_of(requirements)
        # Where several states share one script, each has its own rows, in a parameter called `cells`.
        named = (*verified.cells, *params.get("cells", ()))
        cells = tuple(dict.fromkeys(cell_named(str(one)).id for one in named))
    except catalogue.UnknownRequirement as error:
        raise InvalidCase(str(error)) from None
    if level not in ("MUST", "SHOULD", "MAY", "text"):
        raise InvalidCase(f"level {level!r} is not MUST, SHOULD, MAY or text")
    if not rows:
        rows = [catalogue.requirement(name) for name in rests_on]
    if not rows:
        raise InvalidCase("@verifies names no requirement")
    if fixtures := [name for name in parameters_of(function) if name not in params and name != "tcp"]:
        raise InvalidCase(f"a case takes tcp and its own parameters, not the fixture {fixtures[0]}")
    cell = params.get("cell")
    title, description = _title_and_description(function, params, int(params.get("family", 4)), params_id)
    alone = ("instances",) if verified.alone else ()
    try:
        wanted = {name.format_map(params): value.format_map(params) for name, value in verified.sysctl.items()}
    except KeyError as error:
        raise InvalidCase(f"a sysctl names {error}, which is no parameter of the case") from None
    try:
        lasts_s = seconds(verified.lasts, profile)
        sysctl, undocumented = settings_by(profile, wanted)
    except (UnknownTimer, UnknownSetting) as error:
        raise InvalidCase(str(error)) from None
    settings = _needed_for(sysctl, undocumented)
    return CaseInfo(
        id=id,
        title=title,
        description=description,
        document=rows[0].document,
        section=rows[0].section,
        level=str(level),
        requirements=requirements or tuple(dict.fromkeys(rests_on)),
        claims=claims,
        cells=cells,
        needs=tuple(dict.fromkeys((*verified.needs, *settings, *alone))),
        lasts_s=lasts_s,
        quick=bool(verified.quick),
        alone=bool(alone),
        sysctl=sysctl,
        family=int(params.get("family", 4)),
        generated_from=cell.id if isinstance(cell, Cell) else "",
        file=file,
        line=line,
    )


def _title_and_description(
    function: CaseFunction, params: Mapping[str, Any], family: int, params_id: str
) -> tuple[str, str]:
    """Return the title that the docstring's first line makes with the parameters, and what stands below it."""
    line, _, description = inspect.cleandoc(function.__doc__ or "").partition("\n")
    if not line:
        raise InvalidCase("a case needs a docstring; its first line, the title, says what must happen")
    which = "-".join(part for part in params_id.split("-") if part != f"ipv{family}")
    try:
        title = title_of(line, params, which)
    except ValueError as error:
        raise InvalidCase(str(error)) from None
    cell = params.get("cell")
    if isinstance(cell, Cell):
        description = f"{description.strip()}\n\n{cell.note}"
    return title, description.strip()


def settings_by(profile: Profile, wanted: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the sysctls that `wanted` stands for on a target of this profile, and the names that it does not document.

    `wanted` maps sysctls (they have dots), or names of the profile's settings, to values. Raises UnknownSetting.
    """
    sysctl: dict[str, str] = {}
    undocumented = []
    for name, value in wanted.items():
        if "." in name:
            sysctl[name] = value
        elif name in profile.settings:
            sysctl |= profile.settings[name].with_value(value)
        elif name in setting_names():
            undocumented.append(name)
        else:
            raise UnknownSetting(f"no profile has a setting {name!r}: there is {', '.join(setting_names())}")
    return sysctl, tuple(undocumented)


def _needed_for(sysctl: Mapping[str, str], undocumented: Sequence[str]) -> tuple[str, ...]:
    """Return the capabilities of a target that can be made with these settings; no target has one that is undocumented."""
    if not sysctl and not undocumented:
        return ()
    return ("settings", *(f"sysctl:{name}" for name in sysctl), *(f"setting:{name}" for name in undocumented))
