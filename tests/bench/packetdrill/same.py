"""Do as cases what the ten scripts beside this file do: pytest collects the file only by name."""

from conformance.api import ACK, PSH, RST, Case, State, verifies

DATA = bytes(100)
WHAT = verifies("RFC9293:3.5-handshake", needs=("app",))


@WHAT
async def test_passive_open(tcp: Case) -> None:
    """The target listens, and is opened."""
    await tcp.drive_to(State.ESTABLISHED)


@WHAT
async def test_active_open(tcp: Case) -> None:
    """The target connects."""
    await tcp.drive_to(State.ESTABLISHED, by="active")


@WHAT
async def test_data_in(tcp: Case) -> None:
    """Data in order is acknowledged and read."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.deliver(DATA)


@WHAT
async def test_data_out(tcp: Case) -> None:
    """The application writes, and is acknowledged."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.collect(DATA)


@WHAT
async def test_target_closes_first(tcp: Case) -> None:
    """The target closes, then we do."""
    await tcp.drive_to(State.TIME_WAIT)


@WHAT
async def test_we_close_first(tcp: Case) -> None:
    """We close, then the target does."""
    conn = await tcp.drive_to(State.LAST_ACK)
    await conn.send(ACK)


@WHAT
async def test_both_close(tcp: Case) -> None:
    """The FINs cross."""
    conn = await tcp.drive_to(State.CLOSING)
    await conn.send(ACK)


@WHAT
async def test_reset(tcp: Case) -> None:
    """A reset at the next number ends the connection."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.send(RST)
    await conn.app.fails("receive", "ECONNRESET", count=1)


@WHAT
async def test_unacceptable_segment(tcp: Case) -> None:
    """Old data is answered by an acknowledgment."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.deliver(DATA)
    await conn.inject(ACK | PSH, seq=conn.snd_nxt - len(DATA), payload=DATA)
    await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, length=0)


@WHAT
async def test_retransmission(tcp: Case) -> None:
    """Data that is lost comes again after the least timeout."""
    conn = await tcp.drive_to(State.ESTABLISHED)
    await conn.app.send(DATA)
    data = await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt, payload=DATA)
    await conn.expect_retransmission(data, within=1)
    await conn.send(ACK)
