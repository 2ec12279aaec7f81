"""RFC 6191 section 2: a SYN for a four-tuple in TIME-WAIT, judged by timestamps and sequence numbers."""

from typing import Any

import pytest

from conformance.api import ACK, RST, SYN, Case, Connection, Expectation, Seq, State, app_accepts, opt, verifies

STAMP = 1_000_000
"""The first TSval of the former connection."""
FAR = 100_000
REOPENS = ("RFC9293:SHLD-4", "RFC9293:3.10.7.4-syn-time-wait", "claim:C-28")
STAYS = ("RFC9293:SHLD-4", "claim:C-28")


async def in_time_wait(tcp: Case, *, stamps: bool) -> Connection:
    """Return the former connection, with timestamps or without; its port still listens."""
    conn = await tcp.listen()
    conn.tsval = STAMP if stamps else None
    await tcp.drive_to(State.TIME_WAIT, conn=conn)
    return conn


def syn(name: str, stamps: bool, tsval: int | None, seq: int, *ids: str, cell: str = "", level: str = "SHOULD") -> Any:
    """Return the parameters of a SYN: its TSval from the last of the former connection, its number from RCV.NXT."""
    return pytest.param(stamps, tsval, seq, id=name, marks=verifies(*ids, cells=[cell] if cell else [], level=level))


@pytest.mark.parametrize(
    ("stamps", "tsval", "seq"),
    [
        syn("newer-timestamp-older-sequence", True, 1, -FAR, "RFC6191:2-1", *REOPENS, cell="TIME-WAIT/syn-stamp-newer"),
        syn("newer-timestamp-same-sequence", True, 1, -1, "RFC6191:2-1", *REOPENS, cell="TIME-WAIT/syn-stamp-newer"),
        syn("newer-timestamp-newer-sequence", True, 1, FAR, "RFC6191:2-1", *REOPENS, cell="TIME-WAIT/syn-stamp-newer"),
        syn("same-timestamp-newer-sequence", True, 0, FAR, "RFC6191:2-2", *REOPENS, cell="TIME-WAIT/syn-stamp-equal"),
        syn("same-timestamp-next-sequence", True, 0, 0, "RFC6191:2-2", *REOPENS, cell="TIME-WAIT/syn-stamp-equal"),
        syn(
            "timestamps-before-newer-sequence",
            True,
            None,
            FAR,
            "RFC6191:2-3",
            *REOPENS,
            cell="TIME-WAIT/syn-stamp-gone",
        ),
        syn("timestamps-before-next-sequence", True, None, 0, "RFC6191:2-3", *REOPENS, cell="TIME-WAIT/syn-stamp-gone"),
        syn(
            "timestamps-now-older-sequence",
            False,
            STAMP,
            -FAR,
            "RFC6191:2-5",
            *REOPENS,
            cell="TIME-WAIT/syn-stamp-first",
        ),
        syn(
            "timestamps-now-newer-sequence",
            False,
            STAMP,
            FAR,
            "RFC6191:2-5",
            *REOPENS,
            cell="TIME-WAIT/syn-stamp-first",
        ),
        syn(
            "no-timestamps-newer-sequence",
            False,
            None,
            FAR,
            "RFC6191:2-6",
            *REOPENS,
            cell="TIME-WAIT/syn-no-stamp-newer",
        ),
        syn(
            "no-timestamps-next-sequence", False, None, 0, "RFC6191:2-6", *REOPENS, cell="TIME-WAIT/syn-no-stamp-newer"
        ),
    ],
)
async def test_newer_syn_reopens_from_time_wait(tcp: Case, stamps: bool, tsval: int | None, seq: int) -> None:
    """A newer SYN reopens from TIME-WAIT.

    A SYN that is newer by its timestamp or its sequence number comes for a four-tuple in TIME-WAIT. The target
    should open the connection (the last number that it has seen is that of our FIN, one before RCV.NXT), and it
    works. What it begins with must lie above all that it has sent before (RFC 9293 section 3.6.1).
    """
    if stamps:
        tcp.needs("timestamps")
    former = await in_time_wait(tcp, stamps=stamps)
    conn = former.next_incarnation(iss=former.snd_nxt + seq)
    if tsval is not None:
        # segment() adds one before it uses it.
        conn.tsval = (former.tsval if stamps else 0) + tsval - 1
    await conn.send(SYN)
    opened = await conn.expect(SYN | ACK, ack=conn.snd_nxt, length=0)
    assert opened.segment.seq > former.rcv_nxt, "the new initial sequence number is not above those used before"
    await conn.send(ACK)
    await app_accepts(conn)
    await conn.deliver(b"there")
    await conn.collect(b"and back")
    await conn.confirm(State.ESTABLISHED)


