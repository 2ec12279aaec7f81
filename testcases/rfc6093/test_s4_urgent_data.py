"""RFC 6093: where the urgent pointer points, and how urgent data reaches the application."""

import pytest

from conformance.api import ACK, PSH, URG, AppError, Case, Connection, State, app_sends, verifies

NEEDS = ("app", "urgent")


async def urgent(conn: Connection, payload: bytes, pointer: int) -> None:
    """Send urgent data, which the target must acknowledge. The pointer counts from the segment's first octet."""
    await conn.send(ACK | PSH | URG, payload=payload, urgent=pointer)
    await conn.expect_ack()


async def in_line(tcp: Case) -> Connection:
    """Return a connection whose application asks for urgent data in line."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.option("socket", "SO_OOBINLINE", 1)
    return conn


# As sender


@pytest.mark.parametrize("data", [pytest.param(b"!", id="one-octet"), pytest.param(b"interrupt!", id="ten-octets")])
@verifies("RFC6093:4-pointer", "RFC6093:5-support", "RFC6093:2.1-flag", level="MUST", needs=NEEDS)
async def test_urgent_pointer_points_behind_the_urgent_data(tcp: Case, data: bytes) -> None:
    """The urgent pointer points behind the urgent data.

    The target's application sends urgent data. The segment must have URG, and an urgent pointer to the octet that
    follows the urgent data.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.send(data, urgent=True)
    await conn.expect(ACK | URG, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data, urgent=len(data))
    await conn.send(ACK)
    await app_sends(conn, b"normal again")


@verifies("RFC6093:2.3-length", "RFC6093:4-pointer", needs=NEEDS)
async def test_urgent_pointer_reaches_beyond_a_segment(tcp: Case) -> None:
    """The urgent pointer reaches beyond a segment.

    The target's application sends 4000 octets of urgent data, more than a segment holds. Each segment in front of
    the end must have URG, and a pointer to the octet that follows the last.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    left = 4000
    await conn.app.send(bytes(left), urgent=True)
    while left:
        received = await conn.expect(ACK | URG, seq=conn.rcv_nxt, ack=conn.snd_nxt, urgent=left)
        left -= received.segment.length
        await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


# As receiver


@pytest.mark.parametrize(
    "length",
    [pytest.param(1, id="one-octet"), pytest.param(100, id="100-octets"), pytest.param(1400, id="1400-octets")],
)
@verifies("RFC6093:6-in-line", "RFC6093:2.1-in-line", "RFC6093:2.3-length", needs=NEEDS)
async def test_urgent_data_is_delivered_in_line(tcp: Case, length: int) -> None:
    """Urgent data is delivered in line.

    The application has set SO_OOBINLINE; urgent data of ours comes between normal data. It must read every octet,
    in order.
    """
    conn = await in_line(tcp)
    data = bytes(number % 251 for number in range(length))
    await conn.deliver(b"before ")
    await urgent(conn, data, length)
    await conn.send(ACK | PSH, payload=b" after")
    await conn.expect_ack(within=1.5)
    got = await conn.app.receive(length + 6)
    assert got == data + b" after", f"the application read {len(got)} other octets"


@verifies("RFC6093:2.3-length", "RFC6093:6-in-line", needs=NEEDS)
async def test_urgent_data_over_several_segments_is_delivered_in_line(tcp: Case) -> None:
    """Urgent data over several segments is delivered in line.

    The application has set SO_OOBINLINE; 4200 octets of ours are urgent, in three segments. It must read every
    octet, in order.
    """
    conn = await in_line(tcp)
    data = bytes(number % 251 for number in range(4200))
    for at in range(0, 4200, 1400):
        await urgent(conn, data[at : at + 1400], 4200 - at)
    assert await conn.app.receive(4200) == data


@verifies("RFC6093:5-support", "RFC6093:2.1-in-line", level="MUST", needs=NEEDS)
async def test_urgent_octet_is_delivered(tcp: Case) -> None:
    """The urgent octet is delivered, in line or out of band.

    The application has set nothing; urgent data of ours comes between normal data. It must get every octet: all in
    line, or the last urgent one out of band, where it may be read.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.deliver(b"before ")
    await urgent(conn, b"urgen!", 6)
    await conn.send(ACK | PSH, payload=b" after")
    await conn.expect_ack(within=1.5)
    forms = ["in line", "the last octet out of band"]
    try:
        beside = await conn.app.receive_urgent(wait_s=0.5)
    except AppError:
        beside = b""
    tcp.choice("urgent data", forms[bool(beside)], forms)
    wanted = b"urgen after" if beside else b"urgen! after"
    got = b""
    while len(got) < len(wanted) and (more := await conn.app.receive(1)):
        got += more
    assert beside in (b"", b"!"), f"out of band came {beside!r}"
    assert got == wanted, f"the application read {got!r}, it had to read {wanted!r}"


