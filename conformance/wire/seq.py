"""32-bit sequence numbers as a type."""

from __future__ import annotations

from typing import overload

_MASK = 0xFFFFFFFF
_HALF = 0x80000000


class Seq(int):
    """A sequence number: arithmetic and order are modulo 2**32 (RFC 9293 section 3.4).

    `Seq + int` and `Seq - int` are sequence numbers; `Seq - Seq` is the signed distance in octets,
    from -2**31 to 2**31 - 1. The order is that of serial numbers: `a < b` where b is at most 2**31 - 1 octets ahead.
    It is not transitive, so never sort by it.
    """

    __slots__ = ()

    def __new__(cls, value: int = 0) -> Seq:
        return super().__new__(cls, value & _MASK)

    def __add__(self, octets: int) -> Seq:
        return Seq(int(self) + int(octets))

    __radd__ = __add__

    @overload
    def __sub__(self, octets: Seq) -> int: ...  # type: ignore[overload-overlap]
    @overload
    def __sub__(self, octets: int) -> Seq: ...
    def __sub__(self, octets: int) -> Seq | int:
        if isinstance(octets, Seq):
            return self.since(octets)
        return Seq(int(self) - octets)

    def since(self, earlier: int) -> int:
        """Return the signed distance in octets from `earlier` to this number."""
        distance = (int(self) - int(earlier)) & _MASK
        return distance - (1 << 32) if distance & _HALF else distance

    def __lt__(self, number: int) -> bool:
        return self.since(number) < 0

    def __le__(self, number: int) -> bool:
        return self.since(number) <= 0

    def __gt__(self, number: int) -> bool:
        return self.since(number) > 0

    def __ge__(self, number: int) -> bool:
        return self.since(number) >= 0

    def __hash__(self) -> int:
        return int.__hash__(self)

    def __eq__(self, value: object) -> bool:
        return int.__eq__(self, value) if isinstance(value, int) else NotImplemented

    def __ne__(self, value: object) -> bool:
        return not self == value

    def __repr__(self) -> str:
        return f"Seq({int(self)})"
