"""RFC 9293 section 3.6: closing a connection, and Figure 5's arcs from ESTABLISHED to CLOSED."""

from typing import Any

import pytest

from conformance.api import ACK, FIN, Case, Connection, Expectation, State, verifies

BY = pytest.mark.parametrize("by", ["passive", "active"])
HOW = pytest.mark.parametrize("how", ["shutdown", "close"])
DATA = b"the last words before the end"
HALF = len(DATA) // 2


BEYOND_A_HOLE = ("RFC9293:3.10.7.4-fin", "RFC9293:3.4-syn-fin-sequence", "RFC9293:MAY-13")


def in_state(state: State, *then: State, marks: pytest.MarkDecorator) -> Any:
    """A parameter set that begins in `state`, and is called by it."""
    return pytest.param(state, *then, id=f"in-{state.value.lower()}", marks=marks)


async def closes(conn: Connection, how: str) -> None:
    """The target's application makes its CLOSE call, by shutdown(2) or by close(2)."""
    await (conn.app.close() if how == "close" else conn.app.shutdown("send"))


async def reads(conn: Connection, data: bytes) -> None:
    """The application gets exactly these octets, and then the end of the stream."""
    got = await conn.app.receive(len(data))
    assert got == data, f"the application read {got!r}, sent was {data!r}"
    assert await conn.app.at_end(), "the application is not told that we have closed"


# Case 1: the target closes first


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
    lasts=70,
)
async def test_active_close_takes_four_segments(tcp: Case, by: str) -> None:
    """An active close takes four segments.

    The application closes: FIN from the target, our ACK, our FIN, and the target's ACK. The target must pass
    through FIN-WAIT-1, FIN-WAIT-2 and TIME-WAIT, and be CLOSED when 2 MSL are over, in silence.
    """
    bound = tcp.timer("time-wait")
    conn = await tcp.drive_to(State.ESTABLISHED, by=by)
    await closes(conn, "shutdown")
    await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
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

    The application shuts down, and later closes its socket: the wire sees one FIN. In FIN-WAIT-1 and in FIN-WAIT-2
    a second CLOSE must send nothing, and the close still goes on to TIME-WAIT.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_1)
    await closes(conn, "shutdown")
    await conn.silence()
    await conn.confirm(State.FIN_WAIT_1)

    await conn.send(ACK)
    await closes(conn, "close")
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

    In FIN-WAIT-1 one segment of ours acknowledges the target's FIN and carries our own. The target must acknowledge
    it and be in TIME-WAIT at once: its own FIN is not seen again.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_1, by=by)
    await conn.send(FIN | ACK)
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

    Our SYN crosses the target's; its application closes before we have acknowledged it. With nothing to send, the
    target must send its FIN and enter FIN-WAIT-1 without waiting for the handshake to end.
    """
    conn = await tcp.drive_to(State.SYN_RECEIVED, by="active")
    await closes(conn, how)
    await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    await conn.confirm(State.FIN_WAIT_1, probe=False)

    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.TIME_WAIT)


# Case 2: we close first


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

    We close: our FIN, the target's ACK, and once its application closes too, its FIN and our ACK. The target must
    tell its application, pass through CLOSE-WAIT and LAST-ACK, and be CLOSED with our last ACK.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, by=by)
    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.CLOSE_WAIT)
    await reads(conn, b"")

    await closes(conn, "shutdown")
    await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
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

    Our ACK of the target's FIN ends a connection that we closed first. The target must keep nothing of it: no
    TIME-WAIT, and the next segment on the four-tuple is reset.
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
    actively lingers in TIME-WAIT: the target must take the SYN as it takes any.
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

    The application closes as soon as it is told of our FIN. The target may acknowledge our FIN and send its own in
    one segment or in two; their numbers are the same.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(FIN | ACK)
    assert await conn.app.at_end(), "the application is not told that we have closed"
    await closes(conn, how)
    one = Expectation(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="both in one:")
    two = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="the first of two:")
    which, _ = await conn.expect_any(one, two)
    if which == 1:
        await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    # Whether the application or the acknowledgment was first is chance, and no choice of the stack's.
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

    After our FIN nothing is heard of the target for 20 s: its application has not closed. The target must send no
    FIN meanwhile and not give the connection up: data and the FIN still come when asked for.
    """
    conn = await tcp.drive_to(State.CLOSE_WAIT)
    await conn.silence(for_=20)
    await conn.confirm(State.CLOSE_WAIT)

    await conn.collect(DATA)
    await closes(conn, "shutdown")
    await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    await conn.send(ACK)
    await conn.confirm(State.CLOSED)


