"""RFC 8201 section 4: what IPv6 alone has, the least MTU of 1280 octets. The rest is shared with RFC 1191."""

import pytest

from conformance.api import ACK, Case, Path, State, icmp, size_of, verifies

FULL = 1440
DATA = bytes(range(256)) * 24


@pytest.mark.parametrize("claimed", [0, 68, 1000, 1279])
@verifies("RFC8201:4-least")
async def test_packet_too_big_below_1280_is_discarded(tcp: Case, claimed: int) -> None:
    """A Packet Too Big message of {claimed} octets is discarded.

    A message says that a link carries less than 1280 octets (IPv6). The target must discard it: its segments stay
    as large as before, without a Fragment header.
    """
    tcp.needs_family(6, "the least MTU of 1280 octets")
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.send(DATA)
    first = await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=FULL)
    await conn.send_icmp(icmp.FRAGMENTATION_NEEDED, quoting=first, rest=claimed)
    await conn.send(ACK)
    path = Path(tcp, conn, 65_535)
    await path.deliver(DATA[FULL:])
    await conn.app.send(DATA)
    await path.deliver(DATA)
    sizes = [size_of(one.segment) for one in path.carried]
    assert max(sizes) == 1500, f"the largest packet has {max(sizes)} octets"
    assert max(sizes[-4:-1]) == 1500, f"the last packets have {sizes[-4:]} octets"
