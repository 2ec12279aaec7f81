"""Linux: tcp_keepalive_time, tcp_keepalive_intvl and tcp_keepalive_probes, here in seconds instead of hours."""

import pytest

from conformance.api import ACK, RST, SECOND, Bound, Case, Connection, State, verifies

IDS = (
    "IP-SYSCTL:tcp_keepalive_time",
    "IP-SYSCTL:tcp_keepalive_intvl",
    "IP-SYSCTL:tcp_keepalive_probes",
    "RFC9293:MUST-24",
    "claim:C-41",
)
SETTINGS = {
    "net.ipv4.tcp_keepalive_time": "{idle}",
    "net.ipv4.tcp_keepalive_intvl": "{interval}",
    "net.ipv4.tcp_keepalive_probes": "{probes}",
}
KEEPALIVE = [("socket", "SO_KEEPALIVE", 1)]


async def probed(tcp: Case, conn: Connection, since_ns: int, bound: Bound, what: str) -> int:
    """The next segment is a keep-alive probe (RFC 9293 section 3.8.4), and comes in time; returns when."""
    assert conn.rcv_nxt is not None
    seq, within = conn.rcv_nxt - 1, bound.high_s + 1
    probe = await conn.expect(ACK, seq=seq, ack=conn.snd_nxt, length=0, within=within, label="keep-alive:")
    tcp.check_timing(what, (probe.at_ns - since_ns) / SECOND, bound, how="to the receive stamp of the probe")
    return probe.at_ns


@pytest.mark.parametrize(("idle", "interval", "probes"), [(1, 1, 2), (2, 1, 3), (1, 2, 1)])
@verifies(*IDS, needs=("app", "keepalive"), sysctl=SETTINGS, lasts=6)
async def test_keepalive_settings_show_on_the_wire(tcp: Case, idle: int, interval: int, probes: int) -> None:
    """A connection with keep-alives on is silent, and nobody answers the probes.

    The target must probe after tcp_keepalive_time, so often and at such intervals as the others say, and then reset.
    """
    listening = await tcp.listen(options=KEEPALIVE)
    conn = await tcp.drive_to(State.ESTABLISHED, conn=listening)
    opened = await conn.send(ACK, text="the connection's last sign of life")
    at_ns = await probed(tcp, conn, opened.at_ns, tcp.timer("keepalive-time", idle), "keepalive-time")
    for number in range(2, probes + 1):
        every = tcp.timer("keepalive-interval", interval)
        at_ns = await probed(tcp, conn, at_ns, every, f"keepalive-interval, probe {number}")
    every = tcp.timer("keepalive-interval", interval)
    reset = await conn.expect(RST | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, within=every.high_s + 1)
    passed_s = (reset.at_ns - at_ns) / SECOND
    tcp.check_timing("keepalive-interval, reset", passed_s, every, how="receive stamp of the last probe to the reset's")
    assert conn.app is not None
    await conn.app.fails("receive", "ETIMEDOUT", count=1)
    await conn.confirm(State.CLOSED)


@verifies(
    *IDS,
    needs=("app", "keepalive"),
    sysctl={
        "net.ipv4.tcp_keepalive_time": "2",
        "net.ipv4.tcp_keepalive_intvl": "1",
        "net.ipv4.tcp_keepalive_probes": "1",
    },
    lasts=5,
)
async def test_keepalive_begins_anew_with_each_answer(tcp: Case) -> None:
    """Keep-alives are on, and we answer every probe.

    The target must wait for tcp_keepalive_time, not for tcp_keepalive_intvl, before it probes again, and keep the connection.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, conn=await tcp.listen(options=KEEPALIVE))
    heard = await conn.send(ACK, text="the connection's last sign of life")
    for number in (1, 2):
        bound = tcp.timer("keepalive-time", 2)
        await probed(tcp, conn, heard.at_ns, bound, f"keepalive-time, probe {number}")
        heard = await conn.send(ACK, text="the answer to the probe")
    await conn.confirm(State.ESTABLISHED)


@verifies(*IDS, needs=("app", "keepalive"), sysctl={"net.ipv4.tcp_keepalive_time": "1"}, lasts=3)
async def test_keepalive_is_off_unless_asked_for(tcp: Case) -> None:
    """The connection is silent for three times tcp_keepalive_time, and the application has not asked for keep-alives.

    The target must not probe (RFC 9293, MUST-25: they default to off).
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.silence(for_=3.0)
    await conn.confirm(State.ESTABLISHED)
