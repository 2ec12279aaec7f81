"""RFC 9293 section 3.6: closing a connection, and Figure 5's arcs from ESTABLISHED to CLOSED."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    Case,
    Expectation,
    State,
    after,
    app_closes,
    app_reads,
    app_sends,
    in_state,
    verifies,
)

BY = pytest.mark.parametrize("by", ["passive", "active"])
HOW = pytest.mark.parametrize("how", ["shutdown", "close"])
DATA = b"the last words before the end"
HALF = len(DATA) // 2

BEYOND_A_HOLE = ("RFC9293:3.10.7.4-fin", "RFC9293:3.4-syn-fin-sequence", "RFC9293:MAY-13")


# Case 1 of section 3.6: the target closes first


@BY
@verifies(
    "RFC9293:3.6-case-1",
    "RFC9293:3.6-case-1-ack",
    "claim:C-11",
    cells=[
        "arc/ESTABLISHED-close",
        "ESTABLISHED/call-close",
        "arc/FIN-WAIT-1-rcv-ack-of-fin",
        "FIN-WAIT-1/ack-covers-fin",
        "arc/FIN-WAIT-2-rcv-fin",
        "FIN-WAIT-2/fin",
        "arc/TIME-WAIT-timeout-2msl",
    ],
    lasts=after("time-wait", 10),
)
async def test_active_close_takes_four_segments(tcp: Case, by: str) -> None:
    """An active close takes four segments.

    The application closes first. Four segments follow: the target's FIN, our ACK, our FIN and the target's ACK.

    The target must pass through FIN-WAIT-1, FIN-WAIT-2 and TIME-WAIT. It must be CLOSED when 2 MSL are over, in
    silence.
    """
    bound = tcp.timer("time-wait")
    conn = await tcp.drive_to(State.ESTABLISHED, by=by)
    await app_closes(conn, "shutdown")
    await conn.expect_fin()
    await conn.confirm(State.FIN_WAIT_1)

    await conn.send(ACK)
    await conn.silence()
    await conn.confirm(State.FIN_WAIT_2)

    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.TIME_WAIT, probe=False)

    await conn.silence(for_=bound.high_s)
    await conn.confirm(State.CLOSED)


@verifies(
    "RFC9293:3.10.4-established",
    "RFC9293:3.6-case-1",
    "claim:C-11",
    cells=["arc/ESTABLISHED-close", "ESTABLISHED/call-close", "FIN-WAIT-1/call-close", "FIN-WAIT-2/call-close"],
)
async def test_second_close_sends_no_second_fin(tcp: Case) -> None:
    """A second CLOSE sends no second FIN.

    The application shuts its connection down and closes the socket later. The wire must carry a single FIN: a
    second CLOSE in FIN-WAIT-1 or FIN-WAIT-2 sends nothing. The close must still go on to TIME-WAIT.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_1)  # the application has made its first CLOSE call
    await app_closes(conn, "shutdown")
    await conn.silence()
    await conn.confirm(State.FIN_WAIT_1)

    await conn.send(ACK)
    await app_closes(conn, "close")
    await conn.silence()
    await conn.confirm(State.FIN_WAIT_2)

    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.TIME_WAIT)


