"""RFC 9293 sections 3.5.1 to 3.5.3: resets that the target sends and takes before a connection is synchronized, and aborts."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    NO_FLAGS,
    PSH,
    RST,
    SYN,
    URG,
    Case,
    Connection,
    Expectation,
    Flags,
    Seq,
    State,
    Violation,
    app_accepts,
    app_sends,
    verifies,
)

# The errors by which the socket API tells an application that the peer has reset its connection.
RESET_ERRORS = ("ECONNRESET", "EPIPE")


async def expect_no_connection(conn: Connection, flags: Flags, payload: bytes) -> None:
    """Send a segment that belongs to no connection, and expect the reset that section 3.5.2 forms for it."""
    ack = Seq(0x1234_5678) if flags & ACK else Seq(0)
    sent = (await conn.inject(flags, ack=ack, payload=payload)).segment
    if flags & ACK:
        await conn.expect(RST, seq=sent.ack, length=0)
    else:
        await conn.expect(RST | ACK, seq=Seq(0), ack=sent.seq + sent.length, length=0)


# CLOSED (section 3.5.2, group 1)


@pytest.mark.parametrize(
    "flags, payload, cells",
    [
        pytest.param(SYN, b"", ("CLOSED/syn",), id="syn"),
        pytest.param(SYN, b"data", ("CLOSED/syn-data",), id="syn-with-data"),
        pytest.param(FIN, b"", ("CLOSED/fin-no-ack",), id="fin-without-ack"),
        pytest.param(NO_FLAGS, b"data", ("CLOSED/data-no-ack",), id="data-without-ack"),
        pytest.param(NO_FLAGS, b"", ("CLOSED/no-flags",), id="no-flags"),
        pytest.param(ACK, b"", ("CLOSED/ack",), id="ack"),
        pytest.param(SYN | ACK, b"", ("CLOSED/syn-ack",), id="syn-ack"),
        pytest.param(FIN | ACK, b"", ("CLOSED/fin",), id="fin-ack"),
        pytest.param(ACK, b"data", ("CLOSED/data",), id="ack-with-data"),
        pytest.param(URG | PSH | FIN, b"data", (), id="fin-with-data-without-ack"),
    ],
)
@verifies(
    "RFC9293:3.5.2-group-1",
    "RFC9293:3.5.2-reset-form",
    "RFC9293:3.10.7.1-no-ack",
    "RFC9293:3.10.7.1-ack",
    "claim:C-06",
)
async def test_closed_port_answers_with_a_reset(
    tcp: Case, flags: Flags, payload: bytes, cells: tuple[str, ...]
) -> None:
    """A closed port answers a segment with a reset.

    A segment without RST arrives for a port with neither a connection nor a listener. The target must reset it: at
    SEG.ACK if the segment has an ACK, otherwise at zero, with an ACK of all that the segment occupies.
    """
    conn = await tcp.drive_to(State.CLOSED)
    await expect_no_connection(conn, flags, payload)
    await conn.silence()
    await conn.confirm(State.CLOSED)


@pytest.mark.parametrize(
    "flags, cells",
    [
        pytest.param(RST, ("CLOSED/rst",), id="rst"),
        pytest.param(RST | ACK, ("CLOSED/rst-ack",), id="rst-ack"),
        pytest.param(RST | SYN, ("CLOSED/rst",), id="rst-syn"),
        pytest.param(RST | FIN | ACK, ("CLOSED/rst-ack",), id="rst-fin-ack"),
    ],
)
@verifies("RFC9293:3.5.2-group-1", "RFC9293:3.10.7.1-closed")
async def test_closed_port_does_not_answer_a_reset(tcp: Case, flags: Flags, cells: tuple[str, ...]) -> None:
    """A closed port does not answer a reset.

    A RST arrives for a port with neither a connection nor a listener. The target must not answer it, whatever flags
    it has beside RST: two hosts would otherwise reset each other for ever.
    """
    conn = await tcp.drive_to(State.CLOSED)
    await conn.inject(flags, ack=Seq(0x1234_5678) if flags & ACK else 0)
    await conn.silence()
    await conn.confirm(State.CLOSED)


# LISTEN (section 3.5.2, group 2; section 3.5.3)


@pytest.mark.parametrize(
    "flags, payload, cells",
    [
        pytest.param(ACK, b"", ("LISTEN/ack",), id="ack"),
        pytest.param(SYN | ACK, b"", ("LISTEN/syn-ack",), id="syn-ack"),
        pytest.param(FIN | ACK, b"", ("LISTEN/fin",), id="fin-ack"),
        pytest.param(ACK, b"data", ("LISTEN/data",), id="ack-with-data"),
    ],
)
@verifies("RFC9293:3.10.7.2-listen-ack", "RFC9293:3.5.2-group-2")
async def test_listener_answers_an_ack_with_a_reset(
    tcp: Case, flags: Flags, payload: bytes, cells: tuple[str, ...]
) -> None:
    """A listener answers an ACK with a reset.

    A segment with an ACK arrives for a listening port, where nothing was ever sent. The target must answer
    <SEQ=SEG.ACK><CTL=RST> and go on listening.
    """
    conn = await tcp.drive_to(State.LISTEN)
    await expect_no_connection(conn, flags, payload)
    await conn.silence()
    await conn.confirm(State.LISTEN)


@pytest.mark.parametrize(
    "flags, payload, cells",
    [
        pytest.param(RST, b"", ("LISTEN/rst",), id="rst"),
        pytest.param(RST | ACK, b"", ("LISTEN/rst-ack",), id="rst-ack"),
        pytest.param(RST | SYN, b"", ("LISTEN/syn-rst",), id="rst-syn"),
        pytest.param(FIN, b"", ("LISTEN/fin-no-ack",), id="fin-without-ack"),
        pytest.param(NO_FLAGS, b"data", ("LISTEN/data-no-ack",), id="data-without-ack"),
        pytest.param(NO_FLAGS, b"", ("LISTEN/no-flags",), id="no-flags"),
    ],
)
@verifies("RFC9293:3.10.7.2-listen-rst", "RFC9293:3.10.7.2-listen-other", "RFC9293:3.5.3-rst-listen")
async def test_listener_drops_what_opens_nothing(
    tcp: Case, flags: Flags, payload: bytes, cells: tuple[str, ...]
) -> None:
    """A listener drops a segment that opens nothing.

    A RST, or a segment with neither SYN nor ACK, arrives for a listening port. The target must drop it without an
    answer and go on listening.
    """
    conn = await tcp.drive_to(State.LISTEN)
    await conn.inject(flags, ack=Seq(0x1234_5678) if flags & ACK else 0, payload=payload)
    await conn.silence()
    await conn.confirm(State.LISTEN)


# SYN-SENT (section 3.5.2, group 2; section 3.5.3)

# Distance from ISS of an acknowledgment that is not acceptable: ISS < SEG.ACK =< SND.NXT = ISS + 1 would be.
UNACCEPTABLE = [
    pytest.param(-1, id="below-iss"),
    pytest.param(0, id="at-iss"),
    pytest.param(2, id="beyond-snd-nxt"),
    pytest.param(0x8000_0000, id="half-the-space-away"),
]


async def still_opens(conn: Connection) -> None:
    """See that the target's open goes on as if nothing had arrived: our SYN,ACK completes it."""
    await conn.confirm(State.SYN_SENT)
    await conn.send(SYN | ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.iss + 1, length=0)
    await conn.app.connected()
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize("from_iss", UNACCEPTABLE)
@pytest.mark.parametrize(
    "flags, cells",
    [
        pytest.param(ACK, ("SYN-SENT/ack-at-iss", "SYN-SENT/ack-beyond"), id="ack"),
        pytest.param(SYN | ACK, ("SYN-SENT/syn-ack-at-iss", "SYN-SENT/syn-ack-beyond"), id="syn-ack"),
        pytest.param(FIN | ACK, ("SYN-SENT/fin-ack-at-iss",), id="fin-ack"),
    ],
)
@verifies("RFC9293:3.10.7.3-ack-unacceptable", "RFC9293:3.5.2-group-2")
async def test_syn_sent_resets_an_unacceptable_ack(
    tcp: Case, flags: Flags, from_iss: int, cells: tuple[str, ...]
) -> None:
    """SYN-SENT resets an unacceptable ACK.

    We answer the target's SYN with an ACK of something else. The target must answer <SEQ=SEG.ACK><CTL=RST>. Its
    open must go on.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    await conn.inject(flags, ack=conn.irs + from_iss)
    await conn.expect(RST, seq=conn.irs + from_iss, length=0)
    await still_opens(conn)


@pytest.mark.parametrize("from_iss", UNACCEPTABLE)
@verifies(
    "RFC9293:3.10.7.3-ack-unacceptable",
    "RFC9293:3.5.3-rst-syn-sent",
    "RFC5961:3.2-syn-sent",
    cells=["SYN-SENT/rst-ack-at-iss", "SYN-SENT/rst-ack-beyond"],
)
async def test_syn_sent_ignores_a_reset_that_does_not_acknowledge_the_syn(tcp: Case, from_iss: int) -> None:
    """SYN-SENT ignores a RST,ACK that does not cover the SYN.

    We answer the target's SYN with a RST,ACK that acknowledges something else, as a blind attacker would. The
    target must drop it without an answer. Its open must go on.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    await conn.inject(RST | ACK, seq=0, ack=conn.irs + from_iss)
    await conn.silence()
    await still_opens(conn)


