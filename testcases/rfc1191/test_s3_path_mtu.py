"""RFC 1191 sections 3 and 6, RFC 8201 sections 4 and 5: the path MTU as routers tell it, the same over IPv4 and IPv6."""

from itertools import combinations

import pytest

from conformance.api import (
    ACK,
    SECOND,
    SYN,
    Case,
    Connection,
    Path,
    Received,
    State,
    app_accepts,
    icmp,
    opt,
    size_of,
    verifies,
)

HEADERS = {4: 40, 6: 60}
FULL = {4: 1460, 6: 1440}
"""Octets of data in a segment that fills a link of 1500 octets."""
DATA = bytes(range(256)) * 24
REDUCES = ("RFC1191:3-reduce", "RFC8201:4-reduce")
SOON_S = 0.1


async def sends(tcp: Case, data: bytes = DATA, *, mss: int | None = None) -> Connection:
    """Return an established connection whose application has been given `data` to send."""
    conn = await tcp.listen()
    if mss is not None:
        conn.syn_options = (opt.mss(mss),)
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    await conn.app.send(data)
    return conn


def largest(some: list[Received]) -> int:
    """Return the octets of the largest packet."""
    return max(size_of(one.segment) for one in some)


def hasty(tcp: Case, some: list[Received]) -> list[Received]:
    """Return the packets that repeat data sooner than the least retransmission timeout."""
    least_ns = tcp.timer("rto-min").low_s * SECOND
    return [
        later
        for earlier, later in combinations(some, 2)
        if later.segment.seq == earlier.segment.seq and later.at_ns - earlier.at_ns < least_ns
    ]


async def narrowed(tcp: Case, mtu: int) -> tuple[Connection, Path]:
    """Return a connection whose target has learned that the path carries no more than `mtu`."""
    conn = await sends(tcp)
    path = Path(tcp, conn, mtu)
    await path.deliver(DATA)
    return conn, path


async def sends_again(conn: Connection, path: Path) -> None:
    """Send the data again, over a path that carries everything; the packets are in `path.carried`."""
    path.mtu = 65_535
    path.carried.clear()
    await conn.app.send(DATA)
    await path.deliver(DATA)


# Reduced


@pytest.mark.parametrize("mtu", [1280, 1300, 1499])
@verifies(*REDUCES, "RFC1191:3-avoid", "RFC8201:4-avoid", "RFC1191:3-fast", "RFC1191:6.4-track", "RFC8201:5.4-track")
async def test_too_big_reduces_the_segments(tcp: Case, mtu: int) -> None:
    """Packets shrink to the reported MTU of {mtu} octets.

    The first full segment is too big for a link on the path, whose router drops it and tells the link's MTU. The
    target must send no packet above that size any more, fill it, and get all its data through.
    """
    _, path = await narrowed(tcp, mtu)
    assert path.dropped, f"no packet was larger than {mtu} octets"
    late = [one for one in path.dropped if one.at_ns > path.told_ns[0] + SOON_S * SECOND]
    assert not late, f"{len(late)} packets above {mtu} octets came later than {SOON_S} s after the first message"
    assert largest(path.carried) == mtu, (
        f"the largest packet has {largest(path.carried)} octets, the path carries {mtu}"
    )


@verifies(*REDUCES, "RFC1191:3-converge", "RFC8201:4-converge", lasts=2)
async def test_path_that_narrows_twice_is_followed(tcp: Case) -> None:
    """A path that narrows twice is followed at each step.

    The path carries 1400 octets, and later 1290: each time the router tells. The target must follow at each step.
    """
    conn, path = await narrowed(tcp, 1400)
    path.mtu = 1290
    path.dropped.clear()
    await conn.app.send(DATA)
    await path.deliver(DATA)
    assert path.dropped, "no packet was larger than 1290 octets"
    await sends_again(conn, path)
    assert largest(path.carried) == 1290


