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


async def probed(conn: Connection, bound: Bound) -> int:
    """Expect a keep-alive probe (RFC 9293 section 3.8.4) as the next segment; return when it arrived."""
    seq, within = conn.rcv_nxt - 1, bound.high_s + 1
    probe = await conn.expect(ACK, seq=seq, ack=conn.snd_nxt, length=0, within=within, label="keep-alive:")
    return probe.at_ns


@pytest.mark.parametrize(
    ("idle", "interval", "probes"),
    [
        pytest.param(1, 1, 2, id="idle-1-s-every-1-s-2-probes"),
        pytest.param(2, 1, 3, id="idle-2-s-every-1-s-3-probes"),
        pytest.param(1, 2, 1, id="idle-1-s-every-2-s-1-probe"),
    ],
)
@verifies(*IDS, needs=("app", "keepalive"), sysctl=SETTINGS, lasts=6)
async def test_keepalive_settings_show_on_the_wire(tcp: Case, idle: int, interval: int, probes: int) -> None:
    """Keep-alives begin after {idle} s, {interval} s apart, {probes} in all.

    A connection with keep-alives on is silent, and nobody answers the probes. The target must probe after
    tcp_keepalive_time, so often and at such intervals as the others say, and then reset.
    """
    listening = await tcp.listen(options=KEEPALIVE)
    conn = await tcp.drive_to(State.ESTABLISHED, conn=listening)
    opened = await conn.send(ACK, text="the connection's last sign of life")
    bounds = [tcp.timer("keepalive-time", idle), *[tcp.timer("keepalive-interval", interval)] * probes]
    stamps = [opened.at_ns, *[await probed(conn, bound) for bound in bounds[:-1]]]
    reset = await conn.expect(RST | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, within=bounds[-1].high_s + 1)
    tcp.check_series(
        "keep-alive",
        [*stamps, reset.at_ns],
        bounds,
        count=(probes, probes),
        end="RST",
        how="from the transmit stamp of our last segment to the receive stamps of the probes and the reset",
        shortened=f"tcp_keepalive_time = {idle}, tcp_keepalive_intvl = {interval}, tcp_keepalive_probes = {probes}",
    )
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
    """An answered keep-alive starts tcp_keepalive_time again.

    Keep-alives are on, and we answer every probe. The target must wait for tcp_keepalive_time, not for
    tcp_keepalive_intvl, before it probes again, and keep the connection.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, conn=await tcp.listen(options=KEEPALIVE))
    heard = await conn.send(ACK, text="the connection's last sign of life")
    for number in (1, 2):
        bound = tcp.timer("keepalive-time", 2)
        at_ns = await probed(conn, bound)
        passed_s, how = (at_ns - heard.at_ns) / SECOND, "from our last segment's transmit stamp to the probe's"
        tcp.check_timing(
            f"keepalive-time, probe {number}", passed_s, bound, how=how, shortened="tcp_keepalive_time = 2"
        )
        heard = await conn.send(ACK, text="the answer to the probe")
    await conn.confirm(State.ESTABLISHED)


@verifies(*IDS, needs=("app", "keepalive"), sysctl={"net.ipv4.tcp_keepalive_time": "1"}, lasts=3)
async def test_keepalive_is_off_unless_asked_for(tcp: Case) -> None:
    """No keep-alive is sent unless the application asks.

    The connection is silent for three times tcp_keepalive_time, and the application has not asked for keep-alives.
    The target must not probe (RFC 9293, MUST-25: they default to off).
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.silence(for_=3.0)
    await conn.confirm(State.ESTABLISHED)
