"""RFC 8985 section 7: the probe for a lost tail, when it comes and what it carries."""

import asyncio
import contextlib

import pytest

from conformance.api import ACK, SECOND, SYN, AppError, Bound, Case, Connection, Offer, Received, State, verifies

NEEDS = ("app", "sack", "rack")
ROUND_TRIP_S = 0.4
"""The round trip of the handshake: the probe is due after 0.8 s, the timeout after 1.2 s."""
HOW = "from the last segment to the probe"
MSS = 1400


async def opened(tcp: Case, *, round_trip_s: float = ROUND_TRIP_S, sack: bool = True) -> Connection:
    """Return a connection with SACK that has measured that round trip and sends small segments at once."""
    conn = await tcp.drive_to(State.ESTABLISHED, offer=Offer(mss=MSS, sack=sack), round_trip_s=round_trip_s)
    await conn.app.option("tcp", "TCP_NODELAY", 1)
    return conn


async def says(conn: Connection, *pieces: bytes) -> list[Received]:
    """Have the application send pieces in one go, each of them a segment; return them."""
    await asyncio.gather(*(conn.app.send(data) for data in pieces))
    return [await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data) for data in pieces]


def due(tcp: Case, seconds: float) -> Bound:
    """Return the bound of a probe that is due after that time, as precise as the retransmission timer."""
    bound = tcp.timer("rto-min", seconds)
    return Bound(bound.low_s, bound.high_s, "RFC 8985, 7.2")


@verifies(
    "RFC8985:7.2-start", "RFC8985:7.2-two-round-trips", "RFC8985:7.3-last-segment", level="SHOULD", needs=NEEDS, lasts=3
)
async def test_probe_repeats_the_last_segment_after_two_round_trips(tcp: Case) -> None:
    """The tail loss probe repeats the last segment after two round trips.

    The target sends three segments, and nothing comes back. After two round trips, before the timeout, it should
    send the last of them again.
    """
    conn = await opened(tcp)
    *_, last = await says(conn, b"first", b"second", b"third")
    probe = await conn.expect_retransmission(last, within=3)
    tcp.check_timing(
        "tail loss probe",
        (probe.at_ns - last.at_ns) / SECOND,
        due(tcp, 2 * conn.round_trip_s),
        how=HOW,
        between=(last.at_ns, probe.at_ns),
    )


@verifies("RFC8985:7.2-one-segment", "RFC8985:7.2-start", level="SHOULD", needs=NEEDS, lasts=3)
async def test_probe_of_a_lone_segment_may_wait_for_a_delayed_ack(tcp: Case) -> None:
    """The probe of a lone segment may wait for a delayed ACK.

    The target sends one segment, and nothing comes back. It should send it again after two round trips, to which it
    may add what it allows for a delayed acknowledgment.
    """
    conn = await opened(tcp)
    (only,) = await says(conn, b"alone")
    probe = await conn.expect_retransmission(only, within=3)
    plain, added = due(tcp, 2 * conn.round_trip_s), tcp.timer("tlp-max-ack-delay")
    inflated = due(tcp, 2 * conn.round_trip_s + tcp.profile.timers["tlp-max-ack-delay"].value_s)
    measured_s = (probe.at_ns - only.at_ns) / SECOND
    waits = measured_s > plain.high_s
    forms = ["waits for a delayed ACK", "two round trips"]
    tcp.choice("loss probe of a lone segment", forms[not waits], forms)
    bound = Bound(inflated.low_s, inflated.high_s, f"RFC 8985, 7.2; {added.source}") if waits else plain
    tcp.check_timing("tail loss probe", measured_s, bound, how=HOW, between=(only.at_ns, probe.at_ns))


@verifies("RFC8985:7.3-one-probe", "RFC8985:7.3-rearm", "RFC6298:5.4", level="MUST", needs=NEEDS, lasts=5)
async def test_one_probe_then_the_timeout(tcp: Case) -> None:
    """After one tail loss probe the timeout follows.

    The target sends two segments, and nothing comes back, not for the probe either. There is one probe, which
    starts the retransmission timer anew: one whole timeout after it, the first segment must come, and from then on
    the intervals double.
    """
    conn = await opened(tcp)
    first, last = await says(conn, b"first", b"last")
    probe = await conn.expect_retransmission(last, within=3)
    timeout = tcp.timeout_after(conn.round_trip_s)
    again = await conn.expect_retransmission(first, last, within=timeout.high_s + 1)
    doubled = await conn.expect_retransmission(first, last, within=2 * timeout.high_s + 1)
    tcp.check_series(
        "timeouts after a tail loss probe",
        [probe.at_ns, again.at_ns, doubled.at_ns],
        [timeout],
        growth=tcp.growth("rto-min", "RFC 6298, 5.5"),
        how="from the probe to the first segment's repetition, and to the next",
    )


