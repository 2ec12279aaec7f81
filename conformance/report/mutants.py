"""Read `mutants.json`: the suite's results against targets that break a rule on purpose.

The file lies beside a run's record. It holds `total`, `killed` and `survivors`, a list of `{"id", "reason"}`: the reason says
why nobody on the wire could notice, and is empty if none is known. `mutants` has a row for each: see `Mutant` and `Killer`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conformance.bounded import read_octets
from conformance.record.errors import RecordError

FILE = "mutants.json"
_LARGEST = 16 << 20  # octets: a row takes less than one KiB
_ABOUT = {"id": str, "target": str, "breaks": str, "what": str, "killed": bool, "noticed_by": int}


@dataclass(frozen=True, slots=True)
class Killer:
    """A case that noticed a mutant, and its message; `verifies` is True if it is a case of the broken rule."""

    case: str
    message: str
    verifies: bool


@dataclass(frozen=True, slots=True)
class Mutant:
    """One rule broken. `noticed_by` counts all killers, of which some are named; `reason` is why nobody could notice."""

    id: str
    target: str
    breaks: str
    what: str
    killed: bool
    noticed_by: int
    killers: Sequence[Killer]
    reason: str


def read(run_dir: Path) -> Sequence[Mutant]:
    """Return the mutants, survivors first; none without the file. Raises RecordError if the file can't be read."""
    path = run_dir / FILE
    if not path.is_file():
        return ()
    try:
        content = json.loads(read_octets(path, _LARGEST))
        reasons = {one["id"]: str(one["reason"]) for one in content["survivors"]}
        return sorted((_mutant(row, reasons) for row in content["mutants"]), key=lambda mutant: mutant.killed)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordError(f"{path}: not what `make mutants` writes: {error}") from error


def _mutant(row: Mapping[str, Any], reasons: Mapping[str, str]) -> Mutant:
    for name, kind in _ABOUT.items():
        if type(row[name]) is not kind:
            raise TypeError(f"{name} is {row[name]!r}")
    killers = [Killer(str(one["case"]), str(one["message"]), bool(one["verifies"])) for one in row["killers"]]
    reason = "" if row["killed"] else reasons[row["id"]]
    return Mutant(**{name: row[name] for name in _ABOUT}, killers=killers, reason=reason)
