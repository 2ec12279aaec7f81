"""Every case's title: short, plain and its own, in the words that reports show."""

import json
import re
import subprocess
import sys
from collections import Counter

import pytest

from conformance.case.titles import title_of, words
from conformance.standard.states import State

LEFTOVER = re.compile(r"\b(True|False|None)\b|[<>{}]|0x|\(\d+(-| \d)|State\.|\w\(\)|-\)")
"""Leftovers of Python, and of pytest's ids, in a title that nobody has read."""


@pytest.fixture(scope="module")
def titles() -> list[str]:
    """The titles of all cases, as `tcp-conformance list` has them."""
    listed = subprocess.run(
        [sys.executable, "-m", "conformance.cli", "list", "--json"], capture_output=True, text=True, check=True
    )
    return [case["title"] for case in json.loads(listed.stdout)]


def test_every_title_is_unique(titles: list[str]) -> None:
    """Two cases with one title can't be told apart in a report."""
    assert len(titles) > 1_900
    assert [title for title, times in Counter(titles).items() if times > 1] == []


def test_no_title_has_a_leftover_of_python(titles: list[str]) -> None:
    """A parameter is put in words, or the case's id names it."""
    assert [title for title in titles if LEFTOVER.search(title)] == []


def test_no_title_begins_with_a_fragment(titles: list[str]) -> None:
    """A title is a sentence about the target, not about the test."""
    assert [title for title in titles if re.match(r"(What|Whether|How|That|If|When)\b", title)] == []
    assert [title for title in titles if not title.endswith(".") or ".." in title] == []


def test_titles_are_short(titles: list[str]) -> None:
    """Nine of ten fit on a line of a terminal beside their verdict, and none is longer than 100 characters."""
    assert sorted(title for title in titles if len(title) > 100) == []
    assert sum(len(title) <= 70 for title in titles) >= 0.9 * len(titles)


@pytest.mark.parametrize(
    ("case", "written"),
    [
        ("in-fin-wait-1-without-sack", "FIN-WAIT-1 without SACK"),
        ("syn-received-by-active-open", "SYN-RECEIVED by active open"),
        ("data-and-fin", "data and FIN"),
        ("syn-ack-beyond-snd-nxt", "SYN,ACK beyond SND.NXT"),
        ("-1", "-1"),
    ],
)
def test_an_id_is_written_in_words(case: str, written: str) -> None:
    """States and flags are spelt as RFC 9293 spells them."""
    assert words(case) == written


def test_a_title_names_parameters_or_the_id() -> None:
    """Named parameters replace the id; a State has the RFC's name, a bool is on or off."""
    assert title_of("ACK in {state}.", {"state": State.FIN_WAIT_1}, "in-fin-wait-1") == "ACK in FIN-WAIT-1."
    assert title_of("It is {on}.", {"on": True}, "True") == "It is on."
    assert title_of("It is acknowledged.", {"by": "x"}, "passive") == "It is acknowledged (passive)."
    assert title_of("It is acknowledged.", {}, "") == "It is acknowledged."


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("In {stat}.", "names {stat}, which is no parameter of the case"),
        ("In {place}.", "names {place}, which has no words"),
    ],
)
def test_a_parameter_that_cannot_be_written_is_an_error(line: str, message: str) -> None:
    """The message says which parameter it is."""
    with pytest.raises(ValueError, match=re.escape(message)):
        title_of(line, {"place": (1, 2)}, "x")
