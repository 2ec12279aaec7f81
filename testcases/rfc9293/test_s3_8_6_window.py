"""RFC 9293 sections 3.8.6 and 3.4: windows that the target is offered, closed and shrunk ones, and the window that it offers."""

from dataclasses import replace

import pytest

from conformance.api import (
    ACK,
    PSH,
    RST,
    SECOND,
    URG,
    Bound,
    Case,
    Connection,
    Expectation,
    Inconclusive,
    Received,
    Sent,
    State,
    Violation,
    app_reads,
    app_sends,
    opt,
    verifies,
)

SIZE = 1000
DATA = bytes(range(250)) * 400
SMALL_BUFFER = [("socket", "SO_RCVBUF", 4096)]
# A buffer that is this much larger than what is asked for is closed after that many octets.
MOST = 400_000
PIECE = 1000


async def established(tcp: Case, window: int, *, size: int = SIZE) -> Connection:
    """Return a connection on which we offer that window, and take segments of up to `size` octets."""
    conn = await tcp.listen()
    conn.syn_options, conn.window = (opt.mss(size),), window
    return await tcp.drive_to(State.ESTABLISHED, conn=conn)


async def established_for_four(tcp: Case, window: int) -> Connection:
    """Return such a connection whose congestion window holds four segments (RFC 5681 section 3.1)."""
    conn = await established(tcp, window)
    await conn.collect_segments(DATA[: 4 * SIZE])
    return conn


# Windows that the target is offered


async def fills_the_window(conn: Connection, window: int) -> None:
    """See that the application's data comes up to the right edge of a fixed window, and not an octet further.

    What is left of the window after the last full segment may be filled or not: it is too small to be worth it.
    """
    first, got = conn.rcv_nxt, 0
    await conn.app.send_by_the_book(window + 5 * SIZE)
    await conn.app.send(DATA[: window + 5 * SIZE], wait=False)
    while got + SIZE <= window or await conn.allow(Expectation(ACK, seq=first + got), within=0.15):
        if got + SIZE <= window:
            await conn.expect(ACK, seq=first + got, ack=conn.snd_nxt)
        before, got = got, conn.rcv_nxt - first
        if before == got or got > window:
            raise Violation(f"octets {before} to {got} came, the window ends after {window}")
        conn.window = window - got
        if conn.window:
            await conn.send(ACK)


@pytest.mark.parametrize("window", [1500, 32767, 32768, 40000, 65535])
@verifies("RFC9293:MUST-1")
async def test_window_is_an_unsigned_number(tcp: Case, window: int) -> None:
    """A window of {window} octets is an unsigned number.

    We offer a window on both sides of 32768, and the application sends more than it takes. The target must fill it
    to its right edge, with 32768 and more as with less, and send nothing beyond.
    """
    await fills_the_window(await established(tcp, window), window)


@pytest.mark.parametrize("window", [4, 1 << 8, 65532], ids=lambda window: f"{window << 14}-octets")
@verifies("RFC9293:REC-1", level="SHOULD", needs=("app", "wscale"))
async def test_scaled_window_needs_more_than_16_bits(tcp: Case, window: int) -> None:
    """The sender uses all bits of the scaled window.

    Our window is scaled by 14 bits to 64 KiB, 4 MiB and nearly a gigabyte: in each of them the low 16 bits are
    zero. The target should reckon with all the bits, and send its data at once; with 16 of them it would find the
    window closed.
    """
    conn = await tcp.listen()
    conn.syn_options, conn.window = (opt.mss(SIZE), opt.window_scale(14)), window
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    for _ in range(3):
        arrived = await conn.collect_segments(DATA[:SIZE])
        assert len(arrived) == 1, f"{SIZE} octets came in {len(arrived)} segments: the window seems to be smaller"
    await conn.confirm(State.ESTABLISHED)


# Windows that shrink


