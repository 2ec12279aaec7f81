"""The pages: everything linked, everything escaped, nothing overlapping, whatever the record says."""

import copy
import json
import re
import socket
import struct
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers import inet, l2  # not within a test: its import opens a socket

from conformance.record import (
    CapturedFrame,
    PcapngWriter,
    RecordError,
    ResultsWriter,
    capture_name,
    case_name,
    read_pcapng,
    record_of,
)
from conformance.report.bar import draw_bar
from conformance.report.causes import causes
from conformance.report.dissect import dissect
from conformance.report.frames import relate
from conformance.report.ladder import draw_ladder
from conformance.report.overview import gather
from conformance.report.pages import make_report
from conformance.report.summary import as_markdown
from conformance.report.text import bounds, clean, duration, seconds

T0 = 1_795_000_000_000_000_000
US, MS, S = 1_000, 1_000_000, 1_000_000_000
FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10
ISS, IRS = 4_000_000_000, 123_456
TESTER, TARGET, PORT, TARGET_PORT = "10.77.1.5", "10.77.0.1", 40001, 20001
SIX = {TESTER: "fd77::1:5", TARGET: "fd77::1"}


# -- frames and records to draw ------------------------------------------------------------------------------


def _sum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data + bytes(len(data) % 2)) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def ethernet(inside: bytes, kind: int = 0x0800) -> bytes:
    return bytes.fromhex("020000000001020000000002") + struct.pack("!H", kind) + inside


def ip(src: str, dst: str, protocol: int, inside: bytes) -> bytes:
    if ":" in src:
        head = struct.pack("!IHBB", 6 << 28, len(inside), protocol, 64)
        return ethernet(head + socket.inet_pton(10, src) + socket.inet_pton(10, dst) + inside, 0x86DD)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(inside), 1, 0x4000, 64, protocol, 0)
    head += socket.inet_aton(src) + socket.inet_aton(dst)
    return ethernet(head[:10] + struct.pack("!H", _sum(head)) + head[12:] + inside)


def segment(
    inbound: bool,
    flags: int,
    seq: int,
    ack: int = 0,
    data: bytes = b"",
    *,
    options: bytes = b"",
    family: int = 4,
    port: int = PORT,
    window: int = 64240,
    spoil: bool = False,
) -> bytes:
    """A frame of the sample connection; seq and ack are relative."""
    ours, theirs = (TESTER, TARGET) if family == 4 else (SIX[TESTER], SIX[TARGET])
    src, dst = (theirs, ours) if inbound else (ours, theirs)
    ports = (TARGET_PORT, port) if inbound else (port, TARGET_PORT)
    numbers = ((IRS + seq) % 2**32, (ISS + ack) % 2**32) if inbound else ((ISS + seq) % 2**32, (IRS + ack) % 2**32)
    if not flags & ACK:
        numbers = (numbers[0], 0)
    word = (20 + len(options)) // 4 << 12 | flags
    raw = struct.pack("!HHIIHHHH", *ports, *numbers, word, window, 0, 0) + options + data
    domain = socket.AF_INET if family == 4 else socket.AF_INET6
    pseudo = socket.inet_pton(domain, src) + socket.inet_pton(domain, dst)
    pseudo += struct.pack("!II", len(raw), 6) if family == 6 else struct.pack("!HH", 6, len(raw))
    checksum = _sum(pseudo + raw) ^ (0x1111 if spoil else 0)
    return ip(src, dst, 6, raw[:16] + struct.pack("!H", checksum) + raw[18:])


def arp() -> bytes:
    addresses = bytes(6) + socket.inet_aton(TARGET) + bytes(6) + socket.inet_aton(TESTER)
    return ethernet(struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + addresses, 0x0806)


MSS = bytes([2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7])
HANDSHAKE = [
    (0, False, SYN, 0, 0, b""),
    (110 * US, True, SYN | ACK, 0, 1, b""),
    (320 * US, False, ACK, 1, 1, b""),
]


def make_row(cell_id: str, **changes: Any) -> dict[str, Any]:
    """One row of the documented machine, as a record has it."""
    state = cell_id.partition("/")[0].partition("(")[0]
    row = {"id": cell_id, "row": "SA-308", "kind": "segment", "state": state, "origin": "either", "event": "FIN,ACK"}
    return {**row, "next": [state], "responses": ["silence"], **changes}


def make_record(
    name: str = "test_s3_6_closing.py::test_simultaneous_close", family: int = 4, **changes: Any
) -> dict[str, Any]:
    """A whole record that conforms; `changes` replace fields."""
    case_id = f"rfc9293/{name}[ipv{family}]"
    tester = {"address": TESTER, "port": PORT, "iss": ISS, "target_port": TARGET_PORT, "irs": IRS}
    if family == 6:
        tester["address"] = SIX[TESTER]
    sentence = {
        "id": "RFC9293:MUST-13",
        "level": "MUST",
        "section": "3.6.1",
        "text": "When a connection is closed actively, it MUST linger in the TIME-WAIT state for a time 2xMSL.",
        "url": "https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1",
    }
    record: dict[str, Any] = {
        "schema": 1,
        "id": case_id,
        "title": "Both ends close at once.",
        "description": "Each FIN crosses the other, so neither covers the other's FIN.\n\nThe target is in CLOSING.",
        "verdict": "conforms",
        "level": "MUST",
        "document": "RFC9293",
        "section": "3.6",
        "family": family,
        "requirements": ["RFC9293:MUST-13"],
        "cells": ["FIN-WAIT-1/fin-not-covering-fin"],
        "rows": [make_row("FIN-WAIT-1/fin-not-covering-fin", next=["CLOSING"], responses=["ack-new"])],
        "claims": ["C-18"],
        "sentences": [sentence],
        "needs": ["app", "state"],
        "target": {
            "name": "linux",
            "version": "6.18",
            "profile": "linux",
            "address": SIX[TARGET] if family == 6 else TARGET,
            "settings": {"net.ipv4.tcp_fin_timeout": 60, "net.ipv4.tcp_timestamps": 1, "net.ipv4.tcp_sack": 1},
        },
        "run": {
            "id": "2026-11-21T10:00:00Z",
            "started_ns": T0 - 5 * S,
            "harness": "0.1.0",
            "python": "3.11.7",
            "command": "pytest testcases --report",
            "jitter": {"loop_p99_us": 90.0, "stamp_p99_us": 8.0},
        },
        "started_ns": T0 - 2 * MS,
        "duration_s": 1.25,
        "timings": [],
        "states": [],
        "choices": [],
        "deviation": None,
        "steps": [],
        "tester": tester,
        "capture": capture_name(case_id),
        "message": "",
        "failure": "",
    }
    return record | changes


