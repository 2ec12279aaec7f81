"""RFC 7413: Fast Open as a server, which gives cookies and takes data with the SYN."""

from typing import Any

import pytest

from conformance.api import (
    ACK,
    SYN,
    Case,
    Connection,
    Expectation,
    Received,
    State,
    app_accepts,
    app_sends,
    opt,
    verifies,
)

ON: dict[str, Any] = {"needs": ("app", "fastopen", "settings"), "sysctl": {"net.ipv4.tcp_fastopen": "3"}}
"""Fast Open is on for servers too; each listener asks for it besides."""
LISTENER = [("tcp", "TCP_FASTOPEN", 16)]
NO_COOKIE = ((opt.FAST_OPEN, None),)
DATA = b"GET / in the SYN"
SEGMENT = 1000
"""The MSS that we announce where full-sized segments are counted."""


async def fast_listener(tcp: Case, *, pending: int = 16) -> Connection:
    """Return the first connection of a listener with Fast Open, which we are about to open."""
    return await tcp.listen(options=[("tcp", "TCP_FASTOPEN", pending)])


def beside(tcp: Case, first: Connection, address: str | None = None) -> Connection:
    """Return another connection to the same listener, from another address of ours if one is given."""
    conn = tcp.connection(first.remote_port, address=address)
    conn.listener, conn.syn_options = first.listener, first.syn_options
    return conn


async def cookie_for(tcp: Case, first: Connection) -> bytes:
    """Return a cookie of the target's, requested on a connection of its own."""
    conn = beside(tcp, first)
    await conn.send(SYN, options=[*conn.syn_options, opt.fast_open()], text="requests a cookie")
    opened = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, has=(opt.FAST_OPEN,))
    await conn.complete()
    return opened.option(opt.FAST_OPEN).data


async def opens_fast(conn: Connection, cookie: bytes, data: bytes = DATA, **expected: Any) -> Received:
    """Send a SYN with a valid cookie and data; the SYN,ACK must acknowledge both."""
    await conn.send(SYN, payload=data, options=[*conn.syn_options, opt.fast_open(cookie)])
    return await conn.expect(SYN | ACK, ack=conn.snd_nxt, **expected)


async def refused(conn: Connection, options: list[opt.Option]) -> Received:
    """Send a SYN with these options and data; the SYN,ACK must acknowledge the SYN alone. Then deliver the data."""
    await conn.inject(SYN, payload=DATA, options=[*conn.syn_options, *options])
    conn.taken_in(snd_nxt=conn.iss + 1)
    opened = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, label="the data not taken:")
    await conn.complete()
    await conn.deliver(DATA)
    return opened


# Cookies


@verifies("RFC7413:4.1.1-even", "RFC7413:4.1.1-size", "RFC7413:9-kind", level="MUST", **ON)
async def test_cookie_is_given_on_request(tcp: Case) -> None:
    """A cookie is given on request.

    Our SYN has an empty Fast Open option, which requests a cookie. The SYN,ACK of a listener with Fast Open must
    bring one of 4 to 16 octets, an even number.
    """
    first = await fast_listener(tcp)
    cookie = await cookie_for(tcp, first)
    assert 4 <= len(cookie) <= 16, f"the cookie is {len(cookie)} octets long"
    assert len(cookie) % 2 == 0, f"the cookie is {len(cookie)} octets long"
    await opens_fast(first, cookie)
    await first.complete()
    await first.confirm(State.ESTABLISHED)


@verifies("RFC7413:3-valid", "RFC7413:3-many", **ON)
async def test_data_of_the_syn_is_taken_with_a_valid_cookie(tcp: Case) -> None:
    """Data of the SYN is taken with a valid cookie.

    Our SYNs, three in turn, have the cookie and data. Each SYN,ACK must acknowledge SYN and data, and the
    application read the data before we have answered.
    """
    first = await fast_listener(tcp)
    cookie = await cookie_for(tcp, first)
    for _ in range(3):
        conn = beside(tcp, first)
        await opens_fast(conn, cookie, length=0)
        conn.app = await first.listener.accept()
        got = await conn.app.receive(len(DATA))
        assert got == DATA, f"the application read {got!r} before the handshake was over"
        await conn.confirm(State.SYN_RECEIVED, probe=False)
        await conn.send(ACK)
        await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda c: bytes((c[0] ^ 1,)) + c[1:], id="one-bit-off"),
        pytest.param(lambda c: bytes(8), id="zeros"),
    ],
)
@verifies("RFC7413:3-invalid", "RFC7413:4.1.2-fabricated", **ON)
async def test_data_of_the_syn_is_dropped_with_a_wrong_cookie(tcp: Case, change: Any) -> None:
    """Data of the SYN is dropped with a wrong cookie.

    Our SYN has data and a cookie that the target never gave. The SYN,ACK must acknowledge the SYN alone; the
    handshake goes on, and the data is taken when it comes again.
    """
    first = await fast_listener(tcp)
    cookie = await cookie_for(tcp, first)
    await refused(first, [opt.fast_open(change(cookie))])


