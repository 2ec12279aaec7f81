"""RFC 9293 section 3.5: establishing a connection, and Figure 5's arcs from CLOSED to ESTABLISHED."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    RST,
    SECOND,
    SYN,
    AppError,
    Case,
    Connection,
    Expectation,
    Flags,
    NotApplicable,
    Received,
    Seq,
    State,
    Violation,
    after,
    app_accepts,
    app_reads,
    verifies,
)

OPENS = pytest.mark.parametrize("by", ["passive", "active"])
STILL_WAITS_S = 0.3


async def accepted(conn: Connection) -> None:
    """See that accept() gives the application this connection and no other."""
    await app_accepts(conn)
    if conn.app.port != conn.port:
        raise Violation(f"accept() gave a connection from port {conn.app.port}, opened was one from {conn.port}")


async def still_waits(conn: Connection) -> None:
    """See that the application's accept() still waits: nothing was handed to it."""
    await conn.listener.fails("accept", "timeout", wait_s=STILL_WAITS_S)


async def syn_ack_of(conn: Connection) -> Received:
    """Send our SYN and return the target's answer."""
    await conn.send(SYN)
    return await conn.expect(SYN | ACK, ack=conn.iss + 1, length=0)


def right_edge(received: Received) -> Seq:
    """Return the first number beyond the window that a segment offers, where windows are not scaled."""
    return received.segment.ack + received.segment.window


async def opened(conn: Connection, by: str) -> None:
    """See that the application has the connection: from accept(), or by the end of its connect()."""
    if by == "passive":
        await accepted(conn)
    else:
        await conn.app.connected()


# The three-way handshake


@verifies(
    "RFC9293:3.5-handshake",
    "RFC9293:3.4.1-handshake",
    "RFC9293:3.10.7.2-listen-syn",
    "RFC9293:3.10.7.4-ack-syn-received",
    "claim:C-01",
    cells=[
        "LISTEN/syn",
        "SYN-RECEIVED(passive)/ack-acceptable",
        "arc/LISTEN-rcv-syn",
        "arc/SYN-RECEIVED-rcv-ack-of-syn",
    ],
)
async def test_passive_open_takes_three_segments(tcp: Case) -> None:
    """A passive open takes three segments.

    We send a SYN, the target answers with a SYN,ACK, and our ACK completes the handshake. The SYN,ACK must
    acknowledge our SYN. The target must send nothing after our ACK.
    """
    conn = await tcp.listen()
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.iss + 1, length=0)
    await conn.send(ACK)
    await conn.silence()
    await accepted(conn)
    await conn.confirm(State.ESTABLISHED)


@verifies(
    "RFC9293:3.5-handshake",
    "RFC9293:3.4.1-handshake",
    "RFC9293:3.10.7.3-syn-ack",
    "claim:C-01",
    cells=[
        "SYN-SENT/syn-ack-acceptable",
        "CLOSED/call-open-active",
        "arc/CLOSED-active-open",
        "arc/SYN-SENT-rcv-syn-ack",
    ],
)
async def test_active_open_takes_three_segments(tcp: Case) -> None:
    """An active open takes three segments.

    The target sends a SYN, we answer with a SYN,ACK, and the target's ACK completes the handshake.

    Its ACK must be empty, must have the number after its SYN, and must acknowledge our SYN. It must send nothing
    more.
    """
    conn = await tcp.connect()
    await conn.expect(SYN, length=0)
    await conn.send(SYN | ACK, ack=conn.irs + 1)
    await conn.expect(ACK, seq=conn.irs + 1, ack=conn.iss + 1, length=0)
    await opened(conn, "active")
    await conn.silence()
    await conn.confirm(State.ESTABLISHED)


