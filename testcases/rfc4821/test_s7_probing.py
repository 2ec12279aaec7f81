"""RFC 4821 section 7: the path MTU found without ICMP, by TCP's own segments (Linux: tcp_mtu_probing)."""

import contextlib

import pytest

from conformance.api import (
    ACK,
    SECOND,
    Case,
    Connection,
    Inconclusive,
    Path,
    Received,
    State,
    Violation,
    size_of,
    verifies,
)

PROBING = "net.ipv4.tcp_mtu_probing"
BASE = "net.ipv4.tcp_base_mss"
RETRIES1 = "net.ipv4.tcp_retries1"
ALWAYS = {PROBING: "2", BASE: "{base}"}
HEADERS = {4: 52, 6: 72}
"""Octets of IP and TCP header with timestamps, with which the configured size reckons."""
DATA = bytes(range(256)) * 64
BASES = pytest.mark.parametrize("base", [1024, 512])


async def established(tcp: Case, by: str = "active") -> Connection:
    """Return a connection with timestamps whose application has sent nothing yet."""
    conn = await (tcp.connect() if by == "active" else tcp.listen())
    conn.tsval = 1_000
    return await tcp.drive_to(State.ESTABLISHED, by=by, conn=conn)


async def sent(conn: Connection, path: Path, data: bytes = DATA) -> list[int]:
    """Have the application send; return the sizes of the packets that got through."""
    before = len(path.carried)
    await conn.app.send(data)
    await path.deliver(data)
    return [size_of(one.segment) for one in path.carried[before:]]


@BASES
@pytest.mark.parametrize("by", ["active", "passive"])
@verifies("RFC4821:7.2-search-low", "RFC4821:7.2-configurable", "IP-SYSCTL:tcp_base_mss", quick=False, sysctl=ALWAYS)
async def test_probing_begins_with_the_configured_size(tcp: Case, by: str, base: int) -> None:
    """Probing begins with segments of the configured size.

    With probing always on the application sends for the first time over a path that carries 1500 octets. The target
    must begin with segments of the configured size, below what its link and our MSS allow.
    """
    conn = await established(tcp, by)
    await conn.app.send(DATA)
    first = await conn.expect(ACK, seq=conn.rcv_nxt, ack=conn.snd_nxt)
    size = len(first.segment.payload)
    assert size == base, f"the first segment carries {size} octets, the configured size is {base}"


@verifies(
    "RFC4821:7.5-probe",
    "RFC4821:7.6.1-success",
    "RFC4821:7.3-converged",
    quick=False,
    sysctl={PROBING: "2", BASE: "1024"},
)
async def test_larger_segments_are_tried_and_kept(tcp: Case) -> None:
    """Larger segments are tried and kept once acknowledged.

    With probing always on the application sends much, over a path that carries all that the link does. The target
    must try a larger segment, use its size for all others once it is acknowledged, and converge.
    """
    conn = await established(tcp)
    path = Path(tcp, conn, 65_535, tells=False)
    begins = await sent(conn, path)
    for _ in range(6):
        ends = await sent(conn, path)
    assert begins[0] == 1024 + HEADERS[tcp.family]
    assert max(ends) > begins[0], f"no packet above {begins[0]} octets was tried"
    full = ends[2:-1]
    assert len(set(full)) == 1, f"packets of {sorted(set(full))} octets still come"
    assert full[0] <= 1500, f"packets of {full[0]} octets come"


@pytest.mark.parametrize("mtu", [1200, 1300, 1400])
@verifies(
    "RFC4821:7.6.2-failure",
    "RFC4821:7.6.2-congestion",
    "RFC4821:7.3-converged",
    quick=False,
    sysctl={PROBING: "2", BASE: "1024"},
    lasts=3,
)
async def test_lost_probe_is_no_sign_of_congestion(tcp: Case, mtu: int) -> None:
    """A lost probe for {mtu} octets is no sign of congestion.

    With probing always on the path drops what is larger than some size, and no router tells. The target must keep
    to what gets through, and send a lost probe's data again in smaller segments as soon as it learns of the loss,
    not after its timeout.
    """
    conn = await established(tcp)
    path = Path(tcp, conn, mtu, tells=False)
    for _ in range(6):
        await sent(conn, path)
    assert path.dropped, f"no packet above {mtu} octets was tried"
    waits = [waited_for(path, lost) for lost in path.dropped]
    least_s = tcp.timer("rto-min").low_s
    slow = [one for one in waits if one >= least_s / 2]
    assert not slow, (
        f"the data of {len(slow)} of {len(waits)} lost probes came {max(waits):.3f} s after our duplicates only"
    )


