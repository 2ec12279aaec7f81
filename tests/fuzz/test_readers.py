"""No octets make a reader raise anything of its own, nor take memory beyond what it was given."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.examples import octets
from tests.fuzz.readers import READERS, SEEDS

LIMIT = 8 << 20  # octets that one reader may hold for 4 KiB of input
EXAMPLES = {"merged": 6}
"""By reader, where it is not 60: a reader that makes a whole report of each is slow; `make fuzz` feeds them all for long."""


@pytest.mark.parametrize("name", READERS)
def test_any_octets_are_data(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @settings(max_examples=EXAMPLES.get(name, 60), derandomize=True, suppress_health_check=list(HealthCheck))
    @given(octets(SEEDS[name]))
    def feed(data: bytes) -> None:
        READERS[name](data)

    monkeypatch.chdir(
        tmp_path
    )  # a report made in the checkout reads the kept baselines, which are larger than all input
    READERS[name](b"")  # what is loaded once is not the input's doing
    tracemalloc.start()
    try:
        feed()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < LIMIT + (64 << 20), f"{peak >> 20} MiB for a few KiB of input"


@pytest.mark.parametrize("name", READERS)
def test_seeds_are_read(name: str) -> None:
    for seed in SEEDS[name]:
        READERS[name](seed)