@pytest.mark.parametrize(
    ("stamps", "tsval", "seq"),
    [
        syn(
            "older-timestamp-newer-sequence",
            True,
            -10,
            FAR,
            "RFC6191:2-4",
            *STAYS,
            level="text",
        ),
        syn(
            "older-timestamp-older-sequence",
            True,
            -10,
            -FAR,
            "RFC6191:2-4",
            *STAYS,
            cell="TIME-WAIT/syn-stamp-older",
            level="text",
        ),
        syn(
            "same-timestamp-older-sequence",
            True,
            0,
            -FAR,
            "RFC6191:2-4",
            *STAYS,
            cell="TIME-WAIT/syn-stamp-older",
            level="text",
        ),
        syn(
            "same-timestamp-same-sequence",
            True,
            0,
            -1,
            "RFC6191:2-4",
            *STAYS,
            cell="TIME-WAIT/syn-stamp-older",
            level="text",
        ),
        syn(
            "timestamps-before-older-sequence",
            True,
            None,
            -FAR,
            "RFC6191:2-4",
            *STAYS,
            cell="TIME-WAIT/syn-stamp-older",
            level="text",
        ),
        syn(
            "no-timestamps-older-sequence",
            False,
            None,
            -FAR,
            "RFC6191:2-7",
            *STAYS,
            cell="TIME-WAIT/syn-no-stamp-older",
            level="text",
        ),
        syn(
            "no-timestamps-same-sequence",
            False,
            None,
            -1,
            "RFC6191:2-7",
            *STAYS,
            cell="TIME-WAIT/syn-no-stamp-older",
            level="text",
        ),
    ],
)
async def test_older_syn_leaves_time_wait_as_it_is(tcp: Case, stamps: bool, tsval: int | None, seq: int) -> None:
    """An older SYN does not reopen TIME-WAIT.

    A SYN that is newer neither by its timestamp nor by its sequence number comes for a four-tuple in TIME-WAIT. The
    target must not open a connection and must stay in TIME-WAIT. RFC 6191 has it drop the SYN in silence, RFC 9293
    section 3.10.7.4 (RFC 5961) has it send a challenge ACK: either is allowed.
    """
    if stamps:
        tcp.needs("timestamps")
    former = await in_time_wait(tcp, stamps=stamps)
    options: tuple[opt.Option, ...] = former.syn_options
    if tsval is not None:
        value = former.tsval + tsval
        options = (*options, opt.Option(opt.NOP), opt.Option(opt.NOP), opt.timestamps(value))
    await former.inject(SYN, seq=former.snd_nxt + seq, options=options)
    challenge = Expectation(ACK, seq=former.rcv_nxt, ack=former.snd_nxt, length=0, label="a challenge ACK:")
    answer = await former.allow(challenge, within=0.5)
    forms = ["dropped in silence", "answered by a challenge ACK"]
    tcp.choice("SYN in TIME-WAIT that is not newer", forms[answer is not None], forms)
    await former.silence()
    await former.confirm(State.TIME_WAIT)


@pytest.mark.parametrize(
    "stamps", [pytest.param(True, id="with-timestamps"), pytest.param(False, id="without-timestamps")]
)
@verifies("RFC9293:MAY-2", "RFC1122:4.2.2.13-reopen", "claim:C-28", cells=["TIME-WAIT/syn-newer-seq"])
async def test_syn_that_turns_out_to_be_old_leads_back_to_time_wait(tcp: Case, stamps: bool) -> None:
    """A SYN that was an old duplicate leads back to TIME-WAIT.

    A newer SYN reopens from TIME-WAIT, but it was an old duplicate: we reset the SYN+ACK. A target that takes such
    a SYN must be in TIME-WAIT again then: that is the condition under which it may.
    """
    if stamps:
        tcp.needs("timestamps")
    former = await in_time_wait(tcp, stamps=stamps)
    sent = await former.inject(SYN, seq=former.snd_nxt + FAR, text="an old duplicate that looks newer")
    taken = Expectation(SYN | ACK, ack=sent.segment.end, length=0, label="taken:")
    refused = Expectation(ACK, seq=former.rcv_nxt, ack=former.snd_nxt, length=0, label="refused:")
    answer = await former.allow(taken, refused, within=1)
    forms = ["taken", "refused", "dropped in silence"]
    tcp.choice("newer SYN in TIME-WAIT", forms[2 if answer is None else answer[0]], forms)
    if answer is not None and answer[0] == 0:
        await former.inject(RST, seq=answer[1].segment.ack, text="we know nothing of it")
    await former.silence()
    await former.confirm(State.TIME_WAIT)


@pytest.mark.parametrize(
    "iss", [pytest.param(2**32 - 50, id="across-the-wrap"), pytest.param(2**31 - 50, id="across-the-middle")]
)
@verifies("RFC9293:3.4-modulo", "RFC6191:2-6", "claim:C-28", cells=["TIME-WAIT/syn-no-stamp-newer"])
async def test_newer_is_judged_across_the_wrap(tcp: Case, iss: int) -> None:
    """A SYN is judged newer although the numbers wrap.

    The former connection ends just before the sequence numbers wrap (or pass the middle), the SYN begins after it.
    The target should see that the SYN's number is the newer one, although it is the smaller as a plain number.
    """
    conn = await tcp.listen(iss=iss)
    former = await tcp.drive_to(State.TIME_WAIT, conn=conn)
    again = former.next_incarnation(iss=Seq(former.snd_nxt + FAR))
    await tcp.drive_to(State.ESTABLISHED, conn=again)
    await again.confirm(State.ESTABLISHED)
