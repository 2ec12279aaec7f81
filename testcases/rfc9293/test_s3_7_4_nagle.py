"""RFC 9293 sections 3.7.4 and 3.9.1.2: when the target sends what its application writes: Nagle, PUSH, full segments."""

import asyncio

from conformance.api import ACK, PSH, SECOND, Bound, Case, Connection, Expectation, State, opt, verifies

SMALL = b"a few octets"
SIZE = 1000
# How long data that waits for an acknowledgment is watched.
WAITS_S = 0.15


async def established(tcp: Case) -> Connection:
    """Return a connection whose segments carry up to SIZE octets, without delays that were asked for."""
    conn = await tcp.listen()
    conn.syn_options = (opt.mss(SIZE),)
    return await tcp.drive_to(State.ESTABLISHED, conn=conn)


async def writes(conn: Connection, *pieces: bytes) -> None:
    """Make the application's send calls in quick succession, before a timer of the target's runs out."""
    await asyncio.gather(*map(conn.app.send, pieces))


@verifies("RFC9293:SHLD-7")
async def test_small_segments_are_coalesced_by_nagle(tcp: Case) -> None:
    """The Nagle algorithm joins small writes into one segment.

    The application writes a few octets, and twice again a few while the first are not acknowledged. The target
    should hold the later ones back until our acknowledgment comes, and then send them in one segment.
    """
    conn = await established(tcp)
    await writes(conn, SMALL, SMALL, SMALL)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=SMALL)
    await conn.silence(for_=WAITS_S)
    await conn.send(ACK, text="acknowledges the first")
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=2 * SMALL)


@verifies("RFC9293:SHLD-7", "RFC9293:SHLD-28")
async def test_full_segment_is_not_held_back_by_nagle(tcp: Case) -> None:
    """The Nagle algorithm does not hold a full segment back.

    The application writes a few octets, and then, before they are acknowledged, a full segment's worth and some.
    The target should send the full segment at once, and hold the rest back until all is acknowledged.
    """
    conn = await established(tcp)
    data = bytes(range(250)) * 5
    await writes(conn, SMALL, data)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=SMALL)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data[:SIZE], label="a full segment:")
    await conn.silence(for_=WAITS_S)
    await conn.send(ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data[SIZE:], label="the rest:")


@verifies("RFC9293:MUST-17", needs=("app", "options:TCP_NODELAY"))
async def test_nagle_can_be_switched_off(tcp: Case) -> None:
    """The Nagle algorithm can be switched off.

    On one of two connections the application has switched the Nagle algorithm off; on both it writes three times.
    There the target must send each piece at once, while nothing is acknowledged; the other connection is not
    concerned.
    """
    conn, second = await established(tcp), await established(tcp)
    await conn.app.option("tcp", "TCP_NODELAY", 1)
    await writes(conn, SMALL, SMALL, SMALL)
    for _ in range(3):
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=SMALL)

    await writes(second, SMALL, SMALL)
    await second.expect(ACK, seq=second.rcv_nxt, ack=second.snd_nxt, payload=SMALL)
    at_once = Expectation(ACK, seq=second.rcv_nxt, ack=second.snd_nxt, payload=SMALL, label="at once:")
    answer = await second.allow(at_once, within=WAITS_S)
    forms = ["held back", "sent at once"]
    tcp.choice("small segment where Nagle was not switched off", forms[answer is not None], forms)


# PUSH


@verifies("RFC9293:MUST-61", "RFC9293:MUST-60", "RFC9293:MAY-15", level="MUST")
async def test_last_segment_of_what_is_queued_is_pushed(tcp: Case) -> None:
    """The last segment of queued data carries PSH.

    The application writes three segments' worth and a bit, by a call that has no PUSH flag. All of it must come
    without another call, and the last segment must carry PSH.
    """
    conn = await established(tcp)
    arrived = await conn.collect_segments(bytes(range(256)) * 13)
    assert arrived[-1].segment.flags & PSH, "the last segment of what was queued carries no PSH"
    await conn.silence()


@verifies("RFC9293:MUST-60", lasts=1)
async def test_what_is_written_is_not_buffered_for_ever(tcp: Case) -> None:
    """Written data is not buffered for ever.

    The application writes one octet, and then nothing more. It must come, whether other data follows or not, and
    carry PSH.
    """
    conn = await established(tcp)
    for octet in (b"a", b"b"):
        await conn.app.send(octet)
        await conn.expect(ACK | PSH, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=octet, within=5)
        await conn.send(ACK)


@verifies("RFC9293:SHLD-27", "RFC9293:MAY-16", level="SHOULD")
async def test_pushed_writes_are_joined_into_full_segments(tcp: Case) -> None:
    """Waiting writes are joined into full segments.

    While a few octets are not acknowledged, the application writes twenty times a hundred octets. The target may
    hold them together. It should then send full segments, not one for each write.
    """
    conn = await established(tcp)
    data = bytes(range(100)) * 20
    await writes(conn, SMALL, *[data[:100]] * 20)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=SMALL)
    await conn.send(ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data[:SIZE], label="ten writes:")
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data[SIZE:], label="the other ten:")
    tcp.choice("writes without a PUSH flag", "aggregated", ["aggregated", "sent one by one"])


@verifies("RFC9293:3.10.7.4-text", "RFC9293:MUST-40", "RFC1122:4.2.3.2-half-second")
async def test_data_without_push_is_delivered(tcp: Case) -> None:
    """Data without PSH is delivered.

    Data comes in two segments, neither of which carries PSH. The target must acknowledge it within half a second,
    and the application must get it without waiting for a PUSH.
    """
    conn = await established(tcp)
    for piece in (b"one half", b"and the other"):
        sent = await conn.send(ACK, payload=piece)
        answer = await conn.expect_ack()
        taken_s = (answer.at_ns - sent.at_ns) / SECOND
        bound = Bound(0, 0.5, "RFC 9293, 3.8.6.3 (MUST-40)")
        tcp.check_timing("delayed-ack", taken_s, bound, how="from our data to its acknowledgment")
        assert await conn.app.receive(len(piece)) == piece, "the application was given something else"
