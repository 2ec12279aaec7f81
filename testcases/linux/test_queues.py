"""Linux: the queues of a listener, which tcp_max_syn_backlog, tcp_syncookies, tcp_abort_on_overflow and somaxconn bound."""

import pytest

from conformance.api import ACK, RST, SYN, Case, Connection, Expectation, State, app_accepts, verifies
from conformance.case.app import AppSocket

COOKIES = "net.ipv4.tcp_syncookies"
BACKLOG = "net.ipv4.tcp_max_syn_backlog"


def another(tcp: Case, listener: AppSocket) -> Connection:
    """Return a further connection to the same listener, which we are about to open."""
    conn = tcp.connection(listener.port)
    conn.listener = listener
    return conn


async def half_opened(tcp: Case, listener: AppSocket) -> Connection | None:
    """Return a connection whose SYN,ACK we do not answer, or None if our SYN was dropped."""
    conn = another(tcp, listener)
    await conn.send(SYN)
    if await conn.allow(Expectation(SYN | ACK, ack=conn.snd_nxt, length=0), within=0.3) is None:
        return None
    return conn


async def half_open_connections(tcp: Case, listener: AppSocket, most: int) -> list[Connection]:
    """Half-open connections until the target drops a SYN or there are `most`; return them."""
    half_open: list[Connection] = []
    while len(half_open) < most and (conn := await half_opened(tcp, listener)) is not None:
        half_open.append(conn)
    return half_open


async def completes(conn: Connection) -> None:
    """See that the connection opens once there is room again."""
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


async def opened(tcp: Case, listener: AppSocket) -> Connection:
    """Return a connection that waits in the queue to be accepted."""
    conn = await half_opened(tcp, listener)
    assert conn, "the SYN got no answer"
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)
    return conn


# The SYN queue


@pytest.mark.parametrize("bound", [8, 16])
@verifies("IP-SYSCTL:tcp_max_syn_backlog", "claim:C-49", sysctl={BACKLOG: "{bound}", COOKIES: "0"}, lasts=3)
async def test_max_syn_backlog_bounds_half_open_connections(tcp: Case, bound: int) -> None:
    """tcp_max_syn_backlog={bound} bounds the half-open connections.

    Without cookies, SYN after SYN comes whose SYN,ACK is never acknowledged; at most the bound and 4 more are sent.
    The target must drop SYNs in silence at the bound or before (the last quarter is kept for hosts that it knows),
    and take one again when a half-open connection ends.
    """
    listener = await tcp.app.listen(backlog=128)
    half_open = await half_open_connections(tcp, listener, bound + 4)
    assert 3 * bound // 4 <= len(half_open) <= bound, (
        f"{len(half_open)} half-open connections, tcp_max_syn_backlog is {bound}"
    )
    refused = another(tcp, listener)
    await refused.inject(SYN)
    await refused.silence(strict=True)
    await half_open[0].inject(RST, text="one half-open connection ends")
    await completes(refused)


@verifies("IP-SYSCTL:tcp_syncookies", "claim:C-48", sysctl={COOKIES: "1"}, lasts=3)
async def test_syncookies_let_a_client_in_when_the_queue_is_full(tcp: Case) -> None:
    """SYN cookies let a client in when the queue is full.

    Five half-open connections fill the backlog of 4; then one more SYN comes, and in its time the third segment.
    The target must answer with a SYN,ACK that it remembers nothing of (it is not repeated, the others are), and
    open the connection when its acknowledgment comes.
    """
    listener = await tcp.app.listen(backlog=4)
    waiting = await half_open_connections(tcp, listener, 5)
    assert len(waiting) == 5
    conn = await half_opened(tcp, listener)
    assert conn, "with cookies a SYN is answered when the queue is full"
    await conn.silence(for_=1.5, strict=True)
    assert waiting[0].put_aside or await repeated(waiting[0]), "the first SYN,ACK is not repeated"
    await conn.send(ACK)
    conn.app = await listener.accept()
    await conn.deliver(b"let in by a cookie")
    await conn.confirm(State.ESTABLISHED)


async def repeated(conn: Connection) -> bool:
    """Return True if the SYN,ACK was repeated meanwhile."""
    wanted = Expectation(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0)
    return await conn.allow(wanted, within=0.2, strict=True) is not None


