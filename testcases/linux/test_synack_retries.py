"""Linux: tcp_synack_retries, which bounds a passive open whose third segment never comes."""

import pytest

from conformance.api import ACK, RST, SECOND, SYN, Case, Connection, State, verifies

IDS = ("IP-SYSCTL:tcp_synack_retries", "RFC9293:3.10.8-retransmission", "claim:C-40")


async def half_open(tcp: Case, retries: int) -> tuple[Connection, float]:
    """A connection in SYN-RECEIVED that has had all its repetitions, and how many seconds the last one is good for."""
    conn = await tcp.listen()
    await conn.send(SYN)
    first = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    bounds = [tcp.timer("syn-ack-rto", 2**number) for number in range(retries)]
    stamps = await conn.expect_retransmissions(first, [bound.high_s + 1 for bound in bounds])
    if bounds:
        how = "between the receive stamps of one SYN,ACK and the next"
        tcp.check_series("SYN,ACK", stamps, bounds, how=how, shortened=f"tcp_synack_retries = {retries}")
    return conn, (tcp.clock.now_ns() - stamps[-1]) / SECOND


@pytest.mark.parametrize("retries", [0, 1, 2])
@verifies(*IDS, sysctl={"net.ipv4.tcp_synack_retries": "{retries}"}, lasts=9)
async def test_synack_retries_bound_the_syn_acks(tcp: Case, retries: int) -> None:
    """We never send the third segment; tcp_synack_retries is small (a shortened default of 5).

    The target must repeat its SYN,ACK that often at doubling intervals, and then forget the connection without a word.
    """
    conn, passed_s = await half_open(tcp, retries)
    ends = tcp.timer("syn-ack-rto", 2**retries)
    await conn.silence(for_=ends.high_s - passed_s + 0.1, strict=True)
    late = await conn.inject(ACK, text="the third segment, too late")
    await conn.expect(RST, seq=late.segment.ack, length=0)
    await conn.confirm(State.LISTEN)


@pytest.mark.parametrize("retries", [0, 1, 2])
@verifies(*IDS, sysctl={"net.ipv4.tcp_synack_retries": "{retries}"}, lasts=8)
async def test_synack_retries_leave_time_for_the_third_segment(tcp: Case, retries: int) -> None:
    """Our third segment comes shortly before the interval behind the last SYN,ACK ends.

    The target must open the connection.
    """
    conn, passed_s = await half_open(tcp, retries)
    await conn.silence(for_=2**retries - passed_s - 0.3, strict=True)
    await conn.send(ACK)
    assert conn.listener is not None
    conn.app = await conn.listener.accept()
    await conn.deliver(b"just in time")
    await conn.confirm(State.ESTABLISHED)
