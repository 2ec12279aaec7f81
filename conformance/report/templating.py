"""Make Jinja's environment for the pages: the functions of the templates, and a filter for control characters."""

import contextlib
import sys
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined, Template
from jinja2.bccache import Bucket

from conformance.report import filters, parts, state_map, text, timing
from conformance.report.bar import draw_bar
from conformance.report.overview import LINKS
from conformance.report.score import share
from conformance.report.text import LEVELS, VERDICTS

LISTED = 150  # rows of an overview's table


class _Template(Template):
    """A template whose pages hold no control characters."""

    def render(self, *args: Any, **kwargs: Any) -> str:
        """Return the page as HTML."""
        return text.clean(super().render(*args, **kwargs))


class _CompiledTemplates(FileSystemBytecodeCache):
    """Templates as bytecode, beside Python's own: compiling them takes longer than writing the main pages."""

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write a template's bytecode, unless Python writes none or the folder can't be written."""
        if not sys.dont_write_bytecode:
            with contextlib.suppress(OSError):
                Path(self.directory).mkdir(exist_ok=True)
                super().dump_bytecode(bucket)


def make_environment() -> Environment:
    """Return the environment with the filters and functions that our templates call."""
    environment = Environment(
        loader=PackageLoader("conformance.report"),
        bytecode_cache=_CompiledTemplates(str(Path(__file__).parent / "templates" / "__pycache__")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.template_class = _Template
    environment.filters.update(
        seconds=text.seconds,
        moment=text.moment,
        slug=parts.slug,
        anchor=parts.anchor,
        count=text.count,
    )
    environment.globals.update(
        verdicts=VERDICTS,
        levels=LEVELS,
        bar=draw_bar,
        share=share,
        bounds=text.bounds,
        LISTED=LISTED,
        LINKS=LINKS,
        sign=state_map.draw_sign,
        draw_series=timing.draw_series,
        tell_series=timing.described,
        tokens=filters.tokens,
        part_tokens=filters.part_tokens,
        requirement_tokens=filters.requirement_tokens,
        places={},
        outcomes=parts.OUTCOMES,
        TABLE_END=parts.TABLE_END,
        badge=parts.badge,
        jitter=parts.jitter,
        settings=parts.settings,
        table_start=parts.table,
    )
    return environment
