"""Pieces of HTML that several pages have. What is not ours goes through `escape`."""

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache

from markupsafe import Markup

from conformance.report.text import NOTHING, VERDICTS, count, escape

OUTCOMES = {
    None: Markup(f'<span class="muted">{NOTHING}</span>'),
    True: Markup('<span class="ok">✓ yes</span>'),
    False: Markup('<span class="no">✗ no</span>'),
}
TABLE_END = Markup("\n</tbody>\n</table>\n</div>")


@cache
def slug(words: str) -> str:
    """Words as a name for a class or an anchor: `breaks-should`."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


@lru_cache(4096)
def anchor(name: str) -> str:
    """Return the name of a requirement or a document as the id of its row: `RFC9293-3.10.7.4-ack-new`."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-") or "none"


@cache
def badge(verdict: str) -> Markup:
    """Return a verdict with its sign and colour."""
    sign = f'<span aria-hidden="true">{VERDICTS[verdict]}</span>'
    return Markup(f'<span class="badge v-{slug(verdict)}">{sign} {verdict}</span>')


def table(name: str, caption: str, columns: Iterable[str], kind: str) -> Markup:
    """Return a table's beginning; `TABLE_END` ends it. `columns` are names: that of a column of numbers begins with #.

    The table scrolls by itself where it is too wide.
    """
    return _table(name, caption, tuple(columns), kind)


@lru_cache(64)
def _table(name: str, caption: str, columns: tuple[str, ...], kind: str) -> Markup:
    heads = "".join(
        '<th scope="col"{}>{}</th>'.format(' class="number"' * one.startswith("#"), escape(one.removeprefix("#")))
        for one in columns
    )
    return Markup(
        f'<div class="scroll" role="region" aria-label="{escape(name)}" tabindex="0">\n<table class="{escape(kind)}">\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n"
    )


def settings(values: Mapping[str, object]) -> Markup:
    """Return a target's settings, folded up."""
    return _settings(tuple((key, str(value)) for key, value in values.items()))


@lru_cache(64)
def _settings(values: tuple[tuple[str, str], ...]) -> Markup:
    if not values:
        return Markup("none recorded\n")
    rows = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>\n" for key, value in values)
    many = count(len(values), "setting")
    return Markup(f'<details><summary>{many}</summary>\n<dl class="facts small">\n{rows}</dl></details>\n')


def jitter(measured: Mapping[str, float]) -> str:
    """Return the harness's own lateness in words."""
    words = (f"{key.replace('_us', '').replace('_', ' ')} {value} µs" for key, value in measured.items())
    return ", ".join(words) or "not measured"
