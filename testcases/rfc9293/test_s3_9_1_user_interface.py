"""RFC 9293 section 3.9.1: what the application can ask for: addresses, ports, Differentiated Services."""

import asyncio
from typing import Any

import pytest

from conformance.api import ACK, PSH, SYN, AppError, Case, Received, State, app_accepts, app_sends, verifies

DATA = b"as the application asked for"
BY = pytest.mark.parametrize("by", ["passive", "active"])
IN_USE = ("EADDRINUSE", "EADDRNOTAVAIL", "EACCES", "EINVAL")
# What the socket API calls an address that nobody can be connected with.
INVALID = ("EACCES", "EINVAL", "ENETUNREACH", "EHOSTUNREACH", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EOPNOTSUPP")
# Of the address family's documentation block: the target's own it is not.
NOT_ITS_OWN = {4: "192.0.2.1", 6: "2001:db8::1"}


def listen_arguments(tcp: Case, port: int) -> dict[str, Any]:
    """Return the arguments of a LISTEN on that port of the target's."""
    return {"family": tcp.family, "address": tcp.remote, "port": port, "backlog": 16}


# OPEN


@verifies("RFC9293:MUST-41")
async def test_second_listen_leaves_what_there_is_alone(tcp: Case) -> None:
    """A second listen leaves connections and listener alone.

    One connection is ESTABLISHED and one in SYN-RECEIVED when the application listens once more on their port. The
    call may fail or give a listener of its own. It must not touch either connection, nor the first listener.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    second = tcp.connection(conn.remote_port)
    second.listener = conn.listener
    await second.send(SYN)
    await second.expect(SYN | ACK, ack=second.snd_nxt, length=0)

    tcp.app.tolerated_errors = IN_USE
    taken = "a listener of its own"
    try:
        again = await tcp.app.listen(port=conn.remote_port)
        await again.close()
    except AppError as error:
        taken = "refused" if error.code in IN_USE else error.code
    tcp.choice("second LISTEN on a port", taken, ["refused", "a listener of its own"])

    await second.send(ACK)
    second.app = await conn.listener.accept()
    await second.deliver(DATA)
    await tcp.probe_listening(conn.remote_port)
    await conn.deliver(DATA)
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize("opened", ["by-one-listener", "by-three-listeners", "actively"])
@verifies("RFC9293:MUST-41", needs=("accept",))
async def test_connections_opened_at_once_are_told_apart(tcp: Case, opened: str) -> None:
    """Three connections that are opened at once are told apart.

    Their handshakes cross: three SYNs come before the first is answered. Each connection must open, and carry text of
    its own both ways, whatever the others do.
    """
    conns = []
    if opened == "actively":
        conns = [await tcp.connect() for _ in range(3)]
        opening = [await conn.expect(SYN, length=0) for conn in conns]
        for conn in conns:
            await conn.send(SYN | ACK)
    else:
        conns = [await tcp.listen() for _ in range(3 if opened == "by-three-listeners" else 1)]
        while len(conns) < 3:
            conns.append(tcp.connection(conns[0].remote_port))
            conns[-1].listener = conns[0].listener
        for conn in conns:
            await conn.send(SYN)
        opening = [await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0) for conn in conns]
        for conn in conns:
            await conn.send(ACK)
    assert len(opening) == 3
    for number, conn in enumerate(conns):
        if opened == "actively":
            await conn.expect_ack()
            await conn.app.connected()
        else:
            await app_accepts(conn)
        await conn.deliver(DATA + bytes([number]))
    for number, conn in reversed(list(enumerate(conns))):
        await conn.collect(bytes([number]) + DATA)
        await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize("state", [State.SYN_SENT, State.SYN_RECEIVED], ids=lambda state: state.value.lower())
@verifies("RFC9293:MUST-42")
async def test_port_of_an_opening_connection_can_be_listened_on(tcp: Case, state: State) -> None:
    """The port of a connection in {state} can be listened on.

    An active open from a port of the application's choice is under way, and the application listens on that port.
    The target must let it: the port answers others, and the connection that was under way opens.
    """
    port = tcp.station.port()
    conn = tcp.connection(port)
    conn.app = await tcp.app.connect(remote_port=conn.port, port=port, reuse=True)
    await conn.expect(SYN, length=0)
    if state is State.SYN_RECEIVED:
        await conn.send(SYN, text="simultaneous open")
        await conn.expect(SYN | ACK, seq=conn.irs, ack=conn.snd_nxt, length=0)
    refused = ""
    try:
        await tcp.app.call("listen", **listen_arguments(tcp, port))
    except AppError as error:
        if error.code not in IN_USE:
            raise
        refused = error.code
    assert not refused, f"LISTEN on the port is refused with {refused}"
    await tcp.probe_listening(port)
    if state is State.SYN_RECEIVED:
        await conn.send(ACK)
    else:
        await conn.send(SYN | ACK)
        await conn.expect_ack()
    await conn.app.connected()
    await conn.deliver(DATA)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC9293:MUST-43")
async def test_local_address_can_be_named(tcp: Case) -> None:
    """The application can name the local address.

    The application opens from the target's address by name, and listens on it by name. Both opens must use it. An
    address that the host does not have may be refused.
    """
    conn = await tcp.connect()
    syn = await conn.expect(SYN, length=0)
    assert syn.ip.src == tcp.remote, f"the SYN comes from {syn.ip.src}, the application asked for {tcp.remote}"
    wrong = {**listen_arguments(tcp, tcp.station.port()), "address": NOT_ITS_OWN[tcp.family]}
    tcp.app.tolerated_errors = IN_USE
    taken = "accepted"
    try:
        await tcp.app.call("listen", **wrong)
    except AppError as error:
        taken = "refused" if error.code in IN_USE else error.code
    tcp.choice("LISTEN on an address that the host does not have", taken, ["refused", "accepted"])
    second = await tcp.listen(address=tcp.remote)
    await second.send(SYN)
    answer = await second.expect(SYN | ACK, ack=second.snd_nxt, length=0)
    assert answer.ip.src == tcp.remote, (
        f"the answer comes from {answer.ip.src}, the application listens on {tcp.remote}"
    )
    await second.send(ACK)
    await second.confirm(State.ESTABLISHED)


@BY
@verifies("RFC9293:MUST-44", "RFC9293:MUST-45")
async def test_local_address_is_chosen_once_and_kept(tcp: Case, by: str) -> None:
    """The local address is chosen once and kept.

    The application names no local address, opens, sends, receives and closes. The target must choose an address of
    its own before the SYN, and send every segment from it.
    """
    seen: list[Received] = []
    if by == "active":
        conn = tcp.connection()
        conn.app = await tcp.app.connect(remote_port=conn.port, address="")
        seen.append(await conn.expect(SYN, length=0))
        await conn.send(SYN | ACK)
        seen.append(await conn.expect_ack())
        await conn.app.connected()
    else:
        conn = await tcp.listen(address="")
        await conn.send(SYN)
        seen.append(await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0))
        await conn.send(ACK)
        await app_accepts(conn)
    await conn.app.send(DATA)
    seen.append(await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA))
    await conn.send(ACK | PSH, payload=DATA)
    seen.append(await conn.expect_ack())
    await conn.app.receive(len(DATA))
    await conn.app.shutdown("send")
    seen.append(await conn.expect_fin())
    sources = {received.ip.src for received in seen}
    assert sources == {tcp.remote}, f"the target's segments come from {sources}"


@pytest.mark.parametrize("kind", ["broadcast", "multicast", "multicast-elsewhere"])
@verifies("RFC9293:MUST-46")
async def test_open_to_an_invalid_address_is_refused(tcp: Case, kind: str) -> None:
    """An open to an invalid address is refused.

    The application opens to a broadcast or multicast address. The call must fail: nobody can be connected with a
    group. The target goes on as before.
    """
    addresses = {
        4: {"broadcast": "255.255.255.255", "multicast": "224.0.0.1", "multicast-elsewhere": "239.1.2.3"},
        # IPv6 has no broadcast: all nodes of the link come nearest.
        6: {"broadcast": "ff02::1", "multicast": "ff02::5", "multicast-elsewhere": "ff0e::1234"},
    }
    arguments: dict[str, Any] = {"family": tcp.family, "remote_address": addresses[tcp.family][kind], "remote_port": 7}
    await tcp.app.fails("connect", INVALID, **arguments)
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.deliver(DATA)


# Differentiated Services


@BY
@verifies("RFC9293:MUST-48", "RFC9293:SHLD-21", "RFC9293:SHLD-22", level="MUST", needs=("app", "options:IP_TOS"))
async def test_differentiated_services_field_is_the_applications(tcp: Case, by: str) -> None:
    """The application sets the Differentiated Services field.

    The application sets the Differentiated Services field to AF21, and while the connection is open to EF and back
    to 0. Data, acknowledgments and FIN must carry the value, and should carry a later one from the change on.
    """
    level, name = ("ip", "IP_TOS") if tcp.family == 4 else ("ipv6", "IPV6_TCLASS")
    conn = await tcp.drive_to(State.ESTABLISHED, by=by)
    for codepoint in (18, 46, 0):
        await conn.app.option(level, name, codepoint << 2)
        data = await app_sends(conn, DATA)
        await conn.send(ACK | PSH, payload=DATA)
        answer = await conn.expect_ack()
        for received in (data, answer):
            # The two bits beside it are ECN's.
            seen = received.ip.tos >> 2
            assert seen == codepoint, f"a segment carries codepoint {seen}, the application asked for {codepoint}"
    await conn.app.receive(3 * len(DATA))
    await conn.app.option(level, name, 10 << 2)
    await conn.app.shutdown("send")
    fin = await conn.expect_fin()
    assert fin.ip.tos >> 2 == 10, f"the FIN carries codepoint {fin.ip.tos >> 2}, the application asked for 10"


@verifies("RFC9293:MUST-48", needs=("app", "options:IP_TOS"))
async def test_differentiated_services_field_can_be_set_before_the_open(tcp: Case) -> None:
    """The Differentiated Services field can be set before the open.

    The application sets the Differentiated Services field before it opens actively. The SYN and the ACK that
    completes the handshake must carry it.
    """
    level, name = ("ip", "IP_TOS") if tcp.family == 4 else ("ipv6", "IPV6_TCLASS")
    conn = await tcp.connect(options=[(level, name, 26 << 2)])
    seen = [await conn.expect(SYN, length=0)]
    await conn.send(SYN | ACK)
    seen.append(await conn.expect_ack())
    for received in seen:
        got = received.ip.tos >> 2
        assert got == 26, f"{received.segment.flags} carries codepoint {got}, the application asked for 26"


# SEND and RECEIVE


@verifies("RFC9293:3.10.2-send", "RFC9293:3.10.3-receive", "RFC9293:3.3.2-established")
async def test_sends_and_receives_are_served_in_their_order(tcp: Case) -> None:
    """SEND and RECEIVE calls are served in order.

    The application makes ten SEND calls and five RECEIVE calls at once, while as much comes from us. What was sent
    must come in the order of the calls, and what we send must be received in the order in which it was sent.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    pieces = [bytes((number,)) * 100 for number in range(10)]
    receiving = [asyncio.ensure_future(conn.app.receive(200, maximum=200)) for _ in range(5)]
    await asyncio.gather(*map(conn.app.send, pieces))
    first, sent, got = conn.rcv_nxt, b"".join(pieces), 0
    while got < len(sent):
        received = await conn.expect(ACK, seq=first + got, ack=conn.snd_nxt)
        payload = received.segment.payload
        assert payload and sent[got:].startswith(payload), (
            f"at {got} came {payload[:8]!r}..., sent was {sent[got:][:8]!r}"
        )
        got += len(payload)
        await conn.send(ACK)
    for piece in pieces:
        await conn.send(ACK | PSH, payload=piece)
    data = b"".join(await asyncio.gather(*receiving))
    assert data == sent, "the application was given our data in another order"
