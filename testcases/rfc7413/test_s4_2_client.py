"""RFC 7413: Fast Open as a client, which asks for a cookie, keeps it, and sends data with the SYN."""

from typing import Any

import pytest

from conformance.api import ACK, RST, SYN, Case, Connection, Expectation, State, app_sends, opt, verifies

ALONE: dict[str, Any] = {"needs": ("app", "fastopen"), "alone": True}
"""A client remembers servers, so each case needs a target of its own."""
CLIENT = [("tcp", "TCP_FASTOPEN_CONNECT", 1)]
COOKIE, NEWER = b"a cookie", b"newer cookie"
DATA = b"GET / in the SYN"
NO_COOKIE = ((opt.FAST_OPEN, None),)
EXPERIMENTAL = 254
REQUEST = ((opt.FAST_OPEN, opt.fast_open()),)
DEFAULT_MSS = {4: 536, 6: 1220}


def having(cookie: bytes) -> tuple[tuple[int, opt.Option], ...]:
    """Return a predicate for the Fast Open option with that cookie."""
    return ((opt.FAST_OPEN, opt.fast_open(cookie)),)


async def gives_cookie(tcp: Case, cookie: bytes = COOKIE, *, mss: int = 1000) -> None:
    """Open a first connection on which the target asks for a cookie and gets it; then reset it."""
    conn = await tcp.connect(options=CLIENT)
    await conn.expect(SYN, length=0, options=REQUEST, label="requests a cookie:")
    conn.syn_options = (opt.mss(mss), opt.fast_open(cookie))
    await conn.complete()
    await conn.inject(RST)


async def opens_fast(tcp: Case, data: bytes = DATA) -> Connection:
    """Return a connection that the target's application opens by sending data; its SYN is on the way."""
    conn = await tcp.connect(options=CLIENT)
    await conn.app.send(data, wait=False)
    return conn


async def syn_with_data(tcp: Case, cookie: bytes = COOKIE, data: bytes = DATA) -> Connection:
    """Return a connection whose SYN carries cookie and data."""
    conn = await opens_fast(tcp, data)
    await conn.expect(SYN, payload=data, options=having(cookie))
    return conn


@verifies("RFC7413:2-default", **ALONE)
async def test_syn_has_no_fast_open_unless_asked_for(tcp: Case) -> None:
    """The SYN has no Fast Open option unless asked for.

    The application connects without asking for Fast Open, to a server whose cookie the target has. The SYN must
    have neither the option nor data.
    """
    await gives_cookie(tcp)
    conn = await tcp.connect()
    await conn.expect(SYN, length=0, options=NO_COOKIE)
    await conn.complete()
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7413:4.2.1-first", "RFC7413:4.2.2-cookie", "RFC7413:9-kind", level="MUST", **ALONE)
async def test_first_syn_requests_a_cookie(tcp: Case) -> None:
    """The first SYN requests a Fast Open cookie and has no data.

    The application asks for Fast Open and has data to send; the target has no cookie of ours. Its SYN must request
    one, with an empty option, and bring no data; the data follows the handshake.
    """
    conn = await opens_fast(tcp)
    await conn.expect(SYN, length=0, options=REQUEST)
    await conn.send(SYN | ACK, options=[*conn.syn_options, opt.fast_open(COOKIE)])
    forms = (
        Expectation(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0),
        Expectation(ACK, ack=conn.snd_nxt, payload=DATA),
    )
    which, _ = await conn.expect_any(*forms)
    if which == 0 and await conn.allow(forms[1], within=0.3) is None:
        await app_sends(conn, DATA)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7413:4.1.3-cache", "RFC7413:4.2.2-cookie", "RFC7413:3-many", level="MUST", **ALONE)
async def test_later_syns_bring_cookie_and_data(tcp: Case) -> None:
    """Later SYNs carry the cookie and data.

    We have given a cookie; the application opens three more connections, to other ports. The target must have
    cached the cookie: each SYN brings it, and the data.
    """
    await gives_cookie(tcp)
    for _ in range(3):
        conn = await syn_with_data(tcp)
        await conn.send(SYN | ACK)
        await conn.expect_ack()
        await conn.app.connected()
        await conn.confirm(State.ESTABLISHED)


