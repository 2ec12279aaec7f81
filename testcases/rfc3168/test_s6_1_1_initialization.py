"""RFC 3168 section 6.1.1: how the use of ECN is agreed on with SYN and SYN,ACK, and what follows where it is not."""

from typing import Any

import pytest

from conformance.api import (
    ACK,
    CWR,
    ECE,
    FIN,
    NO_FLAGS,
    RST,
    SECOND,
    SYN,
    Case,
    Connection,
    Expectation,
    Flags,
    Received,
    State,
    verifies,
)
from conformance.wire.ip import CE, ECT_0, NOT_ECT

PASSIVE: dict[str, Any] = {"needs": ("app", "ecn")}
ACTIVE: dict[str, Any] = {"needs": ("app", "ecn", "settings"), "sysctl": {"net.ipv4.tcp_ecn": "1"}}
"""The needs of a case in which the target asks for ECN itself."""
SETUP_SYN, SETUP_SYN_ACK = SYN | ECE | CWR, SYN | ACK | ECE
CODEPOINTS = {NOT_ECT: "not-ECT", ECT_0: "ECT(0)", 1: "ECT(1)", CE: "CE"}


def check_ecn(received: Received, codepoint: int, what: str) -> None:
    """Check the ECN field of a segment."""
    assert received.ip.ecn == codepoint, (
        f"{what} is {CODEPOINTS[received.ip.ecn]}, it has to be {CODEPOINTS[codepoint]}"
    )


async def sends(conn: Connection, codepoint: int) -> None:
    """Have the target's application send data; it must arrive with that codepoint, and we acknowledge it."""
    await conn.app.send(b"new data")
    # After a SYN that had to be repeated the congestion window is reduced, which CWR tells (section 6.1.2).
    forms = [Expectation(ACK | cwr, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=b"new data") for cwr in (NO_FLAGS, CWR)]
    _, data = await conn.expect_any(*forms)
    check_ecn(data, codepoint, "the data")
    await conn.send(ACK)


async def answers(conn: Connection, flags: Flags) -> None:
    """Answer with a SYN,ACK that has these flags of ECN's, and complete the handshake."""
    await conn.send(SYN | ACK | flags)
    await conn.expect_ack()
    await conn.app.connected()


@verifies("RFC3168:6.1.1-may", "RFC3168:6.1.1-syn", level="MUST", **PASSIVE)
async def test_ecn_setup_syn_is_answered(tcp: Case) -> None:
    """An ECN-setup SYN is answered, with ECN or without.

    Our SYN has ECE and CWR. The SYN,ACK may be an ECN-setup one, with ECE alone, or have neither; it must not be
    ECT.
    """
    conn = await tcp.listen()
    await conn.send(SETUP_SYN)
    setup = Expectation(SETUP_SYN_ACK, ack=conn.snd_nxt, length=0)
    plain = Expectation(SYN | ACK, ack=conn.snd_nxt, length=0)
    which, opened = await conn.expect_any(setup, plain)
    tcp.choice("answer to an ECN-setup SYN", ("ECN-setup", "not")[which], ["ECN-setup", "not"])
    check_ecn(opened, NOT_ECT, "the SYN,ACK")
    await conn.complete()
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(NO_FLAGS, id="no-flags"),
        pytest.param(ECE, id="ece"),
        pytest.param(CWR, id="cwr"),
    ],
)
@verifies("RFC3168:6.1.1-otherwise", "RFC3168:6.1.1-forms", "RFC3168:6.1.1-ect", **PASSIVE)
async def test_non_ecn_setup_syn_is_answered_without_ecn(tcp: Case, flags: Flags) -> None:
    """A SYN that is no ECN-setup SYN is answered without ECN.

    Our SYN has ECE alone, CWR alone, or neither. The SYN,ACK must not be an ECN-setup one; the connection opens,
    and its data is not ECT.
    """
    conn = await tcp.listen()
    await conn.send(SYN | flags)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.complete()
    await sends(conn, NOT_ECT)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC3168:6.1.2-data", "RFC3168:6.1.2-ect-0", "RFC3168:6.1.1-ect", level="SHOULD", **PASSIVE)
