"""Linux: sayings of the documents that the suite started from, as they tell them: defaults, what is gone, what ends a state."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    RST,
    SYN,
    AppError,
    Case,
    Expectation,
    NotApplicable,
    State,
    Violation,
    app_closes,
    opt,
    resets,
    verifies,
)

DEFAULTS = {
    "syn-retries": "net.ipv4.tcp_syn_retries",
    "syn-linear-timeouts": "net.ipv4.tcp_syn_linear_timeouts",
    "syn-ack-retries": "net.ipv4.tcp_synack_retries",
    "retries2": "net.ipv4.tcp_retries2",
    "keepalive-probes": "net.ipv4.tcp_keepalive_probes",
    "abort-on-overflow": "net.ipv4.tcp_abort_on_overflow",
    "syn-cookies": "net.ipv4.tcp_syncookies",
    "tw-reuse": "net.ipv4.tcp_tw_reuse",
}
KEEPALIVE = {"TCP_KEEPIDLE": 1, "TCP_KEEPINTVL": 1, "TCP_KEEPCNT": 2}


@pytest.mark.parametrize(
    "choice",
    [
        pytest.param(
            choice,
            id=choice,
            marks=verifies(
                "claim:C-53", f"IP-SYSCTL:{setting.rpartition('.')[2]}", needs=("app", "sysctl"), level="text"
            ),
        )
        for choice, setting in DEFAULTS.items()
    ],
)
async def test_setting_has_its_documented_default(tcp: Case, choice: str) -> None:
    """{choice} has the documented default.

    The target's setting, which no case has changed, must be what its profile documents.
    """
    if choice not in tcp.profile.choices:
        raise NotApplicable(f"profile {tcp.profile.name} documents no {choice}")
    try:
        value = await tcp.app.sysctl(DEFAULTS[choice])
    except AppError as error:
        raise NotApplicable(f"the target has no {DEFAULTS[choice]}: {error.code}") from None
    documented = str(tcp.profile.choices[choice])
    assert value.split()[0] == documented, f"{DEFAULTS[choice]} is {value}, documented is {documented}"


@verifies("claim:C-54", "RFC9293:MUST-13", needs=("app", "sysctl", "timestamps"), level="text")
async def test_what_tcp_tw_recycle_broke_works(tcp: Case) -> None:
    """tcp_tw_recycle is gone, and what it broke works.

    A connection with a high timestamp is in TIME-WAIT. From the same address, another port, comes a SYN with a low
    timestamp, as from a second host behind one translator. With tcp_tw_recycle such a SYN was dropped.

    The setting must not exist any more, and the SYN must be answered; text must pass.
    """
    try:
        value = await tcp.app.sysctl("net.ipv4.tcp_tw_recycle")
    except AppError:
        value = ""
    if value:
        raise Violation(f"net.ipv4.tcp_tw_recycle exists, it is {value}")
    conn = await tcp.listen()
    conn.tsval = 3_000_000_000
    await tcp.drive_to(State.TIME_WAIT, conn=conn)
    second = tcp.connection(conn.listener.port)
    second.listener, second.tsval = conn.listener, 1000
    await tcp.drive_to(State.ESTABLISHED, conn=second)
    await second.deliver(b"a second host behind one address")


@pytest.mark.parametrize("state", [State.CLOSE_WAIT, State.FIN_WAIT_2], ids=lambda state: f"in-{state.value.lower()}")
@verifies("claim:C-55", "RFC9293:MUST-24", needs=("app", "keepalive"), level="text", lasts=5)
async def test_keep_alives_end_a_half_closed_connection(tcp: Case, state: State) -> None:
    """Unanswered keep-alives end {state}.

    One direction is closed, the application holds its socket, and keep-alives are on: after one second, each second,
    two in all. We say nothing any more. The target must probe at SND.NXT - 1, and be in CLOSED when nobody answers: neither
    state lasts for ever. It may send a reset.
    """
    conn = await tcp.drive_to(state)
    for name, value in KEEPALIVE.items():
        await conn.app.option("tcp", name, value)
    await conn.app.option("socket", "SO_KEEPALIVE", 1)
    for number in (1, 2):
        await conn.expect(
            ACK, seq=conn.rcv_nxt - 1, ack=conn.snd_nxt, length=0, within=2.5, label=f"keep-alive {number}:"
        )
    await conn.allow(*resets(seq=conn.rcv_nxt), within=2.5)
    await conn.confirm(State.CLOSED)


@pytest.mark.parametrize("retries", [1, 2])
@verifies(
    "claim:C-56",
    "IP-SYSCTL:tcp_orphan_retries",
    sysctl={"net.ipv4.tcp_orphan_retries": "{retries}"},
    level="text",
    lasts=5,
)
async def test_orphan_in_last_ack_is_given_up(tcp: Case, retries: int) -> None:
    """An orphan in LAST-ACK is given up after {retries} retries.

    We have closed, the application closes its socket, and the last ACK never comes. LAST-ACK does not last for ever:
    the FIN must come again as often as tcp_orphan_retries says, once more at most, and then the connection is gone.
    """
    conn = await tcp.drive_to(State.LAST_ACK, how="close")
    again = Expectation(FIN | ACK, seq=conn.fin_seen.seq, ack=conn.snd_nxt, length=0, label="the FIN again:")
    repeats = 0
    while await conn.allow(again, within=3.5, strict=True):
        repeats += 1
        assert repeats <= retries + 1, f"the FIN came again {repeats} times, tcp_orphan_retries is {retries}"
    assert repeats >= retries, f"the FIN came again {repeats} times, tcp_orphan_retries is {retries}"
    await conn.confirm(State.CLOSED)


@verifies("claim:C-57", "RFC9293:3.10.7.2-listen-syn", level="text")
async def test_syn_with_a_value_in_its_acknowledgment_field_is_a_plain_syn(tcp: Case) -> None:
    """A SYN with a value in its ACK field, and ACK off, is a plain SYN.

    The acknowledgment field means something with ACK alone. Our SYN has a value there and ACK off. The target must
    open the connection.
    """
    conn = await tcp.listen()
    await conn.send(SYN, ack=0x12345678)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.complete()
    await conn.deliver(b"opened")


@verifies("claim:C-58", "RFC9293:3.10.7.4-rst-closing", level="text")
async def test_connections_are_told_apart_by_all_four_ends(tcp: Case) -> None:
    """Connections with the same ports are told apart by their addresses.

    Two connections have the same two ports, from two addresses of ours. Text of the first must reach its socket alone,
    and a RST of the first must leave the second as it was.
    """
    first = await tcp.drive_to(State.ESTABLISHED)
    second = tcp.connection(first.remote_port, port=first.port, address=await tcp.another_address())
    second.listener = first.listener
    await tcp.drive_to(State.ESTABLISHED, conn=second)
    await first.deliver(b"for the first")
    await first.send(RST)
    await second.silence(for_=0.1)
    await first.confirm(State.CLOSED)
    await second.confirm(State.ESTABLISHED)
    await second.deliver(b"for the second")


@verifies("claim:C-59", "RFC9293:3.10.7.4-syn-challenge", level="text")
async def test_syn_that_meets_last_ack_opens_in_the_end(tcp: Case) -> None:
    """A SYN that meets LAST-ACK opens in the end.

    We have closed and forgotten the connection; the target is in LAST-ACK when we open again on the four-tuple. It
    must challenge our SYN; our RST to that ends the old connection, and the SYN that comes again opens the new one.
    """
    conn = await tcp.drive_to(State.LAST_ACK)
    iss = conn.snd_nxt + 100_000
    await conn.inject(SYN, seq=iss, ack=0, text="the new connection's SYN")
    challenge = await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)
    await conn.inject(RST, seq=challenge.segment.ack, text="no such connection here")
    await tcp.drive_to(State.ESTABLISHED, conn=conn.next_incarnation(iss=iss))


@verifies("claim:C-60", "RFC9293:MUST-20", sysctl={"net.ipv4.tcp_synack_retries": "1"}, level="text", lasts=8)
async def test_old_syn_that_nobody_answers_is_forgotten_untold(tcp: Case) -> None:
    """After a connection an old SYN comes, and is forgotten untold.

    A connection is opened, used and closed. Then an old duplicate of its SYN arrives, and nobody answers the target's
    SYN,ACK. The target must give the half-open connection up, and never tell the application of it.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.deliver(b"used")
    await conn.send(FIN | ACK)
    await conn.expect_ack()
    await app_closes(conn, "close")
    await conn.expect_fin()
    await conn.send(ACK)
    old = conn.next_incarnation(iss=conn.iss)
    await old.send(SYN, text="an old duplicate of the SYN")
    opening = await old.expect(SYN | ACK, ack=old.snd_nxt, length=0)
    await old.expect_retransmission(opening, within=2)
    await old.silence(for_=3.5, strict=True)
    await old.listener.fails("accept", "timeout", wait_s=0.1)
    await old.confirm(State.LISTEN)


