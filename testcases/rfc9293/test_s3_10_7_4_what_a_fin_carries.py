"""RFC 9293 section 3.10.7.4: what a FIN carries: acknowledgments, a window, text that is half or wholly old."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    Case,
    Connection,
    Expectation,
    Seq,
    State,
    app_closes,
    app_reads,
    app_sends,
    in_state,
    verifies,
)

TEXT = b"text of ours before its FIN"
HALF = len(TEXT) // 2
THEIRS = b"text of the target's"
QUEUED = b"what waits for our window"

OURS_ENDS = [
    in_state(
        State.ESTABLISHED,
        State.CLOSE_WAIT,
        marks=verifies("RFC9293:3.10.7.4-fin-established", "RFC9293:3.10.7.4-straddle", cells=["ESTABLISHED/fin-data"]),
    ),
    in_state(
        State.FIN_WAIT_1,
        State.CLOSING,
        marks=verifies(
            "RFC9293:3.10.7.4-fin-fin-wait-1",
            "RFC9293:3.10.7.4-straddle",
            cells=["FIN-WAIT-1/fin-data-not-covering-fin"],
        ),
    ),
    in_state(
        State.FIN_WAIT_2,
        State.TIME_WAIT,
        marks=verifies("RFC9293:3.10.7.4-fin-fin-wait-2", "RFC9293:3.10.7.4-straddle", cells=["FIN-WAIT-2/fin-data"]),
    ),
]


def uncovered(conn: Connection, state: State) -> Seq:
    """Return the acknowledgment that leaves the target's FIN uncovered in FIN-WAIT-1, and covers everything elsewhere."""
    return conn.fin_seen.seq if state is State.FIN_WAIT_1 else conn.rcv_nxt


async def receives(conn: Connection, state: State, text: bytes) -> None:
    """Send text in order; see it acknowledged and delivered."""
    await conn.send(ACK, ack=uncovered(conn, state), payload=text)
    await conn.expect_ack()
    await app_reads(conn, text)


# Text of ours that comes again with the FIN


@pytest.mark.parametrize("octets", [pytest.param(HALF, id="half-old"), pytest.param(len(TEXT), id="wholly-old")])
@pytest.mark.parametrize(("state", "then"), OURS_ENDS)
async def test_fin_behind_text_that_is_old_is_taken(tcp: Case, octets: int, state: State, then: State) -> None:
    """A FIN behind old text is taken.

    The target has taken the text, half of it or all. We send the same text again, now with our FIN behind it: an
    ordinary retransmission by a sender that has closed since.

    The segment reaches to RCV.NXT or beyond, so it is acceptable; only its new part may be processed, and the FIN is
    new. The target must acknowledge it, deliver no octet twice, and take the state that a FIN leads to.
    """
    conn = await tcp.drive_to(state)
    first = conn.snd_nxt
    await receives(conn, state, TEXT[:octets])
    await conn.send(
        FIN | ACK, seq=first, ack=uncovered(conn, state), payload=TEXT, text="old text with a FIN behind it"
    )
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=first + len(TEXT) + 1, length=0)
    await app_reads(conn, TEXT[octets:], ended=True)
    await conn.confirm(then)