@pytest.mark.parametrize(
    ("setting", "reading"),
    [
        pytest.param("0", "the octet behind", id="pointer-behind", marks=verifies("RFC6093:4-pointer", needs=NEEDS)),
        pytest.param(
            "1",
            "the last octet",
            id="pointer-at-the-last",
            marks=verifies("RFC6093:3.2-readings", needs=(*NEEDS, "settings"), sysctl={"net.ipv4.tcp_stdurg": "1"}),
        ),
    ],
)
async def test_urgent_pointer_of_ours_is_read(tcp: Case, setting: str, reading: str) -> None:
    """The urgent octet is in front of the pointer, or at it.

    The urgent pointer of our segment, counted from its first octet, is 3; its data is "abcd". The urgent octet must
    be "c", the one in front of the pointer; with the setting of RFC 1122 it is "d", where it points.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await urgent(conn, b"abcd", 3)
    beside = await conn.app.receive_urgent()
    readings = {b"c": "the octet behind", b"d": "the last octet"}
    taken = readings.get(beside, "something else")
    assert taken == reading, f"with tcp_stdurg={setting} the pointer is read as {taken}, not as {reading}"
    await conn.send(ACK | PSH, payload=b"e")
    await conn.expect_ack(within=1.5)


@verifies("RFC6093:2.1-urgent-mode", "RFC6093:5-support", level="MUST", needs=NEEDS)
async def test_application_is_told_of_each_urgent_octet(tcp: Case) -> None:
    """The application learns of each urgent octet.

    Urgent data of ours comes three times, and the application waits for it each time. It must be told each time,
    and get the very octet.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    for octet in (b"1", b"2", b"3"):
        await urgent(conn, octet, 1)
        got = await conn.app.receive_urgent()
        assert got == octet, f"the application got {got!r}, not {octet!r}"
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC6093:2.1-urgent-mode", level="text", needs=NEEDS)
async def test_urgent_pointer_ahead_of_the_data_counts_when_the_data_comes(tcp: Case) -> None:
    """An urgent pointer ahead of the data counts when the data arrives.

    A segment of ours announces urgent data that comes only with the next one, which has no URG. The application
    must be told, and get the octet in front of the pointer.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await urgent(conn, b"ab", 5)
    await conn.send(ACK | PSH, payload=b"cde")
    await conn.expect_ack(within=1.5)
    octet = await conn.app.receive_urgent()
    assert octet == b"e", f"the urgent octet is {octet!r}, not b'e'"
    assert await conn.app.receive(4) == b"abcd"


@pytest.mark.parametrize("pointer", [pytest.param(2, id="inside"), pytest.param(60_000, id="far-ahead")])
@verifies("RFC6093:2.1-flag", "RFC6093:6-cleared", needs=NEEDS)
async def test_urgent_pointer_without_urg_means_nothing(tcp: Case, pointer: int) -> None:
    """An urgent pointer without URG leaves the data in line.

    Data of ours has an urgent pointer, but no URG, as behind a middlebox that clears it. The application must read
    all of it in line.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(ACK | PSH, payload=b"abcd", urgent=pointer)
    await conn.expect_ack()
    assert await conn.app.receive(4) == b"abcd"


@verifies("RFC6093:5-support", level="MUST", needs=NEEDS)
async def test_urg_without_data_is_harmless(tcp: Case) -> None:
    """URG without data does no harm.

    ACKs of ours have URG and no data: with a pointer of zero, and one far ahead; then normal data comes. The target
    must stay ESTABLISHED, and the application read the data, which ends before the pointer, in line.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.inject(ACK | URG, urgent=0)
    await conn.inject(ACK | URG, urgent=40_000)
    await conn.confirm(State.ESTABLISHED)
    await conn.deliver(b"normal data")