@verifies("RFC1191:6.4-retransmit", "RFC8201:5.4-retransmit", "RFC5927:7.2-progress", level="MAY")
async def test_dropped_segment_is_sent_again_at_once_or_after_the_timeout(tcp: Case) -> None:
    """Data of a packet that was too big comes again in smaller segments.

    A segment is too big for the path, and the router says so. Its data must come again in smaller segments; whether
    at once or after the retransmission timeout is recorded.
    """
    _, path = await narrowed(tcp, 1300)
    assert path.dropped, "no packet was larger than 1300 octets"
    first = path.dropped[0].segment.seq
    again = next(one for one in path.carried if one.segment.seq == first)
    waited_s = (again.at_ns - path.told_ns[0]) / SECOND
    taken = "at once" if waited_s < tcp.timer("rto-min").low_s / 2 else "after the timeout"
    tcp.choice("retransmission after a too big message", taken, ["at once", "after the timeout"])


@verifies("RFC1191:6.4-every", "RFC8201:5.4-every")
async def test_messages_about_several_segments_bring_one_retransmission(tcp: Case) -> None:
    """Messages about several segments cause one retransmission each at most.

    Several segments of a window are too big, and the router tells of each. The target must not retransmit for each
    message: nothing comes more often than once more.
    """
    _, path = await narrowed(tcp, 1300)
    assert len(path.dropped) > 1, "only one segment was too big"
    again = hasty(tcp, path.carried)
    assert not again, f"{len(again)} segments were retransmitted more than once, without waiting for the timeout"


@verifies("RFC1191:6.2-notify", "RFC8201:5.2-notify")
async def test_other_connections_over_the_path_learn_of_it(tcp: Case) -> None:
    """Other connections over the same path learn of its MTU.

    Two connections are open between the same addresses, and a message comes about one of them. The other, and one
    that is opened later, must send no larger packets either.
    """
    earlier = await tcp.drive_to(State.ESTABLISHED)
    conn, _ = await narrowed(tcp, 1300)
    later = await tcp.drive_to(State.ESTABLISHED)
    for connection in (earlier, later):
        path = Path(tcp, connection, 65_535)
        await connection.app.send(DATA)
        await path.deliver(DATA)
        assert largest(path.carried) == 1300, f"a packet of {largest(path.carried)} octets came"
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC4821:5.2-subnet", "RFC4821:5.2-path")
async def test_another_host_of_the_network_is_another_path(tcp: Case) -> None:
    """A smaller path MTU does not reach another host of the network.

    The path MTU to one of our addresses is 1300; a connection is opened from the next address of the same network.
    The target must send full segments there.
    """
    former, _ = await narrowed(tcp, 1300)
    conn = tcp.connection(former.remote_port, address=await tcp.another_address())
    conn.listener = former.listener
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    await conn.app.send(DATA)
    path = Path(tcp, conn, 65_535)
    await path.deliver(DATA)
    assert largest(path.carried) == 1500, f"the largest packet has {largest(path.carried)} octets"


# Not reduced, not raised


@pytest.mark.parametrize("claimed", [1400, 1500, 9000])
@verifies("RFC1191:3-increase", "RFC8201:4-increase")
async def test_message_does_not_raise_the_path_mtu(tcp: Case, claimed: int) -> None:
    """A message that claims {claimed} octets does not raise the path MTU.

    The path MTU is 1300, and a message says that it is more. The target must go on with packets of 1300 octets.
    """
    conn, path = await narrowed(tcp, 1300)
    await conn.app.send(DATA)
    first = await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)
    await conn.send_icmp(icmp.FRAGMENTATION_NEEDED, quoting=first, rest=claimed)
    path.mtu = 65_535
    path.carried.clear()
    taken = len(first.segment.payload)
    await conn.send(ACK)
    await path.deliver(DATA[taken:])
    await sends_again(conn, path)
    assert largest(path.carried) == 1300, f"a packet of {largest(path.carried)} octets came"