@BY
@verifies(
    "RFC9293:3.3.2-note-2",
    "RFC9293:3.10.7.4-fin-fin-wait-1",
    "claim:C-17",
    cells=["arc/FIN-WAIT-1-rcv-fin-and-ack-of-fin", "FIN-WAIT-1/fin-covers-fin"],
)
async def test_fin_that_acknowledges_the_fin_leads_straight_to_time_wait(tcp: Case, by: str) -> None:
    """A FIN that acknowledges the target's leads to TIME-WAIT.

    In FIN-WAIT-1 our FIN arrives in the segment that acknowledges the target's FIN (note 2 of Figure 5).

    The target must acknowledge our FIN and be in TIME-WAIT at once. It must not send its own FIN again.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_1, by=by)
    await conn.send(FIN | ACK)  # acknowledges the target's FIN, too
    await conn.expect_ack()

    await conn.silence()
    await conn.confirm(State.TIME_WAIT)


@pytest.mark.parametrize("how", ["shutdown", "close"])
@verifies(
    "RFC9293:3.10.4-syn-received",
    "RFC9293:3.3.2-fin-wait-1",
    cells=["arc/SYN-RECEIVED-close", "SYN-RECEIVED/call-close"],
)
async def test_close_in_syn_received_sends_the_fin(tcp: Case, how: str) -> None:
    """CLOSE in SYN-RECEIVED sends the FIN.

    Our SYN has crossed the target's. Its application closes before we acknowledge that SYN.

    There is nothing else to send, so the target must send its FIN and enter FIN-WAIT-1 before the handshake ends.
    """
    conn = await tcp.drive_to(State.SYN_RECEIVED, by="active")
    await app_closes(conn, how)
    await conn.expect_fin()
    await conn.confirm(State.FIN_WAIT_1, probe=False)

    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.TIME_WAIT)


# Case 2 of section 3.6: we close first


@BY
@verifies(
    "RFC9293:3.6-case-2",
    "RFC9293:3.6-case-2-last",
    "RFC9293:3.10.4-close-wait",
    "claim:C-12",
    cells=[
        "arc/ESTABLISHED-rcv-fin",
        "ESTABLISHED/fin",
        "arc/CLOSE-WAIT-close",
        "CLOSE-WAIT/call-close",
        "arc/LAST-ACK-rcv-ack-of-fin",
        "LAST-ACK/ack-covers-fin",
    ],
)
async def test_passive_close_takes_four_segments(tcp: Case, by: str) -> None:
    """A passive close takes four segments.

    We close first. Four segments follow: our FIN, the target's ACK, its FIN once the application closes, and our
    ACK.

    The target must tell its application of our FIN and pass through CLOSE-WAIT and LAST-ACK. Our last ACK must
    bring it to CLOSED.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, by=by)
    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.CLOSE_WAIT)
    await app_reads(conn, b"", ended=True)  # no data, but the end of the stream

    await app_closes(conn, "shutdown")
    await conn.expect_fin()
    await conn.confirm(State.LAST_ACK)

    await conn.send(ACK)
    await conn.silence()
    await conn.confirm(State.CLOSED)


@HOW
@verifies(
    "RFC9293:3.6-case-2-last",
    "RFC9293:3.3.2-last-ack",
    "RFC9293:3.10.7.4-ack-last-ack",
    "claim:C-23",
    cells=["arc/LAST-ACK-rcv-ack-of-fin", "LAST-ACK/ack-covers-fin"],
)
async def test_passive_closer_is_closed_at_once(tcp: Case, how: str) -> None:
    """The passive closer is CLOSED at once, without TIME-WAIT.

    We closed first, and now we acknowledge the target's FIN. The target must forget the connection: it keeps no
    TIME-WAIT, and resets the next segment on the four-tuple.
    """
    conn = await tcp.drive_to(State.LAST_ACK, how=how)
    await conn.send(ACK)
    await conn.confirm(State.CLOSED)


@verifies(
    "RFC9293:3.6-case-2-last", "RFC9293:MUST-13", "claim:C-23", cells=["arc/LAST-ACK-rcv-ack-of-fin", "LISTEN/syn"]
)
async def test_closed_by_us_first_the_four_tuple_is_free_at_once(tcp: Case) -> None:
    """After a passive close the four-tuple is free at once.

    We close first, then open again on the same four-tuple with an older sequence number. Only the end that closes
    actively stays in TIME-WAIT, so the target must answer this SYN like any other.
    """
    conn = await tcp.drive_to(State.LAST_ACK)
    await conn.send(ACK)
    await conn.confirm(State.CLOSED)

    again = conn.next_incarnation(iss=conn.iss - 100_000)
    await tcp.drive_to(State.ESTABLISHED, conn=again)
    await again.confirm(State.ESTABLISHED)


