"""Check the reports of runs: JUnit XML, pytest-html, the step's summary, and an overview that names what violates first."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Suite
from tests.schemas import valid
from tests.unit.test_report import assert_sound

CASES = '''
    @pytest.mark.parametrize("what", ["ack", "flags", "silence"])
    @verifies("RFC9293:MUST-13", "RFC9293:3.6-case-1")
    async def test_violates(tcp, what):
        """An expectation that no target can meet."""
        conn = await tcp.drive_to(State.ESTABLISHED)
        await conn.send(ACK, payload=b"abc", text="three octets")
        if what == "silence":
            await conn.silence(for_=0.1)
        await conn.expect(ACK if what == "ack" else FIN, seq=conn.rcv_nxt, ack=conn.snd_nxt + (what == "ack"))

    @pytest.mark.parametrize("what", ["<img src=x>"])
    @verifies("RFC9293:3.5-handshake")
    async def test_conforms(tcp, what):
        """The handshake."""
        await tcp.drive_to(State.ESTABLISHED)

    @verifies("RFC9293:MUST-13", needs=["teleport"])
    async def test_not_applicable(tcp):
        """A capability that no target has."""

    @verifies("RFC9293:MUST-13")
    async def test_error(tcp):
        """The harness fails."""
        raise HarnessFault("the lab fell over: <b>")
'''


def test_three_violations_are_named_first_and_their_frames_are_marked(suite: Callable[[str], Suite]) -> None:
    ran = suite(CASES).run("--family=4", "--junitxml=out/junit.xml", "--html=out/pytest.html")
    assert ran.code == pytest.ExitCode.TESTS_FAILED
    index = (ran.output / "index.html").read_text()
    first = index[index.index("<main") :].partition("</section>")[0]
    assert 'id="violates"' in first
    for name in ("pytest.html", "junit.xml"):  # written after it
        assert f'href="{name}"' in (ran.output / "run.html").read_text() and (ran.output / name).is_file()
    links = re.findall(r'<td class="names"><a href="([^"]+)"', first)
    assert len(links) == 3
    for link in links:
        page = (ran.output / link).read_text()
        frame = re.search(r'<tr id="frame-(\d+)" class="failed">', page)
        assert frame is not None, link
        assert f'href="{link}#frame-{frame.group(1)}"' in first
        ladder = page.partition('class="ladder"')[2].partition("</svg>")[0]
        assert 'class="arrow failed"' in ladder
    assert_sound_but_for_pytest(ran.output)

    cases = {one.get("name", ""): one for one in valid(ran.output / "junit.xml").iter("testcase")}
    assert len(cases) == 6
    text = {one.get("name"): one.get("value") for one in cases["test_violates[ipv4-ack]"].iter("property")}
    assert text == {
        "section": "RFC9293 3.6.1",
        "requirements": "RFC9293:MUST-13,RFC9293:3.6-case-1",
        "level": "MUST",
        "verdict": "violates",
        "states": "ESTABLISHED",
    }
    assert all(case.find("properties") is not None for case in cases.values())

    html = (ran.output / "pytest.html").read_text()
    assert all(f">{name}</th>" in html for name in ("Section", "Requirement", "Level", "Verdict", "State path"))
    assert "<img" not in html.replace('<img src="', "")
    assert "cases/violates-ipv4-ack" in html
    assert "captures/violates-ipv4-ack" in html


def assert_sound_but_for_pytest(output: Path) -> None:
    (output / "pytest.html").rename(output / "kept")
    (output / "pytest.html").write_text("<html></html>")
    assert_sound(output)
    (output / "kept").rename(output / "pytest.html")


def test_properties_get_the_names_that_a_tool_reads(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    ini = made.folder / "pytest.ini"
    ini.write_text(
        "[pytest]\nconformance_properties =\n  id = test_id\n  requirements\n  verdict = polarion-custom-verdict\n"
    )
    made.run("--family=4", "--junitxml=junit.xml", "-k", "conforms")
    (case,) = valid(made.folder / "junit.xml").iter("testcase")
    assert {one.get("name"): one.get("value") for one in case.iter("property")} == {
        "test_id": "test_cases.py::test_conforms[ipv4-<img src=x>]",
        "requirements": "RFC9293:3.5-handshake",
        "polarion-custom-verdict": "conforms",
    }
    ini.write_text("[pytest]\nconformance_properties =\n  verdikt = x\n")
    ran = made.run("--family=4")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "'verdikt = x' is not `our name = your name`; ours are section," in ran.out


def test_a_run_without_cases_gets_no_columns(suite: Callable[[str], Suite]) -> None:
    made = suite(CASES)
    (made.folder / "test_plain.py").write_text("def test_plain(): pass\n")
    ran = made.run("--html=plain.html", "test_plain.py")
    assert ran.code == pytest.ExitCode.OK, ran.out
    page = (made.folder / "plain.html").read_text()
    assert "State path" not in page
    assert "test_plain.py::test_plain" in page


def test_the_steps_summary_is_written_only_when_asked_for(
    suite: Callable[[str], Suite], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = suite(CASES)
    step = made.folder / "step.md"
    step.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(step))
    made.run("--family=4", "-k", "conforms")
    assert step.read_text() == "before\n"
    made.run("--family=4", "-k", "conforms", "--step-summary")
    assert step.read_text() == "before\n" + (made.folder / "out" / "summary.md").read_text()
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    ran = made.run("--family=4", "-k", "conforms", "--step-summary")
    assert ran.code == pytest.ExitCode.USAGE_ERROR
    assert "GITHUB_STEP_SUMMARY is not set" in ran.out
    assert "Traceback" not in ran.out
