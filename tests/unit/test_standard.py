"""The catalogues of requirements and claims, the states, the profiles."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from conformance.standard import _data, catalogue, cells, profile, profile_rows
from conformance.standard.states import (
    FIN_ACKNOWLEDGED,
    FIN_OUTSTANDING,
    NON_SYNCHRONIZED,
    SYNCHRONIZED,
    State,
)

# -- states ------------------------------------------------------------------------------------------


def test_there_are_eleven_states_and_each_is_its_own_name() -> None:
    assert len(State) == 11
    assert all(State.parse(str(state)) is state for state in State)
    assert SYNCHRONIZED | NON_SYNCHRONIZED | {State.CLOSED} == set(State)
    assert not FIN_OUTSTANDING & FIN_ACKNOWLEDGED


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("fin_wait_1", State.FIN_WAIT_1),
        (" Time-Wait ", State.TIME_WAIT),
        ("SYN RCVD", State.SYN_RECEIVED),
        ("ESTAB", State.ESTABLISHED),
        ("FINWAIT-2", State.FIN_WAIT_2),
    ],
)
def test_a_state_is_understood_as_people_write_it(text: str, state: State) -> None:
    assert State.parse(text) is state


def test_an_unknown_state_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="no TCP state is called 'FIN-WAIT'; the nearest is FIN-WAIT"):
        State.parse("FIN-WAIT")


# -- catalogues --------------------------------------------------------------------------------------


def test_every_numbered_requirement_of_rfc_9293_is_there() -> None:
    ids = catalogue.requirements()
    for prefix, count in (("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1)):
        for number in range(1, count + 1):
            assert f"RFC9293:{prefix}-{number}" in ids
    numbered = [name for name in ids if re.fullmatch(r"RFC9293:(MUST|SHLD|MAY|REC)-\d+", name)]
    assert len(numbered) == 119


def test_a_numbered_sentence_carries_its_number() -> None:
    for name, row in catalogue.requirements().items():
        # The number of MUST-22 stands in the RFC's appendix B alone.
        if re.fullmatch(r"RFC9293:(MUST|SHLD|MAY|REC)-\d+", name) and name != "RFC9293:MUST-22":
            assert re.search(rf"{name.removeprefix('RFC9293:')}(?!\d)", row.sentence), name
            assert row.polarity in row.sentence, name


def test_a_requirement_says_what_a_report_needs() -> None:
    for row in catalogue.requirements().values():
        assert row.sentence == row.sentence.strip()
        assert "  " not in row.sentence, row.id
        assert row.summary.endswith("."), row.id
        if row.document.startswith("RFC"):
            assert row.url == f"https://www.rfc-editor.org/rfc/{row.document.lower()}.html#section-{row.section}"
        else:
            assert row.url.startswith("https://"), row.id


def test_only_sentences_that_could_be_compared_are_quoted() -> None:
    empty = {row.id for row in catalogue.requirements().values() if not row.sentence}
    assert {name for name in empty if not name.startswith(("RFC5927:", "RFC8201:"))} == {
        "RFC4821:2-robust",
        "RFC4821:7.8-verification",
        "RFC6191:2-3",
        "RFC6191:2-5",
        "RFC6191:2-6",
    }


@pytest.mark.skipif(
    "RFC_TEXTS" not in os.environ, reason="RFC_TEXTS names no folder with rfc9293.txt, rfc1122.txt, ..."
)
def test_sentences_are_the_documents_own() -> None:
    for path in Path(os.environ["RFC_TEXTS"]).glob("rfc*.txt"):
        text = plain(path.read_text(encoding="utf-8"))
        rows = [row for row in catalogue.requirements().values() if row.document == path.stem.upper()]
        assert not [row.id for row in rows if row.sentence not in text]


def plain(text: str) -> str:
    """An RFC's text as one line: without page furniture and change bars, words broken at a hyphen put together."""
    text = re.sub(r"\n[^\n]*\[Page \d+\]\n", "\n", text)
    text = re.sub(r"\n\f?RFC ?\d+ +[^\n]*\d{4}\n", "\n", text)
    text = re.sub(r"^\s*\|  ", " ", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=\w)([-/])\n\s*", r"\1", text)
    return re.sub(r"\s+", " ", text)


