"""RFC 9293 section 3.1: the header of segments that the target sends and takes: checksum, data offset, reserved bits."""

from dataclasses import replace

import pytest

from conformance.api import (
    ACK,
    FIN,
    KINDS,
    NO_FLAGS,
    PSH,
    RST,
    SYN,
    Case,
    Expectation,
    Flags,
    Kind,
    Received,
    Segment,
    Seq,
    State,
    app_accepts,
    opt,
    verifies,
)
from conformance.wire.segment import internet_checksum

DATA = b"forty-two octets, or about as many as that"


EVERY_KIND = pytest.mark.parametrize("kind", [pytest.param(one, id=name) for name, one in KINDS.items()])


def right_checksum(segment: Segment) -> int:
    """Return the checksum that the segment must have."""
    return int.from_bytes(replace(segment, checksum=None).header()[16:18], "big")


# Checksum


async def one_of_each(tcp: Case) -> list[Received]:
    """Return the segments of three connections: each kind of segment, and data of even and odd length."""
    seen = []
    conn = await tcp.listen()
    await conn.send(SYN)
    seen.append(await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0))
    await conn.send(ACK)
    await app_accepts(conn)
    for data in (DATA, DATA[1:], b"\0", b"\xff\xff"):
        await conn.app.send(data)
        seen.append(await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data))
        await conn.send(ACK)
    await conn.send(ACK | PSH, payload=DATA)
    seen.append(await conn.expect_ack())
    await conn.app.shutdown("send")
    seen.append(await conn.expect_fin())

    active = await tcp.connect()
    seen.append(await active.expect(SYN, length=0))
    await active.send(SYN | ACK)
    seen.append(await active.expect_ack())
    await active.app.connected()
    await active.app.abort()
    seen.append(await active.expect(RST | ACK, seq=active.rcv_nxt, ack=active.snd_nxt, length=0))

    closed = await tcp.drive_to(State.CLOSED)
    sent = await closed.inject(SYN)
    seen.append(await closed.expect(RST | ACK, seq=Seq(0), ack=sent.segment.end, length=0))
    return seen


@verifies("claim:C-38")
async def test_only_the_first_syn_has_ack_clear(tcp: Case) -> None:
    """Only the first SYN has ACK clear.

    Two connections and a refused one make the target send each kind of segment. All but the SYN that opens actively
    must have ACK set.
    """
    without = [str(one.segment.flags) for one in await one_of_each(tcp) if not one.segment.flags & ACK]
    assert without == ["SYN"], f"segments without ACK: {', '.join(without)}"


@verifies("RFC9293:MUST-2")
async def test_every_segment_of_the_target_has_a_right_checksum(tcp: Case) -> None:
    """Every segment of the target has a right checksum.

    Two connections and a refused one make the target send each kind of segment, with data of even and odd length.
    Each must carry the checksum of its pseudo-header, header and data.
    """
    for received in await one_of_each(tcp):
        segment = received.segment
        right = right_checksum(segment)
        assert (right - (segment.checksum or 0)) % 0xFFFF == 0, (
            f"{segment.flags} has checksum {segment.checksum}, not {right}"
        )


@EVERY_KIND
@verifies("RFC9293:MUST-3", "claim:C-30")
async def test_segment_with_a_wrong_checksum_is_not_processed(tcp: Case, kind: Kind) -> None:
    """A segment with a wrong checksum is not processed.

    A segment comes whose checksum is wrong by one bit, and then the same with the right one. The target must do
    nothing for the first, and take the second.
    """
    conn = await tcp.drive_to(kind.state, by="passive")
    segment = conn.segment(kind.flags, payload=kind.payload)
    await conn.inject(kind.flags, payload=kind.payload, checksum=right_checksum(segment) ^ 0x0100, text="one bit wrong")
    await conn.silence()
    await kind.confirm(conn, kind.state)
    await kind.is_taken(conn)


@pytest.mark.parametrize("wrong", ["zero", "complement", "no-pseudo-header", "octets-swapped"])
@verifies("RFC9293:MUST-3", "claim:C-30")
async def test_checksum_that_is_wrong_in_a_common_way_is_noticed(tcp: Case, wrong: str) -> None:
    """A common mistake in the checksum is noticed.

    Data comes with a checksum as senders get it wrong: none at all, not complemented, without the pseudo-header,
    swapped. The checksum is never optional: the target must do nothing for it, and take the data when it comes
    right.
    """
    kind = KINDS["data"]
    conn = await tcp.drive_to(kind.state)
    segment = conn.segment(kind.flags, payload=kind.payload)
    right = right_checksum(segment)
    values = {
        "zero": 0,
        "complement": right ^ 0xFFFF,
        "no-pseudo-header": internet_checksum(replace(segment, checksum=0).header()),
        "octets-swapped": right << 8 & 0xFFFF | right >> 8,
    }
    # Two octets that are the same are right in either order.
    value = values[wrong] if values[wrong] != right else right ^ 1
    await conn.inject(kind.flags, payload=kind.payload, checksum=value, text=f"checksum: {wrong}")
    await conn.silence()
    await kind.is_taken(conn)


# Data offset


