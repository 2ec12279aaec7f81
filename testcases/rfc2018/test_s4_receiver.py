"""RFC 2018 sections 2 to 4 and 8: SACK-permitted, and the blocks by which a receiver says what it holds."""

from typing import Any

import pytest

from conformance.api import (
    ACK,
    SYN,
    Case,
    Connection,
    Expectation,
    Offer,
    Received,
    Seq,
    State,
    app_sends,
    opt,
    verifies,
)

NEEDS = ("app", "sack")
SACK = Offer(sack=True)
BY = pytest.mark.parametrize("by", ["passive", "active"])
SIZE = 500
NO_PERMISSION = ((opt.SACK_PERMITTED, None),)
Block = tuple[Seq, Seq]


class Stream:
    """Our data in pieces of SIZE octets by their places, and the SACK blocks that report them."""

    def __init__(self, conn: Connection) -> None:
        self.conn, self.base = conn, conn.snd_nxt

    def block(self, first: int, behind: int) -> Block:
        """Return the block of the pieces from `first` to the one before `behind`."""
        return self.base + first * SIZE, self.base + behind * SIZE

    async def piece(self, place: int) -> None:
        """Send the piece at that place without advancing the connection's numbers."""
        payload = bytes((place,)) * SIZE
        await self.conn.inject(ACK, seq=self.base + place * SIZE, payload=payload, text=f"piece {place}")

    async def acknowledged(self, pieces: int, *blocks: Block, **fields: Any) -> Received:
        """Expect the target's ACK of `count` pieces with these blocks: the first as it is, the others in any order."""
        got = await self.conn.expect(
            ACK, seq=self.conn.rcv_nxt, ack=self.base + pieces * SIZE, length=0, within=1.5, **fields
        )
        reported = opt.blocks(got.segment.option_list)
        assert reported[:1] == blocks[:1], (
            f"the first block is {self.describe(reported[:1])}, not {self.describe(blocks[:1])}"
        )
        others, wanted = reported[1:], blocks[1:]
        assert sorted(map(self.describe, others)) == sorted(map(self.describe, wanted)), (
            f"the other blocks are {self.describe(others)}, not {self.describe(wanted)}"
        )
        return got

    def describe(self, blocks: Any) -> str:
        """Return blocks by their pieces' places: `2..3`."""
        pairs = [blocks] if blocks and isinstance(blocks[0], Seq) else blocks
        return ",".join(f"{(a - self.base) / SIZE:g}..{(b - self.base) / SIZE:g}" for a, b in pairs) or "none"

    async def delivered(self, pieces: int) -> None:
        """See that the application reads that many pieces, in order."""
        got = await self.conn.app.receive(pieces * SIZE)
        assert got == b"".join(bytes((place,)) * SIZE for place in range(pieces)), "the application reads other data"


async def streaming(tcp: Case, *, by: str = "passive", offer: Offer = SACK, iss: int | None = None) -> Stream:
    """Return our data for a new established connection."""
    return Stream(await tcp.drive_to(State.ESTABLISHED, by=by, offer=offer, iss=iss))


# Section 2: SACK-permitted


@BY
@verifies("RFC2018:2-syn", needs=NEEDS)
async def test_syn_has_sack_permitted(tcp: Case, by: str) -> None:
    """The target's SYN permits SACK.

    The target's SYN, or its SYN,ACK to a SYN with the option, carries SACK-permitted. That is how a target that can
    do SACK says so.
    """
    conn = await (tcp.listen(offer=SACK) if by == "passive" else tcp.connect(offer=SACK))
    permitted = ((opt.SACK_PERMITTED, opt.sack_permitted()),)
    if by == "passive":
        await conn.send(SYN)
        await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, options=permitted)
    else:
        await conn.expect(SYN, length=0, options=permitted)
    await conn.complete()
    await conn.confirm(State.ESTABLISHED)