def save(run: Path, record: dict[str, Any], frames: list[tuple[Any, ...]]) -> None:
    """Append the record and write its capture: (time after T0, inbound, flags or a whole frame, seq, ack, data)."""
    with ResultsWriter(run / "results.jsonl") as results:
        results.append(record_of(record))
    path = run / (record["capture"] or capture_name(record["id"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        writer = PcapngWriter(file, application="tcp-conformance 0.1.0", interface="tester0", comment=record["id"])
        for at, inbound, what, *rest in frames:
            if isinstance(what, bytes):
                writer.write(what, T0 + at, inbound=inbound, comment=rest[0] if rest else "")
                continue
            options = MSS if what & SYN else b""
            frame = segment(inbound, what, *rest, options=options, family=record["family"])
            writer.write(frame, T0 + at, inbound=inbound, comment="drives the target" if at < MS else "")


def simultaneous_close(family: int = 4, *, broken: bool = False) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    steps = [
        {"kind": "app", "at_ns": T0 + 2 * MS, "ok": True, "text": "close()"},
        {
            "kind": "send",
            "at_ns": T0 + 4 * MS,
            "frame": 6,
            "text": "does not cover the target's FIN",
            "line": "FIN+ACK seq=+1 ack=+1 win=64240",
        },
        {
            "kind": "receive",
            "at_ns": T0 + 4 * MS + 90 * US,
            "frame": 7,
            "ok": not broken,
            "text": "ACK, ack=+1" if broken else "ACK, ack=+2",
            "expected": "ACK seq=+2 ack=+2 within 1 s",
        },
    ]
    states = [
        {"at_ns": T0 + 110 * US, "side": "target", "state": "SYN-RECEIVED", "by": "wire"},
        {"at_ns": T0 + 320 * US, "side": "tester", "state": "ESTABLISHED", "by": "wire"},
        {"at_ns": T0 + 900 * US, "side": "target", "state": "ESTABLISHED", "by": "agent"},
        {"at_ns": T0 + 3 * MS, "side": "target", "state": "FIN-WAIT-1", "by": "agent"},
        {"at_ns": T0 + 5 * MS, "side": "target", "state": "CLOSING", "by": "agent"},
        {"at_ns": T0 + 6 * MS, "side": "target", "state": "CLOSING", "by": "probe"},
    ]
    frames: list[tuple[Any, ...]] = [
        (-MS, True, arp(), "who has the tester's address"),
        *HANDSHAKE,
        (2 * MS + 130 * US, True, FIN | ACK, 1, 1),
        (4 * MS, False, FIN | ACK, 1, 1),
        (4 * MS + 90 * US, True, ACK, 2, 1 if broken else 2),
    ]
    changes: dict[str, Any] = {"steps": steps, "states": states}
    if broken:
        steps[2]["differences"] = [{"field": "ack", "expected": "+2", "actual": "+1"}]
        steps.append(
            {
                "kind": "missing",
                "at_ns": T0 + 1004 * MS,
                "ok": False,
                "expected": "ACK seq=+2 ack=+2 within 1 s",
                "text": "nothing came",
            }
        )
        lines = [
            "RFC9293:MUST-13 (3.6)",
            "state     CLOSING",
            "stimulus  FIN+ACK seq=+1 ack=+1",
            "allowed   ACK seq=+2 ack=+2 within 1 s",
            "",
            "#6  tester -> target  FIN+ACK seq=+1 ack=+1",
            "#7  target -> tester  ACK seq=+2 ack=+1    ack: expected +2, came +1",
        ]
        failure = "\n".join(lines)
        changes |= {
            "verdict": "violates",
            "message": "ACK ack=+1 came, ACK ack=+2 was due: our FIN is not acknowledged",
            "failure": failure,
        }
    else:
        steps.append(
            {
                "kind": "silence",
                "at_ns": T0 + 10 * MS,
                "until_ns": T0 + 310 * MS,
                "ok": True,
                "text": "no segment for 0.3 s",
            }
        )
        frames += [(320 * MS, False, ACK, 2, 2), (321 * MS, False, ACK, 1, 2), (321 * MS + 80 * US, True, ACK, 2, 2)]
        steps.append({"kind": "send", "at_ns": T0 + 320 * MS, "frame": 8, "text": "now cover it"})
        states.append({"at_ns": T0 + 322 * MS, "side": "target", "state": "TIME-WAIT", "by": "agent"})
    name = "test_s3_6_closing.py::test_simultaneous_close" + ("_broken" if broken else "")
    return make_record(name, family, **changes), frames


def time_wait(family: int = 4) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    end = 60 * S + 910 * MS
    timing = {
        "name": "TIME-WAIT",
        "measured_s": 60.907,
        "low_s": 60.0,
        "high_s": 67.5,
        "source": "Linux: TCP_TIMEWAIT_LEN",
        "how": "last ACK's transmit stamp to the first RST",
        "ok": True,
    }
    frames: list[tuple[Any, ...]] = [
        *HANDSHAKE,
        (2 * MS, True, FIN | ACK, 1, 1),
        (3 * MS, False, FIN | ACK, 1, 2),
        (3 * MS + 60 * US, True, ACK, 2, 2),
        (end, False, ACK, 2, 2),
        (end + 85 * US, True, RST, 2, 2),
    ]
    states = [
        {"at_ns": T0 + MS, "side": "target", "state": "ESTABLISHED", "by": "agent"},
        {"at_ns": T0 + 4 * MS, "side": "target", "state": "TIME-WAIT", "by": "agent"},
        {"at_ns": T0 + end + 2 * MS, "side": "target", "state": "CLOSED", "by": "probe"},
    ]
    steps = [
        {"kind": "app", "at_ns": T0 + 1500 * US, "ok": True, "text": "close()"},
        {"kind": "note", "at_ns": T0 + 5 * MS, "text": "the four-tuple is left alone until 2MSL have passed"},
        {
            "kind": "send",
            "at_ns": T0 + end,
            "frame": 7,
            "text": "a probe: answered by RST once the target has forgotten us",
        },
        {
            "kind": "receive",
            "at_ns": T0 + end + 85 * US,
            "frame": 8,
            "ok": True,
            "text": "RST, seq=+2",
            "expected": "RST",
        },
    ]
    choices = [{"name": "FIN in TIME-WAIT restarts 2MSL", "taken": "yes", "allowed": ["yes", "no"]}]
    changes = {
        "title": "TIME-WAIT lasts two maximum segment lifetimes.",
        "timings": [timing],
        "states": states,
        "steps": steps,
    }
    record = make_record(
        "test_s3_6_1_time_wait.py::test_lasts", family, section="3.6.1", choices=choices, duration_s=60.95, **changes
    )
    return record, frames


def make_run(run: Path) -> Path:
    """A run with one case of every verdict."""
    for family in (4, 6):
        save(run, *simultaneous_close(family))
        save(run, *time_wait(family))
    save(run, *simultaneous_close(broken=True))
    deviation = {
        "reason": "Linux ends FIN-WAIT-2 after a minute",
        "source": "tcp(7): tcp_fin_timeout",
        "sentence": "A half-closed connection may stay open forever.",
    }
    skipped: dict[str, Any] = {
        "verdict": "not applicable",
        "message": "the target has no capability 'urgent'",
        "steps": [],
        "capture": None,
    }
    others: list[dict[str, Any]] = [
        make_record("test_a.py::test_halfclose", verdict="deviates", deviation=deviation, section="3.10.4"),
        make_record("test_a.py::test_urgent", **skipped, section="3.8.5"),
        make_record("test_a.py::test_urgent_zero", **skipped, section="3.8.5"),
        make_record(
            "test_a.py::test_r2",
            verdict="breaks should",
            level="SHOULD",
            message="R2 is 13 s, 100 s were due",
            section="3.8.3",
        ),
        make_record("test_a.py::test_agent", verdict="error", message="the agent's pipe was closed"),
        make_record(
            "test_a.py::test_jitter",
            verdict="inconclusive",
            level="text",
            message="our own jitter was 40 ms",
            section="3.10.7.4",
        ),
    ]
    for record in others:
        save(run, record, list(HANDSHAKE) if record["capture"] else [])
    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run")


# -- reading pages ----------------------------------------------------------------------------------------------

FILTERED = ("cases.html", "requirements.html")
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Links, anchors and attributes of a page; every element must be closed in its turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            self.attributes.append((name, value or ""))
            if name == "id":
                self.anchors[value or ""] += 1
            if name in ("href", "src"):
                self.links.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)


def pages(run: Path) -> dict[Path, Page]:
    shown = [path for path in run.glob("*.html") if path.name not in ("pytest.html", "report.html")]
    result = [*sorted(shown), *sorted((run / "cases").glob("*.html"))]
    return {path: Page(path.read_text("utf-8")) for path in result}


def page_of(run: Path, record: dict[str, Any]) -> str:
    return (run / "cases" / f"{case_name(record['id'])}.html").read_text("utf-8")


def assert_sound(run: Path) -> None:
    """Links lead somewhere, nothing needs script or inline style or another host, ids are unique."""
    result = pages(run)
    for path, page in result.items():
        assert not page.unbalanced, (path, page.unbalanced)
        assert not page.open, (path, page.open)
        assert not [name for name, number in page.anchors.items() if number > 1], path
        assert page.tags.count("script") == page.links.count("filter.js") == (path.name in FILTERED)
        assert "style" not in page.tags
        assert not [name for name, _ in page.attributes if name == "style" or name.startswith("on")]
        for link in page.links:
            if link.startswith("https://www.rfc-editor.org/"):
                continue
            assert not re.match(r"[a-z]+:|//", link), link
            file, _, anchor = link.partition("#")
            goal = (path.parent / unquote(file)).resolve() if file else path
            assert goal.is_file(), (path, link)
            if anchor:
                assert anchor in result[goal].anchors, (path, link)
        for name in ("aria-labelledby",):
            for attribute, value in page.attributes:
                if attribute == name:
                    assert all(part in page.anchors for part in value.split()), (path, value)


# -- the pages --------------------------------------------------------------------------------------------------


def test_every_link_leads_somewhere_and_no_page_needs_script_or_inline_style(run: Path) -> None:
    (run / "pytest.html").write_text("x")
    index = make_report(run)
    assert index == run / "index.html"
    assert len(list((run / "cases").glob("*.html"))) == 11
    assert_sound(run)
    for path in pages(run):
        text = path.read_text("utf-8")
        assert not [tag for tag in re.findall("<script[^>]*>", text) if tag != '<script src="filter.js" defer>']
        assert " style=" not in text
        assert "Content-Security-Policy" in text
    assert 'href="pytest.html"' in index.read_text("utf-8")
    assert "junit.xml" not in index.read_text("utf-8")


def test_overview_says_first_what_violates(run: Path) -> None:
    text = make_report(run).read_text("utf-8")
    assert "1 case violates" in text
    order = [text.index(f'<h2 id="{name}"') for name in ("violates", "error", "requirements", "machine")]
    assert order == sorted(order)
    assert "linux 6.18" in text


def test_what_the_overview_counts_is_listed_on_pages_of_their_own(run: Path) -> None:
    make_report(run)
    for name, messages in {
        "run.html": ("linux 6.18", "tcp_fin_timeout", "pytest testcases --report", "0.1.0"),
        "skipped.html": ("no capability",),
        "deviations.html": ("Both ends close at once.",),
        "timing.html": ("60 s to 67.5 s",),
        "findings.html": ("R2 is 13 s", 'id="violates"', 'id="error"', 'id="breaks-should"', 'id="inconclusive"'),
    }.items():
        page = (run / name).read_text("utf-8")
        for message in messages:
            assert message in page, (name, message)


def test_every_page_leads_to_every_page_and_past_the_navigation(run: Path) -> None:
    (run / "pytest.html").write_text("x")
    make_report(run)
    names = {path.name for path in run.glob("*.html")}
    assert {"index.html", "cases.html", "findings.html", "run.html", "requirements.html", "pytest.html"} <= names
    for path, page in pages(run).items():
        root = "../" if path.parent != run else ""
        assert {f"{root}{name}" for name in names - {path.name}} <= set(page.links), path
        assert page.links.index("#main") < page.links.index(f"{root}pytest.html")
        assert page.anchors["main"] == 1


def test_cases_with_one_cause_are_a_line(tmp_path: Path) -> None:
    """Forty violations of three causes: numbers and states differ, the requirement and the words don't."""
    broken = [("RFC9293:MUST-13", "LISTEN: came ACK seq=+{}", 28), ("RFC9293:MUST-2", "nothing came in {} s", 9)]
    for at, (requirement, message, number) in enumerate([*broken, ("RFC9293:MUST-13", "came RST seq=+{}", 3)]):
        for case in range(number):
            words = message.format(case).replace("LISTEN", ("CLOSING", "SYN-SENT")[case % 2])
            record = make_record(f"t.py::test_{at}_{case:02}", verdict="violates", message=words, capture=None)
            save(tmp_path, record | {"requirements": [requirement]}, [])
    overview = gather(tmp_path)
    assert [(cause.requirement, len(cause.cases)) for cause in causes(overview.order)] == [
        ("RFC9293:MUST-13", 28),
        ("RFC9293:MUST-2", 9),
        ("RFC9293:MUST-13", 3),
    ]
    text = make_report(tmp_path).read_text("utf-8").partition('id="violates"')[2].partition("</section>")[0]
    assert re.findall(r'<td class="number">(\d+)</td>', text) == ["28", "9", "3"]
    assert "28 more cases" not in as_markdown(overview)
    assert "27 more cases of RFC9293:MUST-13 alike" in as_markdown(overview)


def test_a_must_stands_before_text_in_causes(tmp_path: Path) -> None:
    for at, level in enumerate(["text", "text", "MUST"]):
        save(tmp_path, make_record(f"t.py::test_{at}", verdict="violates", level=level, capture=None), [])
    assert [cause.level for cause in causes(gather(tmp_path).order)] == ["MUST", "text"]


@pytest.mark.parametrize(
    ("verdicts", "headline"),
    [
        (["conforms", "not applicable"], "Conforms: nothing violates"),
        (["conforms", "violates", "violates", "error"], "2 cases violate"),
        (["conforms", "error"], "Nothing violates, but 1 case gave no verdict"),
        (["not applicable"], "No case was judged"),
        (["conforms", "breaks should"], "Nothing violates, but 1 case breaks a SHOULD"),
    ],
)
def test_headline(tmp_path: Path, verdicts: list[str], headline: str) -> None:
    for number, verdict in enumerate(verdicts):
        save(tmp_path, make_record(f"t.py::test_{number}", verdict=verdict, capture=None), [])
    assert headline in make_report(tmp_path).read_text("utf-8")


def test_headline_counts_the_known_deviations_and_those_of_a_must(tmp_path: Path) -> None:
    """Two cases with one reason are one deviation; a SHOULD that is not followed stands beside them."""
    for number, (level, reason) in enumerate([("MUST", "slow"), ("SHOULD", "slow"), ("SHOULD", "old")]):
        known = {"reason": reason, "sentence": "It SHALL.", "source": "tcp.c", "date": ""}
        made = make_record(f"t.py::test_{number}", verdict="deviates", deviation=known, level=level, capture=None)
        save(tmp_path, made, [])
    save(tmp_path, make_record("t.py::test_3", verdict="breaks should", capture=None), [])
    text = make_report(tmp_path).read_text("utf-8")
    assert "Nothing new: 2 known deviations, 1 of them of a MUST; 1 case breaks a SHOULD" in text


def sent(packets: int, *to: str) -> dict[str, Any]:
    return {"packets": packets, "peak_per_s": packets // 2, "to": to}


def test_what_was_sent_is_told_with_the_case_that_sent_most(tmp_path: Path) -> None:
    """Of each run the record that counts most holds, in whatever order they stand; an older one says nothing."""
    for name, run, own, all_ in (
        ("some", T0, sent(10, TARGET), sent(1_010, TARGET)),
        ("most", T0, sent(900, TARGET), sent(1_000, TARGET)),
        ("other", T0 + S, sent(30, SIX[TARGET]), sent(30, SIX[TARGET])),
    ):
        record = make_record(f"t.py::test_{name}", title=f"{name}.", sent=own)
        save(tmp_path, record | {"run": {**record["run"], "started_ns": run, "sent": all_}}, [])
    save(tmp_path, make_record("t.py::test_older"), [])
    text = make_report(tmp_path).with_name("run.html").read_text("utf-8")
    (line,) = re.findall(r"<dt>Sent</dt><dd>(.*?)</dd>", text)
    message = re.sub("<[^>]*>", "", line)
    assert (
        message
        == f"1,040 packets to {TARGET}, {SIX[TARGET]}; at most 505 in a second; most by one case: 900 (most. (IPv4))"
    )
    pages = {page.name: page.read_text("utf-8") for page in (tmp_path / "cases").iterdir()}
    assert {name: "<dt>Sent</dt>" in page for name, page in pages.items() if "older" in name or "most" in name} == {
        f"{case_name(f'rfc9293/t.py::test_{name}[ipv4]')}.html": name == "most" for name in ("older", "most")
    }


def test_both_families_of_a_case_share_a_row(run: Path) -> None:
    text = make_report(run).with_name("cases.html").read_text("utf-8")
    row = next(line for line in text.splitlines() if "test_simultaneous_close</code>" in line)
    assert row.count("conforms</a>") == 2


def test_sections_stand_in_the_order_of_numbers(run: Path) -> None:
    result = re.findall(
        r'class="where">RFC9293 section ([\d.]+)<', make_report(run).with_name("cases.html").read_text()
    )
    assert result == ["3.6", "3.6.1", "3.8.3", "3.8.5", "3.10.4", "3.10.7.4"]


def test_case_page_shows_expected_beside_what_came(run: Path) -> None:
    make_report(run)
    record, _ = simultaneous_close(broken=True)
    text = page_of(run, record)
    for message in (
        "ACK seq=+2 ack=+2 within 1 s",
        "ack: expected +2, came +1",
        "CLOSING",
        "by agent, probe",
        "who has 10.77.1.5?",
        'id="frame-7" class="failed"',
    ):
        assert message in text, message
    assert 'href="https://www.rfc-editor.org/rfc/rfc9293#section-3.6.1"' in text
    assert f'href="../{record["capture"]}"' in text


def test_again_overwrites_and_removes_pages_of_cases_that_are_gone(run: Path) -> None:
    make_report(run)
    lines = (run / "results.jsonl").read_text().splitlines(keepends=True)
    (run / "results.jsonl").write_text("".join(lines[:3]))
    make_report(run)
    assert len(list((run / "cases").iterdir())) == 3
    assert_sound(run)


def test_a_rerun_case_is_shown_once_with_its_last_verdict(tmp_path: Path) -> None:
    save(tmp_path, make_record(verdict="violates"), list(HANDSHAKE))
    save(tmp_path, make_record(verdict="conforms"), list(HANDSHAKE))
    text = make_report(tmp_path).read_text("utf-8")
    assert "Conforms: nothing violates" in text
    assert len(list((tmp_path / "cases").iterdir())) == 1


def test_a_killed_run_is_shown_as_far_as_it_came(run: Path) -> None:
    file = run / "results.jsonl"
    file.write_bytes(file.read_bytes()[:-200] + b"")
    text = make_report(run).read_text("utf-8")
    assert "Part of the record could not be read" in text
    assert "results.jsonl:11: the last line is cut off" in text
    assert_sound(run)


def test_missing_and_damaged_captures_are_said_on_the_page(run: Path) -> None:
    gone, _ = simultaneous_close()
    damaged, _ = time_wait()
    (run / gone["capture"]).unlink()
    path = run / damaged["capture"]
    path.write_bytes(path.read_bytes()[:-30])
    make_report(run)
    assert_sound(run)
    assert "no such file" in page_of(run, gone)
    assert 'class="ladder"' in page_of(run, gone), "drawn from the steps alone"
    assert "truncated: it ends inside the block" in page_of(run, damaged)
    assert 'id="frame-7"' in page_of(run, damaged)
    assert 'id="frame-8"' not in page_of(run, damaged)


@pytest.mark.parametrize(
    "capture", ["../secret.pcapng", "/etc/passwd", "captures/../../x", "a\x00b", "x" * 5000, "\ud800", "captures"]
)
def test_captures_outside_of_the_run_are_neither_read_nor_linked(tmp_path: Path, capture: str) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "captures").mkdir()
    (tmp_path / "secret.pcapng").write_bytes(b"x" * 100)
    (run / "results.jsonl").write_text(json.dumps(make_record(capture=capture)) + "\n")
    make_report(run)
    assert_sound(run)
    text = page_of(run, make_record())
    assert "The capture is not whole" in text
    assert "Capture: <a" not in text


def test_no_results_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"can't read .*results\.jsonl: No such file"):
        make_report(tmp_path)


def test_an_empty_record_makes_a_page(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("")
    assert "No case is in the record yet" in make_report(tmp_path).read_text("utf-8")
    assert_sound(tmp_path)


def hostile(value: Any, evil: str) -> Any:
    """The same record with `evil` in every free text, key and value."""
    if isinstance(value, dict):
        fixed = ("kind", "verdict", "level", "side", "capture", "origin")
        return {key: item if key in fixed else hostile(item, evil) for key, item in value.items()}
    if isinstance(value, list):
        return [hostile(item, evil) for item in value]
    return value + evil if isinstance(value, str) else value


@pytest.mark.parametrize(
    "evil",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "</title></svg></pre><style>*{}</style>",
        "{{ 7 * 7 }}{% raw %}",
        "\x00\x1b[31m\u202egnp\ud800",
    ],
)
def test_whatever_a_target_says_stays_text(tmp_path: Path, evil: str) -> None:
    broken, frames = simultaneous_close(broken=True)
    deviation = {"reason": "r", "source": "s", "sentence": "t"}
    broken |= {
        "deviation": deviation,
        "choices": [{"name": "n", "taken": "t", "allowed": ["a"]}],
        "timings": time_wait()[0]["timings"],
    }
    broken["target"]["settings"] = {"name" + evil: ["nested" + evil]}
    broken["steps"].append(
        {"kind": "state", "at_ns": T0, "ok": False, "side": "target", "state": "X", "text": "agent says X"}
    )
    for verdict in ("violates", "not applicable", "error", "deviates"):
        record = hostile(copy.deepcopy(broken) | {"verdict": verdict, "id": f"a.py::test_{verdict}"}, evil)
        record["sentences"].append({**record["sentences"][0], "url": "javascript:alert(1)" + evil})
        save(tmp_path, record, [*frames, (9 * MS, True, arp(), "comment " + evil)])
    make_report(tmp_path)
    for path, page in pages(tmp_path).items():
        text = path.read_text("utf-8")
        assert not page.unbalanced, path
        assert not page.open, path
        assert not {"style", "img"} & set(page.tags)
        assert page.tags.count("script") == (path.name in FILTERED)
        assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
        assert not [link for link in page.links if link.startswith("javascript")]
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
        assert "49" not in text or "{{ 7" not in evil or "}}49" not in text


@given(st.text(max_size=60))
def test_clean_text_can_be_written_and_holds_no_control_characters(text: str) -> None:
    shown = clean(text)
    assert len(shown) == len(text)
    shown.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


# -- colours ----------------------------------------------------------------------------------------------------


def _luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("mode", [0, 1, 2], ids=["light", "dark", "print"])
def test_text_has_the_contrast_of_wcag_aa(run: Path, mode: int) -> None:
    make_report(run)
    blocks = re.findall(r":root \{(.*?)\}", (run / "style.css").read_text("utf-8"), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[mode]))
    for ink in set(colours) - {"back", "soft", "line", "failed-back"}:
        for ground in ("back", "soft", "failed-back"):
            light, dark = sorted((_luminance(colours[ink]), _luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


# -- the ladder -------------------------------------------------------------------------------------------------


def ladder_of(tmp_path: Path, record: dict[str, Any], frames: list[tuple[Any, ...]]) -> ET.Element:
    save(tmp_path, record, frames)
    captured = read_pcapng(tmp_path / record["capture"]).frames
    return ET.fromstring(draw_ladder(record_of(record), relate(captured, record_of(record))))


def texts(svg: ET.Element) -> list[ET.Element]:
    return [element for element in svg.iter() if element.tag.endswith("}text")]


def words_of(svg: ET.Element) -> list[str]:
    return [element.text or "" for element in texts(svg)]


def boxes(svg: ET.Element) -> list[tuple[float, float, float, float, str]]:
    """Return the place of each text: left, right, top, bottom; a character is taken for 7.4 px by 13."""
    result = []
    for element in texts(svg):
        text, x, y = element.text or "", float(element.get("x", "")), float(element.get("y", ""))
        width = len(text) * (9.2 if element.get("class") == "who" else 7.4)
        left = {"start": x, "middle": x - width / 2, "end": x - width}[element.get("text-anchor", "")]
        result.append((left, left + width, y - 11, y + 2, text))
    return result


def assert_nothing_overlaps(svg: ET.Element) -> None:
    _, _, width, height = map(float, svg.get("viewBox", "").split())
    placed = boxes(svg)
    for index, (left, right, top, bottom, text) in enumerate(placed):
        assert left >= 0 and right <= width and top >= 0 and bottom <= height, text
        for another in placed[:index]:
            apart = left >= another[1] or another[0] >= right or top >= another[3] or another[2] >= bottom
            assert apart, (text, another[4])
    for path in (element for element in svg.iter() if "arrow" in element.get("class", "")):
        x1, y1, x2, y2 = map(float, re.findall(r"-?[\d.]+", path.get("d", "")))
        for left, right, top, bottom, text in placed:
            if left > min(x1, x2) and right < max(x1, x2):
                assert bottom <= y1 or top >= y2, (text, y1, y2)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("broken", [False, True])
def test_no_text_of_the_ladder_overlaps(tmp_path: Path, family: int, broken: bool) -> None:
    assert_nothing_overlaps(ladder_of(tmp_path, *simultaneous_close(family, broken=broken)))
    record, frames = time_wait(family)
    assert_nothing_overlaps(ladder_of(tmp_path, record, frames))


def test_long_texts_are_wrapped(tmp_path: Path) -> None:
    long = "a very long text that goes on and on, " * 8
    record, frames = simultaneous_close(broken=True)
    for step in record["steps"]:
        step["text"] = long
        if "expected" in step:
            step["expected"] = "x" * 300
    record["steps"].append({"kind": "note", "at_ns": T0 + 8 * MS, "text": long})
    record["target"] |= {"name": "n" * 90, "version": long, "address": "fd77:1111:2222:3333:4444:5555:6666:7777"}
    record["states"] = [
        {"at_ns": T0 + number, "side": side, "state": f"{long}{number}", "by": long}
        for number in range(9)
        for side in ("target", "tester")
    ]
    assert_nothing_overlaps(ladder_of(tmp_path, record, [*frames, (3 * S, True, segment(True, ACK, 1, 1, port=50000))]))


def test_a_failing_expectation_is_marked_with_the_frame_that_broke_it(tmp_path: Path) -> None:
    svg = ladder_of(tmp_path, *simultaneous_close(broken=True))
    shown = words_of(svg)
    at = shown.index("✗ ACK seq=+2 ack=+1 len=0")
    assert "#7" in shown
    assert "✗ expected ACK seq=+2 ack=+2 within 1 s" in shown[at:]
    assert "ack: expected +2, came +1" in shown[at:]
    classes = [element.get("class", "").split() for element in svg.iter()]
    assert sum("arrow" in names and "failed" in names and "dashed" not in names for names in classes) == 1
    assert sum("arrow" in names and "dashed" in names for names in classes) == 2
    assert not [text for text in words_of(ladder_of(tmp_path, *simultaneous_close())) if "✗" in text]


def test_rows_stand_in_the_order_of_time_with_states_app_calls_and_silence(tmp_path: Path) -> None:
    svg = ladder_of(tmp_path, *simultaneous_close())
    height = {element.text: float(element.get("y", "")) for element in texts(svg) if element.text}
    order = [
        "SYN seq=+0 len=0",
        "SYN+ACK seq=+0 ack=+1 len=0",
        "close()",
        "FIN+ACK seq=+1 ack=+1 len=0",
        "no segment for 0.3 s",
        "now cover it",
    ]
    assert [height[text] for text in order] == sorted(height[text] for text in order)
    assert height["FIN-WAIT-1"] < height["CLOSING"] < height["TIME-WAIT"]
    assert words_of(svg).count("CLOSING") == 1, "two witnesses of one state make one entry"
    assert not [text for text in words_of(svg) if "who has" in text], "ARP stays in the table"
    assert svg.get("role") == "img"
    assert [element.text for element in svg if element.tag.endswith("}title")] == ["Ladder diagram"]


def test_a_sent_segment_is_described_once(tmp_path: Path) -> None:
    record, frames = simultaneous_close()
    shown = words_of(ladder_of(tmp_path, record, frames))
    at = shown.index("does not cover the target's FIN")
    assert shown[at - 1] == "FIN+ACK seq=+1 ack=+1 len=0"
    assert not [text for text in shown if "win=" in text]
    make_report(tmp_path)
    whole = "does not cover the target&#x27;s FIN: FIN+ACK seq=+1 ack=+1 win=64240"
    assert page_of(tmp_path, record).count(whole) == 1
    without_capture = words_of(ET.fromstring(draw_ladder(record_of(record), [])))
    at = without_capture.index("FIN+ACK seq=+1 ack=+1 win=64240")
    assert without_capture[at + 1] == "does not cover the target's FIN"


def test_long_waits_are_breaks(tmp_path: Path) -> None:
    svg = ladder_of(tmp_path, *time_wait())
    assert "60.91 s pass" in words_of(svg)
    assert sum(element.get("class") == "zigzag" for element in svg.iter()) == 2


def test_a_flood_is_drawn_from_both_ends(tmp_path: Path) -> None:
    record = make_record()
    flood = [(number * MS, True, segment(True, ACK, number, 1)) for number in range(3000)]
    svg = ladder_of(tmp_path, record, flood)
    assert any("left out" in text for text in words_of(svg))
    assert len(texts(svg)) < 2000
    make_report(tmp_path)
    text = page_of(tmp_path, record)
    assert "only the first 2,000 frames are shown" in text
    assert_sound(tmp_path)


def test_nothing_happened_draws_nothing() -> None:
    assert draw_ladder(record_of(make_record()), []) == ""


# -- numbers and frames -----------------------------------------------------------------------------------------


def _seen(*frames: bytes, **changes: Any) -> list[Any]:
    captured = [CapturedFrame(number, T0, None, frame) for number, frame in enumerate(frames, 1)]
    return relate(captured, record_of(make_record(**changes)))


def test_numbers_count_from_the_first_ones_and_wrap() -> None:
    data = 2**32 - ISS  # the last byte before the numbers begin again
    first, second, third = _seen(
        segment(False, PSH | ACK, data, 1, b"abc"), segment(True, ACK, 1, data + 3), segment(False, ACK, -1, 1)
    )
    assert (first.label, first.inbound) == (f"PSH+ACK seq=+{data} ack=+1 len=3", False)
    assert (second.label, second.inbound) == (f"ACK seq=+1 ack=+{data + 3} len=0", True)
    assert third.seq == "-1"


def test_a_resets_zero_is_no_number_of_the_connection() -> None:
    record = make_record()["tester"]
    (known,) = _seen(segment(True, RST | ACK, 1, 1))
    assert known.label == "RST+ACK seq=+1 ack=+1 len=0"
    (zero,) = _seen(segment(True, RST | ACK, -IRS, 1), tester={**record, "irs": 500_000_000})
    assert zero.label == "RST+ACK seq=0 ack=+1 len=0"


def test_other_connections_count_from_their_own_syn() -> None:
    tester = {**make_record()["tester"], "irs": None}
    frames = [
        segment(True, ACK, 5, 1, port=50000),
        segment(True, SYN | ACK, 3, 1, port=50000),
        segment(True, ACK, 5, 1, port=50000),
    ]
    before, syn, after = _seen(*frames, tester=tester)
    assert before.seq == str(IRS + 5)
    assert syn.label == f"{TARGET_PORT}→50000 SYN+ACK seq=+0 ack={ISS + 1} len=0"
    assert after.seq == "+2"


def test_options_and_faults_are_read() -> None:
    options = MSS + bytes([5, 10]) + struct.pack("!II", IRS + 10, IRS + 20) + bytes([1, 0])
    (seen,) = _seen(segment(False, SYN, 0, options=options))
    assert seen.options == "MSS=1460, SACK-permitted, TSval=9 TSecr=0, WScale=7, SACK=+10..+20"
    assert seen.packet.problems == ()
    assert dissect(segment(True, ACK, 1, 1, spoil=True)).problems == ("TCP checksum wrong",)
    assert dissect(segment(True, ACK, 1, 1, spoil=True, family=6)).problems == ("TCP checksum wrong",)
    assert dissect(segment(True, ACK, 1, 1, options=bytes([8, 0, 0, 0]))).problems == (
        "option 8 with the impossible length 0",
    )
    assert dissect(segment(True, ACK, 1, 1, options=bytes([2, 9, 0, 0]))).problems == (
        "option 2 with the impossible length 9",
    )
    assert dissect(segment(True, ACK, 1, 1)[:40]).problems[-1] == "TCP header cut off"
    assert dissect(b"short").problems == ("Ethernet header cut off",)


def test_icmp_errors_stand_in_the_ladder() -> None:
    quoted = segment(False, ACK, 1, 1)[14 : 14 + 28]
    error = struct.pack("!BBHHH", 3, 4, 0, 0, 1280) + quoted
    error = error[:2] + struct.pack("!H", _sum(error)) + error[4:]
    packet = dissect(ip("10.77.0.9", TESTER, 1, error))
    assert (
        packet.text
        == f"destination unreachable (fragmentation needed) MTU 1280 about TCP {PORT}→{TARGET_PORT} seq {ISS + 1}"
    )
    assert packet.about_connection
    assert packet.problems == ()
    solicitation = dissect(
        ip(SIX[TARGET], SIX[TESTER], 58, struct.pack("!BBHI", 135, 0, 0, 0) + socket.inet_pton(10, SIX[TESTER]))
    )
    assert solicitation.text == "neighbour solicitation for fd77::1:5"
    assert not solicitation.about_connection


@given(st.binary(max_size=120))
def test_dissect_takes_any_bytes(raw: bytes) -> None:
    dissect(raw)


@given(st.sampled_from([0x0800, 0x86DD, 0x0806]), st.binary(max_size=100))
def test_dissect_takes_any_bytes_after_ethernet(kind: int, raw: bytes) -> None:
    dissect(ethernet(raw, kind))


@given(st.sampled_from([0, 1, 6, 43, 44, 58, 60]), st.binary(max_size=80), st.sampled_from([4, 6]), st.data())
def test_dissect_takes_any_bytes_after_ip(protocol: int, raw: bytes, family: int, data: st.DataObject) -> None:
    whole = ip(*((TESTER, TARGET) if family == 4 else (SIX[TESTER], SIX[TARGET])), protocol, raw)
    packet = dissect(whole[: data.draw(st.integers(0, len(whole)))])
    assert packet.kind != "malformed", "each way to be malformed has words of its own"
    label = _seen(whole)[0].label
    assert label


@given(st.binary(max_size=60), st.integers(0, 20))
def test_dissect_takes_any_tcp_header(raw: bytes, at: int) -> None:
    frame = bytearray(segment(True, SYN | ACK, 0, 1, options=MSS))
    frame[34 + at : 34 + at + len(raw)] = raw
    dissect(bytes(frame))


def test_scapy_reads_the_same_header() -> None:
    options = [("MSS", 1400), ("WScale", 3), ("SAckOK", b"")]
    tcp = inet.TCP(sport=7, dport=8, seq=9, ack=10, flags="SAE", window=11, options=options)
    ether = l2.Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")  # without: scapy asks the network
    packet = dissect(bytes(ether / inet.IP(src="10.0.0.1", dst="10.0.0.2") / tcp / b"data"))
    assert packet.tcp is not None
    assert packet.problems == ()
    assert (packet.tcp.seq, packet.tcp.ack, packet.tcp.window, packet.tcp.length) == (9, 10, 11, 4)
    assert packet.tcp.flag_names == "SYN+ECE+ACK"
    assert [option for option in packet.tcp.options if option not in ("NOP", "EOL")] == [
        "MSS=1400",
        "WScale=3",
        "SACK-permitted",
    ]


# -- times ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "0.0 µs"),
        (12_345, "12.3 µs"),
        (1_234_567, "1.23 ms"),
        (300 * MS, "0.300 s"),
        (60_020 * MS, "60.02 s"),
        (-5_000, "-5.0 µs"),
    ],
)
def test_durations(ns: int, shown: str) -> None:
    assert duration(ns) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(60.907, "60.91 s"), (0.25, "250 ms"), (0, "0 s"), (7200, "7200 s"), (86400, "86400 s"), (2e-5, "20 µs")],
)
def test_seconds(value: float, shown: str) -> None:
    assert seconds(value) == shown


def test_bars_show_bounds_and_what_falls_outside() -> None:
    bar = ET.fromstring(draw_bar(60.0, 67.5, [60.9, 80.0]))
    classes = [element.get("class") for element in bar.iter()]
    assert classes.count("point") == 1
    assert classes.count("point failed") == 1
    assert "allowed: 60 s to 67.5 s" in (bar[0].text or "")
    for low, high, measured in (
        (None, None, [1.0]),
        (1.0, None, []),
        (None, 1.0, [0.0]),
        (0.0, 0.0, [0.0]),
        (1e12, -1e9, [1e12]),
    ):
        ET.fromstring(draw_bar(low, high, measured))
    assert draw_bar(None, None, []) == ""
    assert (bounds(None, 1.0), bounds(1.0, None), bounds(None, None)) == ("at most 1 s", "at least 1 s", "any")
