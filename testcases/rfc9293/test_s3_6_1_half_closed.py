"""RFC 9293 section 3.6.1: a connection that is closed in one direction only, and an application that stops reading."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    PSH,
    RST,
    Case,
    Connection,
    State,
    after,
    app_reads,
    app_sends,
    in_state,
    resets,
    verifies,
)

DATA = b"said in the direction that is still open"
RECEIVES = ("RFC9293:3.6-simplex-close", "RFC9293:3.6-case-1-receive", "RFC9293:3.10.7.4-text", "claim:C-15")
DATA_LOST = ("RFC9293:SHLD-3", "RFC9293:MAY-1", "RFC1122:4.2.2.13-data-lost", "RFC1122:4.2.2.13-half-duplex")


def short_of_the_fin(conn: Connection, state: State) -> int | None:
    """Return the acknowledgment that leaves the target in `state`: in FIN-WAIT-1 it must not cover the target's FIN."""
    return conn.fin_seen.seq if state is State.FIN_WAIT_1 else conn.rcv_nxt


# We have closed, the target has not


@pytest.mark.parametrize("by", ["passive", "active"])
@verifies(
    "RFC9293:3.6.1-half-closed",
    "RFC9293:3.10.7.4-ack-close-wait",
    "claim:C-14",
    cells=["CLOSE-WAIT/call-send", "CLOSE-WAIT/ack-new"],
)
async def test_half_closed_by_us_the_target_still_sends(tcp: Case, by: str) -> None:
    """CLOSE-WAIT still sends data.

    After our FIN the application sends three times, and we acknowledge each piece. In CLOSE-WAIT the target must
    send the data, take our acknowledgments, and send its FIN after the last octet.
    """
    conn = await tcp.drive_to(State.CLOSE_WAIT, by=by)
    for piece in (DATA, DATA[:1], DATA * 2):
        await conn.collect(piece)
    await conn.silence()
    await conn.confirm(State.CLOSE_WAIT)
    await conn.app.shutdown("send")
    await conn.expect_fin()
    await conn.send(ACK)
    await conn.confirm(State.CLOSED)


@verifies("RFC9293:3.10.7.4-fin", "RFC9293:3.6.1-half-closed", "claim:C-14")
async def test_application_is_told_of_our_close_not_before_our_fin(tcp: Case) -> None:
    """The application learns of our close with our FIN, not before.

    The application reads before we send anything, our data and beyond it, and after our FIN. It must see the end of
    the stream only after the FIN.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.fails("receive", "timeout", wait_s=0.2, count=1)
    await conn.send(ACK | PSH, payload=DATA)
    await conn.expect_ack()
    await app_reads(conn, DATA)
    await conn.app.fails("receive", "timeout", wait_s=0.2, count=1)
    await conn.send(FIN | ACK)
    await conn.expect_ack()
    assert await conn.app.at_end(), "the application is not told that we have closed"


@verifies(
    "RFC9293:3.6.1-half-closed",
    "RFC9293:3.10.8-retransmission",
    "claim:C-14",
    cells=["CLOSE-WAIT/timeout-retransmission", "CLOSE-WAIT/ack-new"],
)
async def test_half_closed_by_us_lost_data_is_sent_again(tcp: Case) -> None:
    """CLOSE-WAIT sends lost data again.

    In CLOSE-WAIT the target sends data, which we do not acknowledge at first. It must send the data again, and stop
    when we acknowledge it.
    """
    conn = await tcp.drive_to(State.CLOSE_WAIT)
    sent = await app_sends(conn, DATA)
    await conn.expect_retransmission(sent)
    await conn.send(ACK)
    await conn.silence(for_=2)
    await conn.confirm(State.CLOSE_WAIT)


@verifies("RFC9293:3.6.1-half-closed", "RFC9293:3.10.3-close-wait", "claim:C-14", cells=["CLOSE-WAIT/call-receive"])
async def test_half_closed_by_us_what_was_unread_can_still_be_read(tcp: Case) -> None:
    """CLOSE-WAIT still delivers unread data.

    Our data and our FIN arrive before the application reads anything. In CLOSE-WAIT it must still read all the
    data, and then the end of the stream.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(ACK | PSH, payload=DATA)
    await conn.expect_ack()
    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.CLOSE_WAIT)
    await app_reads(conn, DATA, ended=True)


