"""What segments may be sent to, and in whose name: only what a lab file names, and nothing that reaches beyond a lab."""

from __future__ import annotations

from collections.abc import Collection

from netaddr import AddrFormatError, IPAddress, IPRange, iprange_to_cidrs

from conformance.target import HarnessFault

LARGEST_POOL = 4096


def refusal(address: str, allow: Collection[str] = ()) -> str | None:
    """Why that address is refused, None where it is not; `allow` names addresses that are meant all the same.

    Raises AddrFormatError for what is no address.
    """
    one = IPAddress(address)
    if any(one == IPAddress(named) for named in allow):
        return None
    checks = {
        "multicast": one.is_multicast(),
        "the loopback of this machine": one.is_loopback(),
        "broadcast": str(one) == "255.255.255.255",
        "no address of a host": int(one) == 0,
        "public": one.is_global(),
        "reserved": one.is_reserved(),
    }
    why = next((name for name, found in checks.items() if found), None)
    return None if why is None else f'{address} is {why}; if it is meant, say allow = ["{address}"]'


def addresses(text: str) -> IPRange:
    """A range of tester addresses from its text: `192.0.2.10`, `192.0.2.10-192.0.2.40`. Raises HarnessFault."""
    first, dash, last = text.partition("-")
    try:
        found = IPRange(first.strip(), (last if dash else first).strip())
    except (AddrFormatError, ValueError) as error:
        raise HarnessFault(
            f"{text!r} is no range of addresses ({error}): it has to be like 192.0.2.10-192.0.2.40"
        ) from None
    if found.size > LARGEST_POOL:
        raise HarnessFault(f"{text!r} are {found.size} addresses: {LARGEST_POOL} are the most")
    return found


def network_of(text: IPRange) -> str:
    """The networks that a range covers, for a message."""
    return ", ".join(map(str, iprange_to_cidrs(text[0], text[-1])))
