"""RFC 6298 section 5: when the target repeats its SYN, and what that leaves for the data that follows."""

import itertools

import pytest

from conformance.api import (
    ACK,
    RST,
    SECOND,
    SYN,
    Bound,
    Case,
    Connection,
    Flags,
    Received,
    Seq,
    State,
    app_accepts,
    verifies,
)

# How long the schedule is followed: long enough to see the backoff, not to the end of R2 (at least three minutes).
FOLLOWED_S = 36.0


async def repeated(conn: Connection, syn: Received, within: float) -> Received:
    """Return the next repetition of the SYN, which must be like the first: no ACK, same number, no data."""
    return await conn.expect_retransmission(syn, within=within)


@verifies(
    "RFC9293:3.10.8-retransmission",
    "RFC9293:MUST-22",
    "RFC6298:5.4",
    "RFC6298:5-early",
    "RFC6298:2.1",
    cells=["SYN-SENT/timeout-retransmission"],
    level="MUST",
    lasts=FOLLOWED_S,
)
async def test_syn_is_repeated_by_the_schedule_of_the_profile(tcp: Case) -> None:
    """The SYN is repeated by the schedule of the profile.

    The target's SYN is never answered. The target must repeat it unchanged, at the intervals that its profile
    documents, the first of a second or more, and nothing else may come in between.
    """
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0)
    ends = itertools.accumulate(bound.high_s for bound in tcp.schedule("syn-rto"))
    followed = [bound for bound, end_s in zip(tcp.schedule("syn-rto"), ends, strict=True) if end_s <= FOLLOWED_S * 1.2]
    stamps = await conn.expect_retransmissions(syn, within=[bound.high_s + 1 for bound in followed])
    tcp.check_series("retransmissions of SYN", stamps, followed, how="from each SYN to the next")
    await conn.confirm(State.SYN_SENT)


@verifies(
    "RFC6298:5.5",
    "RFC6298:5.6",
    "RFC9293:MUST-18",
    "RFC9293:MUST-19",
    "RFC1122:4.2.3.1-syn",
    cells=["SYN-SENT/timeout-retransmission"],
    lasts=8,
)
async def test_interval_between_syns_doubles(tcp: Case) -> None:
    """The interval between SYNs doubles.

    The target's SYN is never answered. Whatever the first interval is, each further one must be twice as long as
    the one before.
    """
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0)
    stamps = await conn.expect_retransmissions(syn, within=[4, 8, 16])
    tcp.check_series(
        "doubling of SYN's timeout",
        stamps,
        [Bound(0, 4, "4 s to see the first at all")],
        growth=tcp.growth("syn-rto", "RFC 6298, 5.5 and 5.6"),
        how="from each SYN to the next",
    )


@verifies(
    "RFC9293:3.10.7.3-syn-ack",
    "RFC9293:3.10.8-retransmission",
    cells=["SYN-SENT/syn-ack-acceptable", "SYN-SENT/timeout-retransmission"],
    lasts=4,
)
async def test_repeated_syn_is_answered_and_opens(tcp: Case) -> None:
    """A repeated SYN that is answered opens the connection.

    The target's first SYN is lost; we answer the repetition. The target must be ESTABLISHED and send no further
    SYN.
    """
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0)
    await repeated(conn, syn, within=tcp.timer("syn-rto").high_s + 1)
    await conn.send(SYN | ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.iss + 1, length=0)
    await conn.silence(for_=tcp.timer("syn-rto", 2.0).high_s, strict=True)
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(
    "flags", [pytest.param(ACK, id="ack"), pytest.param(SYN | ACK, id="syn-ack"), pytest.param(RST | ACK, id="rst-ack")]
)
@verifies(
    "RFC6298:5-early",
    "RFC9293:3.10.7.3-ack-unacceptable",
    cells=["SYN-SENT/ack-at-iss", "SYN-SENT/syn-ack-at-iss", "SYN-SENT/rst-ack-at-iss"],
    lasts=1.5,
)
async def test_unacceptable_ack_does_not_hasten_the_syn(tcp: Case, flags: Flags) -> None:
    """An unacceptable answer does not hasten the next SYN.

    In SYN-SENT comes a segment that acknowledges nothing that was sent, as an old duplicate may. The target must
    reset it (or drop it, if it is a RST) and repeat its SYN no earlier than one timeout after the first.
    """
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0)
    await conn.inject(flags, seq=Seq(1), ack=syn.segment.seq)
    if not flags & RST:
        await conn.expect(RST, seq=syn.segment.seq, length=0)
    again = await repeated(conn, syn, within=4)
    tcp.check_timing(
        "retransmission 1 of SYN",
        (again.at_ns - syn.at_ns) / SECOND,
        tcp.timer("syn-rto"),
        how="from the first SYN to the second",
    )


@pytest.mark.parametrize("by", ["passive", "active"])
@verifies(
    "RFC6298:5.7", "RFC9293:MUST-18", lasts=6, alone=True
)  # a host may remember round trips of earlier connections
async def test_data_after_a_repeated_syn_waits_three_seconds(tcp: Case, by: str) -> None:
    """After a repeated SYN the first data timeout is three seconds.

    The target's SYN (or SYN+ACK) is answered only after it was repeated; then its application sends data, which we
    ignore. The handshake has measured no round trip, so the data must be repeated three seconds later, not one.
    """
    if by == "active":
        conn = await tcp.connect()
        syn = await conn.expect(SYN, length=0)
        await repeated(conn, syn, within=tcp.timer("syn-rto").high_s + 1)
        await conn.send(SYN | ACK)
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.iss + 1, length=0)
        await conn.app.connected()
    else:
        conn = await tcp.listen()
        await conn.send(SYN)
        syn = await conn.expect(SYN | ACK, ack=conn.iss + 1, length=0)
        await repeated(conn, syn, within=tcp.timer("syn-ack-rto").high_s + 1)
        await conn.send(ACK)
        await app_accepts(conn)
    await conn.app.send(b"data")
    data = await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.iss + 1, payload=b"data")
    again = await conn.expect_retransmission(data, within=5)
    bound = tcp.timer("initial-rto", 3.0)
    tcp.check_timing(
        "retransmission 1 of data",
        (again.at_ns - data.at_ns) / SECOND,
        Bound(bound.low_s, bound.high_s, "RFC 6298, 5.7"),
        how="from the data to its repetition",
    )


@verifies("RFC6298:2.1", "RFC6298:2.1-initial", lasts=2.5)
async def test_first_timeout_is_a_second_or_more(tcp: Case) -> None:
    """The first retransmission timeout is a second or more.

    The target's SYN and its SYN+ACK on another connection are not answered at first. Before any round trip was
    measured the timeout is one second, or more where the stack chooses so.
    """
    opening = await tcp.connect()
    syn = await opening.expect(SYN, length=0)
    accepting = await tcp.listen()
    await accepting.send(SYN)
    syn_ack = await accepting.expect(SYN | ACK, ack=accepting.iss + 1, length=0)
    for conn, first, name in ((opening, syn, "SYN"), (accepting, syn_ack, "SYN+ACK")):
        again = await conn.expect_retransmission(first, within=5)
        tcp.check_timing(
            f"retransmission 1 of {name}",
            (again.at_ns - first.at_ns) / SECOND,
            Bound(tcp.timer("initial-rto", 1.0).low_s, 5, "RFC 6298, 2.1; 5 s to see it at all"),
            how=f"from the {name} to its repetition",
        )