@OPENS
@pytest.mark.parametrize(
    "iss",
    [pytest.param(None, id="any"), pytest.param(0, id="zero"), pytest.param(0xFFFFFFFF, id="last-before-the-wrap")],
)
@verifies("RFC9293:3.5-syn-ack", "RFC9293:3.4-syn-fin-sequence", "claim:C-02")
async def test_syn_occupies_one_sequence_number(tcp: Case, by: str, iss: int | None) -> None:
    """A SYN occupies one sequence number.

    Neither SYN carries data, so the first octet of data has the number after the SYN, in both directions.

    The target must acknowledge our SYN as one number and take our data from the next. Its own data must begin one
    number after its SYN.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, by=by, iss=iss)
    await conn.send(ACK, seq=conn.iss + 1, payload=b"first")
    await conn.expect(ACK, seq=conn.irs + 1, ack=conn.iss + 1 + len(b"first"), length=0)
    await app_reads(conn, b"first")

    await conn.app.send(b"reply")
    await conn.expect(ACK, seq=conn.irs + 1, ack=conn.iss + 1 + len(b"first"), payload=b"reply")


@OPENS
@verifies("RFC9293:3.5-ack-no-sequence", "claim:C-03")
async def test_empty_ack_occupies_no_sequence_number(tcp: Case, by: str) -> None:
    """An empty ACK occupies no sequence number.

    After the handshake we send three empty ACKs, and then data with the same number. The target must not answer the
    ACKs. It must take the data as the next in order.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, by=by)
    for _ in range(3):
        await conn.send(ACK, seq=conn.iss + 1)
    await conn.silence()

    await conn.deliver(b"after three ACKs")


@OPENS
@verifies(
    "RFC9293:3.5-third-segment",
    "RFC9293:3.10.7.4-ack-syn-received",
    "RFC9293:3.10.7.4-text",
    "claim:C-03",
    cells=["SYN-RECEIVED(passive)/data-acceptable", "SYN-RECEIVED(active)/data-acceptable"],
)
async def test_third_segment_may_carry_data(tcp: Case, by: str) -> None:
    """Data in the third segment is delivered.

    The segment that acknowledges the target's SYN,ACK carries data. The target must acknowledge the data and hand
    it to the application.
    """
    conn = await tcp.drive_to(State.SYN_RECEIVED, by=by)
    await conn.send(ACK, payload=b"early")
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.iss + 1 + len(b"early"), length=0)
    await opened(conn, by)
    await app_reads(conn, b"early")
    await conn.confirm(State.ESTABLISHED)


@OPENS
@verifies(
    "RFC9293:3.10.7.4-fin-established",
    "RFC9293:3.10.7.4-fin",
    cells=["SYN-RECEIVED(passive)/fin-acceptable", "SYN-RECEIVED(active)/fin-acceptable"],
)
async def test_third_segment_may_carry_fin(tcp: Case, by: str) -> None:
    """A FIN in the third segment leads to CLOSE-WAIT.

    The segment that acknowledges the target's SYN,ACK carries our FIN. The target must acknowledge the FIN and
    enter CLOSE-WAIT. It must tell the application that the stream has ended.
    """
    conn = await tcp.drive_to(State.SYN_RECEIVED, by=by)
    await conn.send(FIN | ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.iss + 2, length=0)
    await opened(conn, by)
    if not await conn.app.at_end():
        raise Violation("the application was not told the end of the stream")
    await conn.confirm(State.CLOSE_WAIT)


@verifies("RFC9293:3.10.7.3-syn-ack-more", cells=["SYN-SENT/syn-ack-data"])
async def test_data_in_the_syn_ack_is_taken(tcp: Case) -> None:
    """Data in the SYN,ACK is delivered.

    We answer the target's SYN with a SYN,ACK that carries data. The target must acknowledge the data and hand it to
    the application.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    await conn.send(SYN | ACK, payload=b"early")
    which, _ = await conn.expect_any(
        Expectation(ACK, seq=conn.rcv_nxt, ack=conn.iss + 1 + len(b"early"), length=0, label="data acknowledged:"),
        Expectation(ACK, seq=conn.rcv_nxt, ack=conn.iss + 1, length=0, label="SYN alone acknowledged:"),
    )
    if which:
        # The acknowledgment of the data may be one of its own, and delayed (MUST-40).
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.iss + 1 + len(b"early"), length=0)
    await app_reads(conn, b"early")


@verifies("RFC9293:3.10.7.3-syn-ack-more", "RFC9293:3.10.7.4-fin", cells=["SYN-SENT/syn-ack-fin"])
async def test_fin_in_the_syn_ack_is_taken(tcp: Case) -> None:
    """A FIN in the SYN,ACK leads to CLOSE-WAIT.

    We answer the target's SYN with a SYN,ACK that carries our FIN. The target must acknowledge the FIN and enter
    CLOSE-WAIT.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    await conn.send(SYN | FIN | ACK)
    which, _ = await conn.expect_any(
        Expectation(ACK, seq=conn.rcv_nxt, ack=conn.iss + 2, length=0, label="FIN acknowledged:"),
        Expectation(ACK, seq=conn.rcv_nxt, ack=conn.iss + 1, length=0, label="SYN alone acknowledged:"),
    )
    if which:
        await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.iss + 2, length=0)
    await conn.confirm(State.CLOSE_WAIT)


