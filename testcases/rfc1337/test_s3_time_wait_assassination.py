"""RFC 1337 section 3: a RST in TIME-WAIT, and the old segment that provokes it."""

import pytest

from conformance.api import ACK, FIN, PSH, RST, Case, Connection, Expectation, State, after, resets, verifies

DATA = b"said long ago"
ENDS, IGNORED, CHALLENGED = "ends TIME-WAIT", "is ignored", "is answered by a challenge ACK"
PROTECTED, UNPROTECTED = {"net.ipv4.tcp_rfc1337": "1"}, {"net.ipv4.tcp_rfc1337": "0"}
BY = pytest.mark.parametrize("provoked", [pytest.param(False, id="by-a-rst"), pytest.param(True, id="by-old-data")])


async def in_time_wait(tcp: Case) -> tuple[Connection, int]:
    """Return a connection in TIME-WAIT that has carried data, and since when; its port listens no more."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.deliver(DATA)
    await conn.listener.close()
    await conn.app.shutdown("send")
    await conn.expect_fin()
    last = await conn.send(FIN | ACK)
    await conn.expect_ack()
    return conn, last.at_ns


async def reset(conn: Connection, provoked: bool) -> None:
    """Send our RST at RCV.NXT: unprovoked, or as the answer of an end that has forgotten the connection."""
    if provoked:
        await conn.inject(ACK | PSH, seq=conn.snd_nxt - len(DATA) - 1, payload=DATA, text="an old duplicate")
        await conn.expect_ack()
    await conn.inject(RST, text="nothing is known of the connection here")
    await conn.silence()


async def what_is_left(conn: Connection) -> str:
    """Return the state that the RST has left, by an old octet: TIME-WAIT acknowledges it, CLOSED resets it."""
    probe = await conn.inject(ACK, seq=conn.snd_nxt - 2, payload=b"\0", text="probe: an old octet")
    there = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="still in TIME-WAIT:")
    which, _ = await conn.expect_any(there, *resets(seq=probe.segment.ack, label="no connection:"))
    await conn.confirm(State.CLOSED if which else State.TIME_WAIT)
    return ENDS if which else IGNORED


@BY
@verifies(
    "RFC9293:3.10.7.4-rst-closing",
    "RFC1337:1-twa",
    "RFC1337:3-F1",
    "claim:C-29",
    cells=["TIME-WAIT/rst-left-edge", "TIME-WAIT/rst-left-edge-1337"],
)
async def test_rst_in_time_wait_ends_it_or_is_ignored(tcp: Case, provoked: bool) -> None:
    """A RST at RCV.NXT ends TIME-WAIT or is ignored.

    In TIME-WAIT a RST arrives at the very number that the target expects, maybe provoked by an old duplicate. RFC
    9293 has the target close (which RFC 1337 calls assassination), RFC 1337's fix F1 has it ignore the RST: either
    is allowed, and in no case does it answer.
    """
    conn, _ = await in_time_wait(tcp)
    await reset(conn, provoked)
    tcp.choice("RST in TIME-WAIT", await what_is_left(conn), [ENDS, IGNORED])


@BY
@verifies(
    "RFC9293:3.10.7.4-rst-closing",
    "claim:C-29",
    cells=["TIME-WAIT/rst-left-edge"],
    needs=("app", "settings"),
    sysctl=UNPROTECTED,
)
async def test_rst_ends_time_wait_without_rfc1337(tcp: Case, provoked: bool) -> None:
    """Without the fix of RFC 1337 a RST ends TIME-WAIT.

    The fix of RFC 1337 is switched off, and a RST arrives in TIME-WAIT. The target must close, as RFC 9293 has it.
    """
    conn, _ = await in_time_wait(tcp)
    await reset(conn, provoked)
    tcp.choice("RST in TIME-WAIT, RFC 1337 off", await what_is_left(conn), [ENDS])


@BY
@verifies(
    "RFC1337:3-F1",
    "claim:C-29",
    cells=["TIME-WAIT/rst-left-edge-1337"],
    needs=("app", "settings"),
    sysctl=PROTECTED,
)
async def test_rst_is_ignored_in_time_wait_with_rfc1337(tcp: Case, provoked: bool) -> None:
    """With the fix of RFC 1337 a RST leaves TIME-WAIT alone.

    The fix of RFC 1337 is switched on, and a RST arrives in TIME-WAIT. The target must ignore it.
    """
    conn, _ = await in_time_wait(tcp)
    await reset(conn, provoked)
    tcp.choice("RST in TIME-WAIT, RFC 1337 on", await what_is_left(conn), [IGNORED])


@verifies(
    "RFC1337:3-F1",
    "RFC9293:MUST-13",
    "claim:C-29",
    cells=["TIME-WAIT/rst-left-edge-1337", "TIME-WAIT/timeout-2msl"],
    needs=("app", "settings"),
    sysctl=PROTECTED,
    lasts=after("time-wait", 10),
)
async def test_ignored_rst_leaves_the_length_of_time_wait(tcp: Case) -> None:
    """An ignored RST does not change the length of TIME-WAIT.

    With the fix of RFC 1337 two RSTs arrive, 10 s after the target has entered TIME-WAIT. They must make TIME-WAIT
    neither shorter nor longer: it ends 2 MSL after its beginning.
    """
    bound = tcp.timer("time-wait")
    conn, entered_ns = await in_time_wait(tcp)
    await conn.silence(for_=10)
    for _ in range(2):
        await conn.inject(RST)
        await conn.silence()
    ending = await tcp.see_end(conn, since_ns=entered_ns, expected=bound, since="our FIN")
    tcp.check_timing("time-wait", ending.gone_s, ending.within(bound), how=ending.how)


@pytest.mark.parametrize("ahead", [pytest.param(1, id="next-number"), pytest.param(1_000, id="middle")])
@verifies(
    "RFC9293:3.10.7.4-rst-in-window",
    "RFC1337:3-F1",
    "claim:C-29",
    level="text",
    cells=["TIME-WAIT/rst-middle", "TIME-WAIT/rst-middle-legacy"],
)
async def test_rst_ahead_of_the_expected_number_in_time_wait(tcp: Case, ahead: int) -> None:
    """A RST ahead of RCV.NXT in TIME-WAIT: challenged, ignored or taken.

    In TIME-WAIT a RST arrives in the window, but not at the number that the target expects. RFC 5961 has a
    challenge ACK for it, RFC 1337's fix F1 ignores it, and a stack with neither closes.
    """
    conn, _ = await in_time_wait(tcp)
    await conn.inject(RST, seq=conn.snd_nxt + ahead)
    challenge = Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="a challenge ACK:")
    answer = await conn.allow(challenge, within=0.5)
    left = await what_is_left(conn)
    taken = CHALLENGED if answer is not None and left is IGNORED else left
    tcp.choice("RST in the window in TIME-WAIT", taken, [CHALLENGED, IGNORED, ENDS])
