"""The navigation: which pages a report has, in their order."""

from collections.abc import Collection, Sequence
from pathlib import Path

from conformance.report import list_pages, mutants, tc8
from conformance.report.files import PLACES
from conformance.report.overview import Overview


def places(
    run_dir: Path,
    overview: Overview,
    coming: Collection[str],
    mutants_read: Sequence[mutants.Mutant],
    tc8_read: Sequence[tc8.Tc8Row],
) -> dict[str, str]:
    """Return the pages that are, or will be, in the folder, and their names; `coming` are files that others write later."""
    shown = {
        "index.html": True,
        "states.html": len(overview.machine) > 0,
        "requirements.html": len(overview.requirements) > 0,
        "timing.html": bool(overview.times.series or overview.times.singles),
        "mutants.html": bool(mutants_read),
        "tc8.html": bool(tc8_read),
        **{name: list_pages.is_there(name, overview) for name in list_pages.NAMES},
    }
    return {
        name: what for name, what in PLACES.items() if shown.get(name, name in coming or (run_dir / name).is_file())
    }
