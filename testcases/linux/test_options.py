"""Linux: settings that show in the options, flags, windows and IP header of what the target sends."""

from typing import Any

import pytest

from conformance.api import (
    ACK,
    CWR,
    ECE,
    SYN,
    Case,
    Connection,
    Flags,
    Received,
    State,
    app_accepts,
    app_sends,
    opt,
    verifies,
)

SWITCHES = {
    "tcp_window_scaling": opt.WINDOW_SCALE,
    "tcp_timestamps": opt.TIMESTAMPS,
    "tcp_sack": opt.SACK_PERMITTED,
}
OFFER = {
    opt.WINDOW_SCALE: opt.window_scale(7),
    opt.TIMESTAMPS: opt.timestamps(1_000),
    opt.SACK_PERMITTED: opt.sack_permitted(),
}
BOTH = pytest.mark.parametrize("on", [0, 1], ids=["off", "on"])
ON_OFF = pytest.mark.parametrize("setting", list(SWITCHES))


def switch(*ids: str) -> pytest.MarkDecorator:
    """Return the mark of a case that turns an option on or off."""
    return verifies(*(f"IP-SYSCTL:{one}" for one in SWITCHES), *ids, sysctl={"net.ipv4.{setting}": "{on}"})


async def opens_passively(conn: Connection) -> None:
    """Complete the handshake after the target's SYN,ACK by our ACK."""
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


async def opens_actively(conn: Connection) -> None:
    """Complete the handshake after the target's SYN by our SYN,ACK."""
    await conn.send(SYN | ACK)
    await conn.expect_ack()
    await conn.confirm(State.ESTABLISHED)


def offers(received: Received) -> set[int]:
    """Return which of the options a segment carries."""
    return {kind for kind in OFFER if opt.find(received.segment.option_list, kind) is not None}


def wanted(setting: str, on: int) -> set[int]:
    """Return all options but the one that is turned off."""
    return set(OFFER) - (set() if on else {SWITCHES[setting]})


@ON_OFF
@BOTH
@switch("claim:C-51")
async def test_option_is_offered_in_the_syn_when_it_is_on(tcp: Case, setting: str, on: int) -> None:
    """The SYN offers an option only where it is on ({setting}={on}).

    The application connects, and one option is turned on or off. The target must offer that option in its SYN where
    it is on, not where it is off, and the others in any case.
    """
    conn = await tcp.connect()
    opens = await conn.expect(SYN, length=0)
    carried = opt.options_text(opens.segment.option_list)
    assert offers(opens) == wanted(setting, on), f"{setting} is {on}, the SYN carries {carried}"
    await opens_actively(conn)


@ON_OFF
@BOTH
@switch("claim:C-51")
async def test_option_is_taken_in_the_syn_ack_when_it_is_on(tcp: Case, setting: str, on: int) -> None:
    """The SYN,ACK takes up an option where it is on ({setting}={on}).

    Our SYN offers all three options, and one is turned on or off. The target must take the offer of that option
    where it is on, not where it is off, and of the others in any case.
    """
    conn = await tcp.listen()
    await conn.send(SYN, options=(opt.mss(1400), *OFFER.values()))
    answer = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    carried = opt.options_text(answer.segment.option_list)
    assert offers(answer) == wanted(setting, on), f"{setting} is {on}, the SYN,ACK carries {carried}"
    conn.tsval = 1_000 if opt.TIMESTAMPS in offers(answer) else None
    await opens_passively(conn)