@pytest.mark.parametrize(
    ("fin", "held", "fills"),
    [
        pytest.param(False, (HALF, HALF + 3), len(TEXT), id="over-text"),
        pytest.param(False, (HALF, len(TEXT)), HALF + 3, id="into-text"),
        pytest.param(False, (HALF, len(TEXT)), len(TEXT), id="to-the-end-of-text"),
        pytest.param(True, (HALF, len(TEXT)), HALF + 3, id="into-text-with-a-fin"),
        pytest.param(True, (HALF, len(TEXT)), len(TEXT), id="to-a-fin-behind-text"),
        pytest.param(True, (len(TEXT), len(TEXT)), len(TEXT), id="up-to-a-fin"),
    ],
)
@pytest.mark.parametrize(
    "state", [State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2], ids=lambda state: state.value
)
@verifies("RFC9293:3.10.7.4-text", "RFC9293:3.10.7.4-straddle", "RFC9293:SHLD-31", level="text")
async def test_text_that_reaches_over_held_text_is_acknowledged_to_its_end(
    tcp: Case, state: State, fin: bool, held: tuple[int, int], fills: int
) -> None:
    """Text over held text is acknowledged to its end.

    A piece comes beyond a hole, alone or with our FIN. Then one segment fills the hole and reaches up to that piece,
    into it, to its end, or over it.

    No octet may be acknowledged that was not sent: the acknowledgment ends where our text ends, or our FIN. What the
    target has dropped it must take when it comes again.
    """
    conn = await tcp.drive_to(state)
    first, ack, flags = conn.snd_nxt, uncovered(conn, state), FIN | ACK if fin else ACK
    end = first + max(held[1], fills)
    await conn.inject(flags, seq=first + held[0], ack=ack, payload=TEXT[slice(*held)], text="held beyond a hole")
    repeated = Expectation(ACK, seq=conn.rcv_nxt, ack=first, length=0, label="the last ACK again:")
    await conn.allow(repeated, within=0.3)
    await conn.send(ACK, ack=ack, payload=TEXT[:fills], text="fills the hole")
    all_of_it = Expectation(ACK, seq=conn.rcv_nxt, ack=end + int(fin), length=0, label="with what was held:")
    text_alone = Expectation(ACK, seq=conn.rcv_nxt, ack=end, length=0, label="the text alone:")
    filled = Expectation(ACK, seq=conn.rcv_nxt, ack=first + fills, length=0, label="what has filled the hole:")
    _, taken = await conn.expect_any(all_of_it, text_alone, filled)
    conn.taken_in(snd_nxt=first + len(TEXT) + int(fin))
    if (next_due := taken.segment.ack) != conn.snd_nxt:
        await conn.inject(flags, seq=next_due, ack=ack, payload=TEXT[next_due - first :], text="what is missing again")
        await conn.expect_ack()
    await app_reads(conn, TEXT, ended=fin)


@pytest.mark.parametrize(
    "state", [State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2], ids=lambda state: state.value
)
@verifies("RFC9293:3.10.7.4-text", "RFC9293:3.10.7.4-fin", level="text")
async def test_no_octet_is_acknowledged_that_was_never_sent(tcp: Case, state: State) -> None:
    """Text over a held FIN acknowledges no octet that was never sent.

    Our FIN comes beyond a hole. Then a segment fills the hole and goes on past the FIN's number, which no sender
    should do.

    The target may end at the FIN or take the text, but neither makes a further number: the highest number that it may
    acknowledge is the one behind the last octet of the text.
    """
    conn = await tcp.drive_to(state)
    first, ack = conn.snd_nxt, uncovered(conn, state)
    await conn.inject(FIN | ACK, seq=first + HALF, ack=ack, text="a FIN beyond a hole")
    repeated = Expectation(ACK, seq=conn.rcv_nxt, ack=first, length=0, label="the last ACK again:")
    await conn.allow(repeated, within=0.3)
    await conn.inject(ACK, ack=ack, payload=TEXT, text="fills the hole, and goes on past the FIN")
    ends_at_fin = Expectation(ACK, seq=conn.rcv_nxt, ack=first + HALF + 1, length=0, label="up to the FIN:")
    takes_text = Expectation(ACK, seq=conn.rcv_nxt, ack=first + len(TEXT), length=0, label="all the text:")
    which, _ = await conn.expect_any(ends_at_fin, takes_text)
    forms = ["ends at the FIN", "takes the text"]
    tcp.choice("text past the number of a FIN", forms[which], forms)


# What our FIN acknowledges


@verifies(
    "RFC9293:3.10.7.4-ack-new",
    "RFC9293:3.10.7.4-fin-established",
    cells=["ESTABLISHED/fin"],
    lasts=2,
)
async def test_fin_acknowledges_outstanding_text(tcp: Case) -> None:
    """A FIN acknowledges outstanding text.

    The target's text is outstanding when our FIN arrives, and its ACK field covers the text.

    The target must acknowledge the FIN and take the text as acknowledged: it may not send it again, for longer than
    its retransmission timeout.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await app_sends(conn, THEIRS)
    await conn.send(FIN | ACK, text="our FIN acknowledges the text")
    await conn.expect_ack()
    await conn.silence(for_=tcp.timeout_after(conn.round_trip_s).high_s, strict=True)
    await conn.confirm(State.CLOSE_WAIT)


@pytest.mark.parametrize("covers", [pytest.param(False, id="text-alone"), pytest.param(True, id="text-and-fin")])
@verifies(
    "RFC9293:3.10.7.4-ack-new",
    "RFC9293:3.10.7.4-fin-fin-wait-1",
    cells=["FIN-WAIT-1/fin-covers-fin", "FIN-WAIT-1/fin-not-covering-fin"],
    lasts=2,
)
async def test_fin_acknowledges_outstanding_text_in_fin_wait_1(tcp: Case, covers: bool) -> None:
    """In FIN-WAIT-1 a FIN acknowledges outstanding text.

    The target's text and its FIN are outstanding when our FIN arrives. Its ACK field covers the text alone, or the
    target's FIN as well.

    The target must acknowledge our FIN. Covered text may not be sent again: with its FIN uncovered the target repeats
    the FIN alone, in CLOSING; with both covered it is silent, in TIME-WAIT.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await app_sends(conn, THEIRS)
    await app_closes(conn, "shutdown")
    fin = await conn.expect_fin()
    await conn.send(FIN | ACK, ack=conn.rcv_nxt if covers else fin.segment.seq, text="our FIN acknowledges the text")
    await conn.expect_ack()
    timeout = tcp.timeout_after(conn.round_trip_s)
    if covers:
        await conn.silence(for_=timeout.high_s, strict=True)
    else:
        await conn.expect_retransmission(fin, within=2 * timeout.high_s + 1)
    await conn.confirm(State.TIME_WAIT if covers else State.CLOSING)


