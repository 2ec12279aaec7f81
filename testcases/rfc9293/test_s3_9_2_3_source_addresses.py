"""RFC 9293 section 3.9.2.3: source addresses that nobody can have."""

from typing import Any

import pytest

from conformance.api import ACK, SYN, Case, State, verifies

# Where the target would have to answer to a group, to everybody, to nobody, or to itself.
INVALID = {
    "multicast": {4: "224.0.0.1", 6: "ff02::1"},
    "multicast-elsewhere": {4: "239.1.2.3", 6: "ff0e::1234"},
    "broadcast": {4: "255.255.255.255", 6: "ff02::2"},
    "unspecified": {4: "0.0.0.0", 6: "::"},
    "loopback": {4: "127.0.0.1", 6: "::1"},
    "its-own": {4: "", 6: ""},
}


@pytest.mark.parametrize("kind", list(INVALID))
@verifies("RFC9293:MUST-63", needs=("app", "state"), alone=True)
async def test_syn_from_an_invalid_address_is_ignored(tcp: Case, kind: str) -> None:
    """A SYN from an invalid source address is ignored.

    A SYN for a listener comes from a multicast, broadcast, unspecified or loopback address, or from the target's
    own. The target must ignore it: no connection begins, and the listener goes on for others. (It has the target to
    itself: stacks were brought down by a SYN from themselves.)
    """
    source = INVALID[kind][tcp.family] or tcp.remote
    conn = await tcp.listen(address="")
    await conn.inject(SYN, ip={"src": source}, text=f"from {source}")
    await conn.silence()
    four_tuple: dict[str, Any] = {"address": tcp.remote, "port": conn.remote_port, "remote_address": source}
    reply = await tcp.app.call("state", family=tcp.family, remote_port=conn.port, **four_tuple)
    assert reply["state"] in ("CLOSED", "LISTEN"), f"the SYN from {source} began a connection: {reply['state']}"
    await conn.listener.fails("accept", "timeout", wait_s=0.2)
    await conn.send(SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.send(ACK)
    await conn.confirm(State.ESTABLISHED)