@verifies("RFC9293:3.10.7.3-rst", "RFC9293:3.5.3-rst-syn-sent", "RFC5961:3.2-syn-sent", cells=["SYN-SENT/rst"])
async def test_syn_sent_ignores_a_reset_without_ack(tcp: Case) -> None:
    """SYN-SENT ignores a RST without ACK.

    We answer the target's SYN with a RST that acknowledges nothing. The target must drop it without an answer. Its
    open must go on.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    await conn.inject(RST)
    await conn.silence()
    await still_opens(conn)


@verifies(
    "RFC9293:3.10.7.3-rst", "RFC9293:3.5.3-rst-syn-sent", "RFC9293:MUST-12", cells=["SYN-SENT/rst-ack-acceptable"]
)
async def test_syn_sent_takes_a_reset_that_acknowledges_the_syn(tcp: Case) -> None:
    """SYN-SENT takes a RST,ACK that acknowledges the SYN.

    We answer the target's SYN with a RST,ACK whose sequence number is zero, as section 3.5.2 forms it. The target
    must enter CLOSED without an answer, and connect() must fail.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    await conn.send(RST | ACK, seq=0)
    await conn.silence(strict=True)
    await conn.app.fails("connected", "ECONNREFUSED", "ECONNRESET")
    await conn.confirm(State.CLOSED)


