"""RFC 9293 sections 3.9.2 and 3.9.2.1: what the target takes from IP and gives to it: options, source routes, TTL, fragments."""

import base64
from ipaddress import IPv4Address
from typing import Any

import pytest

from conformance.api import (
    ACK,
    FIN,
    PSH,
    SYN,
    Case,
    Connection,
    NotApplicable,
    Received,
    State,
    Violation,
    app_accepts,
    app_reads,
    app_sends,
    opt,
    verifies,
)

DATA = b"whatever carries it" * 6
# RFC 4727: experiments that no stack knows; over IPv6 an option that is skipped where it is not known.
UNKNOWN = {4: {"options": b"\x9e\x04\0\0"}, 6: {"extensions": ((60, b"\x1e\x04\0\0\0\0"),)}}
ELSEWHERE, FURTHER = "10.77.9.9", "10.77.9.8"
ROUTED = {"net.ipv4.conf.all.accept_source_route": "1"}
BY = pytest.mark.parametrize("by", ["passive", "active"])


def only_ipv4(tcp: Case, what: str) -> None:
    """Raise NotApplicable over IPv6."""
    if tcp.family == 6:
        raise NotApplicable(f"IPv6 has no {what}")


# Options


@pytest.mark.parametrize("where", ["syn", "data", "fin"])
@verifies("RFC9293:MUST-50")
async def test_unknown_ip_option_is_ignored(tcp: Case, where: str) -> None:
    """An unknown IP option is ignored.

    A segment comes behind an IP option that nobody knows (IPv4), or in a destination options header (IPv6). The
    target must take the segment as if the option were not there.
    """
    ip = UNKNOWN[tcp.family]
    if where == "syn":
        conn = await tcp.listen()
        await conn.send(SYN, ip=ip)
        await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
        await conn.send(ACK, ip=ip)
        await conn.confirm(State.ESTABLISHED)
        return
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send((ACK | PSH) if where == "data" else FIN | ACK, payload=DATA, ip=ip)
    await conn.expect_ack()
    await app_reads(conn, DATA)


@pytest.mark.parametrize(
    "option, name",
    [
        pytest.param(b"\x44\x0c\x05\x00" + bytes(8), "Timestamp", id="timestamp", marks=verifies("RFC9293:MAY-10")),
        pytest.param(b"\x07\x0b\x04" + bytes(8), "Record Route", id="record-route", marks=verifies("RFC9293:MAY-11")),
    ],
)
async def test_recording_ip_option_may_be_supported(tcp: Case, option: bytes, name: str) -> None:
    """A recording IP option may be supported.

    Our SYN asks the hosts on the way to record their time, or their addresses. The target may support that and send
    back what was recorded; it opens in any case.
    """
    only_ipv4(tcp, f"{name} option")
    conn = await tcp.listen()
    await conn.send(SYN, ip={"options": option})
    answer = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    forms = ["not sent back", "sent back"]
    tcp.choice(f"IP {name} option", forms[option[0] in answer.ip.options], forms)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)


# Time to live


@BY
@verifies("RFC9293:MUST-49", needs=("app", "options:IP_TTL"))
async def test_time_to_live_is_configurable(tcp: Case, by: str) -> None:
    """The application sets the time to live.

    The application sets the TTL (IPv6: hop limit) to 77, and later to 3. The target's segments must carry it.
    """
    level, name = ("ip", "IP_TTL") if tcp.family == 4 else ("ipv6", "IPV6_UNICAST_HOPS")
    conn = await tcp.drive_to(State.ESTABLISHED, by=by)
    for ttl in (77, 3):
        await conn.app.option(level, name, ttl)
        data = await app_sends(conn, DATA)
        await conn.send(ACK | PSH, payload=DATA)
        answer = await conn.expect_ack()
        for received in (data, answer):
            assert received.ip.ttl == ttl, f"a segment has TTL {received.ip.ttl}, the application asked for {ttl}"


# Fragments


@pytest.mark.parametrize("where", ["syn", "data", "fin"])
@verifies("RFC9293:3.10.7.4-text")
async def test_fragmented_segment_is_put_together(tcp: Case, where: str) -> None:
    """A fragmented segment is put together.

    A segment comes in IP fragments of 24 octets, of which the first holds the header. The target must put it
    together and take it like any other.
    """
    # With less, a host may suspect an attack (RFC 1858, RFC 8200 section 4.5).
    octets = 24
    if where == "syn":
        conn = await tcp.listen()
        # An option, so that there is a second fragment.
        await conn.send(SYN, fragment=octets, options=(*conn.syn_options, opt.Option(253, b"\0\0")))
        await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
        await conn.send(ACK, fragment=octets)
        await conn.confirm(State.ESTABLISHED)
        return
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send((ACK | PSH) if where == "data" else FIN | ACK, payload=DATA, fragment=octets)
    await conn.expect_ack()
    await app_reads(conn, DATA)


# Retransmissions