# The target has closed, we have not


@pytest.mark.parametrize(
    "state",
    [
        in_state(
            State.FIN_WAIT_1,
            marks=verifies(*RECEIVES, cells=["FIN-WAIT-1/data", "FIN-WAIT-1/data-psh", "FIN-WAIT-1/call-receive"]),
        ),
        in_state(
            State.FIN_WAIT_2,
            marks=verifies(*RECEIVES, cells=["FIN-WAIT-2/data", "FIN-WAIT-2/data-psh", "FIN-WAIT-2/call-receive"]),
        ),
    ],
)
async def test_half_closed_by_the_target_it_still_receives(tcp: Case, state: State) -> None:
    """{state} still receives data, and then our FIN.

    After the target's FIN we send three pieces of data, and then our own FIN. The target must acknowledge each
    piece and hand it to the application. It must stay in its state until our FIN.
    """
    conn = await tcp.drive_to(state)
    ack = short_of_the_fin(conn, state)
    for piece in (DATA, DATA[:1], DATA * 2):
        await conn.send(ACK | PSH, ack=ack, payload=piece)
        await conn.expect_ack()
        await app_reads(conn, piece)
    await conn.confirm(state)

    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await app_reads(conn, b"", ended=True)
    await conn.confirm(State.TIME_WAIT)


@verifies(
    "RFC9293:3.6-simplex-close",
    "RFC9293:3.10.7.4-ack-fin-wait-1",
    "claim:C-15",
    cells=["FIN-WAIT-1/ack-covers-fin", "FIN-WAIT-1/data"],
)
async def test_half_closed_by_the_target_our_data_acknowledges_its_fin(tcp: Case) -> None:
    """Our data may acknowledge the target's FIN in FIN-WAIT-1.

    In FIN-WAIT-1 our data acknowledges the target's FIN. The target must acknowledge and deliver the data, and
    enter FIN-WAIT-2.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_1)
    await conn.deliver(DATA)
    await conn.confirm(State.FIN_WAIT_2)


@verifies(
    "RFC9293:3.6-case-1-receive",
    "RFC9293:3.6-case-1-retransmit",
    "RFC9293:3.10.7.4-ack-new",
    "claim:C-15",
    cells=["FIN-WAIT-1/data", "FIN-WAIT-1/ack-new-not-fin", "FIN-WAIT-1/timeout-retransmission"],
)
async def test_half_closed_by_the_target_data_goes_both_ways(tcp: Case) -> None:
    """After the target's FIN, data still goes both ways.

    The target has sent two pieces of data and its FIN. We acknowledge only the first piece, and send data of our
    own.

    The target must acknowledge and deliver our data. It must send again what we have not acknowledged, nothing
    else, and its FIN last.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, options=[("tcp", "TCP_NODELAY", 1)])
    await conn.collect(DATA)
    lost = await app_sends(conn, DATA)
    await conn.app.shutdown("send")
    fin = await conn.expect_fin()

    await conn.send(ACK | PSH, ack=lost.segment.seq, payload=DATA, text="ours, covering the first piece only")
    await conn.expect_ack()
    await app_reads(conn, DATA)

    await conn.expect_retransmission(lost, fin)
    await conn.send(ACK, ack=fin.segment.seq, text="covers all but the FIN")

    await conn.expect_retransmission(fin)
    await conn.send(ACK)
    await conn.silence(for_=2)
    await conn.confirm(State.FIN_WAIT_2)