@verifies("RFC7413:4.1.2-mac", "RFC7413:4.1.2-fabricated", level="SHOULD", **ON)
async def test_cookie_is_bound_to_the_address(tcp: Case) -> None:
    """A cookie is bound to the client's address.

    A cookie that one address of ours was given comes from another one. It should not be valid there: it
    authenticates the client's address.
    """
    first = await fast_listener(tcp)
    cookie = await cookie_for(tcp, first)
    await refused(beside(tcp, first, await tcp.another_address()), [opt.fast_open(cookie)])


@verifies("RFC7413:3-invalid", **ON)
async def test_data_of_the_syn_is_dropped_without_a_cookie(tcp: Case) -> None:
    """Data of the SYN is dropped without a cookie.

    Our SYN has data, and requests a cookie. The SYN,ACK must acknowledge the SYN alone, and bring the cookie.
    """
    opened = await refused(await fast_listener(tcp), [opt.fast_open()])
    assert opened.has_option(opt.FAST_OPEN), "the SYN,ACK brings no cookie"


@pytest.mark.parametrize(
    "option",
    [
        pytest.param(opt.fast_open(b"c"), id="1-octet"),
        pytest.param(opt.fast_open(b"co"), id="2-octets"),
        pytest.param(opt.fast_open(b"cookie?"), id="7-octets"),
        pytest.param(opt.fast_open(b"a cookie too long!"), id="18-octets"),
        pytest.param(opt.Option(opt.FAST_OPEN, b"", 1), id="length-1"),
        pytest.param(opt.Option(opt.FAST_OPEN, b"", 0), id="length-0"),
    ],
)
@verifies("RFC7413:4.1.1-invalid", **ON)
async def test_fast_open_option_of_a_wrong_length_is_ignored(tcp: Case, option: opt.Option) -> None:
    """A Fast Open option of a wrong length is ignored.

    Our SYN has data and a Fast Open option whose length is not allowed. The target must ignore the option: the SYN
    alone is acknowledged, and no cookie comes.
    """
    opened = await refused(await fast_listener(tcp), [option])
    assert not opened.has_option(opt.FAST_OPEN), "the SYN,ACK brings a cookie"


@verifies("RFC7413:4.1.1-invalid", **ON)
async def test_fast_open_option_outside_a_syn_is_ignored(tcp: Case) -> None:
    """A Fast Open option outside a SYN is ignored.

    The ACK of the handshake and data behind it have a Fast Open option. The target must ignore it: the data is
    taken, and no answer has the option.
    """
    conn = await fast_listener(tcp)
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    for option in (opt.fast_open(), opt.fast_open(b"a cookie")):
        await conn.send(ACK, payload=DATA, options=[option])
        await conn.expect_ack(options=NO_COOKIE, within=1.5)
    assert await conn.app.receive(2 * len(DATA)) == 2 * DATA


# Where Fast Open is not asked for


@verifies("RFC7413:2-default", "RFC7413:4.2-enabled", "RFC7413:4.2-ignore", **ON)
async def test_listener_without_fast_open_gives_no_cookie(tcp: Case) -> None:
    """A listener without Fast Open gives no cookie.

    The application has not asked for Fast Open; our SYN requests a cookie. The SYN,ACK must not bring one.
    """
    conn = await tcp.listen()
    await conn.send(SYN, options=[*conn.syn_options, opt.fast_open()])
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, options=NO_COOKIE)
    await conn.complete()
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7413:4.2-ignore", "RFC7413:2-default", **ON)
async def test_listener_without_fast_open_ignores_a_valid_cookie(tcp: Case) -> None:
    """A listener without Fast Open ignores a valid cookie.

    Another listener of the target has given us a cookie; our SYN brings it, with data, to one that has no Fast
    Open. The target must ignore it: the SYN alone is acknowledged.
    """
    first = await fast_listener(tcp)
    cookie = await cookie_for(tcp, first)
    await refused(await tcp.listen(), [opt.fast_open(cookie)])