def test_an_unknown_requirement_names_the_nearest() -> None:
    with pytest.raises(catalogue.UnknownRequirement, match="'RFC9293:MUTS-13'; the nearest is RFC9293:MUST-13"):
        catalogue.requirement("RFC9293:MUTS-13")
    with pytest.raises(catalogue.UnknownRequirement, match="no claim is called 'claim:C-99'"):
        catalogue.claim("claim:C-99")


@pytest.mark.parametrize(
    ("ids", "level"),
    [
        (["RFC9293:MUST-13", "RFC9293:MAY-2"], "MUST"),
        (["RFC9293:MAY-2", "RFC9293:SHLD-4"], "SHOULD"),
        (["RFC9293:REC-1", "RFC9293:MAY-2"], "SHOULD"),
        (["RFC9293:MAY-2", "RFC9293:3.6-case-3"], "MAY"),
        (["RFC9293:3.6-case-3", "claim:C-18"], "text"),
        ([], "text"),
    ],
)
def test_the_strictest_level_counts(ids: list[str], level: str) -> None:
    assert catalogue.level_of(ids) == level


ROW = """
document = "RFC9293"
title = "TCP"
[[requirement]]
id = "MUST-1"
level = "MUST"
polarity = "MUST"
section = "3.1"
summary = "A summary."
sentence = "A sentence."
observable = "yes"
group = "Window"
"""


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('level = "MUST"', 'level = "MSUT"', "level is 'MSUT'; it should be one of MUST, SHOULD"),
        ('observable = "yes"', 'observable = "maybe"', "observable is 'maybe'"),
        ('observable = "yes"', 'observable = "no"', "a reason goes with observable"),
        ('observable = "yes"', 'observable = "yes"\npartly = "some"', "partly (what remains unseen) with partly alone"),
        ('observable = "yes"', 'observable = "partly"\npartly = "some"\nreason = "a"', "a reason goes with"),
        ('group = "Window"', "", "group missing; a row has"),
        ('group = "Window"', 'group = "Window"\ncolour = "red"', "unknown key colour"),
        ('summary = "A summary."', 'summary = ""', "summary or section is empty"),
        ('section = "3.1"', "section = 3.1.1", "not TOML"),
    ],
)
def test_a_wrong_catalogue_says_which_row_and_what_would_be_right(old: str, new: str, says: str) -> None:
    with pytest.raises(_data.DataError, match=re.escape(says)) as raised:
        catalogue.parse_requirements(ROW.replace(old, new), "rfc9293.toml")
    assert str(raised.value).startswith("rfc9293.toml")
    assert "\n" not in str(raised.value)


def test_an_id_that_is_there_twice_is_refused() -> None:
    twice = ROW + ROW.partition("[[requirement]]")[1] + ROW.partition("[[requirement]]")[2]
    with pytest.raises(_data.DataError, match=r"requirement 2 \(MUST-1\): the id is there twice"):
        catalogue.parse_requirements(twice, "rfc9293.toml")


# -- claims ------------------------------------------------------------------------------------------


def test_every_claim_is_there_and_those_on_connections_rest_on_a_sentence() -> None:
    assert list(catalogue.claims()) == [f"C-{number:02}" for number in range(1, 62)]
    for number in range(1, 30):
        claim = catalogue.claim(f"claim:C-{number:02}")
        assert any(catalogue.requirement(name).sentence for name in claim.rests_on), claim.id


def test_claims_about_one_kernel_say_so() -> None:
    notes = {claim.id: claim.note for claim in catalogue.claims().values() if claim.topic == "tunable"}
    assert notes
    assert all(note.startswith("Linux") for note in notes.values())


def test_a_claim_that_rests_on_nothing_known_is_refused() -> None:
    text = '[[claim]]\nid = "C-01"\ntopic = "t"\nsays = "s"\nchecked = "c"\nrests_on = ["RFC9293:MUST-113"]\n'
    with pytest.raises(_data.DataError, match=r"claim 1 \(C-01\): rests on 'RFC9293:MUST-113'; the nearest is"):
        catalogue.parse_claims(text, "claims.toml")