def waited_for(path: Path, lost: Received) -> float:
    """Return the seconds from our third duplicate ACK of a dropped packet to the first packet that carried its data."""
    at = lost.segment.seq
    again = next(one for one in path.carried if one.segment.seq <= at < one.segment.end)
    # The first with that number acknowledged what came before the probe.
    duplicates = [one.at_ns for one in path.acks if one.segment.ack == at][1:4]
    if len(duplicates) < 3 or again.at_ns < duplicates[2]:
        raise Inconclusive("the tester was too slow to acknowledge what followed a lost probe before the timeout")
    return (again.at_ns - duplicates[2]) / SECOND


@verifies(
    "RFC4821:7.3-resume", quick=False, sysctl={PROBING: "2", BASE: "1024", "net.ipv4.tcp_probe_interval": "2"}, lasts=4
)
async def test_probing_resumes_after_its_interval(tcp: Case) -> None:
    """Probing for a larger path MTU resumes after its interval.

    Probing has converged below 1300 octets; then the path carries everything. The interval is 2 s (a shortened 10
    minutes). The target must try larger segments again, and use them.
    """
    conn = await established(tcp)
    path = Path(tcp, conn, 1300, tells=False)
    for _ in range(6):
        before = await sent(conn, path)
    assert path.dropped and max(before) <= 1300
    path.mtu = 65_535
    await conn.silence(for_=2.5)
    for _ in range(6):
        after = await sent(conn, path)
    assert max(after) > 1300, f"packets of {max(after)} octets come, the path carries more"


@pytest.mark.parametrize("base", [1024, 700])
@verifies(
    "RFC4821:7.7-black-hole",
    "RFC4821:7.7-full-stop",
    "IP-SYSCTL:tcp_mtu_probing",
    quick=False,
    sysctl={PROBING: "1", BASE: "{base}", RETRIES1: "2"},
    lasts=6,
)
async def test_black_hole_is_found_by_timeouts(tcp: Case, base: int) -> None:
    """With a base of {base}, timeouts reveal a black hole.

    Probing is for black holes alone: the path drops what is larger than 1100 octets, and no router tells. After
    some timeouts the target must reduce its segments (to the configured size, and further while they are lost), and
    get its data through. What it takes for a sign (tcp_retries1) is shortened to two timeouts.
    """
    conn = await established(tcp)
    path = Path(tcp, conn, 1100, tells=False)
    sizes = await sent(conn, path, DATA[:6000])
    assert len(path.dropped) > 2, "the segments were reduced before any timeout"
    assert max(sizes) <= base + HEADERS[tcp.family]


@verifies(
    "RFC4821:7.7-halved",
    "IP-SYSCTL:tcp_mtu_probing",
    quick=False,
    sysctl={PROBING: "1", BASE: "1024", RETRIES1: "1"},
    lasts=12,
)
async def test_successive_timeouts_halve_the_size(tcp: Case) -> None:
    """Each further timeout halves the segment size.

    The path carries 600 octets, which is less than the configured size, and no router tells. With each further
    timeout the target must halve its segments until they get through, over IPv6 not below 1280 octets.
    """
    conn = await established(tcp)
    path = Path(tcp, conn, 600, tells=False)
    try:
        sizes = await sent(conn, path, DATA[:3000])
    except Violation:
        if tcp.family == 4:
            raise
        sizes = []
    least = min(size_of(one.segment) for one in path.dropped)
    if tcp.family == 6:
        smaller = [one for one in sizes if one < 1280] + ([least] if least < 1280 else [])
        assert not smaller, f"packets of {min(smaller)} octets come, below the least MTU of IPv6"
    else:
        assert max(sizes) <= 600


@verifies("RFC4821:2-robust", "IP-SYSCTL:tcp_mtu_probing", quick=False, sysctl={PROBING: "0", RETRIES1: "1"}, lasts=5)
async def test_black_hole_stays_one_without_probing(tcp: Case) -> None:
    """Without probing, a black hole swallows the same segment again.

    Probing is off, and the path drops what is larger than 1100 octets without a word. The target repeats the same
    segment: it is what probing is to mend.
    """
    conn = await established(tcp)
    path = Path(tcp, conn, 1100, tells=False)
    data = DATA[: 4 * (1500 - HEADERS[tcp.family])]
    await conn.app.send(data)
    with contextlib.suppress(Violation):
        await path.deliver(data, within=1.0)
    assert not path.carried, f"a packet of {size_of(path.carried[0].segment)} octets came"
    assert len(path.dropped) > 3
