"""RFC 5482: the User Timeout Option, which a target may not have, and what it must not do to a connection."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    RST,
    SECOND,
    SYN,
    Bound,
    Case,
    Connection,
    Expectation,
    NotApplicable,
    Received,
    State,
    app_accepts,
    app_sends,
    opt,
    verifies,
)

BY = pytest.mark.parametrize("by", ["passive", "active"])
UTO = opt.user_timeout(120)
ONE_SECOND = opt.user_timeout(1)
FOLLOWED_S = 30.0


def suggestion(received: Received) -> bytes | None:
    """Return the two octets of a segment's user timeout option, or None if it has none."""
    option = opt.find(received.segment.option_list, opt.USER_TIMEOUT)
    if option is None:
        return None
    assert option.length is None, f"the user timeout option says it is {option.length} octets long"
    assert len(option.data) == 2, f"the user timeout option is {2 + len(option.data)} octets long, it has to be 4"
    assert option.data not in (b"\x00\x00", b"\x80\x00"), "a user timeout of zero is reserved"
    return option.data


async def first_data(conn: Connection) -> Received:
    """Have the application that accepts send data, and acknowledge it."""
    await app_accepts(conn)
    first = await app_sends(conn, b"first data")
    await conn.send(ACK)
    return first


@BY
@pytest.mark.parametrize(
    "option",
    [
        pytest.param(UTO, id="seconds"),
        pytest.param(opt.user_timeout(2, minutes=True), id="minutes"),
        pytest.param(opt.user_timeout(0x7FFF, minutes=True), id="largest"),
        pytest.param(opt.user_timeout(0), id="zero-seconds"),
        pytest.param(opt.user_timeout(0, minutes=True), id="zero-minutes"),
    ],
)
@verifies("RFC5482:3-ignore", "RFC5482:3.4-ignored", needs=("app",))
async def test_user_timeout_option_disturbs_nothing(tcp: Case, by: str, option: opt.Option) -> None:
    """The User Timeout option disturbs nothing.

    Every segment of ours has the option: SYN or SYN,ACK, ACK, data and FIN. The target must open, take the data,
    and close, as without it; a value of zero has no meaning at all.
    """
    conn = await (tcp.listen() if by == "passive" else tcp.connect())
    conn.syn_options = (*conn.syn_options, option)
    await tcp.drive_to(State.ESTABLISHED, conn=conn, by=by)
    await conn.send(ACK, options=[option])
    await conn.send(ACK, payload=b"data", options=[option])
    await conn.expect_ack()
    assert await conn.app.receive(4) == b"data"
    await conn.send(FIN | ACK, options=[option])
    await conn.expect_ack()
    await conn.confirm(State.CLOSE_WAIT)


@BY
@verifies(
    "RFC5482:3.3-kind",
    "RFC5482:3.3-length",
    "RFC5482:3.4-not-sent",
    "RFC5482:3-first",
    "RFC5482:3-defaults",
    level="MUST",
    needs=("app",),
)
async def test_user_timeout_option_of_the_target(tcp: Case, by: str) -> None:
    """The target's own User Timeout option is well formed.

    The target's SYN or SYN,ACK, and the first segment behind it have the option. Its length must be 4, and its value
    not zero. A target that does not send it has nothing to see here.
    """
    conn = await (tcp.listen() if by == "passive" else tcp.connect())
    conn.syn_options = (*conn.syn_options, UTO)
    if by == "passive":
        await conn.send(SYN)
        opened = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    else:
        opened = await conn.expect(SYN, length=0)
    offered = suggestion(opened)
    forms = ["never sent", "in the SYN"]
    tcp.choice("user timeout option", forms[offered is not None], forms)
    if offered is None:
        raise NotApplicable("the target sends no user timeout option of its own")
    if by == "passive":
        await conn.send(ACK)
        first = await first_data(conn)
    else:
        await conn.send(SYN | ACK)
        first = await conn.expect_ack()
    assert suggestion(first), "the first segment behind the SYN lacks the option"
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC5482:3-next", needs=("app", "options:TCP_USER_TIMEOUT"))
async def test_new_user_timeout_is_announced_or_not(tcp: Case) -> None:
    """A new user timeout is announced by the option.

    The application sets a new user timeout on a connection, and then sends data. A target whose SYN,ACK has the option
    should announce it in that segment.
    """
    conn = await tcp.listen()
    conn.syn_options = (*conn.syn_options, UTO)
    await conn.send(SYN)
    opened = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    if suggestion(opened) is None:
        raise NotApplicable("the target sends no user timeout option of its own")
    await conn.complete()
    await conn.app.option("tcp", "TCP_USER_TIMEOUT", 150_000)
    data = await app_sends(conn, b"from now on")
    assert suggestion(data), "the SYN,ACK has the option, but the new user timeout is not announced"
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC5482:3-changeable", "RFC5482:3.1-unchanged", needs=("app", "options:TCP_USER_TIMEOUT"), lasts=4)
async def test_user_timeout_of_the_application_stands(tcp: Case) -> None:
    """The application's user timeout overrides the peer's suggestion.

    The application has set a user timeout of 1.5 s; ours suggests 120 s. Then its data is not acknowledged. The
    target must give up after 1.5 s: what the application has asked for is not changed.
    """
    conn = await tcp.listen()
    conn.syn_options = (*conn.syn_options, UTO)
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    bound = tcp.timer("user-timeout", 1.5)
    await conn.app.option("tcp", "TCP_USER_TIMEOUT", 1500)
    await conn.send(ACK, options=[UTO])
    sent = await app_sends(conn, b"nobody answers")
    await conn.silence(for_=bound.high_s)
    ended = await conn.app.error()
    tcp.choice("end of the connection", str(ended), ["ETIMEDOUT"])
    tries = [one for one in conn.put_aside if one.at_ns > sent.at_ns]
    assert tries, "the data was never sent again"
    last_s = (tries[-1].at_ns - sent.at_ns) / SECOND
    whole = Bound(0, bound.high_s, f"RFC 5482, 3.1; {bound.source}")
    tcp.check_timing("last retransmission", last_s, whole, how="between the two receive stamps")
    await conn.confirm(State.CLOSED)