# -- profiles ----------------------------------------------------------------------------------------


def test_linux_documents_its_timers() -> None:
    linux = profile.profile("linux")
    assert "linux" in profile.profiles()
    time_wait = linux.timer("time-wait")
    assert (time_wait.value_s, round(time_wait.low_s, 3), round(time_wait.high_s, 3)) == (60, 59.99, 67.55)
    delayed = linux.timer("delayed-ack")
    assert (round(delayed.low_s, 3), round(delayed.high_s, 3)) == (0.03, 0.275)
    assert linux.timer("syn-ack-rto").schedule_s == (1, 2, 4, 8, 16)
    assert sum(linux.timer("syn-rto").schedule_s) == 67  # what ip-sysctl.rst gives for tcp_syn_retries = 6
    assert all(timer.source for timer in linux.timers.values())


def test_a_step_of_a_schedule_has_bounds_of_its_own() -> None:
    low, high = profile.profile("linux").timer("syn-ack-rto").bounds(8)
    assert (round(low, 3), round(high, 3)) == (7.99, 9.05)


def test_an_unknown_profile_or_timer_names_the_nearest() -> None:
    with pytest.raises(profile.UnknownProfile, match="no profile is called 'linx'; the nearest is linux"):
        profile.profile("linx")
    with pytest.raises(profile.UnknownProfile, match="profile linux has no timer 'timewait'; the nearest is time-wait"):
        profile.profile("linux").timer("timewait")


PROFILE = """
title = "A stack"
[timer.time-wait]
value_s = 30
late_fraction = 0
late_s = 0.5
source = "its manual"
[choices]
syn-retries = 3
[[deviation]]
cases = ["TIME-WAIT/*", "test_rst[ipv?]"]
requirement = "RFC9293:MUST-13"
sentence = "It lingers for 30 s."
reason = "Memory is short."
source = "its manual"
shows = "ended after 30"
"""


def test_a_profile_can_be_brought_as_text() -> None:
    own = profile.parse(PROFILE, "own.toml", "own")
    assert (own.timer("time-wait").low_s, own.timer("time-wait").high_s) == (29.99, 30.5)
    assert own.choices["syn-retries"] == 3
    assert own.deviations_of("test_time_wait", "TIME-WAIT/timeout-2msl") == own.deviations
    assert own.deviations_of("test_rst[ipv6]") == own.deviations
    assert own.deviations[0].shown_by("TIME-WAIT ended after 30.01 s")
    assert not own.deviations[0].shown_by("no answer to the SYN")
    assert own.deviations_of("test_rst6", "LAST-ACK/fin-duplicate") == ()