async def shrunk(tcp: Case, window: int) -> tuple[Connection, list[Received]]:
    """Return a connection with three segments outstanding, when our window shrinks to `window` octets beyond the first.

    Four segments came, and the acknowledgment of the first of them moves the right edge of the window to the left.
    """
    conn = await established_for_four(tcp, 10 * SIZE)
    await conn.app.send(DATA[: 4 * SIZE])
    arrived = [
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA[at : at + SIZE])
        for at in range(0, 4 * SIZE, SIZE)
    ]
    conn.window = window
    await conn.send(ACK, ack=arrived[0].segment.end, text="shrinks the window")
    return conn, arrived[1:]


async def answered(tcp: Case, conn: Connection, seconds: float) -> int:
    """Answer each probe of the closed window for that long without taking data; return how many arrived."""
    until_ns = tcp.clock.now_ns() + round(seconds * SECOND)
    probes = 0
    while (left := (until_ns - tcp.clock.now_ns()) / SECOND) > 0:
        if await conn.allow(Expectation(ACK, ack=conn.snd_nxt), within=left, strict=True):
            probes += 1
            await conn.inject(ACK, ack=conn.acked, window=0, text="the window is still closed")
    return probes


async def comes_in_the_end(conn: Connection, data: bytes) -> None:
    """Open the window and see that the data that we have not acknowledged arrives, in whatever segments."""
    first, got = conn.acked, 0
    conn.window = 65535
    await conn.send(ACK, ack=first, text="opens the window")
    while got < len(data):
        # A timer that was backed off need not start anew because the window opens.
        _, received = await conn.expect_any(Expectation(ACK, ack=conn.snd_nxt), within=7, strict=True)
        at, payload = received.segment.seq - first, received.segment.payload
        if payload and payload != data[at : at + len(payload)]:
            raise Violation(f"at {at} came {payload[:20]!r}, the application sent {data[at : at + 20]!r}")
        if at <= got < at + len(payload):
            got = at + len(payload)
            await conn.send(ACK, ack=first + got)


@verifies("RFC9293:MUST-34", "RFC9293:SHLD-16", level="MUST", lasts=2)
async def test_window_that_shrinks_does_not_stop_the_sender(tcp: Case) -> None:
    """A window that shrinks does not stop the sender.

    Three segments are under way when our window shrinks to two, and we have lost all three. The target must survive
    it: it retransmits what lies in the window, and goes on as the window opens again.
    """
    conn, arrived = await shrunk(tcp, 2 * SIZE)
    await conn.expect_retransmission(arrived[0], arrived[1], within=6)
    await comes_in_the_end(conn, DATA[SIZE : 4 * SIZE])
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC9293:SHLD-15", "claim:C-34", lasts=1)
async def test_no_new_data_is_sent_beyond_a_shrunken_window(tcp: Case) -> None:
    """No new data is sent beyond a shrunken window.

    Three segments are under way when our window shrinks to two; then the application writes more. The target should
    not send it, for there is no room; once we have all three and open the window, it does.
    """
    conn, _ = await shrunk(tcp, 2 * SIZE)
    await conn.app.send(DATA[4 * SIZE : 6 * SIZE])
    await conn.silence(for_=0.4)
    conn.window = 65535
    await conn.send(ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA[4 * SIZE : 5 * SIZE])
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA[5 * SIZE : 6 * SIZE])


@verifies("RFC9293:MAY-7", lasts=1.5)
async def test_old_data_beyond_a_shrunken_window_may_be_sent_again(tcp: Case) -> None:
    """Old data beyond a shrunken window may be sent again.

    Three segments are under way when our window shrinks to one, and we acknowledge none of them. The target may
    send again what lies beyond the window, too, or only what lies in it.
    """
    conn, arrived = await shrunk(tcp, SIZE)
    edge = arrived[0].segment.end
    until_ns = tcp.clock.now_ns() + round(1.2 * SECOND)
    beyond = False
    while (left := (until_ns - tcp.clock.now_ns()) / SECOND) > 0:
        if taken := await conn.allow(Expectation(ACK, ack=conn.snd_nxt), within=left, strict=True):
            beyond |= taken[1].segment.end > edge
    tcp.choice("old data beyond a shrunken window", "sent again" if beyond else "kept", ["sent again", "kept"])
    await comes_in_the_end(conn, DATA[SIZE : 4 * SIZE])
    await conn.confirm(State.ESTABLISHED)


