"""RFC 9293 section 3.7.1: the Maximum Segment Size that the target is told, and the one that it tells."""

import pytest

from conformance.api import ACK, PSH, SYN, Case, Connection, Received, State, Violation, app_accepts, opt, verifies

# 20 octets of TCP header, and 20 of IPv4's or 40 of IPv6's.
HEADERS = {4: 40, 6: 60}
DEFAULT = {4: 536, 6: 1220}
ETHERNET = 1500
DATA = bytes(range(256)) * 40
BY = pytest.mark.parametrize("by", ["passive", "active"])


async def opened(tcp: Case, by: str, options: tuple[opt.Option, ...], tsval: int | None = None) -> Connection:
    """Return an ESTABLISHED connection whose SYN of ours carried those options."""
    conn = await (tcp.listen() if by == "passive" else tcp.connect())
    conn.syn_options, conn.tsval = options, tsval
    return await tcp.drive_to(State.ESTABLISHED, by=by, conn=conn)


async def sizes_of(conn: Connection, octets: int) -> list[int]:
    """Have the application send `octets`, acknowledge each segment, and return how many octets each carries."""
    return [len(received.segment.payload) for received in await conn.collect_segments(DATA[:octets])]


# What the target is told


@BY
@pytest.mark.parametrize("size", [536, 537, 1000, 1219, 1400])
@verifies("RFC9293:MUST-14", "RFC9293:MUST-16")
async def test_segments_are_no_larger_than_the_peer_takes(tcp: Case, by: str, size: int) -> None:
    """Segments are no larger than the peer's MSS of {size} ({by} open).

    Our SYN announces a Maximum Segment Size below what the link could carry, odd ones too, and the application
    sends much. The target's segments must never carry more.
    """
    conn = await opened(tcp, by, (opt.mss(size),))
    sizes = await sizes_of(conn, 5 * size)
    assert max(sizes) <= size, f"a segment of {max(sizes)} octets came, announced were {size}"


@BY
@verifies("RFC9293:MUST-15")
async def test_without_the_option_the_default_holds(tcp: Case, by: str) -> None:
    """Without an MSS option segments keep to the default size.

    Our SYN carries no Maximum Segment Size, and the application sends much. No segment of the target may carry more
    than 536 octets over IPv4, 1220 over IPv6.
    """
    conn = await opened(tcp, by, ())
    sizes = await sizes_of(conn, 4000)
    most = DEFAULT[tcp.family]
    assert max(sizes) <= most, f"a segment of {max(sizes)} octets came, the default is {most}"


@BY
@pytest.mark.parametrize("size", [1461, 9000, 65535])
@verifies("RFC9293:MUST-16")
async def test_segments_fit_the_link_whatever_the_peer_takes(tcp: Case, by: str, size: int) -> None:
    """Segments fit the link despite an MSS of {size} ({by} open).

    Our SYN announces a Maximum Segment Size beyond what the link carries, and the application sends much. The
    target's segments must not be larger than the link's MTU of 1500 octets, nor come in fragments.
    """
    conn = await opened(tcp, by, (opt.mss(size),))
    sizes = await sizes_of(conn, 6000)
    most = ETHERNET - HEADERS[tcp.family]
    assert max(sizes) <= min(size, most), f"a segment of {max(sizes)} octets came, the link carries {most}"


@BY
@verifies("RFC9293:MUST-16")
async def test_options_take_their_room_from_the_data(tcp: Case, by: str) -> None:
    """With timestamps, options and data together keep to the MSS.

    Both SYNs have timestamps, so that every segment carries twelve octets of options. Data and options of a segment
    together must not exceed the Maximum Segment Size that we announced.
    """
    conn = await opened(tcp, by, (opt.mss(1000),), tsval=1000)
    if conn.ts_recent == 0:
        tcp.note("the target has no timestamps: there are no options to count")
    sizes = await sizes_of(conn, 4000)
    used = 12 if conn.ts_recent else 0
    assert max(sizes) <= 1000 - used, f"{max(sizes)} octets of data came beside {used} of options, announced were 1000"


