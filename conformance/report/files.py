"""Files of a report's folder, whole at any moment."""

from importlib import resources
from pathlib import Path

BESIDES = {
    "pytest.html": "pytest's own report",
    "junit.xml": "JUnit XML",
    "summary.md": "the summary as Markdown",
    "results.jsonl": "all results as JSON lines",
    "requirements.csv": "the requirement matrix",
    "requirements.json": "the same as JSON",
    "results.sarif": "what is not as it should be, as SARIF",
    "tc8.csv": "the cases of TC8 as a table",
}
STATIC = ("style.css", "filter.js")
PLACES = {
    "index.html": "Overview",
    "findings.html": "Findings",
    "cases.html": "Cases",
    "changes.html": "Changes",
    "states.html": "State map",
    "requirements.html": "Requirements",
    "deviations.html": "Deviations",
    "choices.html": "Choices",
    "timing.html": "Timing",
    "skipped.html": "Not applicable",
    "mutants.html": "Mutants",
    "tc8.html": "TC8",
    "run.html": "Run",
    "pytest.html": "pytest",
}

MAIN = tuple(name for name in PLACES if name not in ("cases.html", "pytest.html"))
"""The pages that are joined into a single file."""


def static(name: str) -> str:
    """Return the text of a file that is the same for every run."""
    return resources.files("conformance.report").joinpath("templates", name).read_text("utf-8")


def put(path: Path, content: str) -> None:
    """Write a page beside and move it: a reader, and a kill, meet the whole one. Raises OSError."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(content.encode("utf-8", "replace"))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