@verifies("RFC1191:6.4-mss", "RFC8201:5.4-mss")
async def test_path_mtu_does_not_raise_the_segments_above_the_mss(tcp: Case) -> None:
    """The path MTU does not raise segments above the peer's MSS.

    We take segments of 500 octets, and a message says that a packet was too big for a link of 1400. The target must
    not send larger segments than 500.
    """
    conn = await sends(tcp, mss=500)
    first = await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=500)
    await conn.send_icmp(icmp.FRAGMENTATION_NEEDED, quoting=first, rest=1400)
    await conn.send(ACK)
    path = Path(tcp, conn, 65_535)
    await path.deliver(DATA[500:])
    assert largest(path.carried) == 500 + HEADERS[tcp.family], f"a packet of {largest(path.carried)} octets came"


@verifies("RFC1191:6.4-option", "RFC8201:5.4-option", "RFC1191:3.1-lower")
async def test_path_mtu_does_not_change_the_mss_option(tcp: Case) -> None:
    """The path MTU does not change the MSS option.

    The path MTU is 1300, and we open another connection. The target must offer the segment size of its own link as
    before: what comes to it is another path's affair.
    """
    await narrowed(tcp, 1300)
    conn = await tcp.listen()
    await conn.send(SYN)
    mss = (opt.MSS, opt.mss(FULL[tcp.family]))
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, options=(mss,))


INFREQUENT = ("RFC1191:3-infrequent", "RFC8201:4-infrequent", "RFC1191:3-detect")


@pytest.mark.parametrize(
    "lasts_s",
    [
        pytest.param(6, id="6-s", marks=verifies(*INFREQUENT, lasts=7)),
        pytest.param(300, id="5-min", marks=verifies(*INFREQUENT, lasts=301)),
    ],
)
async def test_larger_packets_are_not_tried_soon(tcp: Case, lasts_s: int) -> None:
    """Larger packets are not tried soon after the path MTU shrank.

    The path MTU is 1300; from then on the path carries everything, and the application sends now and then. For 5
    minutes the target must not try larger packets (for 6 seconds in the standard tier).
    """
    conn, path = await narrowed(tcp, 1300)
    assert path.dropped, "no packet was larger than 1300 octets"
    until_ns = path.told_ns[-1] + lasts_s * SECOND
    while tcp.clock.now_ns() < until_ns:
        await sends_again(conn, path)
        assert largest(path.carried) == 1300, f"a packet of {largest(path.carried)} octets came"
        await conn.silence(for_=min(lasts_s / 5, max(0.0, (until_ns - tcp.clock.now_ns()) / SECOND)))


# The IPv4 header, and messages that IPv4 alone has


@verifies("RFC1191:2-df")
async def test_every_segment_forbids_fragmentation(tcp: Case) -> None:
    """Every segment forbids fragmentation.

    A connection opens, data is sent, and the connection closes (IPv4: over IPv6 no router fragments). The target
    must set Don't Fragment in every segment, that the path MTU may be discovered.
    """
    tcp.needs_family(4, "Don't Fragment")
    conn = await tcp.listen()
    await conn.send(SYN)
    seen = [await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)]
    await conn.send(ACK)
    await app_accepts(conn)
    await conn.app.send(b"data")
    seen.append(await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=b"data"))
    await conn.send(ACK, payload=b"data of ours")
    seen.append(await conn.expect_ack())
    without = [str(one.segment.flags) for one in seen if not one.ip.dont_fragment]
    assert not without, f"segments without Don't Fragment: {', '.join(without)}"


@verifies("RFC1191:3-old-style", lasts=2)
async def test_message_without_mtu_is_dealt_with(tcp: Case) -> None:
    """Data gets through after a message without an MTU.

    An old router drops what is larger than 576 octets, and leaves the field of the next hop's MTU zero (IPv4). The
    target must find a size that gets its data through, or let it be fragmented.
    """
    tcp.needs_family(4, "a message without next-hop MTU")
    conn = await sends(tcp)
    path = Path(tcp, conn, 576, claims=0)
    await path.deliver(DATA)
    assert path.dropped, "no packet was larger than 576 octets"
    fragmented = any(size_of(one.segment) > 576 for one in path.carried)
    taken = "lets it be fragmented" if fragmented else "smaller packets"
    tcp.choice("answer to a message without MTU", taken, ["smaller packets", "lets it be fragmented"])