@BOTH
@verifies("IP-SYSCTL:tcp_dsack", sysctl={"net.ipv4.tcp_dsack": "{on}"})
async def test_dsack_reports_a_duplicate_when_it_is_on(tcp: Case, on: int) -> None:
    """tcp_dsack decides whether a duplicate is reported by SACK.

    SACK is permitted, and data comes a second time. The target must acknowledge it again: with a SACK block for the
    duplicate where tcp_dsack is on, without where it is off.
    """
    conn = await tcp.listen()
    conn.syn_options = (*conn.syn_options, opt.sack_permitted())
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    begin = conn.snd_nxt
    await conn.deliver(b"twice")
    await conn.inject(ACK, seq=begin, payload=b"twice", text="the same data again")
    again = await conn.expect_ack()
    block = opt.find(again.segment.option_list, opt.SACK)
    edges = int(begin).to_bytes(4, "big") + int(conn.snd_nxt).to_bytes(4, "big")
    assert (block and block.data) == (edges if on else None), f"tcp_dsack is {on}, the ACK carries {block}"


# ECN

ECN_MODES = ["never", "always", "when-asked"]
"""The ids of the values 0, 1 and 2 of tcp_ecn."""


@pytest.mark.parametrize(("value", "asks"), [(0, False), (1, True), (2, False)], ids=ECN_MODES)
@verifies("IP-SYSCTL:tcp_ecn", sysctl={"net.ipv4.tcp_ecn": "{value}", "net.ipv4.tcp_ecn_fallback": "0"})
async def test_ecn_is_asked_for_when_it_is_on(tcp: Case, value: int, asks: bool) -> None:
    """tcp_ecn={value} decides whether the SYN asks for ECN.

    The application connects; tcp_ecn is 0 (never), 1 (always) or 2 (only where the peer asks). The target must ask
    for ECN (SYN, ECE and CWR) at 1, and not at 0 and 2.
    """
    conn = await tcp.connect()
    await conn.expect(SYN | ECE | CWR if asks else SYN, length=0)
    await opens_actively(conn)


@pytest.mark.parametrize(("value", "grants"), [(0, False), (1, True), (2, True)], ids=ECN_MODES)
@verifies("IP-SYSCTL:tcp_ecn", sysctl={"net.ipv4.tcp_ecn": "{value}"})
async def test_ecn_is_granted_unless_it_is_off(tcp: Case, value: int, grants: bool) -> None:
    """tcp_ecn={value} decides whether the SYN,ACK grants ECN.

    Our SYN asks for ECN; tcp_ecn is 0 (never), 1 (always) or 2 (only where the peer asks). The target must grant it
    (SYN, ACK and ECE) at 1 and 2, and not at 0.
    """
    conn = await tcp.listen()
    await conn.send(SYN | ECE | CWR)
    flags: Flags = SYN | ACK | ECE if grants else SYN | ACK
    await conn.expect(flags, ack=conn.snd_nxt, length=0)
    await opens_passively(conn)


# Sizes and windows


@pytest.mark.parametrize("least", [48, 88, 200])
@verifies("IP-SYSCTL:tcp_min_snd_mss", sysctl={"net.ipv4.tcp_min_snd_mss": "{least}"})
async def test_min_snd_mss_is_the_least_segment(tcp: Case, least: int) -> None:
    """tcp_min_snd_mss={least} is the smallest segment sent.

    Our SYN says that we take segments of 20 octets, and the application sends 600. The target must send segments of
    tcp_min_snd_mss.
    """
    conn = await tcp.listen()
    conn.syn_options = (opt.mss(20),)
    await tcp.drive_to(State.ESTABLISHED, conn=conn)
    data = bytes(range(200)) * 3
    await conn.app.send(data)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data[:least])
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=data[least : 2 * least])