@HOW
@verifies("RFC9293:3.6-case-2", "claim:C-16", cells=["ESTABLISHED/fin", "CLOSE-WAIT/call-close"])
async def test_close_at_once_may_take_three_segments(tcp: Case, how: str) -> None:
    """A passive close may take three segments.

    The application closes as soon as it reads the end of the stream. The target may send its FIN in the segment
    that acknowledges ours, or after it. The sequence numbers are the same either way.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(FIN | ACK)
    assert await conn.app.at_end(), "the application is not told that we have closed"

    await app_closes(conn, how)
    joined = Expectation(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="both in one:")
    separate = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="the first of two:")
    which, _ = await conn.expect_any(joined, separate)
    if which == 1:
        await conn.expect_fin()
    # Which form it takes depends on who was faster, the application or the ACK: it is no choice of the stack's to record.
    await conn.confirm(State.LAST_ACK, probe=False)

    await conn.send(ACK)
    await conn.silence()
    await conn.confirm(State.CLOSED)


@verifies(
    "RFC9293:3.6-fin-waits-for-user",
    "RFC9293:3.3.2-close-wait",
    "claim:C-19",
    cells=["arc/ESTABLISHED-rcv-fin"],
    lasts=20,
)
async def test_close_wait_lasts_until_the_application_closes(tcp: Case) -> None:
    """CLOSE-WAIT lasts until the application closes.

    After our FIN the application does not close for 20 s. The target must send no FIN in that time, and must not
    give the connection up. Afterwards it must still send data, and its FIN when the application closes.
    """
    conn = await tcp.drive_to(State.CLOSE_WAIT)
    await conn.silence(for_=20)
    await conn.confirm(State.CLOSE_WAIT)

    await conn.collect(DATA)
    await app_closes(conn, "shutdown")
    await conn.expect_fin()
    await conn.send(ACK)
    await conn.confirm(State.CLOSED)


# Case 3 of section 3.6: both close at the same time


@verifies(
    "RFC9293:3.6-case-3",
    "RFC9293:3.3.2-closing",
    "claim:C-18",
    cells=[
        "FIN-WAIT-1/fin-not-covering-fin",
        "arc/FIN-WAIT-1-rcv-fin",
        "CLOSING/ack-covers-fin",
        "arc/CLOSING-rcv-ack-of-fin",
    ],
)
async def test_simultaneous_close_passes_through_closing(tcp: Case) -> None:
    """Simultaneous close passes through CLOSING.

    Both ends close at once: the two FINs cross, and neither acknowledges the other.

    The target must acknowledge our FIN and wait in CLOSING until its own FIN is acknowledged. Then it must enter
    TIME-WAIT.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_1)  # the target has sent its FIN; we have not answered
    await conn.send(FIN | ACK, ack=conn.fin_seen.seq, text="FIN that does not cover the target's FIN")
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)
    await conn.confirm(State.CLOSING)

    await conn.send(ACK, text="now cover it")
    await conn.silence()
    await conn.confirm(State.TIME_WAIT)


