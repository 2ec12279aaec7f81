"""RFC 5927 sections 4 and 7: messages about too big packets that an attacker sends blindly, and the ports that he guesses."""

from itertools import pairwise

import pytest

from conformance.api import ACK, SYN, Case, Connection, Path, Received, Segment, Seq, State, icmp, size_of, verifies

DATA = bytes(range(256)) * 24
FULL = {4: 1460, 6: 1440}


async def sends(tcp: Case) -> tuple[Connection, Received]:
    """Return an established connection, and the first full segment of the application's data."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.send(DATA)
    return conn, await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=FULL[tcp.family])


def with_number(first: Received, seq: Seq) -> Segment:
    """Return that segment with another sequence number, as an attacker would make it up."""
    segment = first.segment
    return Segment(segment.src, segment.dst, segment.sport, segment.dport, seq, segment.ack, segment.flags)


async def all_full(tcp: Case, conn: Connection, data: bytes) -> None:
    """See that the rest arrives in segments as large as before."""
    path = Path(tcp, conn, 65_535)
    await path.deliver(data)
    sizes = [size_of(one.segment) for one in path.carried]
    assert max(sizes[-4:-1]) == 1500, f"the last packets have {sizes[-4:]} octets"


@pytest.mark.parametrize("offset", [-1, -100_000, 100_000, 2**31], ids=lambda offset: f"{offset:+d}")
@verifies("RFC5927:7.2-window", "RFC5927:4.1-window")
async def test_too_big_message_outside_the_window_is_ignored(tcp: Case, offset: int) -> None:
    """A Packet Too Big message off by {offset} is ignored.

    Data is in flight, and a message about a link of 1300 octets quotes a number that is not. The target must go on
    with segments as large as before.
    """
    conn, first = await sends(tcp)
    start = first.segment.seq
    await conn.send_icmp(icmp.FRAGMENTATION_NEEDED, quoting=with_number(first, start + offset), rest=1300)
    await conn.send(ACK)
    await all_full(tcp, conn, DATA[FULL[tcp.family] :])
    await conn.app.send(DATA)
    await all_full(tcp, conn, DATA)


@pytest.mark.parametrize("offset", [-1, 0, 1], ids=["last-octet-sent", "next-octet", "beyond"])
@verifies("RFC5927:4.1-nothing-in-flight", "RFC5927:7.2-window")
async def test_too_big_message_with_nothing_in_flight_is_ignored(tcp: Case, offset: int) -> None:
    """A Packet Too Big message is ignored with nothing in flight.

    All data is acknowledged, and a message about a link of 1300 octets quotes a number at the edge of what was
    sent. With nothing in flight no number is acceptable: the target must go on with segments as large as before.
    """
    conn, first = await sends(tcp)
    await conn.send(ACK)
    await Path(tcp, conn, 65_535).deliver(DATA[FULL[tcp.family] :])
    await conn.send_icmp(icmp.FRAGMENTATION_NEEDED, quoting=with_number(first, conn.rcv_nxt + offset), rest=1300)
    await conn.silence(for_=0.1)
    await conn.app.send(DATA)
    await all_full(tcp, conn, DATA)


@verifies("RFC5927:4.2-ports")
async def test_ports_of_active_opens_do_not_follow_each_other(tcp: Case) -> None:
    """The ports of active opens are not equally spaced.

    The application opens eight connections to us, one after the other. Their ports must not lie at the same
    distance each time, by which an attacker could tell the next.
    """
    ports = []
    for _ in range(8):
        conn = await tcp.connect()
        opens = await conn.expect(SYN, length=0)
        ports.append(opens.segment.sport)
    steps = {(later - earlier) % 65_536 for earlier, later in pairwise(ports)}
    assert len(steps) > 1, f"the ports are {ports}: each lies {steps.pop()} above the one before"
    await conn.confirm(State.SYN_SENT)
