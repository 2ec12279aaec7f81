"""RFC 9293 section 3.10.7.4: a FIN at a closed window, a second FIN, and a SYN,ACK that answers nothing."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    PSH,
    SYN,
    Case,
    Connection,
    Expectation,
    Inconclusive,
    State,
    app_reads,
    in_state,
    opt,
    resets,
    verifies,
)

PIECE, MOST = 1000, 400_000
SMALL_BUFFER = [("socket", "SO_RCVBUF", 4096)]
DATA = bytes(range(250)) * 8


async def window_is_closed(conn: Connection) -> bytes:
    """Send text that nobody reads until the target's window is closed; return that text."""
    sent = b""
    await conn.probe()
    while conn.remote_window and len(sent) < MOST:
        piece = DATA[len(sent) % 250 :][: min(conn.remote_window, PIECE)]
        await conn.send(ACK | PSH, ack=conn.acked, payload=piece)
        await conn.expect_ack()
        sent += piece
    if conn.remote_window:
        raise Inconclusive(f"the target's window is still {conn.remote_window} octets after {len(sent)}")
    return sent


@pytest.mark.parametrize(
    ("state", "then"),
    [
        in_state(State.ESTABLISHED, State.CLOSE_WAIT, marks=verifies("RFC9293:3.10.7.4-zero-window", lasts=1)),
        in_state(State.FIN_WAIT_1, State.CLOSING, marks=verifies("RFC9293:3.10.7.4-zero-window", lasts=1)),
        in_state(State.FIN_WAIT_2, State.TIME_WAIT, marks=verifies("RFC9293:3.10.7.4-zero-window", lasts=1)),
    ],
)
async def test_fin_at_a_closed_window_is_answered(tcp: Case, state: State, then: State) -> None:
    """A FIN at a closed window is answered, and taken in the end.

    Nobody reads, and the target's window is closed when our FIN arrives. With RCV.WND of zero no segment is
    acceptable but for its ACK, URG and RST, so the FIN need not be taken; it needs no room in the buffer, so a target
    may take it all the same.

    Either way an acknowledgment is due at once. When the application has read, the FIN that comes again must count.
    """
    conn = await tcp.listen(options=SMALL_BUFFER if tcp.can("options:SO_RCVBUF") else ())
    conn.syn_options = (opt.mss(PIECE),)
    sent = b""

    async def close_its_window(conn: Connection) -> None:
        """Before the target's FIN: that would be sent again meanwhile, with an acknowledgment."""
        nonlocal sent
        sent = await window_is_closed(conn)

    await tcp.drive_to(state, conn=conn, established=close_its_window)
    ack = conn.fin_seen.seq if state is State.FIN_WAIT_1 else conn.rcv_nxt
    fin = await conn.send(FIN | ACK, ack=ack, text="our FIN, at a closed window")
    refused = Expectation(ACK, seq=conn.rcv_nxt, ack=fin.segment.seq, length=0, label="not acceptable:")
    taken = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="taken:")
    which, _ = await conn.expect_any(refused, taken)
    forms = ["not taken", "taken"]
    tcp.choice("FIN at a closed window", forms[which], forms)

    await app_reads(conn, sent)
    further = Expectation(ACK, seq=conn.rcv_nxt, length=0, label="the window opens:")
    while await conn.allow(further, within=0.1):
        pass
    if which == 0:
        await conn.inject(FIN | ACK, seq=fin.segment.seq, ack=ack, text="our FIN again")
        await conn.expect_any(taken)
    assert await conn.app.at_end(), "the application is not told that we have closed"
    await conn.confirm(then)


