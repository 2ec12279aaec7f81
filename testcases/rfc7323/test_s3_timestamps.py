"""RFC 7323 section 3.2: the Timestamps option, from the SYN to the last segment, and segments that lack it."""

from collections.abc import Awaitable, Callable

import pytest

from conformance.api import ACK, FIN, RST, SYN, Case, Connection, Expectation, Offer, State, app_sends, opt, verifies

NEEDS = ("app", "timestamps")
STAMPED = Offer(timestamps=True)
HAS = (opt.TIMESTAMPS,)
ABSENT = ((opt.TIMESTAMPS, None),)
BY = pytest.mark.parametrize("by", ["passive", "active"])
FORGED = 0x0BADF00D
"""A TSecr that echoes nothing."""


# The handshake


@verifies("RFC7323:3.2-syn", "RFC7323:3.2-zero", needs=NEEDS)
async def test_syn_has_timestamps_that_echo_nothing(tcp: Case) -> None:
    """The SYN has Timestamps that echo nothing.

    The target's application connects: its SYN carries Timestamps, and TSecr is zero. Whether the option is in the
    SYN is the target's choice; with nothing to echo TSecr should be zero.
    """
    conn = await tcp.connect(offer=STAMPED)
    syn = await conn.expect(SYN, length=0)
    stamps = opt.stamps(syn.segment.option_list)
    tcp.choice("timestamps in the SYN", "none" if stamps is None else "offered", ["none", "offered"])
    if stamps is not None:
        assert stamps[1] == 0, f"TSecr of the SYN is {stamps[1]}, it should be 0"
    await conn.complete()
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7323:3.2-syn", "RFC7323:3.2-echo", "RFC7323:4.3-3", needs=NEEDS)
async def test_syn_ack_echoes_the_timestamp_of_the_syn(tcp: Case) -> None:
    """The SYN,ACK echoes the timestamp of the SYN.

    Our SYN carries Timestamps: the target's SYN,ACK echoes its TSval.
    """
    conn = await tcp.listen(offer=STAMPED)
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, tsecr=conn.tsval)
    await conn.complete()
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7323:3.2-syn", level="MUST", needs=NEEDS)
async def test_syn_ack_has_no_timestamps_where_the_syn_had_none(tcp: Case) -> None:
    """The SYN,ACK has no Timestamps where the SYN had none.

    Our SYN carries no Timestamps: neither does the SYN,ACK, nor what follows it. The target must not send them: it
    may only where our SYN had them.
    """
    conn = await tcp.listen()
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, options=ABSENT)
    await conn.complete()
    await conn.send(ACK, payload=b"data")
    await conn.expect_ack(options=ABSENT)


@verifies("RFC7323:3.2-every", level="MUST", needs=NEEDS)
async def test_no_timestamps_where_our_syn_ack_had_none(tcp: Case) -> None:
    """No Timestamps are sent where our SYN,ACK had none.

    The target's SYN offers Timestamps, our SYN,ACK does not carry them: they were not negotiated. The target must
    go on without them.
    """
    conn = await tcp.connect()
    await conn.expect(SYN, length=0, has=HAS)
    await conn.send(SYN | ACK)
    await conn.expect_ack(options=ABSENT)
    await conn.app.connected()
    await app_sends(conn, b"data", options=ABSENT)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize("tsecr", [pytest.param(FORGED, id="forged"), pytest.param(2**32 - 1, id="largest")])
@verifies("RFC7323:3.2-no-ack", needs=NEEDS, lasts=1)
async def test_echo_in_our_syn_is_ignored(tcp: Case, tsecr: int) -> None:
    """The echo in our SYN is ignored.

    Our SYN, which acknowledges nothing, has a TSecr that is not zero. The target must ignore it: it opens, echoes
    our TSval, and measures no round-trip time by it, so that lost data comes again as soon as ever.
    """
    conn = await tcp.listen(offer=STAMPED)
    await conn.send(SYN, options=[*conn.syn_options, *opt.stamped(conn.tsval, tsecr)])
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, tsecr=conn.tsval)
    await conn.complete()
    lost = await app_sends(conn, b"lost")
    again = await conn.expect_retransmission(lost, within=5)
    least = tcp.timer("rto-min")
    tcp.check_timing(
        "retransmission timeout", (again.at_ns - lost.at_ns) / 1e9, least, how="between the two receive stamps"
    )