@verifies(
    "RFC9293:SHLD-17",
    "RFC9293:MUST-35",
    level="MUST",
    needs=("app", "settings"),
    sysctl={"net.ipv4.tcp_retries2": "3"},
    lasts=8,
)
async def test_window_that_shrinks_to_zero_is_probed_and_does_not_time_out(tcp: Case) -> None:
    """A window that shrinks to zero is probed and does not time out.

    Three segments are under way when our window shrinks to zero; we answer each probe, for six seconds. With R2 at
    three retransmissions the target must probe, and should not give the connection up.
    """
    conn, _ = await shrunk(tcp, 0)
    probes = await answered(tcp, conn, 6)
    assert probes >= 3, f"{probes} probes came within 6 s"
    await comes_in_the_end(conn, DATA[SIZE : 4 * SIZE])
    await conn.confirm(State.ESTABLISHED)


@verifies(
    "RFC9293:MUST-37",
    "RFC9293:MUST-36",
    "claim:C-34",
    needs=("app", "settings"),
    sysctl={"net.ipv4.tcp_retries2": "3"},
    lasts=8,
)
async def test_connection_stays_open_while_probes_are_answered(tcp: Case) -> None:
    """A closed window stays probed as long as probes are answered.

    Our window is closed for six seconds, with R2 at three retransmissions, and we answer each probe. The target
    must keep the connection open, and send its data when the window opens.
    """
    conn = await established(tcp, 65535)
    await app_sends(conn, DATA[:SIZE])
    conn.window = 0
    await conn.send(ACK, text="closes the window")
    await conn.app.send(DATA[SIZE : 2 * SIZE])
    probes = await answered(tcp, conn, 6)
    assert probes >= 3, f"{probes} probes came within 6 s"
    await comes_in_the_end(conn, DATA[SIZE : 2 * SIZE])
    await conn.confirm(State.ESTABLISHED)


# The window that the target offers


async def closed_by_the_target(tcp: Case) -> tuple[Connection, bytes]:
    """Return a connection whose target has closed its window because nobody reads, and what it was sent."""
    conn = await tcp.listen(options=SMALL_BUFFER if "options:SO_RCVBUF" in tcp.target.capabilities else ())
    conn.syn_options = (opt.mss(PIECE),)
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    await conn.probe()
    sent = b""
    while conn.remote_window and len(sent) < MOST:
        piece = DATA[len(sent) % 250 :][: min(conn.remote_window, PIECE)]
        await conn.send(ACK | PSH, payload=piece)
        await conn.expect_ack()
        sent += piece
    if conn.remote_window:
        raise Inconclusive(f"the target's window is still {conn.remote_window} octets after {len(sent)}")
    return conn, sent


async def opens(conn: Connection) -> None:
    """See that the target opens its window again after its application has read."""
    update = await conn.expect_ack(label="the window opens:", within=2)
    assert update.segment.window, "the application has read everything, and the window stays closed"
    further = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="and further:")
    while await conn.allow(further, within=0.05):
        pass


@verifies("RFC9293:MAY-8", "RFC9293:3.8.6.1-answer", "RFC9293:3.4-zero-window", "claim:C-34", level="text", lasts=3)
async def test_window_stays_closed_while_the_application_does_not_read(tcp: Case) -> None:
    """The window stays closed while the application does not read.

    The application does not read until the target's window is closed; we probe it with an octet, four times in two
    seconds. The target may keep it closed. It must answer each probe with its next number and a window of zero,
    take nothing, and say so when the application reads.
    """
    conn, sent = await closed_by_the_target(tcp)
    for _ in range(4):
        await conn.inject(ACK, payload=b"?", text="probe of the window")
        await conn.expect_ack(window=0)
        await conn.silence(for_=0.55)
    tcp.choice("window while the application does not read", "kept closed", ["kept closed"])
    await app_reads(conn, sent)
    await opens(conn)
    await conn.deliver(b"and on it goes")