@verifies("RFC9293:3.10.7.2-listen-syn-more", "RFC9293:3.5-data-held", "claim:C-04", cells=["LISTEN/syn-data"])
async def test_data_in_the_syn_is_held_until_the_third_segment(tcp: Case) -> None:
    """Data in the SYN is held until the third segment.

    A SYN with data opens the connection. The target must answer with a SYN,ACK that covers the SYN, or the SYN and
    the data.

    It must not hand the data to the application before the handshake is complete. Data that it has not acknowledged
    it must take when we send it again.
    """
    conn = await tcp.listen()
    await conn.send(SYN, payload=b"early")
    which, _ = await conn.expect_any(
        Expectation(SYN | ACK, ack=conn.iss + 1 + len(b"early"), length=0, label="data acknowledged:"),
        Expectation(SYN | ACK, ack=conn.iss + 1, length=0, label="SYN alone acknowledged:"),
    )
    tcp.choice("data in a SYN", "not kept" if which else "kept", allowed=["kept", "not kept"])
    await still_waits(conn)

    if which:
        await conn.send(ACK, seq=conn.iss + 1, payload=b"early")
        await conn.expect_ack()
    else:
        await conn.send(ACK)
    await accepted(conn)
    await app_reads(conn, b"early")


# SYN-RECEIVED lasts until the third segment


@verifies(
    "RFC9293:3.3.2-syn-received",
    "RFC9293:3.10.7.2-listen-syn-state",
    "claim:C-04",
    "claim:C-10",
    cells=[
        "LISTEN/syn",
        "SYN-RECEIVED(passive)/ack-acceptable",
        "arc/LISTEN-rcv-syn",
        "arc/SYN-RECEIVED-rcv-ack-of-syn",
    ],
)
async def test_passive_open_is_not_established_before_the_third_segment(tcp: Case) -> None:
    """A passive open stays in SYN-RECEIVED until the third segment.

    We hold the third segment of the handshake back for a while, and then send it. Until then the target must stay
    in SYN-RECEIVED and hand nothing to the application. Then it must be ESTABLISHED.
    """
    conn = await tcp.listen()
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.iss + 1, length=0)
    await conn.confirm(State.SYN_RECEIVED)
    await still_waits(conn)
    await conn.confirm(State.SYN_RECEIVED)

    await conn.send(ACK)
    await accepted(conn)
    await conn.confirm(State.ESTABLISHED)


@verifies(
    "RFC9293:3.10.7.4-no-ack",
    "RFC9293:3.5-data-held",
    "claim:C-04",
    "claim:C-10",
    cells=["SYN-RECEIVED(passive)/no-ack", "SYN-RECEIVED(active)/no-ack"],
)
@OPENS
async def test_data_without_ack_does_not_open(tcp: Case, by: str) -> None:
    """Data without ACK does not complete the handshake.

    In SYN-RECEIVED data arrives in order, but without the ACK bit. The target must drop it without an answer and
    stay in SYN-RECEIVED. The application must never read that data.
    """
    conn = await tcp.drive_to(State.SYN_RECEIVED, by=by)
    await conn.inject(payload=b"not valid yet")
    await conn.silence()
    await conn.confirm(State.SYN_RECEIVED)

    await conn.send(ACK)
    await opened(conn, by)
    await conn.deliver(b"valid")


