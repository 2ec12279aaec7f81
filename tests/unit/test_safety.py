"""Check that nothing is sent to addresses beyond a lab, unless a lab file means it."""

from __future__ import annotations

import pytest
from netaddr import IPNetwork

from conformance.target import HarnessFault
from conformance.target.safety import addresses, refusal


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("127.0.0.1", "the loopback of this machine"),
        ("127.255.0.9", "the loopback of this machine"),
        ("::1", "the loopback of this machine"),
        ("0.0.0.0", "no address of a host"),
        ("::", "no address of a host"),
        ("8.8.8.8", "public"),
        ("2001:4860:4860::8888", "public"),
        ("240.0.0.1", "reserved"),
        ("192.0.2.1", "reserved"),
        ("2002:a00:1::1", "of 6to4"),
        ("2001:0:a00:1::1", "of Teredo"),
        ("64:ff9b::a00:1", "of NAT64"),
        ("::ffff:8.8.8.8", ""),
        ("::ffff:127.0.0.1", ""),
        ("::ffff:10.0.0.1", ""),
    ],
)
def test_what_reaches_beyond_a_lab_is_refused_unless_it_is_meant(address: str, why: str) -> None:
    line = refusal(address)
    assert line is not None
    assert line.startswith(f"{address} is {why}")
    assert line.endswith(f'; if it is meant, say allow = ["{address}"]')
    assert refusal(address, [address]) is None
    assert refusal(address, ["10.0.0.1", "fd00::1"]) is not None


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.16.0.9", "192.168.1.1", "198.18.0.1", "169.254.3.4", "fd00::1", "fe80::1"]
)
def test_what_belongs_to_a_lab_is_not_refused(address: str) -> None:
    assert refusal(address) is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("10.0.0.9-10.0.0.1", "is no range of addresses"),
        ("10.0.0.1-fd00::1", "is no range of addresses"),
        ("x", "is no range of addresses"),
        ("10.0.0.1-", "is no range of addresses"),
        ("10.50.0.0/28", "'10.50.0.0/28' is a network: name the addresses that nobody has, as 10.50.0.1-10.50.0.14"),
        ("10.50.0.9/32", "is a network: name the addresses that nobody has, as 10.50.0.9-10.50.0.9"),
        ("10.50.0.0/99", "is a network: name the addresses that nobody has, as 192.0.2.10-192.0.2.40"),
        ("10.0.0.0-10.1.0.0", "are 65537 addresses: 4096 are the most"),
        ("fd00::-fd00::ffff:ffff", "are 4294967296 addresses: 4096 are the most"),
    ],
)
def test_ranges_that_are_none(text: str, line: str) -> None:
    with pytest.raises(HarnessFault, match=line):
        addresses(text)


@pytest.mark.parametrize(
    ("address", "refused"),
    [("10.88.255.255", True), ("10.88.0.0", True), ("10.88.1.255", False), ("fd88::ffff:ffff:ffff:ffff", False)],
)
def test_broadcast_of_a_network_that_we_are_in_is_no_host(address: str, refused: bool) -> None:
    networks = [IPNetwork("10.88.3.4/16"), IPNetwork("192.0.2.0/31"), IPNetwork("fd88::1/64")]
    reason = refusal(address, networks=networks)
    assert (reason or "").startswith(f"{address} is the broadcast address of 10.88.3.4/16") == refused
    assert refusal(address, [address], networks) is None