@verifies(
    "RFC9293:3.6-case-3",
    "RFC9293:3.10.7.4-fin-fin-wait-1",
    "claim:C-18",
    cells=["FIN-WAIT-1/fin-data-not-covering-fin", "arc/FIN-WAIT-1-rcv-fin", "arc/CLOSING-rcv-ack-of-fin"],
)
async def test_simultaneous_close_with_data_both_ways(tcp: Case) -> None:
    """Simultaneous close with data both ways ends in TIME-WAIT.

    Both ends send data and a FIN before either sees the other's. Then each acknowledges everything that it
    received.

    The target must acknowledge our data and FIN and deliver the data. It must enter TIME-WAIT once we acknowledge
    its own.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    before_its_data = conn.rcv_nxt
    await app_sends(conn, DATA)
    await app_closes(conn, "shutdown")
    await conn.expect_fin()

    await conn.send(FIN | ACK, ack=before_its_data, payload=DATA[:HALF], text="covers nothing of the target's")
    await conn.expect_ack()
    await conn.confirm(State.CLOSING)
    await app_reads(conn, DATA[:HALF], ended=True)

    await conn.send(ACK, text="now cover both")
    await conn.silence()
    await conn.confirm(State.TIME_WAIT)


# The sequence number of a FIN


@pytest.mark.parametrize("data", [pytest.param(b"", id="bare"), pytest.param(DATA, id="with-data")])
@verifies(
    "RFC9293:3.4-syn-fin-sequence",
    "RFC9293:3.10.7.4-fin",
    "claim:C-13",
    cells=["ESTABLISHED/fin", "ESTABLISHED/fin-data"],
)
async def test_our_fin_occupies_one_number(tcp: Case, data: bytes) -> None:
    """Our FIN occupies one sequence number.

    We send a FIN, alone or behind data in its segment. The target must acknowledge the data and one number more.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    first = conn.snd_nxt
    await conn.send(FIN | ACK, payload=data)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=first + len(data) + 1, length=0)
    await conn.confirm(State.CLOSE_WAIT)
    await app_reads(conn, data, ended=True)


