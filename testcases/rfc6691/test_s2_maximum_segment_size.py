"""RFC 6691: the MSS option counts the fixed headers alone, and the sender makes room for its options."""

import pytest

from conformance.api import ACK, SYN, Case, Connection, Offer, Received, State, opt, verifies

MSS = 1000
MTU = 1500
"""Of the tester's link, Ethernet: what a case sends and the target may send (RFC 894, RFC 2464)."""
FIXED = {4: 40, 6: 60}


def mss_in(received: Received) -> int:
    """Return the MSS that a SYN or SYN,ACK announces."""
    return int.from_bytes(received.option(opt.MSS).data, "big")


@verifies("RFC6691:2-value", needs=("app",))
async def test_mss_is_the_mtu_less_the_fixed_headers(tcp: Case) -> None:
    """The announced MSS is the MTU less the fixed headers.

    The target opens over a link with an MTU of 1500: its SYN announces an MSS. That should be the MTU less 20
    octets of TCP and 20 of IPv4, or 40 of IPv6.
    """
    conn = await tcp.connect()
    size = opt.mss(MTU - FIXED[tcp.family])
    await conn.expect(SYN, length=0, options=((opt.MSS, size),))
    await conn.complete()
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC6691:2-options", needs=("app", "timestamps"))
async def test_mss_does_not_depend_on_options(tcp: Case) -> None:
    """The announced MSS does not depend on options.

    Our first SYN brings MSS alone, our second every other option that the target may take up. The two SYN,ACKs
    should announce the same MSS: it is not reduced for the options that will be on each segment.
    """
    sizes = []
    for offer in (Offer(), Offer(timestamps=True, sack=True, window_scale=7)):
        conn = await tcp.listen(offer=offer)
        await conn.send(SYN)
        opened = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
        sizes.append(mss_in(opened))
        await conn.complete()
    assert sizes[0] == sizes[1], f"the MSS is {sizes[0]} without other options and {sizes[1]} with them"
    await conn.confirm(State.ESTABLISHED)


async def full_sized(conn: Connection, length: int) -> None:
    """See that the next two segments have that many octets of options and data, and that none is longer."""
    await conn.app.send(bytes(4 * MSS), wait=False)
    for _ in range(2):
        segment = (await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)).segment
        options, data = len(segment.options), len(segment.payload)
        assert options + data == length, f"a segment has {options} octets of options and {data} of data, not {length}"


@pytest.mark.parametrize(
    ("offer", "hole"),
    [
        pytest.param(Offer(mss=MSS), False, id="no-option", marks=verifies("RFC6691:2-sender", "RFC6691:4-only")),
        pytest.param(
            Offer(mss=MSS, timestamps=True),
            False,
            id="timestamps",
            marks=verifies("RFC6691:2-sender", "RFC6691:4-only", needs=("app", "timestamps")),
        ),
        pytest.param(
            Offer(mss=MSS, sack=True),
            True,
            id="one-sack-block",
            marks=verifies("RFC6691:2-sender", "RFC6691:4-only", needs=("app", "sack")),
        ),
        pytest.param(
            Offer(mss=MSS, timestamps=True, sack=True),
            True,
            id="timestamps-and-one-sack-block",
            marks=verifies("RFC6691:2-sender", "RFC6691:4-only", needs=("app", "timestamps", "sack")),
        ),
    ],
)
async def test_sender_makes_room_for_its_options(tcp: Case, offer: Offer, hole: bool) -> None:
    """Options take their room from the data of a segment.

    We announce an MSS of 1000; the target has much to send, and its segments carry options. Data and options
    together must be 1000 octets: no more, and in a full-sized segment no less.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=offer)
    if hole:
        await conn.inject(ACK, seq=conn.snd_nxt + 10, payload=b"behind a hole")
        await conn.expect_ack(has=(opt.SACK,))
    await full_sized(conn, MSS)


@verifies("RFC6691:5.3-infinite", needs=("app",))
async def test_mss_of_65535_leaves_it_to_the_path(tcp: Case) -> None:
    """A peer's MSS of 65535 leaves the size to the path.

    We announce an MSS of 65535; the target has much to send. Its segments must be as long as its own link carries:
    1500 octets with the headers.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=Offer(mss=65535))
    await full_sized(conn, MTU - FIXED[tcp.family])
