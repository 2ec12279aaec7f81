"""RFC 9293 section 3.8.3: R2, when the target gives up a peer that says nothing any more, for SYN and for data."""

from itertools import pairwise

from conformance.api import SECOND, SYN, Bound, Case, State, app_sends, verifies

DATA = b"to nobody"
LIMIT_S = 3600
HOW = "between the receive stamps of one transmission and the next; the end is the agent's stamp of the application's error"
BACKOFF = "RFC 6298, 5.5 and 5.6"
TOLD = "ETIMEDOUT for the application"


@verifies(
    "RFC9293:MUST-20",
    "RFC9293:3.8.3-r2",
    "RFC6298:5.5",
    cells=["ESTABLISHED/timeout-r2"],
    needs=("app", "settings"),
    sysctl={"net.ipv4.tcp_retries2": "4"},
    lasts=8,
)
async def test_data_is_given_up_at_a_shortened_r2(tcp: Case) -> None:
    """Data is given up at a shortened R2.

    With tcp_retries2 at 4 the target's data is never acknowledged. The target must repeat it at doubling intervals
    four times (five where the round trip has put the first off), wait once more, and then tell its application and
    forget the connection.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    data = await app_sends(conn, DATA)
    gone = await tcp.see_given_up(conn, data, within=30)
    tcp.check_series(
        "R2 of data",
        gone.stamps_ns,
        [tcp.timeout_after(conn.round_trip_s)],
        growth=tcp.growth("rto-min", BACKOFF),
        cap=tcp.timer("rto-max"),
        count=(4, 5),
        end=TOLD,
        how=HOW,
        shortened="tcp_retries2 = 4",
    )
    await conn.confirm(State.CLOSED)


@verifies(
    "RFC9293:SHLD-11",
    "RFC9293:MUST-20",
    "RFC9293:3.8.3-r2",
    "RFC6298:2.5",
    "claim:C-42",
    level="SHOULD",
    cells=["ESTABLISHED/timeout-r2"],
    lasts=960,
)
async def test_data_is_given_up_at_the_default_r2(tcp: Case) -> None:
    """Data is given up at the default R2.

    The target's data is never acknowledged, until its application is told that the connection timed out. R2 should
    be worth at least 100 s, and a greatest timeout of less than 60 s is not allowed: the intervals must double up
    to one that is at least as long.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    data = await app_sends(conn, DATA)
    gone = await tcp.see_given_up(conn, data, within=LIMIT_S)
    tcp.check_series(
        "R2 of data",
        gone.stamps_ns,
        [tcp.timeout_after(conn.round_trip_s)],
        growth=tcp.growth("rto-min", BACKOFF),
        cap=tcp.timer("rto-max"),
        end=TOLD,
        how=HOW,
    )
    greatest_s = max(later - earlier for earlier, later in pairwise(gone.repeated_ns)) / SECOND
    tcp.check_timing(
        "greatest timeout", greatest_s, Bound(60, LIMIT_S, "RFC 6298, 2.5; an hour to see it at all"), how=HOW
    )
    tcp.check_timing(
        "R2 of data, in all",
        (gone.ended_ns - data.at_ns) / SECOND,
        Bound(100, LIMIT_S, "RFC 9293, 3.8.3 (SHLD-11); an hour to see it at all"),
        how="from the first transmission to the agent's stamp of the application's error",
        between=(data.at_ns, gone.ended_ns),
    )


@verifies(
    "RFC9293:MUST-22",
    "RFC9293:3.8.3-r2",
    cells=["SYN-SENT/timeout-r2"],
    needs=("app", "settings"),
    sysctl={"net.ipv4.tcp_syn_retries": "2", "net.ipv4.tcp_syn_linear_timeouts": "0"},
    lasts=8,
)
async def test_syn_is_given_up_at_a_shortened_r2(tcp: Case) -> None:
    """A SYN is given up at a shortened R2.

    With tcp_syn_retries at 2 (and no linear timeouts) the target's SYN is never answered. The target must repeat it
    twice, at doubling intervals, wait once more, and then tell its application.
    """
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0)
    gone = await tcp.see_given_up(conn, syn, within=20)
    tcp.check_series(
        "R2 of SYN",
        gone.stamps_ns,
        [tcp.timer("initial-rto")],
        growth=tcp.growth("syn-rto", BACKOFF),
        count=(2, 2),
        end=TOLD,
        how=HOW,
        shortened="tcp_syn_retries = 2, tcp_syn_linear_timeouts = 0",
    )
    await conn.confirm(State.CLOSED)


@verifies(
    "RFC9293:MUST-23", "RFC9293:MUST-22", "RFC9293:3.8.3-r2", "claim:C-39", cells=["SYN-SENT/timeout-r2"], lasts=200
)
async def test_syn_is_given_up_at_the_default_r2(tcp: Case) -> None:
    """A SYN is given up at the default R2.

    The target's SYN is never answered, until its application is told that the connection timed out. The target must
    go on for at least three minutes.
    """
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0)
    gone = await tcp.see_given_up(conn, syn, within=900)
    tcp.check_timing(
        "R2 of SYN, in all",
        (gone.ended_ns - syn.at_ns) / SECOND,
        Bound(180, 900, "RFC 9293, 3.8.3 (MUST-23); 900 s to see it at all"),
        how="from the first SYN to the agent's stamp of the application's error",
        between=(syn.at_ns, gone.ended_ns),
    )
