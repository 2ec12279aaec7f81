"""Linux: tcp_retries2 and tcp_orphan_retries, which bound retransmission, and the settings of the timeout itself."""

import pytest

from conformance.api import ACK, Bound, Case, Connection, Expectation, Received, State, app_sends, verifies

HOW = "between the receive stamps of one transmission and the next"


async def stamps_of(conn: Connection, first: Received, bound: Bound, count: int) -> list[int]:
    """Return when `first` arrived, and when it was repeated `count` times at doubling timeouts."""
    return await conn.expect_retransmissions(first, [bound.high_s * 2**number + 1 for number in range(count)])


async def is_given_up(tcp: Case, conn: Connection, first: Received, retries: int, setting: str) -> None:
    """See that `first` is retransmitted at doubling intervals for as long as the setting says, and not after that.

    The time that N retries would take is a lower bound: the first timeout beyond it ends the connection. It is counted from
    the first retransmission, so that there may be one more.
    """
    bound = tcp.timeout_after(conn.round_trip_s)
    stamps = await stamps_of(conn, first, bound, retries)
    segment = first.segment
    again = Expectation(segment.flags, seq=segment.seq, payload=segment.payload, label="retransmission:")
    once_more = await conn.allow(again, within=bound.high_s * 2**retries + 0.1, strict=True)
    if once_more is not None:
        stamps.append(once_more[1].at_ns)
        await conn.silence(for_=bound.high_s * 2 ** (retries + 1) + 0.1, strict=True)
    tcp.choice(
        "retransmissions until the connection is given up",
        "the setting" if once_more is None else "one more than the setting",
        ["the setting", "one more than the setting"],
    )
    growth, count = tcp.growth("rto-min", "RFC 6298, 5.5"), (retries, retries + 1)
    tcp.check_series(setting, stamps, [bound], growth=growth, count=count, how=HOW, shortened=f"{setting} = {retries}")
    await conn.confirm(State.CLOSED)


async def sends(tcp: Case) -> tuple[Connection, Received]:
    """Return a connection whose application has sent data that we leave unacknowledged."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    return conn, await app_sends(conn, b"is anybody there?")


@pytest.mark.parametrize("retries", [1, 2, 3])
@verifies(
    "IP-SYSCTL:tcp_retries2",
    "RFC9293:MUST-20",
    "claim:C-42",
    sysctl={"net.ipv4.tcp_retries2": "{retries}"},
    lasts=8,
)
async def test_retries2_bounds_the_retransmission_of_data(tcp: Case, retries: int) -> None:
    """tcp_retries2={retries} bounds the retransmission of data.

    The application sends, and nobody acknowledges it; tcp_retries2 is small (a shortened default of 15). The target
    must retransmit at doubling intervals, give up when the time of that many retries is over, and say so.
    """
    conn, first = await sends(tcp)
    await is_given_up(tcp, conn, first, retries, "tcp_retries2")
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
    """tcp_orphan_retries={retries} bounds the retransmission of the FIN.

    The application has closed its socket, and nobody acknowledges the FIN; tcp_orphan_retries is small. The target
    must retransmit the FIN at doubling intervals and forget the connection when that many retries are over.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.close()
    first = await conn.expect_fin()
    await is_given_up(tcp, conn, first, retries, "tcp_orphan_retries")


@verifies(
    "IP-SYSCTL:tcp_orphan_retries",
    "claim:C-43",
    sysctl={"net.ipv4.tcp_orphan_retries": "1", "net.ipv4.tcp_retries2": "8"},
    lasts=4,
)
async def test_orphan_retries_spare_a_held_socket(tcp: Case) -> None:
    """tcp_orphan_retries spares a held socket.

    The application has shut down and still holds its socket; tcp_orphan_retries is 1, and nobody acknowledges the
    FIN. The target must go on retransmitting the FIN: the setting is for orphans.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.shutdown("send")
    first = await conn.expect_fin()
    bound = tcp.timeout_after(conn.round_trip_s)
    stamps = await stamps_of(conn, first, bound, 4)
    tcp.check_series("FIN of a held socket", stamps, [bound], growth=tcp.growth("rto-min", "RFC 6298, 5.5"), how=HOW)
    await conn.send(ACK)
    await conn.confirm(State.FIN_WAIT_2)


# The timeout itself


@pytest.mark.parametrize("least_ms", [50, 400])
@verifies(
    "IP-SYSCTL:tcp_rto_min_us",
    "RFC6298:5.5",
    sysctl={"net.ipv4.tcp_rto_min_us": "{least_ms}000"},
    needs=("app", "prompt-wire"),
    lasts=3,
)
async def test_rto_min_is_the_first_retransmission_timeout(tcp: Case, least_ms: int) -> None:
    """tcp_rto_min of {least_ms} ms is the first retransmission timeout.

    On a link without delay the application sends, and nobody acknowledges it. The target must retransmit after
    tcp_rto_min_us, and double it.
    """
    conn, first = await sends(tcp)
    bound = tcp.timeout_after(conn.round_trip_s, least_s=least_ms / 1000)
    stamps = await stamps_of(conn, first, bound, 3)
    tcp.check_series("tcp_rto_min_us", stamps, [bound], growth=tcp.growth("rto-min", "RFC 6298, 5.5"), how=HOW)


@pytest.mark.parametrize("most_ms", [1000, 1500])
@verifies("IP-SYSCTL:tcp_rto_max_ms", "RFC6298:2.5", sysctl={"net.ipv4.tcp_rto_max_ms": "{most_ms}"}, lasts=8)
async def test_rto_max_ends_the_doubling(tcp: Case, most_ms: int) -> None:
    """tcp_rto_max of {most_ms} ms ends the doubling.

    The application sends, nobody acknowledges it, and tcp_rto_max_ms is small (a shortened default of 120 s). The
    target must double the timeout up to that and no further, and go on.
    """
    conn, first = await sends(tcp)
    bound, cap = tcp.timeout_after(conn.round_trip_s), tcp.timer("rto-max", most_ms / 1000)
    stamps = await conn.expect_retransmissions(first, [cap.high_s + 1] * 7)
    growth = tcp.growth("rto-min", "RFC 6298, 5.5")
    shortened = f"tcp_rto_max_ms = {most_ms}"
    tcp.check_series("tcp_rto_max_ms", stamps, [bound], growth=growth, cap=cap, how=HOW, shortened=shortened)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(("linear", "factors"), [(0, (1, 2, 4)), (1, (1, 1, 1, 1, 1, 1, 1, 2))], ids=["off", "on"])
@verifies(
    "IP-SYSCTL:tcp_thin_linear_timeouts",
    sysctl={"net.ipv4.tcp_thin_linear_timeouts": "{linear}"},
    lasts=3,
)
async def test_thin_linear_timeouts_come_before_the_doubling(tcp: Case, linear: int, factors: tuple[int, ...]) -> None:
    """tcp_thin_linear_timeouts keeps the first intervals equal.

    The application sends little, nobody acknowledges it, and tcp_thin_linear_timeouts is off or on. Where it is on
    the target must wait six times more for the same interval as at first, and then double it.
    """
    conn, first = await sends(tcp)
    bound = tcp.timeout_after(conn.round_trip_s)
    stamps = await conn.expect_retransmissions(first, [bound.high_s * factor + 1 for factor in factors])
    tcp.check_series("tcp_thin_linear_timeouts", stamps, [bound.scaled(factor) for factor in factors], how=HOW)
