"""RFC 9293 sections 3.1 and 3.2: odd values in our segments, each of which a connection outlives."""

import pytest

from conformance.api import ACK, FIN, SYN, URG, Case, Connection, Flags, State, app_accepts, opt, verifies

TEXT = b"odd values do no harm"
DATA = bytes(range(256)) * 4
BY = pytest.mark.parametrize("by", ["passive", "active"])


async def goes_on(conn: Connection) -> None:
    """See that text passes in both directions."""
    await conn.deliver(TEXT)
    assert sum(len(one.segment.payload) for one in await conn.collect_segments(TEXT)) == len(TEXT)


async def opened_with(tcp: Case, by: str, options: bytes) -> Connection:
    """Return a connection that our SYN, or SYN,ACK, with these options has opened."""
    if by == "passive":
        conn = await tcp.listen()
        await conn.send(SYN, options=options)
        await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
        await conn.send(ACK)
        await app_accepts(conn)
        return conn
    conn = await tcp.connect()
    await conn.expect(SYN, length=0)
    await conn.send(SYN | ACK, options=options)
    await conn.expect_ack()
    await conn.app.connected()
    return conn


@BY
@pytest.mark.parametrize("size", [1, 7, 12, 40, 48, 64, 88, 100, 256])
@verifies("RFC9293:MUST-16", "RFC9293:MUST-14")
async def test_small_maximum_segment_size_is_kept(tcp: Case, by: str, size: int) -> None:
    """Segments keep to a small MSS of {size} ({by} open).

    Our SYN announces a very small Maximum Segment Size, and the application sends several segments' worth. No segment
    may carry more than was announced, and all of it must come.
    """
    conn = await opened_with(tcp, by, opt.encode((opt.mss(size),)))
    octets = max(8, 3 * size)
    sizes = [len(one.segment.payload) for one in await conn.collect_segments(DATA[:octets], within=4)]
    assert max(sizes) <= size, f"a segment of {max(sizes)} octets came, announced were {size}"


@BY
@verifies("RFC9293:MUST-14")
async def test_maximum_segment_size_of_zero_does_no_harm(tcp: Case, by: str) -> None:
    """An MSS of 0 does no harm ({by} open).

    Our SYN announces a Maximum Segment Size of zero, with which nothing could be sent. The target must open the
    connection and pass text in both directions, in whatever segments.
    """
    await goes_on(await opened_with(tcp, by, opt.encode((opt.mss(0),))))


@BY
@verifies("RFC9293:MUST-16")
async def test_two_maximum_segment_sizes_keep_to_the_larger(tcp: Case, by: str) -> None:
    """With two MSS options segments keep to the larger ({by} open).

    Our SYN announces two Maximum Segment Sizes, 400 and 300. No document says which of them holds; a segment of more
    than either was never announced.
    """
    conn = await opened_with(tcp, by, opt.encode((opt.mss(400), opt.mss(300))))
    sizes = [len(one.segment.payload) for one in await conn.collect_segments(DATA[:1000])]
    assert max(sizes) <= 400, f"a segment of {max(sizes)} octets came, announced were 400 and 300"


@pytest.mark.parametrize("pointer", [0, 1, len(TEXT) - 1, len(TEXT), len(TEXT) + 1, 32768, 65535])
@pytest.mark.parametrize(
    ("flags", "text"),
    [
        pytest.param(ACK, TEXT, id="text"),
        pytest.param(FIN | ACK, b"", id="fin"),
        pytest.param(FIN | ACK, TEXT, id="text-and-fin"),
        pytest.param(ACK, b"", id="nothing"),
    ],
)
@verifies("RFC9293:3.10.7.4-urg", "RFC9293:3.10.7.4-text", "RFC9293:3.10.7.4-fin", level="text")
async def test_urgent_pointer_of_any_value_does_no_harm(tcp: Case, flags: Flags, text: bytes, pointer: int) -> None:
    """An urgent pointer of any value does no harm.

    A segment has URG and a pointer to before, inside, behind or far beyond its text. Whatever it points to, text and
    FIN must be acknowledged to their end, and the connection must go on.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(flags | URG, payload=text, urgent=pointer)
    if text or flags & FIN:
        await conn.expect_ack()
    await conn.confirm(State.CLOSE_WAIT if flags & FIN else State.ESTABLISHED)
    assert sum(len(one.segment.payload) for one in await conn.collect_segments(TEXT)) == len(TEXT)


@pytest.mark.parametrize("pointer", [0, 1, 65535])
@verifies("RFC9293:3.10.7.2-listen-syn", level="text")
async def test_urgent_pointer_of_a_syn_does_no_harm(tcp: Case, pointer: int) -> None:
    """An urgent pointer of {pointer} in a SYN does no harm.

    Our SYN has URG and a pointer. The target must answer it as any SYN, and pass text in both directions.
    """
    conn = await tcp.listen()
    await conn.send(SYN | URG, urgent=pointer)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.send(ACK)
    await app_accepts(conn)
    await goes_on(conn)
