"""RFC 3168 section 6.1.3: ECE as the answer to CE, from the first such segment until CWR comes."""

from typing import Any

from conformance.api import ACK, CWR, ECE, PSH, SYN, Case, Connection, Expectation, State, verifies
from conformance.wire.ip import CE, ECT_0

NEEDS: dict[str, Any] = {"needs": ("app", "ecn")}
SIZE = 100


async def with_ecn(tcp: Case, options: Any = ()) -> Connection:
    """Return an established connection on which ECN was agreed on."""
    conn = await tcp.listen(options=options)
    await conn.send(SYN | ECE | CWR)
    await conn.expect(SYN | ACK | ECE, ack=conn.snd_nxt, length=0)
    await conn.complete()
    return conn


async def data(conn: Connection, codepoint: int, *, echo: bool, cwr: bool = False) -> None:
    """Send data of ours with that codepoint; its ACK must have ECE, or must not."""
    await conn.send(ACK | PSH | CWR if cwr else ACK | PSH, payload=bytes(SIZE), ip={"tos": codepoint})
    await conn.expect(ACK | ECE if echo else ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, within=1.5)


async def clears(conn: Connection) -> None:
    """Send data of ours with CWR; its own ACK may still have ECE."""
    await conn.send(ACK | PSH | CWR, payload=bytes(SIZE), ip={"tos": ECT_0})
    forms = [Expectation(flags, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0) for flags in (ACK, ACK | ECE)]
    await conn.expect_any(*forms, within=1.5)


@verifies("RFC3168:6.1.3-echo", "RFC3168:6.1.1-ce", level="MUST", **NEEDS)
async def test_ce_is_answered_by_ece(tcp: Case) -> None:
    """CE is answered by ECE.

    Data of ours is ECT(0), and then CE. The ACK of the first must have no ECE, that of the second must have it.
    """
    conn = await with_ecn(tcp)
    await data(conn, ECT_0, echo=False)
    await data(conn, CE, echo=True)
    assert await conn.app.receive(2 * SIZE) == bytes(2 * SIZE)


@verifies("RFC3168:6.1.3-until", "RFC3168:6.1.1-ce", level="MUST", **NEEDS)
async def test_ece_stays_until_cwr(tcp: Case) -> None:
    """ECE stays on every ACK until CWR arrives.

    One segment of ours is CE; ten that are not follow, without CWR. Every ACK from the first on must have ECE.
    """
    conn = await with_ecn(tcp)
    await data(conn, CE, echo=True)
    for _ in range(10):
        await data(conn, ECT_0, echo=True)


@verifies("RFC3168:6.1.3-until", "RFC3168:6.1.1-ce", level="MUST", **NEEDS)
async def test_data_of_the_target_has_ece_too(tcp: Case) -> None:
    """The target's data has ECE after CE, too.

    One segment of ours is CE, and CWR does not come; the target's application sends data. That segment acknowledges
    too, so it must have ECE.
    """
    conn = await with_ecn(tcp)
    await data(conn, CE, echo=True)
    await conn.app.send(b"and back")
    await conn.expect(ACK | ECE, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=b"and back")


@verifies("RFC3168:6.1.3-after", "RFC3168:6.1.1-ce", level="MUST", **NEEDS)
async def test_no_ece_after_cwr(tcp: Case) -> None:
    """No ECE is sent once CWR has arrived.

    One segment of ours is CE; a later one has CWR, and more follow. The ACKs of those behind CWR must have no ECE.
    """
    conn = await with_ecn(tcp)
    await data(conn, CE, echo=True)
    await data(conn, ECT_0, echo=True)
    await clears(conn)
    for _ in range(3):
        await data(conn, ECT_0, echo=False)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC3168:6.1.3-again", "RFC3168:6.1.1-ce", level="MUST", **NEEDS)
async def test_ce_after_cwr_is_answered_by_ece_again(tcp: Case) -> None:
    """CE after CWR is answered by ECE again.

    CE, CWR, and CE once more, three times over. Each CE must have ECE as answer, until the next CWR.
    """
    conn = await with_ecn(tcp)
    for _ in range(3):
        await data(conn, CE, echo=True)
        await data(conn, ECT_0, echo=True)
        await clears(conn)
        await data(conn, ECT_0, echo=False)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC3168:6.1.3-again", **NEEDS)
async def test_ce_on_the_segment_with_cwr_is_answered_by_ece(tcp: Case) -> None:
    """CE on the segment with CWR is answered by ECE.

    The segment of ours that has CWR is CE itself. It is another sign of congestion: the ACKs must go on having ECE.
    """
    conn = await with_ecn(tcp)
    await data(conn, CE, echo=True)
    await data(conn, CE, echo=True, cwr=True)
    await data(conn, ECT_0, echo=True)


@verifies("RFC3168:6.1.3-any", **NEEDS)
async def test_ack_of_several_segments_has_ece_for_any_ce(tcp: Case) -> None:
    """An ACK of several segments has ECE if any of them was CE.

    Four segments of ours come at once, and the second is CE. From the ACK that covers it on, every ACK must have
    ECE, however many segments it covers.
    """
    conn = await with_ecn(tcp)
    base = conn.snd_nxt
    for place in range(4):
        await conn.send(ACK | PSH, payload=bytes(SIZE), ip={"tos": CE if place == 1 else ECT_0})
    marked, acked = base + 2 * SIZE, base
    while acked < base + 4 * SIZE:
        forms = [
            Expectation(ACK | ECE if edge >= marked else ACK, seq=conn.rcv_nxt, ack=edge, length=0)
            for place in range(1, 5)
            if (edge := base + place * SIZE) > acked
        ]
        _, ack = await conn.expect_any(*forms, within=1.5)
        acked = ack.segment.ack


@verifies("RFC3168:6.1.5-outside", **NEEDS)
async def test_ce_outside_the_window_is_ignored(tcp: Case) -> None:
    """CE on a segment outside the window is ignored.

    Data that the target has had comes again, CE this time; then data beyond its window, CE too. Neither the ACK
    that answers, nor those of later data, should have ECE: anyone could have sent that.
    """
    conn = await with_ecn(tcp)
    await data(conn, ECT_0, echo=False)
    outside = conn.snd_nxt - SIZE, conn.snd_nxt + conn.remote_window + 1000
    for seq in outside:
        await conn.inject(ACK, seq=seq, payload=bytes(SIZE), ip={"tos": CE})
        await conn.expect_ack()
    await data(conn, ECT_0, echo=False)


@verifies("RFC3168:6.1.6-ce", **NEEDS)
async def test_window_probe_with_ce_is_answered_by_ece(tcp: Case) -> None:
    """CE on a window probe is answered by ECE.

    The application does not read until the target's window is closed; our probe of it is CE. The ACK should have
    ECE.
    """
    conn = await with_ecn(tcp, [("socket", "SO_RCVBUF", 8192)])
    for _ in range(100):
        if not conn.remote_window:
            break
        size = min(conn.remote_window, 1000)
        await conn.send(ACK | PSH, payload=bytes(size), ip={"tos": ECT_0})
        await conn.expect_ack(within=1.5)
    assert not conn.remote_window, "the window does not close"
    await conn.inject(ACK, payload=b"?", ip={"tos": CE}, text="probes the window, CE")
    await conn.expect(ACK | ECE, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
