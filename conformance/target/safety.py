"""Refuse addresses that segments must not be sent to, or from: all that a lab file does not name or that reach beyond a lab."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from netaddr import INET_PTON, AddrFormatError, IPAddress, IPNetwork, IPRange, iprange_to_cidrs

from conformance.target import HarnessFault

LARGEST_POOL = 4096


# Addresses that carry an IPv4 address inside: a router on the way may take the packet out of its lab by that one.
_CARRIERS = {
    "of 6to4 (RFC 3056)": IPNetwork("2002::/16"),
    "of Teredo (RFC 4380)": IPNetwork("2001::/32"),
    "of NAT64 (RFC 6052)": IPNetwork("64:ff9b::/96"),
}


def refusal(address: str, allow: Collection[str] = (), networks: Iterable[IPNetwork] = ()) -> str | None:
    """Return why that address is refused, None where it is not; `allow` names addresses that are meant all the same.

    `networks` are those that this machine is in: their broadcast addresses are no host's. Raises AddrFormatError for
    what is no address.
    """
    parsed = IPAddress(address)
    if any(parsed == IPAddress(named) for named in allow):
        return None
    carrier = next((name for name, network in _CARRIERS.items() if parsed in network), "")
    broadcast = next((network for network in networks if parsed in _broadcasts(network)), None)
    checks = {
        "multicast": parsed.is_multicast(),
        "the loopback of this machine": parsed.is_loopback(),
        "broadcast": str(parsed) == "255.255.255.255",
        "no address of a host": int(parsed) == 0,
        carrier: carrier,
        f"the broadcast address of {broadcast}": broadcast is not None,
        "public": parsed.is_global(),
        "reserved": parsed.is_reserved(),
    }
    why = next((name for name, applies in checks.items() if applies), None)
    return None if why is None else f'{address} is {why}; if it is meant, say allow = ["{address}"]'


def _broadcasts(network: IPNetwork) -> tuple[IPAddress, ...]:
    """Return the directed broadcast addresses: the last, and the first, which old hosts take for it (RFC 1122 3.3.6)."""
    if network.version != 4 or network.broadcast is None:
        return ()
    return network.network, network.broadcast


def addresses(text: str) -> IPRange:
    """Return a range of tester addresses from its text: `192.0.2.10`, `192.0.2.10-192.0.2.40`. Raises HarnessFault."""
    first, dash, last = (part.strip() for part in text.partition("-"))
    low, high = _address(first), _address(last if dash else first)
    if "/" in text:
        raise HarnessFault(f"{text!r} is a network: name the addresses that nobody has, as {_within(text)}")
    if low is None or high is None or low.version != high.version or low > high:
        raise HarnessFault(
            f"{text!r} is no range of addresses: it has to be like 192.0.2.10-192.0.2.40, the lower first"
        )
    pool = IPRange(low, high)
    if pool.size > LARGEST_POOL:
        raise HarnessFault(f"{text!r} are {pool.size} addresses: {LARGEST_POOL} are the most")
    return pool


def _address(text: str) -> IPAddress | None:
    try:
        return IPAddress(text, flags=INET_PTON)
    except (AddrFormatError, ValueError):
        return None


def _within(text: str) -> str:
    """Return the hosts of a network as a range, or an example where it is no network."""
    try:
        network = IPNetwork(text)
    except (AddrFormatError, ValueError):
        return "192.0.2.10-192.0.2.40"
    edge = int(network.size > 2)
    return f"{network[edge]}-{network[min(network.size, LARGEST_POOL) - 1 - edge]}"


def network_of(text: IPRange) -> str:
    """Return the networks that a range covers, for a message."""
    return ", ".join(map(str, iprange_to_cidrs(text[0], text[-1])))
