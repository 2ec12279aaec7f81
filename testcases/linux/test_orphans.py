"""Linux: how long a connection lives that no application holds any more and whose peer says nothing."""

from conformance.api import ACK, FIN, RST, SECOND, Case, Expectation, State, verifies

REPEATS = 8


@verifies(
    "RFC9293:MUST-20",
    "RFC9293:3.8.3-r2",
    "claim:C-43",
    cells=["FIN-WAIT-1/timeout-r2"],
    needs=("app", "sysctl"),
    lasts=180,
)
async def test_orphan_repeats_its_fin_eight_times_by_default(tcp: Case) -> None:
    """An orphan repeats its FIN eight times by default.

    The application closes its socket and is gone; the target's FIN is never acknowledged. tcp_orphan_retries is 0
    by default, which means eight: the FIN must come that often again (once more where the round trip has put the
    first off), at doubling intervals. One more interval later the connection is gone without a segment.
    """
    conn = await tcp.drive_to(State.FIN_WAIT_1, how="close")
    await conn.listener.close()
    first, growth = tcp.timeout_after(conn.round_trip_s), tcp.growth("rto-min", "RFC 6298, 5.5")
    again = Expectation(FIN | ACK, seq=conn.fin_seen.seq, ack=conn.snd_nxt, length=0, label="again:")
    stamps = [next(frame.at_ns for frame in reversed(tcp.trace.frames) if frame.inbound)]
    wait_s = first.high_s
    while (taken := await conn.allow(again, within=wait_s, strict=True)) is not None:
        stamps.append(taken[1].at_ns)
        wait_s = growth.after((stamps[-1] - stamps[-2]) / SECOND, None).high_s
    tcp.check_series(
        "FINs of an orphan",
        stamps,
        [first],
        growth=growth,
        count=(REPEATS, REPEATS + 1),
        how="from each FIN to the next",
    )
    late = await conn.inject(ACK, text="an acknowledgment, too late")
    await conn.expect(RST, seq=late.segment.ack, label="no connection:")