@OPENS
@verifies(
    "RFC9293:3.10.7.4-ack-syn-received-bad",
    "RFC9293:3.5.2-group-2",
    "RFC9293:3.5-data-held",
    "claim:C-04",
    cells=["SYN-RECEIVED(passive)/ack-at-iss", "SYN-RECEIVED(active)/ack-at-iss"],
)
async def test_data_that_does_not_acknowledge_the_syn_does_not_open(tcp: Case, by: str) -> None:
    """Data that does not acknowledge the SYN is reset.

    In SYN-RECEIVED data arrives in order, but its ACK has the number of the target's SYN, not the one after it.

    The target must answer <SEQ=SEG.ACK><CTL=RST> and stay in SYN-RECEIVED. The application must never read that
    data.
    """
    conn = await tcp.drive_to(State.SYN_RECEIVED, by=by)
    await conn.inject(ACK, ack=conn.irs, payload=b"not valid yet")
    await conn.expect(RST, seq=conn.irs, length=0)
    await conn.confirm(State.SYN_RECEIVED)

    await conn.send(ACK)
    await opened(conn, by)
    await conn.deliver(b"valid")


@OPENS
@verifies(
    "RFC9293:3.10.7.4-ack-range",
    "RFC9293:3.5.2-group-2",
    cells=[
        "SYN-RECEIVED(passive)/ack-beyond",
        "SYN-RECEIVED(active)/ack-beyond",
        "SYN-RECEIVED(passive)/ack-at-iss",
        "SYN-RECEIVED(active)/ack-at-iss",
    ],
)
async def test_ack_of_something_not_sent_does_not_open(tcp: Case, by: str) -> None:
    """An ACK of something not sent does not complete the handshake.

    In SYN-RECEIVED an ACK arrives that is one number beyond SND.NXT. The target must answer with a reset at that
    number (section 3.5.2) or with an ACK (RFC 5961). It must stay in SYN-RECEIVED.
    """
    conn = await tcp.drive_to(State.SYN_RECEIVED, by=by)
    await conn.inject(ACK, ack=conn.rcv_nxt + 1)
    which, _ = await conn.expect_any(
        Expectation(RST, seq=conn.rcv_nxt + 1, length=0),
        Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0),
    )
    tcp.choice("answer to an ACK beyond SND.NXT in SYN-RECEIVED", ("RST", "ACK")[which], allowed=["RST", "ACK"])
    await conn.confirm(State.SYN_RECEIVED)

    await conn.send(ACK)
    await opened(conn, by)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC9293:3.10.7.4-seq-unacceptable", cells=["SYN-RECEIVED(passive)/syn-outside-left"])
async def test_repeated_syn_is_answered_again(tcp: Case) -> None:
    """A repeated SYN is answered again.

    Our SYN arrives a second time, as if the SYN,ACK had been lost. The target must acknowledge it: with an empty
    ACK by the letter of the text, or with the same SYN,ACK, as most stacks do.
    """
    conn = await tcp.drive_to(State.SYN_RECEIVED)
    await conn.send(SYN, seq=conn.iss, ack=0, text="the same SYN again")
    # Half a second is well before the target's timer could repeat the SYN,ACK: that takes 1 s at least.
    which, _ = await conn.expect_any(
        Expectation(SYN | ACK, seq=conn.irs, ack=conn.iss + 1, length=0),
        Expectation(ACK, seq=conn.rcv_nxt, ack=conn.iss + 1, length=0),
        within=0.5,
        strict=True,
    )
    answer = ("SYN+ACK", "ACK")[which]
    tcp.choice("answer to a repeated SYN in SYN-RECEIVED", answer, allowed=["SYN+ACK", "ACK"])
    await conn.confirm(State.SYN_RECEIVED)

    await conn.send(ACK)
    await accepted(conn)