@pytest.mark.parametrize("octets", [16_384, 32_768, 131_072])
@verifies("IP-SYSCTL:tcp_rmem", sysctl={"net.ipv4.tcp_rmem": "4096 {octets} 6291456"})
async def test_rmem_sets_the_first_window(tcp: Case, octets: int) -> None:
    """Half of the receive buffer of {octets} octets is the first window.

    Our SYN comes; the default size of the receive buffer is set. The target must offer half of it as its first
    window, less what does not make a whole segment, and at most 65535.
    """
    conn = await tcp.listen()
    await conn.send(SYN)
    answer = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    whole = min(65_535, octets // 2)
    least = whole - int.from_bytes(answer.option(opt.MSS).data, "big")
    window = answer.segment.window
    assert least < window <= whole, f"a buffer of {octets} octets gives a window of {window}"
    await opens_passively(conn)


@pytest.mark.parametrize(("on", "most"), [(0, 65_535), (1, 32_767)], ids=["off", "on"])
@verifies("IP-SYSCTL:tcp_workaround_signed_windows", sysctl={"net.ipv4.tcp_workaround_signed_windows": "{on}"})
async def test_workaround_signed_windows_halves_the_greatest_window(tcp: Case, on: int, most: int) -> None:
    """tcp_workaround_signed_windows bounds the unscaled window.

    Our SYN offers no window scaling. The target must offer no window above 32767 where it takes ours for signed
    numbers, else a greater one.
    """
    conn = await tcp.listen()
    await conn.send(SYN)
    answer = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    window = answer.segment.window
    assert most // 2 < window <= most, f"tcp_workaround_signed_windows is {on}, the window is {window}"
    await opens_passively(conn)


# The urgent pointer


@pytest.mark.parametrize(("on", "octet"), [(0, b"c"), (1, b"d")], ids=["off", "on"])
@verifies(
    "IP-SYSCTL:tcp_stdurg",
    "RFC9293:MUST-62",
    "claim:C-50",
    needs=("app", "urgent"),
    sysctl={"net.ipv4.tcp_stdurg": "{on}"},
)
async def test_stdurg_picks_the_urgent_octet(tcp: Case, on: int, octet: bytes) -> None:
    """tcp_stdurg decides which octet is urgent.

    Six octets come with an urgent pointer of 3: by RFC 1122 it points at the fourth octet, by BSD's reading behind
    the third. The application must get the fourth octet out of band where tcp_stdurg is on, else the third.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(ACK | Flags.URG, payload=b"abcdef", urgent=3)
    await conn.expect_ack()
    assert await conn.app.receive_urgent() == octet
    assert await conn.app.receive(5) == b"abcdef".replace(octet, b"")


# The IP header


@pytest.mark.parametrize("ttl", [17, 64, 255])
@verifies("IP-SYSCTL:ip_default_ttl", sysctl={"net.ipv4.ip_default_ttl": "{ttl}"})
async def test_default_ttl_is_in_every_segment(tcp: Case, ttl: int) -> None:
    """ip_default_ttl={ttl} is in every segment.

    A connection opens, answers and closes; ip_default_ttl is set. It is IPv4's: IPv6 has hop_limit. The target must
    send everything with that time to live.
    """
    tcp.needs_family(4, "ip_default_ttl")
    conn = await tcp.listen()
    await conn.send(SYN)
    seen = [await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)]
    await conn.send(ACK, payload=b"data")
    seen.append(await conn.expect_ack())
    assert [one.ip.ttl for one in seen] == [ttl] * len(seen)


@BOTH
@verifies("IP-SYSCTL:tcp_reflect_tos", sysctl={"net.ipv4.tcp_reflect_tos": "{on}"})
async def test_reflect_tos_answers_with_the_dscp_of_the_syn(tcp: Case, on: int) -> None:
    """tcp_reflect_tos decides whether the SYN's code point is reflected.

    Our SYN carries the Diffserv code point AF21. The target must answer, and acknowledge data, with the same code
    point where tcp_reflect_tos is on, else with none.
    """
    af21: dict[str, Any] = {"ip": {"tos": 18 << 2}}
    conn = await tcp.listen()
    await conn.send(SYN, **af21)
    answer = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.send(ACK, **af21)
    await app_accepts(conn)
    data = await app_sends(conn, b"data")
    assert [one.ip.tos >> 2 for one in (answer, data)] == [18 if on else 0] * 2
