"""RFC 9293 sections 3.9.2.2 and 3.9.1.8: ICMP errors about the target's segments, and what its application is told."""

import pytest

from conformance.api import ACK, SYN, Case, Connection, NotApplicable, Received, State, app_sends, icmp, verifies

DATA = b"lost on the way, it is said"
# What RFC 9293 lists; `code 5` of IPv4 is "source route failed", which IPv6 has not.
SOFT = (
    icmp.NET_UNREACHABLE,
    icmp.HOST_UNREACHABLE,
    icmp.SOURCE_ROUTE_FAILED,
    icmp.HOP_LIMIT_EXCEEDED,
    icmp.REASSEMBLY_TIME_EXCEEDED,
    icmp.PARAMETER_PROBLEM,
)
HARD = (icmp.PROTOCOL_UNREACHABLE, icmp.PORT_UNREACHABLE)
# What the socket API calls the refusal.
REFUSED = ("ECONNREFUSED", "ENOPROTOOPT", "EHOSTUNREACH", "ENETUNREACH", "EPROTO", "EACCES")


def kinds(errors: tuple[icmp.IcmpError, ...]) -> pytest.MarkDecorator:
    """Return a parameter for each of these errors."""
    return pytest.mark.parametrize("error", errors, ids=lambda error: error.name.replace(" ", "-"))


def there(tcp: Case, error: icmp.IcmpError) -> None:
    """Raise NotApplicable if the case's family has no such error, or counts it otherwise."""
    if (error.v4 if tcp.family == 4 else error.v6) is None:
        raise NotApplicable(f"ICMP over IPv{tcp.family} has no {error.name}")
    if tcp.family == 6 and error is icmp.PROTOCOL_UNREACHABLE:
        raise NotApplicable("what IPv6 says for it, parameter problem code 1, is a soft error (RFC 9293, 3.9.2.2)")


async def with_data_under_way(tcp: Case, *, round_trip_s: float = 0.0) -> tuple[Connection, Received]:
    """Return an ESTABLISHED connection, and a segment of the target's that is not acknowledged."""
    conn = await tcp.drive_to(State.ESTABLISHED, round_trip_s=round_trip_s)
    return conn, await app_sends(conn, DATA)


async def goes_on(conn: Connection) -> None:
    """See that the connection takes our ACK, carries data both ways, and is still ESTABLISHED."""
    await conn.send(ACK)
    await conn.deliver(b"still there?")
    await conn.collect(b"yes")
    await conn.confirm(State.ESTABLISHED)


# Soft errors


@kinds(SOFT)
@verifies("RFC9293:MUST-56", "RFC9293:MUST-54")
async def test_soft_error_does_not_abort_a_connection(tcp: Case, error: icmp.IcmpError) -> None:
    """A soft ICMP error does not abort ESTABLISHED.

    In ESTABLISHED a router says that it could not deliver the target's data, for a reason that may pass. The target
    must not abort the connection: it goes on in both directions.
    """
    there(tcp, error)
    conn, data = await with_data_under_way(tcp)
    await conn.send_icmp(error, quoting=data)
    await conn.silence()
    await goes_on(conn)


@kinds(SOFT)
@verifies("RFC9293:MUST-56", "RFC9293:MUST-54")
async def test_soft_error_does_not_abort_an_active_open(tcp: Case, error: icmp.IcmpError) -> None:
    """A soft ICMP error does not abort an active open.

    In SYN-SENT a router says that it could not deliver the target's SYN, for a reason that may pass. The target
    must not give up: our SYN+ACK, which comes after all, opens the connection.
    """
    there(tcp, error)
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0)
    await conn.send_icmp(error, quoting=syn)
    await conn.silence()
    await conn.send(SYN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.ESTABLISHED)


# Hard errors


