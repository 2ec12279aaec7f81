"""Files of a report's folder: whole at any moment, and cleared before the next run."""

import shutil
from importlib import resources
from pathlib import Path

from conformance.report import baseline_files

BESIDES = {
    "pytest.html": "pytest's own report",
    "junit.xml": "JUnit XML",
    "summary.md": "the summary as Markdown",
    "results.jsonl": "all results as JSON lines",
    "requirements.csv": "the requirement matrix",
    "requirements.json": "the same as JSON",
    "results.sarif": "what is not as it should be, as SARIF",
}
MAIN = ("index.html", "states.html", "requirements.html", "timing.html", "mutants.html")
PLACES = {
    "index.html": "Overview",
    "states.html": "State map",
    "requirements.html": "Requirements",
    "timing.html": "Timing",
    "mutants.html": "Mutants",
    "pytest.html": "pytest",
}


def clear(run_dir: Path) -> None:
    """Make room for another run in a folder: take away what an earlier one wrote, and nothing else.

    Its verdicts stay, for the history on the pages. Raises OSError.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in ("captures", "cases"):
        if (run_dir / name).is_dir():
            shutil.rmtree(run_dir / name)
    if (run_dir / baseline_files.LAST).is_file():
        (run_dir / baseline_files.LAST).replace(run_dir / baseline_files.BEFORE)
    for name in {*BESIDES, *PLACES, "report.html"}:
        (run_dir / name).unlink(missing_ok=True)


def static(name: str) -> str:
    """Return the text of a file that is the same for every run."""
    return resources.files("conformance.report").joinpath("templates", name).read_text("utf-8")


def put(path: Path, content: str) -> None:
    """Write a page. Raises OSError."""
    raw = content.encode("utf-8", "replace")
    try:
        with path.open("xb") as file:
            file.write(raw)
    except FileExistsError:
        _replace(path, raw)


def _replace(path: Path, raw: bytes) -> None:
    """Write beside and move: who looks at a page while it is made again sees a whole one."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(raw)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