@verifies("RFC9293:3.10.7.3-rst-exact", "RFC9293:3.10.7.3-rst", cells=["SYN-SENT/rst-ack-other-seq"], level="MAY")
async def test_syn_sent_and_a_reset_with_another_sequence_number(tcp: Case) -> None:
    """SYN-SENT takes or drops a RST,ACK with a sequence number.

    We answer the target's SYN with a RST,ACK that acknowledges it and has a sequence number other than zero.

    RFC 5961 compares that number with RCV.NXT, which the target does not know yet. It may take the reset or drop
    it.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    await conn.inject(RST | ACK, seq=Seq(0x1234_5678))
    await conn.silence()

    # A connection that is gone resets this SYN,ACK; one that still opens acknowledges it.
    await conn.send(SYN | ACK)
    which, _ = await conn.expect_any(
        Expectation(RST, seq=conn.rcv_nxt, length=0, label="the RST was taken:"),
        Expectation(ACK, seq=conn.rcv_nxt, ack=conn.iss + 1, length=0, label="the RST was dropped:"),
    )
    then = (State.CLOSED, State.ESTABLISHED)[which]
    tcp.choice("RST in SYN-SENT whose number is not zero", ("taken", "dropped")[which], allowed=["taken", "dropped"])

    if then is State.CLOSED:
        await conn.app.fails("connected", "ECONNREFUSED", "ECONNRESET")
    else:
        await conn.app.connected()
    await conn.confirm(then)


@pytest.mark.parametrize(
    "flags, payload, cells",
    [
        pytest.param(ACK, b"", ("SYN-SENT/ack-acceptable",), id="ack"),
        pytest.param(FIN | ACK, b"", ("SYN-SENT/fin-acceptable",), id="fin-ack"),
        pytest.param(FIN, b"", ("SYN-SENT/fin-no-ack",), id="fin-without-ack"),
        pytest.param(NO_FLAGS, b"data", ("SYN-SENT/data-no-ack",), id="data-without-ack"),
        pytest.param(NO_FLAGS, b"", ("SYN-SENT/no-flags",), id="no-flags"),
    ],
)
@verifies("RFC9293:3.10.7.3-other")
async def test_syn_sent_drops_what_has_neither_syn_nor_reset(
    tcp: Case, flags: Flags, payload: bytes, cells: tuple[str, ...]
) -> None:
    """SYN-SENT drops a segment with neither SYN nor RST.

    We answer the target's SYN with a segment that has neither SYN nor RST; its ACK, if any, is acceptable. The
    target must drop it without an answer. Its open must go on.
    """
    conn = await tcp.drive_to(State.SYN_SENT)
    await conn.inject(flags, payload=payload)
    await conn.silence()
    await still_opens(conn)


# Half-open connections (section 3.5.1)


@verifies(
    "RFC9293:3.5.1-half-open-syn",
    "RFC9293:3.10.7.4-rst-reset",
    "RFC5961:4.2-1",
    "RFC5961:4.2-rst",
    cells=["ESTABLISHED/syn-outside-left"],
)
async def test_peer_that_lost_its_memory_opens_again(tcp: Case) -> None:
    """A peer that lost its memory can open again.

    We forget an ESTABLISHED connection and open the same four-tuple again, as after a crash (Figure 9).

    The target must answer the SYN with its own numbers. Our reset of that answer must end the old connection, and
    the application must hear of it. The next SYN must open the new connection.
    """
    old = await tcp.drive_to(State.ESTABLISHED)
    conn = old.next_incarnation(iss=old.snd_nxt - 100_000)
    await conn.send(SYN, text="as if the old connection had never been")
    await conn.expect(ACK, seq=old.rcv_nxt, ack=old.snd_nxt, length=0)
    await conn.inject(RST, seq=old.snd_nxt, text="that is not my connection")
    await conn.silence()
    await old.app.fails("receive", "ECONNRESET", count=1)

    await conn.send(SYN, seq=conn.iss, ack=0, text="the SYN again")
    await conn.expect(SYN | ACK, ack=conn.iss + 1, length=0)
    await conn.send(ACK)
    await app_accepts(conn)
    await conn.deliver(b"new")


@verifies(
    "RFC9293:3.5.1-half-open-data",
    "RFC9293:3.10.7.4-rst-reset",
    "RFC9293:3.5.3-rst-other",
    cells=["ESTABLISHED/rst-left-edge"],
)
async def test_data_to_a_peer_that_lost_its_memory_is_reset(tcp: Case) -> None:
    """The reset of a peer that lost its memory ends the connection.

    The target sends data on a connection that we have forgotten, and we reset it as section 3.5.2 says (Figure 10).
    The target must end the connection and tell the application.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    data = await app_sends(conn, b"hello?")
    await conn.inject(RST, seq=data.segment.ack)
    await conn.silence(strict=True)
    await conn.app.fails("receive", "ECONNRESET", count=1)
    await conn.confirm(State.CLOSED)


