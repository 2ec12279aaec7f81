"""RFC 2883 section 4: D-SACK, a first block that reports data which came twice."""

from typing import Any

from conformance.api import ACK, Case, Connection, Offer, Seq, State, opt, verifies

NEEDS = ("app", "sack")
SACK = Offer(sack=True)
FORMS = ["reported by the first block", "not reported"]
Block = tuple[Seq, Seq]


class Stream:
    """Our data by its offset, and the SACK blocks that report it."""

    def __init__(self, tcp: Case, conn: Connection) -> None:
        self.tcp, self.conn, self.base = tcp, conn, conn.snd_nxt

    def block(self, left: int, right: int) -> Block:
        """Return the block of the octets from `left` to the one before `right`."""
        return self.base + left, self.base + right

    async def send(self, left: int, right: int, **fields: Any) -> None:
        """Send those octets without advancing the connection's numbers."""
        payload = bytes(offset % 251 for offset in range(left, right))
        await self.conn.inject(
            ACK, seq=self.base + left, payload=payload, text=f"octets {left} to {right - 1}", **fields
        )

    async def acknowledged(self, upto: int, *blocks: tuple[int, int]) -> None:
        """Expect an ACK up to that octet, with exactly these blocks in this order."""
        wanted = tuple(self.block(*one) for one in blocks)
        await self.conn.expect(ACK, seq=self.conn.rcv_nxt, ack=self.base + upto, length=0, sack=wanted, within=1.5)

    async def duplicate(self, upto: int, twice: tuple[int, int], *held: tuple[int, int]) -> None:
        """Expect an ACK up to that octet: a block for the duplicate if the target does D-SACK, then what it holds."""
        got = await self.conn.expect(ACK, seq=self.conn.rcv_nxt, ack=self.base + upto, length=0)
        reported = opt.blocks(got.segment.option_list)
        blocks = tuple(self.block(*one) for one in held)
        forms = [(self.block(*twice), *blocks), blocks]
        shown = ", ".join(f"{left - self.base}..{right - self.base}" for left, right in reported) or "none"
        assert reported in forms, f"the blocks are {shown}, not {twice[0]}..{twice[1]} and then {held}"
        self.tcp.choice("duplicate", FORMS[forms.index(reported)], FORMS)

    async def delivered(self, count: int) -> None:
        """See that the application reads that many octets, each once."""
        got = await self.conn.app.receive(count)
        assert got == bytes(offset % 251 for offset in range(count)), "the application reads other data"


async def streaming(tcp: Case, offer: Offer = SACK) -> Stream:
    """Return our data for a new established connection with SACK."""
    return Stream(tcp, await tcp.drive_to(State.ESTABLISHED, offer=offer))


@verifies("RFC2883:4-first", "RFC2883:4-edges", needs=NEEDS)
async def test_duplicate_below_the_acknowledgment(tcp: Case) -> None:
    """D-SACK reports a duplicate below the acknowledgment.

    A segment that was acknowledged comes again: example 1. A target that does D-SACK reports it, and it alone, in
    the first block.
    """
    stream = await streaming(tcp)
    for left in (0, 400):
        await stream.send(left, left + 400)
        await stream.acknowledged(left + 400)
    await stream.send(0, 400)
    await stream.duplicate(800, (0, 400))
    await stream.delivered(800)


@verifies("RFC2883:4-first", "RFC2883:4-more", needs=NEEDS)
async def test_duplicate_below_the_acknowledgment_while_data_is_missing(tcp: Case) -> None:
    """D-SACK reports an old duplicate ahead of data behind a hole.

    Data is held behind a hole when a segment that was acknowledged comes again: example 2. The first block reports
    the duplicate, the next what is held.
    """
    stream = await streaming(tcp)
    for left in (0, 400):
        await stream.send(left, left + 400)
        await stream.acknowledged(left + 400)
    await stream.send(1200, 1600)
    await stream.acknowledged(800, (1200, 1600))
    await stream.send(0, 400)
    await stream.duplicate(800, (0, 400), (1200, 1600))
    await stream.send(800, 1200)
    await stream.acknowledged(1600)
    await stream.delivered(1600)


@verifies("RFC2883:4-larger", "RFC2883:4-edges", needs=NEEDS)
async def test_duplicate_of_data_behind_a_hole(tcp: Case) -> None:
    """D-SACK reports a duplicate within a larger block.

    Two segments are held behind a hole when the second comes again: example 3. The first block reports the
    duplicate, the second the larger block that it lies in.
    """
    stream = await streaming(tcp)
    await stream.send(400, 800)
    await stream.acknowledged(0, (400, 800))
    await stream.send(800, 1200)
    await stream.acknowledged(0, (400, 1200))
    await stream.send(800, 1200)
    await stream.duplicate(0, (800, 1200), (400, 1200))
    await stream.send(0, 400)
    await stream.acknowledged(1200)
    await stream.delivered(1200)


