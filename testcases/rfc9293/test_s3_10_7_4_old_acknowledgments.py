"""RFC 9293 section 3.10.7.4, fifth check: text, FINs and keep-alives whose ACK field is a little old."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    Case,
    Connection,
    Seq,
    State,
    app_closes,
    app_reads,
    app_sends,
    in_state,
    verifies,
)

TEXT = b"reordered on its way"
THEIRS = b"a segment of the target's"
ACCEPTABLE = ("RFC9293:3.10.7.4-ack-duplicate", "RFC9293:3.10.7.4-ack-range")


async def has_sent(conn: Connection) -> None:
    """Have the target send two segments that we acknowledge one by one."""
    for _ in range(2):
        await conn.collect(THEIRS)


def is_old(conn: Connection, age: str) -> Seq:
    """Return an ACK field older than SND.UNA: by one segment, or of the first number there is, ISS."""
    return conn.acked - len(THEIRS) if age == "one-segment" else conn.irs


AGE = pytest.mark.parametrize("age", ["one-segment", "iss"])


@AGE
@pytest.mark.parametrize(
    ("state", "fin", "then"),
    [
        pytest.param(State.ESTABLISHED, False, State.ESTABLISHED, id="text-in-established"),
        pytest.param(State.ESTABLISHED, True, State.CLOSE_WAIT, id="fin-in-established"),
        pytest.param(State.FIN_WAIT_1, False, State.FIN_WAIT_1, id="text-in-fin-wait-1"),
        pytest.param(State.FIN_WAIT_1, True, State.CLOSING, id="fin-in-fin-wait-1"),
        pytest.param(State.FIN_WAIT_2, False, State.FIN_WAIT_2, id="text-in-fin-wait-2"),
        pytest.param(State.FIN_WAIT_2, True, State.TIME_WAIT, id="fin-in-fin-wait-2"),
    ],
)
@verifies(*ACCEPTABLE, "RFC9293:3.10.7.4-text", "RFC9293:3.10.7.4-fin", level="text")
async def test_segment_with_an_old_ack_is_taken(tcp: Case, state: State, fin: bool, then: State, age: str) -> None:
    """Text or FIN with an old ACK is taken.

    The target has sent two segments and both were acknowledged. Then text or a FIN of ours arrives that had left
    before: it is in order, and its ACK field is older than SND.UNA, by one segment or down to ISS.

    Such an acknowledgment is a duplicate that can be ignored, and it lies in the range that RFC 5961 accepts: the
    target must take the text and the FIN all the same.
    """
    conn = await tcp.drive_to(state, established=has_sent)
    ack = is_old(conn, age)
    await conn.send(FIN | ACK if fin else ACK, ack=ack, payload=TEXT, text="in order, with an old ACK field")
    await conn.expect_ack()
    await app_reads(conn, TEXT, ended=fin)
    await conn.confirm(then)


@pytest.mark.parametrize("fin", [pytest.param(False, id="text"), pytest.param(True, id="fin")])
@verifies(*ACCEPTABLE, "RFC9293:3.10.7.4-text", "RFC9293:3.10.7.4-fin", level="text")
async def test_segment_that_acknowledges_iss_is_taken(tcp: Case, fin: bool) -> None:
    """Text or a FIN that acknowledges ISS is taken in ESTABLISHED.

    The handshake is complete and the target has sent nothing since. In-order text, or a FIN, arrives with ISS in its
    ACK field, one below SND.UNA.

    RFC 5961 accepts any ACK field from SND.UNA - MAX.SND.WND on, and a duplicate can be ignored: the target must take
    the segment.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(FIN | ACK if fin else ACK, ack=conn.irs, payload=TEXT, text="acknowledges ISS")
    await conn.expect_ack()
    await app_reads(conn, TEXT, ended=fin)
    await conn.confirm(State.CLOSE_WAIT if fin else State.ESTABLISHED)


@verifies("RFC9293:3.10.7.4-ack-closing", "RFC9293:3.10.7.4-ack-new", cells=["CLOSING/ack-not-covering-fin"], lasts=3)
async def test_ack_of_the_text_alone_does_not_end_closing(tcp: Case) -> None:
    """An ACK of the text alone does not end CLOSING.

    The target's text and its FIN are outstanding in CLOSING. We acknowledge the text and not the FIN.

    The target must stay in CLOSING and repeat its FIN alone. The acknowledgment of the FIN then leads to TIME-WAIT.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    before = conn.rcv_nxt
    await app_sends(conn, THEIRS)
    await app_closes(conn, "shutdown")
    fin = await conn.expect_fin()
    await conn.send(FIN | ACK, ack=before, text="our FIN, which acknowledges nothing")
    await conn.expect_ack()
    await conn.send(ACK, ack=fin.segment.seq, text="covers the text alone")
    await conn.expect_retransmission(fin, within=2 * tcp.timeout_after(conn.round_trip_s).high_s + 1)
    await conn.confirm(State.CLOSING)

    await conn.send(ACK)
    await conn.confirm(State.TIME_WAIT)


SYNCHRONIZED = [
    in_state(state, marks=verifies("RFC9293:3.8.4-form", "RFC9293:3.10.7.4-seq-unacceptable", level="text"))
    for state in (
        State.ESTABLISHED,
        State.FIN_WAIT_1,
        State.FIN_WAIT_2,
        State.CLOSE_WAIT,
        State.CLOSING,
        State.LAST_ACK,
        State.TIME_WAIT,
    )
]


@pytest.mark.parametrize("octet", [pytest.param(b"", id="empty"), pytest.param(b"\0", id="one-octet")])
@pytest.mark.parametrize("state", SYNCHRONIZED)
async def test_keep_alive_is_answered_in_every_state(tcp: Case, octet: bytes, state: State) -> None:
    """A keep-alive is answered by an ACK.

    Our keep-alive has the number SND.NXT - 1, without text or with one old octet. It lies left of the window, so the
    target must answer with its numbers, deliver nothing, and stay in its state.
    """
    conn = await tcp.drive_to(state)
    await conn.inject(ACK, seq=conn.snd_nxt - 1, ack=conn.acked, payload=octet, text="keep-alive")
    await conn.expect_ack()
    await conn.confirm(state, probe=False)
