"""Linux: how long a SYN cookie is good, for which the target keeps no connection at all (tcp_syncookies)."""

import pytest

from conformance.api import ACK, RST, SECOND, SYN, Case, State, verifies

ALWAYS = {"net.ipv4.tcp_syncookies": "2"}


@pytest.mark.parametrize(
    ("after_s", "opens"),
    [
        pytest.param(
            55,
            True,
            id="55-s",
            marks=verifies("RFC9293:3.5-handshake", needs=("app", "settings"), sysctl=ALWAYS, lasts=57),
        ),
        pytest.param(
            125,
            False,
            id="125-s",
            marks=verifies("RFC9293:3.5-handshake", needs=("app", "settings"), sysctl=ALWAYS, lasts=128),
        ),
    ],
)
async def test_cookie_opens_for_one_to_two_minutes(tcp: Case, after_s: int, opens: bool) -> None:
    """A SYN cookie opens within a minute and is reset after two.

    With cookies always on, a SYN is answered, never repeated, and acknowledged late. A cookie is good for at least
    one minute and at most two (it holds a counter of minutes): the ACK must open the connection within the first,
    and be reset after the second.
    """
    conn = await tcp.listen()
    await conn.send(SYN)
    answer = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.silence(for_=after_s - (tcp.clock.now_ns() - answer.at_ns) / SECOND, strict=True)
    if opens:
        await conn.complete()
        await conn.confirm(State.ESTABLISHED)
    else:
        late = await conn.inject(ACK, seq=conn.snd_nxt, ack=conn.rcv_nxt, text="too late")
        await conn.expect(RST, seq=late.segment.ack, label="no connection:")