@BY
@verifies("RFC2018:2-only-syn", needs=NEEDS, lasts=1)
async def test_sack_permitted_is_on_no_other_segment(tcp: Case, by: str) -> None:
    """Only SYNs carry SACK-permitted.

    ACKs, data, data again and a FIN of the target, on a connection with SACK. None of them must carry
    SACK-permitted.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, by=by, offer=SACK)
    await conn.send(ACK, payload=b"data")
    await conn.expect_ack(options=NO_PERMISSION)
    await conn.inject(ACK, seq=conn.snd_nxt + 5, payload=b"behind a hole")
    await conn.expect_ack(options=NO_PERMISSION)
    lost = await app_sends(conn, b"lost", options=NO_PERMISSION)
    again = await conn.expect_retransmission(lost, within=4)
    assert opt.find(again.segment.option_list, opt.SACK_PERMITTED) is None, "the retransmission has SACK-permitted"
    await conn.send(ACK)
    await conn.app.shutdown("send")
    await conn.expect_fin(options=NO_PERMISSION)


@pytest.mark.parametrize("ours", [pytest.param(True, id="both"), pytest.param(False, id="the-target-alone")])
@verifies("RFC2018:4-never", "RFC2018:2-syn", needs=NEEDS)
async def test_crossing_syns_and_sack_permitted(tcp: Case, ours: bool) -> None:
    """After crossing SYNs, SACK is used only where both permit it.

    The target's SYN and ours cross; the target's has SACK-permitted, and ours has it too, or not. Data behind a
    hole must be reported by SACK only where both had it.
    """
    conn = await tcp.connect()
    conn.offer(Offer(sack=ours))
    await conn.expect(SYN, length=0, has=(opt.SACK_PERMITTED,))
    await conn.send(SYN)
    await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0)
    await conn.send(ACK)
    await conn.app.connected()
    stream = Stream(conn)
    await stream.piece(1)
    await stream.acknowledged(0, *([stream.block(1, 2)] if ours else []))


# Section 4: what a receiver reports


@BY
@verifies("RFC2018:4-never", needs=NEEDS)
async def test_no_sack_where_we_did_not_permit_it(tcp: Case, by: str) -> None:
    """No SACK option is sent where the peer did not permit it.

    Our SYN, or our SYN,ACK, had no SACK-permitted; then data comes behind a hole. The target must acknowledge it
    without SACK.
    """
    stream = await streaming(tcp, by=by, offer=Offer())
    for place in (1, 3, 5):
        await stream.piece(place)
        await stream.acknowledged(0)
    await stream.piece(0)
    await stream.acknowledged(2)


@BY
@verifies("RFC2018:4-may", "RFC2018:3-number", "RFC2018:4-all", needs=NEEDS)
async def test_data_behind_a_hole_is_reported(tcp: Case, by: str) -> None:
    """Data behind a hole is reported by a SACK block.

    SACK was permitted; the first piece of ours is lost, and the second comes. The target's ACK repeats the number
    that it waits for, and reports the second piece.
    """
    stream = await streaming(tcp, by=by)
    await stream.piece(1)
    await stream.acknowledged(0, stream.block(1, 2))
    await stream.piece(0)
    await stream.acknowledged(2)
    await stream.delivered(2)


@verifies("RFC2018:4-every", "RFC2018:4-first", "RFC2018:3-blocks", level="MUST", needs=NEEDS)
async def test_one_block_grows_with_each_segment(tcp: Case) -> None:
    """The SACK block grows with each segment behind the hole.

    The first of eight pieces is lost, the other seven come in order: case 2 of section 7. Each must be acknowledged
    with one block that reaches from the second piece to the newest.
    """
    stream = await streaming(tcp)
    for place in range(1, 8):
        await stream.piece(place)
        await stream.acknowledged(0, stream.block(1, place + 1))
    await stream.piece(0)
    await stream.acknowledged(8)
    await stream.delivered(8)


@verifies("RFC2018:4-first", "RFC2018:4-many", "RFC2018:3-blocks", needs=NEEDS)
async def test_blocks_of_the_example_with_four_losses(tcp: Case) -> None:
    """SACK blocks are those of RFC 2018's example with four losses.

    Every second of eight pieces is lost; then the fourth comes, and then the second: case 3 of section 7. The
    blocks must be those of the example: the one with the newest segment first, adjacent ones joined.
    """
    stream = await streaming(tcp)
    await stream.piece(0)
    await stream.acknowledged(1)
    await stream.piece(2)
    await stream.acknowledged(1, stream.block(2, 3))
    await stream.piece(4)
    await stream.acknowledged(1, stream.block(4, 5), stream.block(2, 3))
    await stream.piece(6)
    await stream.acknowledged(1, stream.block(6, 7), stream.block(4, 5), stream.block(2, 3))
    await stream.piece(3)
    await stream.acknowledged(1, stream.block(2, 5), stream.block(6, 7))
    await stream.piece(1)
    await stream.acknowledged(5, stream.block(6, 7))
    await stream.piece(5)
    await stream.acknowledged(7)
    await stream.delivered(7)


@verifies("RFC2018:4-included", "RFC2018:4-all", needs=NEEDS)
async def test_data_of_the_target_carries_sack_too(tcp: Case) -> None:
    """Data of the target carries SACK while ours has a hole.

    While a piece of ours is missing, the target's application sends data. That segment should report what is held,
    and once the hole is filled, none should.
    """
    stream = await streaming(tcp)
    conn = stream.conn
    await stream.piece(1)
    await stream.acknowledged(0, stream.block(1, 2))
    await conn.app.send(b"meanwhile")
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=stream.base, payload=b"meanwhile", sack=(stream.block(1, 2),))
    await stream.piece(0)
    await stream.acknowledged(2)
    conn.taken_in(snd_nxt=stream.base + 2 * SIZE)
    await conn.app.send(b"afterwards")
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=b"afterwards", sack=())


@pytest.mark.parametrize(
    ("offer", "most"),
    [
        pytest.param(SACK, 4, id="without-timestamps", marks=verifies("RFC2018:3-four", "RFC2018:4-many", needs=NEEDS)),
        pytest.param(
            Offer(sack=True, timestamps=True),
            3,
            id="with-timestamps",
            marks=verifies("RFC2018:3-three", "RFC2018:4-many", needs=(*NEEDS, "timestamps")),
        ),
    ],
)
async def test_as_many_blocks_as_the_option_space_holds(tcp: Case, offer: Offer, most: int) -> None:
    """An ACK reports as many SACK blocks as there is room for.

    Six pieces come, each behind a hole of its own. Each ACK should report the newest first. Behind it the most
    recent of the others should fill the option space.
    """
    stream = await streaming(tcp, offer=offer)
    blocks: list[Block] = []
    for place in range(1, 13, 2):
        await stream.piece(place)
        blocks.insert(0, stream.block(place, place + 1))
        await stream.acknowledged(0, *blocks[:most])


@verifies("RFC2018:4-repeat", "RFC2018:4-first", level="SHOULD", needs=NEEDS)
async def test_most_recently_reported_blocks_are_repeated(tcp: Case) -> None:
    """SACK repeats the blocks reported most recently.

    Six pieces come, each behind a hole of its own, not in the order of their places; then one of the blocks grows.
    Behind the block that grew should be the others reported most recently, not those with the highest numbers.
    """
    stream = await streaming(tcp)
    order: list[int] = []
    for place in (16, 1, 13, 4, 10, 7):
        await stream.piece(place)
        order.insert(0, place)
        await stream.acknowledged(0, *(stream.block(one, one + 1) for one in order[:4]))
    await stream.piece(5)
    await stream.acknowledged(0, stream.block(4, 6), *(stream.block(one, one + 1) for one in (7, 10, 13)))


@verifies("RFC2018:4-first", "RFC2018:3-blocks", needs=NEEDS)
async def test_block_that_was_no_longer_reported_grows_as_a_whole(tcp: Case) -> None:
    """A block no longer reported grows as a whole.

    Six pieces come, each behind a hole of its own, so that the first is no longer reported; then the one behind it
    comes. The first block must be all the contiguous data around the newest segment, the first piece with it.
    """
    stream = await streaming(tcp)
    conn = stream.conn
    for place in (16, 1, 13, 4, 10, 7):
        await stream.piece(place)
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=stream.base, length=0, has=(opt.SACK,))
    await stream.piece(17)
    await stream.acknowledged(0, stream.block(16, 18), *(stream.block(one, one + 1) for one in (7, 10, 4)))


@verifies("RFC2018:3-blocks", "RFC2018:4-first", needs=NEEDS)
async def test_blocks_that_meet_become_one(tcp: Case) -> None:
    """SACK blocks that meet become a single block.

    Two pieces come with a hole between them, and then the piece that fills it, while one before all is missing. The
    target must report one block: each is isolated from the next by data that has not come.
    """
    stream = await streaming(tcp)
    await stream.piece(1)
    await stream.acknowledged(0, stream.block(1, 2))
    await stream.piece(3)
    await stream.acknowledged(0, stream.block(3, 4), stream.block(1, 2))
    await stream.piece(2)
    await stream.acknowledged(0, stream.block(1, 4))
    await stream.piece(0)
    await stream.acknowledged(4)
    await stream.delivered(4)


@pytest.mark.parametrize(
    "iss",
    [
        pytest.param(2**32 - 1 - 2 * SIZE, id="across-the-wrap"),
        pytest.param(2**31 - 1 - 2 * SIZE, id="across-the-middle"),
    ],
)
@verifies("RFC2018:4-first", "RFC2018:3-blocks", needs=NEEDS)
async def test_blocks_across_the_wrap(tcp: Case, iss: int) -> None:
    """SACK blocks are right where the numbers wrap.

    The numbers of our pieces pass 2^32 (or its middle), and the first is missing. The target must report the blocks
    as anywhere else.
    """
    stream = await streaming(tcp, iss=iss)
    for place in range(1, 4):
        await stream.piece(place)
        await stream.acknowledged(0, stream.block(1, place + 1))
    await stream.piece(5)
    await stream.acknowledged(0, stream.block(5, 6), stream.block(1, 4))
    await stream.piece(0)
    await stream.acknowledged(4, stream.block(5, 6))
    await stream.piece(4)
    await stream.acknowledged(6)
    await stream.delivered(6)


@verifies("RFC2018:3-number", "RFC2018:4-included", needs=NEEDS)
async def test_no_block_once_everything_is_acknowledged(tcp: Case) -> None:
    """No SACK block is sent once everything is acknowledged.

    Pieces come in order, one by one. No ACK should carry SACK: each acknowledges the highest number that the target
    has.
    """
    stream = await streaming(tcp)
    for place in range(4):
        await stream.piece(place)
        await stream.acknowledged(place + 1)


# Section 8: reneging


@verifies("RFC2018:8-newest", "RFC2018:4-first", needs=NEEDS)
async def test_first_block_reports_the_newest_segment(tcp: Case) -> None:
    """The first SACK block holds the newest segment.

    Twenty pieces come behind holes, in an order that jumps back and forth. Each ACK's first block must hold the
    segment that has just come, whatever becomes of it.
    """
    stream = await streaming(tcp)
    conn = stream.conn
    places = [place for pair in zip(range(1, 21, 2), range(39, 19, -2), strict=True) for place in pair]
    for place in places:
        await stream.piece(place)
        got = await conn.expect(ACK, seq=conn.rcv_nxt, ack=stream.base, length=0, has=(opt.SACK,))
        first = opt.blocks(got.segment.option_list)[0]
        assert first == stream.block(place, place + 1), (
            f"piece {place} came, the first block is {stream.describe(first)}"
        )


@verifies("RFC2018:8-held", "RFC2018:8-may", level="MUST", needs=NEEDS)
async def test_what_is_reported_is_held(tcp: Case) -> None:
    """Data reported by SACK is held and not needed again.

    Pieces are reported, and then the ones before them come, but the reported ones are not sent again. What the last
    ACK reports must be held: as soon as the holes are filled the target acknowledges and delivers it all.
    """
    stream = await streaming(tcp)
    conn = stream.conn
    for place in (1, 3, 5):
        await stream.piece(place)
        got = await conn.expect(ACK, seq=conn.rcv_nxt, ack=stream.base, length=0, has=(opt.SACK,))
    reported = opt.blocks(got.segment.option_list)
    outcome = "kept" if len(reported) == 3 else "dropped in part"
    tcp.choice("data that was reported", outcome, ["kept", "dropped in part"])
    held = {place for place in (1, 3, 5) if stream.block(place, place + 1) in reported}
    sent, edge = {0, *held}, 0
    while edge in sent:
        edge += 1
    await stream.piece(0)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=stream.base + edge * SIZE, length=0)
    for place in [place for place in range(1, 5) if place not in held]:
        await stream.piece(place)
        sent.add(place)
        while edge in sent:
            edge += 1
        await conn.expect_any(Expectation(ACK, seq=conn.rcv_nxt, ack=stream.base + edge * SIZE, length=0), within=1.5)
    await stream.delivered(edge)
