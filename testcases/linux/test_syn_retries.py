"""Linux: tcp_syn_retries and tcp_syn_linear_timeouts, which bound an active open that nobody answers."""

import pytest

from conformance.api import SYN, Case, Connection, Received, State, verifies

LINEAR = "net.ipv4.tcp_syn_linear_timeouts"
GIVEN_UP = ("RFC9293:MUST-22", "claim:C-39")


def intervals(retries: int, linear: int) -> list[float]:
    """Return the seconds between SYNs, and from the last to the end: `linear` + 1 of a second, then doubling.

    It ends with the first timeout when the time is over in which `retries` repetitions come whose intervals double from
    the first on, or when there were `retries` + `linear` (tcp_write_timeout, net/ipv4/tcp_timer.c).
    """
    lengths: list[float] = []
    while sum(lengths) < 2 ** (retries + 1) - 1 and len(lengths) <= retries + linear:
        lengths.append(2.0 ** max(0, len(lengths) - linear))
    return lengths


async def is_given_up(tcp: Case, conn: Connection, first: Received, expected: list[float]) -> None:
    """See that the SYN is repeated at these intervals, and that the application is told after the last."""
    bounds = [tcp.timer("syn-rto", seconds) for seconds in expected]
    stamps = await conn.expect_retransmissions(first, [bound.high_s + 1 for bound in bounds[:-1]])
    stamps.append(await conn.app.ends("ETIMEDOUT", wait_s=bounds[-1].high_s + 1, op="connected"))
    repeats = len(bounds) - 1
    how = "between the receive stamps of one SYN and the next, and from the last to the application's error"
    tcp.check_series(
        "SYN", stamps, bounds, count=(repeats, repeats), end="ETIMEDOUT", how=how, shortened=f"{repeats} repetitions"
    )
    await conn.silence(for_=1.0, strict=True)
    await conn.confirm(State.CLOSED)


@pytest.mark.parametrize("retries", [1, 2])
@verifies("IP-SYSCTL:tcp_syn_retries", *GIVEN_UP, sysctl={"net.ipv4.tcp_syn_retries": "{retries}"}, lasts=13)
async def test_syn_retries_bound_the_syns(tcp: Case, retries: int) -> None:
    """tcp_syn_retries={retries} bounds the SYNs.

    The application connects and nobody answers; tcp_syn_retries is small (a shortened default of 6). The target
    must repeat its SYN for the time that so many doubling intervals take, and then give up.
    """
    linear = int(await tcp.app.sysctl(LINEAR)) if f"sysctl:{LINEAR}" in tcp.target.capabilities else 0
    conn = await tcp.connect()
    first = await conn.expect(SYN, length=0)
    await is_given_up(tcp, conn, first, intervals(retries, linear))


@pytest.mark.parametrize(
    ("retries", "linear"), [(1, 0), (3, 0), (1, 2)], ids=["1-retry", "3-retries", "1-retry-2-linear"]
)
@verifies(
    "IP-SYSCTL:tcp_syn_linear_timeouts",
    "IP-SYSCTL:tcp_syn_retries",
    *GIVEN_UP,
    sysctl={"net.ipv4.tcp_syn_retries": "{retries}", LINEAR: "{linear}"},
    lasts=17,
)
async def test_syn_linear_timeouts_come_before_the_doubling(tcp: Case, retries: int, linear: int) -> None:
    """SYNs come at {linear} linear intervals, then {retries} doubled ones.

    The application connects and nobody answers; tcp_syn_linear_timeouts says how long the interval stays one
    second. The target must repeat its SYN at that many intervals more of one second, double the others, and give up
    in time.
    """
    conn = await tcp.connect()
    first = await conn.expect(SYN, length=0)
    await is_given_up(tcp, conn, first, intervals(retries, linear))