@verifies(
    "RFC9293:3.10.7.4-fin-fin-wait-1",
    "RFC9293:3.10.7.4-ack-fin-wait-1",
    "RFC9293:3.10.7.4-text",
    cells=["FIN-WAIT-1/fin-covers-fin"],
)
async def test_fin_with_text_that_acknowledges_the_fin_leads_to_time_wait(tcp: Case) -> None:
    """A FIN with text that acknowledges the FIN leads to TIME-WAIT.

    In FIN-WAIT-1 a single segment of ours acknowledges the target's FIN, brings the last text, and our FIN.

    The target must take all three: it acknowledges text and FIN, delivers the text, and is in TIME-WAIT.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_1)
    await conn.send(FIN | ACK, payload=TEXT)
    await conn.expect_ack()
    await app_reads(conn, TEXT, ended=True)
    await conn.confirm(State.TIME_WAIT)


# A FIN that opens the window


@pytest.mark.parametrize(
    ("closes", "then"),
    [
        pytest.param(
            False,
            State.CLOSE_WAIT,
            id="in-established",
            marks=verifies(
                "RFC9293:3.10.7.4-ack-window", "RFC9293:3.10.7.4-fin-established", cells=["ESTABLISHED/fin"]
            ),
        ),
        pytest.param(
            True,
            State.CLOSING,
            id="in-fin-wait-1",
            marks=verifies("RFC9293:3.10.7.4-ack-window", "RFC9293:3.10.4-established", "RFC9293:MUST-13"),
        ),
    ],
)
async def test_fin_opens_the_window(tcp: Case, closes: bool, then: State) -> None:
    """A FIN of ours opens the window for waiting text.

    Our window is closed and the application's text waits for it. In FIN-WAIT-1 the application has made its CLOSE
    call as well. Then our FIN arrives, and its window is open.

    The target must acknowledge the FIN, and use the window: the waiting text comes, with its FIN if it has closed.
    """
    conn = await with_closed_window(tcp, closes=closes)
    first = conn.rcv_nxt
    conn.window = 65535
    await conn.send(FIN | ACK, text="our FIN opens the window")
    await takes_all(conn, QUEUED, fin=closes, first=first)
    await conn.confirm(then)


async def with_closed_window(tcp: Case, *, closes: bool) -> Connection:
    """Return a connection whose window of ours is closed, with text that waits for it, and CLOSE behind it if `closes`."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await app_sends(conn, THEIRS)
    conn.window = 0
    await conn.send(ACK, text="closes the window")
    await conn.app.send(QUEUED, wait=False)
    if closes:
        await app_closes(conn, "shutdown")
    return conn


async def takes_all(conn: Connection, data: bytes, *, fin: bool, first: Seq) -> None:
    """See that `data` comes from number `first` on, in whatever segments, and a FIN behind it, and that ours is acknowledged.

    Nothing is acknowledged, and probes of the window that were on their way are taken, too.
    """
    got, acknowledged = 0, False
    while got < len(data) + int(fin) or not acknowledged:
        segment = (await conn.expect_any(Expectation(), within=7, strict=True))[1].segment
        at, acknowledged = segment.seq - first, acknowledged or segment.ack == conn.snd_nxt
        assert data[at : at + len(segment.payload)] == segment.payload, f"at {at} came {segment.payload[:20]!r}"
        assert not segment.flags & FIN or fin, "a FIN came, and the application has not closed"
        if at <= got:
            got = max(got, segment.end - first)