# Aborts (section 3.10.5; SO_LINGER with a time of zero is the socket API's ABORT)


async def expect_abort(tcp: Case, conn: Connection) -> None:
    """Expect the reset of an ABORT: <SEQ=SND.NXT><CTL=RST>, with or without ACK.

    On an established connection ACK is always set by section 3.1, while section 3.10.5 writes the reset without it.
    """
    which, _ = await conn.expect_any(
        Expectation(RST | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0),
        Expectation(RST, seq=conn.rcv_nxt, length=0),
    )
    tcp.choice("flags of an abort's reset", ("RST+ACK", "RST")[which], allowed=["RST", "RST+ACK"])


async def expect_forgotten(tcp: Case, conn: Connection) -> None:
    """See that the target is in CLOSED after its own reset (section 3.10.5), or in TIME-WAIT, as section 3.5.2 recommends."""
    late = await conn.inject(ACK, payload=b"late")
    which, _ = await conn.expect_any(
        Expectation(RST, seq=late.segment.ack, length=0),
        Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0),
    )
    then = (State.CLOSED, State.TIME_WAIT)[which]
    tcp.choice("state after a reset of its own", then.value, allowed=["CLOSED", "TIME-WAIT"])
    await conn.confirm(then)


@pytest.mark.parametrize(
    "state, by, cells",
    [
        pytest.param(State.SYN_RECEIVED, "active", ("SYN-RECEIVED/call-abort",), id="syn-received"),
        pytest.param(State.ESTABLISHED, "passive", ("ESTABLISHED/call-abort",), id="established"),
        pytest.param(State.ESTABLISHED, "active", ("ESTABLISHED/call-abort",), id="established-by-active-open"),
        pytest.param(State.FIN_WAIT_1, "passive", ("FIN-WAIT-1/call-abort",), id="fin-wait-1"),
        pytest.param(State.FIN_WAIT_2, "passive", ("FIN-WAIT-2/call-abort",), id="fin-wait-2"),
        pytest.param(State.CLOSE_WAIT, "passive", ("CLOSE-WAIT/call-abort",), id="close-wait"),
    ],
)
@verifies(
    "RFC9293:3.10.5-abort",
    "RFC9293:3.6-abort",
    "RFC9293:3.3.2-note-3",
    "RFC9293:3.5.2-reset-time-wait",
    "claim:C-21",
    needs=("app", "options:SO_LINGER"),
)
async def test_abort_sends_one_reset(tcp: Case, state: State, by: str, cells: tuple[str, ...]) -> None:
    """ABORT sends one reset.

    The application closes with SO_LINGER zero. The target must send one reset at SND.NXT and no FIN.

    It must forget the connection at once: what arrives later is reset. A TIME-WAIT after the reset, which section
    3.5.2 recommends, is allowed and recorded.
    """
    conn = await tcp.drive_to(state, by=by)
    await conn.app.abort()
    await expect_abort(tcp, conn)
    await conn.silence(strict=True)
    await expect_forgotten(tcp, conn)