@verifies(
    "RFC9293:3.10.8-retransmission",
    "RFC9293:MUST-19",
    "RFC6298:5.5",
    "claim:C-04",
    "claim:C-10",
    cells=["SYN-RECEIVED/timeout-retransmission"],
    lasts=after("syn-ack-rto", 2, intervals=5),
)
async def test_syn_ack_is_repeated_with_doubling_intervals(tcp: Case) -> None:
    """The SYN,ACK is repeated with doubling intervals.

    The third segment of the handshake never arrives. The target must repeat its SYN,ACK unchanged, by the schedule
    of its profile: each interval is twice the one before.
    """
    conn = await tcp.listen()
    last = syn_ack = await syn_ack_of(conn)
    for number, bound in enumerate(tcp.schedule("syn-ack-rto"), 1):
        again = await conn.expect_retransmission(syn_ack, within=bound.high_s + 1)
        if again.segment.ack != conn.iss + 1:
            raise Violation(f"the repeated SYN+ACK acknowledges {again.segment.ack}, owed was {conn.iss + 1}")
        tcp.check_timing(
            f"retransmission {number} of SYN+ACK",
            (again.at_ns - last.at_ns) / SECOND,
            bound,
            how="from the SYN+ACK before to this one",
        )
        last = again
    await conn.confirm(State.SYN_RECEIVED)


@verifies(
    "RFC9293:3.8.3-r2",
    "RFC9293:MUST-22",
    "claim:C-04",
    cells=["SYN-RECEIVED/timeout-r2"],
    needs=("app", "state"),
    lasts=after("syn-ack-rto", 3, intervals=6),
)
async def test_half_open_connection_is_given_up(tcp: Case) -> None:
    """A half-open connection is given up in silence.

    The third segment of the handshake never arrives, not even after the last SYN,ACK. One more doubled interval
    later the target must give up without a segment.

    The connection must be gone and the listener must remain. The application must never hear of it.
    """
    conn = await tcp.listen()
    last = syn_ack = await syn_ack_of(conn)
    for bound in tcp.schedule("syn-ack-rto"):
        last = await conn.expect_retransmission(syn_ack, within=bound.high_s + 1)
    until_given_up = tcp.timer("syn-ack-rto", 2 * tcp.profile.timer("syn-ack-rto").schedule_s[-1])
    await conn.silence(for_=until_given_up.low_s - 1, strict=True)
    await conn.confirm(State.SYN_RECEIVED, probe=False)
    # The target gives up in silence: only the agent shows when.
    while await tcp.state_of(conn) is State.SYN_RECEIVED:
        if (tcp.clock.now_ns() - last.at_ns) / SECOND > until_given_up.high_s:
            break
        await tcp.sleep(0.05)
    tcp.check_timing(
        "half-open connection",
        (tcp.clock.now_ns() - last.at_ns) / SECOND,
        until_given_up,
        how="from the last SYN+ACK to the end of SYN-RECEIVED by the agent's word",
    )
    await conn.silence(strict=True)
    await still_waits(conn)

    late = await conn.inject(ACK, text="the third segment, too late")
    await conn.expect(RST, seq=late.segment.ack, length=0)
    await conn.confirm(State.LISTEN)


@verifies(
    "RFC9293:3.10.7.4-ack-syn-received",
    "RFC9293:3.10.8-retransmission",
    "claim:C-04",
    lasts=after("syn-ack-rto", 1, intervals=3),
)
async def test_late_third_segment_opens(tcp: Case) -> None:
    """A late third segment completes the handshake.

    The third segment arrives after the SYN,ACK was repeated twice. The target must be ESTABLISHED then, and must
    stop repeating.
    """
    conn = await tcp.listen()
    syn_ack = await syn_ack_of(conn)
    first, second, *later = tcp.schedule("syn-ack-rto")
    await conn.expect_retransmission(syn_ack, within=first.high_s + 1)
    await conn.expect_retransmission(syn_ack, within=second.high_s + 1)

    await conn.send(ACK)
    await accepted(conn)
    await conn.silence(for_=max(bound.high_s for bound in (second, *later[:1])), strict=True)
    await conn.deliver(b"late but valid")


# Old duplicates and refusals


