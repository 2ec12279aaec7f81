"""RFC 5961 section 3.2: resets that are not exactly the next in order, in every state that a connection can be in."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from conformance.api import (
    ACK,
    FIN,
    RST,
    SECOND,
    Case,
    Connection,
    Expectation,
    Seq,
    State,
    Violation,
    app_accepts,
    resets,
    verifies,
)


@dataclass(frozen=True)
class Place:
    """A way into a state, and the cells for a reset there: exact, in the window, outside it, exact with data."""

    name: str
    state: State
    exact: tuple[str, ...]
    inside: tuple[str, ...]
    outside: tuple[str, ...]
    with_data: tuple[str, ...]
    by: str = "passive"
    how: str = "shutdown"

    async def reach(self, tcp: Case) -> Connection:
        """Return a connection in that state."""
        return await tcp.drive_to(self.state, by=self.by, how=self.how)


PLACES = (
    Place(
        "syn-received",
        State.SYN_RECEIVED,
        ("SYN-RECEIVED(passive)/rst-left-edge",),
        ("SYN-RECEIVED(passive)/rst-middle", "SYN-RECEIVED(passive)/rst-middle-legacy"),
        ("SYN-RECEIVED(passive)/rst-outside-left",),
        ("SYN-RECEIVED(passive)/rst-data",),
    ),
    Place(
        "syn-received-by-active-open",
        State.SYN_RECEIVED,
        ("SYN-RECEIVED(active)/rst-left-edge",),
        ("SYN-RECEIVED(active)/rst-middle", "SYN-RECEIVED(active)/rst-middle-legacy"),
        ("SYN-RECEIVED(active)/rst-outside-left",),
        ("SYN-RECEIVED(active)/rst-data",),
        by="active",
    ),
    Place(
        "established",
        State.ESTABLISHED,
        ("ESTABLISHED/rst-left-edge",),
        ("ESTABLISHED/rst-middle",),
        ("ESTABLISHED/rst-outside-left",),
        ("ESTABLISHED/rst-data",),
    ),
    Place(
        "established-by-active-open",
        State.ESTABLISHED,
        ("ESTABLISHED/rst-left-edge",),
        ("ESTABLISHED/rst-middle",),
        ("ESTABLISHED/rst-outside-left",),
        ("ESTABLISHED/rst-data",),
        by="active",
    ),
    Place(
        "fin-wait-1",
        State.FIN_WAIT_1,
        ("FIN-WAIT-1/rst-left-edge",),
        ("FIN-WAIT-1/rst-middle",),
        ("FIN-WAIT-1/rst-outside-left",),
        ("FIN-WAIT-1/rst-data",),
    ),
    Place(
        "fin-wait-1-orphan",
        State.FIN_WAIT_1,
        ("FIN-WAIT-1/rst-left-edge",),
        ("FIN-WAIT-1/rst-middle",),
        ("FIN-WAIT-1/rst-outside-left",),
        ("FIN-WAIT-1/rst-data",),
        how="close",
    ),
    Place(
        "fin-wait-2",
        State.FIN_WAIT_2,
        ("FIN-WAIT-2/rst-left-edge",),
        ("FIN-WAIT-2/rst-middle",),
        ("FIN-WAIT-2/rst-outside-left",),
        ("FIN-WAIT-2/rst-data",),
    ),
    Place(
        "fin-wait-2-orphan",
        State.FIN_WAIT_2,
        ("FIN-WAIT-2/rst-left-edge",),
        ("FIN-WAIT-2/rst-middle",),
        ("FIN-WAIT-2/rst-outside-left",),
        ("FIN-WAIT-2/rst-data",),
        how="close",
    ),
    Place(
        "close-wait",
        State.CLOSE_WAIT,
        ("CLOSE-WAIT/rst-left-edge",),
        ("CLOSE-WAIT/rst-middle",),
        ("CLOSE-WAIT/rst-outside-left",),
        ("CLOSE-WAIT/rst-data",),
    ),
    Place(
        "closing",
        State.CLOSING,
        ("CLOSING/rst-left-edge",),
        ("CLOSING/rst-middle",),
        ("CLOSING/rst-outside-left",),
        ("CLOSING/rst-data",),
    ),
    Place(
        "last-ack",
        State.LAST_ACK,
        ("LAST-ACK/rst-left-edge",),
        ("LAST-ACK/rst-middle",),
        ("LAST-ACK/rst-outside-left",),
        ("LAST-ACK/rst-data",),
    ),
    Place(
        "time-wait",
        State.TIME_WAIT,
        ("TIME-WAIT/rst-left-edge", "TIME-WAIT/rst-left-edge-1337"),
        ("TIME-WAIT/rst-middle",),
        ("TIME-WAIT/rst-outside-left",),
        ("TIME-WAIT/rst-data",),
    ),
)

# A challenge ACK leaves at once.
IGNORED_S = 0.5

# Sequence numbers by the target's RCV.NXT and its window.
Where = Callable[[Seq, int], Seq]
INSIDE: dict[str, Where] = {
    "next-to-exact": lambda nxt, window: nxt + 1,
    "middle": lambda nxt, window: nxt + window // 2,
    "last-in-window": lambda nxt, window: nxt + window - 1,
}
OUTSIDE: dict[str, Where] = {
    "left-edge": lambda nxt, window: nxt - 1,
    "far-left": lambda nxt, window: nxt - (1 << 30),
    "right-edge": lambda nxt, window: nxt + window,
    "far-right": lambda nxt, window: nxt + window + (1 << 30),
}


def places(cells: str) -> pytest.MarkDecorator:
    """Return a parameter set for each place."""
    return pytest.mark.parametrize(
        "place, cells", [pytest.param(one, getattr(one, cells), id=one.name) for one in PLACES]
    )


def positions(of: dict[str, Where]) -> pytest.MarkDecorator:
    """Return a parameter set for each sequence number."""
    return pytest.mark.parametrize("where", [pytest.param(one, id=name) for name, one in of.items()])


def challenge(conn: Connection) -> Expectation:
    """Return the challenge ACK: <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>."""
    return Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0, label="challenge:")


async def see_reset(tcp: Case, conn: Connection, place: Place) -> None:
    """See that the connection is gone, as its state demands, and that the application was told where it had to be."""
    match place.state:
        case State.SYN_RECEIVED if place.by == "passive":
            await conn.listener.fails("accept", "timeout", wait_s=0.3)
            await conn.confirm(State.LISTEN)
            return
        case State.SYN_RECEIVED:
            await conn.app.fails("connected", "ECONNREFUSED", "ECONNRESET")
        case State.ESTABLISHED | State.FIN_WAIT_1 | State.FIN_WAIT_2 | State.CLOSE_WAIT if place.how == "shutdown":
            error = await conn.app.error()
            if error not in ("ECONNRESET", "EPIPE"):
                raise Violation(f"the application was told {error}, it had to be told that the connection was reset")
        case State.TIME_WAIT:
            # RFC 1337 has it ignored, RFC 9293 obeyed.
            probe = await conn.inject(ACK, seq=conn.snd_nxt - 2, payload=bytes(1), text="probe: an old octet")
            which, _ = await conn.expect_any(challenge(conn), *resets(seq=probe.segment.ack))
            then = State.CLOSED if which else State.TIME_WAIT
            tcp.choice("RST at RCV.NXT in TIME-WAIT", then.value, allowed=["CLOSED", "TIME-WAIT"])
            await conn.confirm(then)
            return
    await conn.confirm(State.CLOSED)


async def see_life(conn: Connection, place: Place) -> None:
    """See that the connection is still in its state, and does all that the state allows."""
    # In TIME-WAIT the probe restarts a timer that nobody measures here.
    await conn.confirm(place.state)
    match place.state:
        case State.SYN_RECEIVED:
            await conn.send(ACK)
            if place.by == "passive":
                await app_accepts(conn)
            else:
                await conn.app.connected()
            await conn.deliver(b"still here")
        case State.ESTABLISHED:
            await conn.deliver(b"still here")
            await conn.collect(b"and here")
        case State.FIN_WAIT_1 | State.FIN_WAIT_2 if place.how == "shutdown":
            await conn.deliver(b"still here")
            await conn.confirm(State.FIN_WAIT_2)
        case State.FIN_WAIT_1 | State.FIN_WAIT_2:
            await conn.send(FIN | ACK)
            await conn.expect_ack()
            await conn.confirm(State.TIME_WAIT)
        case State.CLOSE_WAIT:
            await conn.collect(b"still here")
        case State.CLOSING:
            await conn.send(ACK)
            await conn.confirm(State.TIME_WAIT)
        case State.LAST_ACK:
            await conn.send(ACK)
            await conn.silence()
            await conn.confirm(State.CLOSED)


@places("exact")
@verifies(
    "RFC5961:3.2-2",
    "RFC9293:3.10.7.4-rst-exact",
    "RFC9293:3.10.7.4-rst-reset",
    "RFC9293:3.10.7.4-rst-closing",
    "RFC9293:3.5.3-rst-validation",
    "RFC9293:3.5.3-rst-other",
)
async def test_reset_at_the_next_number_ends_the_connection(tcp: Case, place: Place, cells: tuple[str, ...]) -> None:
    """A RST at RCV.NXT ends the connection.

    A RST comes whose sequence number is exactly RCV.NXT. The target must end the connection at once, without an
    answer, and tell the application where one holds it. In TIME-WAIT it may ignore the RST (RFC 1337).
    """
    conn = await place.reach(tcp)
    await conn.send(RST)
    await conn.silence()
    await see_reset(tcp, conn, place)


@places("inside")
@positions(INSIDE)
@verifies("RFC5961:3.2-3", "RFC5961:3.2-3-drop", "RFC9293:3.10.7.4-rst-in-window")
async def test_reset_inside_the_window_is_challenged(
    tcp: Case, place: Place, where: Where, cells: tuple[str, ...]
) -> None:
    """A RST inside the window is challenged.

    A RST comes whose sequence number is in the window, but not RCV.NXT. The target must answer
    <SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>, drop the RST, and keep the connection as it was. In TIME-WAIT it may drop the
    RST without an answer (RFC 1337).
    """
    conn = await place.reach(tcp)
    await conn.inject(RST, seq=where(conn.snd_nxt, conn.remote_window))
    if place.state is State.TIME_WAIT:
        await conn.allow(challenge(conn), within=IGNORED_S)
    else:
        await conn.expect_any(challenge(conn))
    await see_life(conn, place)


@places("outside")
@positions(OUTSIDE)
@verifies("RFC5961:3.2-1", "RFC9293:3.10.7.4-rst-outside", "RFC9293:3.5.3-rst-validation")
async def test_reset_outside_the_window_is_dropped(
    tcp: Case, place: Place, where: Where, cells: tuple[str, ...]
) -> None:
    """A RST outside the window is dropped.

    A RST comes whose sequence number is outside the window RCV.NXT =< SEG.SEQ < RCV.NXT+RCV.WND. The target must
    drop it silently and keep the connection as it was.
    """
    conn = await place.reach(tcp)
    await conn.inject(RST, seq=where(conn.snd_nxt, conn.remote_window))
    await conn.silence()
    await see_life(conn, place)


@places("with_data")
@verifies("RFC9293:SHLD-2", "RFC1122:4.2.2.12")
async def test_reset_with_data_ends_the_connection(tcp: Case, place: Place, cells: tuple[str, ...]) -> None:
    """A RST with data ends the connection.

    A RST at RCV.NXT carries data, as a word of explanation. The target should take it like any other RST.
    """
    conn = await place.reach(tcp)
    await conn.send(RST, payload=b"because")
    await conn.silence()
    await see_reset(tcp, conn, place)


@verifies(
    "RFC5961:3.2-2",
    "RFC5961:3.2-3",
    "RFC9293:3.10.7.4-rst-in-window",
    cells=["ESTABLISHED/rst-middle", "ESTABLISHED/rst-left-edge"],
)
async def test_challenged_peer_resets_with_the_number_it_is_told(tcp: Case) -> None:
    """A challenged peer's RST at SEG.ACK ends the connection.

    A real peer's RST lies inside the window because a segment before it was lost; the target challenges it. The
    peer has no connection any more, so it answers the challenge with a reset at SEG.ACK: the target must take that
    one.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.inject(RST, seq=conn.snd_nxt + 100, text="the 100 octets before it were lost")
    _, challenged = await conn.expect_any(challenge(conn))
    await conn.send(RST, seq=challenged.segment.ack, text="answer of a closed port to the challenge")
    await conn.silence()
    await conn.app.fails("receive", "ECONNRESET", count=1)
    await conn.confirm(State.CLOSED)


@verifies("RFC5961:7-1", cells=["ESTABLISHED/syn-burst"], lasts=2)
async def test_challenges_are_limited_in_rate(tcp: Case) -> None:
    """Challenge ACKs are limited in rate.

    Twenty RSTs come within the window at once, as from a blind attacker, and one more after the limit's interval.
    The target should not challenge each of them, must challenge the one after the interval, and the connection must
    live.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    for number in range(20):
        await conn.inject(RST, seq=conn.snd_nxt + 1 + number)
    first = last = (await conn.expect_any(challenge(conn)))[1]
    interval = tcp.timer("challenge-ack-interval")
    count = 1
    while (again := await conn.allow(challenge(conn), within=interval.low_s / 2)) is not None:
        count, last = count + 1, again[1]
    if count == 20:
        raise Violation(f"all of 20 resets were challenged, within {(last.at_ns - first.at_ns) / SECOND:g} s")
    await tcp.sleep(interval.high_s)
    await conn.inject(RST, seq=conn.snd_nxt + 1)
    await conn.expect_any(challenge(conn))
    await conn.deliver(b"still here")
    await conn.collect(b"and here")
