"""The filter for the tester's addresses, run by the kernel on a pair of sockets: it needs no rights there."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import pytest
from netaddr import IPRange

from conformance.link.socket_filter import FOREIGN_OCTETS, SAMPLED, attach, program
from conformance.wire import ACK, Segment, Seq, icmp
from conformance.wire.frames import Template, neighbour_answer, neighbour_message, neighbour_probe, neighbour_question
from conformance.wire.ip import fragments

US, THEM = "02:00:00:00:00:01", "02:00:00:00:00:02"
POOLS = {4: [IPRange("10.77.4.1", "10.77.7.254")], 6: [IPRange("fd77::4:1", "fd77::4:3ff")]}
TARGET = {4: "10.77.0.1", 6: "fd77::1"}
OURS = {4: ("10.77.4.1", "10.77.5.0", "10.77.7.254"), 6: ("fd77::4:1", "fd77::4:200", "fd77::4:3ff")}
OTHERS = {
    4: ("10.77.4.0", "10.77.7.255", "10.76.5.1", "11.77.4.1", "255.255.255.255"),
    6: ("fd77::4:0", "fd77::4:400", "fd77::1:4:1", "fd78::4:1", "ff02::1"),
}


def _segment(src: str, dst: str) -> bytes:
    return Template(THEM, US, src, dst).frame(Segment(src, dst, 80, 33000, Seq(1), Seq(2), ACK, payload=bytes(64)))


def _icmp(src: str, dst: str) -> bytes:
    message = icmp.encode(icmp.PORT_UNREACHABLE, src, dst, 0, _segment(dst, src)[14:80])
    return Template(THEM, US, src, dst).carry(icmp.PROTOCOL[6 if ":" in src else 4], message)


def _answer(address: str, asker: str) -> bytes:
    asked = neighbour_message(neighbour_question(US, asker, address))
    assert asked is not None
    return neighbour_answer(asked, THEM)


def _ours() -> Iterator[bytes]:
    for family, addresses in OURS.items():
        for address in addresses:
            whole = _segment(TARGET[family], address)
            yield from (
                whole,
                *fragments(whole, 24, 7),
                _icmp(TARGET[family], address),
                _icmp(OTHERS[family][0], address),
            )
            yield neighbour_question(THEM, TARGET[family], address)
            yield neighbour_probe(THEM, address)
            yield _answer(TARGET[family], address)
            yield _answer(address, TARGET[family])  # another host says that it has our address
            yield neighbour_question(THEM, address, OTHERS[family][0])  # and asks in its name


def _foreign() -> Iterator[bytes]:
    for family, addresses in OTHERS.items():
        for address in addresses:
            yield from (_segment(TARGET[family], address), _icmp(TARGET[family], address))
            yield neighbour_question(THEM, TARGET[family], address)
            yield _answer(address, TARGET[family])
    yield b"\xff" * 12 + b"\x88\xcc" + bytes(46)
    yield from (b"", bytes(13), bytes(14), _segment(TARGET[4], OURS[4][0])[:20], _segment(TARGET[6], OURS[6][0])[:45])


class _Filtered:
    """A pair of sockets of which one has the filter."""

    def __init__(self, pools: Mapping[int, Sequence[IPRange]] = POOLS, senders: tuple[str, ...] = ()) -> None:
        self._out, self._in = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._in.setblocking(False)
        attach(self._in, program(pools, senders))

    def passed(self, frame: bytes) -> int:
        """Return how many octets of the frame come through."""
        self._out.send(frame)
        try:
            return len(self._in.recv(65536))
        except BlockingIOError:
            return 0

    def close(self) -> None:
        self._out.close()
        self._in.close()


@pytest.fixture
def filtered() -> Iterator[_Filtered]:
    with closing(_Filtered()) as made:
        yield made


def test_all_that_is_for_our_addresses_passes_whole(filtered: _Filtered) -> None:
    for frame in _ours():
        assert filtered.passed(frame) == len(frame), frame.hex()


def test_nothing_else_passes_but_an_octet_of_a_few(filtered: _Filtered) -> None:
    for frame in _foreign():
        assert filtered.passed(frame) in (0, FOREIGN_OCTETS), frame.hex()


def test_so_many_foreign_frames_are_sampled_that_they_can_be_counted(filtered: _Filtered) -> None:
    frame, sent = _segment(TARGET[4], OTHERS[4][0]), 40 * SAMPLED
    sampled = sum(filtered.passed(frame) for _ in range(sent)) // FOREIGN_OCTETS
    assert 10 < sampled < 100, "40 are due; less or more than that comes once in a billion times"


@pytest.mark.parametrize("family", [4, 6])
def test_on_addresses_of_our_own_tcp_passes_from_the_target_alone(family: int) -> None:
    ours, router = OURS[family][0], OTHERS[family][0]
    with closing(_Filtered(senders=tuple(TARGET.values()))) as filtered:
        whole = _segment(TARGET[family], ours)
        assert filtered.passed(whole) == len(whole)
        assert filtered.passed(_segment(router, ours)) <= FOREIGN_OCTETS
        error = _icmp(router, ours)
        assert filtered.passed(error) == len(error), "a router may say so"


def test_a_range_that_only_one_family_has_lets_nothing_of_the_other_pass() -> None:
    with closing(_Filtered({4: POOLS[4]})) as filtered:
        assert filtered.passed(_segment(TARGET[6], OURS[6][0])) <= FOREIGN_OCTETS
        assert filtered.passed(_segment(TARGET[4], OURS[4][0])) > FOREIGN_OCTETS


@pytest.mark.parametrize("family", [4, 6])
def test_many_ranges_are_one_filter(family: int) -> None:
    """A conditional jump of the kernel's reaches 255 instructions: a lab file with fifty ranges has more."""
    text = "10.80.{}.{}" if family == 4 else "fd80::{}:{}"
    pools = {family: [IPRange(text.format(one, 10), text.format(one, 20)) for one in range(50)]}
    with closing(_Filtered(pools)) as filtered:
        for number in (0, 25, 49):
            ours = _segment(TARGET[family], text.format(number, 15))
            assert filtered.passed(ours) == len(ours)
            assert filtered.passed(_segment(TARGET[family], text.format(number, 21))) <= FOREIGN_OCTETS