# Case 3: both close at the same time


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

    Both ends close at once. Each FIN crosses the other, so neither acknowledges the other's FIN. The target must
    acknowledge our FIN and wait in CLOSING for its own to be acknowledged.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_1)
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

    Data and FIN of the target cross data and FIN of ours; then each end acknowledges all of the other's. The target
    must acknowledge our data and FIN, deliver the data, and end in TIME-WAIT once both of its own are covered.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.send(DATA)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA)
    crossing = conn.rcv_nxt - len(DATA)
    await closes(conn, "shutdown")
    await conn.expect(FIN | ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)

    await conn.send(FIN | ACK, ack=crossing, payload=DATA[:HALF], text="covers nothing of the target's")
    await conn.expect_ack()
    await conn.confirm(State.CLOSING)
    await reads(conn, DATA[:HALF])

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

    Our FIN, alone or behind data in its segment, is acknowledged. The acknowledgment must cover the data and one
    number more, and stay there: nothing else was sent.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    first = conn.snd_nxt
    await conn.send(FIN | ACK, payload=data)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=first + len(data) + 1, length=0)
    await conn.confirm(State.CLOSE_WAIT)
    await reads(conn, data)


@pytest.mark.parametrize("data", [pytest.param(b"", id="bare"), pytest.param(DATA, id="after-data")])
@verifies("RFC9293:3.4-syn-fin-sequence", "claim:C-13", cells=["ESTABLISHED/call-close", "FIN-WAIT-1/ack-covers-fin"])
async def test_fin_of_the_target_occupies_one_number(tcp: Case, data: bytes) -> None:
    """The target's FIN occupies one sequence number.

    The target's FIN is acknowledged once by its own number and then by the one after it. An acknowledgment of the
    FIN's own number covers what came before it and leaves the target in FIN-WAIT-1. One more must take it to
    FIN-WAIT-2, from where its acknowledgments carry the number after the FIN.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    first = conn.rcv_nxt
    if data:
        await conn.collect(data)
    await closes(conn, "shutdown")
    await conn.expect(FIN | ACK, seq=first + len(data), ack=conn.snd_nxt, length=0)

    await conn.send(ACK, ack=first + len(data), text="covers all but the FIN")
    await conn.silence(for_=0.1)
    await conn.confirm(State.FIN_WAIT_1)

    await conn.send(ACK, ack=first + len(data) + 1, text="covers the FIN")
    await conn.silence()
    await conn.confirm(State.FIN_WAIT_2)


# What comes twice, early or too much


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

    The target's ACK of our FIN is lost, so our FIN comes again, twice. Each must be answered by the same ACK, and
    the state stays as it is.
    """
    conn = await tcp.drive_to(state)
    ours = conn.snd_nxt - 1
    ack = conn.rcv_nxt if state is State.CLOSE_WAIT else conn.acked
    for _ in range(2):
        await conn.inject(FIN | ACK, seq=ours, ack=ack, text="our FIN again")
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

    While the target waits for its FIN to be acknowledged, we acknowledge everything before it once more. The target
    must ignore that, and go on with the FIN: the acknowledgment of the FIN itself still counts.
    """
    conn = await tcp.drive_to(state)
    fin = conn.fin_seen
    await conn.inject(ACK, ack=fin.seq, text="covers all but the FIN")
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

    The second half of our data arrives with the FIN, the first half is still missing. The target must neither
    acknowledge nor act on the FIN (it may repeat its last ACK). With the first half it must take the FIN as well,
    or, where it holds of what comes early the data alone or nothing, take it when it comes again.
    """
    conn = await tcp.drive_to(state)
    first, end = conn.snd_nxt, conn.snd_nxt + len(DATA) + 1
    ack = conn.fin_seen.seq if state is State.FIN_WAIT_1 else conn.rcv_nxt
    await conn.inject(FIN | ACK, seq=first + HALF, ack=ack, payload=DATA[HALF:], text="FIN beyond a hole")
    repeated = Expectation(ACK, seq=conn.rcv_nxt, ack=first, length=0, label="the last ACK again:")
    answer = await conn.allow(repeated, within=0.3)
    forms = ["silence", "the last ACK again"]
    tcp.choice("answer to a segment beyond a hole", forms[answer is not None], forms)
    await conn.confirm(state)

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
    await reads(conn, DATA)
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

    The target has closed already; our data comes together with our FIN. It must acknowledge data and FIN, and the
    application reads the data and then the end.
    """
    conn = await tcp.drive_to(state)
    ack = conn.fin_seen.seq if state is State.FIN_WAIT_1 else conn.rcv_nxt
    await conn.send(FIN | ACK, ack=ack, payload=DATA)
    await conn.expect_ack()
    await reads(conn, DATA)
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
    as our window lets it, and the FIN has the number after the last.
    """
    conn = await tcp.listen()
    conn.window = 100
    await tcp.drive_to(state, conn=conn)
    first, data = conn.rcv_nxt, bytes(range(250))
    await conn.app.send(data, wait=False)
    await closes(conn, how)
    sent = 0
    for end in (100, 200):
        # In as many segments as it likes: one that fills the window, or several.
        while sent < end:
            came = await conn.expect(ACK, seq=first + sent, ack=conn.snd_nxt)
            sent += len(came.segment.payload)
            assert sent <= end, f"{sent} octets came, our window ends at {end}"
            assert came.segment.payload == data[sent - len(came.segment.payload) : sent], (
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
