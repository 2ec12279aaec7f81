"""The mutants themselves: their data, three that are killed, and one that does nothing and survives."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

from conformance.case.ids import cases_folder
from conformance.wire import ACK, FIN, RST, SYN, Flags, Segment, Seq, dissect
from conformance.wire.frames import Template
from tests.memory_link import Memory
from tests.mutants.lab import files, run, whole_lines
from tests.mutants.rules import Mutant, MutantError, loaded, mutants, rule
from tests.mutants.sources import SourceMutant, sources
from tests.mutants.wire import MutantLink

QUICK = ("syn-ack-acknowledges-too-much", "exact-rst-ignored", "checksum-wrong")
_ROW = 'id = "{}", breaks = "{}", what = "it", cases = "rfc5961", rule = "from SYN: drop"'


def test_every_mutant_names_a_rule_and_cases_that_exist() -> None:
    known: list[Mutant | SourceMutant] = [*mutants().values(), *sources().values()]
    assert len(known) >= 150 + 12
    assert not mutants().keys() & sources().keys()
    for mutant in known:
        words = mutant.cases.partition(" -")[0].split()
        assert words and all((cases_folder() / word).exists() for word in words), mutant.id


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("one", "RFC9293:MUST-999")], "one: no requirement is called 'RFC9293:MUST-999'"),
        ([("one", "RFC9293:MUST-13"), ("one", "RFC9293:MUST-13")], "two mutants are called one"),
    ],
)
def test_a_mutant_that_breaks_no_rule_or_comes_twice_is_refused(rows: list[tuple[str, str]], message: str) -> None:
    content = ", ".join(f"{{ {_ROW.format(*row)} }}" for row in rows)
    with pytest.raises(MutantError, match=message):
        loaded(f"mutants = [{content}]", "here")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from SYN", "is not `from"),
        ("at SYN: drop", "is not `from"),
        ("from SNY: drop", "flag 'SNY' is not known"),
        ("from SYN, inn LISTEN: drop", "condition 'inn' is not known"),
        ("from SYN: lose", "change 'lose' is not known"),
        ("app send: drop", "change 'drop' is not known"),
    ],
)
def test_words_that_are_not_known_are_refused(text: str, message: str) -> None:
    with pytest.raises(MutantError, match=message):
        rule(text)


def test_rules_are_held_against_the_segment_as_it_was_sent() -> None:
    template = Template("02:00:00:00:00:01", "02:00:00:00:00:02", "10.77.4.1", "10.77.0.1")
    syn = Segment("10.77.4.1", "10.77.0.1", 33000, 80, Seq(1000), flags=SYN)
    rules = tuple(map(rule, ("to SYN: as RST", "to RST: drop", "to SYN: seq +7")))
    link = Memory("02:00:00:00:00:02")
    MutantLink(link, Mutant("one", "RFC9293:MUST-13", "it", "rfc5961", rules)).send(template.frame(syn))
    (went,) = map(dissect, link.sent)
    assert went is not None
    assert (went.flags, went.seq, went.checksum_ok) == (RST, Seq(1007), True)


@pytest.mark.parametrize(
    ("flags", "reset"),
    [
        (ACK, (RST, Seq(5000), Seq(0))),
        (FIN | ACK, (RST, Seq(5000), Seq(0))),
        (SYN, (RST | ACK, Seq(0), Seq(1001))),
        (FIN, (RST | ACK, Seq(0), Seq(1001))),
        (Flags.NONE, (RST | ACK, Seq(0), Seq(1000))),
    ],
    ids=str,
)
def test_a_reset_in_answer_has_the_form_that_the_standard_gives_it(flags: Flags, reset: tuple[Flags, Seq, Seq]) -> None:
    """RFC 9293 3.10.7.1, whatever else was on the connection before."""
    template = Template("02:00:00:00:00:01", "02:00:00:00:00:02", "10.77.4.1", "10.77.0.1")
    arriving = Segment("10.77.4.1", "10.77.0.1", 33000, 80, Seq(1000), Seq(5000) if flags & ACK else Seq(0), flags)
    delivered: list[bytes] = []

    async def send() -> None:
        link = MutantLink(
            Memory("02:00:00:00:00:02"),
            Mutant("a", "RFC9293:MUST-13", "it", "rfc5961", (rule("to any: answer RST instead"),)),
        )
        link.open(lambda frame, _, _mark="": delivered.append(frame), lambda _: None)
        link.send(template.frame(arriving))
        await asyncio.sleep(0.01)

    asyncio.run(send())
    (answer,) = map(dissect, delivered)
    assert answer is not None
    assert (answer.flags, answer.seq, answer.ack) == reset
    assert (answer.src, answer.dport, answer.checksum_ok) == ("10.77.0.1", 33000, True)


@pytest.mark.parametrize(("arriving", "answers"), [(ACK, [RST]), (SYN, [RST | ACK]), (RST, [])], ids=str)
def test_a_forgotten_connection_answers_as_closed_does(arriving: Flags, answers: list[Flags]) -> None:
    template = Template("02:00:00:00:00:01", "02:00:00:00:00:02", "10.77.4.1", "10.77.0.1")
    segment = Segment("10.77.4.1", "10.77.0.1", 33000, 80, Seq(9000), Seq(5001) if arriving & ACK else Seq(0), arriving)
    delivered: list[bytes] = []

    async def send() -> None:
        memory = Memory("02:00:00:00:00:02")
        link = MutantLink(memory, Mutant("a", "RFC9293:MUST-13", "it", "rfc5961", (rule("to any: forget"),)))
        link.open(lambda frame, _, _mark="": delivered.append(frame), lambda _: None)
        link.send(template.frame(segment))
        await asyncio.sleep(0.01)
        assert memory.sent == []

    asyncio.run(send())
    assert [answer.flags for answer in map(dissect, delivered) if answer] == answers


class _Growing(io.RawIOBase):
    """A file that another process goes on writing: each read ends where the file ended at that moment."""

    def __init__(self, *reads: bytes) -> None:
        self._reads = list(reads)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._reads.pop(0) if self._reads else b""
        buffer[: len(data)] = data
        return len(data)


def test_a_line_that_is_half_written_is_left_for_the_next_reading() -> None:
    growing = _Growing(b'{"id": 1}\n{"id"', b"", b': 2}\n{"id": 3}\n')
    assert list(whole_lines(io.BufferedReader(growing))) == [b'{"id": 1}\n']


def test_a_text_that_is_not_there_once_is_refused() -> None:
    mutant = SourceMutant("mutant", "RFC9293:MUST-13", "it", "rfc5961", "a.rs", "old", "new")
    assert mutant.applied("the old mutant") == "the new mutant"
    for text in ("none", "old, old"):
        with pytest.raises(MutantError, match=r"not once"):
            mutant.applied(text)


def test_mutants_are_killed_and_one_that_does_nothing_survives(lab: None) -> None:
    same = "it is no other target"
    nothing = Mutant("nothing", "RFC9293:3.5-syn-ack", "nothing is changed", " ".join(_relative()), survives=same)
    results = run([*(mutants()[name] for name in QUICK), nothing], tiers=["quick"])
    assert (results["total"], results["killed"]) == (4, 3)
    assert results["survivors"] == [{"id": "nothing", "reason": same}]
    fates = {one["id"]: one for one in results["mutants"]}
    assert fates["nothing"]["cases_run"] > 50
    for name in QUICK:
        assert fates[name]["killers"][0]["verifies"], fates[name]


def _relative() -> list[str]:
    return [one.removeprefix(f"{cases_folder()}/") for one in files([mutants()[name] for name in QUICK])]