@verifies("IP-SYSCTL:tcp_syncookies", "claim:C-48", sysctl={COOKIES: "0"}, lasts=2)
async def test_syncookies_off_drops_what_the_queue_has_no_room_for(tcp: Case) -> None:
    """Without SYN cookies a full queue drops the next SYN.

    Without cookies, half-open connections fill the backlog of 4; then one more SYN comes. The target must not
    answer it (a backlog of 4 is full with four connections or, in later kernels, with five).
    """
    listener = await tcp.app.listen(backlog=4)
    half_open = await half_open_connections(tcp, listener, 8)
    assert len(half_open) in (4, 5), f"{len(half_open)} half-open connections, the backlog is 4"
    conn = another(tcp, listener)
    await conn.inject(SYN)
    await conn.silence(strict=True)
    await half_open[0].inject(RST, text="one half-open connection ends")
    await completes(conn)


@verifies("IP-SYSCTL:tcp_syncookies", "claim:C-48", sysctl={COOKIES: "2"}, lasts=2)
async def test_syncookies_always_keeps_nothing_of_a_syn(tcp: Case) -> None:
    """tcp_syncookies 2 remembers nothing of a SYN.

    With tcp_syncookies at 2 a single SYN comes to a listener with room. The target must answer with a cookie: the
    SYN,ACK is not repeated, no connection is remembered, a wrong acknowledgment is reset, and the right one opens.
    """
    conn = await tcp.listen()
    await conn.send(SYN)
    answer = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.silence(for_=1.5, strict=True)
    if await tcp.state_of(conn) is not None:
        assert await tcp.app.state(conn.remote_port, conn.port) in (State.LISTEN, State.CLOSED)
    wrong = await conn.inject(ACK, ack=answer.segment.seq + 100_000, text="no cookie of the target's")
    await conn.expect(RST, seq=wrong.segment.ack, length=0)
    await conn.send(ACK)
    await app_accepts(conn)
    await conn.deliver(b"let in by a cookie")


# The queue of connections that wait to be accepted


async def with_full_accept_queue(tcp: Case) -> tuple[AppSocket, Connection]:
    """Fill the accept queue of a backlog of 1 (it holds one more), and return it with a half-open connection."""
    listener = await tcp.app.listen(backlog=1)
    half = await half_opened(tcp, listener)
    assert half, "the SYN got no answer"
    for _ in range(2):
        await opened(tcp, listener)
    return listener, half


@verifies("IP-SYSCTL:tcp_abort_on_overflow", "claim:C-47", sysctl={"net.ipv4.tcp_abort_on_overflow": "0"}, lasts=4)
async def test_abort_on_overflow_off_waits_for_room(tcp: Case) -> None:
    """tcp_abort_on_overflow 0 waits for room in the accept queue.

    The third segment comes when the accept queue is full, and tcp_abort_on_overflow is off. The target must ignore
    it, repeat its SYN,ACK, and open the connection with our next ACK when there is room.
    """
    listener, conn = await with_full_accept_queue(tcp)
    first = Expectation(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0, label="the SYN,ACK again:")
    await conn.inject(ACK, text="the third segment")
    await conn.silence(for_=0.5)
    await listener.accept()
    await conn.expect_any(first, within=tcp.timer("syn-ack-rto", 2).high_s + 1, strict=True)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@verifies("IP-SYSCTL:tcp_abort_on_overflow", "claim:C-47", sysctl={"net.ipv4.tcp_abort_on_overflow": "1"}, lasts=1)
async def test_abort_on_overflow_resets(tcp: Case) -> None:
    """tcp_abort_on_overflow 1 resets when the accept queue is full.

    The third segment comes when the accept queue is full, and tcp_abort_on_overflow is on. The target must reset
    the connection.
    """
    _, conn = await with_full_accept_queue(tcp)
    third = await conn.inject(ACK, text="the third segment")
    await conn.expect(RST, seq=third.segment.ack, length=0)
    await conn.silence(for_=1.5, strict=True)
    again = await conn.inject(ACK, text="to a connection that is gone")
    await conn.expect(RST, seq=again.segment.ack, length=0)
    await conn.confirm(State.CLOSED, probe=False)


@pytest.mark.parametrize("bound", [1, 3])
@verifies("IP-SYSCTL:somaxconn", sysctl={"net.core.somaxconn": "{bound}"}, lasts=2)
async def test_somaxconn_bounds_the_backlog(tcp: Case, bound: int) -> None:
    """somaxconn={bound} bounds the backlog of a listener.

    The application listens with a backlog of 64 and accepts nothing; somaxconn is smaller. The target must take one
    connection more than that, and drop the SYN of the next until one is accepted.
    """
    listener = await tcp.app.listen(backlog=64)
    for _ in range(bound + 1):
        await opened(tcp, listener)
    conn = another(tcp, listener)
    await conn.inject(SYN)
    await conn.silence(strict=True)
    await listener.accept()
    await completes(conn)