@pytest.mark.parametrize(
    "state, cells",
    [
        pytest.param(State.CLOSING, ("CLOSING/call-abort",), id="closing"),
        pytest.param(State.LAST_ACK, ("LAST-ACK/call-abort",), id="last-ack"),
        pytest.param(State.TIME_WAIT, ("TIME-WAIT/call-abort",), id="time-wait"),
    ],
)
@verifies("RFC9293:3.10.5-closing", needs=("app", "options:SO_LINGER"))
async def test_abort_after_both_have_closed_forgets_the_connection(
    tcp: Case, state: State, cells: tuple[str, ...]
) -> None:
    """ABORT in {state} forgets the connection.

    The application aborts a connection that both ends have closed. The target must enter CLOSED. It owes no
    segment, but may send a reset at SND.NXT.
    """
    conn = await tcp.drive_to(state)
    await conn.app.abort()
    await conn.allow(
        Expectation(RST | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0),
        Expectation(RST, seq=conn.rcv_nxt, length=0),
        within=0.3,
    )
    await conn.confirm(State.CLOSED, probe=False)
    await conn.confirm(State.CLOSED)


@pytest.mark.parametrize("unread", [pytest.param(1, id="one-octet"), pytest.param(1000, id="many-octets")])
@pytest.mark.parametrize(
    "state",
    [pytest.param(one, id=one.value.lower()) for one in (State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_2)],
)
@verifies("RFC9293:SHLD-3", "RFC1122:4.2.2.13-data-lost", cells=["ESTABLISHED/call-close-unread"])
async def test_close_with_unread_data_resets(tcp: Case, state: State, unread: int) -> None:
    """CLOSE with unread data sends a reset.

    The application closes before it has read data that the target has acknowledged. The target should send a reset
    at SND.NXT in place of a FIN, to show that data was lost, and forget the connection.
    """
    conn = await tcp.drive_to(State.ESTABLISHED if state is State.CLOSE_WAIT else state)
    await conn.send(ACK | PSH, payload=bytes(unread))
    await conn.expect_ack()
    if state is State.CLOSE_WAIT:
        await conn.send(FIN | ACK)
        await conn.expect_ack()

    await conn.app.close()
    await expect_abort(tcp, conn)
    await conn.silence(strict=True)
    await expect_forgotten(tcp, conn)


