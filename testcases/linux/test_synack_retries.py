"""Linux: tcp_synack_retries, which bounds a passive open whose third segment never comes."""

import pytest

from conformance.api import ACK, RST, SECOND, SYN, Case, Connection, Inconclusive, State, app_accepts, verifies

IDS = ("IP-SYSCTL:tcp_synack_retries", "RFC9293:3.10.8-retransmission", "claim:C-40")


async def half_open(tcp: Case, retries: int) -> tuple[Connection, int]:
    """Return a connection in SYN-RECEIVED after all its repetitions, and when the last arrived."""
    conn = await tcp.listen()
    await conn.send(SYN)
    first = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    bounds = [tcp.timer("syn-ack-rto", 2**number) for number in range(retries)]
    stamps = await conn.expect_retransmissions(first, [bound.high_s + 1 for bound in bounds])
    if bounds:
        how = "between the receive stamps of one SYN,ACK and the next"
        tcp.check_series("SYN,ACK", stamps, bounds, how=how, shortened=f"tcp_synack_retries = {retries}")
    return conn, stamps[-1]


def seconds_since(tcp: Case, at_ns: int) -> float:
    """Return the seconds that have passed since `at_ns`."""
    return (tcp.clock.now_ns() - at_ns) / SECOND


@pytest.mark.parametrize("retries", [0, 1, 2])
@verifies(*IDS, sysctl={"net.ipv4.tcp_synack_retries": "{retries}"}, lasts=9)
async def test_synack_retries_bound_the_syn_acks(tcp: Case, retries: int) -> None:
    """tcp_synack_retries={retries} bounds the SYN,ACKs.

    We never send the third segment; tcp_synack_retries is small (a shortened default of 5). The target must repeat
    its SYN,ACK that often at doubling intervals, and then forget the connection without a word.
    """
    conn, last_ns = await half_open(tcp, retries)
    ends = tcp.timer("syn-ack-rto", 2**retries)
    await conn.silence(for_=max(0.0, ends.high_s - seconds_since(tcp, last_ns)) + 0.1, strict=True)
    late = await conn.inject(ACK, text="the third segment, too late")
    await conn.expect(RST, seq=late.segment.ack, length=0)
    await conn.confirm(State.LISTEN)


@pytest.mark.parametrize("retries", [0, 1, 2])
@verifies(*IDS, sysctl={"net.ipv4.tcp_synack_retries": "{retries}"}, lasts=8)
async def test_synack_retries_leave_time_for_the_third_segment(tcp: Case, retries: int) -> None:
    """A late third segment opens with tcp_synack_retries={retries}.

    Our third segment comes shortly before the interval behind the last SYN,ACK ends. The target must open the
    connection.
    """
    conn, last_ns = await half_open(tcp, retries)
    await conn.silence(for_=max(0.0, 2**retries - seconds_since(tcp, last_ns) - 0.5), strict=True)
    third = await conn.send(ACK)
    if (passed_s := (third.at_ns - last_ns) / SECOND) > 2**retries - 0.01:
        raise Inconclusive(f"the third segment left {passed_s:.3f} s after the last SYN,ACK, which is too late")
    await app_accepts(conn)
    await conn.deliver(b"just in time")
    await conn.confirm(State.ESTABLISHED)
