"""RFC 9293 section 3.8.4: keep-alives as a series, from the first probe of a silent peer to giving it up."""

from dataclasses import replace

from conformance.api import ACK, SECOND, Bound, Case, Connection, Expectation, Received, State, after, verifies

IDLE_S, INTERVAL_S, COUNT = 3, 1, 3
TOLD = "ETIMEDOUT for the application"


async def first_probe(tcp: Case, conn: Connection, bound: Bound) -> tuple[int, Received]:
    """Deliver data and wait for the first keep-alive after it; return when our last segment left, and the probe.

    It is one below SND.NXT, with no data or one octet.
    """
    await conn.deliver(b"the last of us")
    since_ns = max(frame.at_ns for frame in tcp.trace.frames if not frame.inbound)
    below = Expectation(ACK, seq=conn.rcv_nxt - 1, ack=conn.snd_nxt, label="keep-alive:")
    forms = (replace(below, length=octets) for octets in (0, 1))
    return since_ns, (await conn.expect_any(*forms, within=bound.high_s + 1))[1]


@verifies(
    "RFC9293:MUST-26",
    "RFC9293:MUST-27",
    "RFC9293:MUST-29",
    "RFC9293:3.8.4-form",
    "claim:C-41",
    level="MUST",
    needs=("app", "keepalive"),
    lasts=8,
)
async def test_keep_alives_are_a_series_that_ends_the_connection(tcp: Case) -> None:
    """A series of unanswered keep-alives ends the connection.

    The application has keep-alives sent after 3 s, each second, three in all. Nothing comes from us any more. Three
    probes must come at those times, none of which ends the connection alone; one interval after the last the
    application must be told, and the connection is gone.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    for name, value in (("TCP_KEEPIDLE", IDLE_S), ("TCP_KEEPINTVL", INTERVAL_S), ("TCP_KEEPCNT", COUNT)):
        await conn.app.option("tcp", name, value)
    await conn.app.option("socket", "SO_KEEPALIVE", 1)
    idle, interval = tcp.timer("keepalive-time", IDLE_S), tcp.timer("keepalive-interval", INTERVAL_S)
    since_ns, probed = await first_probe(tcp, conn, idle)
    gone = await tcp.see_given_up(conn, probed, within=(COUNT + 2) * interval.high_s)
    tcp.check_series(
        "keep-alives",
        [since_ns, *gone.stamps_ns],
        [idle, *[interval] * COUNT],
        count=(COUNT, COUNT),
        end=TOLD,
        how="from our last segment to the first probe, between probes, and to the agent's stamp of the application's error",
        shortened=f"TCP_KEEPIDLE = {IDLE_S} s, TCP_KEEPINTVL = {INTERVAL_S} s, TCP_KEEPCNT = {COUNT}",
    )
    await conn.confirm(State.CLOSED)


@verifies(
    "RFC9293:MUST-28", "RFC9293:MUST-26", "claim:C-41", needs=("app", "keepalive"), lasts=after("keepalive-time", 1000)
)
async def test_first_keep_alive_comes_after_two_hours(tcp: Case) -> None:
    """The first keep-alive is sent after two hours.

    The application has switched keep-alives on and set nothing else. Nothing is said for two hours. The first probe
    must not come before two hours have passed, and by the profile's time.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.option("socket", "SO_KEEPALIVE", 1)
    own = tcp.timer("keepalive-time")
    since_ns, probed = await first_probe(tcp, conn, own)
    tcp.check_timing(
        "keepalive-time",
        (probed.at_ns - since_ns) / SECOND,
        Bound(7200 - 0.01, max(7200, own.high_s), f"RFC 9293, 3.8.4 (MUST-28); {own.source}"),
        how="from our last segment to the first probe",
        between=(since_ns, probed.at_ns),
    )