@kinds(HARD)
@verifies("RFC9293:SHLD-26", "RFC9293:MUST-54", level="SHOULD")
async def test_hard_error_aborts_a_connection(tcp: Case, error: icmp.IcmpError) -> None:
    """A hard ICMP error aborts an ESTABLISHED connection.

    In ESTABLISHED our host says that it does not know the target's protocol or port. The target should abort the
    connection.
    """
    there(tcp, error)
    conn, data = await with_data_under_way(tcp)
    await conn.send_icmp(error, quoting=data)
    await conn.silence()
    await conn.confirm(State.CLOSED)


@kinds(HARD)
@verifies("RFC9293:SHLD-26", "RFC9293:MUST-54", level="SHOULD")
async def test_hard_error_ends_an_active_open(tcp: Case, error: icmp.IcmpError) -> None:
    """A hard ICMP error ends an active open.

    In SYN-SENT our host says that it does not know the target's protocol or port. The target should give up, and
    say so to its application.
    """
    there(tcp, error)
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0)
    await conn.send_icmp(error, quoting=syn)
    await conn.app.fails("connected", *REFUSED)
    await conn.silence(for_=tcp.timer("syn-rto").high_s, strict=True)
    await conn.confirm(State.CLOSED)


@verifies("RFC9293:MUST-54")
async def test_error_is_for_the_connection_that_caused_it(tcp: Case) -> None:
    """An ICMP error reaches only the connection that caused it.

    Two active opens are under way, and an error that ends an open quotes the SYN of one of them. The target must
    direct it to that one by the addresses and ports quoted: the other opens.
    """
    conn, second = await tcp.connect(), await tcp.connect()
    syn = await conn.expect(SYN, length=0)
    await second.expect(SYN, length=0)
    await conn.send_icmp(icmp.PORT_UNREACHABLE, quoting=syn)
    await conn.app.fails("connected", *REFUSED)
    await second.send(SYN | ACK)
    await second.expect_ack()
    await second.app.connected()
    await second.confirm(State.ESTABLISHED)


# Source quench


@verifies("RFC9293:MUST-55")
async def test_source_quench_is_discarded(tcp: Case) -> None:
    """A source quench is discarded and changes nothing.

    Ten times a router asks the target by ICMP to send less, while its data is under way. It must discard that
    silently: the connection goes on, and a burst of data comes as large as ever.
    """
    there(tcp, icmp.SOURCE_QUENCH)
    # The timeout is three round trips: none may come, after which the target would send less.
    conn, data = await with_data_under_way(tcp, round_trip_s=0.4)
    for _ in range(10):
        await conn.send_icmp(icmp.SOURCE_QUENCH, quoting=data)
    await conn.silence(for_=0.1)
    await goes_on(conn)
    # Whole segments, which Nagle does not hold back, and as many as every initial window allows (RFC 5681, section 3.1).
    first, burst = conn.rcv_nxt, bytes(3 * 1460)
    await conn.app.send(burst)
    for at in range(0, len(burst), 1460):
        await conn.expect(ACK, seq=first + at, ack=conn.snd_nxt, payload=burst[at : at + 1460])


# What the application is told


@verifies("RFC9293:MUST-47", "RFC9293:SHLD-25", "RFC9293:SHLD-20", needs=("app", "options:IP_RECVERR"), lasts=0.5)
async def test_application_is_told_of_a_soft_error_if_it_wants(tcp: Case) -> None:
    """The application learns of soft ICMP errors if it wants.

    A router says that our host is unreachable, while the application wants such reports, and again when it wants
    none. A call of the application's must end with the report; without reports it should go on waiting. The
    connection goes on.
    """
    level, name = ("ip", "IP_RECVERR") if tcp.family == 4 else ("ipv6", "IPV6_RECVERR")
    conn, data = await with_data_under_way(tcp)
    await conn.app.option(level, name, 1)
    await conn.send_icmp(icmp.HOST_UNREACHABLE, quoting=data)
    await conn.app.fails("receive", "EHOSTUNREACH", count=1)

    await conn.app.option(level, name, 0)
    await conn.send_icmp(icmp.HOST_UNREACHABLE, quoting=data)
    await conn.app.fails("receive", "timeout", count=1, wait_s=0.3)
    await goes_on(conn)
