"""Linux: tcp_max_tw_buckets and tcp_tw_reuse, which shorten TIME-WAIT, and tcp_max_orphans, which shortens closing."""

import pytest

from conformance.api import ACK, FIN, RST, SECOND, SYN, Case, Connection, Expectation, Inconclusive, State, verifies

BUCKETS = "net.ipv4.tcp_max_tw_buckets"
PORT = 40_000
REUSE = {
    "net.ipv4.ip_local_port_range": f"{PORT} {PORT}",
    "net.ipv4.tcp_tw_reuse": "{reuse}",
}


async def closed_first(tcp: Case) -> Connection:
    """Return a connection that the target has closed first, with our FIN sent and acknowledged."""
    return await tcp.drive_to(State.TIME_WAIT)


@pytest.mark.parametrize("bound", [0, 2])
@verifies("IP-SYSCTL:tcp_max_tw_buckets", "claim:C-45", alone=True, sysctl={BUCKETS: "{bound}"}, lasts=1)
async def test_max_tw_buckets_bounds_time_wait(tcp: Case, bound: int) -> None:
    """tcp_max_tw_buckets={bound} bounds the connections in TIME-WAIT.

    One connection after the other is closed by the target first; tcp_max_tw_buckets is small. Up to the bound the
    target must be in TIME-WAIT and answer our FIN again; beyond it the connection is forgotten at once.
    """
    for _ in range(bound):
        conn = await closed_first(tcp)
        await conn.confirm(State.TIME_WAIT, probe=False)
        await conn.inject(FIN | ACK, seq=conn.snd_nxt - 1, text="our FIN again")
        await conn.expect_ack()
    conn = await closed_first(tcp)
    again = await conn.inject(FIN | ACK, seq=conn.snd_nxt - 1, text="our FIN again")
    await conn.expect(RST, seq=again.segment.ack, length=0)
    await conn.confirm(State.CLOSED)


async def in_time_wait_by_active_open(tcp: Case) -> Connection:
    """Return a connection with timestamps in TIME-WAIT, from the target's only ephemeral port."""
    conn = tcp.connection()
    conn.tsval = 1_000
    conn.app = await tcp.app.connect(remote_port=conn.port, address="")
    await tcp.drive_to(State.TIME_WAIT, by="active", conn=conn)
    assert conn.remote_port == PORT
    return conn


@pytest.mark.parametrize("delay_ms", [1000, 2000], ids=["1000-ms", "2000-ms"])
@verifies(
    "IP-SYSCTL:tcp_tw_reuse",
    "IP-SYSCTL:tcp_tw_reuse_delay",
    "RFC9293:MUST-8",
    "claim:C-46",
    alone=True,
    sysctl={**REUSE, "net.ipv4.tcp_tw_reuse_delay": "{delay_ms}"},
    lasts=3,
)
@pytest.mark.parametrize("reuse", [1], ids=["on"])
async def test_tw_reuse_opens_anew_after_its_delay(tcp: Case, reuse: int, delay_ms: int) -> None:
    """tcp_tw_reuse opens again only after {delay_ms} ms.

    The only ephemeral port of the target is in TIME-WAIT towards us, and its application connects to us again. With
    tcp_tw_reuse the target must refuse at once, and after tcp_tw_reuse_delay open a new connection on the same
    four-tuple, which begins above all that the old one sent.
    """
    began_ns = tcp.clock.now_ns()
    former = await in_time_wait_by_active_open(tcp)
    if (passed_s := (tcp.clock.now_ns() - began_ns) / SECOND) > 0.8 * delay_ms / 1000:
        raise Inconclusive(
            f"the tester needed {passed_s:.3f} s to lead into TIME-WAIT; it is refused for {delay_ms} ms"
        )
    await connect_fails(tcp, former)
    await tcp.sleep(delay_ms / 1000 + 0.2)
    conn = former.next_incarnation()
    conn.tsval = former.tsval
    conn.app = await tcp.app.connect(remote_port=former.port, address="")
    opens = await conn.expect(SYN, length=0)
    assert opens.segment.seq > former.rcv_nxt, "the new initial sequence number is not above those used before"
    await conn.send(SYN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize("reuse", [0, 2])
@verifies("IP-SYSCTL:tcp_tw_reuse", "claim:C-46", alone=True, sysctl=REUSE, lasts=3)
async def test_tw_reuse_off_or_for_loopback_alone_refuses(tcp: Case, reuse: int) -> None:
    """tcp_tw_reuse={reuse} refuses the four-tuple in TIME-WAIT.

    The only ephemeral port is in TIME-WAIT towards us, and the application connects again; tcp_tw_reuse is 0 or 2.
    The target must refuse for lack of a port, also after longer than tcp_tw_reuse_delay, and stay in TIME-WAIT.
    """
    former = await in_time_wait_by_active_open(tcp)
    await connect_fails(tcp, former)
    await former.silence(for_=1.5)
    await connect_fails(tcp, former)
    await former.silence()
    await former.confirm(State.TIME_WAIT)


async def connect_fails(tcp: Case, former: Connection) -> None:
    """See that the application's connect() finds no port."""
    await tcp.app.fails(
        "connect", ("EADDRNOTAVAIL",), family=tcp.family, remote_address=tcp.address, remote_port=former.port
    )


@verifies("IP-SYSCTL:tcp_max_orphans", "claim:C-52", alone=True, sysctl={"net.ipv4.tcp_max_orphans": "4"}, lasts=2)
async def test_max_orphans_resets_what_is_beyond(tcp: Case) -> None:
    """tcp_max_orphans resets the orphans beyond the bound.

    Application after application closes its socket, and no FIN is acknowledged; tcp_max_orphans is 4. Orphans below
    the bound must wait for their FIN to be acknowledged; those beyond it are reset.
    """
    reset = 0
    for _ in range(12):
        conn = await tcp.drive_to(State.FIN_WAIT_1, how="close")
        # The kernel counts its orphans anew ten times a second.
        beyond = await conn.allow(Expectation(RST | ACK, ack=conn.snd_nxt, length=0), within=0.15)
        reset += beyond is not None
    assert 0 < reset < 12, f"{reset} of 12 orphans were reset, tcp_max_orphans is 4"