@pytest.mark.parametrize("ours", [pytest.param(True, id="both"), pytest.param(False, id="the-target-alone")])
@verifies("RFC7323:3.2-crossing", "RFC7323:3.2-echo", level="MAY", needs=NEEDS)
async def test_crossing_syns_and_timestamps(tcp: Case, ours: bool) -> None:
    """After crossing SYNs, Timestamps are used where both have them.

    The target's SYN and ours cross; the target's has Timestamps, and ours has them too, or not. With both the
    target's SYN,ACK must echo our TSval; with one alone it may carry the option or not. The connection opens.
    """
    conn = await tcp.connect(offer=Offer(timestamps=True, sack=True, window_scale=7))
    await conn.expect(SYN, length=0, has=HAS)
    if ours:
        await conn.send(SYN)
        await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0, tsecr=conn.tsval)
    else:
        await conn.send(SYN, options=conn.syn_options)
        answer = await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0)
        there = opt.stamps(answer.segment.option_list) is not None
        tcp.choice("timestamps in the SYN,ACK", "there" if there else "absent", ["there", "absent"])
        conn.tsval = None
    await conn.send(ACK)
    await conn.app.connected()
    await conn.confirm(State.ESTABLISHED)


# Every segment

Script = Callable[[Case, Connection], Awaitable[None]]


async def data(tcp: Case, conn: Connection) -> None:
    """Have the target send data, its retransmission, and data after an acknowledgment."""
    first = await app_sends(conn, b"first", tsecr=conn.tsval)
    again = await conn.expect_retransmission(first, within=4)
    assert again.stamps[1] == conn.tsval, "the retransmission does not echo the last TSval"
    await conn.send(ACK)
    await app_sends(conn, b"second", tsecr=conn.tsval)


async def acknowledgments(tcp: Case, conn: Connection) -> None:
    """Have the target acknowledge data in order, data behind a hole, a duplicate, an unacceptable ACK and a SYN."""
    await conn.send(ACK, payload=b"in order")
    await conn.expect_ack(tsecr=conn.tsval)
    await conn.inject(ACK, seq=conn.snd_nxt + 10, payload=b"behind a hole")
    await conn.expect_ack(has=HAS)
    await conn.inject(ACK, seq=conn.snd_nxt - 8, payload=b"in order", text="a duplicate")
    await conn.expect_ack(has=HAS)
    await conn.inject(SYN, text="a SYN that is challenged")
    await conn.expect_ack(has=HAS)


async def window_probe(tcp: Case, conn: Connection) -> None:
    """Have the target probe our closed window, and send the data once it opens."""
    await conn.send(ACK, window=0)
    await conn.app.send(b"waits")
    probes = [Expectation(ACK, seq=conn.rcv_nxt + number, ack=conn.snd_nxt, has=HAS) for number in (-1, 0)]
    which, _ = await conn.expect_any(*probes, within=4, strict=True)
    tcp.choice(
        "form of the window probe", ("old octet or none", "new octet")[which], ["old octet or none", "new octet"]
    )
    await conn.send(ACK, ack=conn.acked)
    await conn.expect(ACK, seq=conn.acked, ack=conn.snd_nxt, payload=b"waits", has=HAS)


async def active_close(tcp: Case, conn: Connection) -> None:
    """Have the target send its FIN, and its ACKs of our FIN."""
    await conn.app.shutdown("send")
    await conn.expect_fin(tsecr=conn.tsval)
    fin = await conn.send(FIN | ACK)
    await conn.expect_ack(tsecr=conn.tsval)
    await conn.inject(FIN | ACK, seq=fin.segment.seq, text="our FIN again, in TIME-WAIT")
    await conn.expect_ack(has=HAS)


async def passive_close(tcp: Case, conn: Connection) -> None:
    """Have the target send the ACK of our FIN, and its own FIN."""
    await conn.send(FIN | ACK)
    await conn.expect_ack(tsecr=conn.tsval)
    await conn.app.shutdown("send")
    await conn.expect_fin(tsecr=conn.tsval)


@BY
@pytest.mark.parametrize(
    "script",
    [
        pytest.param(one, id=one.__name__.replace("_", "-"))
        for one in (data, acknowledgments, window_probe, active_close, passive_close)
    ],
)
@verifies("RFC7323:3.2-every", "RFC7323:3.2-echo", needs=NEEDS, lasts=2)
async def test_every_segment_has_timestamps(tcp: Case, by: str, script: Script) -> None:
    """Every segment has Timestamps after both SYNs.

    Both SYNs carried Timestamps: so does every segment of the target from then on, whatever it is for. The target
    must echo our last TSval (that of the last segment in sequence).
    """
    conn = await tcp.drive_to(State.ESTABLISHED, by=by, offer=STAMPED)
    await script(tcp, conn)


