"""RFC 7323 section 2: the Window Scale option, and windows that are scaled by it in both directions."""

import pytest

from conformance.api import ACK, SYN, Case, Connection, Expectation, Offer, Received, State, app_sends, opt, verifies

NEEDS = ("app", "wscale")
BY = pytest.mark.parametrize("by", ["passive", "active"])
ABSENT = ((opt.WINDOW_SCALE, None),)
LARGEST = 14
QUIET_S = 0.1
"""The target writes what a window allows at once: after this time without a segment it has stopped."""
ROUNDS = 12
"""Tries if we were late and the target's timer closed its congestion window: each opens it by a segment."""
PLENTY = bytes(200_000)


def shift_in(received: Received) -> int:
    """Return the shift count that a SYN or SYN,ACK of the target offers."""
    option = received.option(opt.WINDOW_SCALE)
    assert len(option.data) == 1, f"the window scale option is {2 + len(option.data)} octets long, it has to be 3"
    return option.data[0]


def granule(shift: int, least: int = 4096) -> int:
    """Return a window field that stands for at least `least` octets, and is at least 1."""
    return max(1, least >> shift)


async def offers_window_scale(conn: Connection, shift: int) -> Received:
    """Open from our side with that shift count, up to the target's SYN,ACK."""
    conn.offer(Offer(window_scale=shift, sack=True))
    await conn.send(SYN)
    return await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, has=(opt.WINDOW_SCALE,))


async def under_way(conn: Connection) -> int:
    """Return the octets that the target has sent and we have not acknowledged, once it has stopped sending."""
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)
    while await conn.allow(Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt), within=QUIET_S) is not None:
        pass
    return conn.rcv_nxt - conn.acked


async def fills(conn: Connection, window: int, largest: int = 1460) -> None:
    """See that the target's data never goes beyond the window, and ends within a segment of its edge.

    The congestion window comes first: each round acknowledges all, and opens the same window anew.
    """
    await conn.app.send_by_the_book(len(PLENTY))
    seen = []
    for _ in range(ROUNDS):
        # As much as there is room for: there has to be more than the window takes.
        await conn.app.send(PLENTY, wait=False)
        seen.append(await under_way(conn))
        assert seen[-1] <= window, f"{seen[-1]} octets are under way in a window of {window}"
        if seen[-1] > window - largest:
            return
        await conn.send(ACK)
    raise AssertionError(f"the target never fills a window of {window}: it had {seen} octets under way")


# Section 2.2: the option


@verifies("RFC7323:2.2-offer", "RFC7323:2.2-syn", "RFC7323:2.2-zero", needs=NEEDS)
async def test_syn_offers_window_scale(tcp: Case) -> None:
    """The SYN offers window scale.

    The target's application connects: its SYN carries the Window Scale option. A target that scales windows should
    offer it, with a shift count from 0 to 14; which, it may choose.
    """
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0, ack=None, has=(opt.WINDOW_SCALE,))
    shift = shift_in(syn)
    tcp.choice("shift count that the SYN offers", str(shift), [str(one) for one in range(LARGEST + 1)])


@verifies("RFC7323:2.3-answer", "RFC7323:2.2-syn-ack", needs=NEEDS)
async def test_syn_ack_answers_window_scale(tcp: Case) -> None:
    """The SYN,ACK answers an offer of window scale.

    Our SYN offers window scale: the target's SYN,ACK has the option too.
    """
    conn = await tcp.listen()
    opened = await offers_window_scale(conn, 7)
    shift = shift_in(opened)
    tcp.choice("shift count that the SYN,ACK offers", str(shift), [str(one) for one in range(LARGEST + 1)])


@verifies("RFC7323:2.2-both", "RFC7323:2.3-none", "RFC7323:2.2-syn-ack", needs=NEEDS)
async def test_syn_ack_without_window_scale_where_the_syn_had_none(tcp: Case) -> None:
    """The SYN,ACK has no window scale where the SYN had none.

    Our SYN does not offer window scale: neither does the SYN,ACK, and no window is scaled, in either direction.
    What the target offers next must not lie below what it offered in its SYN,ACK, and our window bounds it as it
    stands.
    """
    conn = await tcp.listen()
    await conn.send(SYN)
    opened = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, options=ABSENT)
    conn.window = 3000
    await conn.complete()
    await conn.send(ACK, payload=b"unscaled")
    acked = await conn.expect_ack()
    edge = acked.segment.ack + acked.segment.window
    assert edge >= opened.segment.ack + opened.segment.window, "the window field looks scaled: its edge has moved back"
    await fills(conn, 3000)
    await conn.send(ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)


