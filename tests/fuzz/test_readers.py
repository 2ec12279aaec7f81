"""No octets make a reader raise anything of its own, nor take memory beyond what it was given."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.readers import READERS, SEEDS

LIMIT = 8 << 20  # octets that one reader may hold for 4 KiB of input


@st.composite
def nearly(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with some octets changed, taken out or put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(("change", "cut", "insert", "end"))):
            case "change":
                data[place : place + 1] = bytes([draw(st.integers(0, 255))])
            case "cut":
                del data[place : place + draw(st.integers(1, 8))]
            case "insert":
                data[place:place] = draw(st.binary(max_size=8))
            case "end":
                del data[place:]
    return bytes(data)


@pytest.mark.parametrize("name", READERS)
def test_any_octets_are_data(name: str) -> None:
    @settings(max_examples=60, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.binary(max_size=4096), nearly(SEEDS[name])))
    def feed(data: bytes) -> None:
        READERS[name](data)

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
