"""RFC 9293 section 3.8.6.1: probes of a zero window as a series."""

from conformance.api import ACK, SECOND, Bound, Case, Connection, Expectation, Inconclusive, State, app_sends, verifies

DATA = b"has to wait"
PROBES = 6
CALL_LATE_S = 0.05
"""The agent stamps a call when it has returned, by which time the timer may run already."""


async def probe_stamps(tcp: Case, conn: Connection, first: Bound) -> list[int]:
    """Return when each of PROBES probes of our closed window arrived (ns); answer each that it is still closed.

    `first` is the retransmission timeout. Raises Violation where anything else comes, or none in time.
    """
    below = [
        Expectation(ACK, seq=conn.rcv_nxt - 1, ack=conn.snd_nxt, length=octets, label="probe:") for octets in (0, 1)
    ]
    taken, stamps = conn.rcv_nxt, []  # the octets of probes are not taken
    beyond = Expectation(ACK, seq=taken, ack=conn.snd_nxt, payload=DATA[:1], label="probe:")
    for number in range(PROBES):
        _, probe = await conn.expect_any(*below, beyond, within=first.high_s * 2.5**number + 1, strict=True)
        answer = await conn.inject(ACK, ack=taken, text="the window is still closed")
        stamps.append(probe.at_ns)
        # A stack may count from the probe or from the answer: they may not lie apart.
        if (late_s := (answer.at_ns - probe.at_ns) / SECOND) > CALL_LATE_S:
            raise Inconclusive(
                f"our answer to probe {number + 1} left {late_s:.3f} s after it, {CALL_LATE_S} s is allowed for"
            )
    return stamps


@verifies(
    "RFC9293:SHLD-29",
    "RFC9293:SHLD-30",
    "RFC9293:MUST-36",
    "RFC9293:MUST-37",
    "claim:C-34",
    level="MUST",
    lasts=14,
)
async def test_zero_window_probes_come_at_doubling_intervals(tcp: Case) -> None:
    """Zero-window probes come at doubling intervals.

    We close our window, the application sends, and we answer each probe with a window that is still closed. The
    first probe should come after one retransmission timeout, each further one after twice as long; however often
    the window is found closed, the connection must stay open, and what waits must be sent when the window opens.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    conn.window = 0
    await conn.send(ACK, text="closes our window")
    await conn.app.send(DATA)
    stamps = [tcp.trace.steps[-1].at_ns]
    first = tcp.timeout_after(conn.round_trip_s).widened(CALL_LATE_S, 0)
    stamps += await probe_stamps(tcp, conn, first)
    tcp.check_series(
        "zero-window probes",
        stamps,
        [first],
        growth=tcp.growth("rto-min", "RFC 9293, 3.8.6.1 (SHLD-30)"),
        how="from the application's call to the first probe, and from probe to probe",
    )
    conn.window = 65535
    opened = await conn.send(ACK, text="opens our window")
    sent = await conn.expect(ACK, ack=conn.snd_nxt, label="what had to wait:")
    assert DATA.endswith(sent.segment.payload), "what is sent is not what had to wait"
    await conn.send(ACK)
    assert (sent.at_ns - opened.at_ns) / SECOND < 1
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC9293:SHLD-30", "claim:C-34", lasts=14)
async def test_probes_of_a_closed_window_back_off(tcp: Case) -> None:
    """Probes back off from the first one on.

    We close our window as we acknowledge the last data, then the application sends; each probe finds it closed.
    Whenever the first probe comes, each interval to the next should be twice as long as the one before.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    data = await app_sends(conn, b"x")
    conn.window = 0
    closed = await conn.send(ACK, text="closes our window")
    await conn.app.send(DATA)
    timeout = tcp.timeout_after(conn.round_trip_s, (closed.at_ns - data.at_ns) / SECOND)
    source = "RFC 9293, 3.8.6.1: one timeout, or two where the first probe has waited for one"
    tcp.check_series(
        "zero-window probes after the first",
        await probe_stamps(tcp, conn, timeout),
        [Bound(timeout.low_s, 2 * timeout.high_s, source)],
        growth=tcp.growth("rto-min", "RFC 9293, 3.8.6.1 (SHLD-30)"),
        how="from probe to probe",
    )
