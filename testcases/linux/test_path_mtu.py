"""Linux: ip_no_pmtu_disc and min_pmtu, which bound the discovery of the path MTU over IPv4."""

import pytest

from conformance.api import ACK, SYN, Case, Path, State, app_accepts, app_sends, size_of, verifies

DATA = bytes(range(256)) * 12
LEAST = "net.ipv4.route.min_pmtu"


@pytest.mark.parametrize(("mode", "forbidden"), [(0, True), (1, False), (2, False)], ids=["mode-0", "mode-1", "mode-2"])
@verifies("IP-SYSCTL:ip_no_pmtu_disc", "RFC1191:2-df", level="text", sysctl={"net.ipv4.ip_no_pmtu_disc": "{mode}"})
async def test_no_pmtu_disc_allows_fragmentation(tcp: Case, mode: int, forbidden: bool) -> None:
    """ip_no_pmtu_disc={mode} decides whether Don't Fragment is set.

    A connection opens and data is sent, with discovery of the path MTU off (modes 1 and 2) or on. The target must
    set Don't Fragment where discovery is on, and not where it is off.
    """
    tcp.needs_family(4, "ip_no_pmtu_disc")
    conn = await tcp.listen()
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.send(ACK)
    await app_accepts(conn)
    data = await app_sends(conn, b"data")
    assert data.ip.dont_fragment is forbidden, f"ip_no_pmtu_disc is {mode}, Don't Fragment is {data.ip.dont_fragment}"


@pytest.mark.parametrize(("least", "size"), [(552, 552), (300, 400)], ids=["min-552", "min-300"])
@verifies("IP-SYSCTL:min_pmtu", sysctl={LEAST: "{least}"}, lasts=1)
async def test_min_pmtu_is_the_least_path_mtu(tcp: Case, least: int, size: int) -> None:
    """min_pmtu={least} is the lower bound of the path MTU.

    A link carries 400 octets, and its router says so; min_pmtu is above that or below. The target must reduce its
    packets to what it is told, but not below min_pmtu: those it lets be fragmented.
    """
    tcp.needs_family(4, "min_pmtu")
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.send(DATA)
    path = Path(tcp, conn, 400)
    await path.deliver(DATA)
    sizes = {size_of(one.segment) for one in path.carried[:-1]}
    assert max(sizes) == size, f"min_pmtu is {least}, packets of {max(sizes)} octets came"
    assert any(not one.ip.dont_fragment for one in path.carried) == (least > 400)