@verifies("RFC7323:3.2-rst", "RFC7323:5.2-rst-abort", needs=NEEDS)
async def test_reset_of_an_abort_has_timestamps(tcp: Case) -> None:
    """The RST of an abort has Timestamps.

    The target's application aborts a connection with Timestamps. The RST should carry them.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    await conn.app.abort()
    _, reset = await conn.expect_any(
        Expectation(RST | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, has=HAS),
        Expectation(RST, seq=conn.rcv_nxt, length=0, has=HAS),
    )
    tcp.choice("the reset of an abort", str(reset.segment.flags), ["RST+ACK", "RST"])
    await conn.confirm(State.CLOSED)


@verifies("RFC7323:5.2-rst-option", "RFC7323:5.2-rst-values", needs=("timestamps",))
async def test_reset_answers_timestamps_with_timestamps(tcp: Case) -> None:
    """The RST for a closed port answers Timestamps with Timestamps.

    A SYN with Timestamps comes for a port where nobody listens. The RST should carry Timestamps too, with the TSval
    of the SYN in TSecr, and a TSval of zero.
    """
    conn = tcp.connection(tcp.station.port())
    conn.offer(STAMPED)
    await conn.send(SYN)
    answer = opt.timestamps(0, conn.tsval)
    await conn.expect(RST | ACK, seq=0, ack=conn.snd_nxt, length=0, options=((opt.TIMESTAMPS, answer),))


# Segments that lack the option


@verifies("RFC7323:3.2-missing", needs=NEEDS)
async def test_data_that_lacks_timestamps_is_dropped(tcp: Case) -> None:
    """Data that lacks Timestamps is dropped.

    Timestamps were negotiated; data of ours comes without them. The target should drop it silently, and take it
    when it comes again with them.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    await conn.inject(ACK, payload=b"without", options=[])
    await conn.silence()
    await conn.deliver(b"without")


@verifies("RFC7323:3.2-missing", needs=NEEDS)
async def test_fin_that_lacks_timestamps_is_dropped(tcp: Case) -> None:
    """A FIN that lacks Timestamps is dropped.

    Timestamps were negotiated; a FIN of ours comes without them. The target should drop it silently and stay
    ESTABLISHED.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    await conn.inject(FIN | ACK, options=[])
    await conn.silence()
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7323:3.2-missing", needs=NEEDS)
async def test_ack_that_lacks_timestamps_is_dropped(tcp: Case) -> None:
    """An ACK that lacks Timestamps is dropped.

    Timestamps were negotiated; the acknowledgment of the target's data comes without them. The target should drop
    it silently: the data comes again.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    sent = await app_sends(conn, b"to be acknowledged")
    injected = await conn.inject(ACK, options=[])
    while (await conn.expect_retransmission(sent, within=3)).at_ns < injected.at_ns:
        pass
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize("payload", [pytest.param(b"", id="ack"), pytest.param(b"data", id="data")])
@verifies("RFC7323:3.2-abort", "RFC7323:3.2-remember", level="MUST", needs=NEEDS)
async def test_segment_that_lacks_timestamps_does_not_abort(tcp: Case, payload: bytes) -> None:
    """A segment that lacks Timestamps does not abort.

    Timestamps were negotiated; a segment of ours comes without them, and then one with them. Whatever it does with
    the first, the target must not abort, and its own segments must go on having Timestamps.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, offer=STAMPED)
    await conn.inject(ACK, payload=payload, options=[])
    taken = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt + len(payload), length=0, has=HAS)
    if payload:
        answer = await conn.allow(taken, within=0.3)
        tcp.choice("segment without timestamps", "dropped" if answer is None else "taken", ["dropped", "taken"])
        conn.taken_in(snd_nxt=None if answer is None else conn.snd_nxt + len(payload))
    await conn.send(ACK, payload=b"with them")
    await conn.expect_ack(tsecr=conn.tsval)
    await conn.confirm(State.ESTABLISHED)


@BY
@verifies("RFC7323:3.2-ignored", needs=NEEDS)
async def test_timestamps_that_were_not_negotiated_are_ignored(tcp: Case, by: str) -> None:
    """Timestamps that were not negotiated are ignored.

    No Timestamps were negotiated; data of ours has them, first newer and then older ones. The target must ignore
    them: it takes the data, and answers without the option.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, by=by)
    for tsval in (1_000_000, 5):
        await conn.send(ACK, payload=b"some data", tsval=tsval)
        await conn.expect_ack(options=ABSENT)
    assert await conn.app.receive(18) == b"some data" * 2
