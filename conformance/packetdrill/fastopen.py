"""Fast Open cookies (RFC 7413) as Linux makes them: SipHash-2-4 over both addresses, by the key that a script sets.

A script has the cookie for packetdrill's own addresses. The same key makes another for the lab's, which stands for it on
the wire; a cookie that no such key made, as a peer's, is sent as it is written.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from socket import AF_INET, AF_INET6, inet_pton

KEY = "net.ipv4.tcp_fastopen_key"
OF_DEFAULTS = "a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4"
"""The key that the settings of public collections of scripts set (`defaults.sh`)."""
_ZERO = "00000000-00000000-00000000-00000000"
_ADDRESSES = {4: ("192.0.2.1", "192.168.0.1"), 6: ("fd3d:fa7b:d17d::1", "fd3d:0a0b:17d6::1")}
"""The addresses with which packetdrill's own runner starts it: the remote and the local one."""
_MASK = (1 << 64) - 1
_START = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


def cookies(
    family: int, key: str | None, script: tuple[str | None, str | None], lab: tuple[str, str]
) -> dict[str, str]:
    """Return the cookie on the wire for each that the script may have, in hexadecimal digits.

    `key` is the one that the script sets, `script` its own remote and local address where it names them, and `lab` the tester's
    and the target's.
    """
    pairs = zip(script, _ADDRESSES[family], strict=True)
    remote, local = (named if named and (":" in named) is (family == 6) else usual for named, usual in pairs)
    keys = [each for each in (key, _ZERO) if each and re.fullmatch(r"[0-9a-fA-F]{1,8}(-[0-9a-fA-F]{1,8}){3}", each)]
    return {cookie(each, remote, local): cookie(each, *lab) for each in keys}


def defines(family: int) -> Mapping[str, str]:
    """Return the words for cookies that packetdrill's own runner defines."""
    return {
        "TFO_COOKIE": cookie(OF_DEFAULTS, *_ADDRESSES[family]),
        "TFO_COOKIE_ZERO": cookie(_ZERO, *_ADDRESSES[family]),
    }


def cookie(key: str, remote: str, local: str) -> str:
    """Return the cookie of a server at `local` for a client at `remote`."""
    words = b"".join(struct.pack("<I", int(word, 16)) for word in key.split("-"))
    family = AF_INET6 if ":" in remote else AF_INET
    return siphash(words, inet_pton(family, remote) + inet_pton(family, local)).to_bytes(8, "little").hex()


def siphash(key: bytes, data: bytes) -> int:
    """Return SipHash-2-4 (Aumasson and Bernstein, 2012)."""
    halves = struct.unpack("<QQ", key)
    state = [start ^ halves[place % 2] for place, start in enumerate(_START)]
    padded = data + bytes(-(len(data) + 1) % 8) + bytes((len(data) % 256,))
    for (word,) in struct.iter_unpack("<Q", padded):
        state[3] ^= word
        state = _rounds(state, 2)
        state[0] ^= word
    state[2] ^= 0xFF
    a, b, c, d = _rounds(state, 4)
    return a ^ b ^ c ^ d


def _rounds(state: list[int], count: int) -> list[int]:
    a, b, c, d = state
    for _ in range(count):
        a = (a + b) & _MASK
        b = _turned(b, 13) ^ a
        a = _turned(a, 32)
        c = (c + d) & _MASK
        d = _turned(d, 16) ^ c
        a = (a + d) & _MASK
        d = _turned(d, 21) ^ a
        c = (c + b) & _MASK
        b = _turned(b, 17) ^ c
        c = _turned(c, 32)
    return [a, b, c, d]


def _turned(word: int, by: int) -> int:
    return (word << by | word >> 64 - by) & _MASK