@verifies("RFC8985:7.3-new-data", needs=NEEDS, lasts=3)
async def test_probe_is_new_data_where_there_is_some(tcp: Case) -> None:
    """The tail loss probe is new data where there is some.

    The application sends 40 segments at once, more than the window holds, and nothing comes back. After two round
    trips the target should send one segment that it has not sent yet.
    """
    conn = await opened(tcp)
    with contextlib.suppress(AppError):
        await conn.app.option("socket", "SO_SNDBUF", 200 * MSS)
    await conn.app.send(bytes(40 * MSS), wait=False)
    flight = await conn.expect_flight()
    probe = await conn.expect(ACK, seq=conn.rcv_nxt, label="the probe, new data:", within=3)
    assert probe.segment.length == MSS, f"the probe has {probe.segment.length} octets, not those of one segment"
    tcp.check_timing(
        "tail loss probe",
        (probe.at_ns - flight[-1].at_ns) / SECOND,
        due(tcp, 2 * conn.round_trip_s),
        how=HOW,
        between=(flight[-1].at_ns, probe.at_ns),
    )
    await conn.silence(for_=0.3)


@verifies("RFC8985:7.2-timeout-sooner", "RFC8985:7.3-rearm", level="MUST", needs=NEEDS, lasts=3)
async def test_probe_is_no_later_than_the_timeout(tcp: Case) -> None:
    """The tail loss probe is no later than the timeout.

    On a link without delay the target sends one segment, and nothing comes back. Where a delayed acknowledgment is
    allowed for, the timeout is sooner than the probe, which must then come in its place: the next interval is the
    first timeout, not yet a doubled one.
    """
    conn = await opened(tcp, round_trip_s=0)
    (only,) = await says(conn, b"alone")
    timeout = tcp.timeout_after(conn.round_trip_s)
    stamps = await conn.expect_retransmissions(only, within=[2, 2, 2])
    latest = Bound(0, timeout.high_s, "RFC 8985, 7.2")
    tcp.check_timing(
        "tail loss probe", (stamps[1] - stamps[0]) / SECOND, latest, how=HOW, between=(stamps[0], stamps[1])
    )
    tcp.check_series(
        "timeouts after a tail loss probe",
        stamps[1:],
        [timeout],
        growth=tcp.growth("rto-min", "RFC 6298, 5.5"),
        how="from the probe to the next repetition, and to the one after that",
    )


@pytest.mark.parametrize("by", ["passive", "active"])
@verifies("RFC8985:7.2-unmeasured", needs=NEEDS, lasts=4)
async def test_probe_without_a_measured_round_trip_comes_after_a_second(tcp: Case, by: str) -> None:
    """Without a measured round trip the probe waits a second.

    The target's SYN (or SYN,ACK) is answered only when it was repeated, so that no round trip was measured. Data is
    lost. The probe for it should come after one second.
    """
    if by == "active":
        conn = await tcp.connect(offer=Offer(sack=True))
        opening = await conn.expect(SYN, length=0)
    else:
        conn = await tcp.listen(offer=Offer(sack=True))
        await conn.send(SYN)
        opening = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.expect_retransmission(opening, within=5)
    await conn.complete()
    (only,) = await says(conn, b"alone")
    probe = await conn.expect_retransmission(only, within=5)
    tcp.check_timing(
        "tail loss probe", (probe.at_ns - only.at_ns) / SECOND, due(tcp, 1), how=HOW, between=(only.at_ns, probe.at_ns)
    )


@verifies("RFC8985:4-sack", "RFC6298:5-early", level="MUST", needs=NEEDS, lasts=3)
async def test_no_probe_without_sack(tcp: Case) -> None:
    """No tail loss probe is sent without SACK.

    Without SACK the target sends two segments, and nothing comes back. Nothing may come before the timeout, and
    then the first segment.
    """
    conn = await opened(tcp, sack=False)
    first, last = await says(conn, b"first", b"last")
    allowed = tcp.timeout_after(conn.round_trip_s)
    again = await conn.expect_retransmission(first, last, within=allowed.high_s + 1)
    tcp.check_timing(
        "retransmission timeout without SACK",
        (again.at_ns - first.at_ns) / SECOND,
        allowed,
        how="from the first segment to its repetition",
        between=(first.at_ns, again.at_ns),
    )
