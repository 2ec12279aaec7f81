"""RFC 9293 sections 3.1 and 3.2: options that the target knows, does not know, or can't make sense of."""

import pytest

from conformance.api import (
    ACK,
    FIN,
    KINDS,
    PSH,
    RST,
    SYN,
    Case,
    Connection,
    Expectation,
    Kind,
    State,
    app_accepts,
    opt,
    verifies,
)

DATA = b"an option changes nothing here"
# Of RFC 4727 and RFC 6994: experiments, and one that was never given out.
UNKNOWN = (253, 254, 200)
# Less than either default: an option that is not found shows.
SMALL_MSS = 400


EVERY_KIND = pytest.mark.parametrize("kind", [pytest.param(one, id=name) for name, one in KINDS.items()])


async def largest(conn: Connection) -> int:
    """Complete the handshake that the target has answered; return the octets of the largest of its segments."""
    await conn.send(ACK)
    await app_accepts(conn)
    return max(len(received.segment.payload) for received in await conn.collect_segments(bytes(range(256)) * 16))


# Options that the target does not know


@EVERY_KIND
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(opt.Option(253), id="no-data"),
        pytest.param(opt.Option(254, b"\xf9\x89\x01\x02"), id="experiment"),
        pytest.param(opt.Option(200, bytes(range(38))), id="as-long-as-can-be"),
    ],
)
@verifies("RFC9293:MUST-6", "RFC9293:MUST-5", "RFC9293:MUST-68")
async def test_unknown_option_is_ignored(tcp: Case, kind: Kind, options: opt.Option) -> None:
    """An unknown option is ignored.

    A segment carries an option of a kind that no stack implements, with a right length. The target must take the
    segment as if the option were not there.
    """
    conn = await tcp.drive_to(kind.state, by="passive")
    await kind.is_taken(conn, options=opt.encode((options,)))