@verifies("RFC9293:3.1-data-offset", "RFC9293:MUST-5", "claim:C-35")
async def test_data_begins_where_the_data_offset_says(tcp: Case) -> None:
    """Data begins where the Data Offset says.

    Data comes behind headers of 5 to 15 words, filled with No-Operation. The target must acknowledge and deliver
    the data alone, whatever the header's length.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    for words in range(5, 16):
        data = bytes((words,)) * words
        await conn.send(ACK | PSH, payload=data, options=bytes((opt.NOP,)) * 4 * (words - 5))
        await conn.expect_ack()
        got = await conn.app.receive(len(data))
        assert got == data, f"behind a header of {words} words the application read {got!r}, sent was {data!r}"


@pytest.mark.parametrize(
    "offset, payload",
    [
        pytest.param(0, DATA, id="0-words"),
        pytest.param(1, DATA, id="1-word"),
        pytest.param(4, DATA, id="4-words"),
        pytest.param(6, b"", id="6-words-of-5"),
        pytest.param(15, b"", id="15-words-of-5"),
        pytest.param(15, DATA[:36], id="15-words-of-14"),
    ],
)
@verifies("RFC9293:3.1-data-offset", "claim:C-35")
async def test_impossible_data_offset_is_not_processed(tcp: Case, offset: int, payload: bytes) -> None:
    """A segment with an impossible Data Offset is not processed.

    A segment comes whose header would be shorter than the least, or longer than the whole segment. The target must
    not take it as part of the connection, and must go on as if it had not come.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.inject(FIN | ACK | PSH, payload=payload, data_offset=offset)
    await conn.silence()
    await conn.confirm(State.ESTABLISHED)
    await conn.deliver(DATA)


@pytest.mark.parametrize("offset", [4, 15])
@verifies("RFC9293:3.1-data-offset")
async def test_syn_with_an_impossible_data_offset_opens_nothing(tcp: Case, offset: int) -> None:
    """A SYN with a Data Offset of {offset} words opens nothing.

    A SYN comes for a listener whose header would be shorter than the least, or longer than the whole segment. The
    target must not open a connection for it, and must open one for the SYN that follows.
    """
    conn = await tcp.drive_to(State.LISTEN)
    await conn.inject(SYN, options=b"", data_offset=offset)
    await conn.silence()
    await KINDS["syn"].is_taken(conn)


# Reserved bits


@verifies("RFC9293:3.1-reserved", "RFC9293:MUST-68", "RFC9293:MUST-69")
async def test_reserved_bits_and_padding_of_the_target_are_zero(tcp: Case) -> None:
    """Reserved bits and padding of the target are zero.

    Two connections and a refused one make the target send each kind of segment. It must send the reserved bits as
    zero; every option but End of Option List and No-Operation has a length that fits, and what follows End of
    Option List is zero.
    """
    for received in await one_of_each(tcp):
        segment = received.segment
        assert segment.reserved == 0, f"{segment.flags} has reserved bits {segment.reserved:04b}"
        rest = segment.options
        while rest and rest[0] != opt.EOL:
            if rest[0] == opt.NOP:
                rest = rest[1:]
                continue
            assert len(rest) > 1 and 2 <= rest[1] <= len(rest), (
                f"{segment.flags} has an option without length: {rest!r}"
            )
            rest = rest[rest[1] :]
        assert not any(rest), f"{segment.flags} has {rest!r} where End of Option List and zeros belong"


@EVERY_KIND
@verifies("RFC9293:3.1-reserved")
async def test_reserved_bits_are_ignored(tcp: Case, kind: Kind) -> None:
    """Reserved bits are ignored.

    A segment comes with all the bits set that have no meaning yet. The target must take it as if they were zero.
    """
    conn = await tcp.drive_to(kind.state, by="passive")
    # The lowest of the four is AE, which RFC 9768 gives a meaning to in a SYN.
    await kind.is_taken(conn, reserved=0b1110)


@verifies("RFC9293:3.1-urgent-significant", "claim:C-36")
async def test_urgent_pointer_without_urg_means_nothing(tcp: Case) -> None:
    """An urgent pointer without URG means nothing.

    Data comes without URG, but with an urgent pointer that would lie inside, at the end of and behind it. The
    target must deliver every octet in its place.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    for pointer in (1, len(DATA), 0xFFFF):
        await conn.send(ACK | PSH, payload=DATA, urgent=pointer)
        await conn.expect_any(Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0))
        got = await conn.app.receive(len(DATA))
        assert got == DATA, f"with an urgent pointer of {pointer} the application read {got!r}, sent was {DATA!r}"


# Section 3.10.7.4, fifth check: the ACK bit


@pytest.mark.parametrize("flags", [NO_FLAGS, FIN], ids=["data", "data-and-fin"])
@verifies("RFC9293:3.10.7.4-no-ack")
async def test_text_without_ack_bit_is_dropped(tcp: Case, flags: Flags) -> None:
    """Data without the ACK bit is dropped.

    On an open connection comes text, alone or with FIN, in a segment whose ACK bit is off. The target must drop it:
    it says nothing, and takes the same text when it comes with ACK.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.inject(flags, payload=b"no ACK bit", ack=0)
    await conn.silence(for_=0.25)
    await conn.deliver(b"with an ACK bit")
    await conn.confirm(State.ESTABLISHED)
