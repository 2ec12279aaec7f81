"""Calls pytest over the folder of cases, from anywhere."""

from __future__ import annotations

import difflib
import re
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from conformance.case.ids import cases_folder

_UNKNOWN = re.compile(r"unrecognized arguments: (.*)")
_OF_XDIST = ("-n", "--numprocesses", "--dist")
_ERROR = re.compile(r"error: (.*)")


def call_pytest(command: str, words: Sequence[str], plugins: Sequence[object] = ()) -> int:
    """Run pytest with these words: its options, and paths that replace the folder of all cases. Return its exit code."""
    # The folder comes first, so that pytest finds the cases' settings; and nothing is left beside the cases.
    # hypothesis, where it is installed, is imported by its plugin when a run ends: a fifth of a second for nothing.
    left_out = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    basics = [str(cases_folder()), "--import-mode=importlib", *left_out, "-rfE"]
    return int(pytest.main([*basics, *words], plugins=[_Paths(), _OneLine(command), *plugins]))


def split_words(words: Sequence[str]) -> list[str]:
    """Return the words without the first `--`, by which earlier versions told pytest's words from their own."""
    at = words.index("--") if "--" in words else len(words)
    return [*words[:at], *words[at + 1 :]]


class _Paths:
    """Has paths run instead of all cases. Which words are paths, pytest knows best."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        config.args = [_found(argument) for argument in config.args[1:]] or config.args


def _found(argument: str) -> str:
    """Return a path below the folder of cases, where there is none from here."""
    path, *rest = argument.split("::", 1)
    inside = cases_folder() / path
    return "::".join([str(inside), *rest]) if not Path(path).exists() and inside.exists() else argument


class _OneLine:
    """Says in one line, with the nearest option, what pytest says in several."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._parser: pytest.Parser | None = None

    def pytest_addoption(self, parser: pytest.Parser) -> None:
        self._parser = parser

    @pytest.hookimpl(wrapper=True)
    def pytest_cmdline_parse(self) -> Generator[None, pytest.Config, pytest.Config]:
        try:
            return (yield)
        except pytest.UsageError as error:
            raise pytest.UsageError(self._in_one_line(str(error))) from None

    def _in_one_line(self, text: str) -> str:
        if unknown := _UNKNOWN.search(text):
            word = next((word for word in unknown[1].split() if word.startswith("-")), unknown[1])
            if word.partition("=")[0] in _OF_XDIST:
                return f"{word} needs pytest-xdist: pip install 'tcp-conformance[workers]'"
            near = difflib.get_close_matches(word.partition("=")[0], self._names(), n=1, cutoff=0.0)
            nearest = f"; the nearest is {near[0]}" if near else ""
            return f"tcp-conformance {self._command}: no option is called {word!r}{nearest}"
        error = _ERROR.search(text)
        return f"tcp-conformance {self._command}: {error[1]}" if error else text

    def _names(self) -> list[str]:
        """Return the options of pytest, of its plugins and our own."""
        groups = [*self._parser._groups, self._parser._anonymous] if self._parser is not None else []
        return [name for group in groups for option in group.options for name in option.names()]
