"""Linux: tcp_fin_timeout and TCP_LINGER2, which end FIN-WAIT-2 of a connection that no application holds."""

import pytest

from conformance.api import ACK, FIN, Case, Connection, State, verifies

ORPHAN = ("RFC9293:3.3.2-fin-wait-2", "claim:C-20")
TUNED = ("IP-SYSCTL:tcp_fin_timeout", *ORPHAN, "claim:C-44")


async def orphaned(tcp: Case) -> tuple[Connection, int]:
    """Return a connection in FIN-WAIT-2 whose socket is closed, and when we sent the ACK that took it there."""
    conn = await tcp.drive_to(State.FIN_WAIT_1, how="close")
    await conn.listener.close()
    acked = await conn.send(ACK)
    return conn, acked.at_ns


async def ends_after(tcp: Case, seconds: float, conn: Connection, since_ns: int) -> None:
    """See that the connection is forgotten in silence after `seconds`, as precisely as the profile's timer."""
    bound = tcp.timer("fin-wait-2-orphan", seconds)
    ending = await tcp.see_end(conn, since_ns=since_ns, expected=bound, since="our ACK of the FIN")
    tcp.check_timing("fin-wait-2-orphan", ending.gone_s, ending.within(bound), how=ending.how)
    await conn.confirm(State.CLOSED)


@pytest.mark.parametrize("seconds", [5, 12])
@verifies(*TUNED, sysctl={"net.ipv4.tcp_fin_timeout": "{seconds}"}, lasts=14)
async def test_fin_timeout_shows_on_the_wire(tcp: Case, seconds: int) -> None:
    """tcp_fin_timeout={seconds} ends FIN-WAIT-2 of an orphan in time.

    The application has closed its socket, and our FIN never comes; tcp_fin_timeout is below its default of 60 s.
    The target must forget the connection after that time.
    """
    conn, since_ns = await orphaned(tcp)
    await ends_after(tcp, seconds, conn, since_ns)


@verifies(*TUNED, sysctl={"net.ipv4.tcp_fin_timeout": "5"}, lasts=15)
async def test_fin_timeout_spares_a_held_socket(tcp: Case) -> None:
    """tcp_fin_timeout spares FIN-WAIT-2 of a held socket.

    With tcp_fin_timeout at 5 s the application has shut down and holds its socket, and our FIN comes after 15 s.
    The target must still be in FIN-WAIT-2 and complete the close: the setting is for orphans.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_2)
    await conn.silence(for_=15)
    await conn.confirm(State.FIN_WAIT_2)
    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.TIME_WAIT)


@verifies("RFC9293:MUST-13", "claim:C-24", sysctl={"net.ipv4.tcp_fin_timeout": "5"}, lasts=70)
async def test_fin_timeout_is_not_the_length_of_time_wait(tcp: Case) -> None:
    """tcp_fin_timeout leaves the length of TIME-WAIT alone.

    With tcp_fin_timeout at 5 s the target closes first and our FIN follows. TIME-WAIT must last as long as ever.
    """
    bound = tcp.timer("time-wait")
    conn, _ = await orphaned(tcp)
    last = await conn.send(FIN | ACK)
    await conn.expect_ack()
    ending = await tcp.see_end(conn, since_ns=last.at_ns, expected=bound, since="our FIN")
    tcp.check_timing("time-wait", ending.gone_s, ending.within(bound), how=ending.how)


@verifies(*ORPHAN, lasts=4)
async def test_linger2_sets_the_timeout_of_one_socket(tcp: Case) -> None:
    """TCP_LINGER2 sets the FIN-WAIT-2 timeout of one socket.

    The application has set TCP_LINGER2 to 3 s and closed its socket, and our FIN never comes. The target must
    forget this connection after 3 s.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.listener.close()
    await conn.app.option("tcp", "TCP_LINGER2", 3)
    await conn.app.close()
    await conn.expect_fin()
    acked = await conn.send(ACK)
    await ends_after(tcp, 3, conn, acked.at_ns)