@verifies("RFC9293:MAY-4", lasts=1)
async def test_identical_retransmission_may_keep_its_identification(tcp: Case) -> None:
    """An identical retransmission may keep its Identification.

    The target's data is not acknowledged, and it sends the same segment again. Where the two are identical, it may
    use the same IPv4 Identification.
    """
    only_ipv4(tcp, "Identification outside of fragments")
    conn = await tcp.drive_to(State.ESTABLISHED)
    first = await app_sends(conn, DATA)
    again = await conn.expect_retransmission(first, within=tcp.timer("rto-min").high_s + 1)
    forms = ["another", "the same"]
    tcp.choice("Identification of a retransmission", forms[first.ip.id == again.ip.id], forms)


# Source routes


def route(*addresses: str, pointer: int = 4) -> bytes:
    """Return a Loose Source and Record Route option (RFC 791 section 3.1)."""
    return bytes((131, 3 + 4 * len(addresses), pointer)) + b"".join(IPv4Address(one).packed for one in addresses)


def recorded(*addresses: str) -> dict[str, Any]:
    """Return a source route that has come to its end: the routers' addresses are recorded in it."""
    return {"options": route(*addresses, pointer=4 + 4 * len(addresses))}


def check_route(received: Received, *addresses: str) -> None:
    """Check that a segment goes by that route. Raises Violation."""
    wanted = route(*addresses)
    if not received.ip.options.startswith(wanted):
        raise Violation(f"{received.segment.flags} carries IP options {received.ip.options.hex()}, not {wanted.hex()}")


async def asked_route(tcp: Case) -> Connection:
    """Return an active open with a route by way of our own address; its SYN must take that route."""
    given = base64.b64encode(route(tcp.address, ELSEWHERE)).decode()
    conn = await tcp.connect(options=[("ip", "IP_OPTIONS", {"bytes": given})])
    check_route(await conn.expect(SYN, length=0), ELSEWHERE, tcp.address)
    return conn


@verifies("RFC9293:MUST-51", needs=("app", "options:IP_OPTIONS"))
async def test_application_may_give_a_source_route(tcp: Case) -> None:
    """The application may give a source route.

    The application opens actively and gives a source route. The target's SYN must be sent to the first router of
    it, and carry the others and our address as the rest.
    """
    only_ipv4(tcp, "source route option for applications (RFC 5095)")
    conn = await asked_route(tcp)
    await conn.send(SYN | ACK)
    check_route(await conn.expect_ack(), ELSEWHERE, tcp.address)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC9293:MUST-52", needs=("app", "options:IP_OPTIONS", "settings"), sysctl=ROUTED)
async def test_route_of_the_application_goes_before_a_received_one(tcp: Case) -> None:
    """The application's route goes before a received route.

    The application opens actively with a source route, and our SYN+ACK has come by another one. The target must go
    on with the application's.
    """
    only_ipv4(tcp, "source route option for applications (RFC 5095)")
    conn = await asked_route(tcp)
    await conn.send(SYN | ACK, ip=recorded(FURTHER, tcp.address))
    check_route(await conn.expect_ack(), ELSEWHERE, tcp.address)
    await conn.send(ACK | PSH, payload=DATA, ip=recorded(FURTHER, tcp.address))
    check_route(await conn.expect_ack(), ELSEWHERE, tcp.address)
    await conn.confirm(State.ESTABLISHED)


async def opened_by_route(tcp: Case) -> Connection:
    """Return a passive open whose SYN came by a source route; the answer must take the way back."""
    conn = await tcp.listen()
    await conn.send(SYN, ip=recorded(ELSEWHERE, tcp.address))
    check_route(await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0), ELSEWHERE, tcp.address)
    await conn.send(ACK)
    await app_accepts(conn)
    return conn


@verifies("RFC9293:MUST-53", needs=("app", "settings"), sysctl=ROUTED)
async def test_return_route_is_saved_and_used(tcp: Case) -> None:
    """The return route of the SYN is saved and used.

    Our SYN comes by a source route, what follows it does not. The target must send all its segments by the way
    back: SYN+ACK, data, acknowledgments and FIN.
    """
    only_ipv4(tcp, "source route option that is accepted (RFC 5095)")
    conn = await opened_by_route(tcp)
    await conn.app.send(DATA)
    check_route(await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA), ELSEWHERE, tcp.address)
    await conn.send(ACK | PSH, payload=DATA)
    check_route(await conn.expect_ack(), ELSEWHERE, tcp.address)
    await conn.app.receive(len(DATA))
    await conn.app.shutdown("send")
    check_route(await conn.expect_fin(), ELSEWHERE, tcp.address)


@verifies("RFC9293:SHLD-24", needs=("app", "settings"), sysctl=ROUTED)
async def test_later_route_replaces_the_earlier_one(tcp: Case) -> None:
    """A later return route replaces the earlier one.

    Our SYN comes by a source route, and our data by another. The target should send by the way back of the later
    one from then on.
    """
    only_ipv4(tcp, "source route option that is accepted (RFC 5095)")
    conn = await opened_by_route(tcp)
    await conn.send(ACK | PSH, payload=DATA, ip=recorded(FURTHER, tcp.address))
    check_route(await conn.expect_ack(), FURTHER, tcp.address)