@verifies("RFC7413:4.1.3-one", "RFC7413:4.2.2-update", level="SHOULD", **ALONE)
async def test_newer_cookie_replaces_the_older(tcp: Case) -> None:
    """A newer cookie replaces the older one.

    Our SYN,ACK to a SYN with a cookie brings another one. The next SYN should bring the newer.
    """
    await gives_cookie(tcp)
    conn = await syn_with_data(tcp)
    await conn.send(SYN | ACK, options=[*conn.syn_options, opt.fast_open(NEWER)])
    await conn.expect_ack()
    later = await syn_with_data(tcp, NEWER)
    await later.send(SYN | ACK)
    await later.expect_ack()


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param(b"four", id="4-octets"),
        pytest.param(b"ten octets", id="10-octets"),
        pytest.param(b"sixteen octets!!", id="16-octets"),
    ],
)
@verifies("RFC7413:4.1.1-size", "RFC7413:4.1.1-even", "RFC7413:4.1.3-cache", level="MUST", **ALONE)
async def test_cookie_of_any_size_comes_back(tcp: Case, cookie: bytes) -> None:
    """A cookie of any allowed size is sent back.

    We give a cookie of 4, 10 or 16 octets. The next SYN must bring it back as it is.
    """
    await gives_cookie(tcp, cookie)
    conn = await syn_with_data(tcp, cookie)
    await conn.send(SYN | ACK)
    await conn.expect_ack()


@pytest.mark.parametrize(
    "cookie",
    [
        pytest.param(b"abc", id="3-octets"),
        pytest.param(b"nine octs", id="9-octets"),
        pytest.param(b"seventeen octets!", id="17-octets"),
    ],
)
@verifies("RFC7413:4.1.1-invalid", **ALONE)
async def test_cookie_of_a_wrong_size_is_ignored(tcp: Case, cookie: bytes) -> None:
    """A cookie of a wrong size is ignored.

    Our SYN,ACK brings a cookie of a size that is not allowed. The target must ignore it: the next SYN does not
    bring it back, and no data.
    """
    await gives_cookie(tcp, cookie)
    conn = await opens_fast(tcp)
    syn = await conn.expect(SYN, length=0)
    option = opt.find(syn.segment.option_list, opt.FAST_OPEN)
    assert option is None or not option.data, f"the SYN brings {option}"
    await conn.complete()
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7413:9-kind", **ALONE)
async def test_cookie_is_requested_by_option_34_each_time(tcp: Case) -> None:
    """A cookie is requested by option 34 each time.

    A server gave no cookie on request; the application opens again, with Fast Open. Where the target requests a
    cookie again, it should do so by option 34, not by the experimental one of earlier drafts.
    """
    conn = await tcp.connect(options=CLIENT)
    await conn.expect(SYN, length=0, options=REQUEST)
    await conn.complete()
    await conn.inject(RST)
    again = await tcp.connect(options=CLIENT)
    await again.expect(SYN, length=0, options=((EXPERIMENTAL, None),))


@verifies("RFC7413:4.1.3-mss", "RFC7413:4.2.2-update", level="SHOULD", **ALONE)
async def test_data_of_the_syn_keeps_to_the_cached_mss(tcp: Case) -> None:
    """Data of the SYN keeps to the cached MSS.

    We announced an MSS of 700 along with the cookie; the application has 5000 octets to send. The SYN should bring
    no more than 700.
    """
    await gives_cookie(tcp, mss=700)
    conn = await opens_fast(tcp, bytes(5000))
    syn = await conn.expect(SYN, options=having(COOKIE))
    assert 0 < len(syn.segment.payload) <= 700, f"the SYN brings {len(syn.segment.payload)} octets"
    await conn.send(SYN | ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)


@verifies("RFC7413:4.1.3-limit", **ALONE)
async def test_data_of_the_syn_with_a_large_cached_mss(tcp: Case) -> None:
    """Data of the SYN fits the link despite a large cached MSS.

    We announced an MSS of 9000 along with the cookie; the application has 5000 octets to send. The SYN may bring as
    much as its own link carries, or limit itself further: to the usual MSS or the default.
    """
    await gives_cookie(tcp, mss=9000)
    conn = await opens_fast(tcp, bytes(5000))
    syn = await conn.expect(SYN, options=having(COOKIE))
    usual = 1460 if tcp.family == 4 else 1440
    forms = ["default", "usual", "larger"]
    size = len(syn.segment.payload)
    taken = forms[0] if size <= DEFAULT_MSS[tcp.family] else forms[1] if size <= usual else forms[2]
    tcp.choice("size of the data in the SYN", taken, forms)
    await conn.send(SYN | ACK)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)


@verifies("RFC7413:4.2.2-unacknowledged", **ALONE)
async def test_data_that_was_not_taken_follows_in_the_first_ack(tcp: Case) -> None:
    """Data that the SYN,ACK did not cover follows in the first ACK.

    Our SYN,ACK acknowledges the SYN alone, not the data that came with it. The first ACK should bring the data
    again.
    """
    await gives_cookie(tcp)
    conn = await syn_with_data(tcp)
    await conn.send(SYN | ACK, ack=conn.irs + 1)
    await conn.expect(ACK, seq=conn.irs + 1, ack=conn.snd_nxt, payload=DATA)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC7413:4.2.2-syn-timer", lasts=2, **ALONE)
