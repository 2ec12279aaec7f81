"""Hold a dissected frame: its addresses, its description, its TCP header, its problems."""

from dataclasses import dataclass
from typing import NamedTuple

from conformance.wire.names import flags_text


class Tcp(NamedTuple):
    """A TCP header with absolute numbers; `length` counts the payload's bytes; `sack` holds absolute edges."""

    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    urgent: int
    length: int
    options: tuple[str, ...] = ()
    sack: tuple[tuple[int, int], ...] = ()

    @property
    def flag_names(self) -> str:
        """`SYN+ACK`, or `no flags`."""
        return flags_text(self.flags)


class Packet(NamedTuple):
    """The content of a frame. `text` describes it in a line unless `tcp` does."""

    kind: str
    src: str = ""
    dst: str = ""
    text: str = ""
    problems: tuple[str, ...] = ()
    tcp: Tcp | None = None
    error: bool = False  # an ICMP error: it acts on a connection

    @property
    def about_connection(self) -> bool:
        """True if the packet belongs in a connection's ladder."""
        return self.kind == "TCP" or self.error


@dataclass(slots=True)
class Carried:
    """The payload of IP, with the pseudo header of TCP's checksum and the problems so far."""

    src: str
    dst: str
    protocol: int
    data: bytes
    pseudo: bytes
    offset: int
    more: bool
    problems: list[str]