@BY
@pytest.mark.parametrize("size", [536, 1001, 1460])
@verifies("RFC9293:SHLD-28")
async def test_full_segments_are_sent_where_possible(tcp: Case, by: str, size: int) -> None:
    """Full segments of {size} octets are sent where possible ({by} open).

    The application sends five segments' worth at once, and our window takes it all. The target should send segments
    of the largest size that the peer takes and the link carries.
    """
    conn = await opened(tcp, by, (opt.mss(size),))
    most = min(size, ETHERNET - HEADERS[tcp.family])
    sizes = await sizes_of(conn, 5 * most)
    assert sizes == [most] * 5, f"{5 * most} octets came in segments of {sizes}, {most} are possible"


@verifies("RFC9293:MUST-15")
async def test_size_in_a_later_segment_changes_nothing(tcp: Case) -> None:
    """An MSS in a later segment changes nothing.

    Our SYN has no Maximum Segment Size; a segment without SYN announces one of 1400, where it means nothing. The
    target's segments must keep to the default: the option is not received at connection setup.
    """
    conn = await opened(tcp, "passive", ())
    await conn.send(ACK | PSH, payload=b"?", options=(opt.mss(1400),))
    await conn.expect_ack()
    sizes = await sizes_of(conn, 4000)
    most = DEFAULT[tcp.family]
    assert max(sizes) <= most, f"a segment of {max(sizes)} octets came, the default is {most}"


# What the target tells


def check_told(tcp: Case, received: Received) -> int:
    """Return the size that a SYN of the target announces, which must be one that it can receive."""
    option = opt.find(received.segment.option_list, opt.MSS)
    if option is None or len(option.data) != 2:
        raise Violation(
            f"the target's SYN announces no Maximum Segment Size: {opt.options_text(received.segment.option_list)}"
        )
    announced = int.from_bytes(option.data, "big")
    # The largest datagram is 65535 octets long, IPv6's without its header.
    most = 65535 - (40 if tcp.family == 4 else 20)
    assert 0 < announced <= most, f"announced is {announced}, the largest segment that can be put together is {most}"
    return announced


@BY
@verifies("RFC9293:MUST-14", "RFC9293:SHLD-5", "RFC9293:MUST-67")
async def test_size_is_announced_and_can_be_received(tcp: Case, by: str) -> None:
    """The SYN announces an MSS that the target can receive.

    The target opens, passively or actively, and announces a Maximum Segment Size; we send it a segment of that
    size. Its SYN should carry the option, with no more than it can put together again. It must take the segment
    whole.
    """
    if by == "passive":
        conn = await tcp.listen()
        await conn.send(SYN)
        announced = check_told(tcp, await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0))
        await conn.send(ACK)
        await app_accepts(conn)
    else:
        conn = await tcp.connect()
        announced = check_told(tcp, await conn.expect(SYN, length=0))
        await conn.send(SYN | ACK)
        await conn.expect_ack()
        await conn.app.connected()
    size = min(announced, ETHERNET - HEADERS[tcp.family])
    await conn.deliver(DATA[:size])


@verifies("RFC9293:MAY-3", "RFC9293:MUST-67", needs=("app", "options:TCP_MAXSEG"))
async def test_size_that_is_the_default_may_be_announced_too(tcp: Case) -> None:
    """The default MSS may be announced, too.

    The application limits the target's segments to the default size, 536 octets or 1220, and opens. The SYN may
    then do without the option; where it has it, the size must be that one.
    """
    size = DEFAULT[tcp.family]
    conn = await tcp.connect(options=[("tcp", "TCP_MAXSEG", size)])
    received = await conn.expect(SYN, length=0)
    option = opt.find(received.segment.option_list, opt.MSS)
    tcp.choice("Maximum Segment Size of the default", "left out" if option is None else "sent", ["sent", "left out"])
    if option is not None:
        assert option == opt.mss(size), f"announced is {option}, the application asked for {size}"