@verifies("RFC7413:4.2-pending", "RFC7413:4.2.2-pending", **ON)
async def test_fast_open_stops_while_too_many_are_pending(tcp: Case) -> None:
    """Fast Open stops while too many requests are pending.

    The listener allows one pending request. A second SYN with cookie and data comes before the first is answered.
    The target must acknowledge its SYN alone; once the first is acknowledged, Fast Open must work again.
    """
    first = await fast_listener(tcp, pending=1)
    cookie = await cookie_for(tcp, first)
    await opens_fast(first, cookie)
    await app_accepts(first)
    await refused(beside(tcp, first), [opt.fast_open(cookie)])
    await first.send(ACK)
    await first.confirm(State.ESTABLISHED)
    third = beside(tcp, first)
    await opens_fast(third, cookie)
    third.app = await first.listener.accept()
    assert await third.app.receive(len(DATA)) == DATA


# Before the handshake is over


@verifies("RFC7413:3-response", "RFC7413:4.2.2-syn-ack-option", "RFC7413:4.2.2-syn-ack-data", level="text", **ON)
async def test_server_answers_before_the_handshake_is_over(tcp: Case) -> None:
    """The server answers before the handshake is over.

    Our SYN has cookie and data; the application answers at once, before we acknowledge the SYN,ACK. The answer
    comes on the connection in SYN-RECEIVED. Whether the SYN,ACK brings a cookie or data is the target's choice.
    """
    first = await fast_listener(tcp)
    cookie = await cookie_for(tcp, first)
    opened = await opens_fast(first, cookie)
    there = opened.has_option(opt.FAST_OPEN)
    tcp.choice("cookie in the SYN,ACK", "there" if there else "absent", ["there", "absent"])
    tcp.choice("data in the SYN,ACK", "there" if opened.segment.payload else "absent", ["there", "absent"])
    await app_accepts(first)
    await app_sends(first, b"answer")
    await first.send(ACK)
    await first.confirm(State.ESTABLISHED)


@verifies("RFC7413:4.2.2-window", **ON)
async def test_answer_keeps_to_the_initial_window(tcp: Case) -> None:
    """The answer in SYN-RECEIVED keeps to the initial window.

    Our SYN has cookie and data; the application has much to send, and we acknowledge nothing. The target must send
    no more than an initial window: that of RFC 5681 (four segments of 1000 octets), or the larger one of RFC 6928
    (ten).
    """
    first = await fast_listener(tcp)
    first.syn_options = (opt.mss(SEGMENT),)
    cookie = await cookie_for(tcp, first)
    await opens_fast(first, cookie)
    await app_accepts(first)
    await first.app.send(bytes(30 * SEGMENT), wait=False)
    count = 0
    any_data = Expectation(ACK, ack=first.snd_nxt)
    await first.expect(ACK, seq=first.rcv_nxt, ack=first.snd_nxt, length=SEGMENT)
    count += 1
    while await first.allow(any_data, within=0.1) is not None:
        count += 1
    forms = ["of RFC 5681", "of RFC 6928", "larger"]
    taken = forms[0] if count <= 4 else forms[1] if count <= 10 else forms[2]
    tcp.choice("initial window of a fast open", taken, forms[:2])


@verifies("RFC7413:4.2.2-syn-ack-timer", "RFC7413:4.2.1-retransmit", lasts=2, **ON)
async def test_syn_ack_is_repeated_without_cookie(tcp: Case) -> None:
    """The SYN,ACK is repeated without the cookie.

    Our SYN requests a cookie, which the SYN,ACK brings; we do not answer. The SYN,ACK should come again without the
    option, and without data.
    """
    conn = await fast_listener(tcp)
    await conn.send(SYN, options=[*conn.syn_options, opt.fast_open()])
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0, has=(opt.FAST_OPEN,))
    again = Expectation(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0, options=NO_COOKIE)
    await conn.expect_any(again, within=4, strict=True)


@verifies("RFC7413:4.2.2-syn-ack-timer", lasts=2, **ON)
async def test_syn_ack_of_a_fast_open_is_repeated_without_cookie(tcp: Case) -> None:
    """The SYN,ACK of a Fast Open is repeated without the option.

    Our SYN has cookie and data, the SYN,ACK acknowledges them, and we do not answer. The SYN,ACK should come again
    without option and data, and still acknowledge the data.
    """
    first = await fast_listener(tcp)
    cookie = await cookie_for(tcp, first)
    await opens_fast(first, cookie)
    again = Expectation(SYN | ACK, seq=first.irs, ack=first.snd_nxt, length=0, options=NO_COOKIE)
    await first.expect_any(again, within=4, strict=True)