async def test_data_is_ect_0_after_a_passive_open_with_ecn(tcp: Case) -> None:
    """Data is ECT(0) after a passive open with ECN.

    Our SYN and the target's SYN,ACK were ECN-setup ones; its application sends data. New data should be ECT(0).
    """
    conn = await tcp.listen()
    await conn.send(SETUP_SYN)
    await conn.expect(SETUP_SYN_ACK, ack=conn.snd_nxt, length=0)
    await conn.complete()
    for _ in range(3):
        await sends(conn, ECT_0)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC3168:6.1.1-syn", "RFC3168:6.1.1-may", level="MUST", **ACTIVE)
async def test_ecn_setup_syn_is_not_ect(tcp: Case) -> None:
    """The ECN-setup SYN is not ECT.

    The target, set to ask for ECN, opens: its SYN has ECE and CWR. The SYN must not be ECT, nor the ACK of our
    SYN,ACK.
    """
    conn = await tcp.connect()
    syn = await conn.expect(SETUP_SYN, length=0)
    check_ecn(syn, NOT_ECT, "the SYN")
    await conn.send(SETUP_SYN_ACK)
    ack = await conn.expect_ack()
    check_ecn(ack, NOT_ECT, "the ACK of our SYN,ACK")
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC3168:6.1.2-data", "RFC3168:6.1.2-ect-0", level="SHOULD", **ACTIVE)
async def test_data_is_ect_0_after_an_active_open_with_ecn(tcp: Case) -> None:
    """Data is ECT(0) after an active open with ECN.

    The target's SYN and our SYN,ACK were ECN-setup ones; its application sends data. New data should be ECT(0).
    """
    conn = await tcp.connect()
    await conn.expect(SETUP_SYN, length=0)
    await answers(conn, ECE)
    for _ in range(3):
        await sends(conn, ECT_0)
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(NO_FLAGS, id="no-flags", marks=verifies("RFC3168:6.1.1-forms", "RFC3168:6.1.1-ect", **ACTIVE)),
        pytest.param(CWR, id="cwr", marks=verifies("RFC3168:6.1.1-forms", "RFC3168:6.1.1-ect", **ACTIVE)),
        pytest.param(
            ECE | CWR,
            id="reflected",
            marks=verifies("RFC3168:6.1.1.2-reflected", "RFC3168:6.1.1-forms", "RFC3168:6.1.1-ect", **ACTIVE),
        ),
    ],
)
async def test_non_ecn_setup_syn_ack_switches_ecn_off(tcp: Case, flags: Flags) -> None:
    """A SYN,ACK that is no ECN-setup SYN,ACK switches ECN off.

    Our SYN,ACK to an ECN-setup SYN has CWR, both flags (as an old stack reflects them), or none. The connection
    must open, and its data not be ECT.
    """
    conn = await tcp.connect()
    await conn.expect(SETUP_SYN, length=0)
    await answers(conn, flags)
    await sends(conn, NOT_ECT)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC3168:6.1.1-clear", needs=("app", "ecn", "settings"), sysctl={"net.ipv4.tcp_ecn": "0"})
async def test_target_without_ecn_clears_both_flags(tcp: Case) -> None:
    """With ECN off, SYN and SYN,ACK have neither ECE nor CWR.

    ECN is switched off; the target opens, and answers an ECN-setup SYN of ours. Its SYN and its SYN,ACK should have
    neither ECE nor CWR.
    """
    opening = await tcp.connect()
    await opening.expect(SYN, length=0)
    await opening.complete()
    conn = await tcp.listen()
    await conn.send(SETUP_SYN)
    await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.complete()
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC3168:6.1.1-ignore", **PASSIVE)
async def test_ce_is_ignored_without_ecn(tcp: Case) -> None:
    """CE is ignored where ECN was not agreed on.

    ECN was not agreed on; data of ours is CE. The target must take it, and not answer with ECE.
    """
    conn = await tcp.drive_to(State.ESTABLISHED)
    for _ in range(2):
        await conn.send(ACK, payload=b"congestion?", ip={"tos": CE})
        await conn.expect_ack(within=1.5)
    assert await conn.app.receive(22) == b"congestion?" * 2


