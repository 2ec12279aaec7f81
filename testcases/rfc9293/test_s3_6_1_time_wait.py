"""RFC 9293 section 3.6.1: how long TIME-WAIT lasts, what it answers, and what it leaves behind."""

from typing import Any

import pytest

from conformance.api import (
    ACK,
    FIN,
    PSH,
    RST,
    SECOND,
    SYN,
    Bound,
    Case,
    Connection,
    Expectation,
    Flags,
    NotApplicable,
    State,
    Violation,
    after,
    app_closes,
    verifies,
)

DATA = b"data of the former connection"
AGAIN = 1 / 6
"""The part of 2 MSL after which we send a segment again that may restart the timer.

It is large enough to tell the two possible ends of TIME-WAIT apart: a timer is never as late as that."""
VIA = pytest.mark.parametrize(
    "via",
    [
        pytest.param(State.FIN_WAIT_2, id="via-fin-wait-2"),
        pytest.param(State.FIN_WAIT_1, id="via-fin-wait-1"),
        pytest.param(State.CLOSING, id="via-closing"),
    ],
)


async def enters_time_wait(
    tcp: Case, via: State, how: str = "shutdown", *, listens: bool = False
) -> tuple[Connection, int]:
    """Take a connection to TIME-WAIT; return it, and when we sent the segment that made the target enter the state.

    The connection has carried data, so that old data can be repeated. The target's port stays open only with
    `listens`.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.deliver(DATA)
    await app_closes(conn, how)
    fin = await conn.expect_fin()
    if not listens:
        await conn.listener.close()
    if via is State.CLOSING:
        await conn.send(FIN | ACK, ack=fin.segment.seq, text="FIN that does not cover the target's FIN")
        await conn.expect_ack()
        last = await conn.send(ACK, text="now cover it")
        return conn, last.at_ns
    if via is State.FIN_WAIT_2:
        await conn.send(ACK)
        await conn.confirm(State.FIN_WAIT_2)
    last = await conn.send(FIN | ACK)
    await conn.expect_ack()
    return conn, last.at_ns


# How long TIME-WAIT lasts


@pytest.mark.parametrize(
    ("via", "how", "last"),
    [
        pytest.param(State.FIN_WAIT_2, "shutdown", "our FIN", id="via-fin-wait-2"),
        pytest.param(State.FIN_WAIT_1, "shutdown", "our FIN", id="via-fin-wait-1"),
        pytest.param(State.CLOSING, "shutdown", "our ACK of the target's FIN", id="via-closing"),
        pytest.param(State.FIN_WAIT_2, "close", "our FIN", id="of-an-orphan"),
    ],
)
@verifies(
    "RFC9293:MUST-13",
    "RFC9293:3.10.8-time-wait",
    "RFC1122:4.2.2.13-time-wait",
    "claim:C-24",
    cells=["arc/TIME-WAIT-timeout-2msl", "TIME-WAIT/timeout-2msl"],
    lasts=after("time-wait", 10),
)
async def test_time_wait_lasts_twice_the_maximum_segment_lifetime(tcp: Case, via: State, how: str, last: str) -> None:
    """TIME-WAIT lasts twice the maximum segment lifetime.

    Both ends have closed, the target first, and its port no longer listens. We send nothing more.

    The target must know the connection for the 2 MSL that its profile documents, and then forget it without a
    segment.
    """
    bound = tcp.timer("time-wait")
    conn, entered_ns = await enters_time_wait(tcp, via, how)
    await conn.confirm(State.TIME_WAIT, probe=False)
    ending = await tcp.see_end(conn, since_ns=entered_ns, expected=bound, since=last)
    tcp.check_timing("time-wait", ending.gone_s, ending.within(bound), how=ending.how)
    await conn.confirm(State.CLOSED)


async def restarts(tcp: Case, flags: Flags, *, back: int, payload: bytes, answered: bool) -> bool:
    """Return True if a segment from `back` octets before RCV.NXT restarts 2 MSL when it arrives in TIME-WAIT."""
    bound = tcp.timer("time-wait")
    again_s = bound.high_s * AGAIN
    conn, entered_ns = await enters_time_wait(tcp, State.FIN_WAIT_2)
    await conn.silence(for_=again_s - (tcp.clock.now_ns() - entered_ns) / SECOND)

    again = await conn.inject(flags, seq=conn.snd_nxt - back, payload=payload, text="again")
    if answered:
        await conn.expect_ack()

    either = Bound(bound.low_s, bound.high_s + again_s, bound.source)
    ending = await tcp.see_end(conn, since_ns=entered_ns, expected=either, since="our FIN")
    later_s = (again.at_ns - entered_ns) / SECOND
    restarted = ending.gone_s > bound.low_s + later_s
    how = ending.how + (f", less {later_s:.3f} s until the segment that started it anew" if restarted else "")
    tcp.check_timing("time-wait", ending.gone_s - later_s * restarted, ending.within(bound), how=how)
    return restarted


@verifies(
    "RFC9293:3.10.7.4-fin-time-wait-restart",
    "RFC9293:3.10.7.4-ack-time-wait",
    "claim:C-26",
    cells=["TIME-WAIT/fin-duplicate", "TIME-WAIT/timeout-2msl"],
    lasts=after("time-wait", 20),
)
async def test_time_wait_may_begin_anew_with_a_repeated_fin(tcp: Case) -> None:
    """A repeated FIN may restart TIME-WAIT.

    Our FIN arrives again after a sixth of 2 MSL. Section 3.10.7.4 has two answers: steps 5 and 8 restart the timer,
    and by step 1 the FIN is old, so that it is acknowledged and dropped.

    Either is allowed. TIME-WAIT must end 2 MSL after it began, or after the repeated FIN.
    """
    restarted = await restarts(tcp, FIN | ACK, back=1, payload=b"", answered=True)
    forms = ["starts 2 MSL anew", "leaves 2 MSL running"]
    tcp.choice("FIN that comes again in TIME-WAIT", forms[not restarted], forms)


@verifies(
    "RFC9293:3.10.7.4-ack-time-wait",
    "RFC9293:3.10.7.4-ack-duplicate",
    cells=["TIME-WAIT/timeout-2msl"],
    lasts=after("time-wait", 20),
)
async def test_time_wait_may_begin_anew_with_a_duplicate_ack(tcp: Case) -> None:
    """A duplicate ACK may restart TIME-WAIT.

    An empty ACK at RCV.NXT arrives after a sixth of 2 MSL. Step 5 restarts the timer for a segment that it takes
    for a repeated FIN; elsewhere duplicate ACKs are ignored.

    Either is allowed, and the target owes no answer. TIME-WAIT must end 2 MSL after it began, or after the ACK.
    """
    restarted = await restarts(tcp, ACK, back=0, payload=b"", answered=False)
    forms = ["starts 2 MSL anew", "leaves 2 MSL running"]
    tcp.choice("duplicate ACK in TIME-WAIT", forms[not restarted], forms)


@pytest.mark.parametrize(
    ("flags", "back", "payload"),
    [
        pytest.param(ACK | PSH, len(DATA) + 1, DATA, id="old-data"),
        pytest.param(ACK, len(DATA) + 1, b"", id="old-ack"),
        pytest.param(RST, 1, b"", id="old-rst"),
    ],
)
@verifies(
    "RFC9293:3.10.7.4-seq-drop",
    "RFC9293:MUST-13",
    "claim:C-27",
    level="text",
    cells=[
        "TIME-WAIT/ack-outside-left",
        "TIME-WAIT/data-outside-left",
        "TIME-WAIT/rst-outside-left",
        "TIME-WAIT/timeout-2msl",
    ],
    lasts=after("time-wait", 20),
)
async def test_time_wait_goes_on_as_it_was_after_an_old_segment(
    tcp: Case, flags: Flags, back: int, payload: bytes
) -> None:
    """An old segment does not change the length of TIME-WAIT.

    A segment from before the window arrives after a sixth of 2 MSL. The target must answer it, unless it is a RST,
    and drop it. TIME-WAIT must end when it would have ended without it.
    """
    restarted = await restarts(tcp, flags, back=back, payload=payload, answered=flags is not RST)
    forms = ["starts 2 MSL anew", "leaves 2 MSL running"]
    tcp.choice("old segment in TIME-WAIT", forms[not restarted], forms[1:])


# What TIME-WAIT answers


@VIA
@verifies(
    "RFC9293:3.10.7.4-ack-time-wait",
    "RFC9293:3.10.7.4-fin-time-wait-restart",
    "claim:C-25",
    cells=["TIME-WAIT/fin-duplicate"],
)
async def test_repeated_fin_in_time_wait_has_the_same_answer(tcp: Case, via: State) -> None:
    """A repeated FIN in TIME-WAIT gets the same ACK again.

    The target's last ACK is lost, so we send our FIN again, twice. The target must answer each with the ACK that it
    sent before, and stay in TIME-WAIT.
    """
    conn, _ = await enters_time_wait(tcp, via)
    for _ in range(2):
        await conn.inject(FIN | ACK, seq=conn.snd_nxt - 1, text="our FIN again")
        await conn.expect_ack()
    await conn.silence()
    await conn.confirm(State.TIME_WAIT)


def dropped(name: str, flags: Flags, back: int, payload: bytes, *ids: str, cell: str) -> Any:
    """Return a parameter set: a segment from `back` octets before RCV.NXT, or beyond it if that is negative."""
    marks = verifies(*ids, "RFC9293:3.10.7.4-seq-drop", "claim:C-27", cells=[cell])
    return pytest.param(flags, back, payload, id=name, marks=marks)


OUTSIDE = "RFC9293:3.10.7.4-seq-unacceptable"


@pytest.mark.parametrize(
    ("flags", "back", "payload"),
    [
        dropped("old-ack", ACK, len(DATA) + 1, b"", OUTSIDE, cell="TIME-WAIT/ack-outside-left"),
        dropped("old-data", ACK | PSH, len(DATA) + 1, DATA, OUTSIDE, cell="TIME-WAIT/data-outside-left"),
        dropped("old-data-with-fin", FIN | ACK | PSH, len(DATA) + 1, DATA, OUTSIDE, cell="TIME-WAIT/fin-duplicate"),
        dropped("ack-beyond-the-window", ACK, -200_000, b"", OUTSIDE, cell="TIME-WAIT/ack-outside-right"),
        dropped("data-beyond-the-window", ACK | PSH, -200_000, DATA, OUTSIDE, cell="TIME-WAIT/data-outside-right"),
        dropped(
            "old-syn-ack",
            SYN | ACK,
            len(DATA) + 2,
            b"",
            "RFC9293:3.10.7.4-syn-challenge",
            cell="TIME-WAIT/syn-ack-outside-left",
        ),
    ],
)
async def test_segment_outside_the_window_in_time_wait_is_acknowledged_and_dropped(
    tcp: Case, flags: Flags, back: int, payload: bytes
) -> None:
    """TIME-WAIT acknowledges a segment outside the window.

    A segment outside the window arrives in TIME-WAIT. The target must answer it with its last ACK and drop it. It
    must stay in TIME-WAIT.
    """
    conn, _ = await enters_time_wait(tcp, State.FIN_WAIT_2)
    await conn.inject(flags, seq=conn.snd_nxt - back, payload=payload)
    await conn.expect_ack()
    await conn.silence()
    await conn.confirm(State.TIME_WAIT)


@verifies("RFC9293:3.10.7.4-rst-outside", "claim:C-27", cells=["TIME-WAIT/rst-outside-left"])
async def test_old_rst_in_time_wait_is_dropped_in_silence(tcp: Case) -> None:
    """TIME-WAIT drops an old RST in silence.

    A RST from before the window arrives in TIME-WAIT. The target must drop it without an answer and stay in
    TIME-WAIT.
    """
    conn, _ = await enters_time_wait(tcp, State.FIN_WAIT_2)
    await conn.inject(RST, seq=conn.snd_nxt - 1)
    await conn.silence()
    await conn.confirm(State.TIME_WAIT)


@pytest.mark.parametrize(
    ("flags", "payload"),
    [
        pytest.param(ACK, b"", id="ack", marks=verifies("RFC9293:3.10.7.4-ack-duplicate", "claim:C-27")),
        pytest.param(
            ACK | PSH,
            DATA,
            id="data",
            marks=verifies("RFC9293:3.10.7.4-text-ignored", "claim:C-27", cells=["TIME-WAIT/data"]),
        ),
    ],
)
async def test_new_segment_in_time_wait_changes_nothing(tcp: Case, flags: Flags, payload: bytes) -> None:
    """A new segment in TIME-WAIT changes nothing.

    A segment at RCV.NXT arrives in TIME-WAIT, although we have closed. The target must ignore it and must not take
    the data. It may repeat its last ACK.
    """
    conn, _ = await enters_time_wait(tcp, State.FIN_WAIT_2)
    await conn.inject(flags, payload=payload)
    repeated = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="the last ACK again:")
    answer = await conn.allow(repeated, within=0.3)
    forms = ["silence", "the last ACK again"]
    tcp.choice("answer to a new segment in TIME-WAIT", forms[answer is not None], forms)
    await conn.confirm(State.TIME_WAIT)


# What TIME-WAIT leaves for the next connection


@pytest.mark.parametrize(
    "iss", [pytest.param(-100_000, id="older-sequence"), pytest.param(100_000, id="newer-sequence")]
)
@verifies(
    "RFC9293:3.3.2-time-wait",
    "RFC9293:3.10.8-time-wait",
    "claim:C-24",
    cells=["arc/TIME-WAIT-timeout-2msl", "TIME-WAIT/timeout-2msl"],
    lasts=after("time-wait", 10),
)
async def test_after_time_wait_the_four_tuple_is_free(tcp: Case, iss: int) -> None:
    """After TIME-WAIT the four-tuple is free.

    When 2 MSL are over we open again on the same four-tuple. Nothing is left of the former connection, so the
    target must answer this SYN like any other.
    """
    conn, _ = await enters_time_wait(tcp, State.FIN_WAIT_2, listens=True)
    await conn.silence(for_=tcp.timer("time-wait").high_s)
    again = conn.next_incarnation(iss=conn.snd_nxt + iss)
    await tcp.drive_to(State.ESTABLISHED, conn=again)
    await again.deliver(DATA)


@pytest.mark.parametrize(
    ("flags", "back", "payload", "answered"),
    [
        pytest.param(ACK | PSH, len(DATA) + 1, DATA, True, id="old-data"),
        pytest.param(FIN | ACK, 1, b"", True, id="old-fin"),
        pytest.param(ACK, 0, b"", True, id="old-ack"),
        pytest.param(SYN, len(DATA) + 2, b"", True, id="old-syn"),
        pytest.param(RST, 0, b"", False, id="old-rst"),
    ],
)
@verifies("RFC9293:3.4.1-time-wait", "RFC1337:2.1-H1", "RFC1337:2.1-H2", "RFC1337:2.1-H3", "claim:C-27")
async def test_old_segment_does_the_next_connection_no_harm(
    tcp: Case, flags: Flags, back: int, payload: bytes, answered: bool
) -> None:
    """An old segment does the next connection no harm.

    We open a new connection from TIME-WAIT on the same four-tuple. Then a segment of the former connection arrives.

    The target must not take it: it acknowledges what the new connection expects, and does not answer a RST. The new
    connection must still carry data both ways, unspoilt.
    """
    former, _ = await enters_time_wait(tcp, State.FIN_WAIT_2, listens=True)
    conn = former.next_incarnation(iss=former.snd_nxt + 100_000)
    try:
        await tcp.drive_to(State.ESTABLISHED, conn=conn)
    except Violation:
        raise NotApplicable("the target opens no connection from TIME-WAIT, which MAY-2 leaves to it") from None
    await conn.deliver(b"new")

    await former.inject(flags, seq=former.snd_nxt - back, payload=payload, text="of the former connection")
    if answered:
        await conn.expect_ack()
    await conn.silence()
    await conn.confirm(State.ESTABLISHED)

    await conn.deliver(b"still new")
    await conn.collect(b"and back")