@pytest.mark.parametrize(
    "option", [pytest.param(ONE_SECOND, id="one-second"), pytest.param(opt.user_timeout(0), id="zero")]
)
@verifies(
    "RFC5482:3-limits",
    "RFC5482:3.1-accepted",
    "RFC5482:3.1-above-rto",
    "RFC5482:3.4-ignored",
    level="MUST",
    needs=("app",),
    lasts=FOLLOWED_S,
)
async def test_short_user_timeout_does_not_end_the_connection(tcp: Case, option: opt.Option) -> None:
    """A short suggested user timeout does not end the connection.

    We suggest a user timeout of one second (or of zero); then the target's data is not acknowledged for half a
    minute. The target must not give up: what it accepts has a lower limit, above its retransmission timeout. It
    goes on afterwards.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(ACK, options=[option])
    await app_sends(conn, b"nobody answers")
    await conn.silence(for_=FOLLOWED_S)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC5482:3.1-lowest", needs=("app",), lasts=FOLLOWED_S)
async def test_user_timeout_below_100_s_is_not_taken(tcp: Case) -> None:
    """A suggested user timeout of 10 s does not end the connection.

    We suggest a user timeout of 10 s; then the target's data is not acknowledged for half a minute. The target
    should not give up: its lower limit should be 100 s or more.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(ACK, options=[opt.user_timeout(10)])
    await app_sends(conn, b"nobody answers")
    await conn.silence(for_=FOLLOWED_S)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC5482:3.3-states", needs=("app",), lasts=5)
async def test_user_timeout_of_a_syn_does_not_end_syn_received(tcp: Case) -> None:
    """A user timeout in a SYN does not end SYN-RECEIVED.

    Our SYN suggests a user timeout of one second, and the SYN,ACK is not acknowledged. The target must repeat it
    beyond that second: before the connection is synchronized the option does not count.
    """
    conn = await tcp.listen()
    conn.syn_options = (*conn.syn_options, ONE_SECOND)
    await conn.send(SYN)
    opened = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    again = opened
    while (again.at_ns - opened.at_ns) / SECOND < 2.5:
        again = await conn.expect_retransmission(opened, within=8)
    await conn.complete()
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC5482:3.3-states", needs=("app",), lasts=5)
async def test_user_timeout_of_a_crossing_syn_does_not_end_the_opening(tcp: Case) -> None:
    """A user timeout in a crossing SYN does not end the opening.

    Our SYN crosses the target's and suggests a user timeout of one second; then we are silent. The target must
    repeat its SYN,ACK beyond that second, and open once we acknowledge it.
    """
    conn = await tcp.connect()
    conn.syn_options = (*conn.syn_options, ONE_SECOND)
    await conn.expect(SYN, length=0)
    await conn.send(SYN)
    opened = await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0)
    again = opened
    while (again.at_ns - opened.at_ns) / SECOND < 2.5:
        repeated = Expectation(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0)
        gone = Expectation(RST)
        which, again = await conn.expect_any(repeated, gone, within=8, strict=True)
        assert which == 0, "the target has given up"
    await conn.send(ACK)
    await conn.app.connected()
    await conn.confirm(State.ESTABLISHED)
