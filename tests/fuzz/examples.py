"""Draw octets to feed a reader: random, and nearly right."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def nearly(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Return a seed with some octets changed, taken out, put in or repeated many times."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(("change", "cut", "insert", "repeat", "end"))):
            case "change":
                data[place : place + 1] = bytes([draw(st.integers(0, 255))])
            case "cut":
                del data[place : place + draw(st.integers(1, 8))]
            case "insert":
                data[place:place] = draw(st.one_of(st.binary(max_size=8), st.sampled_from(WORDS)))
            case "repeat":
                data[place:place] = data[place : place + draw(st.integers(1, 8))] * draw(st.integers(1, 400))
            case "end":
                del data[place:]
    return bytes(data)


WORDS = (
    b"null",
    b"-1",
    b"1e999",
    b"NaN",
    b"[" * 2000,
    b'{"a":' * 500,
    b'"\\ud800"',
    b"9" * 5000,
    b"\x00",
    b"\x1b]0;x\x07",
)
"""Words that readers of numbers, of nested values and of text stumble over."""


def octets(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Return the octets of one example, drawn at random."""
    return st.one_of(st.binary(max_size=4096), nearly(seeds))