@pytest.mark.parametrize("where", ["at-rcv-nxt", "in-the-window"])
@pytest.mark.parametrize(
    "state",
    [
        in_state(State.CLOSE_WAIT, marks=verifies("RFC9293:3.10.7.4-fin-close-wait", "RFC9293:3.10.7.4-fin")),
        in_state(State.CLOSING, marks=verifies("RFC9293:3.10.7.4-fin-closing", "RFC9293:3.10.7.4-fin")),
        in_state(State.LAST_ACK, marks=verifies("RFC9293:3.10.7.4-fin-last-ack", "RFC9293:3.10.7.4-fin")),
        in_state(
            State.TIME_WAIT, marks=verifies("RFC9293:3.10.7.4-fin-time-wait-restart", "RFC9293:3.10.7.4-fin", lasts=1)
        ),
    ],
)
async def test_second_fin_beyond_the_first_leaves_the_state(tcp: Case, state: State, where: str) -> None:
    """A FIN beyond the first leaves the state.

    Our FIN was taken. A second one comes with the number behind it, or 100 further on, which no sender should do.

    The text says "remain" for each of these states, and that a FIN is acknowledged. An acknowledgment of RCV.NXT, of
    the second FIN where it is in order, or nothing may come; the target must stay, and answer what is in order.
    """
    conn = await tcp.drive_to(state)
    at = conn.snd_nxt + (0 if where == "at-rcv-nxt" else 100)
    ack = conn.rcv_nxt if state in (State.CLOSE_WAIT, State.TIME_WAIT) else conn.acked
    await conn.inject(FIN | ACK, seq=at, ack=ack, text="a second FIN")
    as_before = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="as before:")
    counted = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt + 1, length=0, label="counted:")
    answer = await conn.allow(*((as_before, counted) if where == "at-rcv-nxt" else (as_before,)), within=0.3)
    forms = ["acknowledges as before", "counts it", "silence"]
    tcp.choice("answer to a second FIN", forms[2 if answer is None else answer[0]], forms)
    if answer is not None and answer[0] == 1:
        conn.taken_in(snd_nxt=conn.snd_nxt + 1)
        conn.snd_nxt = at + 1
    await conn.confirm(state)


@verifies("RFC9293:3.10.7.4-fin", "RFC9293:MAY-1", level="text")
async def test_fin_beyond_a_hole_is_not_counted_by_an_orphan(tcp: Case) -> None:
    """A FIN beyond a hole does not count once the socket is closed.

    The application has closed its socket, and our FIN arrives ahead of text that was lost.

    The target may hold it and repeat its last ACK. It may also reset: the FIN says that there is text, which nobody
    can read any more (MAY-1). It must not take the FIN for received.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_2, how="close")
    await conn.inject(FIN | ACK, seq=conn.snd_nxt + 10, text="a FIN beyond a hole")
    repeated = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="the last ACK again:")
    answer = await conn.allow(repeated, *resets(seq=conn.rcv_nxt), within=0.3)
    reset = answer is not None and answer[0] > 0
    tcp.choice("FIN beyond a hole, after CLOSE", "reset" if reset else "held", ["held", "reset"])
    await conn.confirm(State.CLOSED if reset else State.FIN_WAIT_2)


@verifies("RFC9293:3.10.7.4-syn-received-syn", "RFC9293:3.10.7.4-syn-challenge", level="text", lasts=1)
async def test_syn_ack_at_rcv_nxt_does_not_open_a_passive_connection(tcp: Case) -> None:
    """A SYN,ACK at RCV.NXT does not open a passive connection.

    In SYN-RECEIVED after a passive open a SYN,ACK of ours arrives with the next number, and acknowledges the target's
    SYN. A SYN in the window takes such a connection back to LISTEN, and where RFC 5961 holds it is challenged; the ACK
    field is looked at only behind that.

    The target may reset, challenge, or say nothing, and must not be in ESTABLISHED: no connection is to be accepted.
    """
    conn = await tcp.drive_to(State.SYN_RECEIVED)
    await conn.inject(SYN | ACK, text="a SYN,ACK at RCV.NXT")
    challenge = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="challenge:")
    opening = Expectation(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0, label="the SYN,ACK again:")
    await conn.allow(challenge, opening, *resets(seq=conn.rcv_nxt), within=0.3)
    await conn.listener.fails("accept", "timeout", wait_s=0.3)
