"""RFC 6298 sections 2 and 3: the timeout that follows from measured round trips, which we make by answering late."""

import pytest

from conformance.api import ACK, SECOND, Bound, Case, Connection, State, app_sends, verifies

FIRST, LATER = b"measured", b"lost"


async def measures(tcp: Case, conn: Connection, round_trip_s: float) -> float:
    """Have the target measure a round trip; return it with the wire's own, in seconds."""
    data = await app_sends(conn, FIRST)
    await tcp.clock.sleep_until(data.at_ns + round(round_trip_s * SECOND))
    acked = await conn.send(ACK)
    return (acked.at_ns - data.at_ns) / SECOND + tcp.wire_round_trip_s


async def timeout(conn: Connection, longest_s: float) -> tuple[float, tuple[int, int]]:
    """Return the seconds from lost data to its first repetition, and the two stamps."""
    data = await app_sends(conn, LATER)
    again = await conn.expect_retransmission(data, within=longest_s * 1.5 + 1)
    return (again.at_ns - data.at_ns) / SECOND, (data.at_ns, again.at_ns)


HOW = "from the data to its first repetition"


@pytest.mark.parametrize("by", ["passive", "active"])
@pytest.mark.parametrize("round_trip_s", [pytest.param(0.4, id="400-ms"), pytest.param(0.6, id="600-ms")])
@verifies("RFC6298:2.2", "RFC6298:5.1", "RFC9293:MUST-18", lasts=4)
async def test_timeout_after_the_first_round_trip(tcp: Case, by: str, round_trip_s: float) -> None:
    """The first timeout is three round trips.

    We answer the target's SYN (or SYN+ACK) late; the data that its application sends then is lost. The one round
    trip R that it could measure makes SRTT = R and RTTVAR = R/2: the data must be repeated after 3 R.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, by=by, round_trip_s=round_trip_s)
    allowed = tcp.timeout_after(conn.round_trip_s)
    measured_s, between = await timeout(conn, allowed.high_s)
    tcp.check_timing("timeout after one round trip", measured_s, allowed, how=HOW, between=between)


@pytest.mark.parametrize(
    "round_trips",
    [
        pytest.param((0.3, 0.6), id="growing"),
        pytest.param((0.5, 0.25), id="falling"),
        pytest.param((0.5, 0.02), id="falling-far"),
        pytest.param((0.5, 0.5, 0.5), id="steady"),
    ],
)
@verifies("RFC6298:2.3", "RFC9293:MUST-18", lasts=4)
async def test_timeout_follows_the_round_trips(tcp: Case, round_trips: tuple[float, ...]) -> None:
    """The timeout follows the round trips.

    We acknowledge the handshake and then each piece of data as late as the round trips say; then data is lost. SRTT
    and RTTVAR must follow: the lost data must be repeated after SRTT + 4 RTTVAR.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, round_trip_s=round_trips[0])
    measured = [conn.round_trip_s]
    for round_trip in round_trips[1:]:
        measured.append(await measures(tcp, conn, round_trip))
    allowed = tcp.timeout_after(*measured)
    measured_s, between = await timeout(conn, allowed.high_s)
    tcp.check_timing("timeout after several round trips", measured_s, allowed, how=HOW, between=between)


@verifies("RFC6298:2.4", lasts=2)
async def test_timeout_is_at_least_a_second(tcp: Case) -> None:
    """The timeout is at least a second.

    Everything is acknowledged at once, and then data is lost. However short the round trips, the timeout should be
    rounded up to a second.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await measures(tcp, conn, 0)
    measured_s, between = await timeout(conn, 3)
    bound = Bound(tcp.timer("initial-rto", 1.0).low_s, 3, "RFC 6298, 2.4; 3 s to see it at all")
    tcp.check_timing("least timeout", measured_s, bound, how=HOW, between=between)


@verifies("RFC6298:3-karn", "RFC9293:MUST-18", lasts=7)
async def test_acknowledgment_of_what_was_repeated_is_no_measurement(tcp: Case) -> None:
    """An ACK of repeated data is no round-trip measurement.

    With a round trip of 0.4 s data is lost, repeated, and acknowledged 2 s after the repetition. Then more data is
    lost. The acknowledgment may be that of the first transmission or of the second, so no round trip may be taken
    from it: the timeout must be as before the loss, or still backed off by two. Either reading of it would make
    another.
    """
    conn = await tcp.drive_to(State.ESTABLISHED, round_trip_s=0.4)
    as_before = tcp.timeout_after(conn.round_trip_s)
    lost = await app_sends(conn, FIRST)
    again = await conn.expect_retransmission(lost, within=as_before.high_s + 1)
    await tcp.clock.sleep_until(again.at_ns + 2 * SECOND)
    await conn.send(ACK)
    doubled = tcp.timer("rto-min", 2 * conn.round_trip_s * 3)
    measured_s, between = await timeout(conn, doubled.high_s)
    backed_off = measured_s > (as_before.high_s + doubled.low_s) / 2
    forms = ["as before the loss", "still backed off"]
    tcp.choice("timeout after an acknowledgment that may be of either transmission", forms[backed_off], forms)
    tcp.check_timing(
        "timeout after no new measurement",
        measured_s,
        Bound(doubled.low_s, doubled.high_s, f"RFC 6298, 3 and 5.5; {as_before.source}") if backed_off else as_before,
        how=HOW,
        between=between,
    )