@verifies("RFC9293:MUST-6", "RFC9293:MUST-64")
async def test_unknown_option_of_any_length_is_ignored(tcp: Case) -> None:
    """An unknown option of any length is ignored.

    Data comes with an unknown option of each length from 2 to 40, behind as many No-Operations as fit. The target
    must acknowledge and deliver each piece of data.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    for length in range(2, 41):
        option = opt.Option(UNKNOWN[length % 3], bytes((0xFF,)) * (length - 2)).encode()
        options = option.rjust(40 if length % 2 else length, bytes((opt.NOP,)))
        await KINDS["data"].is_taken(conn, options=options)


@verifies("RFC9293:MUST-6")
async def test_option_behind_an_unknown_one_is_found(tcp: Case) -> None:
    """The option behind an unknown option is read.

    Our SYN carries an unknown option, and the Maximum Segment Size behind it. The target must obey the size: the
    unknown option's length says where the next one begins.
    """
    conn = await tcp.listen()
    conn.syn_options = (opt.Option(253, b"\x02\x04\xff"), opt.mss(SMALL_MSS))
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    most = await largest(conn)
    assert most <= SMALL_MSS, f"a segment of {most} octets came, announced were {SMALL_MSS}"


# Options that it has to know


@pytest.mark.parametrize("before", range(4), ids=lambda count: f"{count}-octets-before")
@verifies("RFC9293:MUST-64", "RFC9293:MUST-4")
async def test_option_may_begin_on_any_octet(tcp: Case, before: int) -> None:
    """An option may begin on any octet.

    In our SYN the Maximum Segment Size stands behind none to three No-Operations. The target must obey it wherever
    it begins.
    """
    conn = await tcp.listen()
    conn.syn_options = (*[opt.Option(opt.NOP)] * before, opt.mss(SMALL_MSS))
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    most = await largest(conn)
    assert most <= SMALL_MSS, f"a segment of {most} octets came, announced were {SMALL_MSS}"


@verifies("RFC9293:MUST-4", "RFC9293:3.2-eol")
async def test_end_of_option_list_ends_the_options(tcp: Case) -> None:
    """End of Option List ends the options.

    In our SYN a Maximum Segment Size stands behind End of Option List, where there are no options any more. The
    target must not obey it: without the option it takes the default of 536 octets (IPv4) or 1220 (IPv6).
    """
    conn = await tcp.listen()
    options = bytes((opt.NOP, opt.NOP, opt.NOP, opt.EOL)) + opt.mss(SMALL_MSS).encode()
    await conn.send(SYN, options=options)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    most = await largest(conn)
    assert most > SMALL_MSS, f"no segment of more than {most} octets came: the option behind the end was obeyed"


@EVERY_KIND
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(bytes((opt.NOP,)) * 40, id="no-operations"),
        pytest.param(bytes((opt.NOP, opt.EOL, 0, 0)), id="end-of-list"),
        pytest.param(bytes((opt.NOP, opt.NOP)) + opt.mss(1000).encode() + bytes((opt.NOP, opt.EOL)), id="size"),
    ],
)
@verifies("RFC9293:MUST-5", "RFC9293:MUST-4")
async def test_known_option_is_taken_in_every_segment(tcp: Case, kind: Kind, options: bytes) -> None:
    """A known option is accepted in every segment.

    A segment carries No-Operations, End of Option List or a Maximum Segment Size, wherever that has a meaning or
    has none. The target must take the segment like any other.
    """
    conn = await tcp.drive_to(kind.state, by="passive")
    await kind.is_taken(conn, options=options)


@verifies("RFC9293:MUST-65")
async def test_maximum_segment_size_is_sent_with_syn_alone(tcp: Case) -> None:
    """Only the SYN carries the Maximum Segment Size.

    The target opens passively, sends and takes data, and closes. Only its SYN+ACK may carry the Maximum Segment
    Size.
    """
    none = ((opt.MSS, None),)
    conn = await tcp.listen()
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.send(ACK)
    await app_accepts(conn)
    await conn.app.send(DATA)
    await conn.expect(ACK, payload=DATA, options=none)
    await conn.send(ACK | PSH, payload=DATA)
    await conn.expect(ACK, ack=conn.snd_nxt, length=0, options=none)
    await conn.app.receive(len(DATA))
    await conn.app.shutdown("send")
    await conn.expect(FIN | ACK, seq=conn.rcv_nxt, options=none)
    await conn.send(FIN | ACK)
    await conn.expect_ack(options=none)


# Lengths that can't be


MALFORMED = {
    "zero": bytes((253, 0, 1, 1)),
    "one": bytes((253, 1, 1, 1)),
    "beyond-the-header": bytes((253, 5, 1, 1)),
    "far-beyond": bytes((254, 255, 1, 1)),
    "last-octet-is-a-kind": bytes((1, 1, 1, 254)),
    "size-of-zero": bytes((opt.MSS, 0, 5, 0xB4)),
    "size-too-short": bytes((opt.MSS, 3, 5, 1)),
    "size-too-long": bytes((opt.MSS, 6, 5, 0xB4, 1, 1, 1, 1)),
    "window-scale-too-short": bytes((opt.WINDOW_SCALE, 2, 7, 1)),
    "window-scale-too-long": bytes((opt.WINDOW_SCALE, 4, 7, 7)),
    "sack-permitted-too-long": bytes((opt.SACK_PERMITTED, 3, 1, 1)),
    "sack-too-short": bytes((opt.SACK, 3, 1, 1)),
    "sack-of-part-of-a-block": bytes((opt.SACK, 9, *range(1, 8), 1, 1, 1)),
    "timestamps-too-short": bytes((opt.TIMESTAMPS, 9, *range(1, 8), 1, 1, 1)),
    "timestamps-too-long": bytes((opt.TIMESTAMPS, 11, *range(1, 10), 1)),
    **{f"last-octet-is-kind-{kind}": bytes((1, 1, 1, kind)) for kind in (2, 3, 4, 5, 8, 28, 30, 34)},
}


@pytest.mark.parametrize("where", ["syn", "data", "fin"])
@pytest.mark.parametrize("options", [pytest.param(octets, id=name) for name, octets in MALFORMED.items()])
@verifies("RFC9293:MUST-7")
async def test_impossible_option_length_does_no_harm(tcp: Case, options: bytes, where: str) -> None:
    """An impossible option length does no harm.

    A segment carries an option whose length is zero, one, beyond the header, or not that of its kind. The target
    must be prepared for it: it may take the segment, drop it or reset the connection, and it must be as ready for
    the next connection as before.
    """
    kind = KINDS[where]
    conn = await tcp.drive_to(kind.state, by="passive")
    await conn.inject(kind.flags, payload=kind.payload, options=options)
    end = conn.snd_nxt + len(kind.payload) + (1 if kind.flags & (SYN | FIN) else 0)
    takes = Expectation(kind.answer, ack=end, length=0, label="taken:")
    resets = (Expectation(RST, label="reset:"), Expectation(RST | ACK, label="reset:"))
    answer = await conn.allow(takes, *resets, within=0.5)
    which = "dropped" if answer is None else "reset" if answer[0] else "taken"
    tcp.choice("segment with an impossible option length", which, ["taken", "dropped", "reset"])
    await tcp.probe_listening(conn.remote_port)
    if which == "taken":
        conn.taken_in(snd_nxt=end)
    await kind.confirm(conn, {"taken": kind.then, "dropped": kind.state, "reset": State.CLOSED}[which])