@verifies("claim:C-61", "RFC7323:5.3-R1", needs=("app", "timestamps"), level="MUST")
async def test_old_text_inside_the_next_window_is_kept_out_by_timestamps(tcp: Case) -> None:
    """Timestamps keep old text out of the next connection.

    A connection with timestamps is closed, and the four-tuple is opened again with a number just below that of a
    segment of before, which arrives late: it lies inside the new window. Its timestamp is older than the new
    connection's, so PAWS must keep its text out.
    """
    conn = await tcp.listen()
    conn.tsval = 1000
    await tcp.drive_to(State.LAST_ACK, conn=conn)
    if not conn.has_timestamps or conn.ts_recent == 0:
        raise NotApplicable("the target has no timestamps")
    await conn.send(ACK)
    fresh = conn.next_incarnation(iss=conn.snd_nxt)
    fresh.tsval = 100_000
    await tcp.drive_to(State.ESTABLISHED, conn=fresh)
    old = b"of the connection before"
    await fresh.inject(
        ACK, seq=fresh.snd_nxt, payload=old, options=opt.stamped(1005, 0), text="old text, in the window"
    )
    await fresh.expect(ACK, seq=fresh.rcv_nxt, ack=fresh.snd_nxt, length=0, label="not taken:")
    await fresh.deliver(b"of this connection")
