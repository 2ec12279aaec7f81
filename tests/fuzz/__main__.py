"""`python -m tests.fuzz READER [SECONDS]`: coverage-guided fuzzing of one reader by hand, with atheris from PyPI."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Fuzz until the time is over or something escapes."""
    try:
        import atheris  # noqa: PLC0415 - by hand alone
    except ImportError:
        sys.exit("needs atheris: pip install atheris")
    with atheris.instrument_imports(
        include=["conformance"]
    ):  # what it covers is to guide it, scapy's and pytest's code not
        from tests.fuzz.readers import READERS, SEEDS  # noqa: PLC0415
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in READERS:
        sys.exit(f"usage: python -m tests.fuzz READER [SECONDS]; READER is one of {', '.join(READERS)}")
    seconds = sys.argv[2] if len(sys.argv) > 2 else "600"
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(SEEDS[name]):
            (Path(folder) / str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-rss_limit_mb=1024", folder], READERS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