@verifies("RFC9293:MUST-66", "RFC9293:3.4-zero-window")
async def test_reset_is_processed_with_a_closed_window(tcp: Case) -> None:
    """A RST ends the connection though the window is closed.

    The target's window is closed, and a RST comes with the next number. It must end the connection.
    """
    conn, _ = await closed_by_the_target(tcp)
    await conn.send(RST)
    await conn.silence()
    await conn.confirm(State.CLOSED)


@verifies("RFC9293:MUST-66", needs=("app", "urgent"))
async def test_urgent_pointer_is_processed_with_a_closed_window(tcp: Case) -> None:
    """An urgent pointer counts though the window is closed.

    The target's window is closed when an ACK with URG announces urgent data; the data itself comes later, without
    URG. The target must have taken the pointer: the application is told of the octet that it named.
    """
    conn, sent = await closed_by_the_target(tcp)
    await conn.inject(ACK | URG, urgent=3, text="urgent data is to come")
    await conn.silence(for_=0.1)
    await app_reads(conn, sent)
    await opens(conn)
    await conn.send(ACK | PSH, payload=b"ab!")
    await conn.expect_ack()
    got = await conn.app.receive_urgent()
    assert got == b"!", f"the urgent data ends with {got!r} for the application, announced was b'!'"


@verifies("RFC9293:MUST-39", "RFC9293:SHLD-14", level="MUST", lasts=2)
async def test_target_opens_its_window_in_large_steps(tcp: Case) -> None:
    """The target opens its window in large steps.

    The target's window is closed; the application reads it empty in pieces of 200 octets, and we ask after each.
    The right edge must not move by less than a segment, or half of what there is at most, and should never move
    back.
    """
    conn, sent = await closed_by_the_target(tcp)
    least = min(PIECE, len(sent) // 2)
    edge, steps = conn.snd_nxt, []
    for at in range(0, len(sent), 200):
        await conn.app.receive(min(200, len(sent) - at), maximum=200)
        updated = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="window update:")
        await conn.allow(updated, within=0.02)
        await conn.probe()
        now = conn.snd_nxt + conn.remote_window
        if now != edge:
            steps.append(now - edge)
            edge = now
    assert steps, "the application has read everything, and the window stays closed"
    assert min(steps) >= least, f"the window's right edge moved by {steps}, a step has to be {least} at least"
    await conn.deliver(b"and on it goes")


# Silly windows of ours


@verifies("RFC9293:MUST-38", lasts=2)
async def test_target_does_not_fill_a_silly_window(tcp: Case) -> None:
    """The target does not fill a silly window.

    Our window was 4000 octets, the application has more to send, and then we open it by 100 octets only. The target
    must not send so small a segment at once: a tenth of a second may pass before it has to. It sends a full one as
    soon as the window has room for it.
    """
    conn = await established_for_four(tcp, 4 * SIZE)
    await conn.app.send(DATA[: 8 * SIZE])
    for at in range(0, 4 * SIZE, SIZE):
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA[at : at + SIZE])
    conn.window = 100
    opened = await conn.send(ACK, text="a silly window")
    small = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, label="the window filled:")
    at = 4 * SIZE
    if early := await conn.allow(small, within=0.09):
        at += check_override(tcp, opened, early[1])
    conn.window = 4 * SIZE
    await conn.send(ACK, text="a window worth it")
    full = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA[at : at + SIZE], label="a full segment:")
    which, received = await conn.expect_any(full, replace(small, seq=conn.rcv_nxt))
    if which == 1:
        # It had left before the window that is worth it came.
        at += check_override(tcp, opened, received)
        await conn.send(ACK)
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA[at : at + SIZE])


def check_override(tcp: Case, opened: Sent, filled: Received) -> int:
    """Check that a segment that fills a silly window came by the override timeout; return its octets."""
    after_s = (filled.at_ns - opened.at_ns) / SECOND
    bound = Bound(0.1, 1.0, "RFC 9293, 3.8.6.2.1: the override timeout should be in the range 0.1 - 1.0 seconds")
    tcp.check_timing("override of a silly window", after_s, bound, how="from our ACK to the segment that fills it")
    return len(filled.segment.payload)
