"""Expand a test function into its cases: one for each set of parameters, named as pytest names it.

The marks are read from the function, so that cases can be run without pytest's collection.
"""

from __future__ import annotations

import enum
import inspect
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from conformance.case.ids import case_id
from conformance.case.info import CaseFunction, CaseInfo, InvalidCase, Verified, describe
from conformance.standard.profile import Profile


@dataclass(frozen=True)
class ParametrizedCase:
    """A case that can be run: its description, its function, and the arguments beside `tcp`."""

    info: CaseInfo
    function: CaseFunction
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class _Parameters:
    """One set of values of one `parametrize`."""

    values: Mapping[str, Any]
    id: str
    marks: tuple[Any, ...] = ()


def is_case_function(function: object) -> TypeGuard[CaseFunction]:
    """Return True for a coroutine function that takes `tcp` and is a test by its name."""
    return (
        inspect.iscoroutinefunction(function)
        and function.__name__.startswith("test")
        and "tcp" in inspect.signature(function).parameters
    )


def expand(function: CaseFunction, families: Sequence[int], profile: Profile | None = None) -> list[ParametrizedCase]:
    """Return the cases of a test function over these families, for a target of this profile.

    Raises InvalidCase, naming the function.
    """
    try:
        return list(_expand(function, families, profile))
    except InvalidCase as error:
        raise InvalidCase(f"{function.__qualname__}: {error}") from None


def _expand(function: CaseFunction, families: Sequence[int], profile: Profile | None) -> Iterator[ParametrizedCase]:
    own, module = _marks(function), _marks(sys.modules.get(function.__module__))
    tables = [[_Parameters({"family": family}, f"ipv{family}") for family in families]]
    tables += [_table(*mark.args, **mark.kwargs) for mark in (*own, *module) if mark.name == "parametrize"]
    file = Path(function.__code__.co_filename)
    here = file.relative_to(Path.cwd()).as_posix() if file.is_relative_to(Path.cwd()) else ""
    for row in itertools.product(*tables):
        params = {name: value for part in row for name, value in part.values.items()}
        marks = (*own, *(mark for part in row for mark in part.marks), *module)
        verifies = next((mark for mark in marks if mark.name == "verifies"), None)
        if verifies is None:
            raise InvalidCase("a case needs @verifies(...) with what it verifies, as RFC9293:MUST-13")
        params_id = "-".join(part.id for part in row)
        name = f"{function.__name__}[{params_id}]"
        info = describe(
            function,
            Verified.of(verifies.args, verifies.kwargs),
            params,
            params_id,
            id=case_id(file, name, f"{here or file.name}::{name}"),
            file=here,
            line=function.__code__.co_firstlineno,
            profile=profile,
        )
        taken = inspect.signature(function).parameters
        yield ParametrizedCase(info, function, {key: params[key] for key in taken if key != "tcp"})


def _marks(owner: object) -> tuple[Any, ...]:
    """Return pytest's marks of a function or a module, the closest first."""
    marks = getattr(owner, "pytestmark", ())
    return tuple(marks) if isinstance(marks, (list, tuple)) else (marks,)


def _table(argnames: str | Sequence[str], argvalues: Any, *, ids: Any = None, **unknown: Any) -> list[_Parameters]:
    """Return the sets of one `parametrize`, from its arguments."""
    if unknown:
        raise InvalidCase(f"parametrize with {min(unknown)} can't be expanded without pytest")
    keys = [name.strip() for name in argnames.split(",")] if isinstance(argnames, str) else list(argnames)
    table = []
    for number, row in enumerate(argvalues):
        plain = not hasattr(row, "marks")
        values = tuple(row.values if not plain else [row] if len(keys) == 1 else row)
        if len(values) != len(keys):
            raise InvalidCase(f"parametrize has {len(values)} values for {len(keys)} parameters ({', '.join(keys)})")
        given = None if callable(ids) or ids is None else list(ids)[number]
        text = given if plain or row.id is None else row.id
        if text is None:
            parts = zip(keys, values, strict=True)
            text = "-".join(_id_of(key, value, number, ids if callable(ids) else None) for key, value in parts)
        table.append(_Parameters(dict(zip(keys, values, strict=True)), str(text), () if plain else tuple(row.marks)))
    taken = [parameters.id for parameters in table]
    if twice := next((name for name in taken if taken.count(name) > 1), None):
        raise InvalidCase(f"two sets of parameters are called {twice!r}; give each an id of its own")
    return table


def _id_of(key: str, value: Any, number: int, name: Any) -> str:
    """Return pytest's name for a parameter's value; `name` is a function that may know a better one."""
    better = name(value) if name is not None else None
    if better is not None:
        value = better
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (int, float, complex, enum.Enum)):
        return str(value)
    if isinstance(getattr(value, "__name__", None), str):
        return str(value.__name__)
    return f"{key}{number}"