@verifies(
    "RFC9293:3.3.2-fin-wait-2",
    "claim:C-20",
    cells=["arc/FIN-WAIT-1-rcv-ack-of-fin", "arc/FIN-WAIT-2-rcv-fin"],
    lasts=66,
)
async def test_fin_wait_2_of_a_held_socket_has_no_timeout(tcp: Case) -> None:
    """FIN-WAIT-2 of a held socket has no timeout.

    The application has shut its connection down but holds the socket. We send nothing for 65 s, and then data and
    our FIN. The target must still be in FIN-WAIT-2, deliver the data, and complete the close.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_2)
    await conn.silence(for_=65)
    await conn.confirm(State.FIN_WAIT_2)

    await conn.deliver(DATA)
    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.TIME_WAIT)


@verifies(
    "RFC9293:3.3.2-fin-wait-2",
    "claim:C-20",
    cells=["arc/FIN-WAIT-1-rcv-ack-of-fin"],
    lasts=after("fin-wait-2-orphan", 10),
)
async def test_fin_wait_2_of_an_orphan_ends_when_documented(tcp: Case) -> None:
    """FIN-WAIT-2 of an orphan ends when documented.

    The application has closed its socket, and our FIN never arrives. The standard has no timeout for this. The
    target must keep to the one that its profile documents, and end in silence.
    """
    bound = tcp.timer("fin-wait-2-orphan")
    conn = await tcp.drive_to(State.FIN_WAIT_1, how="close")
    await conn.listener.close()
    acked = await conn.send(ACK)
    await conn.confirm(State.FIN_WAIT_2)

    ending = await tcp.see_end(conn, since_ns=acked.at_ns, expected=bound, since="our ACK of the FIN")
    tcp.check_timing("fin-wait-2-orphan", ending.gone_s, ending.within(bound), how=ending.how)
    await conn.confirm(State.CLOSED)


@verifies(
    "RFC9293:3.3.2-fin-wait-2",
    "RFC9293:3.10.7.4-fin-fin-wait-2",
    "claim:C-20",
    cells=["arc/FIN-WAIT-2-rcv-fin", "FIN-WAIT-2/fin"],
    lasts=30,
)
async def test_fin_wait_2_of_an_orphan_still_completes_the_close(tcp: Case) -> None:
    """FIN-WAIT-2 of an orphan still completes the close.

    The application has closed its socket. Our FIN arrives after 28 s, or shortly before the target's timeout. The
    target must still acknowledge it and enter TIME-WAIT.
    """
    limit = tcp.profile.timers.get("fin-wait-2-orphan")
    conn = await tcp.drive_to(State.FIN_WAIT_2, how="close")
    await conn.silence(for_=28 if limit is None else min(28, 0.75 * limit.low_s))
    await conn.confirm(State.FIN_WAIT_2)
    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.TIME_WAIT)


# The application has closed for good: half-duplex close


@pytest.mark.parametrize(
    "state",
    [
        in_state(State.FIN_WAIT_1, marks=verifies(*DATA_LOST, cells=["FIN-WAIT-1/data-reader-gone"])),
        in_state(State.FIN_WAIT_2, marks=verifies(*DATA_LOST, cells=["FIN-WAIT-2/data-reader-gone"])),
    ],
)
async def test_data_for_an_application_that_has_closed_is_reset(tcp: Case, state: State) -> None:
    """Data for a closed application is reset in {state}.

    The application has closed its socket, and data arrives for it. The target should send a RST to show that the
    data is lost, and forget the connection. The RST may answer the segment, or be that of an ABORT at SND.NXT.
    """
    conn = await tcp.drive_to(state, how="close")
    sent = await conn.send(ACK | PSH, ack=short_of_the_fin(conn, state), payload=DATA)
    # The reset answers the segment (section 3.5.2), or it is that of an ABORT (section 3.10.5).
    await conn.expect_any(*(form for seq in (sent.segment.ack, conn.rcv_nxt) for form in resets(seq=seq)))
    await conn.confirm(State.CLOSED)


@pytest.mark.parametrize(
    "state",
    [
        in_state(State.ESTABLISHED, marks=verifies(*DATA_LOST)),
        in_state(State.CLOSE_WAIT, marks=verifies(*DATA_LOST)),
    ],
)
async def test_close_with_unread_data_is_a_reset(tcp: Case, state: State) -> None:
    """CLOSE with unread data sends a reset in {state}.

    The application closes its socket without reading what we sent. The target should send a RST in place of a FIN,
    to show that the data is lost.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    flags = ACK | PSH if state is State.ESTABLISHED else FIN | ACK | PSH
    await conn.send(flags, payload=DATA)
    await conn.expect_ack()
    await conn.confirm(state)
    await conn.app.close()
    await conn.expect(RST | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    await conn.confirm(State.CLOSED)