@pytest.mark.parametrize(
    "state, cells",
    [
        pytest.param(State.FIN_WAIT_1, ("FIN-WAIT-1/data-reader-gone",), id="fin-wait-1"),
        pytest.param(State.FIN_WAIT_2, ("FIN-WAIT-2/data-reader-gone",), id="fin-wait-2"),
    ],
)
@verifies("RFC9293:SHLD-3", "RFC9293:MAY-1", "RFC1122:4.2.2.13-data-lost", level="SHOULD")
async def test_data_after_close_is_reset(tcp: Case, state: State, cells: tuple[str, ...]) -> None:
    """Data after CLOSE is reset in {state}.

    The application has closed both directions, so that nobody is left to read. Then data arrives.

    The target should answer with a reset, to show that data was lost, and forget the connection. The reset may
    acknowledge the data that nobody reads, or only what preceded it.
    """
    conn = await tcp.drive_to(state, how="close")
    sent = await conn.send(ACK | PSH, payload=b"nobody reads this")
    which, _ = await conn.expect_any(
        Expectation(RST, seq=sent.segment.ack, length=0),
        Expectation(RST | ACK, seq=sent.segment.ack, ack=conn.snd_nxt, length=0),
        Expectation(RST | ACK, seq=sent.segment.ack, ack=sent.segment.seq, length=0),
    )
    forms = ["RST", "RST+ACK of the data", "RST+ACK of what came before the data"]
    tcp.choice("form of the reset of data after CLOSE", forms[which], allowed=forms)
    await conn.silence(strict=True)
    await conn.confirm(State.CLOSED)


@pytest.mark.parametrize(
    "state", [pytest.param(one, id=one.value.lower()) for one in (State.ESTABLISHED, State.CLOSE_WAIT)]
)
@verifies("RFC9293:MUST-12", "RFC9293:3.5.3-rst-other", "RFC1122:4.2.2.13-informed")
async def test_application_can_tell_a_reset_from_a_close(tcp: Case, state: State) -> None:
    """The application can tell a reset from a close in {state}.

    We reset a connection that the application still holds. The application must learn that the connection was
    aborted, not closed: a call fails for that reason.
    """
    conn = await tcp.drive_to(state)
    await conn.send(RST)
    await conn.silence()
    error = await conn.app.error()
    if error not in RESET_ERRORS:
        raise Violation(f"the application was told {error}, it had to be told {' or '.join(RESET_ERRORS)}")
    await conn.confirm(State.CLOSED)


@verifies("RFC9293:3.10.7.2-listen-ack")
async def test_data_from_another_port_is_not_the_connections(tcp: Case) -> None:
    """Data from another port is not the connection's.

    Beside a connection, a segment comes from another port of ours, with the numbers that the connection's next data has.
    The target must reset it, as it knows no such connection, and take the connection's own data afterwards.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    stray = tcp.connection(conn.remote_port)
    await stray.send(ACK, seq=conn.snd_nxt, ack=conn.rcv_nxt, payload=b"stray")
    await stray.expect(RST, seq=conn.rcv_nxt, length=0)
    await conn.deliver(b"own")