def test_a_deviation_has_the_day_on_which_it_was_seen_its_own_or_the_profiles() -> None:
    dated = PROFILE.replace('title = "A stack"', 'title = "A stack"\ndate = 2026-11-21')
    assert profile.parse(PROFILE, "own.toml", "own").deviations[0].date == ""
    assert profile.parse(dated, "own.toml", "own").deviations[0].date == "2026-11-21"
    assert profile.parse(dated + 'date = "2026-12-01"', "own.toml", "own").deviations[0].date == "2026-12-01"
    for name in profile.profiles():
        assert all(row.date for row in profile.profile(name).deviations), f"{name}.toml needs a date"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("RFC9293:MUST-13", "RFC9293:MUST-133", "deviation 1: no requirement is called 'RFC9293:MUST-133'"),
        (
            'reason = "Memory is short."',
            'reason = ""',
            "cases (or in_the_way_of), reason, source and shows cannot be empty",
        ),
        ('shows = "ended', 'shows = "(ended', "shows is no regular expression"),
        ("value_s = 30", "value_s = 0", "timer time-wait: value_s 0.0"),
        ("value_s = 30", "value_s = 30\nleast_s = 31", "0 <= least_s <= value_s"),
        ("late_s = 0.5", "late_s = -1", "cannot be negative"),
        ('title = "A stack"', "", "title missing"),
        ('title = "A stack"', 'title = "A stack"\ndate = "yesterday"', "date 'yesterday' is no day; one is 2026-11-21"),
        ('title = "A stack"', 'title = "A stack"\nprobes = "never"', "probes must be true or false, it is 'never'"),
        ("value_s = 30", 'value_s = "30"', "own.toml:4, timer time-wait: value_s must be a number, it is '30'"),
        ("late_s = 0.5", "later_s = 0.5", "own.toml:6, timer time-wait: unknown key later_s"),
        ("syn-retries = 3", "syn-retries = 3.5", "own.toml:9, choices: syn-retries must be a text, a whole number"),
        ('reason = "Memory', 'reasons = "Memory', "own.toml:10, deviation 1: reason missing"),
        ('cases = ["TIME', 'cases = [3, "TIME', "own.toml:11, deviation 1: cases must be a text or a list of texts"),
        ("MUST-13", "MUST-133", "own.toml:12, deviation 1: no requirement"),
        (
            'title = "A stack"',
            'title = "A stack"\nextends = "linx"',
            "own.toml:3: extends: no profile is called 'linx'",
        ),
        ("[[deviation]]", "[deviation]", "own.toml:10: deviation must be tables, [[deviation]]"),
        ("[timer.time-wait]", "[timer]", "own.toml:3: timer must be tables, [timer.NAME]"),
    ],
)
def test_a_wrong_profile_says_where_and_what_would_be_right(old: str, new: str, says: str) -> None:
    with pytest.raises(_data.DataError, match=re.escape(says)) as raised:
        profile.parse(PROFILE.replace(old, new, 1), "own.toml", "own")
    assert str(raised.value).startswith("own.toml")


def test_a_profile_may_extend_another() -> None:
    linux, old = profile.profile("linux"), profile.profile("linux-6.1")
    assert old.timer("time-wait") == linux.timer("time-wait")
    assert old.timer("syn-rto").schedule_s != linux.timer("syn-rto").schedule_s
    assert old.choices == {**linux.choices, "syn-linear-timeouts": 0}
    later = "RFC6298:5.5", "RFC3168:6.1.1-forms", "RFC7323:5.3-R4"
    without = {row for row in linux.deviations if row.requirement in later}
    assert without and set(linux.deviations) - set(old.deviations) == without
    late = profile.parse('title = "late"\nextends = "linux"\nlate_s = 2', "late.toml", "late")
    assert late.timer("time-wait") == dataclasses.replace(linux.timer("time-wait"), late_s=2)
    with pytest.raises(
        _data.DataError, match=r"own\.toml:3: without: what it extends has no deviation from RFC9293:MUST-1$"
    ):
        profile.parse('title = "own"\nextends = "linux"\nwithout = ["RFC9293:MUST-1"]', "own.toml", "own")


def test_deviations_of_the_packaged_profiles_cover_cells_that_exist() -> None:
    known = [cell.id for cell in cells.cells()]
    for name in profile.profiles():
        for row in profile.profile(name).deviations:
            named = [pattern for pattern in row.cases if re.match(r"[A-Z][A-Z0-9-]+(\(\w+\))?/", pattern)]
            for pattern in named:
                single = dataclasses.replace(row, cases=(pattern,))
                assert any(single.covers(cell) for cell in known), f"{name}: {pattern} covers no cell"


def test_a_missing_data_file_is_one_clear_line() -> None:
    with pytest.raises(_data.DataError, match=r"profiles/none\.toml: no such file"):
        _data.text("profiles/none.toml")


def test_the_page_about_profiles_names_every_key_and_its_example_is_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "profiles.md").read_text("utf-8")
    example = page.partition("## An example\n\n```toml\n")[2].partition("```")[0]
    own = profile.parse(example, "example.toml", "example")
    assert own.timer("time-wait").value_s == 60 and len(own.deviations) == 1
    keys = {*re.findall(r"^\| `\[*([\w]+)(?:\.NAME)?\]*` \|", page, re.MULTILINE)}
    assert keys == {*profile.KEYS, *profile_rows.TIMER, *profile_rows.SETTING, *profile_rows.DEVIATION}
