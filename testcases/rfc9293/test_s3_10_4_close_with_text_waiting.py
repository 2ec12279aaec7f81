"""RFC 9293 section 3.10.4: CLOSE while text waits for our window, and our FIN before, between or after."""

import pytest

from conformance.api import ACK, FIN, Case, Connection, Expectation, Seq, State, app_closes, app_sends, verifies

WINDOW = 200
TEXT = bytes(range(250)) * 2
HOW = pytest.mark.parametrize("how", ["shutdown", "close"])
OUR_FIN = pytest.mark.parametrize("ours", ["before", "between", "after"])
FLIGHT = pytest.mark.parametrize("flight", ["nothing-in-flight", "partly-in-flight", "all-in-flight"])


async def queues(tcp: Case, flight: str) -> tuple[Connection, Seq, bytes]:
    """Return a connection on which the application's text waits, the text's first number, and the text.

    Nothing of it is in flight, a part of it, or all; what is in flight fills our window.
    """
    conn = await tcp.listen()
    conn.window = WINDOW if flight == "partly-in-flight" else 65535
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    first = conn.rcv_nxt
    if flight == "partly-in-flight":
        await conn.app.send(TEXT, wait=False)
        await conn.expect_flight()
        return conn, first, TEXT
    await app_sends(conn, TEXT[:WINDOW])
    if flight == "all-in-flight":
        return conn, first, TEXT[:WINDOW]
    conn.window = 0
    await conn.send(ACK, text="closes the window")
    await conn.app.send(TEXT[WINDOW:], wait=False)
    return conn, conn.rcv_nxt, TEXT[WINDOW:]


async def comes_with_its_fin(conn: Connection, text: bytes, first: Seq) -> None:
    """Open the window; see all the text and the FIN behind it, and acknowledge what came."""
    conn.window = 65535
    await conn.send(ACK, ack=conn.acked, text="opens the window")
    got = 0
    while got <= len(text):
        _, received = await conn.expect_any(Expectation(ack=conn.snd_nxt), within=7, strict=True)
        segment, at = received.segment, received.segment.seq - first
        assert text[at : at + len(segment.payload)] == segment.payload, f"at {at} came {segment.payload[:20]!r}"
        if segment.flags & FIN:
            assert segment.end == first + len(text) + 1, "the FIN does not stand behind the last octet"
        if at <= got < segment.end - first:
            got = segment.end - first
            await conn.send(ACK, ack=first + got)


@HOW
@OUR_FIN
@FLIGHT
@verifies(
    "RFC9293:3.10.4-established",
    "RFC9293:3.10.4-close-wait",
    "RFC9293:MUST-13",
    cells=["ESTABLISHED/call-close", "CLOSE-WAIT/call-close"],
    level="MUST",
    lasts=3,
)
async def test_close_with_text_waiting_sends_all_and_then_the_fin(tcp: Case, flight: str, ours: str, how: str) -> None:
    """CLOSE sends the waiting text, then the FIN.

    The application has written text that our window takes in part, or not at all, and makes its CLOSE call. Our own
    FIN comes before that call, after it, or when all has arrived.

    CLOSE enters FIN-WAIT-1 (LAST-ACK after our FIN) at once, whether the FIN can be sent yet or not. Once our window
    opens, the target must send every octet and its FIN. If we close after its call, it is the active closer: CLOSING,
    then TIME-WAIT.
    """
    conn, first, text = await queues(tcp, flight)
    if ours == "before":
        await conn.send(FIN | ACK, ack=first, text="our FIN comes first")
        await fin_acknowledged(conn)
    await app_closes(conn, how)
    if ours == "between":
        await conn.send(FIN | ACK, ack=first, text="our FIN follows the CLOSE")
        await fin_acknowledged(conn)
    await conn.confirm(
        {"before": State.LAST_ACK, "between": State.CLOSING, "after": State.FIN_WAIT_1}[ours], probe=False
    )
    await comes_with_its_fin(conn, text, first)
    if ours == "after":
        await conn.confirm(State.FIN_WAIT_2)
        await conn.send(FIN | ACK)
        await conn.expect_ack()
    await conn.confirm(State.CLOSED if ours == "before" else State.TIME_WAIT)


async def fin_acknowledged(conn: Connection) -> None:
    """See our FIN acknowledged, by a segment of any kind: text and a FIN of the target's may be on their way."""
    while (await conn.expect_any(Expectation(), within=1, strict=True))[1].segment.ack != conn.snd_nxt:
        pass