@pytest.mark.parametrize("data", [pytest.param(b"", id="bare"), pytest.param(DATA, id="after-data")])
@verifies("RFC9293:3.4-syn-fin-sequence", "claim:C-13", cells=["ESTABLISHED/call-close", "FIN-WAIT-1/ack-covers-fin"])
async def test_fin_of_the_target_occupies_one_number(tcp: Case, data: bytes) -> None:
    """The target's FIN occupies one sequence number.

    We acknowledge first the number of the target's FIN, and then the number after it.

    The first ACK covers only what precedes the FIN: the target must stay in FIN-WAIT-1. The second must take it to
    FIN-WAIT-2.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    first = conn.rcv_nxt
    if data:
        await conn.collect(data)
    await app_closes(conn, "shutdown")
    await conn.expect(FIN | ACK, seq=first + len(data), ack=conn.snd_nxt, length=0)

    await conn.send(ACK, ack=first + len(data), text="covers all but the FIN")
    await conn.silence(for_=0.1)
    await conn.confirm(State.FIN_WAIT_1)

    await conn.send(ACK, ack=first + len(data) + 1, text="covers the FIN")
    await conn.silence()
    await conn.confirm(State.FIN_WAIT_2)


# FINs and acknowledgments that are repeated, early or short


@pytest.mark.parametrize(
    "state",
    [
        in_state(
            State.CLOSE_WAIT, marks=verifies("RFC9293:3.10.7.4-fin-close-wait", cells=["CLOSE-WAIT/fin-duplicate"])
        ),
        in_state(
            State.CLOSING, marks=verifies("RFC9293:3.10.7.4-fin-closing", "claim:C-18", cells=["CLOSING/fin-duplicate"])
        ),
        in_state(State.LAST_ACK, marks=verifies("RFC9293:3.10.7.4-fin-last-ack", cells=["LAST-ACK/fin-duplicate"])),
    ],
)
async def test_repeated_fin_is_acknowledged_again(tcp: Case, state: State) -> None:
    """A repeated FIN is acknowledged again in {state}.

    The target's ACK of our FIN is lost, so we send the FIN again, twice. The target must answer each with the same
    ACK and stay in its state.
    """
    conn = await tcp.drive_to(state)
    our_fin = conn.snd_nxt - 1
    ack = conn.rcv_nxt if state is State.CLOSE_WAIT else conn.acked  # in the others the target's FIN stays uncovered

    for _ in range(2):
        await conn.inject(FIN | ACK, seq=our_fin, ack=ack, text="our FIN again")
        await conn.expect_ack()
    await conn.confirm(state)


@pytest.mark.parametrize(
    "state",
    [
        in_state(
            State.FIN_WAIT_1,
            marks=verifies(
                "RFC9293:3.10.7.4-ack-duplicate", cells=["FIN-WAIT-1/ack-duplicate", "FIN-WAIT-1/ack-covers-fin"]
            ),
        ),
        in_state(
            State.CLOSING,
            marks=verifies(
                "RFC9293:3.10.7.4-ack-closing", cells=["CLOSING/ack-not-covering-fin", "CLOSING/ack-covers-fin"]
            ),
        ),
        in_state(
            State.LAST_ACK,
            marks=verifies(
                "RFC9293:3.10.7.4-ack-last-ack", cells=["LAST-ACK/ack-not-covering-fin", "LAST-ACK/ack-covers-fin"]
            ),
        ),
    ],
)
async def test_acknowledgment_short_of_the_fin_changes_nothing(tcp: Case, state: State) -> None:
    """An ACK short of the FIN changes nothing in {state}.

    The target waits for an acknowledgment of its FIN. We acknowledge everything before the FIN once more.

    The target must ignore that ACK. The acknowledgment of the FIN itself must still count.
    """
    conn = await tcp.drive_to(state)
    await conn.inject(ACK, ack=conn.fin_seen.seq, text="covers all but the FIN")
    await conn.silence(for_=0.1)
    await conn.confirm(state)

    await conn.send(ACK)
    after = {State.FIN_WAIT_1: State.FIN_WAIT_2, State.CLOSING: State.TIME_WAIT, State.LAST_ACK: State.CLOSED}
    await conn.confirm(after[state])


@pytest.mark.parametrize(
    ("state", "then"),
    [
        in_state(State.ESTABLISHED, State.CLOSE_WAIT, marks=verifies(*BEYOND_A_HOLE, cells=["ESTABLISHED/fin-hole"])),
        in_state(State.FIN_WAIT_1, State.CLOSING, marks=verifies(*BEYOND_A_HOLE, cells=["FIN-WAIT-1/fin-hole"])),
        in_state(State.FIN_WAIT_2, State.TIME_WAIT, marks=verifies(*BEYOND_A_HOLE, cells=["FIN-WAIT-2/fin-hole"])),
    ],
)
async def test_fin_beyond_a_hole_waits_for_the_data_before_it(tcp: Case, state: State, then: State) -> None:
    """A FIN beyond a hole waits for the data before it in {state}.

    The second half of our data arrives with the FIN while the first half is still missing.

    The target must neither acknowledge the FIN nor act on it; it may repeat its last ACK. When the first half
    arrives, it must take what it has held: all of the early segment, its data alone, or nothing. Whatever it has
    dropped it must take when we send it again.
    """
    conn = await tcp.drive_to(state)
    first, end = conn.snd_nxt, conn.snd_nxt + len(DATA) + 1
    ack = conn.fin_seen.seq if state is State.FIN_WAIT_1 else conn.rcv_nxt
    await conn.inject(FIN | ACK, seq=first + HALF, ack=ack, payload=DATA[HALF:], text="FIN beyond a hole")
    repeated = Expectation(ACK, seq=conn.rcv_nxt, ack=first, length=0, label="the last ACK again:")
    answer = await conn.allow(repeated, within=0.3)
    forms = ["silence", "the last ACK again"]
    tcp.choice("answer to a segment beyond a hole", forms[answer is not None], forms)
    await conn.confirm(state)  # the FIN has not counted

    await conn.send(ACK, ack=ack, payload=DATA[:HALF], text="fills the hole")
    held = Expectation(ACK, seq=conn.rcv_nxt, ack=end, length=0, label="data and FIN:")
    lost = Expectation(ACK, seq=conn.rcv_nxt, ack=first + HALF, length=0, label="the first half:")
    data_alone = Expectation(ACK, seq=conn.rcv_nxt, ack=end - 1, length=0, label="data without FIN:")
    which, _ = await conn.expect_any(held, lost, data_alone)
    forms = ["held", "dropped", "held without its FIN"]
    tcp.choice("segment beyond a hole", forms[which], forms)

    again = await conn.send(FIN | ACK, ack=ack, payload=DATA[HALF:], text="data and FIN again")
    assert again.segment.end == end
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=end, length=0)
    await app_reads(conn, DATA, ended=True)
    await conn.confirm(then)


@pytest.mark.parametrize(
    ("state", "then"),
    [
        in_state(
            State.FIN_WAIT_1,
            State.CLOSING,
            marks=verifies(
                "RFC9293:3.10.7.4-fin-fin-wait-1",
                "RFC9293:3.10.7.4-text",
                cells=["FIN-WAIT-1/fin-data-not-covering-fin"],
            ),
        ),
        in_state(
            State.FIN_WAIT_2,
            State.TIME_WAIT,
            marks=verifies("RFC9293:3.10.7.4-fin-fin-wait-2", "RFC9293:3.10.7.4-text", cells=["FIN-WAIT-2/fin-data"]),
        ),
    ],
)
async def test_fin_with_data_is_taken_with_it(tcp: Case, state: State, then: State) -> None:
    """A FIN with data is taken with its data in {state}.

    The target has closed already, and our data arrives together with our FIN. The target must acknowledge both. Its
    application must read the data, and then the end of the stream.
    """
    conn = await tcp.drive_to(state)
    ack = conn.fin_seen.seq if state is State.FIN_WAIT_1 else conn.rcv_nxt  # in FIN-WAIT-1 its FIN stays uncovered
    await conn.send(FIN | ACK, ack=ack, payload=DATA)
    await conn.expect_ack()

    await app_reads(conn, DATA, ended=True)
    await conn.confirm(then)


# Closing with data still queued


@HOW
@pytest.mark.parametrize(
    ("state", "then"),
    [
        in_state(
            State.ESTABLISHED,
            State.FIN_WAIT_1,
            marks=verifies("RFC9293:3.10.4-established", cells=["ESTABLISHED/call-close"]),
        ),
        in_state(
            State.CLOSE_WAIT,
            State.LAST_ACK,
            marks=verifies("RFC9293:3.10.4-close-wait", cells=["CLOSE-WAIT/call-close"]),
        ),
    ],
)
async def test_fin_comes_after_all_queued_data(tcp: Case, how: str, state: State, then: State) -> None:
    """The FIN follows all queued data.

    The application sends more than our window takes, and closes. The target must send every octet before its FIN,
    as our window allows. The FIN must have the number after the last octet.
    """
    conn = await tcp.listen()
    conn.window = 100
    await tcp.drive_to(state, conn=conn)
    first, data = conn.rcv_nxt, bytes(range(250))
    await conn.app.send(data, wait=False)
    await app_closes(conn, how)

    sent = 0
    for end in (100, 200):
        # The target may fill the window with one segment or with several.
        while sent < end:
            received = await conn.expect(ACK, seq=first + sent, ack=conn.snd_nxt)
            sent += len(received.segment.payload)
            assert sent <= end, f"{sent} octets came, our window ends at {end}"
            assert received.segment.payload == data[sent - len(received.segment.payload) : sent], (
                "not what the application sent"
            )
        await conn.silence(for_=0.1)
        await conn.send(ACK)

    rest = data[200:]
    with_fin = Expectation(FIN | ACK, seq=first + 200, ack=conn.snd_nxt, payload=rest, label="the FIN with the rest:")
    alone = Expectation(ACK, seq=first + 200, ack=conn.snd_nxt, payload=rest, label="the rest before the FIN:")
    which, _ = await conn.expect_any(with_fin, alone)
    if which == 1:
        await conn.expect(FIN | ACK, seq=first + len(data), ack=conn.snd_nxt, length=0)
    tcp.choice("FIN with the last data", ["in its segment", "alone"][which], ["in its segment", "alone"])
    await conn.confirm(then)