@verifies("RFC7323:2.2-both", "RFC7323:2.3-none", needs=NEEDS)
async def test_syn_ack_of_ours_without_window_scale_switches_it_off(tcp: Case) -> None:
    """A SYN,ACK without window scale switches it off.

    The target's SYN offers window scale, our SYN,ACK does not: no window is scaled, in either direction. The target
    must take our window field as it stands, and offer its own window unscaled.
    """
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0, has=(opt.WINDOW_SCALE,))
    conn.window = 3000
    await conn.send(SYN | ACK)
    opened = await conn.expect_ack(options=ABSENT)
    assert opened.segment.window >= syn.segment.window, "the window field looks scaled: it is less than in the SYN"
    await conn.app.connected()
    await fills(conn, 3000)
    await conn.send(ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)


@verifies("RFC7323:2.2-only-syn", needs=NEEDS)
async def test_window_scale_outside_a_syn_is_ignored(tcp: Case) -> None:
    """Window scale outside a SYN is ignored.

    After the handshake an ACK of ours carries another shift count than our SYN did. The target must ignore it: our
    window field goes on being scaled as was agreed.
    """
    conn = await tcp.listen(offer=Offer(window_scale=2))
    conn.window = 1000
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    await conn.send(ACK, options=[opt.window_scale(7)])
    await fills(conn, 1000 << 2)
    await conn.send(ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)


# Windows of SYN and SYN,ACK


@verifies("RFC7323:2.2-unscaled", needs=NEEDS)
async def test_window_of_our_syn_ack_is_taken_unscaled(tcp: Case) -> None:
    """The window of our SYN,ACK is not scaled.

    Our SYN,ACK offers a window of 1000 and a shift count of 7; nothing else of ours follows. The target must send
    no more than 1000 octets: the window of a SYN,ACK is not scaled.
    """
    conn = await tcp.connect(offer=Offer(window_scale=7))
    await conn.expect(SYN, length=0, has=(opt.WINDOW_SCALE,))
    await conn.send(SYN | ACK, window=1000)
    await conn.expect_ack()
    await conn.app.connected()
    await fills(conn, 1000, largest=1000)
    await conn.send(ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)


@BY
@verifies("RFC7323:2.2-unscaled", "RFC7323:2.3-outgoing", needs=NEEDS)
async def test_window_of_the_targets_syn_is_not_scaled(tcp: Case, by: str) -> None:
    """The window of the target's SYN is not scaled.

    We compare the window field of the target's SYN (or SYN,ACK) with that of its next segment, which is scaled. The
    SYN must offer the same window unscaled, or 65535 if it needs more bits. A window that is less by the scale is a
    scaled one.
    """
    conn = await (tcp.listen() if by == "passive" else tcp.connect())
    if by == "passive":
        opened = await offers_window_scale(conn, 7)
    else:
        conn.offer(Offer(window_scale=7))
        opened = await conn.expect(SYN, length=0, has=(opt.WINDOW_SCALE,))
    await conn.complete()
    await conn.send(ACK, payload=b"one octet or some")
    acked = await conn.expect_ack()
    now = acked.segment.window << shift_in(opened)
    least = min(now, 65535) // 2
    assert opened.segment.window >= least, f"the SYN offers {opened.segment.window}, the next segment {now} octets"


# Section 2.3: scaling


@pytest.mark.parametrize("shift", [pytest.param(shift, id=f"shift-{shift}") for shift in range(LARGEST + 1)])
@verifies("RFC7323:2.3-incoming", "RFC7323:2.3-set", "RFC7323:2.2-both", needs=NEEDS)
async def test_our_scaled_window_bounds_what_is_sent(tcp: Case, shift: int) -> None:
    """Our window, scaled by {shift}, bounds what is sent.

    We offer a shift count, and then a small window field: the target's application has much to send. The target
    must shift our window field left by that count: it fills that window, and never goes beyond it.
    """
    conn = await tcp.listen(offer=Offer(window_scale=shift))
    conn.window = granule(shift)
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    await fills(conn, conn.window << shift)
    await conn.send(ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)


@BY
@pytest.mark.parametrize("shift", [pytest.param(shift, id=f"shift-{shift}") for shift in (15, 16, 255)])
@verifies("RFC7323:2.3-limit", "RFC7323:2.3-larger", needs=NEEDS)
async def test_shift_count_above_14_is_taken_as_14(tcp: Case, by: str, shift: int) -> None:
    """A shift count of {shift} is taken as 14 after a {by} open.

    We offer a shift count above 14, and then a window field of 1. The target must use 14: it fills a window of
    16384 octets, and never goes beyond it.
    """
    conn = await (tcp.listen() if by == "passive" else tcp.connect())
    conn.offer(Offer(window_scale=shift))
    conn.window = 1
    await tcp.drive_to(State.ESTABLISHED, conn=conn, by=by)
    await conn.send(ACK, text="the first window that is scaled")
    await fills(conn, 1 << LARGEST)
    await conn.app.send(PLENTY, wait=False)
    await conn.send(ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)


