"""Numbers and names as people read them."""

import html
import re
import textwrap
from datetime import UTC, datetime
from functools import lru_cache

# Control characters, characters that reverse the direction of text, and halves of surrogate pairs: none of them
# belongs on a page, and a target can send all of them.
_ODD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

_PLAIN = bytes((10, *range(32, 127)))

LEVELS = ("MUST", "text", "SHOULD", "MAY")

NOTHING = "\u2013"  # a dash

VERDICTS = {  # in the order of a reader's interest; each with a sign, because many readers can't see colours
    "violates": "✗",
    "breaks should": "!",
    "deviates": "≠",
    "error": "‼",
    "inconclusive": "?",
    "not applicable": NOTHING,
    "conforms": "✓",
}


def clean(text: str) -> str:
    """Return the text with `�` for everything but visible characters, spaces and line ends."""
    if text.isprintable():
        return text
    # A page is nearly all plain: the rest is short.
    rest = text.encode("utf-8", "surrogatepass").translate(None, _PLAIN)
    return text if rest.decode("utf-8", "surrogatepass").isprintable() else _ODD.sub("\ufffd", text)


# Pages repeat most of their texts many times.
escape = lru_cache(4096)(html.escape)


def one_line(text: str) -> str:
    """Return the clean text in one line: how a terminal shows what others wrote."""
    return re.sub(r"[ ]*[\n\t]\s*", " ", clean(text))


def wrap(text: str, width: int) -> list[str]:
    """Return lines of at most `width` characters; at least one line, maybe empty."""
    if len(text) <= width and text.isprintable():
        return [text]
    return textwrap.wrap(clean(text), width) or [""]


def duration(ns: int) -> str:
    """Return a span of time in the unit that suits it: `12.3 µs`, `4.56 ms`, `0.300 s`, `60.02 s`."""
    size = abs(ns)
    if size < 1_000_000:
        return f"{ns / 1e3:.1f} µs"
    if size < 100_000_000:
        return f"{ns / 1e6:.2f} ms"
    return f"{ns / 1e9:.3f} s" if size < 10_000_000_000 else f"{ns / 1e9:.2f} s"


def seconds(value: float | None) -> str:
    """Seconds with four significant digits, the unit as in `duration`; a dash for None."""
    if value is None:
        return NOTHING
    for unit, scale in ("s", 1.0), ("ms", 1e3), ("µs", 1e6):
        if abs(value) * scale >= 1 or value == 0:
            return f"{value * scale:.4g} {unit}" if abs(value) < 10_000 else f"{value:.0f} s"
    return f"{value * 1e6:.4g} µs"


def bounds(low: float | None, high: float | None) -> str:
    """Return the allowed span of a time in words: `60 s to 67.5 s`, `at most 1 s`."""
    if low is None:
        return "any" if high is None else f"at most {seconds(high)}"
    return f"at least {seconds(low)}" if high is None else f"{seconds(low)} to {seconds(high)}"


def moment(ns: int) -> str:
    """Nanoseconds since 1970 as a date and time in UTC, to the second."""
    return _moment(ns // 10**9) or f"{ns} ns after 1970"


@lru_cache
def _moment(second: int) -> str:
    try:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return ""


def count(number: int, singular: str, many: str = "") -> str:
    """`1 case`, `2 cases`."""
    return f"{number:,} {singular if number == 1 else many or singular + 's'}"