@verifies("RFC3168:6.1.1-received", **PASSIVE)
async def test_syn_repeated_without_ecn_switches_it_off(tcp: Case) -> None:
    """A SYN repeated without ECE and CWR switches ECN off.

    Our ECN-setup SYN comes again without ECE and CWR, as a host does that had no answer; then we acknowledge. The
    target should not send ECT: it has received a non-ECN-setup SYN.
    """
    conn = await tcp.listen()
    await conn.send(SETUP_SYN)
    first = await conn.expect(SETUP_SYN_ACK, ack=conn.snd_nxt, length=0)
    await conn.inject(SYN, seq=conn.iss, text="the SYN again, without ECN")
    forms = [
        Expectation(flags, seq=first.segment.seq, ack=conn.snd_nxt, length=0) for flags in (SETUP_SYN_ACK, SYN | ACK)
    ]
    which, _ = await conn.expect_any(*forms, within=2, strict=True)
    tcp.choice("second SYN,ACK", ("ECN-setup", "not")[which], ["ECN-setup", "not"])
    await conn.complete()
    await sends(conn, NOT_ECT)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC3168:6.1.1.1-silence", "RFC3168:6.1.1-ect", level="MUST", lasts=2, **ACTIVE)
async def test_ecn_setup_syn_that_is_not_answered(tcp: Case) -> None:
    """An unanswered ECN-setup SYN is repeated, with ECN or without.

    The target's ECN-setup SYN is not answered; to the next one comes an ECN-setup SYN,ACK of ours. The second SYN
    may have ECE and CWR or not. Where it has not, data must not be ECT: a non-ECN-setup SYN was sent.
    """
    conn = await tcp.connect()
    await conn.expect(SETUP_SYN, length=0)
    forms = Expectation(SETUP_SYN, seq=conn.irs, length=0), Expectation(SYN, seq=conn.irs, length=0)
    which, _ = await conn.expect_any(*forms, within=4, strict=True)
    tcp.choice("second SYN", ("ECN-setup", "not")[which], ["ECN-setup", "not"])
    await answers(conn, ECE)
    await sends(conn, NOT_ECT if which else ECT_0)
    await conn.confirm(State.ESTABLISHED)


@verifies("RFC3168:6.1.1.1-reset", lasts=3, **ACTIVE)
async def test_ecn_setup_syn_that_is_reset(tcp: Case) -> None:
    """A reset ECN-setup SYN is tried again without ECN or given up.

    The target's ECN-setup SYN is answered by a RST. The target may try again without ECN, or tell its application
    that it was refused.
    """
    conn = await tcp.connect()
    await conn.expect(SETUP_SYN, length=0)
    reset = await conn.inject(RST | ACK, seq=0)
    again = await conn.allow(Expectation(SYN, seq=conn.irs, length=0), within=2, strict=True)
    forms = ["another SYN without ECN", "refused"]
    tcp.choice("after a reset of the ECN-setup SYN", forms[again is None], forms)
    if again is None:
        await conn.confirm(State.CLOSED)
    else:
        assert (again[1].at_ns - reset.at_ns) / SECOND < 2


@pytest.mark.parametrize("then", [pytest.param(True, id="with-ecn-then"), pytest.param(False, id="without-ecn-then")])
@verifies("RFC3168:6.1.1-again", "RFC3168:6.1.1-ect", level="MUST", **PASSIVE)
async def test_connection_after_time_wait_negotiates_anew(tcp: Case, then: bool) -> None:
    """A connection after TIME-WAIT negotiates ECN anew.

    A connection with ECN is in TIME-WAIT (or one without), and a newer SYN opens the four-tuple again the other
    way. What was agreed on before must not count: the new connection's data is ECT only where its own SYN was an
    ECN-setup one.
    """
    former = await tcp.listen()
    if not then:
        await former.send(SETUP_SYN)
        await former.expect(SETUP_SYN_ACK, ack=former.snd_nxt, length=0)
        await former.complete()
        await sends(former, ECT_0)
        await ends(former)
    else:
        await tcp.drive_to(State.TIME_WAIT, conn=former)
    await former.silence()
    conn = former.next_incarnation(iss=former.snd_nxt + 100_000)
    await conn.send(SETUP_SYN if then else SYN)
    await conn.expect(SETUP_SYN_ACK if then else SYN | ACK, ack=conn.snd_nxt, length=0)
    await conn.complete()
    await sends(conn, ECT_0 if then else NOT_ECT)
    await conn.confirm(State.ESTABLISHED)


async def ends(conn: Connection) -> None:
    """Close the connection, the target first, so that it is in TIME-WAIT."""
    await conn.app.shutdown("send")
    await conn.expect_fin()
    await conn.send(FIN | ACK)
    await conn.expect_ack()
