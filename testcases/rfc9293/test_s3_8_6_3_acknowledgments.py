"""RFC 9293 sections 3.8.6.3 and 3.10.7.4: which data the target acknowledges, when, and what its application is given."""

import pytest

from conformance.api import ACK, CWR, ECE, PSH, RST, SYN, Case, Connection, Expectation, State, Violation, opt, verifies

FULL = {4: 1460, 6: 1440}
DATA = bytes(range(250)) * 4


async def reads(conn: Connection, data: bytes) -> None:
    """See that the application reads exactly these octets, in this order."""
    got = await conn.app.receive(len(data))
    assert got == data, f"the application read {got[:20]!r}... ({len(got)} octets), not {data[:20]!r}... ({len(data)})"
    await conn.app.fails("receive", "timeout", count=1, wait_s=0.1)


@verifies("RFC9293:SHLD-19", "RFC1122:4.2.3.2-delayed", "claim:C-33")
async def test_every_second_full_segment_is_acknowledged(tcp: Case) -> None:
    """At least every second full segment of a burst is acknowledged.

    Twenty full-sized segments come in one go. The target should acknowledge at least every second one, that is
    every 2*RMSS octets.
    """
    conn = await tcp.listen()
    await conn.send(SYN)
    syn_ack = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    announced = opt.find(syn_ack.segment.option_list, opt.MSS)
    size = min(FULL[tcp.family], int.from_bytes(announced.data, "big") if announced else 536)
    await conn.send(ACK)
    first = acked = conn.snd_nxt
    for number in range(20):
        await conn.send(ACK, payload=bytes((number,)) * size)
    while acked < conn.snd_nxt:
        received = await conn.expect(ACK, seq=conn.rcv_nxt, length=0)
        step = received.segment.ack - acked
        if step > 2 * size:
            raise Violation(f"an ACK covers {step} octets more than the one before, {2 * size} are two full segments")
        acked = received.segment.ack
    assert acked == first + 20 * size, "something else than what was sent is acknowledged"
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(
    "order",
    [
        pytest.param((0, 1, 2, 3), id="in-order"),
        pytest.param((3, 2, 1, 0), id="backwards"),
        pytest.param((0, 2, 1, 3), id="two-exchanged"),
        pytest.param((1, 3, 0, 2), id="two-holes"),
        pytest.param((0, 0, 1, 1, 1, 2, 3, 0), id="duplicates"),
    ],
)
@pytest.mark.parametrize("iss", [None, -600], ids=["anywhere", "across-the-wrap"])
@verifies("RFC9293:3.10.7.4-text", "RFC9293:SHLD-31", "RFC1122:4.2.2.20-queue", "claim:C-32", level="text")
async def test_data_is_delivered_in_order_whatever_comes_first(
    tcp: Case, order: tuple[int, ...], iss: int | None
) -> None:
    """Data is delivered in order.

    A thousand octets come in four segments in some order, some of them twice; what was dropped comes again. The
    application must get each octet once, in order. A target should hold what came early.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, iss=iss)
    first = conn.snd_nxt
    pieces = [(first + 250 * number, DATA[250 * number : 250 * (number + 1)]) for number in range(4)]
    for number in order:
        seq, payload = pieces[number]
        await conn.inject(ACK | PSH, seq=seq, payload=payload)
    end = first + len(DATA)
    acked = first
    while received := await conn.allow(Expectation(ACK, seq=conn.rcv_nxt, length=0), within=0.3):
        acked = max(acked, received[1].segment.ack, key=lambda number: number - first)
    tcp.choice("segments that came early", "held" if acked == end else "dropped", ["held", "dropped"])
    for seq, payload in pieces:
        if acked < end:
            await conn.inject(ACK | PSH, seq=seq, payload=payload, text="again")
            received = await conn.allow(Expectation(ACK, seq=conn.rcv_nxt, length=0), within=1)
            acked = received[1].segment.ack if received else acked
    conn.taken_in(snd_nxt=end)
    await conn.probe()
    await reads(conn, DATA)


@pytest.mark.parametrize(
    "start, stop",
    [
        pytest.param(0, 750, id="all-of-it-and-more"),
        pytest.param(250, 750, id="its-second-half-and-more"),
        pytest.param(499, 501, id="its-last-octet-and-one-more"),
        pytest.param(500, 750, id="right-behind"),
    ],
)
@verifies("RFC9293:3.10.7.4-trim", "RFC9293:3.10.7.4-text", "claim:C-32", level="text")
async def test_overlapping_data_is_delivered_once(tcp: Case, start: int, stop: int) -> None:
    """Overlapping data is delivered only once.

    Five hundred octets were acknowledged when a segment comes that repeats a part of them and goes on with new
    ones. The target must acknowledge up to the new end, and deliver each octet once.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    first = conn.snd_nxt
    await conn.send(ACK | PSH, payload=DATA[:500])
    await conn.expect_ack()
    await conn.inject(ACK | PSH, seq=first + start, payload=DATA[start:stop])
    conn.taken_in(snd_nxt=first + stop)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=first + stop, length=0)
    await reads(conn, DATA[:stop])


@verifies("RFC9293:MAY-13", "RFC9293:MAY-12", "RFC1122:4.2.2.21", level="MAY")
async def test_old_ack_with_data_may_be_refused(tcp: Case) -> None:
    """Data with a very old ACK may be refused.

    Data comes in order, but acknowledges something 70 000 octets below what was ever sent: blind injection looks
    like this. A target may check the range of SEG.ACK (RFC 5961, 5) and answer with an ACK, or take the data as RFC
    793 did.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.inject(ACK | PSH, ack=conn.rcv_nxt - 70_000, payload=b"injected")
    refused = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="challenged:")
    taken = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt + 8, length=0, label="taken:")
    which, _ = await conn.expect_any(refused, taken)
    tcp.choice("data with an ACK far too old", ["refused", "taken"][which], ["refused", "taken"])


@pytest.mark.parametrize("where", ["in-window", "below-the-window"])
@verifies("RFC9293:3.10.7.4-syn-reset", "RFC9293:3.10.7.4-syn-outside", level="text")
async def test_syn_on_an_open_connection_is_challenged_or_resets_it(tcp: Case, where: str) -> None:
    """A SYN on an open connection is challenged or resets it.

    A SYN comes for a connection in ESTABLISHED, in its window or below it. With RFC 5961 the answer must be a
    challenge ACK. Without it, one in the window resets the connection, one outside does not.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    inside = where == "in-window"
    await conn.inject(SYN, seq=conn.snd_nxt + 100 if inside else conn.iss)
    challenge = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="challenge:")
    reset = (Expectation(RST, label="reset:"), Expectation(RST | ACK, label="reset:")) if inside else ()
    which, _ = await conn.expect_any(challenge, *reset)
    form = "reset" if which else "challenge ACK"
    tcp.choice(f"SYN {where}", form, ["challenge ACK", "reset"] if inside else ["challenge ACK"])
    await conn.confirm(State.CLOSED if which else State.ESTABLISHED)


# Explicit Congestion Notification


@verifies("RFC9293:SHLD-8")
async def test_congestion_notification_is_agreed_on(tcp: Case) -> None:
    """A SYN that asks for ECN is granted it.

    Our SYN asks for Explicit Congestion Notification by ECE and CWR (RFC 3168, 6.1.1). The target should agree: its
    SYN+ACK carries ECE, and not CWR.
    """
    conn = await tcp.listen()
    await conn.send(SYN | ECE | CWR)
    await conn.expect(SYN | ACK | ECE, ack=conn.snd_nxt, length=0)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)
