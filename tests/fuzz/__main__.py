"""`python -m tests.fuzz [READER ...] [--seconds N]`: fuzz each reader for N seconds; what one does not stand stays as a seed.

With atheris (from PyPI) it is guided by what the octets reach; without it, examples are drawn by hypothesis.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from importlib import util
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.corpus import keep
from tests.fuzz.examples import octets

_AT_ONCE = 500


def main() -> int:
    """Fuzz; return 1 where something escaped."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", help="readers by name (default: all)")
    parser.add_argument("--seconds", type=float, default=60, help="how long each is fuzzed (default: 60)")
    parser.add_argument("--seed", type=int, default=9293, help="of the random examples (default: 9293)")
    parser.add_argument("--guided", action="store_true", help="by atheris: one reader alone")
    options = parser.parse_args()
    if options.guided:
        return _guided(options.readers, options.seconds)
    from tests.fuzz.readers import READERS  # noqa: PLC0415 - atheris has to come before it

    if unknown := set(options.readers) - READERS.keys():
        sys.exit(f"no reader is called {min(unknown)}: there is {', '.join(READERS)}")
    failed = [name for name in options.readers or READERS if not _fuzzed(name, options.seconds, options.seed)]
    return int(bool(failed))


def _fuzzed(name: str, seconds: float, first_seed: int) -> bool:
    """Feed a reader until the time is over; False where something escaped."""
    from tests.fuzz.readers import READERS, SEEDS  # noqa: PLC0415

    last, number, count, end_s = b"", first_seed, 0, time.monotonic() + seconds

    @settings(
        max_examples=_AT_ONCE,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(octets(SEEDS[name]))
    def feed(data: bytes) -> None:
        nonlocal last, count
        last, count = data, count + 1
        READERS[name](data)

    while time.monotonic() < end_s:
        try:
            seed(number)(feed)()
        except Exception:  # whatever escapes is what is looked for
            traceback.print_exc()
            print(f"{name}: escaped after {count:,} examples; kept as {keep(name, last)}", flush=True)
            return False
        number += 1
    print(f"{name}: {count:,} examples, nothing escaped", flush=True)
    return True


def _guided(names: list[str], seconds: float) -> int:
    """Fuzz one reader with atheris."""
    if util.find_spec("atheris") is None:
        sys.exit("--guided needs atheris: pip install atheris")
    import atheris  # noqa: PLC0415

    # What the product's own code covers is to guide it, scapy's and pytest's not.
    with atheris.instrument_imports(include=["conformance"]):
        from tests.fuzz.readers import READERS, SEEDS  # noqa: PLC0415
    if len(names) != 1 or names[0] not in READERS:
        sys.exit(f"--guided takes one reader of {', '.join(READERS)}")
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(SEEDS[names[0]]):
            (Path(folder) / str(number)).write_bytes(data)
        atheris.Setup([sys.argv[0], f"-max_total_time={seconds:.0f}", "-rss_limit_mb=1024", folder], READERS[names[0]])
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