@pytest.mark.parametrize("claimed", [1, 28, 67])
@verifies("RFC1191:3-least")
async def test_path_mtu_is_never_below_68_octets(tcp: Case, claimed: int) -> None:
    """An MTU of {claimed} does not shrink packets below 68 octets.

    A message says that a link carries less than 68 octets (IPv4). The target must not reduce its packets below 68
    octets, and get its data through.
    """
    tcp.needs_family(4, "an MTU of 68 octets")
    conn = await sends(tcp)
    path = Path(tcp, conn, 1000, claims=claimed)
    await path.deliver(DATA)
    assert path.dropped, "no packet was larger than 1000 octets"
    largest = max(size_of(one.segment) for one in path.carried if one.at_ns >= path.told_ns[0])
    assert largest >= 68, f"packets of {largest} octets at most after the message"


@pytest.mark.parametrize("mtu", [68, 296, 576])
@verifies("RFC1191:3-reduce", "RFC1191:3-least", lasts=3)
async def test_small_path_mtu_is_reached(tcp: Case, mtu: int) -> None:
    """Packets shrink to a small path MTU of {mtu} or may be fragmented.

    A link carries few octets only, and its router tells (IPv4). The target must reduce its packets to that, or
    cease to forbid their fragmentation.
    """
    tcp.needs_family(4, "an MTU below 1280 octets")
    data = DATA[:3000]
    conn = await sends(tcp, data)
    path = Path(tcp, conn, mtu)
    await path.deliver(data)
    assert path.dropped, f"no packet was larger than {mtu} octets"
    late = [one for one in path.dropped if one.at_ns > path.told_ns[0] + SOON_S * SECOND]
    assert not late, f"{len(late)} packets above {mtu} octets that must not be fragmented came late"
    fragmented = any(size_of(one.segment) > mtu for one in path.carried)
    taken = "lets them be fragmented" if fragmented else "smaller packets"
    tcp.choice(f"answer to a path MTU of {mtu}", taken, ["smaller packets", "lets them be fragmented"])


# Permission, and the age of what was learned


@verifies("RFC1191:3.1-permission")
async def test_without_permission_no_datagram_is_above_576_octets(tcp: Case) -> None:
    """Without an MSS option no datagram is above 576 octets.

    Our SYN carries no MSS option, and the application sends (IPv4: over IPv6 the default is 1280). The target must
    send datagrams of at most 576 octets, though its link carries more.
    """
    tcp.needs_family(4, "a default of 576 octets")
    conn = await tcp.listen()
    conn.syn_options = ()
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    await conn.app.send(DATA)
    path = Path(tcp, conn, 65_535)
    await path.deliver(DATA)
    assert largest(path.carried) <= 576, f"a datagram of {largest(path.carried)} octets came"


@verifies(
    "RFC1191:6.3-age",
    "RFC1191:6.3-retransmit",
    "RFC8201:5.3-age",
    "IP-SYSCTL:mtu_expires",
    sysctl={"net.ipv4.route.mtu_expires": "2", "net.ipv6.route.mtu_expires": "2"},
    lasts=6,
)
async def test_path_mtu_is_forgotten_in_time(tcp: Case) -> None:
    """The path MTU is forgotten in time, and larger packets return.

    The path MTU is 1300; later the path carries everything. What was learned is kept for 2 s (a shortened 10
    minutes). The target must use the larger packets again, with the first or the second thing sent, and for new
    data alone: nothing is retransmitted.
    """
    conn, path = await narrowed(tcp, 1300)
    await conn.silence(for_=4.0, strict=True)
    for _ in range(2):
        await sends_again(conn, path)
        again = hasty(tcp, path.carried)
        assert not again, f"{len(again)} segments were retransmitted"
    assert largest(path.carried) == 1500, f"the largest packet has {largest(path.carried)} octets"
