"""RFC 9293 section 3.8.6.1: how a closed window is left, and how long its probes go on."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    SECOND,
    Case,
    Connection,
    Expectation,
    NotApplicable,
    Received,
    State,
    app_sends,
    verifies,
)

BEFORE, WAITING = b"before the window closes", bytes(range(200))
OCTET = pytest.mark.parametrize("octet", ["taken", "refused"])
OPENED = pytest.mark.parametrize("opened", ["by-its-answer", "later", "by-text", "by-fin"])


async def probed(tcp: Case) -> tuple[Connection, Received]:
    """Return a connection whose text waits for our closed window, and the first probe of it."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await app_sends(conn, BEFORE)
    conn.window = 0
    await conn.send(ACK, text="closes the window")
    await conn.app.send(WAITING, wait=False)
    any_probe = Expectation(ACK, ack=conn.snd_nxt, label="a probe:")
    _, probe = await conn.expect_any(any_probe, within=5, strict=True)
    assert len(probe.segment.payload) <= 1, f"the probe carries {len(probe.segment.payload)} octets, one is enough"
    return conn, probe


async def arrives(conn: Connection, got: int) -> None:
    """See that the waiting text comes from octet `got` on, in order, and acknowledge it."""
    first = conn.irs + 1 + len(BEFORE)
    while got < len(WAITING):
        _, received = await conn.expect_any(Expectation(ACK, ack=conn.snd_nxt), within=5, strict=True)
        at, text = received.segment.seq - first, received.segment.payload
        assert not text or text == WAITING[at : at + len(text)], f"at {at} came {text[:20]!r}"
        if at <= got < at + len(text):
            got = at + len(text)
            await conn.send(ACK, ack=first + got)


@OPENED
@OCTET
@verifies("RFC9293:MUST-36", "RFC9293:3.10.7.4-ack-window", "claim:C-34", level="MUST", lasts=2)
async def test_window_that_opens_has_the_rest_sent(tcp: Case, octet: str, opened: str) -> None:
    """A window that opens behind a probe has the rest sent.

    The target's text waits for our closed window, and is probed. We take the octet that the probe carries, or refuse
    it. Then the window opens: by that very answer, by an ACK later, by text of ours, or by our FIN.

    The target must send what waits, from the first octet that was not taken on.
    """
    conn, probe = await probed(tcp)
    first = conn.irs + 1 + len(BEFORE)
    if octet == "taken" and not probe.segment.payload:
        raise NotApplicable("its probes carry no octet that could be taken")
    taken = len(probe.segment.payload) if octet == "taken" else 0
    if opened != "by-its-answer":
        await conn.send(ACK, ack=first + taken, text="the window stays closed")
    conn.window = 65535
    if opened == "later":
        await tcp.sleep(0.05)
    flags, text = (FIN | ACK, b"") if opened == "by-fin" else (ACK, b"ours" if opened == "by-text" else b"")
    await conn.send(flags, ack=first + taken, payload=text, text="opens the window")
    await arrives(conn, taken)
    await conn.confirm(State.CLOSE_WAIT if opened == "by-fin" else State.ESTABLISHED)


@verifies("RFC9293:MUST-38", "RFC9293:MUST-37", level="MUST", lasts=15)
async def test_window_below_a_segment_for_ever_lets_all_text_pass(tcp: Case) -> None:
    """A window below a segment for ever lets all text pass.

    Our window never opens by more than 50 octets, far less than a segment. The sender avoids silly windows, but it may
    not wait for ever: all of the text must come, in small pieces, by its override timeout at the latest.
    """
    conn, _ = await probed(tcp)
    conn.window = 50
    await conn.send(ACK, ack=conn.irs + 1 + len(BEFORE), text="opens the window by 50 octets")
    await arrives(conn, 0)


@verifies("RFC9293:MUST-37", "RFC9293:MUST-36", needs=("app", "virtual-time"), lasts=1500)
async def test_window_is_probed_for_25_minutes(tcp: Case) -> None:
    """A closed window is probed for 25 minutes.

    Our window stays closed for 25 minutes, which is longer than any R2, and each probe is answered. The target must
    keep the connection, and send its text when the window opens.
    """
    conn, _ = await probed(tcp)
    until_ns, probes = tcp.clock.now_ns() + 1500 * SECOND, 1
    await conn.send(ACK, ack=conn.irs + 1 + len(BEFORE), text="the window stays closed")
    while (left_s := (until_ns - tcp.clock.now_ns()) / SECOND) > 0:
        if await conn.allow(Expectation(ACK, ack=conn.snd_nxt), within=left_s, strict=True):
            probes += 1
            await conn.inject(ACK, ack=conn.irs + 1 + len(BEFORE), window=0, text="the window is still closed")
    assert probes >= 10, f"{probes} probes came in 25 minutes"
    conn.window = 65535
    await conn.send(ACK, ack=conn.irs + 1 + len(BEFORE), text="opens the window")
    await arrives(conn, 0)


@verifies("RFC9293:MUST-29", "RFC9293:MUST-26", needs=("app", "virtual-time", "options:SO_KEEPALIVE"), lasts=8000)
async def test_answered_keep_alives_go_on_for_hours(tcp: Case) -> None:
    """Answered keep-alives go on for hours.

    The application asks for keep-alives and then says nothing. We answer each, for more times than a target would send
    without an answer. The connection must stay open, and text must pass when there is some.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, options=())
    await conn.app.option("socket", "SO_KEEPALIVE", 1)
    for number in range(12):
        label = f"keep-alive {number + 1}:"
        await conn.expect(ACK, seq=conn.rcv_nxt - 1, ack=conn.snd_nxt, within=3 * 7200, label=label)
        await conn.inject(ACK, text="still here")
    await conn.collect(b"and on it goes")
    await conn.confirm(State.ESTABLISHED)