@verifies("RFC2883:4-edges", "RFC2883:4-first", needs=NEEDS)
async def test_part_of_a_segment_is_a_duplicate(tcp: Case) -> None:
    """D-SACK reports the part of a segment that is a duplicate.

    A segment comes whose first half has come before; its second half fills a hole: example 4. The first block
    reports the first half alone.
    """
    stream = await streaming(tcp)
    await stream.send(800, 1200)
    await stream.acknowledged(0, (800, 1200))
    await stream.send(0, 400)
    await stream.acknowledged(400, (800, 1200))
    await stream.send(0, 800)
    await stream.duplicate(1200, (0, 400))
    await stream.delivered(1200)


@verifies("RFC2883:4.2-first", "RFC2883:4-edges", needs=NEEDS)
async def test_two_parts_of_a_segment_are_duplicates(tcp: Case) -> None:
    """D-SACK reports the first of two duplicate parts.

    A segment comes whose first and last thirds have come before; it fills the hole between them: example 5. The
    first block reports the first of the duplicate parts, and the next what is held beyond.
    """
    stream = await streaming(tcp)
    await stream.send(1600, 2000)
    await stream.acknowledged(0, (1600, 2000))
    await stream.send(0, 400)
    await stream.acknowledged(400, (1600, 2000))
    await stream.send(800, 1200)
    await stream.acknowledged(400, (800, 1200), (1600, 2000))
    await stream.send(0, 1200)
    await stream.duplicate(1200, (0, 400), (1600, 2000))
    await stream.send(1200, 1600)
    await stream.acknowledged(2000)
    await stream.delivered(2000)


@verifies("RFC2883:4.2-first", "RFC2883:4-larger", "RFC2883:4-more", needs=NEEDS)
async def test_two_parts_of_a_segment_behind_a_hole_are_duplicates(tcp: Case) -> None:
    """D-SACK reports the first of two duplicate parts behind a hole.

    Behind a hole a segment comes whose first and second thirds have come before: example 6. The first block reports
    the first of the duplicate parts, the second the larger block, and the third the rest.
    """
    stream = await streaming(tcp)
    await stream.send(2000, 2400)
    await stream.acknowledged(0, (2000, 2400))
    await stream.send(400, 800)
    await stream.acknowledged(0, (400, 800), (2000, 2400))
    await stream.send(800, 1200)
    await stream.acknowledged(0, (400, 1200), (2000, 2400))
    await stream.send(400, 1600)
    await stream.duplicate(0, (400, 1200), (400, 1600), (2000, 2400))


@verifies("RFC2883:4.2-first", "RFC2883:4-larger", needs=NEEDS)
async def test_two_separate_parts_of_a_segment_behind_a_hole_are_duplicates(tcp: Case) -> None:
    """D-SACK reports the first of two separate parts behind a hole.

    Behind a hole a segment comes whose first and last thirds, which do not touch, have come before: example 6. The
    first block reports the first of the duplicate parts alone, the second the larger block.
    """
    stream = await streaming(tcp)
    await stream.send(400, 800)
    await stream.acknowledged(0, (400, 800))
    await stream.send(1200, 1600)
    await stream.acknowledged(0, (1200, 1600), (400, 800))
    await stream.send(400, 1600)
    await stream.duplicate(0, (400, 800), (400, 1600))


@verifies("RFC2883:4-once", "RFC2883:4-most-recent", needs=NEEDS)
async def test_duplicate_is_reported_once(tcp: Case) -> None:
    """D-SACK reports a duplicate only once.

    A duplicate comes while data is missing, and then new data behind the hole. The ACK of the new data must no
    longer report the duplicate: its first block holds the new data.
    """
    stream = await streaming(tcp)
    await stream.send(0, 400)
    await stream.acknowledged(400)
    await stream.send(800, 1200)
    await stream.acknowledged(400, (800, 1200))
    await stream.send(0, 400)
    await stream.duplicate(400, (0, 400), (800, 1200))
    await stream.send(1200, 1600)
    await stream.acknowledged(400, (800, 1600))
    await stream.send(400, 800)
    await stream.acknowledged(1600)


@verifies("RFC2883:4-once", "RFC2883:4-first", needs=NEEDS)
async def test_each_duplicate_is_reported(tcp: Case) -> None:
    """D-SACK reports each duplicate.

    The same segment comes again three times. A target that does D-SACK reports each of them, in an ACK of its own.
    """
    stream = await streaming(tcp)
    await stream.send(0, 400)
    await stream.acknowledged(400)
    for _ in range(3):
        await stream.send(0, 400)
        await stream.duplicate(400, (0, 400))


@verifies("RFC2883:4.3-paws", needs=(*NEEDS, "timestamps"))
async def test_duplicate_that_paws_drops(tcp: Case) -> None:
    """A duplicate that PAWS drops is answered with an ACK.

    A segment that was acknowledged comes again with an older timestamp. The target must answer with an ACK (RFC
    7323, R1), which may report it as a duplicate, or not.
    """
    stream = await streaming(tcp, Offer(sack=True, timestamps=True))
    await stream.send(0, 400)
    await stream.acknowledged(400)
    await stream.send(0, 400, tsval=(stream.conn.tsval - 1000) % 2**32)
    await stream.duplicate(400, (0, 400))
    await stream.delivered(400)