async def test_syn_with_data_is_repeated_without_data(tcp: Case) -> None:
    """A SYN with data is repeated without data.

    A SYN with cookie and data is not answered. It should come again without data and without the option; the data
    follows the handshake.
    """
    await gives_cookie(tcp)
    conn = await syn_with_data(tcp)
    again = Expectation(SYN, seq=conn.irs, length=0, options=NO_COOKIE)
    await conn.expect_any(again, within=4, strict=True)
    await conn.send(SYN | ACK, ack=conn.irs + 1)
    await conn.expect(ACK, seq=conn.irs + 1, ack=conn.snd_nxt, payload=DATA)


@verifies("RFC7413:4.2.1-retransmit", lasts=2, **ALONE)
async def test_request_for_a_cookie_is_repeated_without_option(tcp: Case) -> None:
    """A request for a cookie is repeated without the option.

    A SYN that requests a cookie is not answered. It should come again without the option.
    """
    conn = await tcp.connect(options=CLIENT)
    await conn.expect(SYN, length=0, options=REQUEST)
    again = Expectation(SYN, seq=conn.irs, length=0, options=NO_COOKIE)
    await conn.expect_any(again, within=4, strict=True)
    await conn.complete()
    await conn.confirm(State.ESTABLISHED)


async def fails_fast_open(tcp: Case) -> None:
    """Leave a SYN with cookie and data unanswered, and answer its repetition."""
    conn = await syn_with_data(tcp)
    await conn.expect_any(Expectation(SYN, seq=conn.irs), within=4, strict=True)
    await conn.send(SYN | ACK, ack=conn.irs + 1)
    await conn.expect(ACK, seq=conn.irs + 1, ack=conn.snd_nxt)
    await conn.inject(RST)


@verifies("RFC7413:4.1.3.1-negative", "RFC7413:4.1.3.1-disable", lasts=3, **ALONE)
async def test_fast_open_that_was_not_answered_is_not_tried_again(tcp: Case) -> None:
    """Fast Open that was not answered is not tried again.

    A SYN with cookie and data was not answered, its repetition without them was; then the application opens again.
    The target must have remembered that: the next SYN brings no data.
    """
    await gives_cookie(tcp)
    await fails_fast_open(tcp)
    conn = await opens_fast(tcp)
    await conn.expect(SYN, length=0)


@verifies("RFC7413:4.1.3.1-negative", **ALONE)
async def test_fast_open_whose_data_was_not_taken_is_remembered(tcp: Case) -> None:
    """Fast Open whose data was not taken is not tried again.

    Our SYN,ACK acknowledged the SYN alone, and brought no cookie; then the application opens again. The target must
    have remembered that: the next SYN brings no data.
    """
    await gives_cookie(tcp)
    conn = await syn_with_data(tcp)
    await conn.send(SYN | ACK, ack=conn.irs + 1)
    await conn.expect(ACK, seq=conn.irs + 1, ack=conn.snd_nxt)
    await conn.inject(RST)
    later = await opens_fast(tcp)
    await later.expect(SYN, length=0)


@verifies("RFC7413:4.2.1-remove", **ALONE)
async def test_syn_ack_without_cookie_and_the_cached_one(tcp: Case) -> None:
    """A cached cookie is used or requested again after a bare SYN,ACK.

    Our SYN,ACK acknowledges the data, but brings no cookie; then the application opens again. The target may use
    the cookie that it has, or remove it and request one.
    """
    await gives_cookie(tcp)
    conn = await syn_with_data(tcp)
    await conn.send(SYN | ACK)
    await conn.expect_ack()
    later = await opens_fast(tcp)
    cached = Expectation(SYN, payload=DATA, options=having(COOKIE), label="kept:")
    removed = Expectation(SYN, length=0, options=REQUEST, label="removed:")
    which, _ = await later.expect_any(cached, removed)
    tcp.choice("cached cookie", ("kept", "removed")[which], ["kept", "removed"])


@verifies("RFC7413:4.2.1-record", lasts=3, **ALONE)
async def test_server_that_gives_no_cookie_is_not_asked_at_once(tcp: Case) -> None:
    """A server that gave no cookie is not asked again at once.

    A SYN that requests a cookie was not answered, its repetition without the option was; then the application opens
    again. The next SYN should not request a cookie: it may only after a certain time.
    """
    conn = await tcp.connect(options=CLIENT)
    await conn.expect(SYN, length=0, options=REQUEST)
    await conn.expect_any(Expectation(SYN, seq=conn.irs, length=0), within=4, strict=True)
    await conn.complete()
    await conn.inject(RST)
    later = await tcp.connect(options=CLIENT)
    await later.expect(SYN, length=0, options=NO_COOKIE)