@verifies(
    "RFC9293:3.5-old-duplicate-syn",
    "RFC9293:3.4.1-verify-syn",
    "RFC9293:3.10.7.4-rst-syn-received-passive",
    "claim:C-05",
    cells=["SYN-RECEIVED(passive)/rst-left-edge", "arc/SYN-RECEIVED-rcv-rst"],
)
async def test_old_duplicate_syn_leaves_nothing_behind(tcp: Case) -> None:
    """An old duplicate SYN leaves nothing behind.

    An old SYN arrives. Its sender knows nothing of it and resets the target's answer. Then the real SYN arrives.

    The target must answer the old SYN and return to LISTEN on the reset, without telling the application. It must
    open the real connection as if the old SYN had never arrived.
    """
    old = await tcp.listen()
    await old.send(SYN, text="an old duplicate")
    answer = await old.expect(SYN | ACK, ack=old.iss + 1, length=0)
    await old.send(RST, seq=answer.segment.ack, text="no such connection here")
    await old.silence()
    await old.confirm(State.LISTEN)
    await still_waits(old)

    conn = old.next_incarnation()
    await conn.send(SYN, text="the real one")
    await conn.expect(SYN | ACK, ack=conn.iss + 1, length=0)
    await conn.send(ACK)
    await accepted(conn)
    await conn.deliver(b"real")


@verifies("RFC9293:3.5.2-group-1", "RFC9293:3.10.7.1-no-ack", "claim:C-06", cells=["CLOSED/syn"])
async def test_syn_to_a_closed_port_is_refused(tcp: Case) -> None:
    """A SYN to a closed port is refused with a RST,ACK.

    A SYN arrives for a port on which nobody listens. The target must answer <SEQ=0><ACK=SEG.SEQ+1><CTL=RST,ACK>.
    """
    conn = await tcp.drive_to(State.CLOSED)
    await conn.send(SYN)
    await conn.expect(RST | ACK, seq=Seq(0), ack=conn.iss + 1, length=0)
    await conn.silence()
    await conn.confirm(State.CLOSED)


@verifies(
    "RFC9293:3.5.3-rst-syn-sent", "RFC9293:3.10.7.3-rst", "claim:C-06", cells=["SYN-SENT/rst-ack-acceptable"], lasts=1.5
)
async def test_refused_active_open_fails(tcp: Case) -> None:
    """A refused active open fails at once.

    We answer the target's SYN with a RST,ACK, as a closed port does. The target must give up at once: connect()
    fails with ECONNREFUSED, and no further SYN follows.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    await conn.inject(RST | ACK, seq=0)
    await conn.app.fails("connected", "ECONNREFUSED")
    await conn.silence(for_=tcp.timer("syn-rto").high_s, strict=True)
    await conn.confirm(State.CLOSED)


# Simultaneous open


@pytest.mark.parametrize(
    "last", [pytest.param(SYN | ACK, id="our-syn-ack-crosses"), pytest.param(ACK, id="our-ack-follows")]
)
@verifies(
    "RFC9293:MUST-10",
    "RFC9293:3.5-simultaneous-open",
    "RFC9293:3.5-simultaneous-states",
    "RFC9293:3.10.7.3-syn",
    "RFC1122:4.2.2.10",
    "claim:C-07",
    cells=[
        "SYN-SENT/syn",
        "SYN-RECEIVED(active)/ack-acceptable",
        "arc/SYN-SENT-rcv-syn",
        "arc/SYN-RECEIVED-rcv-ack-of-syn",
    ],
)
async def test_simultaneous_open(tcp: Case, last: Flags) -> None:
    """Simultaneous open leads to one connection.

    Our SYN crosses the target's. Then our SYN,ACK crosses the target's (Figure 7), or our ACK answers it.

    The target must answer our SYN with <SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK> and pass through SYN-RECEIVED. It must
    end with one connection that carries data both ways.

    In Figure 7 our SYN,ACK opens the connection. By the letter of the sequence check the target acknowledges and
    drops that segment; then our ACK of its SYN,ACK opens it.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    await conn.send(SYN, text="crosses the target's SYN")
    await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.iss + 1, length=0)
    await conn.confirm(State.SYN_RECEIVED, probe=last == ACK)

    if last == SYN | ACK:
        await conn.send(SYN | ACK, seq=conn.iss, ack=conn.irs + 1, text="crosses the target's SYN+ACK")
        await conn.allow(Expectation(ACK, seq=conn.irs + 1, ack=conn.iss + 1, length=0), within=0.3)
        word = await tcp.state_of(conn)
        if word is State.SYN_RECEIVED:
            tcp.note("the sequence check comes first: only an ACK opens")
        if word in (State.SYN_RECEIVED, None):  # where nobody can say, the ACK that we owe anyway changes nothing else
            await conn.send(ACK)
    else:
        await conn.send(ACK)

    await opened(conn, "active")
    await conn.confirm(State.ESTABLISHED)
    await conn.deliver(b"one way")
    await conn.collect(b"and the other")


