"""RFC 9293 section 3.8.5: urgent data, sent and received."""

import asyncio

import pytest

from conformance.api import (
    ACK,
    PSH,
    URG,
    Case,
    Connection,
    Expectation,
    State,
    Violation,
    app_reads,
    app_sends,
    verifies,
)

LONG = bytes(range(256)) * 24
INLINE = [("socket", "SO_OOBINLINE", 1)]


async def learns_of(conn: Connection, octet: bytes) -> None:
    """See that the application learns of urgent data that ends with that octet, and can read it out of band."""
    got = await conn.app.receive_urgent()
    if got != octet:
        raise Violation(f"the urgent data ends with {got!r} for the application, sent was {octet!r}")


# Sent by the target


@pytest.mark.parametrize("data", [pytest.param(b"!", id="one-octet"), pytest.param(b"urgent", id="six-octets")])
@verifies("RFC9293:MUST-30", "RFC9293:MUST-62", "claim:C-36", needs=("app", "urgent"))
async def test_urgent_pointer_names_the_octet_after_the_urgent_data(tcp: Case, data: bytes) -> None:
    """The urgent pointer names the octet after the urgent data.

    The application writes data, and then urgent data. The segment with the urgent data must carry URG, and its
    urgent pointer must lead to the octet that follows them.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.collect(b"not urgent")
    await conn.app.send(data, urgent=True)
    await conn.expect(
        ACK | URG, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data, urgent=len(data), label="urgent data:"
    )
    await conn.send(ACK)
    await app_sends(conn, b"calm again")


@verifies("RFC9293:MUST-31", "RFC9293:MUST-62", needs=("app", "urgent"))
async def test_urgent_data_longer_than_a_segment_is_sent(tcp: Case) -> None:
    """Urgent data longer than a segment is sent.

    The application writes 6144 octets as urgent data. Every segment of them must carry URG and point to the one
    octet after their end, and all of them must come.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    first = conn.rcv_nxt
    await conn.app.send(LONG, urgent=True)
    got, pointed = b"", 0
    while len(got) < len(LONG):
        calm = Expectation(ACK, seq=first + len(got), ack=conn.snd_nxt, label="data before it is known to be urgent:")
        urgent = Expectation(
            ACK | URG, seq=first + len(got), ack=conn.snd_nxt, urgent=len(LONG) - len(got), label="urgent data:"
        )
        which, received = await conn.expect_any(urgent, calm)
        pointed += which == 0
        got += received.segment.payload
        await conn.send(ACK)
    assert got == LONG, "the urgent data came changed"
    # Where the call fills one segment before it marks the data, that one has left without URG.
    assert pointed, "no segment of the urgent data carries URG"
    await conn.silence()


# Received by the target


@verifies("RFC9293:MUST-32", "RFC9293:MUST-30", "RFC9293:3.10.7.4-urg", needs=("app", "urgent"))
async def test_application_is_told_of_urgent_data_while_it_waits(tcp: Case) -> None:
    """A waiting application learns of urgent data at once.

    The application waits to be told; urgent data comes behind data that it has not read, and later more. It must be
    told at once, each time that the urgent pointer advances, and not before.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(ACK | PSH, payload=b"calm")
    await conn.expect_ack()
    await conn.app.fails("receive", "timeout", wait_s=0.2, count=1, urgent=True)
    for data in (b"first!", b"again?"):
        waiting = asyncio.ensure_future(learns_of(conn, data[-1:]))
        await conn.send(ACK | PSH | URG, payload=data, urgent=len(data))
        await conn.expect_ack()
        await waiting


@verifies("RFC9293:MUST-32", "RFC9293:MUST-30", "RFC9293:3.10.7.4-urg", needs=("app", "urgent"))
async def test_urgent_pointer_ahead_of_the_data_counts(tcp: Case) -> None:
    """An urgent pointer beyond its segment counts.

    A segment with URG points ten octets beyond its own end; what it points to comes later, without URG. The target
    must take the pointer as it came: with the octet that it names, the application is told.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(ACK | PSH | URG, payload=b"0123", urgent=14)
    await conn.expect_ack()
    await conn.send(ACK | PSH, payload=b"456789abcd")
    await conn.expect_ack()
    await learns_of(conn, b"d")
    await app_reads(conn, b"0123456789abc")


@verifies("RFC9293:MUST-31", "RFC9293:MUST-30", "claim:C-36", needs=("app", "urgent"))
async def test_urgent_data_of_many_segments_is_delivered(tcp: Case) -> None:
    """Urgent data of many segments is delivered.

    6144 octets of urgent data come in segments of 1024, each with URG and the same end; the application reads in
    line. It must get every octet in order.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, options=INLINE)
    for at in range(0, len(LONG), 1024):
        await conn.send(ACK | PSH | URG, payload=LONG[at : at + 1024], urgent=len(LONG) - at)
        await conn.expect_ack()
    await app_reads(conn, LONG)


@verifies("RFC9293:MUST-33", needs=("app", "urgent", "urgent-mark"))
async def test_application_learns_whether_urgent_data_remains(tcp: Case) -> None:
    """The application can tell where the urgent data ends.

    Five octets come, of which the fourth ends the urgent data; the application reads them bit by bit. It must be
    able to tell where the urgent data ends: a read stops there, and the mark is at that place alone.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, options=INLINE)
    await conn.send(ACK | PSH | URG, payload=b"abc!z", urgent=4)
    await conn.expect_ack()
    seen = []
    for count in (2, 1, 1, 1):
        await conn.app.receive(count, maximum=count)
        seen.append(await conn.app.at_mark())
    assert seen == [False, True, False, False], f"after 2, 3, 4 and 5 octets the mark was at {seen}"
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(
    "pointer", [pytest.param(0, id="zero"), pytest.param(0xFFFF, id="far-ahead"), pytest.param(1, id="first-octet")]
)
@verifies("RFC9293:MUST-30", needs=("app", "urgent"))
async def test_odd_urgent_pointer_does_no_harm(tcp: Case, pointer: int) -> None:
    """An odd urgent pointer does no harm.

    Data comes with URG and a pointer of zero, to its first octet, or far beyond the window. A receiver should be
    robust to that: the target must acknowledge the data, deliver them in line, and go on.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, options=INLINE)
    await conn.send(ACK | PSH | URG, payload=b"abcdef", urgent=pointer)
    await conn.expect_ack()
    await app_reads(conn, b"abcdef")
    await conn.deliver(b"and so on")
