"""Linux: tcp_retries2 and tcp_orphan_retries, which bound retransmission, and the settings of the timeout itself."""

from collections.abc import Sequence

import pytest

from conformance.api import ACK, FIN, SECOND, Case, Connection, Expectation, Received, State, verifies

RTO_S = 0.2


async def comes_again(tcp: Case, conn: Connection, first: Received, nominal: Sequence[float]) -> Received:
    """What came as `first` is repeated in those intervals; returns the last."""
    last = first
    for number, seconds in enumerate(nominal, 1):
        bound = tcp.timer("rto-min", seconds)
        again = await conn.expect_retransmission(first, within=bound.high_s + 1)
        how = f"receive stamp of transmission {number} to that of {number + 1}"
        tcp.check_timing(f"retransmission {number}", (again.at_ns - last.at_ns) / SECOND, bound, how=how)
        last = again
    return last


async def is_given_up(tcp: Case, conn: Connection, first: Received, retries: int) -> None:
    """`first` is retransmitted at doubling intervals for as long as the setting says; then nothing comes any more.

    The time that N retries would take is a lower bound: the first timeout beyond it ends the connection. It is counted from
    the first retransmission, so that there may be one more.
    """
    last = await comes_again(tcp, conn, first, [RTO_S * 2**number for number in range(retries)])
    bound = tcp.timer("rto-min", RTO_S * 2**retries)
    segment = first.segment
    again = Expectation(segment.flags, seq=segment.seq, payload=segment.payload, label="retransmission:")
    once_more = await conn.allow(again, within=bound.high_s + 0.1, strict=True)
    tcp.choice(
        "retransmissions until the connection is given up",
        "the setting" if once_more is None else "one more than the setting",
        ["the setting", "one more than the setting"],
    )
    if once_more is not None:
        passed_s = (once_more[1].at_ns - last.at_ns) / SECOND
        tcp.check_timing(
            f"retransmission {retries + 1}", passed_s, bound, how="receive stamps of this and the one before"
        )
        await conn.silence(for_=tcp.timer("rto-min", RTO_S * 2 ** (retries + 1)).high_s + 0.1, strict=True)
    await conn.confirm(State.CLOSED)


async def sends(tcp: Case) -> tuple[Connection, Received]:
    """A connection whose application has sent data that we leave unacknowledged."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    assert conn.app is not None
    await conn.app.send(b"is anybody there?")
    return conn, await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=b"is anybody there?")


@pytest.mark.parametrize("retries", [1, 2, 3])
@verifies(
    "IP-SYSCTL:tcp_retries2",
    "RFC9293:MUST-20",
    "claim:C-42",
    sysctl={"net.ipv4.tcp_retries2": "{retries}"},
    lasts=8,
)
async def test_retries2_bounds_the_retransmission_of_data(tcp: Case, retries: int) -> None:
    """The application sends, and nobody acknowledges it; tcp_retries2 is small (a shortened default of 15).

    The target must retransmit at doubling intervals, give up when the time of that many retries is over, and say so.
    """
    conn, first = await sends(tcp)
    await is_given_up(tcp, conn, first, retries)
    assert conn.app is not None
    await conn.app.fails("receive", "ETIMEDOUT", count=1)


@pytest.mark.parametrize("retries", [1, 2, 3])
@verifies(
    "IP-SYSCTL:tcp_orphan_retries",
    "RFC9293:MUST-20",
    "claim:C-43",
    sysctl={"net.ipv4.tcp_orphan_retries": "{retries}"},
    lasts=8,
)
async def test_orphan_retries_bound_the_retransmission_of_the_fin(tcp: Case, retries: int) -> None:
    """The application has closed its socket, and nobody acknowledges the FIN; tcp_orphan_retries is small.

    The target must retransmit the FIN at doubling intervals and forget the connection when that many retries are over.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    assert conn.app is not None
    await conn.app.close()
    first = await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    await is_given_up(tcp, conn, first, retries)


@verifies(
    "IP-SYSCTL:tcp_orphan_retries",
    "claim:C-43",
    sysctl={"net.ipv4.tcp_orphan_retries": "1", "net.ipv4.tcp_retries2": "8"},
    lasts=4,
)
async def test_orphan_retries_spare_a_held_socket(tcp: Case) -> None:
    """The application has shut down and still holds its socket; tcp_orphan_retries is 1, and nobody acknowledges the FIN.

    The target must go on retransmitting the FIN: the setting is for orphans.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    assert conn.app is not None
    await conn.app.shutdown("send")
    first = await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    await comes_again(tcp, conn, first, [0.2, 0.4, 0.8, 1.6])
    await conn.send(ACK)
    await conn.confirm(State.FIN_WAIT_2)


# The timeout itself


@pytest.mark.parametrize("least_ms", [50, 400])
@verifies(
    "IP-SYSCTL:tcp_rto_min_us",
    "RFC6298:5.5",
    sysctl={"net.ipv4.tcp_rto_min_us": "{least_ms}000"},
    lasts=3,
)
async def test_rto_min_is_the_first_retransmission_timeout(tcp: Case, least_ms: int) -> None:
    """On a link without delay the application sends, and nobody acknowledges it.

    The target must retransmit after tcp_rto_min_us, and double it.
    """
    conn, first = await sends(tcp)
    await comes_again(tcp, conn, first, [least_ms / 1000 * factor for factor in (1, 2, 4)])


@pytest.mark.parametrize("most_ms", [1000, 1500])
@verifies("IP-SYSCTL:tcp_rto_max_ms", "RFC6298:2.5", sysctl={"net.ipv4.tcp_rto_max_ms": "{most_ms}"}, lasts=8)
async def test_rto_max_ends_the_doubling(tcp: Case, most_ms: int) -> None:
    """The application sends, nobody acknowledges it, and tcp_rto_max_ms is small (a shortened default of 120 s).

    The target must double the timeout up to that and no further, and go on.
    """
    conn, first = await sends(tcp)
    await comes_again(tcp, conn, first, [min(RTO_S * 2**number, most_ms / 1000) for number in range(7)])
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(("linear", "factors"), [(0, (1, 2, 4)), (1, (1, 1, 1, 1, 1, 1, 1, 2))], ids=["off", "on"])
@verifies(
    "IP-SYSCTL:tcp_thin_linear_timeouts",
    sysctl={"net.ipv4.tcp_thin_linear_timeouts": "{linear}", "net.ipv4.tcp_congestion_control": "reno"},
    lasts=3,
)
async def test_thin_linear_timeouts_come_before_the_doubling(tcp: Case, linear: int, factors: tuple[int, ...]) -> None:
    """The application sends little, nobody acknowledges it, and tcp_thin_linear_timeouts is off or on.

    Where it is on the target must wait six times more for the same interval as at first, and then double it.
    """
    conn, first = await sends(tcp)
    await comes_again(tcp, conn, first, [RTO_S * factor for factor in factors])