@verifies("RFC9293:SHLD-14", "RFC9293:MUST-10", "claim:C-07", level="SHOULD")
async def test_simultaneous_open_does_not_shrink_the_window(tcp: Case) -> None:
    """Simultaneous open does not shrink the offered window.

    Our SYN without window scale crosses the target's, which offers it. Windows are therefore not scaled in either
    direction. When data arrives, the right edge that the target's SYN,ACK has offered should not move back.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    await conn.send(SYN, text="crosses the target's SYN")
    edge = right_edge(await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.iss + 1, length=0))

    await conn.send(ACK, payload=b"data")
    after = await conn.expect_ack()
    if right_edge(after) < edge:
        raise Violation(
            f"the right edge of the window moved back from {edge - conn.iss:+d} to {right_edge(after) - conn.iss:+d}"
        )


# Every state

WAYS = [
    pytest.param(State.CLOSED, "passive", None, id="closed"),
    pytest.param(State.LISTEN, "passive", None, id="listen"),
    pytest.param(State.SYN_SENT, "active", None, id="syn-sent"),
    *(
        pytest.param(state, by, None, id=f"{state.value.lower()}-by-{by}-open")
        for state in (
            State.SYN_RECEIVED,
            State.ESTABLISHED,
            State.FIN_WAIT_1,
            State.FIN_WAIT_2,
            State.CLOSE_WAIT,
            State.CLOSING,
            State.LAST_ACK,
        )
        for by in ("passive", "active")
    ),
    *(
        pytest.param(State.TIME_WAIT, by, via, id=f"time-wait-via-{via.value.lower()}-by-{by}-open")
        for via in (State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING)
        for by in ("passive", "active")
    ),
]


@pytest.mark.parametrize("state, by, via", WAYS)
@verifies("RFC9293:3.3.2-states", "claim:C-09")
async def test_state_is_reachable(tcp: Case, state: State, by: str, via: State | None) -> None:
    """A state is reached step by step.

    We drive the target into the state, one segment and one call at a time. It must be there by a probe on the wire,
    and by the agent's own word.
    """
    conn = await tcp.drive_to(state, by=by, via=via)
    await conn.confirm(state)


# Figure 5's arcs of the application's calls


@verifies(
    "RFC9293:3.10.1-closed-passive",
    "RFC9293:3.3.2-listen",
    cells=["CLOSED/call-open-passive", "arc/CLOSED-passive-open"],
)
async def test_passive_open_enters_listen(tcp: Case) -> None:
    """A passive open enters LISTEN.

    The application listens on a port that was closed. The target must refuse a SYN before that, send nothing for
    the call, and answer a SYN from any peer afterwards.
    """
    conn = await tcp.drive_to(State.CLOSED)
    await conn.confirm(State.CLOSED)

    conn.listener = await tcp.app.listen(port=conn.remote_port)
    await conn.silence()
    await conn.confirm(State.LISTEN)


@verifies(
    "RFC9293:3.10.1-closed-active",
    "RFC9293:3.3.2-syn-sent",
    cells=["CLOSED/call-open-active", "arc/CLOSED-active-open"],
)
async def test_active_open_enters_syn_sent(tcp: Case) -> None:
    """An active open sends a SYN and enters SYN-SENT.

    The application connects to us, and we leave the SYN unanswered. The target must send a single SYN, without ACK
    and without data, and wait in SYN-SENT.
    """
    conn = await tcp.connect()
    await conn.expect(SYN, length=0)
    await conn.confirm(State.SYN_SENT)


@pytest.mark.parametrize("how", ["close", "abort"])
@verifies(
    "RFC9293:3.10.4-listen",
    "RFC9293:3.10.5-listen",
    cells=["LISTEN/call-close", "LISTEN/call-abort", "arc/LISTEN-close"],
)
async def test_closing_a_listener_closes_the_port(tcp: Case, how: str) -> None:
    """Closing a listener closes the port.

    The application closes its listening socket. The target must send nothing for the call, and refuse a SYN
    afterwards.
    """
    conn = await tcp.drive_to(State.LISTEN)
    await conn.confirm(State.LISTEN)
    await (conn.listener.close() if how == "close" else conn.listener.abort())
    await conn.silence()

    await conn.send(SYN)
    await conn.expect(RST | ACK, seq=Seq(0), ack=conn.iss + 1, length=0)
    await conn.confirm(State.CLOSED)


@verifies("RFC9293:3.10.2-listen", cells=["LISTEN/call-send", "arc/LISTEN-send"])
async def test_send_on_a_listener_opens_actively(tcp: Case) -> None:
    """SEND on a listener opens actively.

    The application sends on a connection in LISTEN. Where its socket API can do that, the target must send a SYN
    and enter SYN-SENT.
    """
    conn = await tcp.drive_to(State.LISTEN)
    try:
        await conn.listener.send(b"data")
    except AppError as error:
        raise NotApplicable(
            f"the socket API has no SEND on a listening socket, nor a remote socket for it: send() fails with {error.code}"
        ) from None
    await conn.expect(SYN)
    await conn.confirm(State.SYN_SENT)


@pytest.mark.parametrize("how", ["close", "shutdown", "abort"])
@verifies(
    "RFC9293:3.10.4-syn-sent",
    "RFC9293:3.10.5-syn-sent",
    cells=["SYN-SENT/call-close", "SYN-SENT/call-abort", "arc/SYN-SENT-close"],
    lasts=1.5,
)
async def test_closing_in_syn_sent_gives_up(tcp: Case, how: str) -> None:
    """Closing in SYN-SENT gives the open up.

    The application closes its socket before its SYN is answered, and our SYN,ACK arrives too late. The target must
    send nothing for the call, and no further SYN. It must answer the SYN,ACK with a reset.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    match how:
        case "close":
            await conn.app.close()
        case "shutdown":
            await conn.app.shutdown("both")
        case "abort":
            await conn.app.abort()
    await conn.silence(for_=tcp.timer("syn-rto").high_s, strict=True)  # no further SYN

    await conn.inject(SYN | ACK)
    await conn.expect(RST, seq=conn.rcv_nxt, length=0)
    await conn.confirm(State.CLOSED)


