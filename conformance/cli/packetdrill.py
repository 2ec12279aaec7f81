"""`tcp-conformance packetdrill`: a run's scripts again, by a packetdrill that the user has built, and where the two differ."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conformance.cli import COMMANDS
from conformance.cli.output import complain, complain_of_lines, parser_of, plain_console
from conformance.report.text import clean, count

if TYPE_CHECKING:
    from conformance.packetdrill.beside import Outcome


def main(words: Sequence[str]) -> int:
    """Run each script of a run with packetdrill; return 1 where a script that fails there conforms here, 2 for no comparison."""
    parser = parser_of("packetdrill", COMMANDS["packetdrill"])
    parser.add_argument("run", metavar="RUN", help="the folder or results.jsonl of a run over the scripts")
    parser.add_argument("scripts", metavar="SCRIPTS", type=Path, help="the folder of scripts that the run was given")
    parser.add_argument("--binary", type=Path, required=True, help="the packetdrill to run them with, as root")
    options = parser.parse_args(words)
    from conformance.packetdrill import beside  # noqa: PLC0415
    from conformance.record import RecordError  # noqa: PLC0415
    from conformance.report.baseline_files import load  # noqa: PLC0415
    from conformance.target import HarnessFault  # noqa: PLC0415

    binary = options.binary.resolve()
    if not os.access(binary, os.X_OK) or binary.is_dir():
        complain("packetdrill", f"{options.binary} is no program; build google/packetdrill, and name its binary")
        return 2
    try:
        ours = load(options.run)
        complain_of_lines("packetdrill", ours)
        scripts = dict(_scripts(ours.cases, options.scripts, beside.VARIANTS))
        theirs = {case: beside.run(binary, variant, path) for case, (path, variant) in scripts.items()}
    except (RecordError, HarnessFault) as error:
        complain("packetdrill", clean(str(error)))
        return 2
    if not scripts:
        complain("packetdrill", f"{options.run} has no case of a script in {options.scripts}")
        return 2
    return _show({case: ours.cases[case].verdict for case in scripts}, theirs)


def _scripts(cases: Iterable[str], folder: Path, variants: Sequence[str]) -> Iterable[tuple[str, tuple[Path, str]]]:
    """Yield the cases that are scripts of the folder, each with its file and variant."""
    for case in sorted(cases):
        place, _, name = case.partition("::")
        variant = name.rpartition("[")[2].removesuffix("]")
        if place.endswith(".pkt") and variant in variants and (folder / place).is_file():
            yield case, ((folder / place).resolve(), variant)


def _show(ours: Mapping[str, str], theirs: Mapping[str, Outcome]) -> int:
    """Print the cases that differ, then how many there are of each kind."""
    console = plain_console()
    kinds: Counter[tuple[str, str]] = Counter()
    for case, outcome in theirs.items():
        kinds["passes" if outcome.passed else "fails", ours[case]] += 1
        if outcome.passed != (ours[case] == "conforms"):
            why = "passes" if outcome.passed else f"fails: {outcome.message}"
            console.print(clean(f"{case}: {ours[case]}, packetdrill {why}"), markup=False)
    for (theirs_word, verdict), number in sorted(kinds.items()):
        console.print(f"packetdrill {theirs_word}, here {verdict}: {number}", markup=False)
    passing = sum(number for (word, _), number in kinds.items() if word == "passes")
    agreed, wrong = kinds["passes", "conforms"], kinds["fails", "conforms"]
    share = f" ({agreed / passing:.0%})" if passing else ""
    console.print(
        f"of {count(passing, 'script')} that packetdrill passes, {agreed} conform here{share}; {wrong} that fail there do, too"
    )
    return int(wrong > 0)