@BY
@verifies("RFC7323:2.3-outgoing", "RFC7323:2.3-shift", "RFC7323:2.3-set", needs=("app", "wscale", "sack"))
async def test_targets_scaled_window_is_the_one_it_takes(tcp: Case, by: str) -> None:
    """The target takes data up to its scaled window, not beyond.

    The target offers a window, scaled. We send, out of order, the octet behind it, and then the last one in it.
    Shifted left by the count that its SYN offered, the window must end where the target stops taking data: the
    octet behind it is not held, the last one is (a SACK block tells).
    """
    conn = await tcp.drive_to(State.ESTABLISHED, by=by, offer=Offer(window_scale=7, sack=True))
    await conn.deliver(b"first")
    edge = conn.snd_una + conn.remote_window
    await conn.inject(ACK, seq=edge, payload=b"b", text="the octet behind the window")
    await conn.expect_ack(sack=())
    await conn.inject(ACK, seq=edge - 1, payload=b"l", text="the last octet in the window")
    await conn.expect_ack(sack=((edge - 1, edge),))


# Section 2.4: windows that seem to shrink


@verifies("RFC7323:2.4-honor", needs=("app", "wscale", "sack"))
async def test_every_octet_once_offered_is_taken(tcp: Case) -> None:
    """Every octet once offered is taken.

    We send data octet by octet, less than the window field can tell, and then the last octet that was ever offered.
    The target must take it (a SACK block tells), whatever its last window field says.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=Offer(window_scale=7, sack=True))
    edge = conn.snd_una
    for octet in range(20):
        await conn.send(ACK, payload=bytes((octet,)))
        await conn.expect_ack(within=1.5)
        edge = max(edge, conn.snd_una + conn.remote_window)
    await conn.inject(ACK, seq=edge - 1, payload=b"l", text="the last octet ever offered")
    await conn.expect_ack(sack=((edge - 1, edge),))


@verifies("RFC7323:2.4-track", "RFC9293:SHLD-14", needs=NEEDS)
async def test_offered_edge_does_not_move_back(tcp: Case) -> None:
    """The offered right edge does not move back.

    We send data octet by octet, less than the window field can tell. The target should keep the edge that it has
    offered: acknowledgment and scaled window together never move back.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=Offer(window_scale=7))
    edge = conn.snd_una
    for octet in range(40):
        await conn.send(ACK, payload=bytes((octet,)))
        await conn.expect_ack(within=1.5)
        now = conn.snd_una + conn.remote_window
        assert now >= edge, f"the right edge of the window moved back by {edge - now} octets"
        edge = now


@verifies("RFC7323:2.4-first", "RFC7323:2.4-shrinking", needs=NEEDS)
async def test_new_data_stays_in_a_window_that_has_shrunk(tcp: Case) -> None:
    """New data stays within a window that has shrunk.

    Our window shrinks to 1000 octets, by an ACK that says nothing else, while the target's application is silent.
    The target must keep what it sends for the first time within that window.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=Offer(window_scale=0))
    conn.window = 1000
    await conn.send(ACK, text="the window shrinks")
    await fills(conn, 1000, largest=1000)
    await conn.send(ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)


@verifies("RFC7323:2.4-first", "RFC7323:2.4-shrinking", "RFC7323:2.4-retransmit", needs=NEEDS, lasts=4)
async def test_retransmission_ignores_a_window_that_has_shrunk(tcp: Case) -> None:
    """A retransmission ignores a window that has shrunk.

    The target's data is under way when our window shrinks to nothing; more data waits behind it. The target must
    retransmit what was in the window when it was sent, send nothing new, and go on when the window opens.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=Offer(window_scale=7))
    first = await app_sends(conn, b"in the window")
    await conn.inject(ACK, ack=first.segment.seq, window=0, text="the window shrinks")
    await conn.app.send(b"behind the window")
    await conn.expect_retransmission(first, within=4)
    await conn.silence(for_=0.1)
    await conn.send(ACK, text="the window opens")
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=b"behind the window")
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7323:2.4-later", needs=NEEDS, lasts=5)
async def test_later_retransmissions_into_a_window_that_has_shrunk(tcp: Case) -> None:
    """Later retransmissions into a shrunken window or probes follow.

    The target's data is under way when our window shrinks to nothing, and its first retransmission is not answered.
    It may retransmit again, or only probe the window; it must not give up, and go on when the window opens.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=Offer(window_scale=7))
    first = await app_sends(conn, b"in the window")
    await conn.inject(ACK, ack=first.segment.seq, window=0, text="the window shrinks")
    await conn.expect_retransmission(first, within=4)
    again = Expectation(ACK, seq=first.segment.seq, ack=conn.snd_nxt, payload=b"in the window")
    probe = Expectation(ACK, seq=first.segment.seq - 1, ack=conn.snd_nxt)
    received = await conn.allow(again, probe, within=3, strict=True)
    forms = ["the data again", "a probe of the window", "nothing for 3 s"]
    tcp.choice("second retransmission", forms[2 if received is None else received[0]], forms)
    await conn.send(ACK, text="acknowledged, and the window opens")
    await conn.confirm(State.ESTABLISHED)