# A reset in SYN-RECEIVED


@verifies(
    "RFC9293:MUST-11",
    "RFC9293:3.5.3-rst-syn-received",
    "RFC9293:3.3.2-note-1",
    "RFC9293:3.10.7.4-rst-syn-received-passive",
    "RFC1122:4.2.2.11",
    cells=["SYN-RECEIVED(passive)/rst-left-edge", "arc/SYN-RECEIVED-rcv-rst"],
)
async def test_reset_returns_a_passive_open_to_listen(tcp: Case) -> None:
    """A RST in SYN-RECEIVED returns a passive open to LISTEN.

    A SYN to a listener has led to SYN-RECEIVED. A RST at RCV.NXT arrives. The target must return to LISTEN without
    an answer, and without telling the application.
    """
    conn = await tcp.drive_to(State.SYN_RECEIVED, by="passive")
    await conn.send(RST)
    await conn.silence(for_=tcp.timer("syn-ack-rto").high_s, strict=True)
    await still_waits(conn)
    await conn.confirm(State.LISTEN)


@verifies(
    "RFC9293:MUST-11",
    "RFC9293:3.5.3-rst-syn-received",
    "RFC9293:3.10.7.4-rst-syn-received-active",
    "RFC1122:4.2.2.11",
    cells=["SYN-RECEIVED(active)/rst-left-edge"],
)
async def test_reset_refuses_an_active_open_in_syn_received(tcp: Case) -> None:
    """A RST in SYN-RECEIVED refuses an active open.

    The target's own SYN has led to SYN-RECEIVED. A RST at RCV.NXT arrives. The target must enter CLOSED without an
    answer, and connect() must fail: the connection was refused.
    """
    conn = await tcp.drive_to(State.SYN_RECEIVED, by="active")
    await conn.send(RST)
    await conn.silence(for_=tcp.timer("syn-ack-rto").high_s, strict=True)
    await conn.confirm(State.CLOSED)
    await conn.app.fails("connected", "ECONNREFUSED")
