"""A script's calls as memory and numbers, and Fast Open cookies: no target is needed."""

from __future__ import annotations

import base64
import struct

import pytest

from conformance.judge import NotApplicable
from conformance.packetdrill import memory as mem
from conformance.packetdrill.constants import number
from conformance.packetdrill.fastopen import cookie, cookies, defines, siphash
from conformance.packetdrill.syntax import Flags, Symbol

KEY = "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4"


def octets(memory: mem.Memory) -> bytes:
    return base64.b64decode(memory.get("bytes", "")).ljust(memory["size"], b"\0")


def testsiphash_is_that_of_its_paper() -> None:
    """The key and the text of appendix A: octets 0 to 15, and 0 to 14."""
    assert siphash(bytes(range(16)), bytes(range(15))) == 0xA129CA6149BE45E5


def test_a_cookie_of_the_script_stands_for_the_labs() -> None:
    lab = ("10.77.4.1", "10.77.0.1")
    known = cookies(4, KEY, (None, None), lab)
    assert known[defines(4)["TFO_COOKIE"]] == cookie(KEY, *lab)
    assert known[defines(4)["TFO_COOKIE_ZERO"]] == cookie("0-0-0-0", *lab)
    named = cookies(4, KEY, ("10.0.0.2", "10.0.0.1"), lab)
    assert cookie(KEY, "10.0.0.2", "10.0.0.1") in named


def test_a_key_that_is_none_makes_no_cookie() -> None:
    assert list(cookies(6, "no key", (None, None), ("::1", "::2"))) == [defines(6)["TFO_COOKIE_ZERO"]]


def test_names_are_linuxs_numbers() -> None:
    assert number(Flags((Symbol("MSG_ZEROCOPY"), Symbol("MSG_DONTWAIT"), 1))) == 0x4000041
    assert [number(Symbol(name)) for name in ("SOL_IPV6", "POLLRDHUP", "EPOLLET", "F_SETFL")] == [
        41,
        0x2000,
        1 << 31,
        4,
    ]
    with pytest.raises(NotApplicable, match="NO_SUCH_NAME is no constant"):
        number(Symbol("NO_SUCH_NAME"))


def test_a_message_points_to_its_vector_and_control_data() -> None:
    control = mem.controls([mem.Control(1, 37, b"\1\0\0\0")])
    message = mem.message([10, 20], control=control)
    assert [place for place, _ in message["pointers"]] == [16, 32]
    assert struct.unpack_from("=Q", octets(message), 24) == (2,)
    assert struct.unpack_from("=Q", octets(message), 40) == (24,)
    vector = message["pointers"][0][1]
    assert [room["size"] for _, room in vector["pointers"]] == [10, 20]


def test_control_messages_are_read_back_and_a_broken_one_ends_them() -> None:
    sent = [mem.Control(0, 11, bytes(16)), mem.Control(1, 37, b"four")]
    room = octets(mem.controls(sent))
    header = bytes(40) + struct.pack("=Q", len(room)) + bytes(8)
    assert list(mem.read_controls(header, room)) == sent
    assert list(mem.read_controls(header, bytes(len(room)))) == []


def test_an_epoll_event_has_its_descriptor_in_either_layout() -> None:
    event = octets(mem.epoll_event(5, 77))
    packed, aligned = struct.unpack_from("=I4xi", event), struct.unpack_from("=Iii", event)
    assert packed == (5, 77)
    assert aligned == (5, 77, 77)
    assert mem.read_epoll_event(event) == (5, 77)


def test_a_string_has_its_escapes() -> None:
    assert mem.text(r"a\x00\n\\") == b"a\0\n\\"


def test_a_mapped_address_is_an_ipv6_one() -> None:
    assert octets(mem.address(4, "192.0.2.1", 80, mapped=True))[8:24].hex() == "00000000000000000000ffffc0000201"
    assert octets(mem.address(4, "192.0.2.1", 80))[2:8].hex() == "0050c0000201"
