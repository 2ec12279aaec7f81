"""RFC 9293 section 3.8.4: keep-alives."""

from dataclasses import replace

from conformance.api import (
    ACK,
    PSH,
    SECOND,
    Bound,
    Case,
    Connection,
    Expectation,
    Received,
    Sent,
    State,
    Violation,
    app_sends,
    verifies,
)

KEPT = ("app", "keepalive")
FREQUENT = {"net.ipv4.tcp_keepalive_time": "1", "net.ipv4.tcp_keepalive_intvl": "1"}
TWO_HOURS_S = 7200


async def kept_alive(tcp: Case, idle_s: int, interval_s: int = 1, probes: int = 9) -> Connection:
    """Return a connection on which the application has asked for keep-alives at those intervals."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    for name, value in (("TCP_KEEPIDLE", idle_s), ("TCP_KEEPINTVL", interval_s), ("TCP_KEEPCNT", probes)):
        await conn.app.option("tcp", name, value)
    await conn.app.option("socket", "SO_KEEPALIVE", 1)
    return conn


async def keep_alive(tcp: Case, conn: Connection, within: float) -> Received:
    """Expect a keep-alive: an ACK one below the next number, with no data or one garbage octet."""
    bare = Expectation(ACK, seq=conn.rcv_nxt - 1, ack=conn.snd_nxt, length=0, label="keep-alive:")
    octet = Expectation(ACK, seq=conn.rcv_nxt - 1, ack=conn.snd_nxt, length=1, label="keep-alive:")
    which, received = await conn.expect_any(bare, octet, within=within)
    tcp.choice("keep-alive", ["without data", "with one octet"][which], ["without data", "with one octet"])
    return received


@verifies("RFC9293:MUST-25", "RFC9293:MUST-24", needs=(*KEPT, "settings"), sysctl=FREQUENT, lasts=10)
async def test_keep_alives_are_sent_only_when_asked_for(tcp: Case) -> None:
    """Keep-alives are sent only while the application asks.

    With keep-alives due after a second, a connection is idle for three; the application switches them on, and off
    again. The target must send none before, some while they are on, and none after.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.silence(for_=3)
    await conn.app.option("socket", "SO_KEEPALIVE", 1)
    await keep_alive(tcp, conn, within=3)
    await conn.send(ACK, text="still here")
    await conn.app.option("socket", "SO_KEEPALIVE", 0)
    # On a busy machine one has left before the call was made.
    await conn.allow(Expectation(ACK, seq=conn.rcv_nxt - 1, length=0, label="a late keep-alive:"), within=0.05)
    await conn.silence(for_=3)


@verifies("RFC9293:MUST-27", "RFC9293:MUST-24", needs=KEPT, lasts=6)
async def test_interval_of_keep_alives_is_configurable(tcp: Case) -> None:
    """The interval of keep-alives is configurable.

    The application asks for keep-alives after one second on one connection and after three on another. Each must
    come when its connection has been idle for that long.
    """
    for idle_s in (1, 3):
        conn = await kept_alive(tcp, idle_s)
        since = await conn.send(ACK | PSH, payload=b"the last word for now")
        await conn.expect_ack()
        bound = tcp.timer("keepalive-time", idle_s)
        probe = await keep_alive(tcp, conn, within=bound.high_s + 1)
        took_s = (probe.at_ns - since.at_ns) / SECOND
        tcp.check_timing("keepalive-time", took_s, bound, how="from our last segment to the keep-alive")


@verifies("RFC9293:MUST-28", needs=KEPT)
async def test_default_interval_of_keep_alives_is_two_hours_or_more(tcp: Case) -> None:
    """The default interval of keep-alives is two hours or more.

    The application switches keep-alives on, asks for no interval, and reads what it is. It must be two hours at
    least.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.option("socket", "SO_KEEPALIVE", 1)
    default_s = float(await conn.app.option("tcp", "TCP_KEEPIDLE"))
    bound = Bound(TWO_HOURS_S, 1e9, "RFC 9293, 3.8.4 (MUST-28)")
    tcp.check_timing("default keep-alive interval", default_s, bound, how="as the application reads it")


@verifies("RFC9293:MUST-26", needs=KEPT, lasts=7)
async def test_keep_alives_wait_while_something_comes(tcp: Case) -> None:
    """Keep-alives wait while segments arrive.

    Keep-alives are due after three seconds; data and a bare ACK of ours come every 0.7 s, and then nothing more.
    The target must send no keep-alive before the connection has been idle for three seconds.
    """
    conn = await kept_alive(tcp, 3)
    bound = tcp.timer("keepalive-time", 3)
    probe = Expectation(ACK, seq=conn.rcv_nxt - 1, ack=conn.snd_nxt, label="keep-alive:")

    def check(since: Sent, arrived: Received) -> None:
        took_s = (arrived.at_ns - since.at_ns) / SECOND
        tcp.check_timing("keepalive-time", took_s, bound, how="from our last segment to the keep-alive")

    for number in range(6):
        if number % 2:
            since = await conn.inject(ACK, text="an acknowledgment")
        else:
            since = await conn.send(ACK | PSH, payload=b"something")
            await conn.expect_ack()
        # On a machine that is too busy to send in time one is due, and its stamp says so.
        if arrived := await conn.allow(replace(probe, ack=conn.snd_nxt), within=0.7):
            check(since, arrived[1])
    check(since, await keep_alive(tcp, conn, within=bound.high_s + 1))


@verifies("RFC9293:MUST-26", needs=KEPT, lasts=5)
async def test_no_keep_alive_while_data_is_outstanding(tcp: Case) -> None:
    """No keep-alive is sent while data is outstanding.

    Keep-alives are due after a second, and data of the target's is not acknowledged for four. It must retransmit,
    and send no keep-alive.
    """
    conn = await kept_alive(tcp, 1)
    data = await app_sends(conn, b"not acknowledged")
    until_ns = tcp.clock.now_ns() + 4 * SECOND
    again = Expectation(ACK, seq=data.segment.seq, ack=conn.snd_nxt, length=16, label="retransmission:")
    seen = 0
    while (left := (until_ns - tcp.clock.now_ns()) / SECOND) > 0:
        seen += await conn.allow(again, within=left, strict=True) is not None
    if not seen:
        raise Violation("the data is not acknowledged for 4 s, and was not sent again")
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC9293:MUST-29", needs=KEPT, lasts=5)
async def test_keep_alive_without_an_answer_does_not_end_the_connection(tcp: Case) -> None:
    """An unanswered keep-alive does not end the connection.

    Keep-alives go out every second; we answer the third only. The target must not take the two unanswered ones for
    the end: the connection goes on.
    """
    conn = await kept_alive(tcp, 1, probes=5)
    for _ in range(3):
        await keep_alive(tcp, conn, within=3)
    await conn.send(ACK, text="here we are")
    await conn.deliver(b"and as alive as ever")
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC9293:SHLD-12", "RFC9293:MAY-6", "RFC9293:3.8.4-form", level="SHOULD", needs=KEPT, lasts=2)
async def test_keep_alive_carries_no_data(tcp: Case) -> None:
    """A keep-alive carries no data.

    The application asks for keep-alives after a second. What comes should be an ACK one below the next number
    without data; one garbage octet is for older peers.
    """
    conn = await kept_alive(tcp, 1)
    received = await keep_alive(tcp, conn, within=3)
    assert not received.segment.payload, "the keep-alive carries an octet of garbage"
