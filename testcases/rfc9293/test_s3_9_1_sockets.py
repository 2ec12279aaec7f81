"""RFC 9293 section 3.9.1 from the sockets' side: half a shutdown, a listener that closes, a SYN that offers no window."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    RST,
    SYN,
    AppError,
    Case,
    Connection,
    Expectation,
    NotApplicable,
    State,
    app_accepts,
    resets,
    verifies,
)

TEXT = b"text that may find nobody to read it"


async def beside(tcp: Case, conn: Connection) -> Connection:
    """Return a connection to the listener of `conn`, from another port of ours, that is half open."""
    another = tcp.connection(conn.listener.port)
    another.listener = conn.listener
    await another.send(SYN)
    await another.expect(SYN | ACK, ack=another.snd_nxt, length=0)
    return another


@verifies("RFC9293:MAY-1", "RFC9293:3.10.4-established", level="text", lasts=1)
async def test_shutdown_of_the_receiving_side_sends_nothing(tcp: Case) -> None:
    """shutdown of the receiving side sends nothing.

    The application shuts down its receiving side alone. That is no CLOSE of the standard's: no segment may come, the
    connection stays ESTABLISHED, and the application can still send. What we send then may be acknowledged or reset.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    try:
        await conn.app.shutdown("receive")
    except AppError as error:
        if error.code == "ENOTSUP":
            raise NotApplicable("its application can't shut down the receiving side alone") from None
        raise
    await conn.silence()
    await conn.confirm(State.ESTABLISHED)
    await conn.collect(b"still sending")

    await conn.send(ACK, payload=TEXT, text="text for nobody")
    acknowledged = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="acknowledged:")
    which, _ = await conn.expect_any(acknowledged, *resets(seq=conn.rcv_nxt))
    tcp.choice(
        "text after the receiving side was shut down", "reset" if which else "acknowledged", ["acknowledged", "reset"]
    )


@verifies("RFC9293:3.10.4-established", "RFC9293:3.6-case-1", level="text")
async def test_shutdown_of_both_sides_is_a_close(tcp: Case) -> None:
    """shutdown of both sides sends the FIN and goes on to TIME-WAIT.

    The application shuts down both sides of its socket and holds it. The target must send its FIN, as for a CLOSE, and
    take our FIN.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.shutdown("both")
    await conn.expect_fin()
    await conn.send(ACK)
    await conn.confirm(State.FIN_WAIT_2)
    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.TIME_WAIT)


@verifies("RFC9293:3.10.4-listen", "RFC9293:3.5.2-group-1", level="text", lasts=1, needs=("accept-queue",))
async def test_closing_a_listener_forgets_what_nobody_has_accepted(tcp: Case) -> None:
    """Closing a listener forgets the connections in its queue.

    A connection is complete and waits to be accepted, another is half open, when the application closes its listener.
    Nobody will ever hold them: the target may reset them at once, or answer what we send next by a reset.
    """
    waiting = await tcp.listen()
    await waiting.send(SYN)
    await waiting.expect(SYN | ACK, ack=waiting.snd_nxt, length=0)
    half_open = await beside(tcp, waiting)
    await waiting.send(ACK, text="complete, and not accepted")
    await tcp.sleep(0.05)
    await waiting.listener.close()
    for conn in (waiting, half_open):
        at_once = await conn.allow(*resets(seq=conn.rcv_nxt), within=0.2)
        if at_once is None:
            sent = await conn.inject(ACK, payload=b"?", text="is there anybody?")
            await conn.expect_reset(seq=sent.segment.ack, label="no connection:")


@verifies("RFC9293:3.10.7.4-rst-closing", "RFC9293:3.10.7.4-rst-reset", level="text", lasts=1)
async def test_reset_before_accept_does_not_disturb_the_listener(tcp: Case) -> None:
    """A reset before ACCEPT does not disturb the listener.

    A connection is complete and waits to be accepted when our RST ends it. accept() may hand out a dead socket, fail,
    or go on waiting; the next connection must be accepted and carry text.
    """
    conn = await tcp.listen()
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.send(ACK)
    await tcp.sleep(0.05)
    await conn.send(RST, text="ends it before it is accepted")
    await conn.confirm(State.CLOSED)

    following = await beside(tcp, conn)
    await following.send(ACK)
    await app_accepts(following)
    if following.app.port != following.port:  # the dead one came first
        tcp.note("accept() hands out the connection that was reset")
        await app_accepts(following)
    await following.deliver(TEXT)


@pytest.mark.parametrize("by", ["passive", "active"])
@verifies("RFC9293:MUST-36", "RFC9293:3.10.7.4-ack-window", level="MUST", lasts=3)
async def test_opening_that_offers_no_window_is_probed(tcp: Case, by: str) -> None:
    """An opening with a window of 0 is answered, and probed ({by} open).

    Our SYN, or SYN,ACK, and the acknowledgment behind it offer a window of zero. The connection must open all the
    same; text that the application writes waits, is probed, and comes when the window opens.
    """
    conn = await (tcp.listen() if by == "passive" else tcp.connect())
    conn.window = 0
    await tcp.drive_to(State.ESTABLISHED, by=by, conn=conn)
    first = conn.rcv_nxt
    await conn.app.send(TEXT, wait=False)
    any_probe = Expectation(ACK, ack=conn.snd_nxt, label="a probe:")
    _, probe = await conn.expect_any(any_probe, within=7, strict=True)
    assert len(probe.segment.payload) <= 1, f"{len(probe.segment.payload)} octets came into a closed window"
    conn.window = 65535
    await conn.send(ACK, ack=first, text="opens the window")
    got = 0
    while got < len(TEXT):
        _, received = await conn.expect_any(any_probe, within=7, strict=True)
        at, text = received.segment.seq - first, received.segment.payload
        assert not text or text == TEXT[at : at + len(text)], f"at {at} came {text[:20]!r}"
        if at <= got < at + len(text):
            got = at + len(text)
    await conn.send(ACK, ack=first + got)
